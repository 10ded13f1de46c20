//! `/api/stock/ledger`: every movement of what is on hand, newest first.

use auth::{Allow, Staff};
use axum::extract::State;
use chassis::{Json, Problem, Query};
use commerce::{PlaceId, ProductId, Timestamp, page::Page};
use serde::Serialize;
use utoipa::ToSchema;

use super::{Api, bad_page, demand_place, levels::LevelQuery};
use crate::{
    error::Error,
    store::lists::{self, Entry},
};

/// A movement.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = LedgerEntry)]
pub(crate) struct EntryBody {
    id: String,
    product_id: ProductId,
    place_id: PlaceId,
    /// adjusted, sold, restocked, sent or received.
    kind: String,
    /// What came in is above zero.
    quantity: i64,
    /// On hand after it.
    balance: i64,
    /// The order, adjustment or replenishment.
    cause: String,
    reason: String,
    /// Who did it.
    actor: String,
    at: Timestamp,
}

impl From<Entry> for EntryBody {
    fn from(entry: Entry) -> Self {
        Self {
            id: entry.id,
            product_id: entry.slot.product_id,
            place_id: entry.slot.place_id,
            kind: entry.kind,
            quantity: entry.quantity,
            balance: entry.balance,
            cause: entry.cause,
            reason: entry.reason,
            actor: entry.actor,
            at: entry.at,
        }
    }
}

/// The ledger, newest first. For admins; staff see the places they work in.
#[utoipa::path(get, path = "/api/stock/ledger", params(LevelQuery), responses((status = 200, body = Page<EntryBody>)), tag = "stock")]
pub(crate) async fn list_ledger(
    State(api): State<Api>,
    caller: Allow<Staff>,
    Query(query): Query<LevelQuery>,
) -> Result<Json<Page<EntryBody>>, Problem> {
    let key = &api.cursors.ledger;
    let window = query.page_query().page_request(key).map_err(bad_page)?;
    let mut filter = query.filter();
    match &query.place_id {
        Some(place_id) => demand_place(&caller, place_id)?,
        None if caller.is_admin() => {}
        None => filter.places = Some(caller.stores.clone()),
    }
    let (rows, total) = async {
        let mut tx = api.db.snapshot().await?;
        let total = if window.include_total { Some(lists::count_ledger(&mut tx, &filter).await?) } else { None };
        Ok::<_, Error>((lists::ledger(&mut tx, &filter, &window).await?, total))
    }
    .await?;
    let rows: Vec<EntryBody> = rows.into_iter().map(Into::into).collect();
    Ok(Json(window.page(key, rows, total, |row| row.id.clone())))
}
