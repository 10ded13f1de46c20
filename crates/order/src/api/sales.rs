//! Sales at a till: orders whose goods leave with the buyer.

use std::collections::BTreeMap;

use auth::{Allow, Caller, Staff};
use axum::{extract::State as AxumState, response::Response};
use chassis::{Json, Path, Problem};
use commerce::{CustomerId, OrderId, PlaceId};
use http::HeaderMap;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::{
    State,
    orders::{NewLine, NewOrder, NewPayment, Running, deadline, respond},
    own_place,
};
use crate::{
    accept::Asked,
    domain::{Channel, Order, PaymentMethod},
};

/// A sale at a till.
#[derive(Debug, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(example = json!({"lines": [{"product_id": "1", "quantity": 1}], "payment": {"method": "cash"}}))]
pub(crate) struct NewSale {
    /// DeadLetterFilter by the till; the same id never makes a second sale.
    #[serde(default)]
    id: Option<OrderId>,
    /// Who buys; a walk-in if not said.
    #[serde(default)]
    customer_id: Option<CustomerId>,
    /// 1 to 1,000 of them.
    lines: Vec<NewLine>,
    /// cash or card.
    payment: NewPayment,
    /// At most 2,000 characters.
    #[serde(default)]
    notes: Option<String>,
}

impl NewSale {
    fn check(self, store: PlaceId, caller: &Caller, headers: &HeaderMap) -> Result<Asked, Problem> {
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

/// Sells goods of a store at its till. The order is delivered as soon as it is confirmed. For clerks and managers of the store,
/// and admins.
#[utoipa::path(post, path = "/api/stores/{id}/sales", tag = "sales", request_body = NewSale,
    params(("id" = String, Path), ("Idempotency-Key" = Option<String>, Header), ("Prefer" = Option<String>, Header)),
    responses((status = 201, body = Order), (status = 202, body = Running), (status = 402), (status = 403), (status = 404),
        (status = 409), (status = 422)))]
pub(super) async fn create(
    AxumState(state): AxumState<State>,
    caller: Allow<Staff>,
    Path(id): Path<String>,
    headers: HeaderMap,
    Json(new): Json<NewSale>,
) -> Result<Response, Problem> {
    let place = PlaceId::parse(&id).map_err(|_| Problem::not_found("store"))?;
    own_place(&caller, place.as_str())?;
    let known = state.checkout.clients.store_exists(place.as_str()).await.map_err(crate::error::Error::from)?;
    if !known {
        return Err(Problem::not_found("store"));
    }
    let asked = new.check(place, &caller, &headers)?;
    respond(state.checkout.accept(asked, deadline(&state, &headers)).await.map_err(Problem::from)?)
}
