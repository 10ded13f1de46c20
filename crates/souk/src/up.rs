//! `souk up`: the whole fleet in one process.

use std::path::PathBuf;

use chassis::telemetry;
use clap::Args;
use gateway::Dialect;
use serde_json::json;
use tokio::signal::unix::{SignalKind, signal};

use crate::{
    data::{Folder, Running},
    fleet::{Fleet, FleetOptions},
    out::say,
    ports::Ports,
    sample::{self, Sample},
    token,
};

/// What `souk up` takes.
#[derive(Debug, Clone, Args)]
pub struct Command {
    /// Folder of the stores and the bus.
    #[arg(long, env = "SOUK_DATA", default_value = "souk-data")]
    data: PathBuf,
    /// First of nine consecutive ports, instead of the default ports; 0: free ports. Dialects keep their ports.
    #[arg(long, value_name = "N")]
    port_base: Option<u16>,
    /// Use temporary data, which is deleted at the end, and free ports.
    #[arg(long, conflicts_with_all = ["port_base"])]
    ephemeral: bool,
    /// Serve an older fleet's dialect on the fixed ports of its clients; may be repeated. The port of a service is increased by
    /// 10,000 if the dialect uses it.
    #[arg(long = "dialect", value_name = "NAME", env = "SOUK_DIALECT", value_delimiter = ',', value_parser = clap::builder::PossibleValuesParser::new(Dialect::ALL.iter().map(|dialect| dialect.name)))]
    dialects: Vec<String>,
    /// Sample data of a first start; by default that of the first dialect, or `souk`.
    #[arg(long, value_name = "NAME", env = "SOUK_SAMPLE", value_parser = clap::builder::PossibleValuesParser::new(sample::names()))]
    sample: Option<String>,
    /// Print one line of JSON when all services are ready.
    #[arg(long)]
    json: bool,
}

/// Starts the fleet, says where it is, and runs it until SIGINT or SIGTERM.
pub async fn run(command: Command) -> anyhow::Result<()> {
    let begun = std::time::Instant::now();
    let services =
        [gateway::NAME, customer::NAME, product::NAME, order::NAME, stock::NAME, payment::NAME, notification::NAME];
    let mut options = telemetry::Options::from_env();
    if chassis::config::var("RUST_LOG").is_none() {
        options.filter = "warn".into();
    }
    let _telemetry = telemetry::init_with(&services, &options)?;
    let (mut terminate, mut interrupt) = (signal(SignalKind::terminate())?, signal(SignalKind::interrupt())?);
    let temporary = if command.ephemeral { Some(tempfile::tempdir()?) } else { None };
    let path = temporary.as_ref().map_or(command.data.as_path(), tempfile::TempDir::path);
    let folder = Folder::open(path)?;
    let dialects = Dialect::choose(&command.dialects)?;
    let set = wanted_set(&folder, command.sample.as_deref(), &dialects)?;
    let sample = if folder.sample().is_none() && set != sample::NONE { Some(Sample::named(&set)?) } else { None };
    let ports = match (command.ephemeral, command.port_base) {
        (true, _) | (false, Some(0)) => Ports::Free,
        (false, Some(base)) => Ports::From(base),
        (false, None) => Ports::Usual,
    };
    let wanted = FleetOptions {
        ports,
        dialects,
        free_dialect_ports: command.ephemeral,
        sample: sample.as_ref(),
        sandbox_limit: sample::sandbox_limit(&set),
    };
    let mut fleet = Box::pin(Fleet::start(&folder, wanted)).await?;
    if folder.sample().is_none() {
        folder.set_sample(&set)?;
    }
    folder.announce(&Running { gateway: fleet.url(gateway::NAME), services: fleet.services() })?;
    let tokens = tokens(&folder).await?;
    if command.json {
        print_json(&fleet, &folder, &tokens, sample.as_ref())?;
    } else {
        print_welcome(&fleet, &folder, &tokens, sample.as_ref(), begun.elapsed())?;
    }
    let outcome = tokio::select! {
        _ = terminate.recv() => Ok(()),
        _ = interrupt.recv() => Ok(()),
        error = fleet.failed() => Err(error),
    };
    folder.withdraw();
    fleet.stop().await;
    outcome
}

/// The set of sample data that the folder holds, or is to hold from now on. A folder holds one set, the first that was loaded;
/// another is refused if it is asked for by name.
fn wanted_set(folder: &Folder, asked: Option<&str>, dialects: &[&Dialect]) -> anyhow::Result<String> {
    match (folder.sample(), asked) {
        (Some(loaded), Some(asked)) if loaded != asked && asked != sample::NONE => anyhow::bail!(
            "{} contains the sample data `{loaded}`; use another folder with --data for `{asked}`",
            folder.path().display()
        ),
        (Some(loaded), _) => Ok(loaded),
        (None, Some(asked)) => Ok(asked.to_owned()),
        (None, None) => Ok(dialects.first().map_or(sample::NAME, |dialect| dialect.name).to_owned()),
    }
}

/// Fresh tokens of the sample users that exist.
async fn tokens(folder: &Folder) -> anyhow::Result<serde_json::Map<String, serde_json::Value>> {
    let issued = token::issue_all(folder.path(), &["admin", "manager", "customer"]).await?;
    Ok(issued.into_iter().map(|(name, token)| (name, json!(token))).collect())
}

fn print_json(
    fleet: &Fleet,
    folder: &Folder,
    tokens: &serde_json::Map<String, serde_json::Value>,
    sample: Option<&Sample>,
) -> anyhow::Result<()> {
    let mut line = json!({
        "ready": true,
        "gateway": fleet.url(gateway::NAME),
        "services": fleet.services(),
        "grpc": fleet.grpc(),
        "dialect_ports": fleet.dialect_ports(),
        "tokens": tokens,
        "data": folder.path(),
    });
    if let Some(sample) = sample {
        line["passwords"] = sample
            .users
            .iter()
            .map(|user| (user.username.clone(), json!(user.password)))
            .collect::<serde_json::Map<_, _>>()
            .into();
    }
    say!("{line}");
    Ok(())
}

fn print_welcome(
    fleet: &Fleet,
    folder: &Folder,
    tokens: &serde_json::Map<String, serde_json::Value>,
    sample: Option<&Sample>,
    took: std::time::Duration,
) -> anyhow::Result<()> {
    let gateway = fleet.url(gateway::NAME);
    say!("Souk is ready after {} ms: seven services, data in {}", took.as_millis(), folder.path().display());
    say!("");
    say!("  gateway   {gateway}");
    say!("  REST      {gateway}/docs");
    say!("  GraphQL   {gateway}/graphql");
    say!("  gRPC      stock {}, payment {}", fleet.url("stock gRPC"), fleet.url("payment gRPC"));
    print_ports(fleet)?;
    if let Some(sample) = sample {
        say!("");
        say!("  Users of the sample data (shown once):");
        for user in &sample.users {
            say!("    {:9} {}", user.username, user.password);
        }
    }
    if let Some(token) = tokens.get("customer").and_then(|token| token.as_str()) {
        say!("");
        say!("  A customer's token, for an hour (another: souk token customer):");
        say!("");
        say!("TOKEN={token}");
        say!("");
        say!("  Place an order:");
        say!("");
        say!("curl -s {gateway}/api/orders -H \"Authorization: Bearer $TOKEN\" -H 'Content-Type: application/json' \\");
        say!("  -d '{{\"lines\":[{{\"product_id\":\"TEA-ASSAM-250\",\"quantity\":2}}]}}'");
    }
    say!("");
    say!("  Ctrl-C stops it; the next start continues where it was.");
    Ok(())
}

/// Where the dialects answer, and which services made room for them.
fn print_ports(fleet: &Fleet) -> anyhow::Result<()> {
    for (dialect, port, url) in fleet.open_ports() {
        say!("  {dialect:9} port {}, {}: {url}", port.number, port.what);
    }
    for (name, port) in fleet.moved() {
        say!("  moved     the {name} service to port {port}");
    }
    Ok(())
}
