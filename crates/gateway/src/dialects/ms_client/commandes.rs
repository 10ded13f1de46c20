//! `/orders`: orders of one product, with the wire format of the Flask service.

use std::collections::{BTreeMap, BTreeSet};

use axum::{
    extract::{Path, State},
    response::{IntoResponse, Response},
};
use chassis::Json;
use commerce::{Amount, OrderId};
use http::StatusCode;
use serde::Deserialize;
use serde_json::{Value, json};

use super::{
    error, find, missing, money, number, refused,
    users::{Admin, User},
};
use crate::dialects::{
    api_client::{ApiClient, ApiResponse},
    lists,
    model::{Customer, GraphQl, Order, OrderLine, OrderStatus, Page, Product},
    money::cents,
    orders,
    routes::AnyJson,
    values::whole,
};

const WHAT: &str = "Order";
/// The metadata entry for the `statut` that the client set last, since the API has one status for the first two.
const STATUT: &str = "statut";
/// The label of the adjustment that makes an order's total the one of the request.
const DIFFERENCE: &str = "montant_total";
/// The values of `statut` with the statuses of the API, in the order in which an order passes them.
const STATUTS: [(&str, OrderStatus); 6] = [
    ("En cours", OrderStatus::Confirmed),
    ("Confirmée", OrderStatus::Confirmed),
    ("En préparation", OrderStatus::Processing),
    ("Expédiée", OrderStatus::Shipped),
    ("Livrée", OrderStatus::Delivered),
    ("Annulée", OrderStatus::Cancelled),
];

pub(super) async fn list(State(api): State<ApiClient>, _: User) -> Response {
    let rendered = async {
        let rows: Vec<Order> = lists::all_oldest_first(|| api.get(&["api", "orders"])).await?;
        NumbersById::of(&api, &rows)
            .await
            .map(|numbers| rows.iter().map(|order| render(order, &numbers)).collect::<Vec<_>>())
    };
    match rendered.await {
        Ok(rendered) => Json(rendered).into_response(),
        Err(response) => refused(&response),
    }
}

pub(super) async fn one(State(api): State<ApiClient>, _: User, Path(number): Path<String>) -> Response {
    match find::<Order>(&api, "orders", &number).await {
        Ok(Some(order)) => respond(&api, &order).await,
        Ok(None) => missing(WHAT),
        Err(response) => refused(&response),
    }
}

async fn respond(api: &ApiClient, order: &Order) -> Response {
    match NumbersById::of(api, std::slice::from_ref(order)).await {
        Ok(numbers) => Json(render(order, &numbers)).into_response(),
        Err(response) => refused(&response),
    }
}

pub(super) async fn add(Admin(api): Admin, AnyJson(body): AnyJson) -> Response {
    let new = match NewOrder::read(&body) {
        Ok(new) => new,
        Err(message) => return error(StatusCode::BAD_REQUEST, message),
    };
    match new.place(&api).await {
        Ok(Ok(order)) => {
            let body = json!({
                "id": order.number,
                "client_id": new.client,
                "produit_id": new.product,
                "quantite": new.quantity,
                "montant_total": new.total.map_or_else(|| json!(order.total), |total| json!(total)),
            });
            (StatusCode::CREATED, Json(body)).into_response()
        }
        Ok(Err(refusal)) => refusal,
        Err(response) if response.status == StatusCode::CONFLICT => error(StatusCode::CONFLICT, "Stock insuffisant"),
        Err(response) => refused(&response),
    }
}

/// A request for an order.
struct NewOrder {
    client: i64,
    product: i64,
    quantity: i64,
    total: Option<f64>,
    statut: &'static str,
}

impl NewOrder {
    /// Reads a body, or returns the error in it.
    fn read(body: &Value) -> Result<Self, String> {
        let required = |field: &str| whole(&body[field]).ok_or_else(|| format!("Champ manquant: {field}"));
        let quantity = if body["quantite"].is_null() { Some(1) } else { whole(&body["quantite"]) };
        let total = &body["montant_total"];
        Ok(Self {
            client: required("client_id")?,
            product: required("produit_id")?,
            quantity: quantity.filter(|pieces| *pieces > 0).ok_or("quantite non valide")?,
            total: match total {
                Value::Null => None,
                total => Some(number(total).ok_or("montant_total non valide")?),
            },
            statut: statut(&body["statut"])?,
        })
    }

    /// Places the order on account and waits for its outcome. Returns a response of its own for an unknown client or product.
    async fn place(&self, api: &ApiClient) -> Result<Result<Order, Response>, ApiResponse> {
        let Some(customer) = find::<Customer>(api, "customers", &self.client.to_string()).await? else {
            return Ok(Err(missing("Client")));
        };
        let Some(product) = find::<Product>(api, "products", &self.product.to_string()).await? else {
            return Ok(Err(missing("Product")));
        };
        let price = product.price()?;
        let line = json!({"product_id": product.id, "quantity": self.quantity, "unit_price": price});
        let of_lines = price.minor().saturating_mul(self.quantity);
        let own = OrderId::new();
        let mut order = json!({
            "id": own,
            "customer_id": customer.id,
            "lines": [line],
            "payment": {"method": "on_account"},
            "metadata": {STATUT: self.statut},
        });
        if let Some(adjustment) = self.total.and_then(|total| difference(total, of_lines)) {
            order["adjustments"] = json!([adjustment]);
        }
        let request = || api.post(&["api", "orders"]).json(&order);
        let set_status = async |placed: Order| match move_to(api, &placed, self.statut).await {
            Ok(Ok(_)) => Ok(placed),
            Ok(Err(refusal)) => Err(Failure::Respond(refusal)),
            Err(response) => Err(response.into()),
        };
        match orders::place_and_settle(api, &own, request, set_status).await {
            Ok(placed) => Ok(Ok(placed)),
            Err(Failure::Respond(refusal)) => Ok(Err(refusal)),
            Err(Failure::Api(response)) => Err(response),
        }
    }
}

/// Why there is no order: a response of this dialect, or a failed request to the API.
enum Failure {
    Respond(Response),
    Api(ApiResponse),
}

impl From<ApiResponse> for Failure {
    fn from(response: ApiResponse) -> Self {
        Self::Api(response)
    }
}

/// The adjustment between the sum of the lines in cents and the requested total, if they differ.
fn difference(total: f64, of_lines: i64) -> Option<Value> {
    let amount = cents(total)?.saturating_sub(of_lines);
    (amount != 0).then(|| json!({"label": DIFFERENCE, "amount": Amount::from_minor(amount)}))
}

pub(super) async fn change(Admin(api): Admin, Path(number): Path<String>, AnyJson(body): AnyJson) -> Response {
    let changed = async {
        let Some(found) = find::<Order>(&api, "orders", &number).await? else { return Ok(missing(WHAT)) };
        let mut order = orders::wait_until_settled(&api, &found.id).await?;
        let new_statut = match &body["statut"] {
            Value::Null => None,
            value => match statut(value) {
                Ok(statut) => Some(statut),
                Err(message) => return Ok(error(StatusCode::BAD_REQUEST, message)),
            },
        };
        let total = match &body["montant_total"] {
            Value::Null => None,
            total => match super::number(total) {
                Some(total) => Some(total),
                None => return Ok(error(StatusCode::BAD_REQUEST, "montant_total non valide")),
            },
        };
        // The status first, since it may be refused, and a refused request changes nothing.
        if let Some(statut) = new_statut {
            order = match move_to(&api, &order, statut).await? {
                Ok(order) => order,
                Err(refusal) => return Ok(refusal),
            };
        }
        if let Some(total) = total {
            let of_lines = order.lines.iter().map(|line| line.subtotal.minor()).sum();
            let adjustments: Vec<Value> = difference(total, of_lines).into_iter().collect();
            let change = json!({ "adjustments": adjustments });
            order = api.patch(&["api", "orders", &order.id]).json(change).send().await.ok()?;
        }
        Ok::<_, ApiResponse>(respond(&api, &order).await)
    };
    match changed.await {
        Ok(response) => response,
        Err(response) => refused(&response),
    }
}

/// Gives an order the status for a `statut`, in several steps where the API has statuses in between.
async fn move_to(api: &ApiClient, order: &Order, statut: &'static str) -> Result<Result<Order, Response>, ApiResponse> {
    let position = |status: OrderStatus| STATUTS.iter().position(|(_, known)| *known == status);
    let target =
        STATUTS.iter().find(|(known, _)| *known == statut).map_or(OrderStatus::Confirmed, |(_, status)| *status);
    let steps: Vec<OrderStatus> = match (position(order.status), position(target)) {
        (Some(from), Some(to)) if target != OrderStatus::Cancelled && to > from => STATUTS
            .iter()
            .map(|(_, status)| *status)
            .filter(|status| position(*status).is_some_and(|at| at > from && at <= to))
            .collect(),
        _ if order.status == target => Vec::new(),
        _ => vec![target],
    };
    if steps.is_empty() && order.metadata.get(STATUT).is_some_and(|known| known == statut) {
        return Ok(Ok(order.clone()));
    }
    for step in steps {
        let body = json!({"status": step.as_str()});
        let moved = api.put(&["api", "orders", &order.id, "status"]).json(body).send().await;
        if moved.status == StatusCode::CONFLICT {
            let text = format!("Transition impossible: {} vers {statut}", statut_of(order));
            return Ok(Err(error(StatusCode::CONFLICT, text)));
        }
        moved.check()?;
    }
    let change = json!({"metadata": {STATUT: statut}});
    api.patch(&["api", "orders", &order.id]).json(change).send().await.ok().map(Ok)
}

pub(super) async fn remove(Admin(api): Admin, Path(number): Path<String>) -> Response {
    let deleted = async {
        let Some(order) = find::<Order>(&api, "orders", &number).await? else { return Ok(false) };
        orders::discard(&api, &order.id).await.map(|()| true)
    };
    match deleted.await {
        Ok(true) => Json(json!({"message": "Order deleted successfully"})).into_response(),
        Ok(false) => missing(WHAT),
        Err(response) => refused(&response),
    }
}

/// A `statut`, by default the first; for an unknown one the error message.
fn statut(value: &Value) -> Result<&'static str, String> {
    let known = STATUTS.map(|(statut, _)| statut);
    match value {
        Value::Null => Ok(known[0]),
        value => known
            .into_iter()
            .find(|statut| value == statut)
            .ok_or_else(|| format!("statut non valide, attendu: {}", known.join(", "))),
    }
}

/// The `statut` of an order: the one that the client set, if it fits the status.
fn statut_of(order: &Order) -> &'static str {
    let status = if order.status == OrderStatus::Pending { OrderStatus::Confirmed } else { order.status };
    let set = order.metadata.get(STATUT).map(String::as_str).unwrap_or_default();
    let fitting = || STATUTS.iter().filter(|(_, known)| *known == status).map(|(statut, _)| *statut);
    fitting().find(|statut| *statut == set).or_else(|| fitting().next_back()).unwrap_or_default()
}

/// The numbers of customers and products by their ids.
#[derive(Debug, Default)]
pub(super) struct NumbersById {
    customers: BTreeMap<String, i64>,
    products: BTreeMap<String, i64>,
}

#[derive(Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct ProductsByIds {
    /// Null for an id that is no product's.
    products_by_ids: Vec<Option<Product>>,
}

impl NumbersById {
    /// The customers and the first products of these orders.
    pub(super) async fn of(api: &ApiClient, orders: &[Order]) -> Result<Self, ApiResponse> {
        let mut numbers = Self::of_products(api, orders.iter().filter_map(first_product)).await?;
        let customers: BTreeSet<&str> = orders.iter().filter_map(|order| order.customer_id.as_deref()).collect();
        for ids in customers.into_iter().collect::<Vec<_>>().chunks(100) {
            let request = api.get(&["api", "customers"]).query("limit", 100);
            let page: Page<Customer> =
                ids.iter().fold(request, |request, id| request.query("id", id)).send().await.ok()?;
            numbers.customers.extend(page.data.into_iter().map(|customer| (customer.id, customer.number)));
        }
        Ok(numbers)
    }

    /// The products of these lines.
    pub(super) async fn of_lines(api: &ApiClient, lines: &[OrderLine]) -> Result<Self, ApiResponse> {
        Self::of_products(api, lines.iter().filter_map(|line| line.product_id.as_deref())).await
    }

    /// The products with these ids.
    pub(super) async fn of_products<'a>(
        api: &ApiClient,
        ids: impl IntoIterator<Item = &'a str>,
    ) -> Result<Self, ApiResponse> {
        let mut numbers = Self::default();
        let ids: BTreeSet<&str> = ids.into_iter().collect();
        for ids in ids.into_iter().collect::<Vec<_>>().chunks(500) {
            let query = "query($ids:[ID!]!){productsByIds(ids:$ids){id number}}";
            let found: GraphQl<ProductsByIds> = api.graphql(query, json!({ "ids": ids })).send().await.ok()?;
            let products = found.data.products_by_ids.into_iter().flatten();
            numbers.products.extend(products.map(|product| (product.id, product.number)));
        }
        Ok(numbers)
    }

    /// The number of an order's customer.
    pub(super) fn client(&self, order: &Order) -> Option<i64> {
        self.customers.get(order.customer_id.as_deref()?).copied()
    }

    /// The number of a product.
    pub(super) fn product(&self, id: &str) -> Option<i64> {
        self.products.get(id).copied()
    }

    /// The number of an order's first product.
    pub(super) fn first_product(&self, order: &Order) -> Option<i64> {
        self.product(first_product(order)?)
    }
}

fn first_product(order: &Order) -> Option<&str> {
    order.lines.first()?.product_id.as_deref()
}

/// An order in this dialect.
fn render(order: &Order, numbers: &NumbersById) -> Value {
    json!({
        "id": order.number,
        "client_id": numbers.client(order),
        "produit_id": numbers.first_product(order),
        "date_commande": order.placed_at.get(..10).unwrap_or(&order.placed_at),
        "statut": statut_of(order),
        "montant_total": money(order.total),
    })
}
