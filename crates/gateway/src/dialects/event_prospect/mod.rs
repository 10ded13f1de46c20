//! `event-prospect`: prospects and events behind a gateway that demands tokens of a Keycloak realm (Java, Spring).

mod consumer;
mod events;
mod prospects;
mod realm;

use axum::{
    Router,
    extract::{Request, State},
    middleware::{self, Next},
    response::{IntoResponse, Response},
    routing::{get, post},
};
use chassis::{Json, from_query};
use commerce::Timestamp;
use http::{HeaderValue, StatusCode, Uri, header};
use serde::{Deserialize, de::DeserializeOwned};
use serde_json::{Value, json};

use super::{
    Dialect, Port,
    api_client::{ApiClient, ApiRequest, ApiResponse},
    lists::{self, Range},
    routes,
};
use realm::TokenCheck;

/// The dialect.
pub(super) const DIALECT: Dialect = Dialect {
    name: "event-prospect",
    ports: &[
        Port { number: GATEWAY, what: "gateway, with tokens", optional: false },
        Port { number: EVENTS, what: "event service", optional: false },
        Port { number: PROSPECTS, what: "prospect service", optional: false },
        // Keycloak's port, which may be taken by Keycloak itself.
        Port { number: REALM, what: "the realm of the fleet's own users", optional: true },
    ],
    routes: router,
    start_consumer: Some(|api, ctx| Box::pin(consumer::start(api, ctx))),
};

const GATEWAY: u16 = 8081;
const EVENTS: u16 = 8080;
const PROSPECTS: u16 = 9090;
const REALM: u16 = 8180;

/// The routes of each port.
fn router(api: &ApiClient, port: u16) -> Router {
    let prospects = Router::new()
        .route("/prospects", get(prospects::list).post(prospects::add))
        .route("/prospects/{id}", get(prospects::one).patch(prospects::change).delete(prospects::remove))
        .route("/prospects/filedWork/{value}", get(prospects::of_field));
    let events = Router::new()
        .route("/events", get(events::list).post(events::add))
        .route("/events/{id}", get(events::one).patch(events::change).delete(events::remove))
        .route("/events/dateEvent/{date}", get(events::of_day));
    let routes = match port {
        GATEWAY => prospects.merge(events).route_layer(middleware::from_fn_with_state(api.clone(), demand_token)),
        EVENTS => events,
        PROSPECTS => prospects,
        _ => {
            return Router::new()
                .route("/realms/EventProspect/.well-known/openid-configuration", get(realm::discovery))
                .route("/realms/EventProspect/protocol/openid-connect/token", post(realm::token))
                .route("/realms/EventProspect/protocol/openid-connect/certs", get(realm::certs))
                .with_state(api.clone());
        }
    };
    routes
        .route("/actuator/health", get(async || Json(json!({"status": "UP"}))))
        .route("/actuator/prometheus", get(routes::metrics).with_state(api.ctx.metrics.clone()))
        .with_state(api.clone())
}

/// Refuses requests to the gateway's port without a token of the realm.
async fn demand_token(State(api): State<ApiClient>, request: Request, next: Next) -> Result<Response, Refusal> {
    let header = request.headers().get(header::AUTHORIZATION).and_then(|value| value.to_str().ok());
    let token =
        header.and_then(|header| header.split_once(' ')).filter(|(scheme, _)| scheme.eq_ignore_ascii_case("bearer"));
    let (_, token) = token.ok_or_else(Refusal::unauthorised)?;
    match TokenCheck::of(&api.gateway).check(token.trim()).await {
        Ok(()) => Ok(next.run(request).await),
        Err(StatusCode::UNAUTHORIZED) => Err(Refusal::unauthorised()),
        Err(status) => Err(Refusal::unavailable(status, "The token cannot be checked now")),
    }
}

/// The page of a list, counted from 0.
#[derive(Debug, Deserialize)]
#[serde(default)]
struct PageQuery {
    #[serde(rename = "pageNbr")]
    number: u64,
    #[serde(rename = "pageSize")]
    size: u64,
}

impl Default for PageQuery {
    fn default() -> Self {
        Self { number: 0, size: 10 }
    }
}

impl PageQuery {
    /// Reads the query.
    fn read(uri: &Uri) -> Result<Self, Refusal> {
        let query: Self = from_query(uri.query().unwrap_or_default())
            .map_err(|_| Refusal::invalid("pageNbr and pageSize must be numbers"))?;
        if query.size == 0 { Err(Refusal::invalid("pageSize must be at least 1")) } else { Ok(query) }
    }

    async fn rows<'a, T: DeserializeOwned>(
        &self,
        request: impl Fn() -> ApiRequest<'a>,
    ) -> Result<Range<T>, ApiResponse> {
        lists::range(request, self.number.saturating_mul(self.size), self.size).await
    }

    /// A page in the wire format of Spring.
    fn response(&self, total: u64, content: Vec<Value>) -> Response {
        let pages = total.div_ceil(self.size);
        Json(json!({
            "totalElements": total,
            "totalPages": pages,
            "number": self.number,
            "size": self.size,
            "first": self.number == 0,
            "last": self.number.saturating_add(1) >= pages,
            "numberOfElements": content.len(),
            "empty": content.is_empty(),
            "content": content,
        }))
        .into_response()
    }
}

/// A resource by its number, which is the `id` of this dialect, or by its id in the API.
async fn find<T: DeserializeOwned>(api: &ApiClient, kind: &str, id: &str) -> Result<Option<T>, ApiResponse> {
    if let Ok(number) = id.parse::<i64>() {
        return lists::by_number(api.get(&["api", kind]), number).await;
    }
    let response = api.get(&["api", kind, id]).send().await;
    if response.is_not_found() { Ok(None) } else { response.ok().map(Some) }
}

/// A refusal in the wire format of the old services.
#[derive(Debug)]
struct Refusal {
    status: StatusCode,
    code: &'static str,
    message: String,
    details: Option<Value>,
}

impl Refusal {
    fn invalid(message: impl Into<String>) -> Self {
        Self { status: StatusCode::BAD_REQUEST, code: "VALIDATION_ERROR", message: message.into(), details: None }
    }

    fn missing(what: &str, details: Option<Value>) -> Self {
        Self { status: StatusCode::NOT_FOUND, code: "NOT_FOUND", message: format!("{what} not found"), details }
    }

    fn unauthorised() -> Self {
        let message = "A token of the realm is wanted".to_owned();
        Self { status: StatusCode::UNAUTHORIZED, code: "UNAUTHORIZED", message, details: None }
    }

    fn unavailable(status: StatusCode, message: impl Into<String>) -> Self {
        Self { status, code: "SERVICE_UNAVAILABLE", message: message.into(), details: None }
    }
}

impl IntoResponse for Refusal {
    fn into_response(self) -> Response {
        let mut body = json!({"code": self.code, "message": self.message, "timestamp": Timestamp::now()});
        if let Some(details) = self.details {
            body["details"] = details;
        }
        let mut response = (self.status, Json(body)).into_response();
        if self.status == StatusCode::UNAUTHORIZED {
            response.headers_mut().insert(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
        }
        response
    }
}

/// A refusal of the API, or its failure.
impl From<ApiResponse> for Refusal {
    fn from(response: ApiResponse) -> Self {
        if response.status.is_server_error() {
            return Self::unavailable(StatusCode::SERVICE_UNAVAILABLE, response.detail());
        }
        let messages: Vec<String> =
            response.fields().map(|(field, message)| format!("{}: {message}", renamed(field))).collect();
        // The detail of an unreadable body begins with its field.
        let message = match response.detail().split_once(": ") {
            _ if !messages.is_empty() => messages.join("; "),
            Some((field, why)) => format!("{}: {why}", renamed(field)),
            None => response.detail().to_owned(),
        };
        Self { details: Some(messages.into()), ..Self::invalid(message) }
    }
}

/// The name of an API field in this dialect.
fn renamed(field: &str) -> &str {
    match field {
        "first_name" => "firstName",
        "last_name" => "lastName",
        "field" => "filedWork",
        "activity_id" => "idEvent",
        "date" => "dateEvent",
        other => other,
    }
}

#[cfg(test)]
mod tests {
    use http_body_util::BodyExt;

    use super::*;

    #[tokio::test]
    async fn a_house_that_cannot_answer_is_503_in_the_fleets_own_shape() {
        for status in [500, 502, 503, 504] {
            let status = StatusCode::from_u16(status).expect("a status");
            let response = Refusal::from(ApiResponse { status, body: json!({"detail": "why"}) }).into_response();
            assert_eq!(response.status(), StatusCode::SERVICE_UNAVAILABLE);
            let bytes = response.into_body().collect().await.expect("a body").to_bytes();
            let body: Value = serde_json::from_slice(&bytes).expect("JSON");
            assert_eq!((&body["code"], &body["message"]), (&json!("SERVICE_UNAVAILABLE"), &json!("why")));
            assert!(body["timestamp"].is_string(), "{body}");
        }
    }
}
