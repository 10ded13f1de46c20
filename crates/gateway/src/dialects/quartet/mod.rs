//! `quartet`: a gateway in front of users (REST), products (GraphQL), orders (REST, Kafka) and payments (gRPC), all in Node. The
//! payment service implements the old proto, the order service the topics `new-order` and `order-processed`.

mod orders;
mod payments;
mod tokens;
mod users;

use axum::{
    Router,
    extract::{Path, Request, State},
    middleware::{self, Next},
    response::{IntoResponse, Response},
    routing::{any, get, post},
};
use chassis::Json;
use http::{StatusCode, header::AUTHORIZATION};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use tower_http::cors::CorsLayer;

use super::{
    Dialect, Port,
    api_client::{ApiClient, ApiResponse},
    model::GraphQl,
    routes,
};
use tokens::Tokens;

/// The dialect.
pub(super) const DIALECT: Dialect = Dialect {
    name: "quartet",
    ports: &[
        Port { number: GATEWAY, what: "gateway", optional: false },
        Port { number: USERS, what: "user service", optional: false },
        Port { number: PRODUCTS, what: "product service, GraphQL", optional: false },
        Port { number: ORDERS, what: "order service", optional: false },
    ],
    routes: router,
    start_consumer: None,
};

const GATEWAY: u16 = 3000;
const USERS: u16 = 3001;
const PRODUCTS: u16 = 3002;
const ORDERS: u16 = 3003;

/// The state of the handlers.
#[derive(Clone)]
struct Quartet {
    api: ApiClient,
    tokens: Tokens,
}

/// The routes of each port.
fn router(api: &ApiClient, port: u16) -> Router {
    let quartet = Quartet { tokens: Tokens::of(&api.gateway.config), api: api.clone() };
    let guarded = middleware::from_fn_with_state(quartet.clone(), demand_token);
    let routes = match port {
        GATEWAY => Router::new()
            .route("/", get(index))
            .route("/users/register", post(users::register))
            .route("/users/login", post(users::login))
            .route("/products", get(products))
            .route("/products/{id}", get(product))
            .merge(
                Router::new()
                    .route("/orders", get(orders::list).post(orders::place))
                    .route("/orders/{id}", get(orders::one))
                    .route("/payments", post(payments::pay))
                    .route_layer(guarded),
            ),
        USERS => Router::new().route("/register", post(users::register)).route("/login", post(users::login)),
        PRODUCTS => Router::new()
            .route("/", any(graphql))
            .route("/graphql", any(graphql))
            .route("/graphql/assets/{file}", any(graphql)),
        _ => Router::new()
            .route("/orders", get(orders::list).post(orders::place))
            .route("/orders/{id}", get(orders::one))
            .route_layer(guarded),
    };
    routes
        .route("/health", get(async || Json(json!({"status": "healthy"}))))
        .route("/metrics", get(routes::metrics).with_state(api.ctx.metrics.clone()))
        .with_state(quartet)
        .layer(CorsLayer::permissive())
}

async fn index() -> Json<Value> {
    Json(json!({
        "message": "API Gateway pour architecture microservices",
        "endpoints": {"users": "/users", "products": "/products", "orders": "/orders", "payments": "/payments"},
    }))
}

/// Refuses requests without a valid token, if the settings demand one for orders and payments.
async fn demand_token(State(quartet): State<Quartet>, request: Request, next: Next) -> Response {
    if quartet.api.gateway.config.quartet_require_auth {
        let header = request.headers().get(AUTHORIZATION).and_then(|value| value.to_str().ok());
        let Some(token) = header.and_then(|header| header.split(' ').nth(1)).filter(|token| !token.is_empty()) else {
            return refusal(StatusCode::UNAUTHORIZED, "Access token missing");
        };
        if !quartet.tokens.is_valid(token) {
            return refusal(StatusCode::FORBIDDEN, "Invalid or expired token");
        }
    }
    next.run(request).await
}

/// The response of the product service. The products pass through unchanged.
#[derive(Default, Deserialize, Serialize)]
#[serde(default)]
struct Products {
    products: Value,
}

#[derive(Default, Deserialize, Serialize)]
#[serde(default)]
struct Product {
    product: Value,
}

async fn products(State(quartet): State<Quartet>) -> Response {
    match quartet.api.graphql("{products{id name price description}}", json!({})).send().await.ok() {
        Ok(GraphQl::<Products> { data }) => Json(data).into_response(),
        Err(response) => failure(&response),
    }
}

async fn product(State(quartet): State<Quartet>, Path(id): Path<String>) -> Response {
    let question = "query($id:ID!){product(id:$id){id name price description}}";
    match quartet.api.graphql(question, json!({ "id": id })).send().await.ok() {
        Ok(GraphQl::<Product> { data }) => {
            let status = if data.product.is_null() { StatusCode::NOT_FOUND } else { StatusCode::OK };
            (status, Json(data)).into_response()
        }
        Err(response) => failure(&response),
    }
}

/// The GraphQL schema of the product service, which extends the old one, and has the same paths.
async fn graphql(State(quartet): State<Quartet>, request: Request) -> Response {
    quartet.api.pass(&quartet.api.gateway.product, request).await
}

fn refusal(status: StatusCode, message: &str) -> Response {
    (status, Json(json!({"success": false, "message": message}))).into_response()
}

/// The response to a failure of a service, or to a refusal that the old fleet did not have.
fn failure(response: &ApiResponse) -> Response {
    if response.status.is_server_error() {
        let status = if response.is_unavailable() { StatusCode::SERVICE_UNAVAILABLE } else { response.status };
        let body = json!({"success": false, "message": "Erreur de service", "error": response.detail()});
        return (status, Json(body)).into_response();
    }
    let status =
        if response.status == StatusCode::UNPROCESSABLE_ENTITY { StatusCode::BAD_REQUEST } else { response.status };
    refusal(status, response.detail())
}

#[cfg(test)]
mod tests {
    use axum::body::Body;
    use http::Method;
    use http_body_util::BodyExt;
    use tower::ServiceExt;

    use super::*;
    use crate::Config;

    /// The response of the dialect when the API answers every request with this status.
    async fn respond(upstream: StatusCode, config: Config, method: Method, path: &str, body: Value) -> (u16, Value) {
        let api = Router::new().fallback(async move || (upstream, Json(json!({"detail": "why"}))));
        let routes = router(&ApiClient::of_routes(api, config), GATEWAY);
        let request =
            Request::builder().method(method).uri(path).body(Body::from(body.to_string())).expect("a request");
        let response = routes.oneshot(request).await.expect("an answer");
        let status = response.status().as_u16();
        let bytes = response.into_body().collect().await.expect("a body").to_bytes();
        (status, serde_json::from_slice(&bytes).expect("JSON"))
    }

    #[tokio::test]
    async fn a_backend_that_is_away_is_503_and_another_failure_is_passed_on() {
        let body = json!({"success": false, "message": "Erreur de service", "error": "why"});
        let order = json!({"userId": "1", "productId": "1", "quantity": 1});
        let login = json!({"email": "a@b.example", "password": "secret-1"});
        let requests = [
            (Method::GET, "/orders", Value::Null),
            (Method::GET, "/orders/1", Value::Null),
            (Method::POST, "/orders", order),
            (Method::GET, "/products", Value::Null),
            (Method::POST, "/users/login", login.clone()),
        ];
        for (upstream, status) in [(502, 503), (503, 503), (504, 503), (500, 500)] {
            let upstream = StatusCode::from_u16(upstream).expect("a status");
            for (method, path, sent) in &requests {
                let response = respond(upstream, Config::default(), method.clone(), path, sent.clone()).await;
                assert_eq!(response, (status, body.clone()), "{path} at {upstream}");
            }
        }
        let failed = StatusCode::INTERNAL_SERVER_ERROR;
        let response = respond(failed, Config::default(), Method::POST, "/users/register", login).await;
        assert_eq!(response, (500, json!({"success": false, "message": "Erreur lors de l'inscription"})));
    }

    #[tokio::test]
    async fn a_payment_service_that_is_away_is_503_and_one_that_does_not_answer_504() {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let address = listener.local_addr().expect("an address");
        let pay = async || {
            let config = Config { payment_grpc_url: format!("http://{address}"), ..Config::default() };
            let (status, body) =
                respond(StatusCode::OK, config, Method::POST, "/payments", json!({"orderId": "o", "amount": 9.5}))
                    .await;
            assert_eq!(body["message"], "Erreur lors du traitement du paiement");
            (status, body["success"].clone())
        };
        // It listens, but does not answer.
        assert_eq!(pay().await, (504, json!(false)));
        drop(listener);
        assert_eq!(pay().await, (503, json!(false)));
    }
}
