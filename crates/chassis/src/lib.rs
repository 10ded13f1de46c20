//! The service chassis: start, serving, observability and shutdown of a process.
//!
//! It contains what all services need around their business logic: configuration, the HTTP and gRPC servers with their
//! middleware, health, metrics, traces and `application/problem+json`. It contains no business logic.

pub mod backoff;
mod body;
pub mod conditional;
pub mod config;
mod context;
mod crash;
pub mod deadline;
mod docs;
mod extract;
pub mod grpc;
mod http;
mod kind;
mod metrics;
mod network;
mod peer;
mod problem;
mod process;
mod query;
mod secret;
mod serve;
pub mod telemetry;
mod text;
pub mod trace;

pub use body::{BodyProgress, longest_upload};
pub use context::Context;
pub use crash::{CrashPoints, UnknownCrashPoint};
pub use docs::{openapi_docs, swagger_config, with_problems};
pub use extract::{BODY_LIMIT, Json, OptionalJson, Path, Query, parse_json, read_body};
pub use http::{RequestId, TraceParent};
pub use kind::Kind;
pub use metrics::Metrics;
pub use network::{Network, Transport, Unreachable};
pub use peer::{CallError, Peer, Refusal};
pub use problem::{FieldError, Problem};
pub use process::{Settings, main};
pub use query::from_query;
pub use secret::Secret;
pub use serve::{App, CALLER_IDLE, Callers, Listeners, Ready, always_ready, ready_if, ready_with, serve, serve_port};
pub use text::{check_line, check_text};

/// The version of Souk, the same for all services.
pub const VERSION: &str = env!("CARGO_PKG_VERSION");
/// The commit that this was built from: `dev` in debug builds, `unknown` in release builds outside of a Git repository.
pub const COMMIT: &str = env!("SOUK_BUILD_COMMIT");
/// Version and commit in one text.
pub const RELEASE: &str = concat!(env!("CARGO_PKG_VERSION"), " (", env!("SOUK_BUILD_COMMIT"), ")");
