//! `multi-magasins`: a saga over services of clients, carts, orders, stock and payments, and the API of stores, logistics centre
//! and head office; each on a port of its own and all behind one gateway (Python, FastAPI), without authentication.

mod carts;
mod clients;
mod consumer;
mod docs;
mod events;
mod head_office;
mod json_comments;
mod lines;
mod meters;
mod numbers;
mod orders;
mod payments;
mod replenish;
mod saga;
mod stock;
mod stores;

use std::sync::{Arc, OnceLock};

use axum::{
    Router,
    extract::State,
    middleware,
    response::{IntoResponse, Response},
    routing::{delete, get, post, put},
};
use chassis::Json;
use http::{HeaderName, HeaderValue, StatusCode};
use serde_json::{Value, json};

use super::{
    Dialect, Port,
    api_client::{ApiClient, ApiResponse},
    model::PlaceKind,
    routes,
};
use meters::Meters;
use numbers::Numbers;

/// The dialect.
pub(super) const DIALECT: Dialect = Dialect {
    name: "multi-magasins",
    ports: &[
        Port { number: GATEWAY, what: "gateway", optional: false },
        Port { number: ORCHESTRATOR, what: "saga orchestrator", optional: false },
        Port { number: CLIENTS, what: "client service", optional: false },
        Port { number: API, what: "API of stores, logistics and head office", optional: false },
        Port { number: ORDERS, what: "order service", optional: false },
        Port { number: STOCK, what: "stock service", optional: false },
        Port { number: PAYMENTS, what: "payment service", optional: false },
        Port { number: CARTS, what: "cart service", optional: false },
        Port { number: CARTS_TOO, what: "cart service, second instance", optional: false },
        Port { number: EVENTS, what: "event store", optional: false },
        Port { number: ORDER_LIST, what: "order projection", optional: false },
        Port { number: NGINX, what: "nginx in front of the consoles", optional: false },
    ],
    routes: router,
    start_consumer: Some(|api, ctx| Box::pin(consumer::start(api, ctx))),
};

const GATEWAY: u16 = 8080;
const ORCHESTRATOR: u16 = 8002;
const CLIENTS: u16 = 8001;
const API: u16 = 8003;
const ORDERS: u16 = 8006;
const STOCK: u16 = 8007;
const PAYMENTS: u16 = 8008;
const CARTS: u16 = 8010;
const CARTS_TOO: u16 = 8011;
const EVENTS: u16 = 8012;
const ORDER_LIST: u16 = 8013;
const NGINX: u16 = 8088;

/// The place whose stock orders use.
const ONLINE: &str = "en-ligne";
const INSTANCE: HeaderName = HeaderName::from_static("x-instance");

/// The state of the handlers.
#[derive(Clone)]
struct Shop {
    api: ApiClient,
    numbers: Numbers,
    meters: Meters,
    /// The place whose stock orders use, once it is known to exist.
    online: Arc<OnceLock<String>>,
}

impl Shop {
    fn new(api: &ApiClient) -> Self {
        let (numbers, meters) = (Numbers::default(), Meters::new(&api.own));
        Self { api: api.clone(), numbers, meters, online: Arc::default() }
    }

    /// The id of the online shop, or of the logistics centre if the fleet has no online shop.
    async fn online(&self) -> Result<String, ApiResponse> {
        if let Some(known) = self.online.get() {
            return Ok(known.clone());
        }
        let place = self.api.get(&["api", "places", ONLINE]).send().await;
        if !place.is_not_found() {
            place.check()?;
            return Ok(self.online.get_or_init(|| ONLINE.to_owned()).clone());
        }
        let centre = numbers::places(&self.api).await?.into_iter().find(|place| place.kind != PlaceKind::Store);
        Ok(centre.map_or_else(|| "logistics".to_owned(), |place| place.id))
    }
}

fn clients_routes() -> Router<Shop> {
    Router::new().route("/clients", get(clients::list).post(clients::add))
}

fn cart_routes() -> Router<Shop> {
    Router::new()
        .route("/panier", post(carts::add))
        // One path: the number of a client for GET, of an item for DELETE.
        .route("/panier/{id}", get(carts::of_client).merge(delete(carts::remove)))
}

fn order_routes() -> Router<Shop> {
    Router::new()
        .route("/commande", post(orders::place))
        .route("/commande/{id}", get(orders::one))
        .route("/commande/{id}/etat", post(orders::set_etat))
}

fn saga_routes() -> Router<Shop> {
    Router::new().route("/saga/commande", post(saga::order))
}

fn stock_routes() -> Router<Shop> {
    Router::new()
        .route("/stock/verifier", post(stock::check))
        .route("/stock/reserver", post(stock::reserve))
        .route("/stock/liberer", post(stock::release))
        .route("/stock/prix", post(stock::price))
}

fn payment_routes() -> Router<Shop> {
    Router::new().route("/paiement", post(payments::pay))
}

fn list_routes() -> Router<Shop> {
    Router::new().route("/commandes", get(orders::list))
}

fn event_routes() -> Router<Shop> {
    Router::new().route("/events", get(events::list))
}

fn api_routes() -> Router<Shop> {
    let check = get(replenish::check).post(replenish::check);
    let api = Router::new()
        .route("/magasins/{id}/stock", get(stores::stock))
        .route("/magasins/{id}/produits/{product}/vente", post(stores::sell))
        .route("/logistique/stock", get(stores::logistics))
        .route("/logistique/demandes", get(replenish::list))
        .route("/logistique/demande", post(replenish::request))
        .route("/logistique/demandes/{id}/valider", post(replenish::validate))
        .route("/logistique/approvisionner", post(replenish::supply))
        .route("/logistique/verifier_reapprovisionnement", check)
        .route("/maison-mere/rapport-ventes", get(head_office::sales))
        .route("/maison-mere/performance", get(head_office::performance))
        .route("/maison-mere/produits/{id}", put(head_office::change));
    Router::new().nest("/api/v1", api)
}

fn nginx_routes() -> Router<Shop> {
    let console = get(no_console);
    Router::new()
        .route("/produits", get(head_office::products))
        .route("/", console.clone())
        .route("/rapport", console.clone())
        .route("/performances", console.clone())
        .route("/maj_produit", console.clone())
        .route("/demande_appro", console)
}

/// The routes of each port.
fn router(api: &ApiClient, port: u16) -> Router {
    let shop = Shop::new(api);
    let (service, routes) = match port {
        GATEWAY => {
            let all = clients_routes().merge(cart_routes()).merge(order_routes()).merge(saga_routes());
            let all = all.merge(stock_routes()).merge(payment_routes()).merge(api_routes());
            ("gateway", all.merge(list_routes()).merge(event_routes()))
        }
        ORCHESTRATOR => ("orchestrateur", saga_routes()),
        CLIENTS => ("clients", clients_routes()),
        API => ("api", api_routes()),
        ORDERS => ("commande", order_routes()),
        STOCK => ("stock", stock_routes()),
        PAYMENTS => ("paiement", payment_routes()),
        EVENTS => ("events", event_routes()),
        ORDER_LIST => ("commandes", list_routes()),
        NGINX => ("nginx", nginx_routes()),
        _ => ("panier", cart_routes()),
    };
    let instance = HeaderValue::from_str(&api.ctx.instance).ok();
    routes
        .fallback(async || Refusal::new(StatusCode::NOT_FOUND, "Not Found"))
        .method_not_allowed_fallback(async || Refusal::new(StatusCode::METHOD_NOT_ALLOWED, "Method Not Allowed"))
        .with_state(shop)
        .merge(routes::docs("/docs", &format!("Service {service}"), &docs::of(port)))
        .route("/health", get(async move || Json(json!({"status": format!("{service} ok")}))))
        .route("/metrics", get(routes::metrics).with_state(api.own.clone()))
        .layer(middleware::map_response_with_state(instance, name_replica))
}

/// Adds the name of the replica to a response.
async fn name_replica(State(instance): State<Option<HeaderValue>>, mut response: Response) -> Response {
    if let Some(instance) = instance {
        response.headers_mut().insert(INSTANCE, instance);
    }
    response
}

async fn no_console() -> Refusal {
    Refusal::new(StatusCode::NOT_FOUND, "La console n'est pas encore là ; l'API du magasin répond sur le port 8003.")
}

/// A refusal in the wire format of FastAPI: `{"detail": …}`.
#[derive(Debug)]
struct Refusal {
    status: StatusCode,
    detail: Value,
}

impl Refusal {
    fn new(status: StatusCode, detail: impl Into<Value>) -> Self {
        Self { status, detail: detail.into() }
    }

    fn bad(detail: impl Into<Value>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, detail)
    }

    fn missing(detail: &str) -> Self {
        Self::new(StatusCode::NOT_FOUND, detail)
    }

    /// An invalid field.
    fn field(loc: Value, message: &str) -> Self {
        let detail = json!([{"loc": loc, "msg": message, "type": "value_error"}]);
        Self::new(StatusCode::UNPROCESSABLE_ENTITY, detail)
    }
}

impl IntoResponse for Refusal {
    fn into_response(self) -> Response {
        (self.status, Json(json!({"detail": self.detail}))).into_response()
    }
}

/// A refusal of the API that the old fleet did not have.
impl From<ApiResponse> for Refusal {
    fn from(response: ApiResponse) -> Self {
        if response.status.is_server_error() {
            return Self::new(StatusCode::SERVICE_UNAVAILABLE, "Service indisponible, réessayez.");
        }
        let fields: Vec<Value> = response
            .fields()
            .map(|(field, message)| json!({"loc": ["body", field], "msg": message, "type": "value_error"}))
            .collect();
        let detail = if fields.is_empty() { response.detail().into() } else { Value::Array(fields) };
        Self::new(response.status, detail)
    }
}
