//! The Istio overlay.

use std::collections::BTreeSet;

use serde_json::json;

use crate::{
    code::SERVICES,
    edges::{Edges, code_edges, differences},
    rendered::{Rendered, file, list, name, pod, text},
};

#[test]
fn authorization_policies_allow_what_the_code_uses_and_nothing_else() {
    let overlay = Rendered::overlay("istio");
    let mut found = Edges::new();
    for policy in overlay.of_kind("AuthorizationPolicy") {
        let target = text(&policy["spec"]["selector"]["matchLabels"]["app.kubernetes.io/name"]);
        for rule in list(&policy["spec"]["rules"]) {
            let callers = rule["from"][0]["source"]["principals"].as_array().expect("service accounts");
            for port in list(&rule["to"][0]["operation"]["ports"]) {
                let port = text(port).parse().expect("a port");
                let callers =
                    callers.iter().filter_map(|principal| text(principal).strip_prefix("cluster.local/ns/souk/sa/"));
                found.extend(callers.map(|caller| (caller.to_owned(), target.to_owned(), port)));
            }
        }
    }
    let edge = |from: &str, to: &str, port| (from.to_owned(), to.to_owned(), port);
    let helpers = [
        edge("souk-istio", "gateway", 8080),
        edge("grafana", "prometheus", 9090),
        edge("grafana", "zipkin", 9411),
        edge("tools", "postgres", 5432),
        edge("tools", "mongodb", 27017),
        edge("tools", "kafka", 9092),
    ];
    let expected: Edges = code_edges(overlay).into_iter().chain(helpers).collect();
    assert_eq!(differences(&found, &expected), [""; 0]);

    let deny = overlay.find("AuthorizationPolicy", "default-deny").expect("a default-deny policy");
    assert_eq!(deny["spec"], json!({}));
    let metrics = &overlay.find("AuthorizationPolicy", "metrics").expect("a policy for Prometheus")["spec"]["rules"];
    assert_eq!(metrics[0]["from"][0]["source"]["principals"], json!(["cluster.local/ns/souk/sa/prometheus"]));
    assert_eq!(metrics[0]["to"][0]["operation"], json!({"methods": ["GET"], "paths": ["/metrics"]}));
}

#[test]
fn the_mesh_retries_no_calls_that_a_saga_retries() {
    let overlay = Rendered::overlay("istio");
    for service in ["order", "stock", "payment", "gateway"] {
        let routes = list(&overlay.find("VirtualService", service).expect("one")["spec"]["http"]);
        assert!(!routes.is_empty() && routes.iter().all(|route| route["retries"]["attempts"] == 0), "{service}");
    }
}

#[test]
fn every_service_has_load_balancing_and_outlier_detection() {
    let overlay = Rendered::overlay("istio");
    let with_rule: BTreeSet<&str> = overlay.of_kind("DestinationRule").map(name).collect();
    assert_eq!(with_rule, SERVICES.iter().copied().collect());
    for rule in overlay.of_kind("DestinationRule") {
        let policy = &rule["spec"]["trafficPolicy"];
        assert!(["ROUND_ROBIN", "LEAST_REQUEST"].contains(&text(&policy["loadBalancer"]["simple"])), "{}", name(rule));
        assert!(policy["outlierDetection"]["baseEjectionTime"].is_string(), "{}", name(rule));
    }
}

/// A Job is complete when all its containers have ended; only a native sidecar ends with the other containers.
#[test]
fn jobs_have_a_sidecar_that_ends_with_them() {
    let overlay = Rendered::overlay("istio");
    let jobs: Vec<_> = overlay.workloads().filter(|workload| text(&workload["kind"]).ends_with("Job")).collect();
    assert!(jobs.len() >= 2, "{jobs:?}");
    for job in jobs {
        assert_eq!(pod(job)["metadata"]["annotations"]["sidecar.istio.io/nativeSidecar"], "true", "{}", name(job));
    }
}

/// The weights of the routes sum to 100, and each subset of a route exists and selects the pods of one Deployment.
#[test]
fn a_canary_has_its_route_and_its_pods() {
    let overlay = Rendered::overlay("istio");
    let weights = &overlay.find("VirtualService", "order").expect("one")["spec"]["http"][0]["route"];
    assert_eq!(list(weights).iter().filter_map(|route| route["weight"].as_u64()).sum::<u64>(), 100);
    let subsets = &overlay.find("DestinationRule", "order").expect("one")["spec"]["subsets"];
    for route in list(weights) {
        let subset = &route["destination"]["subset"];
        let subset = list(subsets).iter().find(|known| known["name"] == *subset).expect("a subset");
        let selected = overlay.of_kind("Deployment").filter(|deployment| {
            let labels = &deployment["spec"]["template"]["metadata"]["labels"];
            labels["app.kubernetes.io/name"] == "order" && labels["souk/track"] == subset["labels"]["souk/track"]
        });
        assert_eq!(selected.count(), 1, "{subset}");
    }
}

/// Only the gateway gets only users' tokens: behind it services use internal tokens, whose issuer Istio does not know.
#[test]
fn tokens_are_checked_at_the_gateway_by_our_issuer() {
    let overlay = Rendered::overlay("istio");
    let checks: Vec<_> = overlay.of_kind("RequestAuthentication").collect();
    let [check] = checks.as_slice() else { panic!("{checks:?}") };
    assert_eq!(check["spec"]["selector"]["matchLabels"], json!({"app.kubernetes.io/name": "gateway"}));
    let rule = &check["spec"]["jwtRules"][0];
    assert_eq!(text(&rule["issuer"]), overlay.fleet()["SOUK_ISSUER"]);
    assert_eq!(rule["forwardOriginalToken"], true);
    let audience = text(&rule["audiences"][0]);
    assert!(file("crates/auth/src/claims.rs").contains(&format!("AUDIENCE: &str = \"{audience}\"")));
    let keys = overlay.fleet()["SOUK_JWKS_URL"].replace("//customer:", "//customer.souk.svc.cluster.local:");
    assert_eq!(text(&rule["jwksUri"]), keys);
    assert_eq!(overlay.of_kind("PeerAuthentication").next().expect("one")["spec"]["mtls"]["mode"], "STRICT");
}
