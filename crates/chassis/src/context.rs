//! What a process passes to each service that it runs.

use std::future::Future;
use std::panic::AssertUnwindSafe;

use futures::FutureExt;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tracing::Instrument;

use crate::{CrashPoints, Metrics, Network};

/// The environment of one service in its process. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Context {
    /// The service's name.
    pub name: &'static str,
    /// The id of this replica, different at every start.
    pub instance: String,
    /// The metrics of the service.
    pub metrics: Metrics,
    /// Cancelled when the service is to stop.
    pub shutdown: CancellationToken,
    /// Background tasks, which the shutdown waits for.
    pub tasks: TaskTracker,
    /// Where tests abort the process.
    pub crash: CrashPoints,
    /// How calls reach other services.
    pub network: Network,
}

impl Context {
    /// A context with empty metrics and no tasks.
    pub fn new(
        name: &'static str,
        instance: impl Into<String>,
        shutdown: CancellationToken,
        crash: CrashPoints,
    ) -> Self {
        Self {
            name,
            instance: instance.into(),
            metrics: Metrics::new(),
            shutdown,
            tasks: TaskTracker::new(),
            crash,
            network: Network::default(),
        }
    }

    /// A globally unique instance id.
    pub fn new_instance() -> String {
        uuid::Uuid::now_v7().simple().to_string()
    }

    /// Spawns a background task in a span of this service. A panic in it is logged; the task is not restarted.
    pub fn spawn<F>(&self, what: &'static str, future: F) -> tokio::task::JoinHandle<()>
    where
        F: Future<Output = ()> + Send + 'static,
    {
        let span = tracing::info_span!(parent: None, "task", service = self.name, task = what);
        let guarded = async move {
            if AssertUnwindSafe(future).catch_unwind().await.is_err() {
                tracing::error!(task = what, "background task panicked and has ended");
            }
        };
        self.tasks.spawn(guarded.instrument(span))
    }
}
