//! `crm`: customers (Node), orders (Python) and notifications (Go), each on a port of its own; no authentication.

mod customers;
mod orders;

use axum::{
    Router,
    body::Bytes,
    extract::State,
    response::{IntoResponse, Response},
    routing::{get, post},
};
use chassis::Json;
use http::{HeaderMap, StatusCode, header};
use prometheus::{IntCounterVec, IntGaugeVec};
use serde::de::IgnoredAny;
use serde_json::json;
use tower_http::cors::CorsLayer;

use super::{
    Dialect, Port,
    api_client::ApiClient,
    model::Page,
    routes::{self, Meters, RouteDoc},
};

/// The dialect.
pub(super) const DIALECT: Dialect = Dialect {
    name: "crm",
    ports: &[
        Port { number: CUSTOMERS, what: "customer service", optional: false },
        Port { number: ORDERS, what: "order service", optional: false },
        Port { number: NOTIFICATIONS, what: "notification service", optional: false },
    ],
    routes: router,
    start_consumer: None,
};

const CUSTOMERS: u16 = 8085;
const ORDERS: u16 = 8087;
const NOTIFICATIONS: u16 = 5001;

/// The state of the handlers.
#[derive(Clone)]
struct Crm {
    api: ApiClient,
    /// `order_status_updates_total`.
    moves: IntCounterVec,
    /// `active_orders_total`.
    active: IntGaugeVec,
}

const CUSTOMER_DOCS: &[RouteDoc] = &[
    ("get", "/api/customers", "Customers, newest first: page, limit"),
    ("post", "/api/customers", "Creates a customer from name, email, phone, address"),
    ("get", "/api/customers/{id}", "One customer"),
    ("put", "/api/customers/{id}", "Changes the fields in the body"),
    ("delete", "/api/customers/{id}", "Deletes a customer"),
];
const ORDER_DOCS: &[RouteDoc] = &[
    ("get", "/api/orders", "Orders, newest first: customer_id, status, page, limit"),
    ("post", "/api/orders", "Places an order for customer_id with items"),
    ("get", "/api/orders/{id}", "One order"),
    (
        "put",
        "/api/orders/{id}/status",
        "Changes the status: pending, confirmed, processing, shipped, delivered, cancelled",
    ),
    ("delete", "/api/orders/{id}", "Cancels an order if possible, and deletes it"),
];

/// The routes of each port.
fn router(api: &ApiClient, port: u16) -> Router {
    let metrics = &api.ctx.metrics;
    let crm = Crm {
        moves: metrics.counter(
            "order_status_updates_total",
            "Changes of order status in the dialect crm.",
            &["from_status", "to_status"],
        ),
        active: metrics.gauge("active_orders_total", "Orders that are neither delivered nor cancelled.", &[]),
        api: api.clone(),
    };
    let routes = match port {
        CUSTOMERS => Meters::new(metrics, "customer_service_requests_total", "customer_service_latency_seconds").over(
            Router::new()
                .route("/api/customers", get(customers::list).post(customers::add))
                .route("/api/customers/{id}", get(customers::one).put(customers::change).delete(customers::remove))
                .with_state(crm.clone())
                .merge(routes::docs("/api-docs", "Customer service", CUSTOMER_DOCS)),
        ),
        ORDERS => Meters::new(metrics, "order_service_requests_total", "order_service_latency_seconds").over(
            Router::new()
                .route("/api/orders", get(orders::list).post(orders::place))
                // The path that the old fleet's virtual service used.
                .route("/orders", get(orders::list).post(orders::place))
                .route("/api/orders/{id}", get(orders::one).delete(orders::remove))
                .route("/api/orders/{id}/status", axum::routing::put(orders::set_status))
                .with_state(crm.clone())
                .merge(routes::docs("/docs", "Order service", ORDER_DOCS)),
        ),
        _ => Router::new()
            .route("/orders", post(report))
            .route("/dapr/subscribe", get(subscriptions))
            .with_state(crm.clone()),
    };
    routes
        .route("/health", get(async || Json(json!({"status": "healthy"}))))
        .route("/metrics", get(scrape).with_state(crm))
        .layer(CorsLayer::permissive())
}

/// Forwards an event of another program about an order to the notification service.
async fn report(State(crm): State<Crm>, headers: HeaderMap, body: Bytes) -> Response {
    let kind = headers.get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or("application/json");
    let notification = &crm.api.gateway.notification;
    let response = crm.api.post(&["orders"]).bytes(kind, body).to(notification).send().await;
    match response.status {
        StatusCode::OK if response.body.is_null() => StatusCode::OK.into_response(),
        StatusCode::OK => Json(response.body).into_response(),
        status if status.is_server_error() => (status, Json(response.body)).into_response(),
        _ => (StatusCode::BAD_REQUEST, "Invalid order data").into_response(),
    }
}

/// The subscriptions of the notification service, for a Dapr sidecar.
async fn subscriptions(State(crm): State<Crm>) -> Response {
    let response = crm.api.get(&["dapr", "subscribe"]).to(&crm.api.gateway.notification).send().await;
    (response.status, Json(response.body)).into_response()
}

/// All metrics, with the current number of open orders.
async fn scrape(State(crm): State<Crm>) -> Response {
    let mut active = 0;
    for status in ["pending", "confirmed", "processing", "shipped"] {
        let request =
            crm.api.get(&["api", "orders"]).query("status", status).query("limit", 1).query("include_total", true);
        // Without a response the gauge keeps its value.
        let Ok(page) = request.send().await.ok::<Page<IgnoredAny>>() else {
            return routes::metrics(State(crm.api.ctx.metrics)).await;
        };
        active += i64::try_from(page.total).unwrap_or_default();
    }
    crm.active.with_label_values::<&str>(&[]).set(active);
    routes::metrics(State(crm.api.ctx.metrics)).await
}
