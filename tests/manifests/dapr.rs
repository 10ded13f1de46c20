//! The Dapr overlay.

use std::collections::BTreeSet;

use serde_json::json;

use crate::{
    code::{bus_services, ports, topics},
    rendered::{Rendered, documents, file, labels, list, name, pod, text},
};

#[test]
fn every_service_on_the_bus_has_a_sidecar_with_the_name_of_its_group() {
    let overlay = Rendered::overlay("dapr");
    let mut sidecars = BTreeSet::new();
    for deployment in overlay.services() {
        let annotations = &pod(deployment)["metadata"]["annotations"];
        if annotations["dapr.io/enabled"] != "true" {
            continue;
        }
        let service = name(deployment);
        sidecars.insert(service);
        assert_eq!(annotations["dapr.io/app-id"], service);
        assert_eq!(annotations["dapr.io/app-port"], ports(service)["http"].to_string());
        assert_eq!(annotations["dapr.io/enable-app-health-check"], "true", "{service}");
        assert_eq!(annotations["dapr.io/app-health-check-path"], "/ready", "{service}");
        let secret = &annotations["dapr.io/app-token-secret"];
        let token =
            list(&pod(deployment)["spec"]["containers"][0]["env"]).iter().find(|v| v["name"] == "APP_API_TOKEN");
        assert_eq!(token.expect("a token")["valueFrom"]["secretKeyRef"], json!({"name": secret, "key": "token"}));
        assert!(overlay.find("Secret", text(secret)).is_some() && labels(pod(deployment)).contains_key("souk/track"));
    }
    assert_eq!(sidecars, bus_services());
    assert_eq!(overlay.fleet()["SOUK_BUS_URL"], "dapr://127.0.0.1:3500");
}

#[test]
fn components_are_scoped_to_the_services_on_the_bus() {
    for path in ["kafka/pubsub", "rabbitmq/pubsub", "redis/pubsub", "resiliency/resiliency"] {
        let [component] = documents(&file(&format!("components/{path}.yaml"))).try_into().expect("one document");
        let scopes: BTreeSet<&str> = list(&component["scopes"]).iter().map(text).collect();
        assert_eq!(scopes, bus_services(), "{path}");
        let expected = if component["kind"] == "Component" { "pubsub" } else { "souk" };
        assert_eq!(name(&component), expected, "{path}");
    }
}

/// The services subscribe to their topics themselves; a Subscription to one of them would deliver every message twice.
#[test]
fn no_subscription_repeats_one_of_the_services() {
    let overlay = Rendered::overlay("dapr");
    for subscription in overlay.of_kind("Subscription") {
        assert!(!topics().contains(text(&subscription["spec"]["topic"])), "{}", name(subscription));
    }
}
