//! Orders, with the wire format of the Python service.

use axum::{
    extract::{Path, State},
    response::{IntoResponse, Response},
};
use chassis::{Json, from_query};
use commerce::OrderId;
use http::{StatusCode, Uri};
use serde::Deserialize;
use serde_json::{Value, json};

use super::Crm;
use crate::dialects::{
    api_client::{ApiClient, ApiResponse},
    lists,
    model::{Customer, Order, OrderStatus, Product},
    money,
    orders::{self, discard, wait_until_settled},
    routes::AnyJson,
    values::text,
};

/// The statuses that a client may name.
const STATUSES: [&str; 6] = ["pending", "confirmed", "processing", "shipped", "delivered", "cancelled"];
/// The metadata entry for the payment method, since the API has other methods.
const METHOD: &str = "payment_method";
/// The prefix of the metadata entries for product ids that are not in the catalogue; the number of the line follows.
const UNKNOWN_PRODUCT: &str = "product_id_";
/// Most such entries, since an order has at most twenty entries in total.
const MAX_UNKNOWN: usize = 18;
/// Rows of a list without `limit`; the old service had no pages.
const ROWS: u64 = 100;

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct ListQuery {
    customer_id: Option<String>,
    status: Option<String>,
    page: Option<u64>,
    limit: Option<u64>,
    skip: Option<u64>,
}

pub(super) async fn list(State(crm): State<Crm>, uri: Uri) -> Response {
    let Ok(query) = from_query::<ListQuery>(uri.query().unwrap_or_default()) else {
        return unprocessable(&[(json!(["query"]), "value is not valid", "value_error")]);
    };
    if query.status.as_deref().is_some_and(|status| !STATUSES.contains(&status)) {
        return refusal(StatusCode::BAD_REQUEST, "Invalid order status");
    }
    let limit = query.limit.unwrap_or(ROWS).max(1);
    let first = query.skip.unwrap_or_else(|| (query.page.unwrap_or(1).max(1) - 1).saturating_mul(limit));
    let request = || {
        crm.api
            .get(&["api", "orders"])
            .maybe("customer_id", query.customer_id.as_deref())
            .maybe("status", query.status.as_deref())
    };
    match lists::range(request, first, limit).await {
        Ok(range) => Json(range.rows.iter().map(render).collect::<Vec<_>>()).into_response(),
        Err(response) => refused(&response),
    }
}

pub(super) async fn one(State(crm): State<Crm>, Path(id): Path<String>) -> Response {
    match orders::get(&crm.api, &id).await {
        Ok(order) => Json(render(&order)).into_response(),
        Err(response) => refused(&response),
    }
}

pub(super) async fn place(State(crm): State<Crm>, AnyJson(body): AnyJson) -> Response {
    let new = match NewOrder::read(&body) {
        Ok(new) => new,
        Err(errors) => return unprocessable(&errors),
    };
    let customer = crm.api.get(&["api", "customers", &new.customer_id]).send().await;
    // A failure of the customer service does not prevent the order, which the order service checks again.
    if customer.is_not_found() || customer.ok().is_ok_and(|customer: Customer| customer.is_anonymised()) {
        return refusal(StatusCode::BAD_REQUEST, "Invalid customer ID");
    }
    let mut lines = Vec::with_capacity(new.items.len());
    for item in &new.items {
        match item.line(&crm.api).await {
            Ok(line) => lines.push(line),
            Err(response) => return refused(&response),
        }
    }
    let id = OrderId::new();
    let mut order = json!({
        "id": id,
        "customer_id": new.customer_id,
        "lines": lines,
        "payment": {"method": "on_account"},
        "metadata": {METHOD: body["payment_method"].as_str().unwrap_or_default()},
    });
    let unknown = new.items.iter().enumerate().filter(|(at, _)| lines[*at]["product_id"].is_null());
    let named = unknown.filter_map(|(at, item)| Some((at, item.product_id.as_deref()?)));
    for (at, product_id) in named.take(MAX_UNKNOWN) {
        order["metadata"][format!("{UNKNOWN_PRODUCT}{}", at + 1)] = product_id.into();
    }
    if let Some(notes) = body["notes"].as_str() {
        order["notes"] = notes.into();
    }
    if let Some(address) = address(&body["shipping_address"]) {
        order["shipping_address"] = address;
    }
    let request = || crm.api.post(&["api", "orders"]).json(&order).respond_async();
    match orders::place_and_get(&crm.api, &id, request).await {
        Ok(order) => {
            let mut rendered = render(&order);
            // The old service answered before it processed an order.
            rendered["status"] = "pending".into();
            Json(rendered).into_response()
        }
        Err(response) => refused(&response),
    }
}

#[derive(Deserialize)]
struct NewStatus {
    status: String,
}

pub(super) async fn set_status(State(crm): State<Crm>, Path(id): Path<String>, AnyJson(body): AnyJson) -> Response {
    let Ok(NewStatus { status }) = serde_json::from_value(body) else {
        return unprocessable(&[(json!(["body", "status"]), "field required", "value_error.missing")]);
    };
    if !STATUSES.contains(&status.as_str()) {
        return refusal(StatusCode::BAD_REQUEST, "Invalid order status");
    }
    let mut order = orders::get(&crm.api, &id).await;
    if status != "pending" && order.as_ref().is_ok_and(|order| order.status == OrderStatus::Pending) {
        order = wait_until_settled(&crm.api, &id).await;
    }
    let before = match order {
        Ok(order) => order.status.as_str(),
        Err(response) => return refused(&response),
    };
    match crm.api.put(&["api", "orders", &id, "status"]).json(json!({ "status": status })).send().await.check() {
        Ok(_) => {
            crm.moves.with_label_values(&[before, status.as_str()]).inc();
            Json(json!({"status": "success", "message": "Order status updated successfully"})).into_response()
        }
        Err(response) if response.status == StatusCode::CONFLICT => {
            refusal(StatusCode::CONFLICT, &format!("Cannot go from {before} to {status}"))
        }
        Err(response) => refused(&response),
    }
}

pub(super) async fn remove(State(crm): State<Crm>, Path(id): Path<String>) -> Response {
    match discard(&crm.api, &id).await {
        Ok(()) => Json(json!({"status": "success", "message": "Order deleted successfully"})).into_response(),
        Err(response) => refused(&response),
    }
}

/// A client's request for an order.
struct NewOrder {
    customer_id: String,
    items: Vec<Item>,
}

struct Item {
    product_id: Option<String>,
    name: String,
    quantity: i64,
    price: f64,
}

/// An error in a body: location, message and type.
type Wrong = (Value, &'static str, &'static str);

impl NewOrder {
    fn read(body: &Value) -> Result<Self, Vec<Wrong>> {
        let mut wrong: Vec<Wrong> = Vec::new();
        let customer_id = text(&body["customer_id"]);
        if customer_id.is_none() {
            wrong.push((json!(["body", "customer_id"]), "field required", "value_error.missing"));
        }
        let items = body["items"].as_array().map(Vec::as_slice).unwrap_or_default();
        if items.is_empty() {
            wrong.push((json!(["body", "items"]), "at least one item is required", "value_error.list.min_items"));
        }
        let items = items.iter().enumerate().filter_map(|(index, item)| Item::read(index, item, &mut wrong)).collect();
        match customer_id {
            Some(customer_id) if wrong.is_empty() => Ok(Self { customer_id, items }),
            _ => Err(wrong),
        }
    }
}

impl Item {
    fn read(index: usize, item: &Value, wrong: &mut Vec<Wrong>) -> Option<Self> {
        let at = |field: &str| json!(["body", "items", index, field]);
        let before = wrong.len();
        let product_id = text(&item["product_id"]);
        let name = text(&item["product_name"]).or_else(|| product_id.clone());
        if name.is_none() {
            wrong.push((at("product_name"), "field required", "value_error.missing"));
        }
        let quantity = item["quantity"].as_i64();
        match quantity {
            Some(quantity) if quantity > 0 => {}
            Some(_) => wrong.push((at("quantity"), "ensure this value is greater than 0", "value_error.number.not_gt")),
            None => wrong.push((at("quantity"), "value is not a valid integer", "type_error.integer")),
        }
        let (field, price) = match &item["unit_price"] {
            Value::Null => ("price", &item["price"]),
            price => ("unit_price", price),
        };
        let number = price.as_f64().or_else(|| price.as_str()?.trim().parse().ok());
        let price = number.and_then(money::rounded);
        match number {
            Some(_) if price.is_some() => {}
            Some(_) => {
                wrong.push((at(field), "ensure this value is greater than or equal to 0", "value_error.number.not_ge"));
            }
            None => wrong.push((at(field), "value is not a valid float", "type_error.float")),
        }
        (wrong.len() == before).then(|| Self {
            product_id,
            name: name.unwrap_or_default(),
            quantity: quantity.unwrap_or_default(),
            price: price.unwrap_or_default(),
        })
    }

    /// The line for the API: of a catalogue product, if there is one with the id or name, else an ad-hoc line.
    async fn line(&self, api: &ApiClient) -> Result<Value, ApiResponse> {
        let mut known: Option<Product> = None;
        if let Some(id) = &self.product_id {
            let found = api.get(&["api", "products", id]).send().await;
            known = if found.is_not_found() { None } else { Some(found.ok()?) };
        }
        if known.is_none() {
            let products: Vec<Product> =
                lists::all(|| api.get(&["api", "products"]).query("search", &self.name)).await?;
            known = products.into_iter().find(|product| product.name == self.name);
        }
        Ok(match known {
            Some(product) => {
                json!({"product_id": product.id, "quantity": self.quantity, "unit_price": self.price})
            }
            None => json!({"name": self.name, "quantity": self.quantity, "unit_price": self.price}),
        })
    }
}

fn address(address: &Value) -> Option<Value> {
    let mut taken = json!({"line1": text(&address["street"]).unwrap_or_default()});
    for field in ["city", "state", "postal_code", "country"] {
        if let Some(value) = text(&address[field]) {
            taken[field] = value.into();
        }
    }
    address.is_object().then_some(taken)
}

/// An order in this dialect.
fn render(order: &Order) -> Value {
    let items: Vec<Value> = order
        .lines
        .iter()
        .enumerate()
        .map(|(at, line)| {
            let unknown = || order.metadata.get(&format!("{UNKNOWN_PRODUCT}{}", at + 1));
            json!({
                "product_id": line.product_id.as_ref().or_else(unknown),
                "product_name": line.name,
                "quantity": line.quantity,
                "price": line.unit_price,
                "unit_price": line.unit_price,
                "subtotal": line.subtotal,
            })
        })
        .collect();
    let shipping_address = order.shipping_address.as_ref().map(|address| {
        json!({
            "street": address.line1,
            "city": address.city,
            "state": address.state,
            "postal_code": address.postal_code,
            "country": address.country,
        })
    });
    json!({
        "id": order.id,
        "_id": order.id,
        "customer_id": order.customer_id,
        "items": items,
        "total_price": order.total,
        "total_amount": order.total,
        "status": order.status.as_str(),
        "shipping_address": shipping_address,
        "payment_method": order.metadata.get(METHOD).filter(|method| !method.is_empty()),
        "notes": order.notes,
        "created_at": order.created_at,
        "updated_at": order.updated_at,
    })
}

fn refusal(status: StatusCode, detail: &str) -> Response {
    (status, Json(json!({ "detail": detail }))).into_response()
}

fn unprocessable(wrong: &[Wrong]) -> Response {
    let detail: Vec<Value> =
        wrong.iter().map(|(loc, msg, kind)| json!({"loc": loc, "msg": msg, "type": kind})).collect();
    (StatusCode::UNPROCESSABLE_ENTITY, Json(json!({ "detail": detail }))).into_response()
}

/// A refusal of the API in the wire format of the old service.
fn refused(response: &ApiResponse) -> Response {
    if response.is_not_found() {
        return refusal(StatusCode::NOT_FOUND, "Order not found");
    }
    let fields: Vec<Value> = response
        .fields()
        .map(|(field, message)| {
            let mut loc = vec![json!("body")];
            loc.extend(field.split(['.', '[', ']']).filter(|part| !part.is_empty()).map(|part| match part {
                "lines" => json!("items"),
                part => part.parse::<u64>().map_or_else(|_| json!(part), |index| json!(index)),
            }));
            json!({"loc": loc, "msg": message, "type": "value_error"})
        })
        .collect();
    if fields.is_empty() {
        return refusal(response.status, response.detail());
    }
    (StatusCode::UNPROCESSABLE_ENTITY, Json(json!({ "detail": fields }))).into_response()
}
