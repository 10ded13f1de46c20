//! A request to a payment provider.

use commerce::{Amount, CustomerId};

use super::{Payment, ProviderRequest};

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
        let key = payment.operations[index].provider_key.clone();
        Self { key, customer_id: payment.customer_id.clone(), request }
    }

    /// Payer and request as a text, by which a provider tells a repeat from another call.
    pub(crate) fn parameters(&self) -> String {
        let customer = self.customer_id.as_ref().map_or("", CustomerId::as_str);
        let (name, amounts) = match self.request {
            ProviderRequest::Charge(amount) => ("charge", [amount, Amount::ZERO]),
            ProviderRequest::Capture { amount, rest } => ("capture", [amount, rest]),
            ProviderRequest::ReleaseHold(amount) => ("release", [amount, Amount::ZERO]),
            ProviderRequest::Refund(amount) => ("refund", [amount, Amount::ZERO]),
        };
        format!("{name} {} {} {customer}", amounts[0].minor(), amounts[1].minor())
    }
}
