//! Returns of an order.

use auth::Caller;
use axum::{
    extract::State,
    response::{IntoResponse, Response},
};
use chassis::{FieldError, Json, Path, Problem, check_text};
use commerce::{LineId, OrderId, Quantity, ReturnId};
use http::{HeaderMap, StatusCode};
use serde::{Deserialize, Serialize};
use tokio::time::Instant;
use utoipa::ToSchema;

use super::{
    ApiState, orders::find, request::payload_hash, require_manager_or_buyer, require_return_role, require_user,
    response,
};
use idempotency::Key;

use crate::{
    app::{
        queries,
        returns::{CreatedReturn, ReturnRequest, create_return, wait_for_refund},
        routes,
        withdraw::RETURN_PREFIX,
    },
    domain::{Return, ReturnDraft},
};

/// A return of goods.
#[derive(Debug, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct NewReturn {
    /// The return's id, chosen by the client; a repeat with the same id makes no second return. Generated if missing.
    #[serde(default)]
    id: Option<ReturnId>,
    /// 1 to 1,000 lines.
    lines: Vec<NewReturnLine>,
    /// At most 500 characters.
    #[serde(default)]
    reason: Option<String>,
    /// Whether the goods are put back into stock; true if missing.
    #[serde(default = "yes")]
    restock: bool,
}

fn yes() -> bool {
    true
}

/// Returned pieces of a line.
#[derive(Debug, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct NewReturnLine {
    /// The line of the order.
    line_id: LineId,
    /// Pieces; at most those that are bought and not yet returned, else the return is refused with 409.
    #[schema(value_type = i64, minimum = 1)]
    quantity: i64,
}

/// Prefixes of ids of manual refunds, and of the returns of withdrawn orders.
const RESERVED_PREFIXES: [&str; 2] = ["hand:", RETURN_PREFIX];

impl NewReturn {
    fn check(self, order: &OrderId, caller: &Caller, headers: &HeaderMap) -> Result<ReturnRequest, Problem> {
        let payload_hash = payload_hash(&(order, &self));
        let key = Key::from_headers(headers, &caller.subject, routes::RETURNS)?;
        let mut errors = Vec::new();
        if !(1..=1_000).contains(&self.lines.len()) {
            errors.push(FieldError::new("lines", "length", "1 to 1000 lines"));
        }
        if let Some(reason) = &self.reason {
            errors.extend(check_text("reason", reason, 0..=500));
        }
        let mut lines = Vec::with_capacity(self.lines.len());
        for (index, line) in self.lines.into_iter().enumerate() {
            match Quantity::new(line.quantity) {
                Ok(quantity) => lines.push((line.line_id, quantity)),
                Err(invalid) => {
                    errors.push(FieldError::new(format!("lines[{index}].quantity"), "range", invalid.to_string()));
                }
            }
        }
        if !errors.is_empty() {
            return Err(Problem::fields(errors));
        }
        let id = self.id.unwrap_or_else(ReturnId::new);
        if let Some(prefix) = RESERVED_PREFIXES.iter().find(|prefix| id.as_str().starts_with(**prefix)) {
            return Err(Problem::invalid("id", "reserved", format!("the prefix `{prefix}` is reserved")));
        }
        let draft = ReturnDraft { id, lines, reason: self.reason, restock: self.restock, refund_all: false };
        Ok(ReturnRequest { draft, payload_hash, key, actor: caller.actor() })
    }
}

/// Returns goods of an order: the buyer gets back what was paid for them, and they are put back into stock unless `restock` is false.
///
/// For admins, managers of the order's store and the buyer. Answers with 201, or with 200 when a return with this id exists.
/// The refund is `pending` if the payment service takes longer than the request waits.
#[utoipa::path(post, path = "/api/orders/{id}/returns", operation_id = "createReturn", tag = "orders",
    request_body = NewReturn,
    params(("id" = String, Path), ("Idempotency-Key" = Option<String>, Header)),
    responses(
        (status = 200, body = Return, description = "The existing return with this id"),
        (status = 201, body = Return, description = "The new return"),
        (status = 403, description = "The caller is neither a manager of the store nor the buyer"),
        (status = 409, description = "The order's status does not allow returns, or fewer pieces are left")))]
pub(super) async fn create(
    State(state): State<ApiState>,
    caller: Caller,
    Path(id): Path<String>,
    headers: HeaderMap,
    Json(new): Json<NewReturn>,
) -> Result<Response, Problem> {
    require_user(&caller)?;
    require_return_role(&caller)?;
    let order = find(&state, &caller, &id).await?;
    require_manager_or_buyer(&caller, &order)?;
    let request = new.check(&order.id, &caller, &headers)?;
    let (id, status) = match create_return(&state.app, &order.id, &request).await? {
        CreatedReturn::New(id) => (id, StatusCode::CREATED),
        // A repeated key gets the status of its first response.
        CreatedReturn::Existing(id) if request.key.is_some() => (id, StatusCode::CREATED),
        CreatedReturn::Existing(id) => (id, StatusCode::OK),
    };
    let deadline = Instant::now() + state.app.checkout_timeout();
    let render = |made: &Return| response::rendered(status, made);
    let answer = wait_for_refund(&state.app, &id, request.key.as_ref(), deadline, render).await?;
    Ok(response::stored(&format!("/api/orders/{}/returns", order.id), answer))
}

/// The returns of an order.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct ReturnList {
    /// All returns, oldest first.
    data: Vec<Return>,
    /// Always null: the list has one page.
    next_cursor: Option<String>,
}

/// Lists the returns of an order, oldest first.
#[utoipa::path(get, path = "/api/orders/{id}/returns", operation_id = "listReturns", tag = "orders",
    params(("id" = String, Path)),
    responses((status = 200, body = ReturnList, description = "The returns")))]
pub(super) async fn list(
    State(state): State<ApiState>,
    caller: Caller,
    Path(id): Path<String>,
) -> Result<Response, Problem> {
    let order = find(&state, &caller, &id).await?;
    let data = queries::list_returns(&state.app, &order.id).await?;
    Ok(Json(ReturnList { data, next_cursor: None }).into_response())
}
