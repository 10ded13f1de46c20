//! Checks of the manifests that `kubectl apply -k` would send, against rules and against the code.
//!
//! The overlays are rendered by `kubectl kustomize` (`KUBECTL` is the path of the program), without a cluster. Checks in a cluster
//! are in `tests/env/kubernetes/validate`.

mod code;
mod compose;
mod dapr;
mod edges;
mod mesh;
mod objects;
mod pods;
mod rendered;
mod settings;
mod stores;
