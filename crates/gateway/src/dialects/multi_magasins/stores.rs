//! Stores and the logistics centre: their stock, and sales in stores.

use std::collections::HashMap;

use axum::{
    extract::{Path, State},
    response::{IntoResponse, Response},
};
use chassis::{Json, from_query};
use commerce::OrderId;
use http::{StatusCode, Uri};
use serde::Deserialize;
use serde_json::{Value, json};

use super::{Refusal, Shop, lines, numbers::places};
use crate::dialects::{
    api_client::{ApiClient, ApiResponse},
    lists,
    model::{Level, Place, PlaceKind, Product},
    orders::place_and_settle,
};

/// The query of a request about goods in a store.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct GoodsQuery {
    magasin_id: Option<String>,
    produit_id: Option<String>,
    quantite: Option<i64>,
}

impl GoodsQuery {
    pub(super) fn read(uri: &Uri) -> Result<Self, Refusal> {
        from_query(uri.query().unwrap_or_default())
            .map_err(|_| Refusal::field(json!(["query", "quantite"]), "value is not a valid integer"))
    }

    pub(super) fn quantity(&self) -> Result<i64, Refusal> {
        self.quantite
            .filter(|pieces| *pieces > 0)
            .ok_or_else(|| Refusal::field(json!(["query", "quantite"]), "ensure this value is greater than 0"))
    }

    /// The product and the store.
    pub(super) async fn goods(&self, shop: &Shop) -> Result<Goods, Refusal> {
        let missing = |field: &str| Refusal::field(json!(["query", field]), "field required");
        let store = self.magasin_id.as_deref().ok_or_else(|| missing("magasin_id"))?;
        let product = self.produit_id.as_deref().ok_or_else(|| missing("produit_id"))?;
        Goods::of(shop, store, product).await
    }
}

/// A product in a store.
pub(super) struct Goods {
    pub(super) store: Place,
    pub(super) product_id: String,
    /// The product as the request names it.
    pub(super) named: String,
}

impl Goods {
    async fn of(shop: &Shop, store: &str, named: &str) -> Result<Self, Refusal> {
        let store = find_store(shop, store).await?;
        let product_id = lines::product(shop, named).await?.ok_or_else(|| Refusal::missing("Produit non trouvé"))?;
        Ok(Self { store, product_id, named: named.to_owned() })
    }

    /// The available pieces in a place, and the threshold of its alerts.
    pub(super) async fn level(&self, api: &ApiClient, place: &str) -> Result<(i64, Option<i64>), ApiResponse> {
        let request =
            api.get(&["api", "stock", "levels"]).query("product_id", &self.product_id).query("place_id", place);
        let level: Level = lists::first(request).await?.unwrap_or_default();
        Ok((level.available, level.threshold))
    }
}

async fn find_store(shop: &Shop, number: &str) -> Result<Place, Refusal> {
    let found = places(&shop.api)
        .await?
        .into_iter()
        .find(|place| place.kind == PlaceKind::Store && (number.parse() == Ok(place.number) || number == place.id));
    found.ok_or_else(|| Refusal::missing("Magasin non trouvé"))
}

/// The logistics centre.
pub(super) async fn centre(api: &ApiClient) -> Result<Place, Refusal> {
    let found = places(api).await?.into_iter().find(|place| place.kind != PlaceKind::Store);
    found.ok_or_else(|| Refusal::missing("Centre logistique non trouvé"))
}

/// All products by their ids.
pub(super) async fn catalogue(api: &ApiClient) -> Result<HashMap<String, Product>, ApiResponse> {
    let products: Vec<Product> = lists::all(|| api.get(&["api", "products"])).await?;
    Ok(products.into_iter().map(|product| (product.id.clone(), product)).collect())
}

async fn stock_of(api: &ApiClient, place: &Place) -> Result<Json<Vec<Value>>, Refusal> {
    let products = catalogue(api).await?;
    let levels: Vec<Level> = lists::all(|| api.get(&["api", "stock", "levels"]).query("place_id", &place.id)).await?;
    let mut rows: Vec<(&Product, i64)> =
        levels.iter().filter_map(|level| Some((products.get(&level.product_id)?, level.available))).collect();
    rows.sort_by_key(|(product, _)| product.number);
    let render = |(product, available): (&Product, i64)| json!({"produit_id": product.number, "nom": product.name, "quantite": available});
    Ok(Json(rows.into_iter().map(render).collect()))
}

pub(super) async fn stock(State(shop): State<Shop>, Path(number): Path<String>) -> Result<Json<Vec<Value>>, Refusal> {
    let store = find_store(&shop, &number).await?;
    stock_of(&shop.api, &store).await
}

pub(super) async fn logistics(State(shop): State<Shop>) -> Result<Json<Vec<Value>>, Refusal> {
    let centre = centre(&shop.api).await?;
    stock_of(&shop.api, &centre).await
}

/// A sale in a store, for cash.
pub(super) async fn sell(
    State(shop): State<Shop>,
    Path((store, product)): Path<(String, String)>,
    uri: Uri,
) -> Result<Response, Refusal> {
    let quantity = GoodsQuery::read(&uri)?.quantity()?;
    let goods = Goods::of(&shop, &store, &product).await?;
    let id = OrderId::new();
    let sale = json!({
        "id": id,
        "lines": [{"product_id": goods.product_id, "quantity": quantity}],
        "payment": {"method": "cash"},
    });
    let request = || shop.api.post(&["api", "stores", &goods.store.id, "sales"]).json(&sale);
    let left = async |_| goods.level(&shop.api, &goods.store.id).await.map(|(left, _)| left);
    let left = match place_and_settle(&shop.api, &id, request, left).await {
        Err(response) if response.status == StatusCode::CONFLICT => return Err(Refusal::bad("Stock insuffisant")),
        left => left?,
    };
    let number = lines::number(&product).map_or_else(|| json!(product), |number| json!(number));
    Ok(Json(json!({
        "message": "Vente enregistrée",
        "magasin_id": goods.store.number,
        "produit_id": number,
        "quantite_restante": left,
    }))
    .into_response())
}
