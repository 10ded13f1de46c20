//! The objects that each service's Deployment needs.

use serde_json::{Value, json};

use crate::{
    code::{SERVICES, ports},
    rendered::{Rendered, labels, list, name, pairs, pod, selects, text},
};

#[test]
fn every_service_has_its_deployment_and_the_objects_that_it_needs() {
    for overlay in Rendered::all() {
        let mut found: Vec<&str> = overlay.services().map(name).collect();
        found.sort_unstable();
        let mut expected = SERVICES.to_vec();
        expected.sort_unstable();
        assert_eq!(found, expected, "{}", overlay.name);
        for deployment in overlay.services() {
            check_objects_of(overlay, deployment);
        }
    }
}

fn check_objects_of(overlay: &Rendered, deployment: &Value) {
    let name = name(deployment);
    let at = format!("{}: {name}", overlay.name);
    let find = |kind: &str, name: &str| overlay.find(kind, name).unwrap_or_else(|| panic!("{at}: no {kind} {name}"));
    let pod = pod(deployment);
    let labels = labels(pod);
    assert!(selects(&deployment["spec"]["selector"], &labels), "{at}");
    assert!(deployment["spec"]["replicas"].is_null(), "{at}: the autoscaler sets the number of replicas");

    let replicas = format!("{name}-replicas");
    let (service, headless) = (find("Service", name), find("Service", &replicas));
    assert_eq!(headless["spec"]["clusterIP"], "None", "{at}");
    assert_eq!(headless["spec"]["publishNotReadyAddresses"], true, "{at}");
    for service in [service, headless] {
        let selector = pairs(&service["spec"]["selector"]);
        assert!(!selector.is_empty() && selector.iter().all(|(key, value)| labels.get(key) == Some(value)), "{at}");
        check_ports(&at, name, service, pod);
    }

    let budget = find("PodDisruptionBudget", name);
    assert!(selects(&budget["spec"]["selector"], &labels) && budget["spec"]["maxUnavailable"] == 1, "{at}");

    let scaler = &find("HorizontalPodAutoscaler", name)["spec"];
    assert_eq!(scaler["scaleTargetRef"], json!({"apiVersion": "apps/v1", "kind": "Deployment", "name": name}), "{at}");
    let kinds: Vec<&str> = list(&scaler["metrics"]).iter().map(|metric| text(&metric["type"])).collect();
    assert_eq!(kinds, ["Resource", "Pods"], "{at}: processor time, and an application metric");
    assert!(scaler["minReplicas"].as_u64() >= Some(if overlay.name == "production" { 3 } else { 1 }), "{at}");

    let policy = &find("NetworkPolicy", name)["spec"];
    assert!(selects(&policy["podSelector"], &labels), "{at}");
    assert_eq!(policy["policyTypes"], json!(["Ingress", "Egress"]), "{at}");
}

fn check_ports(at: &str, name: &str, service: &Value, pod: &Value) {
    let expected = ports(name);
    let published = list(&service["spec"]["ports"]);
    assert_eq!(published.len(), expected.len(), "{at}");
    for port in published {
        let number = expected.get(text(&port["name"])).copied();
        assert!(number.is_some() && port["port"].as_u64() == number, "{at}: {port}");
        let target = list(&pod["spec"]["containers"][0]["ports"]).iter().find(|own| own["name"] == port["targetPort"]);
        assert_eq!(target.and_then(|own| own["containerPort"].as_u64()), number, "{at}: {port}");
        let protocol = if port["name"] == "grpc" { "kubernetes.io/h2c" } else { "http" };
        assert_eq!(port["appProtocol"], protocol, "{at}");
    }
}

/// The autoscalers use metrics that the code defines and that the adapter's rules provide.
#[test]
fn autoscalers_use_existing_metrics() {
    let sources: String = ["bus/src/broker.rs", "chassis/src/http.rs", "chassis/src/grpc.rs", "order/src/metrics.rs"]
        .iter()
        .map(|path| crate::rendered::file(&format!("crates/{path}")))
        .collect();
    let rules = crate::rendered::file("deploy/components/service-monitors/adapter-rules.yaml");
    let overlay = Rendered::overlay("production");
    for scaler in overlay.of_kind("HorizontalPodAutoscaler") {
        let metric = text(&scaler["spec"]["metrics"][1]["pods"]["metric"]["name"]);
        let (counter, is_rate) = metric
            .strip_suffix("_per_second")
            .map_or((metric.to_owned(), false), |base| (format!("{base}_total"), true));
        assert!(sources.contains(&format!("\"{counter}\"")), "{metric} of {}", name(scaler));
        let rule = if is_rate { "_requests_total" } else { counter.as_str() };
        assert!(rules.contains(rule), "{metric} of {}", name(scaler));
    }
}
