//! The REST API. Handlers parse, authorise, call a use case and answer.

mod cart_body;
mod carts;
mod lifecycle;
mod order_body;
mod orders;
mod reports;
mod request;
mod response;
mod returns;
mod sales;
mod withdrawals;

use auth::{Caller, Role, Verifier};
use axum::extract::FromRef;
use chassis::{Kind, Problem, conditional};
use commerce::page::CursorKey;
use utoipa::OpenApi;
use utoipa_axum::{router::OpenApiRouter, routes};

use crate::{app::App, domain::Order};

/// What handlers need.
#[derive(Clone)]
pub(crate) struct ApiState {
    pub(crate) app: App,
    pub(crate) verifier: Verifier,
    pub(crate) order_cursors: CursorKey,
    pub(crate) cart_cursors: CursorKey,
}

impl FromRef<ApiState> for Verifier {
    fn from_ref(state: &ApiState) -> Self {
        state.verifier.clone()
    }
}

#[derive(OpenApi)]
#[openapi(
    info(title = "Souk orders", description = "Orders and their checkout, carts, sales in stores, reports."),
    tags(
        (name = "orders", description = "Place, read, change, cancel and return orders."),
        (name = "carts", description = "Fill carts and check them out."),
        (name = "sales", description = "Sell in a store."),
        (name = "reports", description = "Sales, shortages and overstock."),
    )
)]
struct Docs;

/// All routes.
pub(crate) fn router() -> OpenApiRouter<ApiState> {
    OpenApiRouter::with_openapi(Docs::openapi())
        .routes(routes!(orders::create, orders::list))
        .routes(routes!(orders::get, lifecycle::archive, lifecycle::amend))
        .routes(routes!(lifecycle::set_status))
        .routes(routes!(lifecycle::cancel))
        .routes(routes!(withdrawals::create))
        .routes(routes!(withdrawals::acknowledge))
        .routes(routes!(returns::create, returns::list))
        .routes(routes!(carts::create, carts::list))
        .routes(routes!(carts::get, carts::clear))
        .routes(routes!(carts::add_item))
        .routes(routes!(carts::set_quantity, carts::remove_item))
        .routes(routes!(carts::check_out))
        .routes(routes!(carts::claim))
        .routes(routes!(sales::create))
        .routes(routes!(reports::sales))
        .routes(routes!(reports::top_sellers))
        .routes(routes!(reports::trends))
        .routes(routes!(reports::shortages))
        .routes(routes!(reports::overstock))
}

/// The order, if the caller may see it; 404 otherwise.
fn require_visible(caller: &Caller, order: Order) -> Result<Order, Problem> {
    let visible = caller.is_service()
        || caller.may_act_in(order.place_id.as_str())
        || order.customer_id.as_ref().is_some_and(|id| caller.is_customer(id.as_str()));
    if visible { Ok(order) } else { Err(Problem::not_found("order")) }
}

/// 403 for a customer who requests what only staff may do.
fn require_staff(caller: &Caller, what: &str) -> Result<(), Problem> {
    if caller.is_staff() { Ok(()) } else { Err(Problem::forbidden(format!("Only staff may {what}."))) }
}

/// 403 for staff of other places than this one.
fn require_own_place(caller: &Caller, place_id: &str) -> Result<(), Problem> {
    if !caller.is_staff() || caller.may_act_in(place_id) {
        Ok(())
    } else {
        Err(Problem::forbidden(format!("`{place_id}` is not one of your stores.")).with_code("place.forbidden"))
    }
}

/// 403 for clerks who have no other role: they may return nothing, not even unknown orders.
fn require_return_role(caller: &Caller) -> Result<(), Problem> {
    if [Role::Admin, Role::Manager, Role::Customer].into_iter().any(|role| caller.is(role)) {
        Ok(())
    } else {
        Err(returns_forbidden())
    }
}

/// 403 for clerks, unless they return an order of their own.
fn require_manager_or_buyer(caller: &Caller, order: &Order) -> Result<(), Problem> {
    let own = order.customer_id.as_ref().is_some_and(|id| caller.is_customer(id.as_str()));
    if own || caller.is_admin() || caller.is(Role::Manager) { Ok(()) } else { Err(returns_forbidden()) }
}

fn returns_forbidden() -> Problem {
    Problem::forbidden("Only managers of the store and the buyer may return goods.")
}

/// 403 for services: they read orders and change none.
fn require_user(caller: &Caller) -> Result<(), Problem> {
    if caller.is_service() { Err(Problem::forbidden("Services may not do this; only users may.")) } else { Ok(()) }
}

/// 412 when `If-Match` names another version than the order's.
fn check_if_match(headers: &http::HeaderMap, version: i64) -> Result<(), Problem> {
    match conditional::if_match(headers) {
        Some(seen) if seen != version => {
            Err(Problem::new(Kind::Stale, format!("The order has changed: its version is {version}. Read it again.")))
        }
        _ => Ok(()),
    }
}
