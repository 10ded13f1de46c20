//! The API. gRPC: `souk.payment.v1.Payments` (authenticated), `PaymentService` (the old proto, without authentication), health
//! and reflection. HTTP: health, readiness and metrics, as in every service.

mod legacy;
mod payments;
mod wire;

use auth::Verifier;
use axum::Router;
use commerce::{Currency, page::CursorKey};
use db::Db;
use proto::{legacy::payment_service_server::PaymentServiceServer, payment::v1::payments_server::PaymentsServer};
use service::OrderClient;
use tonic::service::Routes;
use utoipa::OpenApi;
use utoipa_axum::router::OpenApiRouter;

use crate::operations::Operations;

/// The state of the handlers. Cheap to clone.
#[derive(Clone)]
pub(crate) struct Api {
    pub(crate) operations: Operations,
    pub(crate) orders: OrderClient,
    pub(crate) db: Db,
    pub(crate) cursors: CursorKey,
    /// The currency of payments by the old proto.
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

/// The schema of a payment in events and on REST, which the gateway serves.
#[derive(OpenApi)]
#[openapi(
    info(title = "Souk payments", description = "Payments are made by gRPC (`souk.payment.v1.Payments`); the gateway serves them on REST."),
    components(schemas(crate::events::PaymentBody<'static>))
)]
struct Doc;

/// The HTTP routes.
pub(crate) fn http() -> Router {
    chassis::openapi_docs(OpenApiRouter::with_openapi(openapi()))
}

/// The OpenAPI description.
pub(crate) fn openapi() -> utoipa::openapi::OpenApi {
    Doc::openapi()
}
