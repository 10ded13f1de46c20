//! Dialects together: where their ports allow it, and what is said where they do not.

use std::{collections::BTreeSet, process::Command};

use anyhow::{Context, Result, ensure};
use fleet_tests::{Client, Fleet};
use gateway::Dialect;

fn ports(dialect: &Dialect) -> BTreeSet<u16> {
    dialect.ports.iter().map(|port| port.number).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn every_pair_whose_ports_allow_it_answers_and_a_clash_stops_the_start() -> Result<()> {
    for (index, one) in Dialect::ALL.iter().enumerate() {
        for other in &Dialect::ALL[index + 1..] {
            let both: Vec<u16> = ports(one).intersection(&ports(other)).copied().collect();
            let names = format!("{},{}", one.name, other.name);
            match both.first() {
                Some(port) => refused(&names, one.name, other.name, *port)?,
                None => answering(&names, one, other).await?,
            }
        }
    }
    Ok(())
}

/// The start fails, and says which two want which port.
fn refused(names: &str, one: &str, other: &str, port: u16) -> Result<()> {
    let folder = tempfile::tempdir()?;
    let souk = std::env::current_exe()?.ancestors().nth(2).context("target/<profile>")?.join("souk");
    let done =
        Command::new(souk).args(["up", "--ephemeral", "--dialect", names, "--data"]).arg(folder.path()).output()?;
    let told = String::from_utf8_lossy(&done.stderr).into_owned();
    ensure!(!done.status.success(), "{names} started");
    for word in [one, other, &port.to_string()] {
        ensure!(told.contains(word), "{names}: {told:?} does not name {word}");
    }
    eprintln!("| {names:<30} | clash on {port} |");
    Ok(())
}

/// Both answer on all their ports, and so does the gateway's own API.
async fn answering(names: &str, one: &Dialect, other: &Dialect) -> Result<()> {
    let folder = tempfile::tempdir()?;
    let fleet = Fleet::start_with(folder.path(), &[("SOUK_DIALECT", names)]).await?;
    for port in ports(one).union(&ports(other)) {
        // Whatever it says: somebody is there who speaks HTTP, and it is not broken.
        let answer = Client::new(&format!("http://127.0.0.1:{port}"), None).get("/health").await?;
        ensure!(answer.status < 500, "{names}: port {port} says {}", answer.status);
    }
    fleet.client("admin").get("/api/orders").await?.expect(200)?;
    eprintln!("| {names:<30} | both answer |");
    fleet.terminate().await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_dialect_that_is_not_open_is_for_head_office_alone() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let fleet = Fleet::start(folder.path()).await?;
    for dialect in Dialect::ALL {
        for port in dialect.ports {
            let path = format!("/compat/{}/{}/health", dialect.name, port.number);
            ensure!(fleet.nobody().get(&path).await?.status == 401, "{path} lets anybody in");
            ensure!(fleet.client("customer").get(&path).await?.status == 403, "{path} lets customers in");
            let answer = fleet.client("admin").get(&path).await?;
            ensure!(![401, 403].contains(&answer.status) && answer.status < 500, "{path}: {}", answer.status);
        }
    }
    fleet.terminate().await
}

#[tokio::test(flavor = "multi_thread")]
async fn another_set_of_sample_data_is_refused_on_a_folder_that_has_one() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let fleet = Fleet::start_with(folder.path(), &[("SOUK_SAMPLE", "quartet")]).await?;
    fleet.terminate().await?;
    let other = Fleet::start_with(folder.path(), &[("SOUK_SAMPLE", "crm")]).await;
    let told = format!("{:#}", other.err().context("it started")?);
    ensure!(told.contains("quartet") && told.contains("crm") && told.contains("--data"), "{told}");
    // A dialect alone asks for no set by name: it takes what is there.
    let fleet = Fleet::start_with(folder.path(), &[("SOUK_DIALECT", "crm")]).await?;
    fleet.terminate().await
}
