//! Tokens, for users who can read the data folder.

use std::{collections::BTreeMap, path::Path};

use crate::{data, out::say};

/// A fresh token of a user of the local fleet, issued from its store.
pub async fn issue(folder: &Path, username: &str) -> anyhow::Result<String> {
    let tokens = issue_all(folder, &[username]).await?;
    tokens.into_values().next().ok_or_else(|| {
        anyhow::anyhow!("there is no user `{username}`; the sample data has admin, manager and customer")
    })
}

/// Fresh tokens of the users that exist.
pub async fn issue_all(folder: &Path, usernames: &[&str]) -> anyhow::Result<BTreeMap<String, String>> {
    let mut config: customer::Config = data::config::<customer::Customer>(folder);
    config.common.auth.internal_key = data::read_key(folder)?;
    config.common.auth.issuer = chassis::config::var("SOUK_ISSUER").unwrap_or_else(|| crate::fleet::ISSUER.into());
    customer::tokens(&config, usernames).await
}

/// What `souk token` takes.
#[derive(Debug, clap::Args)]
pub struct Command {
    /// Name of a user of the local fleet.
    #[arg(default_value = "admin")]
    username: String,
    /// Data folder of the fleet.
    #[arg(long, env = "SOUK_DATA", default_value = "souk-data")]
    data: std::path::PathBuf,
}

/// Prints a token.
pub async fn run(command: Command) -> anyhow::Result<()> {
    say!("{}", issue(&command.data, &command.username).await?);
    Ok(())
}
