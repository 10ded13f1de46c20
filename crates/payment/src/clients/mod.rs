//! The client of the payment provider.

mod sandbox;

use std::{sync::Arc, time::Duration};

use crate::domain::{ProviderCall, Resolution};

pub(crate) use sandbox::{Sandbox, SandboxBalances};

/// The provider did not answer: the call may have taken effect or not.
#[derive(Debug, thiserror::Error)]
#[error("the provider did not answer: {0}")]
pub(crate) struct NoAnswer(pub String);

/// A provider with its own store. Each key takes effect at most once; with another payer or request it is refused.
#[tonic::async_trait]
pub(crate) trait RemoteProvider: Send + Sync {
    /// Performs the request, or returns the first answer to this key again.
    async fn send(&self, call: &ProviderCall) -> Result<Resolution, NoAnswer>;
    /// The answer to this call; none if the provider has never received its key.
    async fn lookup(&self, call: &ProviderCall) -> Result<Option<Resolution>, NoAnswer>;
    /// Invalidates the key, so that a late [`RemoteProvider::send`] is refused. Returns the answer if there is one already.
    async fn abandon(&self, call: &ProviderCall) -> Result<Resolution, NoAnswer>;
}

/// The provider of card payments.
#[derive(Clone)]
pub(crate) struct Provider {
    /// Decides in the transaction of the payment. None if the provider is remote.
    pub local: Option<Sandbox>,
    /// Decides by calls; also for operations that an earlier run has left in doubt.
    pub remote: Arc<dyn RemoteProvider>,
    /// The time-out of one call.
    pub timeout: Duration,
}

impl Provider {
    /// [`RemoteProvider::send`] within the time-out.
    pub(crate) async fn send(&self, call: &ProviderCall) -> Result<Resolution, NoAnswer> {
        within(self.timeout, self.remote.send(call)).await
    }

    /// [`RemoteProvider::lookup`] within the time-out.
    pub(crate) async fn lookup(&self, call: &ProviderCall) -> Result<Option<Resolution>, NoAnswer> {
        within(self.timeout, self.remote.lookup(call)).await
    }

    /// [`RemoteProvider::abandon`] within the time-out.
    pub(crate) async fn abandon(&self, call: &ProviderCall) -> Result<Resolution, NoAnswer> {
        within(self.timeout, self.remote.abandon(call)).await
    }
}

async fn within<T>(limit: Duration, call: impl Future<Output = Result<T, NoAnswer>>) -> Result<T, NoAnswer> {
    match tokio::time::timeout(limit, call).await {
        Ok(answer) => answer,
        Err(_) => Err(NoAnswer(format!("not within {} ms", limit.as_millis()))),
    }
}
