//! Carts and their items.
//!
//! A change of a cart locks its name ([`lock_name`]) and writes it at the version that it read ([`save`]). Only the end of a
//! checkout is written without the lock: no request changes a cart that is being checked out.

use std::collections::HashMap;

use commerce::{Amount, Id, OrderId, Quantity, Timestamp, page::PageRequest};
use db::{Result, Row, Tx, insert, query};

use super::OrderInsert;
use crate::domain::{Cart, CartId, Item, Order, SagaState};

const COLUMNS: &str =
    "id, customer_id, place_id, order_id, checking_out, last_order_id, created_at, updated_at, version";

/// The name to lock before a cart is changed.
pub(crate) fn lock_name(id: &str) -> String {
    format!("cart/{id}")
}

/// Which carts a list contains.
#[derive(Debug, Clone, Default)]
pub(crate) struct CartFilter {
    /// The number of an item that the cart contains.
    pub(crate) item_number: Option<i64>,
    pub(crate) customer_id: Option<String>,
}

impl CartFilter {
    fn conditions(&self) -> db::Filter {
        let mut filter = db::Filter::new("1 = 1");
        if let Some(number) = self.item_number {
            filter.and("id in (select cart_id from cart_items where number = ?)", number);
        }
        if let Some(customer) = &self.customer_id {
            filter.and("customer_id = ?", customer);
        }
        filter
    }
}

/// A cart by its id.
pub(crate) async fn find(tx: &mut Tx, id: &str) -> Result<Option<Cart>> {
    let rows = query(format!("select {COLUMNS} from carts where id = $1")).bind(id).fetch_all(tx).await?;
    Ok(with_items(tx, &rows).await?.pop())
}

/// A page of carts, last changed first.
pub(crate) async fn list(tx: &mut Tx, filter: &CartFilter, page: &PageRequest<(i64, String)>) -> Result<Vec<Cart>> {
    let mut conditions = filter.conditions();
    if let Some((at, id)) = &page.after {
        conditions.and_all("(updated_at, id) < (?, ?)", [(*at).into(), id.into()]);
    }
    let text =
        format!("select {COLUMNS} from carts where {{where}} order by updated_at desc, id desc limit ? offset ?");
    let rows = conditions.query(&text, [page.fetch().into(), page.offset.into()]).fetch_all(tx).await?;
    with_items(tx, &rows).await
}

/// How many carts the filter matches.
pub(crate) async fn count(tx: &mut Tx, filter: &CartFilter) -> Result<u64> {
    filter.conditions().count("carts", tx).await
}

async fn with_items(tx: &mut Tx, rows: &[Row]) -> Result<Vec<Cart>> {
    let mut carts = rows.iter().map(read_cart).collect::<Result<Vec<Cart>>>()?;
    if carts.is_empty() {
        return Ok(carts);
    }
    let found = query(
        "select cart_id, product_id, id, number, name, unit_price, available, gone, quantity
         from cart_items where cart_id in {list $1} order by cart_id, number",
    )
    .list(carts.iter().map(|cart| cart.id.as_str()))
    .fetch_all(tx)
    .await?;
    let mut items: HashMap<String, Vec<Item>> = HashMap::new();
    for row in &found {
        items.entry(row.get("cart_id")?).or_default().push(read_item(row)?);
    }
    for cart in &mut carts {
        cart.items = items.remove(cart.id.as_str()).unwrap_or_default();
    }
    Ok(carts)
}

fn read_cart(row: &Row) -> Result<Cart> {
    let optional = |column: &str| row.get::<Option<String>>(column);
    let time = |column: &str| row.get::<i64>(column).map(Timestamp::from_micros);
    Ok(Cart {
        id: Id::trusted(row.get("id")?),
        customer_id: optional("customer_id")?.map(Id::trusted),
        place_id: optional("place_id")?.map(Id::trusted),
        items: Vec::new(),
        order_id: Id::trusted(row.get("order_id")?),
        checking_out: row.get("checking_out")?,
        last_order_id: optional("last_order_id")?.map(Id::trusted),
        created_at: time("created_at")?,
        updated_at: time("updated_at")?,
        version: row.get("version")?,
    })
}

fn read_item(row: &Row) -> Result<Item> {
    let quantity = Quantity::new(row.get("quantity")?);
    Ok(Item {
        id: Id::trusted(row.get("id")?),
        number: row.get("number")?,
        product_id: Id::trusted(row.get("product_id")?),
        name: row.get("name")?,
        quantity: quantity.map_err(|_| db::Error::Unreadable("cart_items.quantity"))?,
        unit_price: Amount::from_minor(row.get("unit_price")?),
        available: row.get("available")?,
        gone: row.get("gone")?,
    })
}

/// Writes a cart that was read with version `read_version` (0: it did not exist). False when its version has changed or it is
/// being checked out; then nothing is written.
pub(crate) async fn save(tx: &mut Tx, cart: &Cart, read_version: i64) -> Result<bool> {
    let row = vec![
        cart.id.as_str().into(),
        cart.customer_id.as_ref().map(|id| id.as_str()).into(),
        cart.place_id.as_ref().map(|id| id.as_str()).into(),
        cart.order_id.as_str().into(),
        cart.created_at.micros().into(),
        cart.updated_at.micros().into(),
        cart.version.into(),
    ];
    let written = if read_version == 0 {
        const NEW: &[&str] = &["id", "customer_id", "place_id", "order_id", "created_at", "updated_at", "version"];
        insert("carts", NEW, [row]).suffix("on conflict (id) do nothing").execute(tx).await?
    } else {
        query("update carts set updated_at = $2, version = $3 where id = $1 and version = $4 and checking_out = 0")
            .bind(cart.id.as_str())
            .bind(cart.updated_at.micros())
            .bind(cart.version)
            .bind(read_version)
            .execute(tx)
            .await?
    };
    if written == 0 {
        return Ok(false);
    }
    query("delete from cart_items where cart_id = $1 and not (product_id in {list $2})")
        .bind(cart.id.as_str())
        .list(cart.items.iter().map(|item| item.product_id.as_str()))
        .execute(tx)
        .await?;
    const ITEM: &[&str] =
        &["cart_id", "product_id", "id", "number", "name", "unit_price", "available", "gone", "quantity"];
    let rows = cart.items.iter().map(|item| {
        vec![
            cart.id.as_str().into(),
            item.product_id.as_str().into(),
            item.id.as_str().into(),
            item.number.into(),
            item.name.as_str().into(),
            item.unit_price.minor().into(),
            item.available.into(),
            item.gone.into(),
            item.quantity.get().into(),
        ]
    });
    insert("cart_items", ITEM, rows)
        .suffix(
            "on conflict (cart_id, product_id) do update set name = excluded.name, unit_price = excluded.unit_price,
               available = excluded.available, gone = excluded.gone, quantity = excluded.quantity",
        )
        .execute(tx)
        .await?;
    Ok(true)
}

/// Allocates the number of a new item. The caller has locked its cart before: all take the two locks in the same order.
pub(crate) async fn next_item_number(tx: &mut Tx) -> Result<i64> {
    query("update counters set last = last + 1 where kind = 'cart_item' returning last")
        .fetch_one(tx)
        .await?
        .get("last")
}

/// What a checkout checks of its cart.
pub(super) struct CartState {
    pub(super) version: i64,
    pub(super) order_id: OrderId,
    pub(super) checking_out: bool,
}

/// The present states of the carts of new orders. Runs no statement when no order has a cart.
pub(super) async fn cart_states(tx: &mut Tx, inserts: &[&OrderInsert]) -> Result<HashMap<CartId, CartState>> {
    let ids: Vec<&CartId> = inserts.iter().filter_map(|new| new.order.cart_id.as_ref()).collect();
    if ids.is_empty() {
        return Ok(HashMap::new());
    }
    query("select id, version, order_id, checking_out from carts where id in {list $1}")
        .list(ids.into_iter().map(CartId::as_str))
        .fetch_all(tx)
        .await?
        .iter()
        .map(|row| {
            let state = CartState {
                version: row.get("version")?,
                order_id: Id::trusted(row.get("order_id")?),
                checking_out: row.get("checking_out")?,
            };
            Ok((Id::trusted(row.get("id")?), state))
        })
        .collect()
}

/// Marks the carts of new orders as being checked out. Their names are locked.
pub(super) async fn begin_checkouts(tx: &mut Tx, new: &[&OrderInsert]) -> Result<()> {
    let rows: Vec<_> = new
        .iter()
        .filter_map(|new| {
            let order = &new.order;
            let cart = order.cart_id.as_ref()?;
            Some(vec![cart.as_str().into(), order.place_id.as_str().into(), order.created_at.micros().into()])
        })
        .collect();
    if rows.is_empty() {
        return Ok(());
    }
    query(
        "update carts set checking_out = 1, version = version + 1, place_id = r.value->>1,
           updated_at = cast(r.value->>2 as bigint)
         from {rows $1} r where carts.id = r.value->>0",
    )
    .rows(rows)
    .execute(tx)
    .await?;
    Ok(())
}

/// Carts in a checkout whose order does not exist or has ended, for the audit: each checkout begins and ends in the transaction of
/// its order.
pub(crate) async fn stuck(tx: &mut Tx) -> Result<Vec<String>> {
    let text = "select id from carts where checking_out = 1
           and not exists (select 1 from orders where orders.id = carts.order_id and work is not null)";
    query(text).fetch_all(tx).await?.iter().map(|row| row.get("id")).collect()
}

/// A terminal order that was made of a cart.
pub(crate) struct FinishedCheckout<'a> {
    cart: &'a CartId,
    order: &'a OrderId,
    confirmed: bool,
    at: Timestamp,
}

impl<'a> FinishedCheckout<'a> {
    /// The finished checkout of a terminal order, if it was made of a cart.
    pub(crate) fn of(order: &'a Order) -> Option<Self> {
        let cart = order.cart_id.as_ref()?;
        Some(Self { cart, order: &order.id, confirmed: order.state == SagaState::Confirmed, at: order.updated_at })
    }
}

/// Ends the checkouts of carts that still belong to these orders: the cart of a confirmed order is emptied, that of a
/// cancelled order keeps its items; each gets the id of its next order.
pub(crate) async fn finish_checkouts(tx: &mut Tx, finished: &[FinishedCheckout<'_>]) -> Result<()> {
    if finished.is_empty() {
        return Ok(());
    }
    let rows: Vec<Vec<db::Value>> = finished
        .iter()
        .map(|checkout| {
            vec![
                checkout.cart.as_str().into(),
                checkout.order.as_str().into(),
                OrderId::new().as_str().into(),
                checkout.confirmed.then(|| checkout.order.as_str()).into(),
                checkout.at.micros().into(),
            ]
        })
        .collect();
    // No request changes the items of a cart that is being checked out.
    query(
        "delete from cart_items where cart_id in (
           select c.id from {rows $1} r join carts c on c.id = r.value->>0 and c.order_id = r.value->>1
           where r.value->>3 is not null)",
    )
    .rows(rows.clone())
    .execute(tx)
    .await?;
    query(
        "update carts set checking_out = 0, order_id = r.value->>2, last_order_id = coalesce(r.value->>3, last_order_id),
           version = version + 1, updated_at = cast(r.value->>4 as bigint)
         from {rows $1} r where carts.id = r.value->>0 and carts.order_id = r.value->>1",
    )
    .rows(rows)
    .execute(tx)
    .await?;
    Ok(())
}
