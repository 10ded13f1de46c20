//! Combinations of dialects: those with different ports run together, and those with a common port are refused with an error.

use std::{collections::BTreeSet, process::Command};

use anyhow::{Context, Result, ensure};
use fleet_tests::{Client, Fleet};
use gateway::Dialect;

fn ports(dialect: &Dialect) -> BTreeSet<u16> {
    dialect.ports.iter().map(|port| port.number).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn every_pair_without_a_common_port_responds_and_a_common_port_prevents_the_start() -> Result<()> {
    for (index, one) in Dialect::ALL.iter().enumerate() {
        for other in &Dialect::ALL[index + 1..] {
            let common: Vec<u16> = ports(one).intersection(&ports(other)).copied().collect();
            let names = format!("{},{}", one.name, other.name);
            match common.first() {
                Some(port) => check_refused(&names, one.name, other.name, *port)?,
                None => check_both_respond(&names, one, other).await?,
            }
        }
    }
    Ok(())
}

/// The start fails, and the error names both dialects and the port.
fn check_refused(names: &str, one: &str, other: &str, port: u16) -> Result<()> {
    let folder = tempfile::tempdir()?;
    let souk = std::env::current_exe()?.ancestors().nth(2).context("target/<profile>")?.join("souk");
    let output =
        Command::new(souk).args(["up", "--ephemeral", "--dialect", names, "--data"]).arg(folder.path()).output()?;
    let error = String::from_utf8_lossy(&output.stderr).into_owned();
    ensure!(!output.status.success(), "{names} started");
    for word in [one, other, &port.to_string()] {
        ensure!(error.contains(word), "{names}: {error:?} does not contain {word}");
    }
    eprintln!("| {names:<30} | clash on {port} |");
    Ok(())
}

/// Both dialects respond on all their ports, and so does the gateway's own API.
async fn check_both_respond(names: &str, one: &Dialect, other: &Dialect) -> Result<()> {
    let folder = tempfile::tempdir()?;
    let fleet = Fleet::start_with(folder.path(), &[("SOUK_DIALECT", names)]).await?;
    for port in ports(one).union(&ports(other)) {
        // Any status below 500 shows that the port serves HTTP.
        let response = Client::new(&format!("http://127.0.0.1:{port}"), None).get("/health").await?;
        ensure!(response.status < 500, "{names}: port {port} returns {}", response.status);
    }
    fleet.client("admin").get("/api/orders").await?.expect(200)?;
    eprintln!("| {names:<30} | both respond |");
    fleet.terminate().await
}

#[tokio::test(flavor = "multi_thread")]
async fn without_its_ports_a_dialect_is_only_for_the_admin() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let fleet = Fleet::start(folder.path()).await?;
    for dialect in Dialect::ALL {
        for port in dialect.ports {
            let path = format!("/compat/{}/{}/health", dialect.name, port.number);
            ensure!(fleet.anonymous().get(&path).await?.status == 401, "{path} needs no token");
            ensure!(fleet.client("customer").get(&path).await?.status == 403, "{path} is open to customers");
            let response = fleet.client("admin").get(&path).await?;
            ensure!(![401, 403].contains(&response.status) && response.status < 500, "{path}: {}", response.status);
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
    let error = format!("{:#}", other.err().context("it started")?);
    ensure!(error.contains("quartet") && error.contains("crm") && error.contains("--data"), "{error}");
    // A dialect without a sample set accepts the existing data.
    let fleet = Fleet::start_with(folder.path(), &[("SOUK_DIALECT", "crm")]).await?;
    fleet.terminate().await
}
