//! Sample data: places with goods in them.

use chassis::CrashPoints;
use commerce::{PlaceId, ProductId, Timestamp};

use crate::{
    commands::{Executor, SYSTEM},
    config::Config,
    domain::{AdjustmentRequest, StockKey},
    error::Error,
    store::places::{self, Place},
};

/// A place of the sample data.
#[derive(Debug, Clone)]
pub struct SeedPlace {
    /// Its id; the logistics centre's own is there already.
    pub id: PlaceId,
    /// What it is called.
    pub name: String,
    /// `store` or `logistics`.
    pub kind: &'static str,
    /// Where it is.
    pub city: Option<String>,
}

/// Goods of the sample data.
#[derive(Debug, Clone)]
pub struct SeedLevel {
    /// What.
    pub product_id: ProductId,
    /// Where.
    pub place_id: PlaceId,
    /// Pieces.
    pub quantity: i64,
    /// Below how many available people are told.
    pub threshold: Option<i64>,
}

/// Levels of one transaction.
const AT_ONCE: usize = 500;

/// A place of that kind, if there is none of that id.
pub(crate) async fn open_place(
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
    places::add(&mut tx, &place, Timestamp::now()).await?;
    tx.commit().await?;
    Ok(())
}

/// Opens these places in their order, and then puts goods into them; gives how many levels were opened now. To be
/// called before the service is built; again, it changes nothing. What it tells waits in the outbox.
pub async fn seed(config: &Config, places: &[SeedPlace], levels: &[SeedLevel]) -> anyhow::Result<usize> {
    let db = crate::migrated(config, None).await?;
    for place in places {
        open_place(&db, &place.id, &place.name, place.kind, place.city.as_deref()).await?;
    }
    open_centre(&db, config).await?;
    let executor =
        Executor { db: db.clone(), relay: None, crash: CrashPoints::none(), hold: config.hold(), centre: None };
    let mut opened = 0;
    for levels in levels.chunks(AT_ONCE) {
        let requests = levels.iter().map(|level| AdjustmentRequest {
            id: format!("opening:{}:{}", level.place_id, short(&level.product_id)),
            key: key(level),
            delta: level.quantity,
            reason: "opening stock of the sample data".into(),
            actor: SYSTEM.into(),
        });
        let now = executor.adjust(requests.collect()).await?;
        if now > 0 {
            for level in levels.iter().filter(|level| level.threshold.is_some()) {
                executor.set_threshold(key(level), level.threshold).await?;
            }
        }
        opened += now;
    }
    db.close().await;
    Ok(opened)
}

fn key(level: &SeedLevel) -> StockKey {
    StockKey { place_id: level.place_id.clone(), product_id: level.product_id.clone() }
}

/// The logistics centre that every fleet has.
pub(crate) async fn open_centre(db: &db::Db, config: &Config) -> Result<(), Error> {
    open_place(db, &config.logistics_place, "Logistics centre", "logistics", None).await
}

/// Sample products have short ids; a long one would not fit an id of 64 letters.
fn short(product_id: &ProductId) -> String {
    product_id.as_str().chars().take(40).collect()
}
