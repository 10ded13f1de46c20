//! What the code says of itself: the settings of each service, and so whom it calls.

use std::collections::{BTreeMap, BTreeSet};

use crate::rendered::file;

/// The services.
pub const SERVICES: &[&str] = &["gateway", "customer", "product", "order", "stock", "payment", "notification"];

/// The fields of a service's `Config`.
pub fn fields(service: &str) -> BTreeSet<String> {
    let source = file(&format!("crates/{service}/src/config.rs"));
    let (_, body) = source.split_once("pub struct Config {").expect("a struct Config");
    let (body, _) = body.split_once("\n}").expect("its end");
    body.lines()
        .filter_map(|line| line.trim().strip_prefix("pub ")?.split_once(':'))
        .map(|(field, _)| field.to_owned())
        .collect()
}

/// The ports of a service by the names that they have in its manifests.
pub fn ports(service: &str) -> BTreeMap<&'static str, u64> {
    let source = file(&format!("crates/{service}/src/config.rs"));
    let (_, body) = source.split_once("impl Default for Config").expect("defaults");
    let port = |field: &str| {
        let line = body.lines().find_map(|line| line.trim().strip_prefix(field)?.strip_prefix(": "))?;
        Some(line.trim_end_matches(',').parse().expect("a port"))
    };
    [("http", "port"), ("grpc", "grpc_port")].iter().filter_map(|(name, field)| Some((*name, port(field)?))).collect()
}

/// The topics of the bus.
pub fn topics() -> BTreeSet<String> {
    let source = file("crates/bus/src/topology.rs");
    let (_, body) = source.split_once("pub const TOPICS: &[&str] =").expect("the topics");
    let (body, _) = body.split_once(';').expect("their end");
    body.split('"').skip(1).step_by(2).map(str::to_owned).collect()
}

/// The services that publish or hear events.
pub fn on_the_bus() -> BTreeSet<&'static str> {
    SERVICES.iter().copied().filter(|service| fields(service).contains("bus_url")).collect()
}

/// The variable of the environment that sets a field of a service with a process of its own.
pub fn variable(field: &str) -> String {
    if field == "database_url" { "DATABASE_URL".into() } else { format!("SOUK_{}", field.to_ascii_uppercase()) }
}
