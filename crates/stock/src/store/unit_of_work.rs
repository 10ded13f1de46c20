//! Loads and saves the unit of work of a transaction in few statements.

use std::collections::{BTreeMap, BTreeSet};

use commerce::{Id, OrderId, PlaceId, ProductId, Timestamp};
use db::{Row, Tx, Value};

use crate::{
    domain::{
        Adjustment, AdjustmentRequest, Level, Movement, Reservation, ReservationLine, ReservationRequest,
        ReservationState, StockKey, UnitOfWork,
    },
    error::Error,
};

// Columns by name, never `*`: a statement that a replica has prepared fails on Postgres once the next version has added
// a column.
pub(super) const LEVEL: &str = "product_id, place_id, on_hand, reserved, threshold, sequence";
const RESERVATION: &str = "order_id, place_id, state, sequence, expires_at, created_at, updated_at";
const ADJUSTMENT: &str = "id, product_id, place_id, delta, reason, balance, actor, at";

/// The rows that a transaction loads.
#[derive(Debug, Default)]
pub(crate) struct LoadSet<'a> {
    pub(crate) orders: BTreeSet<&'a str>,
    pub(crate) places: BTreeSet<&'a str>,
    pub(crate) products: BTreeSet<&'a str>,
    pub(crate) adjustments: BTreeSet<&'a str>,
    /// Levels that the transaction may create.
    pub(crate) new_levels: BTreeSet<StockKey>,
}

impl<'a> LoadSet<'a> {
    /// Adds what a reservation reads.
    pub(crate) fn add_reservation(&mut self, request: &'a ReservationRequest) {
        self.orders.insert(request.order_id.as_str());
        self.places.insert(request.place_id.as_str());
        self.products.extend(request.lines.keys().map(|id| id.as_str()));
    }

    /// Adds a level that the transaction changes, and creates where it does not exist.
    pub(crate) fn add_level(&mut self, key: &'a StockKey) {
        self.places.insert(key.place_id.as_str());
        self.products.insert(key.product_id.as_str());
        self.new_levels.insert(key.clone());
    }
}

/// Loads the load set, and the levels of the orders' reservations.
///
/// No other transaction changes the same orders, levels or adjustments until this one ends: an order is locked by its name,
/// since its reservation may not exist yet; a level by its row, or by its name where it has none.
pub(crate) async fn load(tx: &mut Tx, load_set: LoadSet<'_>, unit: &mut UnitOfWork) -> Result<(), Error> {
    let names = load_set.orders.iter().map(|id| format!("order/{id}"));
    tx.lock(names.chain(load_set.adjustments.iter().map(|id| format!("adjustment/{id}")))).await?;
    if !load_set.orders.is_empty() {
        load_reservations(tx, &load_set.orders, unit).await?;
    }
    if !load_set.adjustments.is_empty() {
        load_adjustments(tx, &load_set.adjustments, unit).await?;
    }
    let mut places: BTreeSet<String> = load_set.places.iter().map(|id| (*id).to_owned()).collect();
    let mut products: BTreeSet<String> = load_set.products.iter().map(|id| (*id).to_owned()).collect();
    for reservation in unit.reservations.values() {
        places.extend(reservation.place_id.iter().map(|id| id.as_str().to_owned()));
        products.extend(reservation.lines.keys().map(|id| id.as_str().to_owned()));
    }
    if !products.is_empty() {
        load_levels(tx, &places, &products, unit).await?;
        // Two replicas must not both create a level with nothing in it.
        let new = load_set.new_levels.iter().filter(|key| !unit.levels.contains_key(key));
        let new: BTreeSet<&StockKey> = new.collect();
        if !new.is_empty() {
            tx.lock(new.iter().map(|key| format!("level/{}/{}", key.place_id, key.product_id))).await?;
            let places = new.iter().map(|key| key.place_id.to_string()).collect();
            let products = new.iter().map(|key| key.product_id.to_string()).collect();
            load_levels(tx, &places, &products, unit).await?;
        }
    }
    // A place with a loaded level exists; only the others have to be looked up.
    let unknown: Vec<&str> =
        load_set.places.iter().copied().filter(|id| !unit.places.iter().any(|known| known.as_str() == *id)).collect();
    if !unknown.is_empty() {
        let rows = db::query("select id from places where id in {list $1}").list(unknown).fetch_all(tx).await?;
        for row in &rows {
            unit.places.insert(PlaceId::trusted(row.get("id")?));
        }
    }
    Ok(())
}

async fn load_reservations(tx: &mut Tx, orders: &BTreeSet<&str>, unit: &mut UnitOfWork) -> Result<(), Error> {
    let rows =
        db::query(format!("select {RESERVATION} from reservations where order_id in {{list $1}} order by order_id"))
            .list(orders)
            .fetch_all(tx)
            .await?;
    if rows.is_empty() {
        return Ok(());
    }
    for row in &rows {
        let reservation = reservation(row)?;
        unit.reservations.insert(reservation.order_id.clone(), reservation);
    }
    let rows = db::query(
        "select order_id, product_id, quantity, restocked from reservation_lines where order_id in {list $1}",
    )
    .list(unit.reservations.keys().map(|id| id.as_str()))
    .fetch_all(tx)
    .await?;
    for row in &rows {
        let order_id = OrderId::trusted(row.get("order_id")?);
        let line = ReservationLine { quantity: row.get("quantity")?, restocked: row.get("restocked")? };
        if let Some(reservation) = unit.reservations.get_mut(&order_id) {
            reservation.lines.insert(ProductId::trusted(row.get("product_id")?), line);
        }
    }
    Ok(())
}

async fn load_levels(
    tx: &mut Tx,
    places: &BTreeSet<String>,
    products: &BTreeSet<String>,
    unit: &mut UnitOfWork,
) -> Result<(), Error> {
    // Ordered, so that every replica locks the rows in the same order.
    let rows = db::query(format!(
        "select {LEVEL} from levels where product_id in {{list $1}} and place_id in {{list $2}}
         order by place_id, product_id {{locked}}"
    ))
    .list(products)
    .list(places)
    .fetch_all(tx)
    .await?;
    for row in &rows {
        let (key, level) = level(row)?;
        unit.places.insert(key.place_id.clone());
        unit.levels.insert(key, level);
    }
    Ok(())
}

async fn load_adjustments(tx: &mut Tx, ids: &BTreeSet<&str>, unit: &mut UnitOfWork) -> Result<(), Error> {
    let rows = db::query(format!("select {ADJUSTMENT} from adjustments where id in {{list $1}}"))
        .list(ids)
        .fetch_all(tx)
        .await?;
    for row in &rows {
        let id: String = row.get("id")?;
        let request = AdjustmentRequest {
            id: id.clone(),
            key: key(row)?,
            delta: row.get("delta")?,
            reason: row.get("reason")?,
            actor: row.get("actor")?,
        };
        let at = Timestamp::from_micros(row.get("at")?);
        unit.adjustments.insert(id, Adjustment { request, balance: row.get("balance")?, at });
    }
    Ok(())
}

/// The ids of these adjustments that were applied before.
pub(crate) async fn known_adjustments(
    tx: &mut Tx,
    ids: impl IntoIterator<Item = &str>,
) -> Result<BTreeSet<String>, Error> {
    let rows = db::query("select id from adjustments where id in {list $1}").list(ids).fetch_all(tx).await?;
    rows.iter().map(|row| Ok(row.get("id")?)).collect()
}

/// Loads one more adjustment.
pub(crate) async fn load_adjustment(tx: &mut Tx, id: &str, unit: &mut UnitOfWork) -> Result<(), Error> {
    load_adjustments(tx, &[id].into(), unit).await
}

/// Saves what changed.
pub(crate) async fn save(tx: &mut Tx, unit: &UnitOfWork) -> Result<(), Error> {
    save_levels(tx, unit).await?;
    save_reservations(tx, unit).await?;
    save_movements(tx, &unit.movements, unit.now).await?;
    let adjustments = unit.new_adjustments.iter().map(|adjustment| {
        vec![
            adjustment.request.id.as_str().into(),
            adjustment.request.key.product_id.as_str().into(),
            adjustment.request.key.place_id.as_str().into(),
            adjustment.request.delta.into(),
            adjustment.request.reason.as_str().into(),
            adjustment.balance.into(),
            adjustment.request.actor.as_str().into(),
            adjustment.at.micros().into(),
        ]
    });
    db::insert(
        "adjustments",
        &["id", "product_id", "place_id", "delta", "reason", "balance", "actor", "at"],
        adjustments,
    )
    .execute(tx)
    .await?;
    Ok(())
}

async fn save_levels(tx: &mut Tx, unit: &UnitOfWork) -> Result<(), Error> {
    let rows = unit.changed_levels.iter().filter_map(|key| {
        let level = unit.levels.get(key)?;
        Some(vec![
            key.product_id.as_str().into(),
            key.place_id.as_str().into(),
            level.on_hand.into(),
            level.reserved.into(),
            level.threshold.into(),
            level.sequence.into(),
        ])
    });
    db::insert("levels", &["product_id", "place_id", "on_hand", "reserved", "threshold", "sequence"], rows)
        .suffix(
            "on conflict (product_id, place_id) do update set on_hand = excluded.on_hand,
         reserved = excluded.reserved, threshold = excluded.threshold, sequence = excluded.sequence",
        )
        .execute(tx)
        .await?;
    Ok(())
}

async fn save_reservations(tx: &mut Tx, unit: &UnitOfWork) -> Result<(), Error> {
    let rows = unit.changed_reservations.iter().filter_map(|id| {
        let reservation = unit.reservations.get(id)?;
        Some(vec![
            reservation.order_id.as_str().into(),
            reservation.place_id.as_ref().map(|id| id.as_str()).into(),
            reservation.state.as_str().into(),
            reservation.sequence.into(),
            reservation.expires_at.micros().into(),
            reservation.created_at.micros().into(),
            reservation.updated_at.micros().into(),
        ])
    });
    db::insert(
        "reservations",
        &["order_id", "place_id", "state", "sequence", "expires_at", "created_at", "updated_at"],
        rows,
    )
    .suffix(
        "on conflict (order_id) do update set place_id = excluded.place_id, state = excluded.state, sequence = excluded.sequence,
         expires_at = excluded.expires_at, updated_at = excluded.updated_at",
    )
    .execute(tx)
    .await?;
    let rows = unit.changed_lines.iter().filter_map(|(order_id, product_id)| {
        let line = unit.reservations.get(order_id)?.lines.get(product_id)?;
        Some(vec![order_id.as_str().into(), product_id.as_str().into(), line.quantity.into(), line.restocked.into()])
    });
    db::insert("reservation_lines", &["order_id", "product_id", "quantity", "restocked"], rows)
        .suffix(
            "on conflict (order_id, product_id) do update set quantity = excluded.quantity,
             restocked = excluded.restocked",
        )
        .execute(tx)
        .await?;
    for (order_id, product_id) in &unit.removed_lines {
        db::query("delete from reservation_lines where order_id = $1 and product_id = $2")
            .bind(order_id.as_str())
            .bind(product_id.as_str())
            .execute(tx)
            .await?;
    }
    Ok(())
}

async fn save_movements(tx: &mut Tx, movements: &[Movement], now: Timestamp) -> Result<(), Error> {
    let rows = movements.iter().map(|movement| -> Vec<Value> {
        vec![
            // Not generated by the engine: these ids sort by time on every engine.
            Id::<()>::new().as_str().into(),
            movement.key.product_id.as_str().into(),
            movement.key.place_id.as_str().into(),
            movement.kind.as_str().into(),
            movement.quantity.into(),
            movement.balance.into(),
            movement.cause.as_str().into(),
            movement.reason.as_str().into(),
            movement.actor.as_str().into(),
            now.micros().into(),
        ]
    });
    db::insert(
        "ledger",
        &["id", "product_id", "place_id", "kind", "quantity", "balance", "cause", "reason", "actor", "at"],
        rows,
    )
    .execute(tx)
    .await?;
    Ok(())
}

/// Orders whose reservation has expired; one that would expire after `latest` has.
pub(crate) async fn expired(tx: &mut Tx, now: Timestamp, latest: Timestamp, limit: i64) -> Result<Vec<OrderId>, Error> {
    let rows = db::query(
        "select order_id from reservations where state = 'held' and (expires_at <= $1 or expires_at > $3)
         order by expires_at limit $2",
    )
    .bind(now.micros())
    .bind(limit)
    .bind(latest.micros())
    .fetch_all(tx)
    .await?;
    rows.iter().map(|row| Ok(OrderId::trusted(row.get("order_id")?))).collect()
}

/// The number of orders with a held reservation, and of the pieces reserved for them. Reads the index of held reservations,
/// and their lines.
pub(crate) async fn held(tx: &mut Tx) -> Result<(i64, i64), db::Error> {
    let row = db::query(
        "select (select count(*) from reservations where state = 'held') as orders,
                cast(coalesce((select sum(l.quantity) from reservations r join reservation_lines l on l.order_id = r.order_id
                               where r.state = 'held'), 0) as bigint) as pieces",
    )
    .fetch_one(tx)
    .await?;
    Ok((row.get("orders")?, row.get("pieces")?))
}

/// Reservations for the audit, past `after` by order id, with their lines.
pub(crate) async fn audit_page(tx: &mut Tx, after: &str, limit: i64) -> Result<Vec<Reservation>, Error> {
    let rows = db::query("select order_id from reservations where order_id > $1 order by order_id limit $2")
        .bind(after)
        .bind(limit)
        .fetch_all(tx)
        .await?;
    let ids = rows.iter().map(|row| row.get("order_id")).collect::<Result<Vec<String>, _>>()?;
    let mut unit = UnitOfWork::default();
    load_reservations(tx, &ids.iter().map(String::as_str).collect(), &mut unit).await?;
    // In the order of the database, which is not that of bytes: the next page starts after the last one.
    Ok(ids.into_iter().filter_map(|id| unit.reservations.remove(&OrderId::trusted(id))).collect())
}

pub(super) fn key(row: &Row) -> Result<StockKey, Error> {
    Ok(StockKey {
        place_id: PlaceId::trusted(row.get("place_id")?),
        product_id: ProductId::trusted(row.get("product_id")?),
    })
}

pub(super) fn level(row: &Row) -> Result<(StockKey, Level), Error> {
    let level = Level {
        on_hand: row.get("on_hand")?,
        reserved: row.get("reserved")?,
        threshold: row.get("threshold")?,
        sequence: row.get("sequence")?,
    };
    Ok((key(row)?, level))
}

fn reservation(row: &Row) -> Result<Reservation, Error> {
    Ok(Reservation {
        order_id: OrderId::trusted(row.get("order_id")?),
        place_id: row.get::<Option<String>>("place_id")?.map(PlaceId::trusted),
        state: ReservationState::parse(&row.get::<String>("state")?).ok_or(Error::Corrupt("state"))?,
        lines: BTreeMap::new(),
        sequence: row.get("sequence")?,
        expires_at: Timestamp::from_micros(row.get("expires_at")?),
        created_at: Timestamp::from_micros(row.get("created_at")?),
        updated_at: Timestamp::from_micros(row.get("updated_at")?),
    })
}
