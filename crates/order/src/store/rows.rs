//! Rows as the domain's types, and back.

use std::collections::HashMap;

use commerce::{Amount, Currency, Id, LineId, OrderId, Quantity, Timestamp};
use db::{Result, Row, Tx, query};

use super::{Held, Lease};
use crate::domain::{Channel, Line, Order, Payment, PaymentMethod, State, Status};

/// The columns that [`held`] reads.
pub(super) const COLUMNS: &str =
    "id, number, customer_id, place_id, state, status, states, history, adjustments, total, currency,
  payment_method, payment_status, payment_id, reason, shipping, notes, placed_at, created_at, updated_at,
  version, sequence, archived, payload_hash, refusal, work, lease_owner, lease_epoch, lease_until,
  cart_id, channel, summed, metadata";

/// Texts that this service wrote itself and cannot read back: a defect, or another version's row.
fn unreadable(what: &'static str) -> db::Error {
    db::Error::Unreadable(what)
}

fn json<T: serde::de::DeserializeOwned>(text: &str, what: &'static str) -> Result<T> {
    serde_json::from_str(text).map_err(|_| unreadable(what))
}

pub(super) fn to_json(value: &impl serde::Serialize) -> String {
    // Plain structs and lists of them always serialise.
    serde_json::to_string(value).unwrap_or_default()
}

/// Reads orders without their lines.
fn held(row: &Row) -> Result<Held> {
    let optional = |column: &str| row.get::<Option<String>>(column);
    let time = |column: &str| row.get::<i64>(column).map(Timestamp::from_micros);
    let order = Order {
        id: Id::trusted(row.get("id")?),
        number: row.get("number")?,
        customer_id: optional("customer_id")?.map(Id::trusted),
        place_id: Id::trusted(row.get("place_id")?),
        channel: Channel::parse(&row.get::<String>("channel")?).ok_or_else(|| unreadable("orders.channel"))?,
        state: State::parse(&row.get::<String>("state")?).ok_or_else(|| unreadable("orders.state"))?,
        status: Status::parse(&row.get::<String>("status")?).ok_or_else(|| unreadable("orders.status"))?,
        states: json(&row.get::<String>("states")?, "orders.states")?,
        history: json(&row.get::<String>("history")?, "orders.history")?,
        lines: Vec::new(),
        adjustments: json(&row.get::<String>("adjustments")?, "orders.adjustments")?,
        total: Amount::from_minor(row.get("total")?),
        currency: row.get::<String>("currency")?.parse::<Currency>().map_err(|_| unreadable("orders.currency"))?,
        payment: Payment {
            method: PaymentMethod::parse(&row.get::<String>("payment_method")?)
                .ok_or_else(|| unreadable("orders.payment_method"))?,
            status: row.get("payment_status")?,
            id: optional("payment_id")?.map(Id::trusted),
        },
        reason: optional("reason")?,
        shipping_address: optional("shipping")?.map(|text| json(&text, "orders.shipping")).transpose()?,
        notes: optional("notes")?,
        placed_at: time("placed_at")?,
        created_at: time("created_at")?,
        updated_at: time("updated_at")?,
        version: row.get("version")?,
        sequence: row.get("sequence")?,
        metadata: optional("metadata")?.map(|text| json(&text, "orders.metadata")).transpose()?.unwrap_or_default(),
        archived: row.get("archived")?,
        cart_id: optional("cart_id")?.map(Id::trusted),
    };
    Ok(Held {
        order,
        work: optional("work")?.map(|text| json(&text, "orders.work")).transpose()?,
        lease: Lease { owner: row.get("lease_owner")?, epoch: row.get("lease_epoch")?, until: time("lease_until")? },
        payload_hash: row.get("payload_hash")?,
        refusal: optional("refusal")?.map(|text| json(&text, "orders.refusal")).transpose()?,
        summed: row.get("summed")?,
    })
}

/// Reads orders and their lines, in the rows' order.
pub(super) async fn with_lines(tx: &mut Tx, rows: &[Row]) -> Result<Vec<Held>> {
    let orders = rows.iter().map(held).collect::<Result<Vec<Held>>>()?;
    add_lines(tx, orders).await
}

/// The same, without those that cannot be read: one damaged row must not keep the others from being driven.
pub(super) async fn readable(tx: &mut Tx, rows: &[Row]) -> Result<Vec<Held>> {
    let mut orders = Vec::with_capacity(rows.len());
    for row in rows {
        match held(row) {
            Ok(held) => orders.push(held),
            Err(error) => {
                let id: String = row.get("id").unwrap_or_default();
                tracing::error!(
                    order.id = id,
                    error = &error as &dyn std::error::Error,
                    "an open order cannot be read"
                );
            }
        }
    }
    add_lines(tx, orders).await
}

async fn add_lines(tx: &mut Tx, mut orders: Vec<Held>) -> Result<Vec<Held>> {
    let mut lines: HashMap<OrderId, Vec<Line>> = HashMap::new();
    let found = query(
        "select order_id, position, product_id, name, quantity, returned, unit_price
         from order_lines where order_id in {list $1} order by order_id, position",
    )
    .list(orders.iter().map(|held| held.order.id.as_str()))
    .fetch_all(tx)
    .await?;
    for row in &found {
        let order_id: OrderId = Id::trusted(row.get("order_id")?);
        lines.entry(order_id).or_default().push(line(row)?);
    }
    for held in &mut orders {
        held.order.lines = lines.remove(&held.order.id).unwrap_or_default();
    }
    Ok(orders)
}

fn line(row: &Row) -> Result<Line> {
    let quantity = Quantity::new(row.get("quantity")?).map_err(|_| unreadable("order_lines.quantity"))?;
    let unit_price = Amount::from_minor(row.get("unit_price")?);
    Ok(Line {
        line_id: line_id(row.get("position")?),
        product_id: row.get::<Option<String>>("product_id")?.map(Id::trusted),
        name: row.get("name")?,
        quantity,
        returned: u32::try_from(row.get::<i64>("returned")?).map_err(|_| unreadable("order_lines.returned"))?,
        unit_price,
        subtotal: unit_price.checked_mul(quantity).ok_or_else(|| unreadable("order_lines.unit_price"))?,
    })
}

/// Lines are named by their position, from 1.
pub(crate) fn line_id(position: i64) -> LineId {
    Id::trusted(position.to_string())
}
