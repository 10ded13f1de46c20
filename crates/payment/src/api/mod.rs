//! The edge. gRPC: `souk.payment.v1.Payments` (authenticated) and `PaymentService` (the older fleet's, open),
//! beside health and reflection. HTTP: health, readiness and metrics, which every service has.

mod legacy;
mod payments;
mod wire;

use auth::Verifier;
use axum::Router;
use commerce::{Currency, page::CursorKey};
use db::Db;
use proto::{legacy::payment_service_server::PaymentServiceServer, payment::v1::payments_server::PaymentsServer};
use tonic::service::Routes;
use utoipa::OpenApi;
use utoipa_axum::router::OpenApiRouter;

use crate::{clients::Orders, commands::PaymentQueue};

/// What the handlers work with. Cheap to clone.
#[derive(Clone)]
pub(crate) struct Api {
    pub(crate) queue: PaymentQueue,
    pub(crate) orders: Orders,
    pub(crate) db: Db,
    pub(crate) cursors: CursorKey,
    pub(crate) currency: Currency,
}

/// The gRPC routes.
pub(crate) async fn grpc(api: Api, verifier: Verifier) -> anyhow::Result<Routes> {
    let limit = chassis::grpc::MESSAGE_LIMIT;
    let payments = PaymentsServer::new(api.clone()).max_decoding_message_size(limit);
    let guarded = auth::grpc::protect(Routes::new(payments), verifier);
    let legacy = PaymentServiceServer::new(api).max_decoding_message_size(limit);
    let routes = guarded.add_service(legacy);
    let names = ["souk.payment.v1.Payments", "PaymentService"];
    chassis::grpc::with_health_and_reflection(routes, &names, proto::FILE_DESCRIPTOR_SET).await
}

/// The shape of a payment on REST, where the gateway serves it, and in events.
#[derive(OpenApi)]
#[openapi(
    info(title = "Souk payments", description = "Payments are asked for by gRPC; the gateway bridges them to REST."),
    components(schemas(crate::events::PaymentBody<'static>))
)]
struct Doc;

/// The HTTP routes.
pub(crate) fn http() -> Router {
    chassis::openapi_docs(OpenApiRouter::with_openapi(openapi()))
}

/// The description of the HTTP side.
pub(crate) fn openapi() -> utoipa::openapi::OpenApi {
    Doc::openapi()
}
