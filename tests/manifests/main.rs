//! What `kubectl apply -k` would send, held against rules and against the code.
//!
//! The overlays are rendered by `kubectl kustomize` (`KUBECTL` names the program). No cluster is asked for; for that there is
//! `tests/env/kubernetes/validate`.

mod belongings;
mod code;
mod compose;
mod dapr;
mod edges;
mod mesh;
mod pods;
mod rendered;
mod settings;
mod stores;
