//! Stored replenishments.

use std::collections::HashMap;

use commerce::{PlaceId, ProductId, Timestamp, page::PageRequest};
use db::{Row, Tx};

use crate::{
    domain::{Replenishment, ReplenishmentStage, StockKey},
    error::Error,
};

const COLUMNS: &[&str] = &[
    "id",
    "number",
    "product_id",
    "from_place_id",
    "place_id",
    "quantity",
    "stage",
    "shipped",
    "received",
    "automatic",
    "reason",
    "history",
    "sequence",
    "created_at",
    "updated_at",
];

/// The filter of a list.
#[derive(Debug, Clone, Default)]
pub(crate) struct ReplenishmentFilter {
    pub(crate) stage: Option<ReplenishmentStage>,
    pub(crate) product_id: Option<String>,
    pub(crate) place_id: Option<String>,
    pub(crate) number: Option<i64>,
    /// To or from one of these places; none: any place.
    pub(crate) places: Option<Vec<String>>,
}

impl ReplenishmentFilter {
    fn conditions(&self) -> db::Filter {
        let mut filter = db::Filter::new("1 = 1");
        if let Some(stage) = self.stage {
            filter.and("stage = ?", stage.as_str());
        }
        if let Some(product_id) = &self.product_id {
            filter.and("product_id = ?", product_id);
        }
        if let Some(place_id) = &self.place_id {
            filter.and("place_id = ?", place_id);
        }
        if let Some(number) = self.number {
            filter.and("number = ?", number);
        }
        if let Some(places) = &self.places {
            let both = [places.clone().into(), places.clone().into()];
            filter.and_all("(place_id in {list ?} or from_place_id in {list ?})", both);
        }
        filter
    }
}

/// Finds a replenishment, and locks its id until the transaction ends.
pub(crate) async fn lock(tx: &mut Tx, id: &str) -> Result<Option<Replenishment>, Error> {
    tx.lock([format!("replenishment/{id}")]).await?;
    get(tx, id).await
}

/// Finds a replenishment.
pub(crate) async fn get(tx: &mut Tx, id: &str) -> Result<Option<Replenishment>, Error> {
    let row = db::query(format!("select {} from replenishments where id = $1", COLUMNS.join(", ")))
        .bind(id)
        .fetch_optional(tx)
        .await?;
    row.as_ref().map(read).transpose()
}

/// A page of replenishments, newest first.
pub(crate) async fn list(
    tx: &mut Tx,
    filter: &ReplenishmentFilter,
    paging: &PageRequest<i64>,
) -> Result<Vec<Replenishment>, Error> {
    let mut conditions = filter.conditions();
    if let Some(before) = paging.after {
        conditions.and("number < ?", before);
    }
    let text = format!(
        "select {} from replenishments where {{where}} order by number desc limit ? offset ?",
        COLUMNS.join(", ")
    );
    let rows = conditions.query(&text, [paging.fetch().into(), paging.offset.into()]).fetch_all(tx).await?;
    rows.iter().map(read).collect()
}

/// The number of replenishments that match.
pub(crate) async fn count(tx: &mut Tx, filter: &ReplenishmentFilter) -> Result<u64, Error> {
    Ok(filter.conditions().count("replenishments", tx).await?)
}

/// Whether an automatic request of this level is open. The caller holds the lock on the level's row.
pub(crate) async fn has_open_request(tx: &mut Tx, key: &StockKey) -> Result<bool, Error> {
    let row = db::query(
        "select 1 as there from replenishments where product_id = $1 and place_id = $2 and automatic = 1
         and stage in ('requested', 'approved', 'in_transit')",
    )
    .bind(key.product_id.as_str())
    .bind(key.place_id.as_str())
    .fetch_optional(tx)
    .await?;
    Ok(row.is_some())
}

/// Inserts a replenishment, and sets its number.
pub(crate) async fn insert(tx: &mut Tx, new: &mut Replenishment) -> Result<(), Error> {
    let row = db::query("update counters set value = value + 1 where name = 'replenishment' returning value")
        .fetch_one(tx)
        .await?;
    new.number = row.get("value")?;
    save(tx, new).await
}

/// Saves a replenishment.
pub(crate) async fn save(tx: &mut Tx, saved: &Replenishment) -> Result<(), Error> {
    let row = vec![
        saved.id.as_str().into(),
        saved.number.into(),
        saved.product_id.as_str().into(),
        saved.from.as_str().into(),
        saved.to.as_str().into(),
        saved.quantity.into(),
        saved.stage.as_str().into(),
        saved.shipped.into(),
        saved.received.into(),
        i64::from(saved.automatic).into(),
        saved.reason.as_deref().into(),
        // Texts and numbers always serialise.
        serde_json::to_string(&saved.history).unwrap_or_default().into(),
        saved.sequence.into(),
        saved.created_at.micros().into(),
        saved.updated_at.micros().into(),
    ];
    db::insert("replenishments", COLUMNS, [row])
        .suffix(
            "on conflict (id) do update set stage = excluded.stage, shipped = excluded.shipped,
             received = excluded.received, reason = excluded.reason, history = excluded.history,
             sequence = excluded.sequence, updated_at = excluded.updated_at",
        )
        .execute(tx)
        .await?;
    Ok(())
}

/// The pieces in transit of these products (none: of all), by product and destination.
pub(crate) async fn in_transit(tx: &mut Tx, products: Option<&[&str]>) -> Result<HashMap<StockKey, i64>, Error> {
    if products.is_some_and(<[_]>::is_empty) {
        return Ok(HashMap::new());
    }
    let condition = if products.is_some() { "and product_id in {list $1}" } else { "" };
    let query = db::query(format!(
        "select product_id, place_id, cast(sum(shipped - received) as bigint) as pieces from replenishments
         where stage = 'in_transit' {condition} group by product_id, place_id"
    ));
    let query = match products {
        Some(products) => query.list(products.iter().copied()),
        None => query,
    };
    let rows = query.fetch_all(tx).await?;
    rows.iter().map(|row| Ok((super::unit_of_work::key(row)?, row.get("pieces")?))).collect()
}

/// All replenishments, for the audit.
pub(crate) async fn all(tx: &mut Tx) -> Result<Vec<Replenishment>, Error> {
    let rows =
        db::query(format!("select {} from replenishments order by id", COLUMNS.join(", "))).fetch_all(tx).await?;
    rows.iter().map(read).collect()
}

fn read(row: &Row) -> Result<Replenishment, Error> {
    Ok(Replenishment {
        id: row.get("id")?,
        number: row.get("number")?,
        product_id: ProductId::trusted(row.get("product_id")?),
        from: PlaceId::trusted(row.get("from_place_id")?),
        to: PlaceId::trusted(row.get("place_id")?),
        quantity: row.get("quantity")?,
        stage: ReplenishmentStage::parse(&row.get::<String>("stage")?).ok_or(Error::Corrupt("stage"))?,
        shipped: row.get("shipped")?,
        received: row.get("received")?,
        automatic: row.get::<i64>("automatic")? == 1,
        reason: row.get("reason")?,
        history: serde_json::from_str(&row.get::<String>("history")?).map_err(|_| Error::Corrupt("history"))?,
        sequence: row.get("sequence")?,
        created_at: Timestamp::from_micros(row.get("created_at")?),
        updated_at: Timestamp::from_micros(row.get("updated_at")?),
    })
}
