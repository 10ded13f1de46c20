//! Carts and what is in them.
//!
//! Whoever changes a cart takes its name ([`name`]) first and writes it as he read it ([`save`]). Only what became of its
//! order is written without the name, since nobody else changes a cart that is checking out.

use std::collections::HashMap;

use commerce::{Amount, Id, OrderId, Quantity, Timestamp, page::PageRequest};
use db::{Result, Row, Tx, insert, query};

use super::Placement;
use crate::domain::{Cart, CartId, Item, Order, State};

const COLUMNS: &str =
    "id, customer_id, place_id, order_id, checking_out, last_order_id, created_at, updated_at, version";

/// The name to be locked before a cart is changed.
pub(crate) fn name(id: &str) -> String {
    format!("cart/{id}")
}

/// Which carts a list is to hold.
#[derive(Debug, Clone, Default)]
pub(crate) struct Filter {
    /// The one that holds the item with this number.
    pub(crate) item_number: Option<i64>,
    /// Of this customer.
    pub(crate) customer_id: Option<String>,
}

impl Filter {
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

/// Carts, the one that changed last first, past the window's `after`.
pub(crate) async fn list(tx: &mut Tx, filter: &Filter, window: &PageRequest<(i64, String)>) -> Result<Vec<Cart>> {
    let mut conditions = filter.conditions();
    if let Some((at, id)) = &window.after {
        conditions.and_all("(updated_at, id) < (?, ?)", [(*at).into(), id.into()]);
    }
    let text =
        format!("select {COLUMNS} from carts where {{where}} order by updated_at desc, id desc limit ? offset ?");
    let rows = conditions.query(&text, [window.fetch().into(), window.offset.into()]).fetch_all(tx).await?;
    with_items(tx, &rows).await
}

/// How many carts the filter leaves.
pub(crate) async fn count(tx: &mut Tx, filter: &Filter) -> Result<u64> {
    filter.conditions().count("carts", tx).await
}

async fn with_items(tx: &mut Tx, rows: &[Row]) -> Result<Vec<Cart>> {
    let mut carts = rows.iter().map(cart).collect::<Result<Vec<Cart>>>()?;
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
        items.entry(row.get("cart_id")?).or_default().push(item(row)?);
    }
    for cart in &mut carts {
        cart.items = items.remove(cart.id.as_str()).unwrap_or_default();
    }
    Ok(carts)
}

fn cart(row: &Row) -> Result<Cart> {
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

fn item(row: &Row) -> Result<Item> {
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

/// Writes a cart that was read with version `read` (0: it was not there); false when somebody changed it meanwhile.
pub(crate) async fn save(tx: &mut Tx, cart: &Cart, read: i64) -> Result<bool> {
    let row = vec![
        cart.id.as_str().into(),
        cart.customer_id.as_ref().map(|id| id.as_str()).into(),
        cart.place_id.as_ref().map(|id| id.as_str()).into(),
        cart.order_id.as_str().into(),
        cart.created_at.micros().into(),
        cart.updated_at.micros().into(),
        cart.version.into(),
    ];
    let written = if read == 0 {
        const NEW: &[&str] = &["id", "customer_id", "place_id", "order_id", "created_at", "updated_at", "version"];
        insert("carts", NEW, [row]).suffix("on conflict (id) do nothing").execute(tx).await?
    } else {
        query("update carts set updated_at = $2, version = $3 where id = $1 and version = $4 and checking_out = 0")
            .bind(cart.id.as_str())
            .bind(cart.updated_at.micros())
            .bind(cart.version)
            .bind(read)
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

/// A new item's number. Whoever asks holds his cart already, so that nobody waits in a circle.
pub(crate) async fn next_item_number(tx: &mut Tx) -> Result<i64> {
    query("update counters set last = last + 1 where kind = 'cart_item' returning last")
        .fetch_one(tx)
        .await?
        .get("last")
}

/// What a checkout must find: version, order, and whether it is checking out already.
pub(super) struct Standing {
    pub(super) version: i64,
    pub(super) order_id: OrderId,
    pub(super) checking_out: bool,
}

/// Where the carts of these placements stand. Costs nothing where none has a cart.
pub(super) async fn standing(tx: &mut Tx, placements: &[Placement]) -> Result<HashMap<CartId, Standing>> {
    let ids: Vec<&CartId> = placements.iter().filter_map(|p| p.order.cart_id.as_ref()).collect();
    if ids.is_empty() {
        return Ok(HashMap::new());
    }
    query("select id, version, order_id, checking_out from carts where id in {list $1}")
        .list(ids.into_iter().map(CartId::as_str))
        .fetch_all(tx)
        .await?
        .iter()
        .map(|row| {
            let standing = Standing {
                version: row.get("version")?,
                order_id: Id::trusted(row.get("order_id")?),
                checking_out: row.get("checking_out")?,
            };
            Ok((Id::trusted(row.get("id")?), standing))
        })
        .collect()
}

/// Has the carts of new orders become them. Their names are held.
pub(super) async fn begin(tx: &mut Tx, new: &[Placement]) -> Result<()> {
    let rows: Vec<_> = new
        .iter()
        .filter_map(|placement| {
            let order = &placement.order;
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

/// An order that was made of a cart and is terminal.
pub(crate) struct Ended<'a> {
    /// The cart.
    pub(crate) cart: &'a CartId,
    /// The order.
    pub(crate) order: &'a OrderId,
    /// Whether it was confirmed.
    pub(crate) sold: bool,
    /// When it last changed.
    pub(crate) at: Timestamp,
}

impl<'a> Ended<'a> {
    /// The end of an order, if it was made of a cart.
    pub(crate) fn of(order: &'a Order) -> Option<Self> {
        let cart = order.cart_id.as_ref()?;
        Some(Self { cart, order: &order.id, sold: order.state == State::Confirmed, at: order.updated_at })
    }
}

/// Lets go of carts that are still becoming these orders: empty where the goods are sold, as they were where not, and each
/// with the id of another order.
pub(crate) async fn end(tx: &mut Tx, ended: &[Ended<'_>]) -> Result<()> {
    if ended.is_empty() {
        return Ok(());
    }
    let rows: Vec<Vec<db::Value>> = ended
        .iter()
        .map(|end| {
            vec![
                end.cart.as_str().into(),
                end.order.as_str().into(),
                OrderId::new().as_str().into(),
                end.sold.then(|| end.order.as_str()).into(),
                end.at.micros().into(),
            ]
        })
        .collect();
    // Items of a cart that is checking out are the order's, and nobody else changes them.
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
