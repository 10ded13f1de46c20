//! The API. gRPC: `souk.stock.v1.Stock` (authenticated), health and reflection. REST:
//!
//! | route | allowed for |
//! |---|---|
//! | `GET /api/places`, `GET /api/places/{id}` | anyone |
//! | `POST /api/places` | admin |
//! | `GET /api/stock/levels` | staff, services |
//! | `PUT /api/stock/levels/{product_id}/{place_id}/threshold` | admin; manager of the place |
//! | `PUT /api/stock/levels/{product_id}/{place_id}/available` | admin; manager of the place |
//! | `GET /api/stock/ledger` | admin; staff, for their places |
//! | `POST /api/stock/adjustments` | admin; manager of the place |
//! | `POST /api/stock/adjustments/batch` | admin |
//! | `GET /api/stock/replenishments`, `…/{id}` | admin; staff of the two places |
//! | `POST /api/stock/replenishments`, `…/{id}/receive` | admin; staff of the destination |
//! | `POST /api/stock/replenishments/{id}/approve`, `…/refuse` | admin |
//! | `POST /api/stock/replenishments/{id}/dispatch` | admin; staff of the origin |

mod adjustments;
mod grpc;
mod ledger;
mod levels;
mod places;
mod replenishments;

use auth::{Caller, Verifier};
use axum::{Router, extract::FromRef};
use chassis::{FieldError, Problem};
use commerce::{PlaceId, ProductId, page::CursorKey};
use db::Db;
use proto::stock::v1::stock_server::StockServer;
use service::Common;
use tonic::service::Routes;
use utoipa::OpenApi;
use utoipa_axum::{router::OpenApiRouter, routes};

use crate::{clients::Catalogue, executor::Executor, queue::StockQueue};

/// Most pieces in one request.
const MAX_PIECES: i64 = 1_000_000_000;
/// Most characters of a reason.
const MAX_REASON_CHARS: usize = 500;

/// The state of the handlers. Cheap to clone.
#[derive(Clone)]
pub(crate) struct Api {
    pub(crate) queue: StockQueue,
    pub(crate) executor: Executor,
    pub(crate) db: Db,
    pub(crate) catalogue: Catalogue,
    pub(crate) verifier: Verifier,
    pub(crate) cursors: Cursors,
    /// The place of reservations and replenishments that name none.
    pub(crate) default_place: PlaceId,
    pub(crate) reservations: prometheus::IntCounterVec,
}

/// The keys that sign the cursors, one for each list.
#[derive(Clone)]
pub(crate) struct Cursors {
    places: CursorKey,
    levels: CursorKey,
    ledger: CursorKey,
    replenishments: CursorKey,
}

impl Cursors {
    /// Derives the keys from the internal key.
    pub(crate) fn derive(common: &Common) -> Self {
        Self {
            places: common.cursor_key("places"),
            levels: common.cursor_key("levels"),
            ledger: common.cursor_key("ledger"),
            replenishments: common.cursor_key("replenishments"),
        }
    }
}

impl FromRef<Api> for Verifier {
    fn from_ref(api: &Api) -> Self {
        api.verifier.clone()
    }
}

/// The gRPC routes.
pub(crate) async fn grpc(api: Api) -> anyhow::Result<Routes> {
    let verifier = api.verifier.clone();
    let stock = StockServer::new(api).max_decoding_message_size(chassis::grpc::MESSAGE_LIMIT);
    let routes = auth::grpc::protect(Routes::new(stock), verifier);
    chassis::grpc::with_health_and_reflection(routes, &["souk.stock.v1.Stock"], proto::FILE_DESCRIPTOR_SET).await
}

#[derive(OpenApi)]
#[openapi(info(
    title = "Souk stock",
    description = "Places, stock levels, adjustments, the ledger and replenishments. Reservations are made by gRPC (`souk.stock.v1.Stock`)."
))]
struct Doc;

fn routes() -> OpenApiRouter<Api> {
    OpenApiRouter::with_openapi(Doc::openapi())
        .routes(routes!(places::list_places, places::create_place))
        .routes(routes!(places::get_place))
        .routes(routes!(levels::list_levels))
        .routes(routes!(levels::set_threshold))
        .routes(routes!(levels::set_available))
        .routes(routes!(ledger::list_ledger))
        .routes(routes!(adjustments::create_adjustment))
        .routes(routes!(adjustments::create_adjustments))
        .routes(routes!(replenishments::list_replenishments, replenishments::request_replenishment))
        .routes(routes!(replenishments::get_replenishment))
        .routes(routes!(replenishments::approve_replenishment))
        .routes(routes!(replenishments::refuse_replenishment))
        .routes(routes!(replenishments::dispatch_replenishment))
        .routes(routes!(replenishments::receive_replenishment))
}

/// The HTTP routes.
pub(crate) fn http(api: Api) -> Router {
    chassis::openapi_docs(routes().with_state(api))
}

/// The OpenAPI description.
pub(crate) fn openapi() -> utoipa::openapi::OpenApi {
    routes().into_openapi()
}

/// The error of a malformed reason.
fn reason_error(prefix: &str, reason: &str) -> Option<FieldError> {
    let error = |rule: &str, message: String| Some(FieldError::new(format!("{prefix}reason"), rule, message));
    if reason.trim().is_empty() || reason.chars().count() > MAX_REASON_CHARS {
        return error("length", format!("1 to {MAX_REASON_CHARS} characters"));
    }
    if reason.chars().any(|char| char.is_control() && !matches!(char, '\n' | '\r' | '\t')) {
        return error("characters", "no control characters".into());
    }
    None
}

/// The error of a product that the catalogue does not contain.
fn unknown_product_error(prefix: &str, product_id: &ProductId) -> FieldError {
    FieldError::new(format!("{prefix}product_id"), "exists", format!("there is no product {product_id}"))
}

/// Refuses a caller who may not act in the place.
fn require_place_access(caller: &Caller, place_id: &str) -> Result<(), Problem> {
    if caller.may_act_in(place_id) {
        return Ok(());
    }
    Err(Problem::forbidden(format!("You do not work in {place_id}.")).with_code("place.forbidden"))
}
