//! Loads sample data: places and their stock.

use chassis::CrashPoints;
use commerce::{PlaceId, ProductId, Timestamp};

use crate::{
    config::Config,
    domain::{AdjustmentRequest, SYSTEM_ACTOR, StockKey},
    error::Error,
    executor::Executor,
    store::{
        self,
        places::{self, Place},
    },
};

/// A place of the sample data.
#[derive(Debug, Clone)]
pub struct SeedPlace {
    /// Its id. The logistics centre exists already.
    pub id: PlaceId,
    /// Its name.
    pub name: String,
    /// `store` or `logistics`.
    pub kind: &'static str,
    /// Its city.
    pub city: Option<String>,
}

/// A level of the sample data.
#[derive(Debug, Clone)]
pub struct SeedLevel {
    /// The product.
    pub product_id: ProductId,
    /// The place.
    pub place_id: PlaceId,
    /// Pieces on hand.
    pub quantity: i64,
    /// The threshold below which the level is low.
    pub threshold: Option<i64>,
}

/// Levels of one transaction.
const LEVELS_PER_TRANSACTION: usize = 500;

/// Creates a place, unless its id is taken.
pub(crate) async fn create_place(
    db: &db::Db,
    id: &PlaceId,
    name: &str,
    kind: &str,
    city: Option<&str>,
) -> Result<(), Error> {
    let place = Place {
        id: id.clone(),
        number: 0,
        name: name.to_owned(),
        kind: kind.to_owned(),
        address: city.map(|city| serde_json::json!({ "line1": name, "city": city }).to_string()),
    };
    let mut tx = db.write().await?;
    places::get_or_insert(&mut tx, &place, Timestamp::now()).await?;
    tx.commit().await?;
    Ok(())
}

/// Creates these places in their order, then puts goods into them. Returns how many levels are new. Must be called before the
/// service is built; a repeat changes nothing. The events wait in the outbox.
pub async fn seed(config: &Config, places: &[SeedPlace], levels: &[SeedLevel]) -> anyhow::Result<usize> {
    let db = store::open(config, None).await?;
    for place in places {
        create_place(&db, &place.id, &place.name, place.kind, place.city.as_deref()).await?;
    }
    create_logistics_place(&db, config).await?;
    let executor =
        Executor { db: db.clone(), relay: None, crash: CrashPoints::none(), hold: config.hold(), replenish_from: None };
    let mut created = 0;
    for levels in levels.chunks(LEVELS_PER_TRANSACTION) {
        let requests = levels.iter().map(|level| AdjustmentRequest {
            id: format!("opening:{}:{}", level.place_id, short(&level.product_id)),
            key: key(level),
            delta: level.quantity,
            reason: "opening stock of the sample data".into(),
            actor: SYSTEM_ACTOR.into(),
        });
        let new = executor.adjust(requests.collect()).await?;
        if new > 0 {
            for level in levels.iter().filter(|level| level.threshold.is_some()) {
                executor.set_threshold(key(level), level.threshold).await?;
            }
        }
        created += new;
    }
    db.close().await;
    Ok(created)
}

fn key(level: &SeedLevel) -> StockKey {
    StockKey::new(&level.place_id, &level.product_id)
}

/// Creates the logistics centre that every installation has.
pub(crate) async fn create_logistics_place(db: &db::Db, config: &Config) -> Result<(), Error> {
    create_place(db, &config.logistics_place, "Logistics centre", "logistics", None).await
}

/// The adjustment's id has at most 64 characters, and sample products have short ids.
fn short(product_id: &ProductId) -> String {
    product_id.as_str().chars().take(40).collect()
}
