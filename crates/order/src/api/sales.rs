//! Sales in a store: orders whose goods the buyer takes along.

use std::collections::BTreeMap;

use auth::{Allow, Caller, Staff};
use axum::{extract::State, response::Response};
use chassis::{Json, Path, Problem};
use commerce::{CustomerId, OrderId, PlaceId, Timestamp};
use http::HeaderMap;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::{
    ApiState,
    order_body::{NewLine, NewOrder, PaymentChoice},
    orders::{OrderInProgress, deadline, outcome_response},
    require_own_place,
    withdrawals::{ACKNOWLEDGE_BY_HELP, acknowledge_by},
};
use crate::{
    app::{
        place_order::{OrderRequest, place_order},
        queries,
    },
    domain::{Channel, Order, PaymentMethod},
};

/// A sale in a store.
#[derive(Debug, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(example = json!({"lines": [{"product_id": "1", "quantity": 1}], "payment": {"method": "cash"}}))]
pub(crate) struct NewSale {
    /// The order's id, chosen by the client; a repeat with the same id makes no second sale. Generated if missing.
    #[serde(default)]
    id: Option<OrderId>,
    /// The customer who buys; missing for a walk-in sale.
    #[serde(default)]
    customer_id: Option<CustomerId>,
    /// 1 to 1,000 lines.
    lines: Vec<NewLine>,
    /// The payment: cash or card.
    payment: PaymentChoice,
    /// At most 2,000 characters.
    #[serde(default)]
    notes: Option<String>,
}

impl NewSale {
    fn check(self, store: PlaceId, caller: &Caller, headers: &HeaderMap) -> Result<OrderRequest, Problem> {
        if self.payment.method == PaymentMethod::OnAccount {
            return Err(Problem::invalid("payment.method", "enum", "cash or card"));
        }
        let order = NewOrder {
            id: self.id,
            customer_id: self.customer_id,
            place_id: Some(store),
            placed_at: None,
            currency: None,
            payment: Some(self.payment),
            lines: self.lines,
            adjustments: Vec::new(),
            shipping_address: None,
            notes: self.notes,
            metadata: BTreeMap::new(),
        };
        order.check(caller, headers, Channel::Store)
    }
}

/// Sells goods of a store at the counter.
///
/// The order is delivered as soon as it is confirmed. For clerks and managers of the store, and admins.
#[utoipa::path(post, path = "/api/stores/{id}/sales", operation_id = "createSale", tag = "sales", request_body = NewSale,
    params(("id" = String, Path), ("Idempotency-Key" = Option<String>, Header), ("Prefer" = Option<String>, Header),
        ("Acknowledge-By" = Option<Timestamp>, Header, description = ACKNOWLEDGE_BY_HELP)),
    responses(
        (status = 200, body = Order, description = "The order that the same request made before"),
        (status = 201, body = Order, description = "The delivered order"),
        (status = 202, body = OrderInProgress, description = "The order is still in progress; see `status_url`"),
        (status = 402, description = "The payment was refused; the order is cancelled"),
        (status = 403, description = "The store is not one of the caller's"),
        (status = 404, description = "There is no such store"),
        (status = 409, description = "The stock is short and the order is cancelled, or an order with this id has other contents")))]
pub(super) async fn create(
    State(state): State<ApiState>,
    caller: Allow<Staff>,
    Path(id): Path<String>,
    headers: HeaderMap,
    Json(new): Json<NewSale>,
) -> Result<Response, Problem> {
    let place = PlaceId::parse(&id).map_err(|_| Problem::not_found("store"))?;
    require_own_place(&caller, place.as_str())?;
    if !queries::store_exists(&state.app, place.as_str()).await? {
        return Err(Problem::not_found("store"));
    }
    let mut request = new.check(place, &caller, &headers)?;
    request.acknowledge_by = acknowledge_by(&state, &headers)?;
    outcome_response(place_order(&state.app, request, deadline(&state, &headers)).await?)
}
