//! Checking out a cart: it becomes one order, however often that is requested.

use std::collections::BTreeMap;

use chassis::{Kind, Problem};
use commerce::{CustomerId, Id, OrderId, PlaceId, Timestamp};
use tokio::time::Instant;

use super::{
    App,
    carts::{CartRef, MAX_ATTEMPTS, check_version, contended, load},
    outcome::{Outcome, wait_for_outcome},
    place_order::{LineRequest, OrderRequest, place_order},
};
use idempotency::Key;

use crate::{
    domain::{Address, Cart, Channel, Item, PaymentMethod},
    error::Error,
    store::{self, StoredResponse, routes},
};

/// A request to check a cart out.
pub(crate) struct CheckoutRequest {
    pub(crate) cart: CartRef,
    pub(crate) buyer: Option<CustomerId>,
    pub(crate) place_id: Option<PlaceId>,
    pub(crate) method: PaymentMethod,
    pub(crate) shipping_address: Option<Address>,
    pub(crate) notes: Option<String>,
    pub(crate) payload_hash: String,
    pub(crate) key: Option<Key>,
    pub(crate) actor: String,
    /// The version that the cart must have.
    pub(crate) if_version: Option<i64>,
}

/// Makes an order of a cart, or finds the order of a running checkout, and waits for its outcome until `deadline`.
pub(crate) async fn check_out(app: &App, request: &CheckoutRequest, deadline: Instant) -> Result<Outcome, Error> {
    for _ in 0..MAX_ATTEMPTS {
        let mut tx = app.db.snapshot().await?;
        if let Some(key) = &request.key
            && let Some((target, hash, _)) = store::find_key(&mut tx, key).await?
        {
            drop(tx);
            check_payload(&hash, request)?;
            return wait_for_outcome(app, &Id::trusted(target), Some(key), deadline).await;
        }
        let cart = load(&mut tx, &request.cart).await?;
        drop(tx);
        if cart.checking_out {
            return join(app, &cart.order_id, request, deadline).await;
        }
        check_version(request.if_version, cart.version)?;
        if cart.items.is_empty() {
            return Err(empty(&cart).into());
        }
        match place_order(app, order_request(&cart, request), deadline).await? {
            Outcome::CartChanged => {}
            outcome => return Ok(outcome),
        }
    }
    Err(contended().into())
}

/// Waits for the order of a checkout that an earlier request started.
async fn join(app: &App, order_id: &OrderId, request: &CheckoutRequest, deadline: Instant) -> Result<Outcome, Error> {
    let mut tx = app.db.read().await?;
    let stored = store::get(&mut tx, order_id).await?;
    drop(tx);
    if stored.order.customer_id != request.buyer {
        // The id of a guest's cart gives no right to see who buys it.
        let other = Problem::new(Kind::Conflict, "Another customer is checking this cart out.");
        return Err(other.with_code("cart.checking_out").into());
    }
    if stored.work.is_none() {
        // A version without carts that took the order over has ended it and left the cart in its checkout.
        let mut tx = app.db.write().await?;
        tx.lock([store::carts::lock_name(request.cart.id.as_str())]).await?;
        let finished = store::carts::FinishedCheckout::of(&stored.order);
        store::carts::finish_checkouts(&mut tx, &Vec::from_iter(finished)).await?;
        tx.commit().await?;
    }
    if let Some(key) = &request.key {
        let mut tx = app.db.write().await?;
        tx.lock([key.lock_name()]).await?;
        if let Some((_, hash, _)) = store::find_key(&mut tx, key).await? {
            check_payload(&hash, request)?;
        } else {
            store::put_key(&mut tx, key, &request.payload_hash, order_id.as_str(), Timestamp::now()).await?;
            tx.commit().await?;
        }
    }
    wait_for_outcome(app, order_id, request.key.as_ref(), deadline).await
}

/// Stores the response for keys that joined a checkout after its terminal state was written.
pub(crate) async fn store_response(app: &App, order_id: &OrderId, response: &StoredResponse) -> Result<(), Error> {
    let mut tx = app.db.write().await?;
    store::put_response(&mut tx, routes::CART_CHECKOUTS, order_id.as_str(), response).await?;
    tx.commit().await?;
    Ok(())
}

fn order_request(cart: &Cart, request: &CheckoutRequest) -> OrderRequest {
    let line =
        |item: &Item| LineRequest::Product { id: item.product_id.clone(), quantity: item.quantity, unit_price: None };
    OrderRequest {
        id: Some(cart.order_id.clone()),
        customer_id: request.buyer.clone(),
        place_id: request.place_id.clone().or_else(|| cart.place_id.clone()),
        placed_at: None,
        currency: None,
        method: request.method,
        lines: cart.items.iter().map(line).collect(),
        adjustments: Vec::new(),
        shipping_address: request.shipping_address.clone(),
        notes: request.notes.clone(),
        metadata: BTreeMap::new(),
        channel: Channel::Web,
        cart: Some((cart.id.clone(), cart.version)),
        payload_hash: request.payload_hash.clone(),
        key: request.key.clone(),
        acknowledge_by: None,
        actor: request.actor.clone(),
    }
}

fn check_payload(hash: &str, request: &CheckoutRequest) -> Result<(), Problem> {
    if hash == request.payload_hash { Ok(()) } else { Err(idempotency::reused()) }
}

fn empty(cart: &Cart) -> Problem {
    let problem = |detail: String| Problem::new(Kind::Conflict, detail).with_code("cart.empty");
    match &cart.last_order_id {
        Some(order) => problem(format!("The cart is empty; its last order is {order}.")).with("order_id", order),
        None => problem("The cart is empty.".into()),
    }
}
