//! Lists of notifications, newest first.

use auth::Caller;
use axum::extract::State as AxumState;
use chassis::{Json, Path, Problem, Query};
use commerce::page::{Page, PageQuery};
use serde::Deserialize;
use service::{List, bad_page};
use utoipa::IntoParams;

use super::{State, scope};
use crate::{
    domain::{Notice, Scope, Severity},
    error::Error,
    store::{self, Filter},
};

/// Filter of the list of notifications.
#[derive(Debug, Default, Deserialize, IntoParams)]
#[serde(default, deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(crate) struct ListQuery {
    /// Only notifications about this customer.
    customer_id: Option<String>,
    /// Only notifications about this order.
    order_id: Option<String>,
    /// Only notifications of this kind, such as `order.confirmed`.
    kind: Option<String>,
    /// Only notifications of this severity.
    severity: Option<Severity>,
}

/// Lists notifications, newest first. Customers see their own, staff those of their places, admins all.
#[utoipa::path(get, operation_id = "listNotifications", path = "/api/notifications", tag = "notifications", params(ListQuery, PageQuery),
    responses((status = 200, body = Page<Notice>)))]
pub(super) async fn list(
    AxumState(state): AxumState<State>,
    caller: Caller,
    List { filter: query, paging }: List<ListQuery>,
) -> Result<Json<Page<Notice>>, Problem> {
    let filter = Filter {
        scope: scope(&caller)?,
        customer_id: query.customer_id,
        order_id: query.order_id,
        kind: query.kind,
        severity: query.severity,
    };
    page(&state, &filter, &paging).await
}

/// Lists the notifications about a customer, newest first. For the customer, staff and admins.
#[utoipa::path(get, operation_id = "getCustomerTimeline", path = "/api/customers/{id}/timeline", tag = "notifications", params(("id" = String, Path), PageQuery),
    responses((status = 200, body = Page<Notice>)))]
pub(super) async fn timeline(
    AxumState(state): AxumState<State>,
    caller: Caller,
    Path(id): Path<String>,
    Query(paging): Query<PageQuery>,
) -> Result<Json<Page<Notice>>, Problem> {
    let scope = scope(&caller)?;
    if matches!(&scope, Scope::Customer(own) if *own != id) {
        return Err(Problem::not_found("customer"));
    }
    let mut filter = Filter::of(scope);
    filter.customer_id = Some(id);
    page(&state, &filter, &paging).await
}

async fn page(state: &State, filter: &Filter, paging: &PageQuery) -> Result<Json<Page<Notice>>, Problem> {
    let window = paging.page_request::<i64>(&state.cursors).map_err(bad_page)?;
    let read = async {
        let mut tx = state.db.read().await?;
        let rows = store::list(&mut tx, filter, &window).await?;
        let total = if window.include_total { Some(store::count(&mut tx, filter).await?) } else { None };
        Ok::<_, Error>((rows, total))
    };
    let (rows, total) = read.await.map_err(Problem::from)?;
    Ok(Json(window.page(&state.cursors, rows, total, |notice: &Notice| notice.number)))
}
