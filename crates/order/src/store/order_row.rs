//! The rows of `orders` and `order_lines`.
//!
//! A new column of `orders` is one line in [`COLUMNS`], which all statements are made of, and one in [`read`].

use std::collections::HashMap;

use commerce::{Amount, Currency, Id, LineId, OrderId, Quantity, Timestamp};
use db::{Result, Row, Tx, Value, query};

use super::{Lease, StoredOrder, StoredResponse};
use crate::domain::{Channel, Line, Order, Payment, PaymentMethod, PendingWork, SagaState, Status};

/// An order as it is to be written.
pub(super) struct OrderRow<'a> {
    pub(super) order: &'a Order,
    pub(super) work: Option<&'a PendingWork>,
    /// `None` in updates, which write no lease.
    pub(super) lease: Option<&'a Lease>,
    pub(super) payload_hash: &'a str,
    pub(super) refusal: Option<&'a StoredResponse>,
}

type Write = fn(&OrderRow<'_>) -> Value;

/// A column of `orders`.
struct Column {
    name: &'static str,
    is_bigint: bool,
    /// Whether a new order fills it; otherwise it has its default until an update fills it.
    is_inserted: bool,
    write: Write,
}

const fn text(name: &'static str, write: Write) -> Column {
    Column { name, is_bigint: false, is_inserted: true, write }
}

const fn bigint(name: &'static str, write: Write) -> Column {
    Column { name, is_bigint: true, is_inserted: true, write }
}

const fn later(column: Column) -> Column {
    Column { is_inserted: false, ..column }
}

const COLUMNS: &[Column] = &[
    text("id", |row| row.order.id.as_str().into()),
    bigint("number", |row| row.order.number.into()),
    text("customer_id", |row| row.order.customer_id.as_ref().map(|id| id.as_str()).into()),
    text("place_id", |row| row.order.place_id.as_str().into()),
    text("state", |row| row.order.state.as_str().into()),
    text("status", |row| row.order.status.as_str().into()),
    text("states", |row| to_json(&row.order.states).into()),
    text("history", |row| to_json(&row.order.history).into()),
    text("adjustments", |row| to_json(&row.order.adjustments).into()),
    bigint("total", |row| row.order.total.minor().into()),
    text("currency", |row| row.order.currency.as_str().into()),
    text("payment_method", |row| row.order.payment.method.as_str().into()),
    text("payment_status", |row| row.order.payment.status.as_str().into()),
    later(text("payment_id", |row| row.order.payment.id.as_ref().map(|id| id.as_str()).into())),
    later(text("reason", |row| row.order.reason.as_deref().into())),
    text("shipping", |row| row.order.shipping_address.as_ref().map(to_json).into()),
    text("notes", |row| row.order.notes.as_deref().into()),
    bigint("placed_at", |row| row.order.placed_at.micros().into()),
    bigint("created_at", |row| row.order.created_at.micros().into()),
    bigint("updated_at", |row| row.order.updated_at.micros().into()),
    bigint("version", |row| row.order.version.into()),
    bigint("sequence", |row| row.order.sequence.into()),
    later(bigint("archived", |row| row.order.archived.into())),
    text("payload_hash", |row| row.payload_hash.into()),
    later(text("refusal", |row| row.refusal.map(to_json).into())),
    text("work", |row| row.work.map(to_json).into()),
    text("lease_owner", |row| row.lease.map(|lease| lease.owner.as_str()).into()),
    bigint("lease_epoch", |row| row.lease.map(|lease| lease.epoch).into()),
    bigint("lease_until", |row| row.lease.map(|lease| lease.until.micros()).into()),
    text("cart_id", |row| row.order.cart_id.as_ref().map(|id| id.as_str()).into()),
    text("channel", |row| row.order.channel.as_str().into()),
    // Sales are added to the summaries in the transaction that confirms an order.
    bigint("summed", |row| (row.order.state == SagaState::Confirmed).into()),
    text("metadata", |row| (!row.order.metadata.is_empty()).then(|| to_json(&row.order.metadata)).into()),
];

const INSERT_COUNT: usize = {
    let (mut count, mut index) = (0, 0);
    while index < COLUMNS.len() {
        count += COLUMNS[index].is_inserted as usize;
        index += 1;
    }
    count
};

/// The columns that a new order fills.
pub(super) const INSERT_COLUMNS: [&str; INSERT_COUNT] = {
    let mut names = [""; INSERT_COUNT];
    let (mut count, mut index) = (0, 0);
    while index < COLUMNS.len() {
        if COLUMNS[index].is_inserted {
            names[count] = COLUMNS[index].name;
            count += 1;
        }
        index += 1;
    }
    names
};

/// All columns, for a `select` or `returning`.
pub(super) fn select_list() -> String {
    let names: Vec<&str> = COLUMNS.iter().map(|column| column.name).collect();
    names.join(", ")
}

impl<'a> OrderRow<'a> {
    /// A row for an update, which leaves payload hash, refusal and lease as they are.
    pub(super) fn update(order: &'a Order, work: Option<&'a PendingWork>) -> Self {
        Self { order, work, lease: None, payload_hash: "", refusal: None }
    }

    /// The cells of [`INSERT_COLUMNS`].
    pub(super) fn insert_cells(&self) -> Vec<Value> {
        COLUMNS.iter().filter(|column| column.is_inserted).map(|column| (column.write)(self)).collect()
    }

    /// The cells of these columns.
    pub(super) fn cells(&self, names: &[&str]) -> Vec<Value> {
        names.iter().map(|name| column(name).map_or(Value::Null, |column| (column.write)(self))).collect()
    }
}

fn column(name: &str) -> Option<&'static Column> {
    COLUMNS.iter().find(|column| column.name == name)
}

/// SQL for the cell of a column, which is the n-th of a row of `{rows …} r`.
pub(super) fn cell_sql(name: &str, index: usize) -> String {
    match column(name) {
        Some(Column { is_bigint: true, .. }) => format!("cast(r.value->>{index} as bigint)"),
        _ => format!("r.value->>{index}"),
    }
}

/// The cells of a line: of which order, at which position from 1.
pub(super) fn line_cells(order_id: &OrderId, position: i64, line: &Line) -> Vec<Value> {
    vec![
        order_id.as_str().into(),
        position.into(),
        line.product_id.as_ref().map(|id| id.as_str()).into(),
        line.name.as_str().into(),
        line.quantity.get().into(),
        line.returned.into(),
        line.unit_price.minor().into(),
    ]
}

/// The columns of [`line_cells`].
pub(super) const LINE_COLUMNS: &[&str] =
    &["order_id", "position", "product_id", "name", "quantity", "returned", "unit_price"];

/// A text that this service wrote and cannot read: a defect, or the row of another version.
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

/// Reads an order without its lines.
fn read(row: &Row) -> Result<StoredOrder> {
    let optional = |column: &str| row.get::<Option<String>>(column);
    let time = |column: &str| row.get::<i64>(column).map(Timestamp::from_micros);
    let order = Order {
        id: Id::trusted(row.get("id")?),
        number: row.get("number")?,
        customer_id: optional("customer_id")?.map(Id::trusted),
        place_id: Id::trusted(row.get("place_id")?),
        channel: Channel::parse(&row.get::<String>("channel")?).ok_or_else(|| unreadable("orders.channel"))?,
        state: SagaState::parse(&row.get::<String>("state")?).ok_or_else(|| unreadable("orders.state"))?,
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
    Ok(StoredOrder {
        order,
        work: optional("work")?.map(|text| json(&text, "orders.work")).transpose()?,
        lease: Lease { owner: row.get("lease_owner")?, epoch: row.get("lease_epoch")?, until: time("lease_until")? },
        payload_hash: row.get("payload_hash")?,
        refusal: optional("refusal")?.map(|text| json(&text, "orders.refusal")).transpose()?,
        summed: row.get("summed")?,
    })
}

/// Reads orders with their lines, in the order of the rows.
pub(super) async fn read_orders(tx: &mut Tx, rows: &[Row]) -> Result<Vec<StoredOrder>> {
    let orders = rows.iter().map(read).collect::<Result<Vec<StoredOrder>>>()?;
    with_lines(tx, orders).await
}

/// Like [`read_orders`], without the rows that cannot be read: one damaged row must not keep the other orders from being
/// taken over.
pub(super) async fn read_readable_orders(tx: &mut Tx, rows: &[Row]) -> Result<Vec<StoredOrder>> {
    let mut orders = Vec::with_capacity(rows.len());
    for row in rows {
        match read(row) {
            Ok(stored) => orders.push(stored),
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
    with_lines(tx, orders).await
}

async fn with_lines(tx: &mut Tx, mut orders: Vec<StoredOrder>) -> Result<Vec<StoredOrder>> {
    let mut lines: HashMap<OrderId, Vec<Line>> = HashMap::new();
    let found = query(
        "select order_id, position, product_id, name, quantity, returned, unit_price
         from order_lines where order_id in {list $1} order by order_id, position",
    )
    .list(orders.iter().map(|stored| stored.order.id.as_str()))
    .fetch_all(tx)
    .await?;
    for row in &found {
        let order_id: OrderId = Id::trusted(row.get("order_id")?);
        lines.entry(order_id).or_default().push(read_line(row)?);
    }
    for stored in &mut orders {
        stored.order.lines = lines.remove(&stored.order.id).unwrap_or_default();
    }
    Ok(orders)
}

fn read_line(row: &Row) -> Result<Line> {
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

/// The id of a line is its position in the order, from 1.
pub(crate) fn line_id(position: i64) -> LineId {
    Id::trusted(position.to_string())
}
