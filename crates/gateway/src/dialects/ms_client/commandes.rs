//! `/orders`: orders of one product as the Flask service told them.

use std::collections::{BTreeMap, BTreeSet};

use axum::{
    extract::{Path, State},
    response::{IntoResponse, Response},
};
use chassis::Json;
use commerce::OrderId;
use http::StatusCode;
use serde_json::{Value, json};

use super::{
    error, find, missing, money, number, refused,
    users::{Admin, User},
};
use crate::dialects::{
    api_client::{ApiClient, ApiResponse},
    lists, orders,
    routes::AnyJson,
    values::{id, whole},
};

const WHAT: &str = "Order";
/// Where an order keeps the word that its client last gave it, since the house has one status for the first two.
const STATUT: &str = "statut";
/// What stands in an order beside its line, so that its total is what the admin said.
const DIFFERENCE: &str = "montant_total";
/// The words of this fleet with the statuses of the house.
const STATUTS: [(&str, &str); 6] = [
    ("En cours", "confirmed"),
    ("Confirmée", "confirmed"),
    ("En préparation", "processing"),
    ("Expédiée", "shipped"),
    ("Livrée", "delivered"),
    ("Annulée", "cancelled"),
];

pub(super) async fn list(State(api): State<ApiClient>, _: User) -> Response {
    let told = async {
        let rows = lists::from_oldest(|| api.get(&["api", "orders"])).await?;
        Names::of(&api, &rows).await.map(|names| rows.iter().map(|order| render(order, &names)).collect::<Vec<_>>())
    };
    match told.await {
        Ok(render) => Json(render).into_response(),
        Err(response) => refused(&response),
    }
}

pub(super) async fn one(State(api): State<ApiClient>, _: User, Path(number): Path<String>) -> Response {
    match find(&api, "orders", &number).await {
        Ok(Some(order)) => response(&api, &order).await,
        Ok(None) => missing(WHAT),
        Err(response) => refused(&response),
    }
}

async fn response(api: &ApiClient, order: &Value) -> Response {
    match Names::of(api, std::slice::from_ref(order)).await {
        Ok(names) => Json(render(order, &names)).into_response(),
        Err(response) => refused(&response),
    }
}

pub(super) async fn add(Admin(api): Admin, AnyJson(body): AnyJson) -> Response {
    let asked = match Asked::read(&body) {
        Ok(asked) => asked,
        Err(wrong) => return error(StatusCode::BAD_REQUEST, wrong),
    };
    match asked.place(&api).await {
        Ok(Ok(order)) => {
            let body = json!({
                "id": order["number"],
                "client_id": asked.client,
                "produit_id": asked.product,
                "quantite": asked.quantity,
                "montant_total": asked.total.map_or_else(|| order["total"].clone(), |total| json!(total)),
            });
            (StatusCode::CREATED, Json(body)).into_response()
        }
        Ok(Err(refusal)) => refusal,
        Err(response) if response.status == StatusCode::CONFLICT => error(StatusCode::CONFLICT, "Stock insuffisant"),
        Err(response) => refused(&response),
    }
}

/// An order as an admin asks for it.
struct Asked {
    client: i64,
    product: i64,
    quantity: i64,
    total: Option<f64>,
    statut: &'static str,
}

impl Asked {
    /// What the body asks for, or what is wrong with it.
    fn read(body: &Value) -> Result<Self, String> {
        let wanted = |field: &str| whole(&body[field]).ok_or_else(|| format!("Champ manquant: {field}"));
        let quantity = if body["quantite"].is_null() { Some(1) } else { whole(&body["quantite"]) };
        let total = &body["montant_total"];
        Ok(Self {
            client: wanted("client_id")?,
            product: wanted("produit_id")?,
            quantity: quantity.filter(|pieces| *pieces > 0).ok_or("quantite non valide")?,
            total: match total {
                Value::Null => None,
                total => Some(number(total).ok_or("montant_total non valide")?),
            },
            statut: statut(&body["statut"])?,
        })
    }

    /// Places it on account, and waits for what becomes of it; or says what it names that there is not.
    async fn place(&self, api: &ApiClient) -> Result<Result<Value, Response>, ApiResponse> {
        let Some(customer) = find(api, "customers", &self.client.to_string()).await? else {
            return Ok(Err(missing("Client")));
        };
        let Some(product) = find(api, "products", &self.product.to_string()).await? else {
            return Ok(Err(missing("Product")));
        };
        let line = json!({"product_id": id(&product), "quantity": self.quantity, "unit_price": product["price"]});
        #[expect(clippy::cast_precision_loss, reason = "a count of pieces")]
        let of_lines = product["price"].as_f64().unwrap_or_default() * self.quantity as f64;
        let own = OrderId::new();
        let mut order = json!({
            "id": own,
            "customer_id": id(&customer),
            "lines": [line],
            "payment": {"method": "on_account"},
            "metadata": {STATUT: self.statut},
        });
        if let Some(adjustment) = self.total.and_then(|total| difference(total, of_lines)) {
            order["adjustments"] = json!([adjustment]);
        }
        let request = || api.post(&["api", "orders"]).json(&order);
        let moved = async |placed: Value| match move_to(api, &placed, self.statut).await {
            Ok(Ok(_)) => Ok(placed),
            Ok(Err(refusal)) => Err(Failed::Told(refusal)),
            Err(response) => Err(response.into()),
        };
        match orders::place_and_settle(api, &own, request, moved).await {
            Ok(placed) => Ok(Ok(placed)),
            Err(Failed::Told(refusal)) => Ok(Err(refusal)),
            Err(Failed::House(response)) => Err(response),
        }
    }
}

/// Why there is no order: what the client is told, or what the house said.
enum Failed {
    Told(Response),
    House(ApiResponse),
}

impl From<ApiResponse> for Failed {
    fn from(response: ApiResponse) -> Self {
        Self::House(response)
    }
}

/// What makes the lines' sum the total that was said.
fn difference(total: f64, of_lines: f64) -> Option<Value> {
    let cents = ((total - of_lines) * 100.0).round();
    (cents != 0.0).then(|| json!({"label": DIFFERENCE, "amount": cents / 100.0}))
}

pub(super) async fn change(Admin(api): Admin, Path(number): Path<String>, AnyJson(body): AnyJson) -> Response {
    let changed = async {
        let Some(found) = find(&api, "orders", &number).await? else { return Ok(missing(WHAT)) };
        let mut order = orders::wait_until_settled(&api, id(&found)).await.ok()?;
        let wanted = match &body["statut"] {
            Value::Null => None,
            word => match statut(word) {
                Ok(statut) => Some(statut),
                Err(wrong) => return Ok(error(StatusCode::BAD_REQUEST, wrong)),
            },
        };
        let total = match &body["montant_total"] {
            Value::Null => None,
            total => match super::number(total) {
                Some(total) => Some(total),
                None => return Ok(error(StatusCode::BAD_REQUEST, "montant_total non valide")),
            },
        };
        // First what may be refused: a refusal changes nothing.
        if let Some(statut) = wanted {
            order = match move_to(&api, &order, statut).await? {
                Ok(order) => order,
                Err(refusal) => return Ok(refusal),
            };
        }
        if let Some(total) = total {
            let lines = order["lines"].as_array().map(Vec::as_slice).unwrap_or_default();
            let of_lines: f64 = lines.iter().filter_map(|line| line["subtotal"].as_f64()).sum();
            let adjustments: Vec<Value> = difference(total, of_lines).into_iter().collect();
            let change = json!({ "adjustments": adjustments });
            order = api.patch(&["api", "orders", id(&order)]).json(change).send().await.ok()?;
        }
        Ok::<_, ApiResponse>(response(&api, &order).await)
    };
    match changed.await {
        Ok(response) => response,
        Err(response) => refused(&response),
    }
}

/// Moves an order to a word of this fleet, step by step where the house has more of them between.
async fn move_to(api: &ApiClient, order: &Value, wanted: &'static str) -> Result<Result<Value, Response>, ApiResponse> {
    let place = |status: &str| STATUTS.iter().position(|(_, known)| *known == status);
    let target = STATUTS.iter().find(|(word, _)| *word == wanted).map_or("confirmed", |(_, status)| *status);
    let now = order["status"].as_str().unwrap_or_default();
    let steps: Vec<&str> = match (place(now), place(target)) {
        (Some(from), Some(to)) if target != "cancelled" && to > from => STATUTS
            .iter()
            .map(|(_, status)| *status)
            .filter(|status| place(status).is_some_and(|at| at > from && at <= to))
            .collect(),
        _ if now == target => Vec::new(),
        _ => vec![target],
    };
    if steps.is_empty() && order["metadata"][STATUT] == wanted {
        return Ok(Ok(order.clone()));
    }
    for step in steps {
        let moved = api.put(&["api", "orders", id(order), "status"]).json(json!({ "status": step })).send().await;
        if moved.status == StatusCode::CONFLICT {
            let text = format!("Transition impossible: {} vers {wanted}", word(order));
            return Ok(Err(error(StatusCode::CONFLICT, text)));
        }
        moved.ok()?;
    }
    let change = json!({"metadata": {STATUT: wanted}});
    api.patch(&["api", "orders", id(order)]).json(change).send().await.ok().map(Ok)
}

pub(super) async fn remove(Admin(api): Admin, Path(number): Path<String>) -> Response {
    let gone = async {
        let Some(order) = find(&api, "orders", &number).await? else { return Ok(false) };
        orders::discard(&api, id(&order)).await.map(|()| true)
    };
    match gone.await {
        Ok(true) => Json(json!({"message": "Order deleted successfully"})).into_response(),
        Ok(false) => missing(WHAT),
        Err(response) => refused(&response),
    }
}

/// One of the words, the first if none is said; or what there is to choose from.
fn statut(word: &Value) -> Result<&'static str, String> {
    let words = STATUTS.map(|(word, _)| word);
    match word {
        Value::Null => Ok(words[0]),
        word => words
            .into_iter()
            .find(|known| word == known)
            .ok_or_else(|| format!("statut non valide, attendu: {}", words.join(", "))),
    }
}

/// The word for where an order stands.
fn word(order: &Value) -> &str {
    let status = match order["status"].as_str().unwrap_or_default() {
        "pending" => "confirmed",
        status => status,
    };
    let said = order["metadata"][STATUT].as_str().unwrap_or_default();
    let words = || STATUTS.iter().filter(|(_, known)| *known == status).map(|(word, _)| *word);
    // The word that was said, where it is one for this status.
    words().find(|word| *word == said).or_else(|| words().next_back()).unwrap_or_default()
}

/// The numbers by which this fleet knows customers and products.
#[derive(Debug, Default)]
pub(super) struct Names {
    customers: BTreeMap<String, Value>,
    products: BTreeMap<String, Value>,
}

impl Names {
    /// Those that these orders name.
    pub(super) async fn of(api: &ApiClient, orders: &[Value]) -> Result<Self, ApiResponse> {
        let mut names = Self::default();
        let customers: BTreeSet<&str> = orders.iter().filter_map(|order| order["customer_id"].as_str()).collect();
        for some in customers.into_iter().collect::<Vec<_>>().chunks(100) {
            let request = api.get(&["api", "customers"]).query("limit", 100);
            let found = some.iter().fold(request, |request, id| request.query("id", id)).send().await.ok()?;
            for row in found["data"].as_array().into_iter().flatten() {
                names.customers.insert(id(row).to_owned(), row["number"].clone());
            }
        }
        let products: BTreeSet<&str> = orders.iter().filter_map(product_of).collect();
        for some in products.into_iter().collect::<Vec<_>>().chunks(500) {
            let question = "query($ids:[ID!]!){productsByIds(ids:$ids){id number}}";
            let found = api.graphql(question, json!({ "ids": some })).send().await.ok()?;
            for row in found["data"]["productsByIds"].as_array().into_iter().flatten() {
                names.products.insert(id(row).to_owned(), row["number"].clone());
            }
        }
        Ok(names)
    }

    /// The client of an order.
    pub(super) fn client(&self, order: &Value) -> Value {
        order["customer_id"].as_str().and_then(|id| self.customers.get(id)).cloned().unwrap_or_default()
    }

    /// The first product of an order.
    pub(super) fn product(&self, order: &Value) -> Value {
        product_of(order).and_then(|id| self.products.get(id)).cloned().unwrap_or_default()
    }
}

fn product_of(order: &Value) -> Option<&str> {
    order["lines"][0]["product_id"].as_str()
}

fn render(order: &Value, names: &Names) -> Value {
    let placed = order["placed_at"].as_str().unwrap_or_default();
    json!({
        "id": order["number"],
        "client_id": names.client(order),
        "produit_id": names.product(order),
        "date_commande": placed.get(..10).unwrap_or(placed),
        "statut": word(order),
        "montant_total": money(&order["total"]),
    })
}
