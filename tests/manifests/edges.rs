//! The calls between pods: the NetworkPolicies allow exactly the calls that the code makes.
//!
//! The calls of the code are derived from each service's settings: every field `…_url` is the URL of a called service. Its value in
//! the manifests contains the Service and port, and the selector of the Service selects the pods.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;

use crate::{
    code::{SERVICES, fields, ports, variable},
    rendered::{Rendered, file, labels, list, name, pod, selects, text},
};

/// Caller, callee and port.
pub type Edges = BTreeSet<(String, String, u64)>;

/// The calls of pods that are not services: monitoring, and the jobs of the command line.
fn helper_edges() -> Edges {
    let metrics = SERVICES.iter().map(|service| ("prometheus", *service, ports(service)["http"]));
    metrics
        .chain([
            ("grafana", "prometheus", 9090),
            ("grafana", "zipkin", 9411),
            ("tools", "postgres", 5432),
            ("tools", "mongodb", 27017),
            ("tools", "kafka", 9092),
        ])
        .map(|(from, to, port)| (from.to_owned(), to.to_owned(), port))
        .collect()
}

/// The calls of the services, according to their settings in the overlay.
pub fn code_edges(overlay: &Rendered) -> Edges {
    let fleet = overlay.fleet();
    let stores = variables(&file("deploy/overlays/local/stores.env"));
    let mut edges = Edges::new();
    for service in SERVICES {
        let mut urls: Vec<String> = Vec::new();
        for field in fields(service).iter().filter(|field| field.ends_with("_url")) {
            let url = match field.as_str() {
                "database_url" => stores.get(&format!("SOUK_{}_DATABASE_URL", service.to_ascii_uppercase())),
                field => fleet.get(&variable(field)),
            };
            urls.push(url.unwrap_or_else(|| panic!("nothing sets {field} of {service}")).clone());
        }
        // Every service exports spans.
        urls.extend(fleet.iter().filter(|(name, _)| name.starts_with("OTEL_EXPORTER_")).map(|(_, url)| url.clone()));
        for url in urls {
            let (host, port) = address(&url);
            // 127.0.0.1 is a sidecar in the same pod, and a service does not call itself.
            if host == "127.0.0.1" || host == *service {
                continue;
            }
            let target = overlay.find("Service", &host).unwrap_or_else(|| panic!("{service}: no Service for {url}"));
            let ports = list(&target["spec"]["ports"]);
            assert!(
                ports.iter().any(|open| open["port"].as_u64() == Some(port)),
                "{service}: the Service has no port for {url}"
            );
            edges.insert((
                (*service).to_owned(),
                text(&target["spec"]["selector"]["app.kubernetes.io/name"]).to_owned(),
                port,
            ));
        }
    }
    edges
}

/// Host and port of a URL.
fn address(url: &str) -> (String, u64) {
    let (_, rest) = url.split_once("://").expect("a URL");
    let rest = rest.split(['/', '?']).next().unwrap_or_default();
    let (host, port) = rest.rsplit('@').next().and_then(|rest| rest.split_once(':')).expect("host and port");
    (host.to_owned(), port.parse().expect("a port"))
}

/// The lines of an env file.
pub fn variables(text: &str) -> BTreeMap<String, String> {
    text.lines()
        .filter(|line| !line.starts_with('#'))
        .filter_map(|line| line.split_once('='))
        .map(|(name, value)| (name.to_owned(), value.to_owned()))
        .collect()
}

#[test]
fn network_policies_allow_what_the_code_uses_and_nothing_else() {
    let overlay = Rendered::overlay("local");
    let network = Network::of(overlay);
    let expected: Edges = code_edges(overlay).into_iter().chain(helper_edges()).collect();
    let gateway_edges: Edges = network
        .pods
        .keys()
        .filter(|from| **from != "gateway")
        .map(|from| ((*from).to_owned(), "gateway".to_owned(), ports("gateway")["http"]))
        .collect();
    assert_eq!(differences(&network.allowed("egress", "to"), &expected), [""; 0], "egress");
    // Every pod in the namespace may call the gateway.
    let ingress: Edges = expected.union(&gateway_edges).cloned().collect();
    assert_eq!(differences(&network.allowed("ingress", "from"), &ingress), [""; 0], "ingress");
}

#[test]
fn every_overlay_keeps_the_edges_between_services() {
    let between = |edges: Edges| -> Edges {
        let is_service = |name: &String| SERVICES.contains(&name.as_str());
        edges.into_iter().filter(|(from, to, _)| is_service(from) && is_service(to)).collect()
    };
    for overlay in Rendered::all() {
        let expected: Edges = SERVICES
            .iter()
            .flat_map(|service| fields(service).into_iter().map(|field| ((*service).to_owned(), field)))
            .filter_map(|(service, field)| {
                let callee = field.strip_suffix("_url")?;
                let (to, port) = match callee {
                    "database" | "bus" => return None,
                    "jwks" => ("customer", "http"),
                    other => other.strip_suffix("_grpc").map_or((other, "http"), |to| (to, "grpc")),
                };
                Some((service, to.to_owned(), ports(to)[port]))
            })
            .filter(|(from, to, _)| from != to)
            .collect();
        let network = Network::of(overlay);
        assert_eq!(differences(&between(network.allowed("egress", "to")), &expected), [""; 0], "{}", overlay.name);
    }
}

#[test]
fn everything_that_no_policy_allows_is_denied() {
    for overlay in Rendered::all() {
        let policy = overlay.of_kind("NetworkPolicy").find(|policy| name(policy) == "default-deny").expect("one");
        assert_eq!(policy["spec"], serde_json::json!({"podSelector": {}, "policyTypes": ["Ingress", "Egress"]}));
    }
}

/// The edges that are only in one of the two sets, as sentences.
pub fn differences(found: &Edges, expected: &Edges) -> Vec<String> {
    let sentence = |verb: &str, (from, to, port): &(String, String, u64)| format!("{verb}: {from} to {to}:{port}");
    let unused = found.difference(expected).map(|edge| sentence("allowed, but not used", edge));
    unused.chain(expected.difference(found).map(|edge| sentence("used, but not allowed", edge))).collect()
}

/// The pods of an overlay, and the network policies between them.
struct Network<'a> {
    /// The pods by `app.kubernetes.io/name`.
    pods: BTreeMap<&'a str, &'a Value>,
    policies: Vec<&'a Value>,
}

impl<'a> Network<'a> {
    fn of(overlay: &'a Rendered) -> Self {
        let pods = overlay.workloads().map(pod).map(|pod| (labels(pod)["app.kubernetes.io/name"], pod)).collect();
        Self { pods, policies: overlay.of_kind("NetworkPolicy").collect() }
    }

    /// The edges that the policies of one direction allow between pods of the overlay.
    fn allowed(&self, direction: &str, peer_field: &str) -> Edges {
        let mut edges = Edges::new();
        for policy in &self.policies {
            for (own_name, own_pod) in self.selected(&policy["spec"]["podSelector"]) {
                for rule in list(&policy["spec"][direction]) {
                    for (peer_name, peer_pod) in self.peers(&rule[peer_field]) {
                        let ((from, _), (to, target)) = if direction == "egress" {
                            ((own_name, own_pod), (peer_name, peer_pod))
                        } else {
                            ((peer_name, peer_pod), (own_name, own_pod))
                        };
                        let open = list(&rule["ports"]).iter().filter_map(|port| number(&port["port"], target));
                        edges.extend(open.filter(|_| from != to).map(|port| (from.to_owned(), to.to_owned(), port)));
                    }
                }
            }
        }
        edges
    }

    fn selected(&self, selector: &Value) -> Vec<(&'a str, &'a Value)> {
        self.pods.iter().filter(|(_, pod)| selects(selector, &labels(pod))).map(|(name, pod)| (*name, *pod)).collect()
    }

    fn peers(&self, peers: &Value) -> Vec<(&'a str, &'a Value)> {
        if peers.is_null() {
            return self.pods.iter().map(|(name, pod)| (*name, *pod)).collect();
        }
        // Peers in other namespaces are not part of this overlay.
        let here = list(peers).iter().filter(|peer| peer["namespaceSelector"].is_null());
        here.flat_map(|peer| self.selected(&peer["podSelector"])).collect()
    }
}

/// A port by its number or name, if the pod has it.
fn number(port: &Value, pod: &Value) -> Option<u64> {
    let open = list(&pod["spec"]["containers"][0]["ports"]).iter();
    let found = open.clone().find(|open| open["name"] == *port || open["containerPort"] == *port);
    found.and_then(|open| open["containerPort"].as_u64())
}
