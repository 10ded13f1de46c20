//! Carts: filled by people, shown as the catalogue and the shelf are now, and made into an order once.

use std::collections::{BTreeMap, HashMap};

use chassis::{Kind, Problem};
use commerce::{CustomerId, Id, OrderId, PlaceId, Quantity, Timestamp};
use tokio::time::Instant;

use crate::{
    accept::{Asked, AskedLine, Outcome},
    checkout::Checkout,
    clients::STEP,
    domain::{Address, Cart, CartId, CartRefused, Change, Channel, Item, Offer, PaymentMethod},
    error::Error,
    store::{self, Answer, Key},
};

/// How often something is tried against others who change the cart at the same time.
const TRIES: u32 = 20;

/// A cart as somebody names it: a guest's, or that of a customer, which is there whether anything was put in or not.
#[derive(Debug, Clone)]
pub(crate) struct Whose {
    pub(crate) id: CartId,
    pub(crate) customer_id: Option<CustomerId>,
}

/// What is to be done to a cart.
pub(crate) enum Edit {
    /// Pieces of a product go in.
    Put(Box<Item>),
    /// An item is to have so many pieces.
    Set(String, Quantity),
    /// An item goes out.
    Take(String),
    /// All of them do.
    Clear,
    /// Those of a guest's cart come in.
    Claim(String),
}

/// A request's Idempotency-Key with what it asks for.
pub(crate) struct Keyed {
    pub(crate) key: Key,
    pub(crate) payload_hash: String,
}

/// What became of an edit.
pub(crate) enum Edited {
    /// The same request came before: its answer.
    Known(Answer),
    /// The cart as it is now, and the place of the item that it was about.
    Done(Box<Cart>, usize),
}

/// A checkout of a cart as somebody asks for it.
pub(crate) struct Press {
    pub(crate) cart: Whose,
    pub(crate) buyer: Option<CustomerId>,
    pub(crate) place_id: Option<PlaceId>,
    pub(crate) method: PaymentMethod,
    pub(crate) shipping_address: Option<Address>,
    pub(crate) notes: Option<String>,
    pub(crate) payload_hash: String,
    pub(crate) key: Option<Key>,
    pub(crate) actor: String,
    /// The version that the caller has seen, if he says.
    pub(crate) version: Option<i64>,
}

impl Checkout {
    /// The cart, if it is there: a customer's always is.
    pub(crate) async fn load_cart(&self, tx: &mut db::Tx, whose: &Whose) -> Result<Cart, Error> {
        match store::carts::find(tx, whose.id.as_str()).await? {
            Some(cart) if cart.customer_id == whose.customer_id => Ok(cart),
            None if whose.customer_id.is_some() => {
                let (id, customer) = (whose.id.clone(), whose.customer_id.clone());
                Ok(Cart::empty(id, customer, OrderId::new(), Timestamp::now()))
            }
            _ => Err(Problem::not_found("cart").into()),
        }
    }

    /// Makes an empty cart for a guest.
    pub(crate) async fn guest_cart(
        &self,
        id: CartId,
        place_id: Option<PlaceId>,
        keyed: Option<Keyed>,
        render: impl Fn(&Cart) -> Answer,
    ) -> Result<Answer, Error> {
        if let Some(place) = &place_id
            && !self.clients.place_exists(place.as_str()).await?
        {
            return Err(Problem::invalid("place_id", "exists", "there is no such place").into());
        }
        let now = Timestamp::now();
        let mut cart = Cart::empty(id, None, OrderId::new(), now);
        (cart.place_id, cart.version) = (place_id, 1);
        let mut tx = self.db.write().await?;
        if let Some(known) = known(&mut tx, keyed.as_ref()).await? {
            return Ok(known);
        }
        store::carts::save(&mut tx, &cart, 0).await?;
        let answer = render(&cart);
        note(&mut tx, keyed.as_ref(), &cart, &answer).await?;
        tx.commit().await?;
        Ok(answer)
    }

    /// Changes a cart, unless the same request did before. `version` is what the caller has seen, if he says.
    pub(crate) async fn edit_cart(
        &self,
        whose: &Whose,
        edit: &Edit,
        version: Option<i64>,
        keyed: Option<&Keyed>,
        render: impl Fn(&Cart, usize) -> Answer,
    ) -> Result<Edited, Error> {
        for _ in 0..TRIES {
            let mut tx = self.db.write().await?;
            if let Some(known) = known(&mut tx, keyed).await? {
                return Ok(Edited::Known(known));
            }
            let other = match edit {
                Edit::Claim(guest) => Some(store::carts::name(guest)),
                _ => None,
            };
            tx.lock([store::carts::name(whose.id.as_str())].into_iter().chain(other)).await?;
            let mut cart = self.load_cart(&mut tx, whose).await?;
            let read = cart.version;
            fresh(version, read)?;
            let now = Timestamp::now();
            let mut claimed = None;
            let done = match edit {
                Edit::Put(item) => {
                    let mut item = item.as_ref().clone();
                    if cart.changeable().is_ok() && !cart.holds(&item.product_id) {
                        item.number = store::carts::next_item_number(&mut tx).await?;
                    }
                    cart.put(item)
                }
                Edit::Set(id, quantity) => cart.set(id, *quantity),
                Edit::Take(id) => cart.take(id).map(|_| 0),
                Edit::Clear => cart.clear().map(|()| 0),
                Edit::Claim(guest) => {
                    let mut guest = store::carts::find(&mut tx, guest).await?.filter(|g| g.customer_id.is_none());
                    let Some(guest) = guest.as_mut() else {
                        return Err(Problem::invalid("guest_id", "exists", "there is no such cart of a guest").into());
                    };
                    let moved = cart.claim(guest).map(|()| 0);
                    claimed = Some((guest.version, guest.clone()));
                    moved
                }
            };
            let at = done.map_err(refused)?;
            (cart.version, cart.updated_at) = (read + 1, now);
            // First out, then in: an item's number is in one cart at a time.
            if let Some((read, mut guest)) = claimed {
                (guest.version, guest.updated_at) = (read + 1, now);
                if !store::carts::save(&mut tx, &guest, read).await? {
                    continue;
                }
            }
            if !store::carts::save(&mut tx, &cart, read).await? {
                continue;
            }
            if keyed.is_some() {
                let answer = render(&cart, at);
                note(&mut tx, keyed, &cart, &answer).await?;
            }
            tx.commit().await?;
            return Ok(Edited::Done(Box::new(cart), at));
        }
        Err(Problem::new(Kind::Conflict, "The cart is being changed by others; try again.").into())
    }

    /// A cart as the catalogue and the shelf are now, with what is different for each item; that is remembered. Whoever of
    /// them does not answer in time says nothing.
    pub(crate) async fn look_into(&self, whose: &Whose) -> Result<(Cart, Vec<Vec<Change>>), Error> {
        for last in (0..TRIES).map(|n| n + 1 == TRIES) {
            let mut tx = self.db.snapshot().await?;
            let mut cart = self.load_cart(&mut tx, whose).await?;
            drop(tx);
            if cart.items.is_empty() || cart.checking_out {
                let none = vec![Vec::new(); cart.items.len()];
                return Ok((cart, none));
            }
            let ids: Vec<String> = cart.items.iter().map(|item| item.product_id.to_string()).collect();
            let (offers, available) = tokio::join!(self.offers(ids.clone()), self.shelf(cart.place_id.as_ref(), &ids));
            let (before, read) = (cart.items.clone(), cart.version);
            let changes = cart.refresh(offers.as_ref(), available.as_ref());
            if cart.items == before {
                return Ok((cart, changes));
            }
            let seen = Cart { version: read + 1, updated_at: Timestamp::now(), ..cart.clone() };
            let mut tx = self.db.write().await?;
            tx.lock([store::carts::name(seen.id.as_str())]).await?;
            if store::carts::save(&mut tx, &seen, read).await? {
                tx.commit().await?;
                return Ok((seen, changes));
            }
            if last {
                return Ok((cart, changes));
            }
        }
        Err(Error::Stopped)
    }

    /// What the catalogue sells of these products; none where it does not answer.
    async fn offers(&self, ids: Vec<String>) -> Option<HashMap<String, Offer>> {
        let found = tokio::time::timeout(STEP, self.clients.products(ids)).await.ok()?.ok()?;
        let sold = found.into_values().filter(|product| product.active && product.currency == self.config.currency);
        Some(sold.map(|p| (p.id, Offer { name: p.name, unit_price: p.price })).collect())
    }

    /// What can be promised of these products; none where the stock service does not answer.
    async fn shelf(&self, place_id: Option<&PlaceId>, ids: &[String]) -> Option<HashMap<String, i64>> {
        let place = place_id.map_or(self.config.default_place.as_str(), |id| id.as_str());
        tokio::time::timeout(STEP, self.clients.available(place, ids)).await.ok()?.ok()
    }

    /// An item of so many pieces of a product, as the catalogue sells it now. Its number comes when it goes in.
    pub(crate) async fn new_item(
        &self,
        whose: &Whose,
        product_id: Id<commerce::kind::Product>,
        quantity: Quantity,
    ) -> Result<Item, Error> {
        let ids = vec![product_id.to_string()];
        let mut tx = self.db.read().await?;
        let place = store::carts::find(&mut tx, whose.id.as_str()).await?.and_then(|cart| cart.place_id);
        drop(tx);
        let offers = async { self.clients.products(ids.clone()).await.map_err(Error::from) };
        let (found, shelf) = tokio::join!(offers, self.shelf(place.as_ref(), &ids));
        let Some(product) = found?.remove(product_id.as_str()).filter(|product| product.active) else {
            let message = format!("the catalogue does not sell `{product_id}`");
            return Err(Problem::invalid("product_id", "exists", message).into());
        };
        if product.currency != self.config.currency {
            let message = format!("`{product_id}` is sold in {}", product.currency);
            return Err(Problem::invalid("product_id", "currency", message).into());
        }
        Ok(Item {
            id: Id::new(),
            number: 0,
            available: shelf.map(|shelf| shelf.get(product_id.as_str()).copied().unwrap_or(0)),
            product_id,
            name: product.name,
            quantity,
            unit_price: product.price,
            gone: false,
        })
    }

    /// Makes an order of a cart, or finds the one that it is becoming, and waits for its outcome until `deadline`.
    pub(crate) async fn check_out(&self, press: &Press, deadline: Instant) -> Result<Outcome, Error> {
        for _ in 0..TRIES {
            let mut tx = self.db.snapshot().await?;
            if let Some(key) = &press.key
                && let Some((target, hash, _)) = store::find_key(&mut tx, key).await?
            {
                drop(tx);
                same_payload(&hash, &press.payload_hash)?;
                return self.await_terminal(&Id::trusted(target), Some(key), deadline).await;
            }
            let cart = self.load_cart(&mut tx, &press.cart).await?;
            drop(tx);
            if cart.checking_out {
                return self.join(&cart.order_id, press, deadline).await;
            }
            fresh(press.version, cart.version)?;
            if cart.items.is_empty() {
                return Err(empty(&cart).into());
            }
            match self.accept(asked(&cart, press), deadline).await? {
                Outcome::CartChanged => {}
                outcome => return Ok(outcome),
            }
        }
        Err(Problem::new(Kind::Conflict, "The cart is being changed by others; try again.").into())
    }

    /// Waits for the order that the cart is becoming by somebody's earlier press.
    async fn join(&self, order_id: &OrderId, press: &Press, deadline: Instant) -> Result<Outcome, Error> {
        let mut tx = self.db.read().await?;
        let held = store::get(&mut tx, order_id).await?;
        drop(tx);
        if held.order.customer_id != press.buyer {
            // Who knows a guest's cart need not know who buys it.
            return Err(Problem::new(Kind::Conflict, "Somebody else is checking this cart out.").into());
        }
        if held.work.is_none() {
            // Only an older version, which took the order over and knows no carts, ends it without letting go of its cart.
            let mut tx = self.db.write().await?;
            tx.lock([store::carts::name(press.cart.id.as_str())]).await?;
            store::carts::end(&mut tx, &Vec::from_iter(store::carts::Ended::of(&held.order))).await?;
            tx.commit().await?;
        }
        if let Some(key) = &press.key {
            let mut tx = self.db.write().await?;
            tx.lock([key.name()]).await?;
            if let Some((_, hash, _)) = store::find_key(&mut tx, key).await? {
                same_payload(&hash, &press.payload_hash)?;
            } else {
                store::put_key(&mut tx, key, &press.payload_hash, order_id.as_str(), Timestamp::now()).await?;
                tx.commit().await?;
            }
        }
        self.await_terminal(order_id, press.key.as_ref(), deadline).await
    }

    /// Keeps the answer to presses that came while their order was being written and so had no part in that.
    pub(crate) async fn keep_answer(&self, order_id: &OrderId, answer: &Answer) -> Result<(), Error> {
        let mut tx = self.db.write().await?;
        store::put_answer(&mut tx, store::CART_CHECKOUTS_ROUTE, order_id.as_str(), answer).await?;
        tx.commit().await?;
        Ok(())
    }
}

fn asked(cart: &Cart, press: &Press) -> Asked {
    let line =
        |item: &Item| AskedLine::Product { id: item.product_id.clone(), quantity: item.quantity, unit_price: None };
    Asked {
        id: Some(cart.order_id.clone()),
        customer_id: press.buyer.clone(),
        place_id: press.place_id.clone().or_else(|| cart.place_id.clone()),
        placed_at: None,
        currency: None,
        method: press.method,
        lines: cart.items.iter().map(line).collect(),
        adjustments: Vec::new(),
        shipping_address: press.shipping_address.clone(),
        notes: press.notes.clone(),
        metadata: BTreeMap::new(),
        channel: Channel::Web,
        cart: Some((cart.id.clone(), cart.version)),
        payload_hash: press.payload_hash.clone(),
        key: press.key.clone(),
        actor: press.actor.clone(),
    }
}

fn empty(cart: &Cart) -> Problem {
    match &cart.last_order_id {
        Some(order) => Problem::new(Kind::Conflict, format!("The cart is empty; order {order} was made of it."))
            .with("order_id", order),
        None => Problem::new(Kind::Conflict, "The cart is empty."),
    }
}

fn same_payload(known: &str, asked: &str) -> Result<(), Problem> {
    if known == asked {
        return Ok(());
    }
    Err(Problem::invalid("Idempotency-Key", "reused", "this key came before with another payload; use a new one"))
}

/// Refuses what is based on a version that is no longer the present one.
fn fresh(seen: Option<i64>, version: i64) -> Result<(), Problem> {
    match seen {
        Some(seen) if seen != version => {
            Err(Problem::new(Kind::Stale, format!("The cart has changed: its version is {version}. Read it again.")))
        }
        _ => Ok(()),
    }
}

fn refused(why: CartRefused) -> Problem {
    match why {
        CartRefused::CheckingOut(order) => {
            Problem::new(Kind::Conflict, format!("The cart is becoming order {order}; wait for its outcome."))
                .with("order_id", order)
        }
        CartRefused::NoItem => Problem::not_found("item"),
        CartRefused::TooMany => {
            Problem::invalid("quantity", "range", format!("at most {} pieces of a product", Quantity::MAX))
        }
        CartRefused::Full => Problem::invalid(
            "product_id",
            "length",
            format!("at most {} products in a cart", crate::domain::MOST_ITEMS),
        ),
    }
}

/// The answer that the same request got before. Whoever finds none holds the key's name until he commits.
async fn known(tx: &mut db::Tx, keyed: Option<&Keyed>) -> Result<Option<Answer>, Error> {
    let Some(keyed) = keyed else { return Ok(None) };
    tx.lock([keyed.key.name()]).await?;
    let Some((_, hash, answer)) = store::find_key(tx, &keyed.key).await? else { return Ok(None) };
    same_payload(&hash, &keyed.payload_hash)?;
    Ok(answer)
}

async fn note(tx: &mut db::Tx, keyed: Option<&Keyed>, cart: &Cart, answer: &Answer) -> Result<(), Error> {
    if let Some(keyed) = keyed {
        let (key, hash) = (&keyed.key, &keyed.payload_hash);
        store::put_answered(tx, key, hash, cart.id.as_str(), cart.updated_at, answer).await?;
    }
    Ok(())
}
