//! Returns of an order.

use std::time::Duration;

use auth::Caller;
use axum::{
    extract::State as AxumState,
    response::{IntoResponse, Response},
};
use chassis::{FieldError, Json, Path, Problem};
use commerce::{LineId, OrderId, Quantity, ReturnId};
use http::{HeaderMap, StatusCode};
use serde::{Deserialize, Serialize};
use tokio::time::Instant;
use utoipa::ToSchema;

use super::{State, manager_if_staff, orders::find, people_only, request, returns_at_all};
use crate::{
    domain::{RefundStatus, Return, WantedReturn},
    error::Error,
    restitution::Asked,
    store::{self, Key},
};

/// Goods that come back.
#[derive(Debug, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct NewReturn {
    /// DeadLetterFilter by the client; the same id never makes a second return.
    #[serde(default)]
    id: Option<ReturnId>,
    /// 1 to 1,000 of them.
    lines: Vec<NewReturnLine>,
    /// At most 500 characters.
    #[serde(default)]
    reason: Option<String>,
    /// Whether the goods go back on the shelf; they do if not said.
    #[serde(default = "yes")]
    restock: bool,
}

fn yes() -> bool {
    true
}

/// Pieces of a line.
#[derive(Debug, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct NewReturnLine {
    /// Which line of the order.
    line_id: LineId,
    /// Pieces.
    #[schema(value_type = i64, minimum = 1)]
    quantity: i64,
}

impl NewReturn {
    fn check(self, order: &OrderId, caller: &Caller, headers: &HeaderMap) -> Result<Asked, Problem> {
        let payload_hash = request::payload_hash(&(order, &self));
        let key = request::key(headers, &caller.subject, store::RETURNS_ROUTE)?;
        let mut errors = Vec::new();
        if !(1..=1_000).contains(&self.lines.len()) {
            errors.push(FieldError::new("lines", "length", "1 to 1000 lines"));
        }
        if let Some(reason) = &self.reason {
            request::text(&mut errors, "reason", reason, 0..=500);
        }
        let mut lines = Vec::with_capacity(self.lines.len());
        for (position, line) in self.lines.into_iter().enumerate() {
            match Quantity::new(line.quantity) {
                Ok(quantity) => lines.push((line.line_id, quantity)),
                Err(invalid) => {
                    errors.push(FieldError::new(format!("lines[{position}].quantity"), "range", invalid.to_string()));
                }
            }
        }
        if !errors.is_empty() {
            return Err(Problem::fields(errors));
        }
        let id = self.id.unwrap_or_else(ReturnId::new);
        if id.as_str().starts_with("hand:") {
            return Err(Problem::invalid("id", "reserved", "ids that begin with `hand:` are of refunds by hand"));
        }
        let wanted = WantedReturn { id, lines, reason: self.reason, restock: self.restock };
        Ok(Asked { wanted, payload_hash, key, actor: caller.actor() })
    }
}

/// Takes goods back, gives their money back, and puts them on the shelf again.
#[utoipa::path(post, path = "/api/orders/{id}/returns", tag = "orders", request_body = NewReturn,
    params(("id" = String, Path), ("Idempotency-Key" = Option<String>, Header)),
    responses((status = 201, body = Return), (status = 409), (status = 422)))]
pub(super) async fn create(
    AxumState(state): AxumState<State>,
    caller: Caller,
    Path(id): Path<String>,
    headers: HeaderMap,
    Json(new): Json<NewReturn>,
) -> Result<Response, Problem> {
    people_only(&caller)?;
    returns_at_all(&caller)?;
    let order = find(&state, &caller, &id).await?;
    manager_if_staff(&caller, &order)?;
    let asked = new.check(&order.id, &caller, &headers)?;
    let (id, new) = state.checkout.take_back(&order.id, asked.clone()).await.map_err(Problem::from)?;
    // A key's repeat is answered as the first time.
    let status = if new || asked.key.is_some() { StatusCode::CREATED } else { StatusCode::OK };
    answer(&state, &order.id, &id, asked.key.as_ref(), status).await
}

/// Waits for the refund as long as a client does, and answers; a key's answer is kept once it is final.
async fn answer(
    state: &State,
    order_id: &OrderId,
    id: &ReturnId,
    key: Option<&Key>,
    status: StatusCode,
) -> Result<Response, Problem> {
    let checkout = &state.checkout;
    let deadline = Instant::now() + checkout.patience();
    let read = async {
        loop {
            let mut tx = checkout.db.read().await?;
            if let Some(key) = key
                && let Some((_, _, Some(stored))) = store::find_key(&mut tx, key).await?
            {
                return Ok::<_, Error>(Ok(stored));
            }
            let found = store::find_return(&mut tx, id.as_str()).await?;
            drop(tx);
            let Some((made, _)) = found else {
                return Ok(Err(None));
            };
            if made.refund.status != RefundStatus::Pending || Instant::now() >= deadline {
                return Ok(Err(Some(made)));
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    let path = format!("/api/orders/{order_id}/returns");
    match read.await.map_err(Problem::from)? {
        Ok(stored) => Ok(request::stored(&path, stored)),
        Err(None) => Err(Problem::not_found("return")),
        Err(Some(made)) => {
            let body =
                store::Answer { status: status.as_u16(), body: serde_json::to_string(&made).unwrap_or_default() };
            if key.is_some() && made.refund.status != RefundStatus::Pending {
                let write = async {
                    let mut tx = checkout.db.write().await?;
                    store::put_answer(&mut tx, store::RETURNS_ROUTE, id.as_str(), &body).await?;
                    tx.commit().await?;
                    Ok::<_, Error>(())
                };
                write.await.map_err(Problem::from)?;
            }
            Ok(request::stored(&path, body))
        }
    }
}

/// The returns of an order.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct Returns {
    data: Vec<Return>,
    next_cursor: Option<String>,
}

/// Lists the returns of an order, oldest first.
#[utoipa::path(get, path = "/api/orders/{id}/returns", tag = "orders", params(("id" = String, Path)),
    responses((status = 200, body = Returns), (status = 404)))]
pub(super) async fn list(
    AxumState(state): AxumState<State>,
    caller: Caller,
    Path(id): Path<String>,
) -> Result<Response, Problem> {
    let order = find(&state, &caller, &id).await?;
    let read = async {
        let mut tx = state.checkout.db.read().await?;
        Ok::<_, Error>(store::returns_of(&mut tx, &order.id).await?)
    };
    let data = read.await.map_err(Problem::from)?;
    Ok(Json(Returns { data, next_cursor: None }).into_response())
}
