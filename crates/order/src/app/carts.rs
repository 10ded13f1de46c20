//! Carts: create and edit them, and refresh them from catalogue and stock.

use std::collections::HashMap;

use chassis::{Kind, Problem};
use commerce::{CustomerId, Id, OrderId, PlaceId, ProductId, Quantity, Timestamp};

use super::App;
use idempotency::KeyedRequest;

use crate::{
    clients::CALL_TIMEOUT,
    domain::{Cart, CartError, CartId, Item, ItemChange, MAX_ITEMS, Offer},
    error::Error,
    store::{self, StoredResponse},
};

/// How often a cart is read and written again when its row changed in between.
pub(super) const MAX_ATTEMPTS: u32 = 20;

/// A cart by its id. A customer's cart exists even before its first item.
#[derive(Debug, Clone)]
pub(crate) struct CartRef {
    pub(crate) id: CartId,
    /// The owner; `None` for a guest's cart.
    pub(crate) customer_id: Option<CustomerId>,
}

/// An edit of a cart.
pub(crate) enum Edit {
    /// Adds pieces of a product.
    Add(Box<Item>),
    /// Sets the quantity of an item.
    SetQuantity(String, Quantity),
    /// Removes an item.
    Remove(String),
    /// Removes all items.
    Clear,
    /// Moves all items of a guest's cart into this one.
    Claim(String),
}

/// The result of an edit.
pub(crate) enum Edited {
    /// The same request was made before; its response.
    Repeated(StoredResponse),
    /// The cart after the edit, and the index of the edited item.
    Done(Box<Cart>, usize),
}

/// Reads a cart; 404 when it does not exist or has another owner.
pub(super) async fn load(tx: &mut db::Tx, cart_ref: &CartRef) -> Result<Cart, Error> {
    match store::carts::find(tx, cart_ref.id.as_str()).await? {
        Some(cart) if cart.customer_id == cart_ref.customer_id => Ok(cart),
        None if cart_ref.customer_id.is_some() => {
            let (id, customer) = (cart_ref.id.clone(), cart_ref.customer_id.clone());
            Ok(Cart::empty(id, customer, OrderId::new(), Timestamp::now()))
        }
        _ => Err(Problem::not_found("cart").into()),
    }
}

/// Whether a customer has a cart, or exists and so has an empty one.
pub(crate) async fn customer_cart_exists(app: &App, customer_id: &str) -> Result<bool, Error> {
    let mut tx = app.db.read().await?;
    let stored = store::carts::find(&mut tx, customer_id).await?.is_some();
    drop(tx);
    Ok(stored || app.clients.customer_exists(customer_id.to_owned()).await?)
}

/// The place whose stock a cart uses, if one is chosen.
pub(crate) async fn chosen_place(app: &App, cart_ref: &CartRef) -> Result<Option<PlaceId>, Error> {
    let mut tx = app.db.snapshot().await?;
    Ok(load(&mut tx, cart_ref).await?.place_id)
}

/// Creates an empty cart for a guest.
pub(crate) async fn create_guest_cart(
    app: &App,
    id: CartId,
    place_id: Option<PlaceId>,
    keyed: Option<KeyedRequest>,
    render: impl Fn(&Cart) -> StoredResponse,
) -> Result<StoredResponse, Error> {
    if let Some(place) = &place_id
        && !app.clients.place_exists(place.as_str()).await?
    {
        return Err(Problem::invalid("place_id", "exists", "there is no such place").into());
    }
    let now = Timestamp::now();
    let mut cart = Cart::empty(id, None, OrderId::new(), now);
    (cart.place_id, cart.version) = (place_id, 1);
    let mut tx = app.db.write().await?;
    if let Some(response) = find_response(&mut tx, keyed.as_ref()).await? {
        return Ok(response);
    }
    store::carts::save(&mut tx, &cart, 0).await?;
    let response = render(&cart);
    store_response(&mut tx, keyed.as_ref(), &cart, &response).await?;
    tx.commit().await?;
    Ok(response)
}

/// Edits a cart, unless the same request did before. 412 when `if_version` is not the cart's version.
pub(crate) async fn edit(
    app: &App,
    cart_ref: &CartRef,
    edit: &Edit,
    if_version: Option<i64>,
    keyed: Option<&KeyedRequest>,
    render: impl Fn(&Cart, usize) -> StoredResponse,
) -> Result<Edited, Error> {
    // Other edits wait for the cart's lock. Only the pruning of old guests' carts can change a row between read and write.
    for _ in 0..MAX_ATTEMPTS {
        let mut tx = app.db.write().await?;
        if let Some(response) = find_response(&mut tx, keyed).await? {
            return Ok(Edited::Repeated(response));
        }
        let guest = match edit {
            Edit::Claim(guest) => Some(store::carts::lock_name(guest)),
            _ => None,
        };
        tx.lock([store::carts::lock_name(cart_ref.id.as_str())].into_iter().chain(guest)).await?;
        let mut cart = load(&mut tx, cart_ref).await?;
        let read_version = cart.version;
        check_version(if_version, read_version)?;
        let now = Timestamp::now();
        let (index, claimed) = apply(&mut tx, &mut cart, edit).await?;
        (cart.version, cart.updated_at) = (read_version + 1, now);
        // The guest's cart is saved first: the number of an item is in one cart at a time.
        if let Some(mut guest) = claimed {
            let read_version = guest.version;
            (guest.version, guest.updated_at) = (read_version + 1, now);
            if !store::carts::save(&mut tx, &guest, read_version).await? {
                continue;
            }
        }
        if !store::carts::save(&mut tx, &cart, read_version).await? {
            continue;
        }
        if keyed.is_some() {
            let response = render(&cart, index);
            store_response(&mut tx, keyed, &cart, &response).await?;
        }
        tx.commit().await?;
        return Ok(Edited::Done(Box::new(cart), index));
    }
    Err(contended().into())
}

/// Applies an edit to a cart in memory. Returns the index of the edited item, and the guest's cart that was claimed.
async fn apply(tx: &mut db::Tx, cart: &mut Cart, edit: &Edit) -> Result<(usize, Option<Cart>), Error> {
    let mut claimed = None;
    let index = match edit {
        Edit::Add(item) => {
            let mut item = item.as_ref().clone();
            if cart.check_editable().is_ok() && !cart.contains(&item.product_id) {
                item.number = store::carts::next_item_number(tx).await?;
            }
            cart.add(item)
        }
        Edit::SetQuantity(id, quantity) => cart.set_quantity(id, *quantity),
        Edit::Remove(id) => cart.remove(id).map(|_| 0),
        Edit::Clear => cart.clear().map(|()| 0),
        Edit::Claim(guest_id) => {
            let found = store::carts::find(tx, guest_id).await?.filter(|guest| guest.customer_id.is_none());
            let Some(mut guest) = found else {
                return Err(Problem::invalid("guest_id", "exists", "there is no such cart of a guest").into());
            };
            let moved = cart.claim(&mut guest).map(|()| 0);
            claimed = Some(guest);
            moved
        }
    };
    Ok((index.map_err(refused)?, claimed))
}

/// A cart at the present prices and availability, with the changes of each item since it was last read; the new values are
/// stored. A peer service that does not answer in time leaves its values unchanged.
pub(crate) async fn refresh_cart(app: &App, cart_ref: &CartRef) -> Result<(Cart, Vec<Vec<ItemChange>>), Error> {
    let mut attempt = 0;
    loop {
        attempt += 1;
        let mut tx = app.db.snapshot().await?;
        let mut cart = load(&mut tx, cart_ref).await?;
        drop(tx);
        if cart.items.is_empty() || cart.checking_out {
            let unchanged = vec![Vec::new(); cart.items.len()];
            return Ok((cart, unchanged));
        }
        let ids: Vec<String> = cart.items.iter().map(|item| item.product_id.to_string()).collect();
        let (offers, available) =
            tokio::join!(offers(app, ids.clone()), availability(app, cart.place_id.as_ref(), &ids));
        let (before, read_version) = (cart.items.clone(), cart.version);
        let changes = cart.refresh(offers.as_ref(), available.as_ref());
        if cart.items == before {
            return Ok((cart, changes));
        }
        let refreshed = Cart { version: read_version + 1, updated_at: Timestamp::now(), ..cart.clone() };
        let mut tx = app.db.write().await?;
        tx.lock([store::carts::lock_name(refreshed.id.as_str())]).await?;
        if store::carts::save(&mut tx, &refreshed, read_version).await? {
            tx.commit().await?;
            return Ok((refreshed, changes));
        }
        // A cart that is edited all the time is shown without storing the new values.
        if attempt == MAX_ATTEMPTS {
            return Ok((cart, changes));
        }
    }
}

/// What the catalogue sells of these products; `None` when it does not answer.
async fn offers(app: &App, ids: Vec<String>) -> Option<HashMap<String, Offer>> {
    let found = tokio::time::timeout(CALL_TIMEOUT, app.clients.products(ids)).await.ok()?.ok()?;
    let sold = found.into_values().filter(|product| product.active && product.currency == app.config.currency);
    Some(sold.map(|p| (p.id, Offer { name: p.name, unit_price: p.price })).collect())
}

/// The available pieces of these products; `None` when the stock service does not answer.
async fn availability(app: &App, place_id: Option<&PlaceId>, ids: &[String]) -> Option<HashMap<String, i64>> {
    let place = place_id.map_or(app.config.default_place.as_str(), |id| id.as_str());
    tokio::time::timeout(CALL_TIMEOUT, app.clients.available(place, ids)).await.ok()?.ok()
}

/// An item of a product at its present price, to be added to a cart. It gets its number when it is added.
pub(crate) async fn new_item(
    app: &App,
    cart_ref: &CartRef,
    product_id: ProductId,
    quantity: Quantity,
) -> Result<Item, Error> {
    let ids = vec![product_id.to_string()];
    let mut tx = app.db.read().await?;
    let place = store::carts::find(&mut tx, cart_ref.id.as_str()).await?.and_then(|cart| cart.place_id);
    drop(tx);
    let products = async { app.clients.products(ids.clone()).await.map_err(Error::from) };
    let (products, available) = tokio::join!(products, availability(app, place.as_ref(), &ids));
    let Some(product) = products?.remove(product_id.as_str()).filter(|product| product.active) else {
        let message = format!("the catalogue does not sell `{product_id}`");
        return Err(Problem::invalid("product_id", "exists", message).into());
    };
    if product.currency != app.config.currency {
        let message = format!("`{product_id}` is sold in {}", product.currency);
        return Err(Problem::invalid("product_id", "currency", message).into());
    }
    Ok(Item {
        id: Id::new(),
        number: 0,
        available: available.map(|pieces| pieces.get(product_id.as_str()).copied().unwrap_or(0)),
        product_id,
        name: product.name,
        quantity,
        unit_price: product.price,
        gone: false,
    })
}

/// 412 when a request names another version than the cart's.
pub(super) fn check_version(if_version: Option<i64>, version: i64) -> Result<(), Problem> {
    match if_version {
        Some(expected) if expected != version => {
            Err(Problem::new(Kind::Stale, format!("The cart has changed: its version is {version}. Read it again.")))
        }
        _ => Ok(()),
    }
}

/// The problem of a cart that changed on every attempt.
pub(super) fn contended() -> Problem {
    Problem::new(Kind::Conflict, "The cart is being changed by others; try again.").with_code("cart.changed")
}

fn refused(why: CartError) -> Problem {
    match why {
        CartError::CheckingOut(order) => Problem::new(
            Kind::Conflict,
            format!("The cart is being checked out as order {order}; wait for its outcome."),
        )
        .with_code("cart.checking_out")
        .with("order_id", order),
        CartError::UnknownItem => Problem::not_found("item"),
        CartError::TooMany => {
            Problem::invalid("quantity", "range", format!("at most {} pieces of a product", Quantity::MAX))
        }
        CartError::Full => Problem::invalid("product_id", "length", format!("at most {MAX_ITEMS} products in a cart")),
    }
}

/// The response to the same request before. Locks the key until the transaction ends.
async fn find_response(tx: &mut db::Tx, keyed: Option<&KeyedRequest>) -> Result<Option<StoredResponse>, Error> {
    let Some(keyed) = keyed else { return Ok(None) };
    idempotency::lock(tx, &keyed.key).await?;
    let Some((_, hash, response)) = store::find_key(tx, &keyed.key).await? else { return Ok(None) };
    if !keyed.fingerprint.is(&hash) {
        return Err(idempotency::reused().into());
    }
    Ok(response)
}

async fn store_response(
    tx: &mut db::Tx,
    keyed: Option<&KeyedRequest>,
    cart: &Cart,
    response: &StoredResponse,
) -> Result<(), Error> {
    if let Some(keyed) = keyed {
        store::put_key_with_response(tx, keyed, cart.id.as_str(), cart.updated_at, response).await?;
    }
    Ok(())
}
