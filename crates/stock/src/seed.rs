//! Sample data: five stores and a logistics centre, with goods in all of them.

use chassis::CrashPoints;
use commerce::{PlaceId, ProductId, Timestamp};

use crate::{
    config::Config,
    domain::{Slot, Wish},
    error::Error,
    operate::{Desk, SYSTEM},
    store::places::{self, Place},
};

/// The stores that the sample data opens: id, name, city.
pub const STORES: &[(&str, &str, &str)] = &[
    ("store-1", "Souk Hafenstraße", "Hamburg"),
    ("store-2", "Souk Alter Markt", "Köln"),
    ("store-3", "Souk Viktualien", "München"),
    ("store-4", "Souk Naschmarkt", "Wien"),
    ("store-5", "Souk Canal", "Amsterdam"),
];
/// Pieces of each product in the logistics centre.
const CENTRE: i64 = 1_000;
/// Pieces of each product in each store.
const STORE: i64 = 40;
/// Products of one transaction.
const AT_ONCE: usize = 100;

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

/// Opens the stores and puts these products into every place; gives how many levels were opened now. To be
/// called before the service is built; again, it changes nothing. What it tells waits in the outbox.
pub async fn seed(config: &Config, products: &[ProductId]) -> anyhow::Result<usize> {
    let db = crate::open(config, None).await?;
    let mut places = vec![(config.logistics_place.clone(), CENTRE)];
    for (id, name, city) in STORES {
        let id = PlaceId::known((*id).to_owned());
        open_place(&db, &id, name, "store", Some(city)).await?;
        places.push((id, STORE));
    }
    let desk = Desk { db: db.clone(), relay: None, crash: CrashPoints::none(), hold: config.hold() };
    let mut opened = 0;
    for products in products.chunks(AT_ONCE) {
        let wishes = products.iter().flat_map(|product_id| {
            places.iter().map(|(place_id, delta)| Wish {
                id: format!("opening:{}:{}", place_id, short(product_id)),
                slot: Slot { place_id: place_id.clone(), product_id: product_id.clone() },
                delta: *delta,
                reason: "opening stock of the sample data".into(),
                actor: SYSTEM.into(),
            })
        });
        opened += desk.adjust(wishes.collect()).await?;
    }
    db.close().await;
    Ok(opened)
}

/// Sample products have short ids; a long one would not fit an id of 64 letters.
fn short(product_id: &ProductId) -> String {
    product_id.as_str().chars().take(40).collect()
}
