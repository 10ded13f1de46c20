//! What the overlay of Dapr says.

use std::collections::BTreeSet;

use serde_json::json;

use crate::{
    code::{on_the_bus, ports, topics},
    rendered::{Rendered, documents, file, labels, list, name, pod, text},
};

#[test]
fn who_uses_the_bus_has_a_sidecar_with_the_name_of_its_group() {
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
    assert_eq!(sidecars, on_the_bus());
    assert_eq!(overlay.fleet()["SOUK_BUS_URL"], "dapr://127.0.0.1:3500");
}

#[test]
fn components_are_for_those_who_use_the_bus() {
    for path in ["kafka/pubsub", "rabbitmq/pubsub", "redis/pubsub", "resiliency/resiliency"] {
        let [component] = documents(&file(&format!("components/{path}.yaml"))).try_into().expect("one document");
        let scopes: BTreeSet<&str> = list(&component["scopes"]).iter().map(text).collect();
        assert_eq!(scopes, on_the_bus(), "{path}");
        let wanted = if component["kind"] == "Component" { "pubsub" } else { "souk" };
        assert_eq!(name(&component), wanted, "{path}");
    }
}

/// The services ask for their topics themselves; a Subscription to one of these would bring every message twice.
#[test]
fn no_subscription_repeats_what_the_services_ask_for() {
    let overlay = Rendered::overlay("dapr");
    for subscription in overlay.of_kind("Subscription") {
        assert!(!topics().contains(text(&subscription["spec"]["topic"])), "{}", name(subscription));
    }
}
