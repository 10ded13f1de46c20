//! docker compose uses the same images, versions and names as kustomize.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;

use crate::{
    code::{SERVICES, ports},
    rendered::{Rendered, documents, file, list, pod, text},
};

/// docker-compose.yml with anchors and merges resolved.
fn compose() -> Value {
    let text = file("docker-compose.yml");
    let mut value: serde_yaml_ng::Value = serde_yaml_ng::from_str(&text).expect("YAML");
    // Merges may be nested.
    for _ in 0..3 {
        value.apply_merge().expect("anchors");
    }
    serde_json::to_value(value).expect("JSON")
}

/// Replaces `${NAME:-default}` by the default.
fn with_defaults(value: &str) -> String {
    let mut out = String::new();
    let mut rest = value;
    while let Some((before, after)) = rest.split_once("${") {
        let (inside, behind) = after.split_once('}').expect("a variable that ends");
        out.push_str(before);
        out.push_str(inside.split_once(":-").map_or("", |(_, default)| default));
        rest = behind;
    }
    out + rest
}

#[test]
fn images_are_those_of_kustomize() {
    let local: BTreeSet<&str> = Rendered::overlay("local")
        .workloads()
        .flat_map(|workload| list(&pod(workload)["spec"]["containers"]))
        .map(|container| text(&container["image"]))
        .collect();
    let compose = compose();
    let services = compose["services"].as_object().expect("services");
    let images: BTreeMap<&String, String> = services
        .iter()
        .filter(|(_, service)| service["image"].is_string() && service["profiles"].as_array().is_none_or(Vec::is_empty))
        .map(|(name, service)| (name, with_defaults(text(&service["image"]))))
        .collect();
    assert_eq!(images.values().map(String::as_str).collect::<BTreeSet<_>>(), local);
}

#[test]
fn the_version_is_that_of_the_workspace() {
    let manifest = file("Cargo.toml");
    let version =
        manifest.lines().find_map(|line| line.strip_prefix("version = ")).expect("a version").trim_matches('"');
    for service in SERVICES {
        let image = format!("souk.local/{service}:{version}");
        let found = with_defaults(text(&compose()["services"][*service]["image"]));
        assert_eq!(found, image);
    }
    assert!(file(".env.example").contains(&format!("SOUK_VERSION={version}\n")));
    assert!(file("Dockerfile").contains(&format!("ARG VERSION={version}\n")));
}

#[test]
fn every_replica_has_the_dns_name_that_prometheus_queries() {
    let compose = compose();
    let prometheus = &documents(&file("prometheus/prometheus.yml"))[0];
    let queried: BTreeSet<(String, u64)> = list(&prometheus["scrape_configs"])
        .iter()
        .flat_map(|job| list(&job["dns_sd_configs"]))
        .map(|dns| (text(&dns["names"][0]).to_owned(), dns["port"].as_u64().expect("a port")))
        .collect();
    let served: BTreeSet<(String, u64)> =
        SERVICES.iter().map(|service| (format!("{service}-replicas"), ports(service)["http"])).collect();
    assert_eq!(queried, served);
    for service in SERVICES {
        for name in [(*service).to_owned(), format!("{service}-2")] {
            let aliases = list(&compose["services"][&name]["networks"]["default"]["aliases"]);
            assert!(aliases.iter().any(|alias| *alias == format!("{service}-replicas")), "{name}");
        }
    }
}

#[test]
fn every_container_has_a_memory_limit_and_no_privileges() {
    for (name, service) in compose()["services"].as_object().expect("services") {
        if service["extends"].is_object() {
            continue;
        }
        assert!(service["mem_limit"].is_string(), "{name}");
        assert_eq!(service["cap_drop"], serde_json::json!(["ALL"]), "{name}");
        assert_eq!(service["security_opt"], serde_json::json!(["no-new-privileges:true"]), "{name}");
        for port in list(&service["ports"]) {
            assert!(text(port).starts_with("127.0.0.1:"), "{name} is reachable from other machines: {port}");
        }
    }
}
