//! What this service asks of others: the payment providers; and the order service, before somebody pays under an id that may be
//! an order's.

mod orders;
mod sandbox;

use std::{sync::Arc, time::Duration};

use commerce::CustomerId;

use crate::domain::{Payment, ProviderRequest, Resolution};

pub(crate) use orders::{Orders, Standing};
pub(crate) use sandbox::{Sandbox, SandboxBalances};

/// One demand on a provider, with the key that makes it happen once.
#[derive(Debug, Clone)]
pub(crate) struct ProviderCall {
    /// The idempotency key: the same for every try of one operation.
    pub key: String,
    /// Whose money.
    pub customer_id: Option<CustomerId>,
    /// What is wanted.
    pub request: ProviderRequest,
}

impl ProviderCall {
    /// The call for the operation at `place`.
    pub(crate) fn of(payment: &Payment, index: usize, request: ProviderRequest) -> Self {
        let operation = &payment.operations[index];
        Self {
            key: format!("{}:{}:{}", payment.order_id, operation.op.as_str(), operation.op_id),
            customer_id: payment.customer_id.clone(),
            request,
        }
    }
}

/// No answer: nobody knows whether it happened.
#[derive(Debug, thiserror::Error)]
#[error("the provider did not answer: {0}")]
pub(crate) struct NoAnswer(pub String);

/// A provider that keeps its own books. It does each key at most once.
#[tonic::async_trait]
pub(crate) trait RemoteProvider: Send + Sync {
    /// Does what is demanded, or says again what it said to this key.
    async fn send(&self, call: &ProviderCall) -> Result<Resolution, NoAnswer>;
    /// What became of this key; nothing where the provider never saw it.
    async fn lookup(&self, key: &str) -> Result<Option<Resolution>, NoAnswer>;
    /// Spoils the key, so that a straggling [`RemoteProvider::send`] is refused; if it was done before, says so.
    async fn abandon(&self, key: &str) -> Result<Resolution, NoAnswer>;
}

/// Who decides about cards.
#[derive(Clone)]
pub(crate) struct Provider {
    /// Decides inside the payment's own transaction. None where the provider is a foreign one.
    pub local: Option<Sandbox>,
    /// Decides by calls; also settles what an earlier run left in doubt.
    pub remote: Arc<dyn RemoteProvider>,
    /// How long one call may take.
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
