//! `PaymentService` of an older fleet, as it was: no package, no authentication, a binary float for money.

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
    clients::Standing,
    commands::Reply,
    domain::{Action, Method, OperationRequest, Payment, PaymentKind, PaymentStatus, Terms},
    error::Error,
    store,
};

/// How long a checkout that is under way is waited for.
const PATIENCE: Duration = Duration::from_secs(5);
const PAUSE: Duration = Duration::from_millis(50);
/// Metadata that may carry the exact amount in cents, for which the float of the message is only nearly right.
const CENTS: &str = "amount-cents";
/// Metadata that may carry the caller's own key.
const KEY: &str = "idempotency-key";

#[tonic::async_trait]
impl PaymentService for Api {
    async fn pay(&self, request: Request<PaymentRequest>) -> Result<Response<PaymentResponse>, Status> {
        let op_id = match request.metadata().get(KEY).map(|key| key.to_str()) {
            None => "pay".to_owned(),
            Some(Ok(key)) if wire::any_id(key).is_ok() => key.to_owned(),
            Some(_) => return Err(Status::invalid_argument("idempotency-key is no id")),
        };
        let exact = match request.metadata().get(CENTS).map(|cents| cents.to_str().ok()?.parse::<i64>().ok()) {
            None => None,
            Some(Some(cents @ 1..=100_000_000_000_000)) => Some(Amount::from_minor(cents)),
            Some(_) => return Err(Status::invalid_argument("amount-cents is no whole number above 0")),
        };
        let request = request.into_inner();
        Id::<()>::parse(&request.order_id).map_err(|err| Status::invalid_argument(format!("orderId: {err}")))?;
        let asked = match exact {
            Some(amount) => Asked { amount, float: None },
            None => Asked { amount: cents(request.amount)?, float: Some(request.amount) },
        };
        // The order's own payment answers for it: this call charges nothing for an order of this house.
        let known = self.known(&request.order_id).await.map_err(Problem::from)?;
        let paid = match known {
            Some(payment) => stored(&payment, asked)?,
            None => match self.order(&request.order_id).await? {
                Standing::Unknown => self.pay_apart(&request.order_id, asked, op_id).await?,
                // Its saga was quicker than the question, or ended without money.
                _ => match self.known(&request.order_id).await.map_err(Problem::from)? {
                    Some(payment) => stored(&payment, asked)?,
                    None => false,
                },
            },
        };
        let status = if paid { "SUCCESS" } else { "DECLINED" };
        Ok(Response::new(PaymentResponse { status: status.into() }))
    }
}

impl Api {
    /// How an order of this id stands; one whose checkout is under way is waited for, since it will be charged by that.
    async fn order(&self, order_id: &str) -> Result<Standing, Status> {
        let begun = tokio::time::Instant::now();
        loop {
            let standing = self.orders.standing(order_id).await.map_err(|error| {
                tracing::warn!(%error, "a payment waits for the order service");
                Status::unavailable("the order service does not say whether it knows this order; ask again")
            })?;
            match standing {
                Standing::Running if begun.elapsed() > PATIENCE => {
                    return Err(Status::unavailable("the order is still being placed; ask again"));
                }
                Standing::Running => tokio::time::sleep(PAUSE).await,
                standing => return Ok(standing),
            }
        }
    }

    async fn known(&self, order_id: &str) -> Result<Option<Payment>, Error> {
        let mut tx = self.db.snapshot().await?;
        let orders = [order_id].into();
        Ok(store::payments::of_orders(&mut tx, &orders).await?.remove(order_id))
    }

    /// A payment under an id that this house does not know: in a namespace of its own, once per id.
    async fn pay_apart(&self, order_id: &str, asked: Asked, op_id: String) -> Result<bool, Status> {
        let order_id = OrderId::parse(&format!("{LEGACY}{order_id}"))
            .map_err(|_| Status::invalid_argument(format!("orderId is longer than {} letters", 64 - LEGACY.len())))?;
        if let Some(payment) = self.known(order_id.as_str()).await.map_err(Problem::from)? {
            return stored(&payment, asked);
        }
        let terms = Terms {
            kind: PaymentKind::Legacy,
            amount: asked.amount,
            currency: self.currency,
            customer_id: None,
            method: Method::Card,
            capture: true,
        };
        let change = OperationRequest { order_id, op_id, action: Action::Authorize(terms), note: String::new() };
        let answer = self.queue.operate(vec![change]).await.map_err(Problem::from)?.pop();
        match answer.map(|answer| (answer.reply, answer.payment)) {
            Some((Reply::Done, _)) => Ok(true),
            Some((Reply::InDoubt, _)) | None => Err(in_doubt()),
            // Somebody was faster with another key: what came of his call answers.
            Some((Reply::Refused(_) | Reply::Invalid(_), Some(payment))) => stored(&payment, asked),
            Some((Reply::Refused(_) | Reply::Invalid(_), None)) => Ok(false),
        }
    }
}

/// What somebody pays: exactly, or as the float that he sent.
#[derive(Debug, Clone, Copy)]
struct Asked {
    amount: Amount,
    float: Option<f32>,
}

impl Asked {
    /// Whether this is the amount that is meant. Of a float it is the one that comes nearest to what was sent.
    fn means(self, amount: Amount) -> bool {
        #[expect(clippy::cast_precision_loss, clippy::cast_possible_truncation, reason = "as its sender rounded it")]
        let sent = (amount.minor() as f64 / 100.0) as f32;
        self.amount == amount || self.float.is_some_and(|float| float.to_bits() == sent.to_bits())
    }
}

/// Whether the payment on the books is one of this amount that holds.
fn stored(payment: &Payment, asked: Asked) -> Result<bool, Status> {
    match payment.status {
        PaymentStatus::InDoubt => Err(in_doubt()),
        PaymentStatus::Refused | PaymentStatus::Voided | PaymentStatus::Tombstone => Ok(false),
        PaymentStatus::Authorised
        | PaymentStatus::Captured
        | PaymentStatus::PartlyRefunded
        | PaymentStatus::Refunded => Ok(asked.means(payment.amount)),
    }
}

fn in_doubt() -> Status {
    Status::unavailable("the provider has not answered yet; ask again")
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
        let sent = Asked { amount: cents(float).expect("an amount"), float: Some(float) };
        assert!(sent.amount != amount && sent.means(amount));
        assert!(!sent.means(Amount::from_minor(20_000_101)));
        assert!(!Asked { amount: sent.amount, float: None }.means(amount), "said exactly it is another");
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
