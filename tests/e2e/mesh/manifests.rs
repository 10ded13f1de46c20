//! The configuration of Envoy corresponds to the Istio manifests.

use anyhow::{Context, Result, ensure};
use serde::Deserialize as _;
use serde_json::{Value, json};

use super::{read_file, template};

/// The documents of one kind in an Istio manifest.
fn manifests(name: &str, kind: &str) -> Result<Vec<Value>> {
    let text = read_file(&format!("deploy/components/istio/{name}.yaml"))?;
    let all: Vec<Value> =
        serde_yaml_ng::Deserializer::from_str(&text).map(Value::deserialize).collect::<Result<_, _>>()?;
    Ok(all.into_iter().filter(|document| document["kind"] == kind).collect())
}

fn list(value: &Value) -> &[Value] {
    value.as_array().map(Vec::as_slice).unwrap_or_default()
}

/// The load-balancing policy of a service: from `traffic.yaml`, unless a patch in `kustomization.yaml` overrides it.
fn balancing(service: &str, policy: &Value) -> Result<Value> {
    let mut found = policy["loadBalancer"]["simple"].clone();
    for patch in list(&manifests("kustomization", "Component")?[0]["patches"]) {
        let (target, Some(patch)) = (&patch["target"], patch["patch"].as_str()) else { continue };
        let named = target["name"].as_str().is_some_and(|names| names.split('|').any(|name| name == service));
        if target["kind"] != "DestinationRule" || !named {
            continue;
        }
        for change in list(&serde_yaml_ng::from_str(patch)?) {
            if change["path"] == "/spec/trafficPolicy/loadBalancer/simple" {
                found = change["value"].clone();
            }
        }
    }
    Ok(found)
}

/// The Envoy cluster that Istio generates from a DestinationRule, limited to the fields that our rules set.
fn cluster(name: &str, policy: &Value) -> Result<Value> {
    let service = name.split(' ').next().unwrap_or_default();
    let (outliers, pool) = (&policy["outlierDetection"], &policy["connectionPool"]);
    let enforcing = |errors: &Value| if *errors == 0 { 0 } else { 100 };
    let mut cluster = json!({
        "name": name,
        "type": "STATIC",
        "lb_policy": balancing(service, policy)?,
        "connect_timeout": pool["tcp"]["connectTimeout"],
        "circuit_breakers": {"thresholds": [{
            "max_connections": pool["tcp"]["maxConnections"],
            "max_pending_requests": pool["http"]["http1MaxPendingRequests"],
            "max_requests": pool["http"]["http2MaxRequests"],
            "max_retries": u32::MAX,
        }]},
        "outlier_detection": {
            "consecutive_5xx": outliers["consecutive5xxErrors"],
            "enforcing_consecutive_5xx": enforcing(&outliers["consecutive5xxErrors"]),
            "consecutive_gateway_failure": outliers["consecutiveGatewayErrors"],
            "enforcing_consecutive_gateway_failure": enforcing(&outliers["consecutiveGatewayErrors"]),
            "enforcing_success_rate": 0,
            "interval": outliers["interval"],
            "base_ejection_time": outliers["baseEjectionTime"],
            "max_ejection_percent": outliers["maxEjectionPercent"],
        },
        "common_lb_config": {"healthy_panic_threshold": {"value": 0}},
    });
    if name.ends_with(" grpc") {
        let options = "envoy.extensions.upstreams.http.v3.HttpProtocolOptions";
        cluster["typed_extension_protocol_options"] = json!({options: {
            "@type": format!("type.googleapis.com/{options}"), "explicit_http_config": {"http2_protocol_options": {}},
        }});
    }
    Ok(cluster)
}

#[test]
fn the_envoy_configuration_corresponds_to_the_istio_manifests() -> Result<()> {
    let resources = template()?["static_resources"].take();
    let policy = manifests("traffic", "DestinationRule")?[0]["spec"]["trafficPolicy"].take();
    let rules = manifests("destinations", "DestinationRule")?;
    let mut names: Vec<String> =
        rules.iter().filter_map(|rule| rule["spec"]["host"].as_str().map(ToOwned::to_owned)).collect();
    names.extend(["stock grpc", "payment grpc"].map(ToOwned::to_owned));
    ensure!(list(&resources["clusters"]).len() == names.len() && list(&resources["listeners"]).len() == names.len());
    let routes = [manifests("routes", "VirtualService")?, manifests("edge", "VirtualService")?].concat();
    for name in &names {
        let find = |of: &str| {
            list(&resources[of]).iter().find(|one| one["name"] == *name).with_context(|| format!("no {name}"))
        };
        assert_eq!(*find("clusters")?, cluster(name, &policy)?);

        let listener = &find("listeners")?["filter_chains"][0]["filters"][0]["typed_config"];
        let route = &listener["route_config"]["virtual_hosts"][0]["routes"][0]["route"];
        let manifest_route = routes.iter().flat_map(|service| list(&service["spec"]["http"])).find(|route| {
            let to = &route["route"][0]["destination"];
            let is_grpc = to["port"]["number"].as_u64().is_some_and(|port| port > 50_000);
            to["host"] == *name.trim_end_matches(" grpc") && is_grpc == name.ends_with(" grpc")
        });
        let retries = manifest_route.is_none_or(|route| route["retries"]["attempts"] != 0);
        assert_eq!(route["retry_policy"].is_object(), retries, "{name}");
        // Our routes set no time-out, and only retries of 0. A manifest that sets others needs a comparison here.
        let timeout = manifest_route.map_or(&Value::Null, |route| &route["timeout"]);
        assert_eq!(route["timeout"], *timeout.as_str().unwrap_or("0s"), "{name}");
        assert_eq!(route["cluster"], *name);
        assert_eq!(list(&listener["http_filters"]).len(), if name == "gateway" { 2 } else { 1 }, "{name}");
    }

    let check = &manifests("tokens", "RequestAuthentication")?[0]["spec"];
    assert_eq!(check["selector"]["matchLabels"]["app.kubernetes.io/name"], "gateway");
    let edge = list(&resources["listeners"]).iter().find(|one| one["name"] == "gateway").context("an edge")?;
    let filter = &edge["filter_chains"][0]["filters"][0]["typed_config"]["http_filters"][0]["typed_config"];
    let (rule, provider) = (&check["jwtRules"][0], &filter["providers"]["origins-0"]);
    assert_eq!([&provider["issuer"], &provider["audiences"]], [&rule["issuer"], &rule["audiences"]]);
    assert_eq!(
        [&provider["forward"], &provider["remote_jwks"]["http_uri"]["uri"]],
        [&rule["forwardOriginalToken"], &rule["jwksUri"]]
    );
    assert_eq!(
        filter["rules"][0]["requires"],
        json!({"requires_any": {"requirements": [{"provider_name": "origins-0"}, {"allow_missing": {}}]}})
    );
    Ok(())
}
