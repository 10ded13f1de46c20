//! The settings in the manifests exist in the code, and none is missing.

use std::collections::BTreeSet;

use crate::{
    code::{SERVICES, fields, variable},
    edges::variables,
    rendered::{Rendered, file, list, name, pod, text},
};

/// All environment variables that a service in a separate process reads.
fn known_variables() -> BTreeSet<String> {
    SERVICES.iter().flat_map(|service| fields(service)).map(|field| variable(&field)).collect()
}

fn is_documented(variable: &str) -> bool {
    file("docs/operations.md").contains(&format!("`{variable}`"))
}

#[test]
fn every_variable_in_the_manifests_is_a_setting() {
    let known = known_variables();
    for overlay in Rendered::all() {
        for variable in overlay.fleet().keys() {
            assert!(known.contains(variable) || is_documented(variable), "{}: {variable}", overlay.name);
        }
        for deployment in overlay.services() {
            let own: BTreeSet<String> = fields(name(deployment)).iter().map(|field| variable(field)).collect();
            for set in list(&pod(deployment)["spec"]["containers"][0]["env"]) {
                let set = text(&set["name"]);
                assert!(own.contains(set) || is_documented(set), "{}: {set} of {}", overlay.name, name(deployment));
            }
        }
    }
    for key in variables(&file("deploy/overlays/local/keys.env")).keys() {
        assert!(known.contains(key), "{key}");
    }
}

/// Each service with a store has its URL, in the variable that `souk` reads.
#[test]
fn exactly_the_existing_stores_have_a_url() {
    let expected: BTreeSet<String> = SERVICES
        .iter()
        .filter(|service| fields(service).contains("database_url"))
        .map(|service| format!("SOUK_{}_DATABASE_URL", service.to_ascii_uppercase()))
        .collect();
    let found: BTreeSet<String> = variables(&file("deploy/overlays/local/stores.env")).into_keys().collect();
    assert_eq!(found, expected);
    let production = Rendered::overlay("production");
    let secret = production.find("ExternalSecret", "souk-stores").expect("one");
    let found: BTreeSet<String> =
        list(&secret["spec"]["data"]).iter().map(|entry| text(&entry["secretKey"]).to_owned()).collect();
    assert_eq!(found, expected);
}

/// The default of a URL setting is on localhost, which is never correct in a pod.
#[test]
fn every_url_of_another_service_is_set() {
    let set = variables(&file("deploy/base/config/fleet.env"));
    for service in SERVICES {
        for field in fields(service).iter().filter(|field| field.ends_with("_url") && *field != "database_url") {
            let url = set.get(&variable(field)).unwrap_or_else(|| panic!("nothing sets {field} of {service}"));
            assert!(!url.contains("127.0.0.1") && !url.contains("localhost"), "{field} of {service}");
        }
    }
    assert_eq!(set.get("SOUK_BIND").map(String::as_str), Some("0.0.0.0"));
}
