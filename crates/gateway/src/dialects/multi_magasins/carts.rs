//! Carts: a client has one, shared by both instances of the old service.

use axum::extract::{Path, State};
use chassis::Json;
use serde_json::{Value, json};

use super::{Refusal, Shop, clients, lines, numbers::Kind};
use crate::dialects::{
    lists,
    model::{Cart, CartItem},
    routes::AnyJson,
    values::text,
};

pub(super) async fn of_client(
    State(shop): State<Shop>,
    Path(number): Path<String>,
) -> Result<Json<Vec<Value>>, Refusal> {
    let number = number.parse().map_err(|_| clients::missing())?;
    let customer = clients::find(&shop, number).await?.ok_or_else(clients::missing)?;
    let cart: Cart = shop.api.get(&["api", "carts", &customer]).send().await.ok()?;
    let mut items = Vec::new();
    for item in &cart.items {
        items.push(render(&shop, number, item).await?);
    }
    Ok(Json(items))
}

pub(super) async fn add(State(shop): State<Shop>, AnyJson(body): AnyJson) -> Result<Json<Value>, Refusal> {
    let named = text(&body["produit_id"])
        .ok_or_else(|| Refusal::field(json!(["body", "produit_id"]), "value is not a valid integer"))?;
    let quantity = body["quantite"]
        .as_i64()
        .filter(|pieces| *pieces > 0)
        .ok_or_else(|| Refusal::field(json!(["body", "quantite"]), "ensure this value is greater than 0"))?;
    let (number, customer) = clients::named(&shop, &body).await?;
    let product = lines::product(&shop, &named).await?.ok_or_else(|| Refusal::missing("Produit non trouvé"))?;
    let item = json!({"product_id": product, "quantity": quantity});
    let item: CartItem = shop.api.post(&["api", "carts", &customer, "items"]).json(item).send().await.ok()?;
    Ok(Json(render(&shop, number, &item).await?))
}

pub(super) async fn remove(State(shop): State<Shop>, Path(number): Path<String>) -> Result<Json<Value>, Refusal> {
    let missing = || Refusal::missing("Item non trouvé");
    let number: i64 = number.parse().map_err(|_| missing())?;
    let cart: Cart =
        lists::first(shop.api.get(&["api", "carts"]).query("item_number", number)).await?.ok_or_else(missing)?;
    let item = cart.items.iter().find(|item| item.number == number).ok_or_else(missing)?;
    let deleted = shop.api.delete(&["api", "carts", &cart.id, "items", &item.item_id]).send().await;
    if deleted.is_not_found() {
        return Err(missing());
    }
    deleted.check()?;
    Ok(Json(json!({"message": "Item supprimé"})))
}

async fn render(shop: &Shop, client: i64, item: &CartItem) -> Result<Value, Refusal> {
    Ok(json!({
        "id": item.number,
        "client_id": client,
        "produit_id": shop.numbers.number(&shop.api, Kind::Products, &item.product_id).await?,
        "quantite": item.quantity,
    }))
}
