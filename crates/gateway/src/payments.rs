//! REST `/api/payments` for admins, over the gRPC API of the payment service.

use auth::{AdminOnly, Allow};
use axum::{
    extract::State,
    response::{IntoResponse, Response},
};
use chassis::{Json, Kind, Path, Problem, Query};
use commerce::{Amount, ReturnId, Timestamp, page::Page};
use http::{HeaderMap, StatusCode};
use idempotency::Fingerprint;
use proto::payment::v1 as payment;
use serde::{Deserialize, Serialize};
use tonic::{Code, Request, Status};
use utoipa::{IntoParams, ToSchema};

use crate::{proxy, state::Gateway};

/// The payment of an order.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct Payment {
    /// The payment's id.
    id: String,
    /// The number that people use, from 1.
    number: i64,
    /// The order's id.
    order_id: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    customer_id: String,
    /// The authorised amount, such as 12.34.
    amount: Amount,
    /// The currency of all amounts, such as EUR.
    currency: String,
    /// card or cash.
    method: String,
    /// authorised, captured, refused, voided, partly_refunded, refunded, or in_doubt while the provider has not answered.
    status: String,
    /// All operations, oldest first.
    operations: Vec<Operation>,
    created_at: Timestamp,
    updated_at: Timestamp,
}

/// An operation on a payment.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct Operation {
    /// authorize, capture, void or refund.
    op: String,
    /// Distinguishes a repeat from a second operation of the same kind.
    op_id: String,
    amount: Amount,
    at: Timestamp,
    /// done, refused or in_doubt.
    outcome: String,
}

impl From<payment::Payment> for Payment {
    fn from(p: payment::Payment) -> Self {
        let time = |millis: i64| Timestamp::from_micros(millis.saturating_mul(1_000));
        let operations = p
            .operations
            .into_iter()
            .map(|o| Operation {
                op: o.op,
                op_id: o.op_id,
                amount: Amount::from_minor(o.amount),
                at: time(o.at),
                outcome: o.outcome,
            })
            .collect();
        Self {
            id: p.id,
            number: p.number,
            order_id: p.order_id,
            customer_id: p.customer_id,
            amount: Amount::from_minor(p.amount),
            currency: p.currency,
            method: p.method,
            status: p.status,
            operations,
            created_at: time(p.created_at),
            updated_at: time(p.updated_at),
        }
    }
}

/// The filter of the list.
#[derive(Debug, Default, Deserialize, IntoParams)]
#[serde(default, deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(crate) struct PaymentQuery {
    /// Only the payment of this order.
    order_id: Option<String>,
    /// Only payments with this status.
    status: Option<String>,
    /// Rows of the page, 1 to 100; 20 by default.
    limit: Option<u32>,
    /// The `next_cursor` of the previous page.
    cursor: Option<String>,
}

/// A refund by an admin.
#[derive(Debug, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct NewRefund {
    /// Chosen by the client, at most 59 characters. A repeat with the same id makes no second refund.
    #[serde(default)]
    id: Option<ReturnId>,
    /// The refunded amount, more than 0.
    amount: Amount,
    /// The reason, at most 500 characters.
    #[serde(default)]
    reason: Option<String>,
}

/// Lists payments, newest first.
#[utoipa::path(get, operation_id = "listPayments", path = "/api/payments", tag = "payments", params(PaymentQuery),
    responses((status = 200, body = Page<Payment>)))]
pub(crate) async fn list(
    State(gateway): State<Gateway>,
    caller: Allow<AdminOnly>,
    Query(query): Query<PaymentQuery>,
) -> Result<Json<Page<Payment>>, Problem> {
    if query.limit.is_some_and(|limit| !(1..=100).contains(&limit)) {
        return Err(Problem::new(Kind::Unreadable, "limit: not from 1 to 100"));
    }
    let message = payment::ListRequest {
        limit: query.limit.unwrap_or_default(),
        cursor: query.cursor.unwrap_or_default(),
        order_id: query.order_id.unwrap_or_default(),
        status: query.status.unwrap_or_default(),
    };
    let request = request(&gateway, &caller.actor(), message).await?;
    let response = gateway.payment.clone().list(request).await.map_err(|status| problem(&status))?.into_inner();
    Ok(Json(Page {
        data: response.payments.into_iter().map(Payment::from).collect(),
        next_cursor: Some(response.next_cursor).filter(|cursor| !cursor.is_empty()),
        page: None,
        total: None,
    }))
}

/// Returns a payment by its id or its order's id.
#[utoipa::path(get, operation_id = "getPayment", path = "/api/payments/{id}", tag = "payments", params(("id" = String, Path)),
    responses((status = 200, body = Payment)))]
pub(crate) async fn get(
    State(gateway): State<Gateway>,
    caller: Allow<AdminOnly>,
    Path(id): Path<String>,
) -> Result<Json<Payment>, Problem> {
    find(&gateway, &caller.actor(), &id).await.map(|found| Json(found.into()))
}

async fn find(gateway: &Gateway, actor: &str, id: &str) -> Result<payment::Payment, Problem> {
    let request = request(gateway, actor, payment::GetRequest { ids: vec![id.to_owned()] }).await?;
    let response = gateway.payment.clone().get(request).await.map_err(|status| problem(&status))?.into_inner();
    response.payments.into_iter().next().ok_or_else(|| Problem::not_found("payment"))
}

/// Longest id of a refund, since it gets a prefix.
const MAX_REFUND_ID: usize = 59;

/// The id of the refund under an `Idempotency-Key`: the key itself, or its hash if it is too long or has other characters than an id.
fn refund_id(key: &str) -> ReturnId {
    let own = ReturnId::parse(key).ok().filter(|id| id.as_str().len() <= MAX_REFUND_ID);
    own.unwrap_or_else(|| ReturnId::trusted(Fingerprint::of(&key).to_base64()))
}

/// Refunds a part of what was captured.
///
/// For admins. Answers with 202 while the provider has not answered. A repeat with the same `Idempotency-Key` refunds nothing more.
#[utoipa::path(post, operation_id = "refundPayment", path = "/api/payments/{id}/refunds", tag = "payments", request_body = NewRefund,
    params(("id" = String, Path), ("Idempotency-Key" = Option<String>, Header)),
    responses(
        (status = 201, body = Payment, description = "The payment after the refund"),
        (status = 202, body = Payment, description = "The provider has not answered yet"),
        (status = 404, description = "There is no such payment"),
        (status = 409, description = "Nothing is captured, or less than the amount is left to refund"),
        (status = 422, description = "The amount is not above 0, or the key was used for another refund")))]
pub(crate) async fn refund(
    State(gateway): State<Gateway>,
    caller: Allow<AdminOnly>,
    Path(id): Path<String>,
    headers: HeaderMap,
    Json(new): Json<NewRefund>,
) -> Result<Response, Problem> {
    if new.amount <= Amount::ZERO {
        return Err(Problem::invalid("amount", "range", "more than 0"));
    }
    if new.reason.as_ref().is_some_and(|reason| reason.chars().count() > 500) {
        return Err(Problem::invalid("reason", "length", "at most 500 characters"));
    }
    if new.id.as_ref().is_some_and(|id| id.as_str().len() > MAX_REFUND_ID) {
        return Err(Problem::invalid("id", "length", "at most 59 characters"));
    }
    let has_id = new.id.is_some();
    let key = idempotency::header(&headers)?.map(refund_id);
    // Without an id or key, each request is another refund.
    let op_id = new.id.or(key).unwrap_or_else(ReturnId::new);
    let found = find(&gateway, &caller.actor(), &id).await?;
    let operation = payment::Operation {
        order_id: found.order_id,
        // The prefix distinguishes it from the refunds of returns.
        op_id: format!("hand:{op_id}"),
        amount: new.amount.minor(),
        reason: new.reason.unwrap_or_else(|| format!("by {}", caller.actor())),
        up_to: false,
    };
    let request = request(&gateway, &caller.actor(), payment::OperateRequest { items: vec![operation] }).await?;
    let response = gateway.payment.clone().refund(request).await.map_err(|status| problem(&status))?.into_inner();
    let result = response
        .results
        .into_iter()
        .next()
        .ok_or_else(|| Problem::new(Kind::BadGateway, "The payment service sent no result."))?;
    match (result.outcome(), result.payment) {
        (payment::Outcome::Done, Some(done)) => Ok((StatusCode::CREATED, Json(Payment::from(done))).into_response()),
        (payment::Outcome::InDoubt, Some(open)) => {
            Ok((StatusCode::ACCEPTED, Json(Payment::from(open))).into_response())
        }
        // The payment exists, so the request contradicts an earlier one.
        (payment::Outcome::Invalid, _) if has_id => {
            Err(Problem::invalid("id", "reused", "a refund with this id has another amount"))
        }
        (payment::Outcome::Invalid, _) => Err(idempotency::reused()),
        _ => Err(Problem::new(Kind::Conflict, result.reason)),
    }
}

/// A call on behalf of a caller whose role was checked. Refused while the service is unhealthy.
async fn request<T>(gateway: &Gateway, actor: &str, message: T) -> Result<Request<T>, Problem> {
    if gateway.payment_health.next().await.is_none() {
        return Err(proxy::unavailable("payment"));
    }
    let mut request = Request::new(message);
    request.set_timeout(chassis::deadline::within(gateway.config.timeout("payment")));
    chassis::trace::inject_grpc(request.metadata_mut());
    let token = gateway.key.mint(actor).map_err(Problem::internal)?;
    let value = format!("Bearer {token}").parse().map_err(|_| Problem::internal("a token is no header value"))?;
    request.metadata_mut().insert("authorization", value);
    Ok(request)
}

fn problem(status: &Status) -> Problem {
    let kind = match status.code() {
        Code::InvalidArgument => Kind::Unreadable,
        Code::NotFound => Kind::NotFound,
        Code::PermissionDenied => Kind::Forbidden,
        Code::Unauthenticated => Kind::Unauthenticated,
        Code::DeadlineExceeded | Code::Cancelled => Kind::Timeout,
        Code::Unavailable => return proxy::unavailable("payment"),
        _ => Kind::BadGateway,
    };
    Problem::new(kind, format!("The payment service refused: {}", status.message()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Config;

    #[tokio::test]
    async fn nobody_is_called_while_the_service_is_away() {
        let internal_key = auth::InternalKey::generate().expect("a key").to_secret();
        let gateway =
            Gateway::new(Config { auth: auth::AuthConfig { internal_key, ..Default::default() }, ..Config::default() })
                .expect("a gateway");
        assert!(request(&gateway, "admin", ()).await.is_ok());
        gateway.payment_health.healthy().expect("well at first").mark_unhealthy();
        let refused = request(&gateway, "admin", ()).await.expect_err("refused");
        assert_eq!(refused.kind(), Kind::Unavailable);
        let response = refused.into_response();
        assert_eq!(
            (response.status().as_u16(), &response.headers()["retry-after"]),
            (503, &"1".parse().expect("a value"))
        );
    }
}
