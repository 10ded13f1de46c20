//! `PaymentService`, the old payment proto: no package, no authentication, amounts as binary floats.

use std::time::Duration;

use chassis::Problem;
use commerce::{Amount, Id, OrderId};
use proto::legacy::{PaymentRequest, PaymentResponse, payment_service_server::PaymentService};
use tonic::{Request, Response, Status};

use super::{
    Api,
    wire::{self, LEGACY},
};
use crate::{
    commands::ReplyOutcome,
    domain::{Action, Method, OperationRequest, Payment, PaymentKind, PaymentStatus, Terms},
    error::Error,
    store,
};

/// How long a call waits for a checkout in progress.
const PATIENCE: Duration = Duration::from_secs(5);
/// The pause between two questions about the checkout.
const PAUSE: Duration = Duration::from_millis(50);
/// Optional metadata: the exact amount in cents, since a float is exact only for small amounts.
const CENTS: &str = "amount-cents";
/// Optional metadata: an idempotency key of the caller.
const KEY: &str = "idempotency-key";

#[tonic::async_trait]
impl PaymentService for Api {
    async fn pay(&self, request: Request<PaymentRequest>) -> Result<Response<PaymentResponse>, Status> {
        let op_id = match request.metadata().get(KEY).map(|key| key.to_str()) {
            None => "pay".to_owned(),
            Some(Ok(key)) if wire::check_id(key).is_ok() => key.to_owned(),
            Some(_) => return Err(Status::invalid_argument("idempotency-key is not an id")),
        };
        let exact = match request.metadata().get(CENTS).map(|cents| cents.to_str().ok()?.parse::<i64>().ok()) {
            None => None,
            Some(Some(cents @ 1..=100_000_000_000_000)) => Some(Amount::from_minor(cents)),
            Some(_) => return Err(Status::invalid_argument("amount-cents is not a whole number above 0")),
        };
        let request = request.into_inner();
        Id::<()>::parse(&request.order_id).map_err(|err| Status::invalid_argument(format!("orderId: {err}")))?;
        let amount = match exact {
            Some(amount) => LegacyAmount { amount, float: None },
            None => LegacyAmount { amount: cents(request.amount)?, float: Some(request.amount) },
        };
        // This call charges nothing for an existing order: the order's own payment decides.
        let known = self.find_payment(&request.order_id).await.map_err(Problem::from)?;
        let paid = match known {
            Some(payment) => is_paid(&payment, amount)?,
            None => match self.settled_status(&request.order_id).await? {
                None => self.pay_legacy(&request.order_id, amount, op_id).await?,
                // The saga has created the payment meanwhile, or ended without one.
                _ => match self.find_payment(&request.order_id).await.map_err(Problem::from)? {
                    Some(payment) => is_paid(&payment, amount)?,
                    None => false,
                },
            },
        };
        let status = if paid { "SUCCESS" } else { "DECLINED" };
        Ok(Response::new(PaymentResponse { status: status.into() }))
    }
}

impl Api {
    /// The status of the order with this id, if it exists. Waits for a checkout in progress, since that will charge the order.
    async fn settled_status(&self, order_id: &str) -> Result<Option<String>, Status> {
        let begun = tokio::time::Instant::now();
        loop {
            let status = self.orders.status(order_id).await.map_err(|error| {
                tracing::warn!(%error, "the order service did not answer whether an order exists");
                Status::unavailable("the order service did not answer whether the order exists; try again")
            })?;
            if status.as_deref() != Some("pending") {
                return Ok(status);
            }
            if begun.elapsed() > PATIENCE {
                return Err(Status::unavailable("the order is still being placed; try again"));
            }
            tokio::time::sleep(PAUSE).await;
        }
    }

    async fn find_payment(&self, order_id: &str) -> Result<Option<Payment>, Error> {
        let mut tx = self.db.snapshot().await?;
        let orders = [order_id].into();
        Ok(store::payments::of_orders(&mut tx, &orders).await?.remove(order_id))
    }

    /// Pays under an id that is not an order: in a namespace of its own, once per id.
    async fn pay_legacy(&self, order_id: &str, amount: LegacyAmount, op_id: String) -> Result<bool, Status> {
        let order_id = OrderId::parse(&format!("{LEGACY}{order_id}")).map_err(|_| {
            Status::invalid_argument(format!("orderId is longer than {} characters", 64 - LEGACY.len()))
        })?;
        if let Some(payment) = self.find_payment(order_id.as_str()).await.map_err(Problem::from)? {
            return is_paid(&payment, amount);
        }
        let terms = Terms {
            kind: PaymentKind::Legacy,
            amount: amount.amount,
            currency: self.currency,
            customer_id: None,
            method: Method::Card,
            capture: true,
        };
        let request = OperationRequest { order_id, op_id, action: Action::Authorize(terms), note: String::new() };
        let reply = self.operations.perform(vec![request]).await.map_err(Problem::from)?.pop();
        match reply.map(|reply| (reply.outcome, reply.payment)) {
            Some((ReplyOutcome::Done, _)) => Ok(true),
            Some((ReplyOutcome::InDoubt, _)) | None => Err(in_doubt()),
            // Another call was faster with another key: its payment decides.
            Some((ReplyOutcome::Refused(_) | ReplyOutcome::Invalid(_), Some(payment))) => is_paid(&payment, amount),
            Some((ReplyOutcome::Refused(_) | ReplyOutcome::Invalid(_), None)) => Ok(false),
        }
    }
}

/// The amount of a call: exact, or as the float that was sent.
#[derive(Debug, Clone, Copy)]
struct LegacyAmount {
    amount: Amount,
    float: Option<f32>,
}

impl LegacyAmount {
    /// Whether the call means this amount. For a float that is the amount whose nearest float was sent.
    fn means(self, amount: Amount) -> bool {
        #[expect(clippy::cast_precision_loss, clippy::cast_possible_truncation, reason = "as its sender rounded it")]
        let sent = (amount.minor() as f64 / 100.0) as f32;
        self.amount == amount || self.float.is_some_and(|float| float.to_bits() == sent.to_bits())
    }
}

/// Whether the stored payment has this amount and was not refused or voided.
fn is_paid(payment: &Payment, amount: LegacyAmount) -> Result<bool, Status> {
    match payment.status {
        PaymentStatus::InDoubt => Err(in_doubt()),
        PaymentStatus::Refused | PaymentStatus::Voided | PaymentStatus::Tombstone => Ok(false),
        PaymentStatus::Authorised
        | PaymentStatus::Captured
        | PaymentStatus::PartlyRefunded
        | PaymentStatus::Refunded => Ok(amount.means(payment.amount)),
    }
}

fn in_doubt() -> Status {
    Status::unavailable("the provider has not answered yet; try again")
}

/// Rounds to cents, since 19.99 is no binary float.
fn cents(amount: f32) -> Result<Amount, Status> {
    let cents = (f64::from(amount) * 100.0).round();
    // NaN compares false, so it is refused here too.
    if !(1.0..=1e12).contains(&cents) {
        return Err(Status::invalid_argument(format!("amount is {amount}, but must be a number above 0")));
    }
    #[expect(clippy::cast_possible_truncation, reason = "a whole number in range, just checked")]
    Ok(Amount::from_minor(cents as i64))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_large_amount_is_known_by_the_float_that_it_became() {
        let amount = Amount::from_minor(20_000_001);
        let float = 200_000.01_f32;
        let sent = LegacyAmount { amount: cents(float).expect("an amount"), float: Some(float) };
        assert!(sent.amount != amount && sent.means(amount));
        assert!(!sent.means(Amount::from_minor(20_000_101)));
        assert!(!LegacyAmount { amount: sent.amount, float: None }.means(amount), "said exactly it is another");
    }

    #[test]
    fn a_float_becomes_the_cents_that_were_meant() {
        for (float, minor) in [(19.99, 1999), (0.1, 10), (1.005, 100), (600.0, 60_000), (0.01, 1)] {
            assert_eq!(cents(float).expect("an amount"), Amount::from_minor(minor), "{float}");
        }
        for float in [0.0, -1.0, 0.004, f32::NAN, f32::INFINITY, f32::NEG_INFINITY, f32::MAX] {
            assert!(cents(float).is_err(), "{float}");
        }
    }
}
