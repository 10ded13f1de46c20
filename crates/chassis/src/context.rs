//! What a process hands to each service that it runs.

use std::future::Future;
use std::panic::AssertUnwindSafe;

use futures::FutureExt;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tracing::Instrument;

use crate::{CrashPoints, Metrics};

/// The surroundings of one service in its process. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Context {
    /// The service's name.
    pub name: &'static str,
    /// Which replica this is, different at every start.
    pub instance: String,
    /// Its own metrics.
    pub metrics: Metrics,
    /// Cancelled when it is to stop.
    pub shutdown: CancellationToken,
    /// What runs in the background and is waited for at the end.
    pub tasks: TaskTracker,
    /// Where tests have it die.
    pub crash: CrashPoints,
}

impl Context {
    /// Surroundings with empty metrics and no tasks yet.
    pub fn new(
        name: &'static str,
        instance: impl Into<String>,
        shutdown: CancellationToken,
        crash: CrashPoints,
    ) -> Self {
        Self { name, instance: instance.into(), metrics: Metrics::new(), shutdown, tasks: TaskTracker::new(), crash }
    }

    /// An instance id that no other replica has, now or later.
    pub fn new_instance() -> String {
        uuid::Uuid::now_v7().simple().to_string()
    }

    /// Runs something in the background, in a span of this service; a panic is logged, not lost.
    pub fn spawn<F>(&self, what: &'static str, future: F) -> tokio::task::JoinHandle<()>
    where
        F: Future<Output = ()> + Send + 'static,
    {
        let span = tracing::info_span!(parent: None, "task", service = self.name, task = what);
        let guarded = async move {
            if AssertUnwindSafe(future).catch_unwind().await.is_err() {
                tracing::error!(task = what, "background task panicked and is gone");
            }
        };
        self.tasks.spawn(guarded.instrument(span))
    }
}
