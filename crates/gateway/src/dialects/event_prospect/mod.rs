//! `event-prospect`: prospects and events behind a gateway that wants tokens of a Keycloak realm (Java, Spring).

mod events;
mod follow;
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
use serde::Deserialize;
use serde_json::{Value, json};

use super::{
    Dialect, Door,
    desk::{Answer, Ask, Desk},
    lists::{self, Part},
    routes,
};
use realm::Gate;

/// The dialect.
pub(super) const DIALECT: Dialect = Dialect {
    name: "event-prospect",
    doors: &[
        Door { port: GATEWAY, what: "gateway, with tokens", optional: false },
        Door { port: EVENTS, what: "event service", optional: false },
        Door { port: PROSPECTS, what: "prospect service", optional: false },
        // Keycloak's own, where there is one.
        Door { port: REALM, what: "the realm of the house's own users", optional: true },
    ],
    routes: router,
    follow: Some(|desk, ctx| Box::pin(follow::follow(desk, ctx))),
};

const GATEWAY: u16 = 8081;
const EVENTS: u16 = 8080;
const PROSPECTS: u16 = 9090;
const REALM: u16 = 8180;

/// Every route on one screen.
fn router(desk: &Desk, port: u16) -> Router {
    let prospects = Router::new()
        .route("/prospects", get(prospects::list).post(prospects::add))
        .route("/prospects/{id}", get(prospects::one).patch(prospects::change).delete(prospects::remove))
        .route("/prospects/filedWork/{value}", get(prospects::of_field));
    let events = Router::new()
        .route("/events", get(events::list).post(events::add))
        .route("/events/{id}", get(events::one).patch(events::change).delete(events::remove))
        .route("/events/dateEvent/{date}", get(events::of_day));
    let routes = match port {
        GATEWAY => prospects.merge(events).route_layer(middleware::from_fn_with_state(desk.clone(), demand_token)),
        EVENTS => events,
        PROSPECTS => prospects,
        _ => {
            return Router::new()
                .route("/realms/EventProspect/.well-known/openid-configuration", get(realm::discovery))
                .route("/realms/EventProspect/protocol/openid-connect/token", post(realm::token))
                .route("/realms/EventProspect/protocol/openid-connect/certs", get(realm::certs))
                .with_state(desk.clone());
        }
    };
    routes
        .route("/actuator/health", get(async || Json(json!({"status": "UP"}))))
        .route("/actuator/prometheus", get(routes::metrics).with_state(desk.metrics.clone()))
        .with_state(desk.clone())
}

/// Lets nobody to the gateway's port without a token of the realm.
async fn demand_token(State(desk): State<Desk>, request: Request, next: Next) -> Response {
    let header = request.headers().get(header::AUTHORIZATION).and_then(|value| value.to_str().ok());
    let token =
        header.and_then(|header| header.split_once(' ')).filter(|(scheme, _)| scheme.eq_ignore_ascii_case("bearer"));
    let Some((_, token)) = token else { return unauthorised() };
    match Gate::of(&desk.gateway).check(token.trim()).await {
        Ok(()) => next.run(request).await,
        Err(StatusCode::UNAUTHORIZED) => unauthorised(),
        Err(status) => failure(status, "SERVICE_UNAVAILABLE", "The token cannot be checked now", None),
    }
}

fn unauthorised() -> Response {
    let mut answer = failure(StatusCode::UNAUTHORIZED, "UNAUTHORIZED", "A token of the realm is wanted", None);
    answer.headers_mut().insert(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
    answer
}

/// Which page, counted from 0.
#[derive(Debug, Deserialize)]
#[serde(default)]
struct Pages {
    #[serde(rename = "pageNbr")]
    number: u64,
    #[serde(rename = "pageSize")]
    size: u64,
}

impl Default for Pages {
    fn default() -> Self {
        Self { number: 0, size: 10 }
    }
}

impl Pages {
    /// What the query asks for, or what is wrong with it.
    fn asked(uri: &Uri) -> Result<Self, &'static str> {
        let pages: Self =
            from_query(uri.query().unwrap_or_default()).map_err(|_| "pageNbr and pageSize must be numbers")?;
        if pages.size == 0 { Err("pageSize must be at least 1") } else { Ok(pages) }
    }

    async fn rows<'a>(&self, ask: impl Fn() -> Ask<'a>) -> Result<Part, Answer> {
        lists::part(ask, self.number.saturating_mul(self.size), self.size).await
    }

    /// A page as Spring tells it: which of how many, and the rows as the dialect shows them.
    fn answer(&self, total: u64, content: Vec<Value>) -> Response {
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

/// What this dialect calls `id` is the house's number; the house's own id is taken too.
async fn find(desk: &Desk, kind: &str, id: &str) -> Result<Option<Value>, Answer> {
    if let Ok(number) = id.parse::<i64>() {
        return lists::one(desk.get(&["api", kind]).query("number", number)).await;
    }
    let answer = desk.get(&["api", kind, id]).send().await;
    if answer.is_missing() { Ok(None) } else { answer.ok().map(Some) }
}

fn id(row: &Value) -> &str {
    row["id"].as_str().unwrap_or_default()
}

/// A refusal in the words of the old services.
fn failure(status: StatusCode, code: &str, message: &str, details: Option<Value>) -> Response {
    let mut body = json!({"code": code, "message": message, "timestamp": Timestamp::now()});
    if let Some(details) = details {
        body["details"] = details;
    }
    (status, Json(body)).into_response()
}

fn invalid(message: &str) -> Response {
    failure(StatusCode::BAD_REQUEST, "VALIDATION_ERROR", message, None)
}

fn missing(what: &str, details: Option<Value>) -> Response {
    failure(StatusCode::NOT_FOUND, "NOT_FOUND", &format!("{what} not found"), details)
}

/// What the house refuses: a client's mistake, or that it cannot answer now.
impl IntoResponse for Answer {
    fn into_response(self) -> Response {
        if self.status.is_server_error() {
            return failure(StatusCode::SERVICE_UNAVAILABLE, "SERVICE_UNAVAILABLE", self.detail(), None);
        }
        let told: Vec<String> =
            self.fields().map(|(field, message)| format!("{}: {message}", renamed(field))).collect();
        // What could not be read at all names its field at the beginning of the sentence.
        let message = match self.detail().split_once(": ") {
            _ if !told.is_empty() => told.join("; "),
            Some((field, why)) => format!("{}: {why}", renamed(field)),
            None => self.detail().to_owned(),
        };
        failure(StatusCode::BAD_REQUEST, "VALIDATION_ERROR", &message, Some(told.into()))
    }
}

/// A field of the house as this dialect names it.
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
