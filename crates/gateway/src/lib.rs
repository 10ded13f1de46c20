//! The public entry point: forwards `/api/*` and `/graphql` to the services, offers REST bridges over GraphQL and gRPC, and one merged
//! description at `/docs`. It has no business rules: each service checks the roles of its callers.

mod config;
mod dialects;
mod docs;
mod lent_body;
mod payments;
mod products;
mod proxy;
mod state;
mod upstream;

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use axum::{
    Router,
    extract::{Request, State},
    routing::{any, get, post},
};
use chassis::{App, Callers, Context, Json};
use serde_json::{Value, json};
use tokio::net::TcpListener;
use utoipa_swagger_ui::SwaggerUi;

pub use config::Config;
pub use dialects::{Dialect, PORT_OFFSET, Port};
use state::Gateway;
use upstream::Upstream;

/// The service's name.
pub const NAME: &str = "gateway";

/// The API description of the gateway itself, without those of the services.
pub fn openapi() -> Value {
    docs::own()
}

/// All routes.
fn router(gateway: Gateway) -> Router {
    let to = |pick: fn(&Gateway) -> &Upstream| {
        any(move |State(gateway): State<Gateway>, request: Request| async move {
            let upstream = pick(&gateway);
            proxy::pass(&gateway.http, upstream, gateway.config.timeout(upstream.name), request).await
        })
    };
    let customer = to(|gateway| &gateway.customer);
    let order = to(|gateway| &gateway.order);
    let stock = to(|gateway| &gateway.stock);
    let notification = to(|gateway| &gateway.notification);
    let product = to(|gateway| &gateway.product);
    Router::new()
        .route("/api/customers", customer.clone())
        .route("/api/customers/{id}", customer.clone())
        .route("/api/customers/{id}/timeline", notification.clone())
        .route("/api/users", customer.clone())
        .route("/api/users/{*rest}", customer.clone())
        .route("/api/prospects", customer.clone())
        .route("/api/prospects/{*rest}", customer.clone())
        .route("/api/activities", customer.clone())
        .route("/api/activities/{*rest}", customer.clone())
        .route("/.well-known/{*rest}", customer)
        .route("/api/orders", order.clone())
        .route("/api/orders/{*rest}", order.clone())
        .route("/api/carts", order.clone())
        .route("/api/carts/{*rest}", order.clone())
        .route("/api/stores/{id}/sales", order.clone())
        .route("/api/reports/{*rest}", order)
        .route("/api/places", stock.clone())
        .route("/api/places/{*rest}", stock.clone())
        .route("/api/stock/{*rest}", stock)
        .route("/api/notifications", notification.clone())
        .route("/api/notifications/{*rest}", notification)
        .route("/graphql", product.clone())
        .route("/graphql/assets/{file}", product)
        .route("/api/products", get(products::list).post(products::create))
        .route(
            "/api/products/{id}",
            get(products::get).put(products::replace).patch(products::update).delete(products::delete),
        )
        .route("/api/payments", get(payments::list))
        .route("/api/payments/{id}", get(payments::get))
        .route("/api/payments/{id}/refunds", post(payments::refund))
        .route("/openapi.json", get(docs::openapi))
        .route("/", get(index))
        .with_state(gateway)
        .merge(SwaggerUi::new("/docs").config(chassis::swagger_config("/openapi.json")))
}

/// Lists the entry points.
async fn index() -> Json<Value> {
    Json(json!({
        "name": "souk",
        "docs": "/docs",
        "openapi": "/openapi.json",
        "graphql": "/graphql",
        "api": ["/api/customers", "/api/users", "/api/prospects", "/api/activities",
                "/api/products", "/api/orders", "/api/carts",
                "/api/payments", "/api/reports/sales",
                "/api/places", "/api/stock/levels", "/api/notifications"],
    }))
}

/// The dependencies of the gateway.
#[derive(Debug)]
pub struct Deps {
    /// The context of the process.
    pub ctx: Context,
    /// Listeners for the dialects' ports, by the port numbers of the older fleets.
    pub ports: BTreeMap<u16, TcpListener>,
}

/// Opens the dialects' ports and builds the gateway.
pub async fn start(config: Config, ctx: Context) -> anyhow::Result<App> {
    let ports = dialects::listen(&config).await?;
    build(config, Deps { ctx, ports }).await
}

/// Builds the gateway.
pub async fn build(config: Config, Deps { ctx, ports }: Deps) -> anyhow::Result<App> {
    let gateway = Gateway::new(config)?;
    let period = Duration::from_secs(gateway.config.health_seconds.max(1));
    for upstream in gateway.upstreams() {
        upstream.watch(&ctx, &gateway.http, period);
    }
    let api = router(gateway.clone());
    let compat = dialects::open(&gateway, &api, &ctx, ports).await?;
    Ok(App {
        http: api.merge(compat),
        grpc: None,
        callers: Callers::Anybody,
        // An unreachable service is shown, but does not make the gateway unready.
        ready: Arc::new(move || {
            let gateway = gateway.clone();
            Box::pin(async move {
                Ok(gateway
                    .upstreams()
                    .into_iter()
                    .map(|upstream| (upstream.name.to_owned(), json!(upstream.healthy().is_some())))
                    .collect::<serde_json::Map<String, Value>>()
                    .into())
            })
        }),
    })
}
