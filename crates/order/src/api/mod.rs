//! The edge: every route on one screen. Handlers parse, authorise, call and answer; rules live below.

mod cart_body;
mod carts;
mod moves;
mod orders;
mod reports;
mod request;
mod returns;
mod sales;

use auth::{Caller, Role, Verifier};
use axum::extract::FromRef;
use chassis::{Kind, Problem};
use commerce::page::CursorKey;
use utoipa::OpenApi;
use utoipa_axum::{router::OpenApiRouter, routes};

use crate::{checkout::Checkout, domain::Order};

/// What handlers need.
#[derive(Clone)]
pub(crate) struct State {
    pub(crate) checkout: Checkout,
    pub(crate) verifier: Verifier,
    pub(crate) cursors: CursorKey,
    pub(crate) cart_cursors: CursorKey,
}

impl FromRef<State> for Verifier {
    fn from_ref(state: &State) -> Self {
        state.verifier.clone()
    }
}

#[derive(OpenApi)]
#[openapi(
    info(title = "Souk orders", description = "Orders and the checkout saga, carts, sales at tills, reports."),
    tags(
        (name = "orders", description = "Place, read, move, cancel and return orders."),
        (name = "carts", description = "Fill carts and make orders of them."),
        (name = "sales", description = "Sell at a till."),
        (name = "reports", description = "What was sold, and what is short or too much."),
    )
)]
struct Docs;

/// All routes.
pub(crate) fn router() -> OpenApiRouter<State> {
    OpenApiRouter::with_openapi(Docs::openapi())
        .routes(routes!(orders::create, orders::list))
        .routes(routes!(orders::get, moves::archive, moves::amend))
        .routes(routes!(moves::set_status))
        .routes(routes!(moves::cancel))
        .routes(routes!(returns::create, returns::list))
        .routes(routes!(carts::create, carts::list))
        .routes(routes!(carts::get, carts::clear))
        .routes(routes!(carts::add))
        .routes(routes!(carts::set, carts::remove))
        .routes(routes!(carts::check_out))
        .routes(routes!(carts::claim))
        .routes(routes!(sales::create))
        .routes(routes!(reports::sales))
        .routes(routes!(reports::top_sellers))
        .routes(routes!(reports::trends))
        .routes(routes!(reports::shortages))
        .routes(routes!(reports::overstock))
}

/// The order, if the caller may see it: another's is not there.
fn visible(caller: &Caller, order: Order) -> Result<Order, Problem> {
    let may = caller.is_service()
        || caller.may_act_in(order.place_id.as_str())
        || order.customer_id.as_ref().is_some_and(|id| caller.is_customer(id.as_str()));
    if may { Ok(order) } else { Err(Problem::not_found("order")) }
}

/// 403 for a customer who asks for what only staff may.
fn staff_only(caller: &Caller, what: &str) -> Result<(), Problem> {
    if caller.is_staff() { Ok(()) } else { Err(Problem::forbidden(format!("Only staff may {what}."))) }
}

/// Whether a caller is staff of that place, or has no staff role to be bound by.
fn own_place(caller: &Caller, place_id: &str) -> Result<(), Problem> {
    if !caller.is_staff() || caller.may_act_in(place_id) {
        Ok(())
    } else {
        Err(Problem::forbidden(format!("`{place_id}` is not one of your stores.")))
    }
}

/// Who is a clerk and nothing else never takes goods back.
fn returns_at_all(caller: &Caller) -> Result<(), Problem> {
    if [Role::Admin, Role::Manager, Role::Customer].into_iter().any(|role| caller.is(role)) {
        Ok(())
    } else {
        Err(Problem::forbidden("Returns are for the store's manager."))
    }
}

/// A clerk may not take goods back, unless they are his own.
fn manager_if_staff(caller: &Caller, order: &Order) -> Result<(), Problem> {
    let own = order.customer_id.as_ref().is_some_and(|id| caller.is_customer(id.as_str()));
    if own || caller.is_admin() || caller.is(Role::Manager) {
        Ok(())
    } else {
        Err(Problem::forbidden("Returns are for the store's manager."))
    }
}

/// Other services read orders; what becomes of one is for people to say.
fn people_only(caller: &Caller) -> Result<(), Problem> {
    if caller.is_service() { Err(Problem::forbidden("This is for people.")) } else { Ok(()) }
}

/// Refuses a change based on a version that is no longer the present one.
fn if_match(headers: &http::HeaderMap, version: i64) -> Result<(), Problem> {
    match headers.get(http::header::IF_MATCH).map(http::HeaderValue::to_str) {
        None => Ok(()),
        Some(Ok(tag)) if tag == "*" || tag.trim_matches('"') == version.to_string() => Ok(()),
        Some(_) => {
            Err(Problem::new(Kind::Stale, format!("The order has changed: its version is {version}. Read it again.")))
        }
    }
}
