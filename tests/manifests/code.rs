//! Facts read from the code: the settings of each service, and thereby the services that it calls.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Map, Value};

use crate::rendered::file;

/// The services.
pub const SERVICES: &[&str] = &["gateway", "customer", "product", "order", "stock", "payment", "notification"];

/// The default settings of a service.
fn settings(service: &str) -> Map<String, Value> {
    let settings = match service {
        "gateway" => serde_json::to_value(gateway::Config::default()),
        "customer" => serde_json::to_value(customer::Config::default()),
        "product" => serde_json::to_value(product::Config::default()),
        "order" => serde_json::to_value(order::Config::default()),
        "stock" => serde_json::to_value(stock::Config::default()),
        "payment" => serde_json::to_value(payment::Config::default()),
        "notification" => serde_json::to_value(notification::Config::default()),
        other => panic!("there is no service {other}"),
    };
    settings.expect("settings serialise").as_object().expect("a table").clone()
}

/// The names of a service's settings.
pub fn fields(service: &str) -> BTreeSet<String> {
    settings(service).into_iter().map(|(field, _)| field).collect()
}

/// The ports of a service, by their names in the manifests.
pub fn ports(service: &str) -> BTreeMap<&'static str, u64> {
    let settings = settings(service);
    let port = |field: &str| settings.get(field).and_then(Value::as_u64);
    [("http", "port"), ("grpc", "grpc_port")].iter().filter_map(|(name, field)| Some((*name, port(field)?))).collect()
}

/// The topics of the bus.
pub fn topics() -> BTreeSet<String> {
    let source = file("crates/bus/src/topology.rs");
    let (_, body) = source.split_once("pub const TOPICS: &[&str] =").expect("the topics");
    let (body, _) = body.split_once(';').expect("their end");
    body.split('"').skip(1).step_by(2).map(str::to_owned).collect()
}

/// The services that publish or consume events.
pub fn bus_services() -> BTreeSet<&'static str> {
    SERVICES.iter().copied().filter(|service| fields(service).contains("bus_url")).collect()
}

/// The environment variable that sets a field of a service in a separate process.
pub fn variable(field: &str) -> String {
    if field == "database_url" { "DATABASE_URL".into() } else { format!("SOUK_{}", field.to_ascii_uppercase()) }
}
