//! `/api/stock/ledger`: every change of the pieces on hand, newest first.

use auth::{Allow, Staff};
use axum::extract::State;
use chassis::{Json, Problem};
use commerce::{
    PlaceId, ProductId, Timestamp,
    page::{Page, PageQuery},
};
use serde::{Deserialize, Serialize};
use service::{List, bad_page};
use utoipa::{IntoParams, ToSchema};

use super::{Api, require_place_access};
use crate::{
    error::Error,
    store::lists::{self, LedgerEntry, StockFilter},
};

/// A change of the pieces on hand of a product in a place.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = LedgerEntry)]
pub(crate) struct LedgerEntryBody {
    id: String,
    product_id: ProductId,
    place_id: PlaceId,
    /// adjusted, sold, restocked, sent or received.
    kind: String,
    /// Pieces put in (above 0) or taken out (below 0).
    quantity: i64,
    /// Pieces on hand after the change.
    balance: i64,
    /// Id of the order, adjustment or replenishment that caused it.
    cause: String,
    /// Why; empty where no reason was given.
    reason: String,
    /// Who did it; `souk` for the service itself.
    actor: String,
    at: Timestamp,
}

impl From<LedgerEntry> for LedgerEntryBody {
    fn from(entry: LedgerEntry) -> Self {
        Self {
            id: entry.id,
            product_id: entry.key.product_id,
            place_id: entry.key.place_id,
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

/// The filter of the ledger.
#[derive(Debug, Default, Deserialize, IntoParams)]
#[serde(deny_unknown_fields, default)]
#[into_params(parameter_in = Query)]
pub(crate) struct LedgerFilter {
    /// Entries of this product.
    product_id: Option<String>,
    /// Entries of this place.
    place_id: Option<String>,
}

/// List the stock ledger
///
/// Entries, newest first. For admins; staff see the places that they work in.
#[utoipa::path(get, path = "/api/stock/ledger", operation_id = "listStockLedger", params(LedgerFilter, PageQuery),
    responses((status = 200, body = Page<LedgerEntryBody>), (status = 403, description = "The caller does not work in the place")),
    tag = "stock")]
pub(crate) async fn list_ledger(
    State(api): State<Api>,
    caller: Allow<Staff>,
    List { filter, paging }: List<LedgerFilter>,
) -> Result<Json<Page<LedgerEntryBody>>, Problem> {
    let key = &api.cursors.ledger;
    let paging = paging.page_request(key).map_err(bad_page)?;
    let places = match filter.place_id {
        Some(place_id) => {
            require_place_access(&caller, &place_id)?;
            Some(vec![place_id])
        }
        None if caller.is_admin() => None,
        None => Some(caller.stores.clone()),
    };
    let products = filter.product_id.map(|product_id| vec![product_id]);
    let filter = StockFilter { products, places, ..StockFilter::default() };
    let (rows, total) = async {
        let mut tx = api.db.snapshot().await?;
        let total = if paging.include_total { Some(lists::count_ledger(&mut tx, &filter).await?) } else { None };
        Ok::<_, Error>((lists::ledger(&mut tx, &filter, &paging).await?, total))
    }
    .await?;
    let rows: Vec<LedgerEntryBody> = rows.into_iter().map(Into::into).collect();
    Ok(Json(paging.page(key, rows, total, |row| row.id.clone())))
}
