//! Rendered overlays.

use std::{collections::BTreeMap, env, io::ErrorKind, path::PathBuf, process::Command, sync::LazyLock};

use serde::Deserialize as _;
use serde_json::Value;

/// All overlays, and `deploy` itself, which is the mesh with the dialect `crm`.
const ALL: &[&str] = &["local", "istio", "dapr", "production", CRM];
const CRM: &str = "crm";

/// The kinds that create pods.
const WORKLOADS: &[&str] = &["Deployment", "StatefulSet", "Job", "CronJob"];

/// The root of the repository.
pub fn root() -> PathBuf {
    PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/.."))
}

/// A file of the repository.
pub fn file(path: &str) -> String {
    std::fs::read_to_string(root().join(path)).unwrap_or_else(|error| panic!("{path}: {error}"))
}

/// The documents of a file or of kubectl's output.
pub fn documents(text: &str) -> Vec<Value> {
    serde_yaml_ng::Deserializer::from_str(text)
        .map(|document| Value::deserialize(document).expect("YAML"))
        .filter(|document| !document.is_null())
        .collect()
}

/// An overlay and its objects.
pub struct Rendered {
    pub name: &'static str,
    pub objects: Vec<Value>,
}

/// Rendered once, since it takes a second or two and every test needs it.
static RENDERED: LazyLock<Vec<Rendered>> = LazyLock::new(|| ALL.iter().map(|name| Rendered::render(name)).collect());

impl Rendered {
    /// `deploy/overlays/NAME`.
    pub fn overlay(name: &str) -> &'static Self {
        RENDERED.iter().find(|overlay| overlay.name == name).expect("an overlay")
    }

    /// All overlays.
    pub fn all() -> impl Iterator<Item = &'static Self> {
        RENDERED.iter()
    }

    fn render(name: &'static str) -> Self {
        let kubectl = env::var("KUBECTL").unwrap_or_else(|_| "kubectl".into());
        let folder = if name == CRM { root().join("deploy") } else { root().join("deploy/overlays").join(name) };
        let out = Command::new(&kubectl).arg("kustomize").arg(folder).output();
        let out = match out {
            Err(error) if error.kind() == ErrorKind::NotFound => panic!(
                "{kubectl}, which renders the manifests, is missing: install it \
                 (https://kubernetes.io/docs/tasks/tools/, or apt-get install kubernetes-client), or set KUBECTL to its path"
            ),
            other => other.expect("kubectl runs"),
        };
        assert!(out.status.success(), "{name}: {}", String::from_utf8_lossy(&out.stderr));
        Self { name, objects: documents(&String::from_utf8_lossy(&out.stdout)) }
    }

    /// The objects of a kind.
    pub fn of_kind<'a>(&'a self, kind: &'a str) -> impl Iterator<Item = &'a Value> {
        self.objects.iter().filter(move |object| object["kind"] == kind)
    }

    /// One object.
    pub fn find(&self, kind: &str, name: &str) -> Option<&Value> {
        self.objects.iter().find(|object| object["kind"] == kind && object["metadata"]["name"] == name)
    }

    /// The objects that create pods.
    pub fn workloads(&self) -> impl Iterator<Item = &Value> {
        self.objects.iter().filter(|object| WORKLOADS.iter().any(|kind| object["kind"] == *kind))
    }

    /// The Deployments of services, without canaries.
    pub fn services(&self) -> impl Iterator<Item = &Value> {
        self.of_kind("Deployment").filter(|object| labels(pod(object)).get("souk/track") == Some(&"stable"))
    }

    /// The settings that all services share.
    pub fn fleet(&self) -> BTreeMap<String, String> {
        let map = self.of_kind("ConfigMap").find(|map| text(&map["metadata"]["name"]).starts_with("fleet-"));
        let data = map.expect("a ConfigMap fleet")["data"].as_object().expect("settings");
        data.iter().map(|(name, value)| (name.clone(), text(value).to_owned())).collect()
    }
}

/// The pod template of a workload, with `metadata` and `spec`.
pub fn pod(workload: &Value) -> &Value {
    let spec = &workload["spec"];
    if workload["kind"] == "CronJob" { &spec["jobTemplate"]["spec"]["template"] } else { &spec["template"] }
}

/// Kind and name.
pub fn title(object: &Value) -> String {
    format!("{} {}", text(&object["kind"]), text(&object["metadata"]["name"]))
}

/// The name.
pub fn name(object: &Value) -> &str {
    text(&object["metadata"]["name"])
}

/// The text of a string, empty for other values.
pub fn text(value: &Value) -> &str {
    value.as_str().unwrap_or_default()
}

/// The items of a list, empty for other values.
pub fn list(value: &Value) -> &[Value] {
    value.as_array().map_or(&[], Vec::as_slice)
}

/// The labels of an object or pod.
pub fn labels(object: &Value) -> BTreeMap<&str, &str> {
    pairs(&object["metadata"]["labels"])
}

/// The members of an object, as strings.
pub fn pairs(table: &Value) -> BTreeMap<&str, &str> {
    table.as_object().into_iter().flatten().map(|(name, value)| (name.as_str(), text(value))).collect()
}

/// Whether a label selector of Kubernetes matches these labels.
pub fn selects(selector: &Value, labels: &BTreeMap<&str, &str>) -> bool {
    let by_label = pairs(&selector["matchLabels"]).iter().all(|(name, value)| labels.get(name) == Some(value));
    let by_expression = list(&selector["matchExpressions"]).iter().all(|expression| {
        assert_eq!(expression["operator"], "In", "only the operator In is supported: {expression}");
        let value = labels.get(text(&expression["key"]));
        value.is_some_and(|value| list(&expression["values"]).iter().any(|allowed| allowed == *value))
    });
    by_label && by_expression
}
