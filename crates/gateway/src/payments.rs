//! REST `/api/payments`, bridged onto the payment service's gRPC. For admins.

use auth::{AdminOnly, Allow};
use axum::{
    extract::State,
    response::{IntoResponse, Response},
};
use chassis::{Json, Kind, Path, Problem, Query};
use commerce::{Amount, ReturnId, Timestamp, page::Page};
use http::{HeaderMap, StatusCode};
use proto::payment::v1 as payment;
use serde::{Deserialize, Serialize};
use tonic::{Code, Request, Status};
use utoipa::{IntoParams, ToSchema};

use crate::state::Gateway;

/// The money of an order.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct Payment {
    id: String,
    number: i64,
    order_id: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    customer_id: String,
    amount: Amount,
    currency: String,
    method: String,
    /// authorised, captured, refused, voided, partly_refunded, refunded or in_doubt.
    status: String,
    operations: Vec<Operation>,
    created_at: Timestamp,
    updated_at: Timestamp,
}

/// Something done with it.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct Operation {
    op: String,
    op_id: String,
    amount: Amount,
    at: Timestamp,
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

/// Which payments.
#[derive(Debug, Default, Deserialize, IntoParams)]
#[serde(default, deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(crate) struct PaymentQuery {
    /// Of this order.
    order_id: Option<String>,
    /// Standing there.
    status: Option<String>,
    /// Rows wanted, 1 to 100; 20 if not said.
    limit: Option<u32>,
    /// Where the page before ended.
    cursor: Option<String>,
}

/// A refund by hand.
#[derive(Debug, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct NewRefund {
    /// Chosen by the client; the same id never refunds twice.
    #[serde(default)]
    id: Option<ReturnId>,
    /// What is given back.
    amount: Amount,
    /// Why.
    #[serde(default)]
    reason: Option<String>,
}

/// Payments, newest first.
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

/// A payment by its own id or its order's.
#[utoipa::path(get, operation_id = "getPayment", path = "/api/payments/{id}", tag = "payments", params(("id" = String, Path)),
    responses((status = 200, body = Payment), (status = 404)))]
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

/// Gives a part of a payment back.
#[utoipa::path(post, operation_id = "refundPayment", path = "/api/payments/{id}/refunds", tag = "payments", request_body = NewRefund,
    params(("id" = String, Path), ("Idempotency-Key" = Option<String>, Header)),
    responses((status = 201, body = Payment), (status = 404), (status = 409), (status = 422)))]
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
    let key = headers.get("idempotency-key").map(|key| key.to_str().unwrap_or_default());
    let key = key
        .map(|key| {
            ReturnId::parse(key).map_err(|invalid| Problem::invalid("Idempotency-Key", "shape", invalid.to_string()))
        })
        .transpose()?;
    if new.id.as_ref().or(key.as_ref()).is_some_and(|id| id.as_str().len() > 59) {
        return Err(Problem::invalid("id", "length", "at most 59 characters"));
    }
    // Without an id or key of the client's, every request is a refund of its own.
    let op_id = new.id.or(key).unwrap_or_else(ReturnId::new);
    let found = find(&gateway, &caller.actor(), &id).await?;
    let operation = payment::Operation {
        order_id: found.order_id,
        // A name of its own, so that no return's refund can be taken for this one.
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
        .ok_or_else(|| Problem::new(Kind::BadGateway, "The payment service answered nothing."))?;
    match (result.outcome(), result.payment) {
        (payment::Outcome::Done, Some(done)) => Ok((StatusCode::CREATED, Json(Payment::from(done))).into_response()),
        (payment::Outcome::InDoubt, Some(open)) => {
            Ok((StatusCode::ACCEPTED, Json(Payment::from(open))).into_response())
        }
        (payment::Outcome::Invalid, _) => Err(Problem::invalid("amount", "refund", result.reason)),
        _ => Err(Problem::new(Kind::Conflict, result.reason)),
    }
}

/// A call in the name of a caller whose role the gateway has checked; none while the service is away.
async fn request<T>(gateway: &Gateway, actor: &str, message: T) -> Result<Request<T>, Problem> {
    if gateway.payment_health.next().await.is_none() {
        return Err(unavailable());
    }
    let mut request = Request::new(message);
    request.set_timeout(chassis::deadline::within(gateway.config.timeout("payment")));
    chassis::trace::inject_grpc(request.metadata_mut());
    let token = gateway.key.mint(actor).map_err(Problem::internal)?;
    let value = format!("Bearer {token}").parse().map_err(|_| Problem::internal("a token is no header value"))?;
    request.metadata_mut().insert("authorization", value);
    Ok(request)
}

fn unavailable() -> Problem {
    Problem::new(Kind::Unavailable, "The payment service is away; try again.").retry_after(1)
}

fn problem(status: &Status) -> Problem {
    let kind = match status.code() {
        Code::InvalidArgument => Kind::Unreadable,
        Code::NotFound => Kind::NotFound,
        Code::PermissionDenied => Kind::Forbidden,
        Code::Unauthenticated => Kind::Unauthenticated,
        Code::DeadlineExceeded | Code::Cancelled => Kind::Timeout,
        Code::Unavailable => return unavailable(),
        _ => Kind::BadGateway,
    };
    Problem::new(kind, format!("The payment service says: {}", status.message()))
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
