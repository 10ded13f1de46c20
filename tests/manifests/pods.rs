//! Rules for every pod.

use std::collections::BTreeSet;

use serde_json::{Value, json};

use crate::rendered::{Rendered, list, pod, text, title};

#[test]
fn every_container_is_probed_limited_and_restricted() {
    for overlay in Rendered::all() {
        let mut seen = 0;
        for workload in overlay.workloads() {
            let spec = &pod(workload)["spec"];
            let containers = list(&spec["containers"]).iter().chain(list(&spec["initContainers"]));
            for container in containers {
                seen += 1;
                let violations = violations_of(workload, &spec["securityContext"], container);
                assert_eq!(violations, [""; 0], "{}: {}, {}", overlay.name, title(workload), container["name"]);
            }
        }
        assert!(seen >= 7, "{}: {seen}", overlay.name);
    }
}

fn violations_of(workload: &Value, pod: &Value, container: &Value) -> Vec<&'static str> {
    let own = &container["securityContext"];
    let either = |field: &str| if own[field].is_null() { pod[field].clone() } else { own[field].clone() };
    let is_job = workload["kind"] == "Job" || workload["kind"] == "CronJob";
    let has_probe = |probe: &str| is_job || container[probe]["httpGet"].is_object() || !container[probe].is_null();
    let image = text(&container["image"]);
    let tag = image.rsplit('/').next().and_then(|last| last.split_once(':')).map_or("", |(_, tag)| tag);
    let rules = [
        (has_probe("startupProbe"), "a start probe"),
        (has_probe("livenessProbe"), "a liveness probe"),
        (has_probe("readinessProbe"), "a readiness probe"),
        (container["resources"]["requests"]["cpu"].is_string(), "a request of processor time"),
        (container["resources"]["requests"]["memory"].is_string(), "a request of memory"),
        (container["resources"]["limits"]["memory"].is_string(), "a limit of memory"),
        (either("runAsNonRoot") == json!(true), "runAsNonRoot"),
        (either("runAsUser").as_u64().is_some_and(|user| user > 0), "a user that is not root"),
        (either("seccompProfile")["type"] == "RuntimeDefault", "seccomp"),
        (own["readOnlyRootFilesystem"] == json!(true), "a root file system that is read only"),
        (own["allowPrivilegeEscalation"] == json!(false), "no escalation of privileges"),
        (own["capabilities"] == json!({"drop": ["ALL"]}), "no capabilities"),
        (!["", "latest"].contains(&tag), "an image with a fixed tag"),
    ];
    rules.into_iter().filter(|(holds, _)| !holds).map(|(_, rule)| rule).collect()
}

#[test]
fn no_pod_has_a_kubernetes_api_token() {
    for overlay in Rendered::all() {
        for workload in overlay.workloads() {
            let spec = &pod(workload)["spec"];
            assert_eq!(spec["automountServiceAccountToken"], false, "{}: {}", overlay.name, title(workload));
            assert_eq!(spec["enableServiceLinks"], false, "{}: {}", overlay.name, title(workload));
            let account = text(&spec["serviceAccountName"]);
            let account = overlay.find("ServiceAccount", account);
            let account = account.unwrap_or_else(|| panic!("{}: {} has no account", overlay.name, title(workload)));
            assert_eq!(account["automountServiceAccountToken"], false, "{}: {}", overlay.name, title(account));
        }
    }
}

#[test]
fn a_service_drains_before_it_is_killed() {
    for overlay in Rendered::all() {
        for deployment in overlay.services() {
            let spec = &pod(deployment)["spec"];
            let pause =
                spec["containers"][0]["lifecycle"]["preStop"]["sleep"]["seconds"].as_u64().expect("a preStop sleep");
            // The process drains for ten seconds at most.
            assert!(spec["terminationGracePeriodSeconds"].as_u64() >= Some(pause + 15), "{}", title(deployment));
            assert_eq!(deployment["spec"]["strategy"]["rollingUpdate"], json!({"maxUnavailable": 0, "maxSurge": 1}));
        }
    }
}

#[test]
fn secrets_are_referenced_and_each_service_has_only_its_own_store() {
    for overlay in Rendered::all() {
        for deployment in overlay.services() {
            let name = text(&deployment["metadata"]["name"]);
            let env = list(&pod(deployment)["spec"]["containers"][0]["env"]);
            assert!(env.iter().all(|variable| variable["value"].is_null()), "{}: {name}: {env:?}", overlay.name);
            let keys: BTreeSet<&str> = env
                .iter()
                .map(|variable| &variable["valueFrom"]["secretKeyRef"])
                .filter(|key| text(&key["name"]).starts_with("souk-stores"))
                .map(|key| text(&key["key"]))
                .collect();
            let own = format!("SOUK_{}_DATABASE_URL", name.to_ascii_uppercase());
            let expected = if name == "gateway" { BTreeSet::new() } else { BTreeSet::from([own.as_str()]) };
            assert_eq!(keys, expected, "{}: {name}", overlay.name);
        }
    }
}
