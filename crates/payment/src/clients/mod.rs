//! The client of the payment provider.

mod sandbox;

use std::{sync::Arc, time::Duration};

use commerce::CustomerId;

use crate::domain::{Payment, ProviderRequest, Resolution};

pub(crate) use sandbox::{Sandbox, SandboxBalances};

/// A call to a provider, with the key by which it takes effect once.
#[derive(Debug, Clone)]
pub(crate) struct ProviderCall {
    /// The idempotency key: the same for every try of one operation.
    pub key: String,
    /// The payer.
    pub customer_id: Option<CustomerId>,
    /// What the provider shall do.
    pub request: ProviderRequest,
}

impl ProviderCall {
    /// The call for the operation at `index`.
    pub(crate) fn of(payment: &Payment, index: usize, request: ProviderRequest) -> Self {
        let operation = &payment.operations[index];
        Self {
            key: format!("{}:{}:{}", payment.order_id, operation.op.as_str(), operation.op_id),
            customer_id: payment.customer_id.clone(),
            request,
        }
    }
}

/// The provider did not answer: the call may have taken effect or not.
#[derive(Debug, thiserror::Error)]
#[error("the provider did not answer: {0}")]
pub(crate) struct NoAnswer(pub String);

/// A provider with its own store. Each key takes effect at most once.
#[tonic::async_trait]
pub(crate) trait RemoteProvider: Send + Sync {
    /// Performs the request, or returns the first answer to this key again.
    async fn send(&self, call: &ProviderCall) -> Result<Resolution, NoAnswer>;
    /// The answer to this key; none if the provider has never received it.
    async fn lookup(&self, key: &str) -> Result<Option<Resolution>, NoAnswer>;
    /// Invalidates the key, so that a late [`RemoteProvider::send`] is refused. Returns the answer if there is one already.
    async fn abandon(&self, key: &str) -> Result<Resolution, NoAnswer>;
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
    pub(crate) async fn lookup(&self, key: &str) -> Result<Option<Resolution>, NoAnswer> {
        within(self.timeout, self.remote.lookup(key)).await
    }

    /// [`RemoteProvider::abandon`] within the time-out.
    pub(crate) async fn abandon(&self, key: &str) -> Result<Resolution, NoAnswer> {
        within(self.timeout, self.remote.abandon(key)).await
    }
}

async fn within<T>(limit: Duration, call: impl Future<Output = Result<T, NoAnswer>>) -> Result<T, NoAnswer> {
    match tokio::time::timeout(limit, call).await {
        Ok(answer) => answer,
        Err(_) => Err(NoAnswer(format!("not within {} ms", limit.as_millis()))),
    }
}
