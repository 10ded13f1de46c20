//! Replenishments of stores from the logistics centre.

use axum::extract::{Path, State};
use chassis::Json;
use http::{StatusCode, Uri};
use serde_json::{Value, json};

use super::{
    Refusal, Shop,
    numbers::{Kind, places},
    stores::{Goods, GoodsQuery, centre},
};
use crate::dialects::{
    api_client::{ApiClient, ApiResponse},
    lists,
    model::{Replenishment, ReplenishmentStage},
};

/// The threshold of a store that has none of its own.
const THRESHOLD: i64 = 20;
/// Most steps of a replenishment: twice the stages, since other clients may take some of them at the same time.
const MAX_STEPS: usize = 6;

pub(super) async fn list(State(shop): State<Shop>) -> Result<Json<Vec<Value>>, Refusal> {
    let places = places(&shop.api).await?;
    let mut rendered = Vec::new();
    let rows: Vec<Replenishment> =
        lists::all_oldest_first(|| shop.api.get(&["api", "stock", "replenishments"])).await?;
    for row in &rows {
        if is_online(row) {
            continue;
        }
        let store = places.iter().find(|place| row.place_id == place.id).map(|place| place.number);
        rendered.push(json!({
            "id": row.number,
            "produit_id": shop.numbers.number(&shop.api, Kind::Products, &row.product_id).await?,
            "magasin_id": store,
            "quantite": row.quantity,
            "statut": statut(row),
        }));
    }
    Ok(Json(rendered))
}

/// Whether it is for the online shop, which is no store of this fleet.
fn is_online(row: &Replenishment) -> bool {
    row.place_id == super::ONLINE
}

fn statut(row: &Replenishment) -> &'static str {
    match row.stage {
        ReplenishmentStage::Requested => "en_attente",
        ReplenishmentStage::Received => "validee",
        ReplenishmentStage::Refused => "refusee",
        _ => "en_cours",
    }
}

pub(super) async fn request(State(shop): State<Shop>, uri: Uri) -> Result<Json<&'static str>, Refusal> {
    let query = GoodsQuery::read(&uri)?;
    let (quantity, goods) = (query.quantity()?, query.goods(&shop).await?);
    create(&shop.api, &goods, quantity).await?;
    Ok(Json("Demande envoyée au centre logistique."))
}

async fn create(api: &ApiClient, goods: &Goods, quantity: i64) -> Result<Replenishment, ApiResponse> {
    let body = json!({"product_id": goods.product_id, "place_id": goods.store.id, "quantity": quantity});
    api.post(&["api", "stock", "replenishments"]).json(body).send().await.ok()
}

pub(super) async fn validate(
    State(shop): State<Shop>,
    Path(number): Path<String>,
) -> Result<Json<&'static str>, Refusal> {
    let missing = || Refusal::missing("Demande non trouvée");
    let number: i64 = number.parse().map_err(|_| missing())?;
    let request: Option<Replenishment> =
        lists::by_number(shop.api.get(&["api", "stock", "replenishments"]), number).await?;
    let request = request.filter(|request| !is_online(request)).ok_or_else(missing)?;
    match complete(&shop.api, request.clone()).await? {
        Outcome::Arrived => Ok(Json("Demande validée.")),
        Outcome::Short => {
            let product = shop.numbers.number(&shop.api, Kind::Products, &request.product_id).await?;
            // The old service printed an unknown number as null.
            Err(Refusal::bad(short(json!(product))))
        }
        Outcome::Refused => Err(Refusal::new(StatusCode::CONFLICT, "Demande refusée")),
    }
}

/// The outcome of a replenishment that was to be completed at once.
enum Outcome {
    Arrived,
    /// The logistics centre has too little stock.
    Short,
    /// Another client refused it.
    Refused,
}

/// Approves a replenishment, dispatches and receives the goods. Steps that are done already are left out.
async fn complete(api: &ApiClient, replenishment: Replenishment) -> Result<Outcome, ApiResponse> {
    let id = replenishment.id.clone();
    let path = |step| ["api", "stock", "replenishments", &id, step];
    let mut replenishment = replenishment;
    for _ in 0..MAX_STEPS {
        let stage = replenishment.stage;
        let step = match stage {
            ReplenishmentStage::Requested => api.post(&path("approve")),
            ReplenishmentStage::Approved => api.post(&path("dispatch")),
            ReplenishmentStage::InTransit => {
                // Two clients that receive the same goods count them once.
                let key = format!("{id}/{}", replenishment.received);
                api.post(&path("receive")).idempotency_key(&key).json(json!({"quantity": replenishment.in_transit}))
            }
            ReplenishmentStage::Refused => return Ok(Outcome::Refused),
            _ => return Ok(Outcome::Arrived),
        };
        let done = step.send().await;
        if done.status != StatusCode::CONFLICT {
            replenishment = done.ok()?;
            continue;
        }
        let now: Replenishment = api.get(&["api", "stock", "replenishments", &id]).send().await.ok()?;
        if now.stage == stage {
            return if stage == ReplenishmentStage::Approved { Ok(Outcome::Short) } else { Err(done) };
        }
        replenishment = now;
    }
    Ok(if replenishment.stage == ReplenishmentStage::Received { Outcome::Arrived } else { Outcome::Refused })
}

pub(super) async fn supply(State(shop): State<Shop>, uri: Uri) -> Result<Json<String>, Refusal> {
    let query = GoodsQuery::read(&uri)?;
    let (quantity, goods) = (query.quantity()?, query.goods(&shop).await?);
    send(&shop, &goods, quantity).await
}

/// Sends goods to a store that is below its threshold.
pub(super) async fn check(State(shop): State<Shop>, uri: Uri) -> Result<Json<String>, Refusal> {
    let goods = GoodsQuery::read(&uri)?.goods(&shop).await?;
    let (available, threshold) = goods.level(&shop.api, &goods.store.id).await?;
    let threshold = threshold.unwrap_or(THRESHOLD);
    if available >= threshold {
        return Ok(Json(format!("Stock suffisant pour le produit {}.", goods.named)));
    }
    send(&shop, &goods, 2 * threshold - available).await
}

async fn send(shop: &Shop, goods: &Goods, quantity: i64) -> Result<Json<String>, Refusal> {
    let centre = centre(&shop.api).await?;
    let (available, _) = goods.level(&shop.api, &centre.id).await?;
    // No request may remain that was not meant to wait.
    if available < quantity {
        return Ok(Json(short(&goods.named)));
    }
    let request = create(&shop.api, goods, quantity).await?;
    let id = request.id.clone();
    match complete(&shop.api, request).await? {
        Outcome::Arrived => {
            let (product, store) = (&goods.named, goods.store.number);
            Ok(Json(format!("{quantity} unités du produit {product} envoyées au magasin {store}.")))
        }
        Outcome::Short => {
            let reason = json!({"reason": "not enough in the logistics centre"});
            shop.api.post(&["api", "stock", "replenishments", &id, "refuse"]).json(reason).send().await.check()?;
            Ok(Json(short(&goods.named)))
        }
        Outcome::Refused => Err(Refusal::new(StatusCode::CONFLICT, "Demande refusée")),
    }
}

fn short(product: impl std::fmt::Display) -> String {
    format!("Stock logistique insuffisant pour le produit {product}.")
}
