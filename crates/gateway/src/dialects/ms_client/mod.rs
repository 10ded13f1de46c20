//! `ms-client`: clients, products, orders and users as four Flask services behind nginx, with messages over RabbitMQ.

mod amqp;
mod clients;
mod commandes;
mod consumer;
mod notifications;
mod produits;
mod users;

use axum::{
    Router,
    response::{IntoResponse, Response},
    routing::{get, post},
};
use chassis::Json;
use commerce::Amount;
use http::StatusCode;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

use super::{
    Dialect, Port,
    api_client::{ApiClient, ApiResponse},
    lists, money as amounts,
    routes::{self, Meters},
};

/// The dialect.
pub(super) const DIALECT: Dialect = Dialect {
    name: "ms-client",
    ports: &[
        Port { number: CLIENT, what: "client service", optional: false },
        Port { number: PRODUIT, what: "produit service", optional: false },
        Port { number: COMMANDE, what: "commande service", optional: false },
        Port { number: UTILISATEUR, what: "utilisateur service", optional: false },
        Port { number: 80, what: "nginx", optional: true },
    ],
    routes: router,
    start_consumer: Some(|api, ctx| Box::pin(consumer::start(api, ctx))),
};

const CLIENT: u16 = 5001;
const PRODUIT: u16 = 5002;
const COMMANDE: u16 = 5003;
const UTILISATEUR: u16 = 5004;

/// The routes of each port.
fn router(api: &ApiClient, port: u16) -> Router {
    let (own, meters) = match port {
        CLIENT => (
            Router::new()
                .route("/customers", get(clients::list).post(clients::add))
                .route("/customers/{id}", get(clients::one).put(clients::change).delete(clients::remove))
                .route("/admin-only", get(users::admin_only))
                .route("/notifications", get(notifications::of_clients))
                .route("/", get(async || welcome("CUSTOMER"))),
            Some(("client_requests_total", "client_processing_seconds")),
        ),
        PRODUIT => (
            Router::new()
                .route("/products", get(produits::list).post(produits::add))
                .route("/products/{id}", get(produits::one).put(produits::change).delete(produits::remove))
                .route("/notifications", get(notifications::of_products))
                .route("/", get(async || welcome("PRODUCT"))),
            Some(("product_requests_total", "product_processing_seconds")),
        ),
        COMMANDE => (
            Router::new()
                .route("/orders", get(commandes::list).post(commandes::add))
                .route("/orders/{id}", get(commandes::one).put(commandes::change).delete(commandes::remove))
                .route("/notifications", get(notifications::of_orders))
                .route("/", get(async || welcome("ORDER"))),
            Some(("commande_requests_total", "commande_processing_seconds")),
        ),
        UTILISATEUR => (
            Router::new()
                .route("/validate_token", post(users::validate))
                .route("/protected", get(users::protected))
                .route("/", get(async || welcome("USER"))),
            None,
        ),
        _ => return nginx(api),
    };
    let routes = own
        .route("/login", post(users::login))
        .route("/logout", post(users::logout))
        .route("/health", get(async || Json(json!({"status": "healthy"}))))
        .route("/metrics", get(routes::metrics).with_state(api.ctx.metrics.clone()))
        .with_state(api.clone());
    match meters {
        Some((requests, seconds)) => Meters::new(&api.ctx.metrics, requests, seconds).over(routes),
        None => routes,
    }
}

/// The routes of the four services, each under its prefix.
fn nginx(api: &ApiClient) -> Router {
    [("client", CLIENT), ("produit", PRODUIT), ("commande", COMMANDE), ("utilisateur", UTILISATEUR)]
        .into_iter()
        .fold(Router::new(), |routes, (name, port)| {
            routes.nest_service(&format!("/api/{name}-service"), router(api, port))
        })
}

fn welcome(whose: &'static str) -> Json<Value> {
    Json(json!({"msg": format!("Welcome to the {whose}'s API. The service is up and running!")}))
}

/// An error in the wire format of this fleet.
fn error(status: StatusCode, text: impl Into<String>) -> Response {
    (status, Json(json!({"error": text.into()}))).into_response()
}

fn missing(what: &str) -> Response {
    (StatusCode::NOT_FOUND, Json(json!({"message": format!("{what} not found")}))).into_response()
}

/// A refusal of the API that the old fleet did not have.
fn refused(response: &ApiResponse) -> Response {
    let status = match response.status {
        StatusCode::UNPROCESSABLE_ENTITY => StatusCode::BAD_REQUEST,
        status => status,
    };
    error(status, response.detail())
}

/// A resource by its number, which is the id of this dialect.
async fn find<T: DeserializeOwned>(api: &ApiClient, kind: &str, number: &str) -> Result<Option<T>, ApiResponse> {
    let Ok(number) = number.parse::<i64>() else { return Ok(None) };
    lists::by_number(api.get(&["api", kind]), number).await
}

/// An amount that is a number or a text.
fn number(value: &Value) -> Option<f64> {
    value.as_f64().or_else(|| value.as_str()?.trim().parse().ok()).and_then(amounts::rounded)
}

/// Money in the wire format of this fleet: a text with two decimals.
fn money(amount: Amount) -> String {
    amount.to_string()
}
