//! The edge: every route on one screen.

mod list;
mod orders;
mod stream;

use std::sync::Arc;

use auth::{Caller, Verifier};
use axum::extract::FromRef;
use bus::Sidecar;
use chassis::{Context, Problem};
use commerce::page::CursorKey;
use db::Db;
use tokio::sync::{Semaphore, watch};
use utoipa::OpenApi;
use utoipa_axum::{router::OpenApiRouter, routes};

use crate::domain::Scope;

/// State of the handlers.
#[derive(Clone)]
pub(crate) struct State {
    pub(crate) db: Db,
    pub(crate) ctx: Context,
    pub(crate) verifier: Verifier,
    pub(crate) cursors: CursorKey,
    pub(crate) news: watch::Receiver<u64>,
    /// Wakes the live streams after new notifications.
    pub(crate) sender: Arc<watch::Sender<u64>>,
    pub(crate) sidecar: Sidecar,
    pub(crate) streams: Arc<Semaphore>,
}

impl FromRef<State> for Verifier {
    fn from_ref(state: &State) -> Self {
        state.verifier.clone()
    }
}

#[derive(OpenApi)]
#[openapi(
    info(title = "Souk notifications", description = "Notifications about orders, stock, payments and customers, as lists and as a live stream."),
    tags(
        (name = "notifications", description = "Customers see their own, staff those of their places, admins all."),
        (name = "reports", description = "Orders that other programs report.")
    )
)]
struct Docs;

/// All routes.
pub(crate) fn router() -> OpenApiRouter<State> {
    OpenApiRouter::with_openapi(Docs::openapi())
        .routes(routes!(list::list))
        .routes(routes!(list::timeline))
        .routes(routes!(stream::stream))
        .routes(routes!(orders::report))
}

/// The notifications that a caller may see.
fn scope(caller: &Caller) -> Result<Scope, Problem> {
    if caller.is_admin() || caller.is_service() {
        return Ok(Scope::All);
    }
    if caller.is_staff() {
        return Ok(Scope::Places(caller.stores.clone()));
    }
    match &caller.customer_id {
        Some(id) => Ok(Scope::Customer(id.clone())),
        None => Err(Problem::forbidden("Notifications are for staff and customers.")),
    }
}
