//! Goods that stores ask of the logistics centre.

use axum::extract::{Path, State};
use chassis::Json;
use http::{StatusCode, Uri};
use serde_json::{Value, json};

use super::{
    Refusal, Shop,
    numbers::{Kind, places},
    stores::{Asked, Goods, centre},
};
use crate::dialects::{
    api_client::{ApiClient, ApiResponse},
    lists,
    values::id,
};

/// Below so many a store is sent more, where the store itself says nothing else.
const THRESHOLD: i64 = 20;
/// Steps from a request to the goods' arrival, twice, since others may make them meanwhile.
const STEPS: usize = 6;

pub(super) async fn list(State(shop): State<Shop>) -> Result<Json<Vec<Value>>, Refusal> {
    let places = places(&shop.api).await?;
    let mut shown = Vec::new();
    for row in lists::whole(|| shop.api.get(&["api", "stock", "replenishments"])).await?.iter().rev() {
        if is_online(row) {
            continue;
        }
        let store = places.iter().find(|place| row["place_id"] == place.id.as_str()).map(|place| place.number);
        shown.push(json!({
            "id": row["number"],
            "produit_id": shop.numbers.render(&shop.api, Kind::Products, &row["product_id"]).await?,
            "magasin_id": store,
            "quantite": row["quantity"],
            "statut": statut(row),
        }));
    }
    Ok(Json(shown))
}

/// Whether it is the online shop's, which is no store of this fleet.
fn is_online(row: &Value) -> bool {
    row["place_id"] == super::ONLINE
}

fn statut(row: &Value) -> &'static str {
    match row["stage"].as_str() {
        Some("requested") => "en_attente",
        Some("received") => "validee",
        Some("refused") => "refusee",
        _ => "en_cours",
    }
}

pub(super) async fn request(State(shop): State<Shop>, uri: Uri) -> Result<Json<&'static str>, Refusal> {
    let asked = Asked::read(&uri)?;
    let (quantity, goods) = (asked.quantity()?, asked.goods(&shop).await?);
    create(&shop.api, &goods, quantity).await?;
    Ok(Json("Demande envoyée au centre logistique."))
}

async fn create(api: &ApiClient, goods: &Goods, quantity: i64) -> Result<Value, ApiResponse> {
    let wanted = json!({"product_id": goods.product_id, "place_id": goods.store.id, "quantity": quantity});
    api.post(&["api", "stock", "replenishments"]).json(wanted).send().await.ok()
}

pub(super) async fn validate(
    State(shop): State<Shop>,
    Path(number): Path<String>,
) -> Result<Json<&'static str>, Refusal> {
    let missing = || Refusal::missing("Demande non trouvée");
    let number: i64 = number.parse().map_err(|_| missing())?;
    let request = lists::numbered(shop.api.get(&["api", "stock", "replenishments"]), number).await?;
    let request = request.filter(|request| !is_online(request)).ok_or_else(missing)?;
    match carry(&shop.api, &request).await? {
        Carried::Arrived => Ok(Json("Demande validée.")),
        Carried::Short => {
            let product = shop.numbers.render(&shop.api, Kind::Products, &request["product_id"]).await?;
            Err(Refusal::bad(short(&product)))
        }
        Carried::Refused => Err(Refusal::new(StatusCode::CONFLICT, "Demande refusée")),
    }
}

/// What became of a request that was to be fulfilled at once.
enum Carried {
    Arrived,
    /// The centre has too little.
    Short,
    /// Somebody has refused it.
    Refused,
}

/// Approves a request, sends the goods and has them arrive; steps that were made before are passed over.
async fn carry(api: &ApiClient, request: &Value) -> Result<Carried, ApiResponse> {
    let id = id(request);
    let path = |step| ["api", "stock", "replenishments", id, step];
    let mut request = request.clone();
    for _ in 0..STEPS {
        let stage = request["stage"].as_str().unwrap_or_default();
        let step = match stage {
            "requested" => api.post(&path("approve")),
            "approved" => api.post(&path("dispatch")),
            "in_transit" => {
                // The same arrival is counted once, whoever asks for it how often.
                let key = format!("{id}/{}", request["received"]);
                api.post(&path("receive")).idempotency_key(&key).json(json!({"quantity": request["in_transit"]}))
            }
            "refused" => return Ok(Carried::Refused),
            _ => return Ok(Carried::Arrived),
        };
        let done = step.send().await;
        if done.status != StatusCode::CONFLICT {
            request = done.ok()?;
            continue;
        }
        let now = api.get(&["api", "stock", "replenishments", id]).send().await.ok()?;
        if now["stage"] == stage {
            return if stage == "approved" { Ok(Carried::Short) } else { Err(done) };
        }
        request = now;
    }
    Ok(if request["stage"] == "received" { Carried::Arrived } else { Carried::Refused })
}

pub(super) async fn supply(State(shop): State<Shop>, uri: Uri) -> Result<Json<String>, Refusal> {
    let asked = Asked::read(&uri)?;
    let (quantity, goods) = (asked.quantity()?, asked.goods(&shop).await?);
    send(&shop, &goods, quantity).await
}

/// Sends goods to a store that has too few of them.
pub(super) async fn check(State(shop): State<Shop>, uri: Uri) -> Result<Json<String>, Refusal> {
    let goods = Asked::read(&uri)?.goods(&shop).await?;
    let (there, threshold) = goods.level(&shop.api, &goods.store.id).await?;
    let threshold = threshold.unwrap_or(THRESHOLD);
    if there >= threshold {
        return Ok(Json(format!("Stock suffisant pour le produit {}.", goods.named)));
    }
    send(&shop, &goods, 2 * threshold - there).await
}

async fn send(shop: &Shop, goods: &Goods, quantity: i64) -> Result<Json<String>, Refusal> {
    let centre = centre(&shop.api).await?;
    let (there, _) = goods.level(&shop.api, &centre.id).await?;
    // Nobody is to find a request that was never meant to wait.
    if there < quantity {
        return Ok(Json(short(&goods.named)));
    }
    let request = create(&shop.api, goods, quantity).await?;
    match carry(&shop.api, &request).await? {
        Carried::Arrived => {
            let (product, store) = (&goods.named, goods.store.number);
            Ok(Json(format!("{quantity} unités du produit {product} envoyées au magasin {store}.")))
        }
        Carried::Short => {
            let id = id(&request);
            let reason = json!({"reason": "not enough in the logistics centre"});
            shop.api.post(&["api", "stock", "replenishments", id, "refuse"]).json(reason).send().await.ok()?;
            Ok(Json(short(&goods.named)))
        }
        Carried::Refused => Err(Refusal::new(StatusCode::CONFLICT, "Demande refusée")),
    }
}

fn short(product: impl std::fmt::Display) -> String {
    format!("Stock logistique insuffisant pour le produit {product}.")
}
