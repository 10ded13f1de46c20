//! Who may call whom: what the NetworkPolicies allow is what the code uses, no more and no less.
//!
//! What the code uses comes from each service's settings: every field `…_url` is somebody who is called. The value that the
//! manifests give to it names the Service and port, and the Service's selector the pods.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;

use crate::{
    code::{SERVICES, fields, ports, variable},
    rendered::{Rendered, file, labels, list, name, pod, selects, text},
};

/// Who calls whom on which port.
pub type Edges = BTreeSet<(String, String, u64)>;

/// Whom nobody but these calls, beside the services: monitoring, and the jobs of the command line.
fn of_helpers() -> Edges {
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

/// The calls that the services' settings lead to, as the overlay sets them.
pub fn of_the_code(overlay: &Rendered) -> Edges {
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
        // Spans of every service.
        urls.extend(fleet.iter().filter(|(name, _)| name.starts_with("OTEL_EXPORTER_")).map(|(_, url)| url.clone()));
        for url in urls {
            let (host, port) = address(&url);
            // A sidecar is in the same pod, and a service does not call itself.
            if host == "127.0.0.1" || host == *service {
                continue;
            }
            let target = overlay.find("Service", &host).unwrap_or_else(|| panic!("{service}: no Service for {url}"));
            let ports = list(&target["spec"]["ports"]);
            assert!(ports.iter().any(|open| open["port"].as_u64() == Some(port)), "{service}: {url} is not open");
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
    let wanted: Edges = of_the_code(overlay).into_iter().chain(of_helpers()).collect();
    let front_door: Edges = network
        .pods
        .keys()
        .filter(|from| **from != "gateway")
        .map(|from| ((*from).to_owned(), "gateway".to_owned(), ports("gateway")["http"]))
        .collect();
    assert_eq!(differences(&network.allowed("egress", "to"), &wanted), [""; 0], "going out");
    // Whoever reaches the namespace may knock at the front door.
    let arriving: Edges = wanted.union(&front_door).cloned().collect();
    assert_eq!(differences(&network.allowed("ingress", "from"), &arriving), [""; 0], "coming in");
}

#[test]
fn every_overlay_keeps_the_edges_between_services() {
    let between = |edges: Edges| -> Edges {
        let is_service = |name: &String| SERVICES.contains(&name.as_str());
        edges.into_iter().filter(|(from, to, _)| is_service(from) && is_service(to)).collect()
    };
    for overlay in Rendered::all() {
        let wanted: Edges = SERVICES
            .iter()
            .flat_map(|service| fields(service).into_iter().map(|field| ((*service).to_owned(), field)))
            .filter_map(|(service, field)| {
                let neighbour = field.strip_suffix("_url")?;
                let (to, port) = match neighbour {
                    "database" | "bus" => return None,
                    "jwks" => ("customer", "http"),
                    other => other.strip_suffix("_grpc").map_or((other, "http"), |to| (to, "grpc")),
                };
                Some((service, to.to_owned(), ports(to)[port]))
            })
            .filter(|(from, to, _)| from != to)
            .collect();
        let network = Network::of(overlay);
        assert_eq!(differences(&between(network.allowed("egress", "to")), &wanted), [""; 0], "{}", overlay.name);
    }
}

#[test]
fn nothing_is_allowed_that_no_policy_names() {
    for overlay in Rendered::all() {
        let policy = overlay.of_kind("NetworkPolicy").find(|policy| name(policy) == "default-deny").expect("one");
        assert_eq!(policy["spec"], serde_json::json!({"podSelector": {}, "policyTypes": ["Ingress", "Egress"]}));
    }
}

/// What is there only, and what is wanted only, as sentences.
pub fn differences(found: &Edges, wanted: &Edges) -> Vec<String> {
    let tell = |verb: &str, (from, to, port): &(String, String, u64)| format!("{verb}: {from} to {to}:{port}");
    let more = found.difference(wanted).map(|edge| tell("allowed, but not used", edge));
    more.chain(wanted.difference(found).map(|edge| tell("used, but not allowed", edge))).collect()
}

/// The pods of an overlay and what may pass between them.
struct Network<'a> {
    /// By `app.kubernetes.io/name`.
    pods: BTreeMap<&'a str, &'a Value>,
    policies: Vec<&'a Value>,
}

impl<'a> Network<'a> {
    fn of(overlay: &'a Rendered) -> Self {
        let pods = overlay.workloads().map(pod).map(|pod| (labels(pod)["app.kubernetes.io/name"], pod)).collect();
        Self { pods, policies: overlay.of_kind("NetworkPolicy").collect() }
    }

    /// The edges that the policies of one direction allow between pods of the overlay.
    fn allowed(&self, direction: &str, peers: &str) -> Edges {
        let mut edges = Edges::new();
        for policy in &self.policies {
            for (near, own) in self.chosen(&policy["spec"]["podSelector"]) {
                for rule in list(&policy["spec"][direction]) {
                    for (far, other) in self.far_ends(&rule[peers]) {
                        let ((from, _), (to, target)) = if direction == "egress" {
                            ((near, own), (far, other))
                        } else {
                            ((far, other), (near, own))
                        };
                        let open = list(&rule["ports"]).iter().filter_map(|port| number(&port["port"], target));
                        edges.extend(open.filter(|_| from != to).map(|port| (from.to_owned(), to.to_owned(), port)));
                    }
                }
            }
        }
        edges
    }

    fn chosen(&self, selector: &Value) -> Vec<(&'a str, &'a Value)> {
        self.pods.iter().filter(|(_, pod)| selects(selector, &labels(pod))).map(|(name, pod)| (*name, *pod)).collect()
    }

    fn far_ends(&self, peers: &Value) -> Vec<(&'a str, &'a Value)> {
        if peers.is_null() {
            return self.pods.iter().map(|(name, pod)| (*name, *pod)).collect();
        }
        // Other namespaces are not of this overlay.
        let here = list(peers).iter().filter(|peer| peer["namespaceSelector"].is_null());
        here.flat_map(|peer| self.chosen(&peer["podSelector"])).collect()
    }
}

/// A port by its number or name, if the pod has it.
fn number(port: &Value, pod: &Value) -> Option<u64> {
    let open = list(&pod["spec"]["containers"][0]["ports"]).iter();
    let own = open.clone().find(|own| own["name"] == *port || own["containerPort"] == *port);
    own.and_then(|own| own["containerPort"].as_u64())
}
