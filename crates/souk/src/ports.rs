//! The ports of a fleet in one process: its services', and those of the dialects that it opens.

use std::{collections::BTreeMap, net::Ipv4Addr};

use anyhow::{Context as _, bail};
use gateway::{Dialect, PORT_OFFSET, Port};
use tokio::net::TcpListener;

use crate::fleet::FleetOptions;

/// The services in the order of their ports from `--port-base`, with their usual ports.
pub(crate) const PORTS: [(&str, u16); 9] = [
    (gateway::NAME, 8080),
    (customer::NAME, 8085),
    (product::NAME, 8086),
    (order::NAME, 8087),
    (stock::NAME, 8088),
    (payment::NAME, 8089),
    (notification::NAME, 5001),
    ("stock gRPC", 50052),
    ("payment gRPC", 50051),
];

/// Which ports the fleet takes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ports {
    /// The usual ones.
    Usual,
    /// From this one upwards.
    From(u16),
    /// Whichever are free.
    Free,
}

/// Opens all ports; the error for a port in use names its service and the flag that chooses another one. A dialect keeps its ports.
pub(crate) async fn listen(ports: Ports, dialects: &[&Dialect]) -> anyhow::Result<BTreeMap<&'static str, TcpListener>> {
    let owner = |port: u16| dialects.iter().find(|dialect| dialect.ports.iter().any(|known| known.number == port));
    let mut listeners = BTreeMap::new();
    for (offset, (name, usual)) in (0_u16..).zip(PORTS) {
        let port = match ports {
            Ports::Usual if owner(usual).is_some() => usual.saturating_add(PORT_OFFSET),
            Ports::Usual => usual,
            Ports::From(base) => {
                base.checked_add(offset).context("--port-base is too high: nine consecutive ports are required")?
            }
            Ports::Free => 0,
        };
        if let Some(dialect) = owner(port) {
            bail!(
                "port {port} is used by the {name} service and by the dialect {}; choose other ports for the services with --port-base N",
                dialect.name
            );
        }
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, port)).await.with_context(|| {
            format!("port {port} of the {name} service cannot be opened; choose other ports with --port-base N or --ephemeral")
        })?;
        listeners.insert(name, listener);
    }
    Ok(listeners)
}

/// Opens the dialects' ports: those that their clients know, or whichever are free.
pub(crate) async fn listen_for(fleet: &FleetOptions<'_>) -> anyhow::Result<BTreeMap<u16, TcpListener>> {
    let mut listeners = BTreeMap::new();
    for dialect in &fleet.dialects {
        for dialect_port in dialect.ports {
            let Port { number: port, what, .. } = dialect_port;
            let wanted = if fleet.free_dialect_ports { 0 } else { *port };
            let opened = TcpListener::bind((Ipv4Addr::LOCALHOST, wanted)).await;
            if dialect_port.is_spared(&opened) {
                continue;
            }
            let listener = opened.with_context(|| {
                format!(
                    "port {port} of the dialect {} ({what}) cannot be opened; stop the process that uses it, or use free ports with --ephemeral",
                    dialect.name
                )
            })?;
            listeners.insert(*port, listener);
        }
    }
    Ok(listeners)
}
