//! Accepting an order: known by key or id? else priced by the catalogue, and made durable.

use std::{
    collections::{BTreeMap, HashMap},
    time::Duration,
};

use chassis::{FieldError, Kind, Problem};
use commerce::{Amount, Currency, CustomerId, Id, OrderId, PlaceId, ProductId, Quantity, Timestamp};
use tokio::time::Instant;

use crate::{
    checkout::Checkout,
    clients::{Product, STEP},
    domain::{
        Address, Adjustment, CartId, Channel, Line, Moved, Order, Payment, PaymentMethod, State, StateAt, Status,
    },
    error::Error,
    store::{self, Answer, Held, Key, Placed, Placement},
};

/// The largest total: what the payment service takes.
const MOST_TOTAL: Amount = Amount::from_minor(1_000_000_000_000);

/// An order as somebody asks for it; its fields hold each for itself.
#[derive(Debug, Clone)]
pub(crate) struct Asked {
    pub(crate) id: Option<OrderId>,
    pub(crate) customer_id: Option<CustomerId>,
    pub(crate) place_id: Option<PlaceId>,
    pub(crate) placed_at: Option<Timestamp>,
    pub(crate) currency: Option<Currency>,
    pub(crate) method: PaymentMethod,
    pub(crate) lines: Vec<AskedLine>,
    pub(crate) adjustments: Vec<Adjustment>,
    pub(crate) shipping_address: Option<Address>,
    pub(crate) notes: Option<String>,
    pub(crate) metadata: BTreeMap<String, String>,
    pub(crate) channel: Channel,
    /// The cart that it is made of, as it was read: then its id is the one that the cart has chosen.
    pub(crate) cart: Option<(CartId, i64)>,
    pub(crate) payload_hash: String,
    pub(crate) key: Option<Key>,
    pub(crate) actor: String,
}

/// A line as somebody asks for it.
#[derive(Debug, Clone)]
pub(crate) enum AskedLine {
    /// Of the catalogue, at its price or at one that staff gives.
    Product { id: ProductId, quantity: Quantity, unit_price: Option<Amount> },
    /// By name and price.
    AdHoc { name: String, quantity: Quantity, unit_price: Amount },
}

/// How a request for an order ends.
pub(crate) enum Outcome {
    /// With the first final answer, byte for byte.
    Final(OrderId, Answer),
    /// With the order as it is now, since its id came before.
    Known(Box<Order>),
    /// Not yet; the order goes on.
    Running(OrderId, State, Status),
    /// Nothing was done: the cart is no longer what it was when it was read.
    CartChanged,
}

impl Checkout {
    /// Takes an order, or finds the one that the same request made before, and waits for its outcome
    /// until `deadline`.
    pub(crate) async fn accept(&self, asked: Asked, deadline: Instant) -> Result<Outcome, Error> {
        let priced = tokio::time::timeout(2 * STEP, self.price(&asked)).await.unwrap_or_else(|_| {
            Err(Problem::new(Kind::Unavailable, "A neighbour did not answer in time; try again.").retry_after(1).into())
        });
        let order = match priced {
            Ok(order) => order,
            // What could be sold when it was asked for first has its answer, whatever the catalogue says now.
            Err(refused) => {
                return match self.known(&asked).await? {
                    Some((_, _, false)) if asked.cart.is_some() => Ok(Outcome::CartChanged),
                    Some(known) => self.outcome_of(known, &asked, deadline).await,
                    None => Err(refused),
                };
            }
        };
        let epoch = 1;
        let placement = Placement {
            order,
            id_chosen: asked.id.is_some(),
            payload_hash: asked.payload_hash.clone(),
            key: asked.key.clone(),
            lease: self.lease(epoch),
            traceparent: chassis::trace::current_traceparent(),
            cart_version: asked.cart.as_ref().map(|(_, version)| *version),
        };
        match self.place(placement).await? {
            Placed::New(order) => {
                let id = order.id.clone();
                let answered = self.begin(*order, epoch);
                match tokio::time::timeout_at(deadline, answered).await {
                    Ok(Ok(answer)) => Ok(Outcome::Final(id, answer)),
                    // The order went to another replica, or to somebody who cancels it: the store tells.
                    Ok(Err(_)) => self.await_terminal(&id, asked.key.as_ref(), deadline).await,
                    Err(_) => Ok(Outcome::Running(id, State::Created, Status::Pending)),
                }
            }
            Placed::KnownKey { order_id, payload_hash } => {
                self.outcome_of((order_id, payload_hash, true), &asked, deadline).await
            }
            Placed::CartChanged => Ok(Outcome::CartChanged),
            // Somebody else's checkout of the same cart came first.
            Placed::KnownId { .. } if asked.cart.is_some() => Ok(Outcome::CartChanged),
            Placed::KnownId { order_id, payload_hash } => {
                self.outcome_of((order_id, payload_hash, false), &asked, deadline).await
            }
        }
    }

    /// The order that the same key or id made before: its id, its payload, and whether the key knows it.
    async fn known(&self, asked: &Asked) -> Result<Option<(OrderId, String, bool)>, Error> {
        if asked.key.is_none() && asked.id.is_none() {
            return Ok(None);
        }
        let mut tx = self.db.read().await?;
        if let Some(key) = &asked.key
            && let Some((target, hash, _)) = store::find_key(&mut tx, key).await?
        {
            return Ok(Some((Id::trusted(target), hash, true)));
        }
        if let Some(id) = &asked.id
            && let Some(held) = store::find(&mut tx, id.as_str()).await?
        {
            return Ok(Some((held.order.id, held.payload_hash, false)));
        }
        Ok(None)
    }

    async fn outcome_of(
        &self,
        known: (OrderId, String, bool),
        asked: &Asked,
        deadline: Instant,
    ) -> Result<Outcome, Error> {
        let (order_id, payload_hash, by_key) = known;
        if payload_hash != asked.payload_hash {
            return Err(if by_key {
                Problem::invalid(
                    "Idempotency-Key",
                    "reused",
                    "this key came before with another payload; use a new one",
                )
            } else {
                Problem::new(Kind::Conflict, "An order with this id exists, with other contents.")
                    .with("order_id", &order_id)
            }
            .into());
        }
        self.await_terminal(&order_id, asked.key.as_ref().filter(|_| by_key), deadline).await
    }

    /// Waits for an order that somebody else drives, as long as the caller does.
    pub(crate) async fn await_terminal(
        &self,
        id: &OrderId,
        key: Option<&Key>,
        deadline: Instant,
    ) -> Result<Outcome, Error> {
        let mut wait = Duration::from_millis(5);
        loop {
            let mut tx = self.db.read().await?;
            let held = store::get(&mut tx, id).await?;
            let stored = match key {
                Some(key) => store::find_key(&mut tx, key).await?.and_then(|(_, _, answer)| answer),
                None => None,
            };
            drop(tx);
            if let Some(outcome) = ended(held, stored, key.is_some()) {
                return Ok(outcome);
            }
            if Instant::now() + wait >= deadline {
                let mut tx = self.db.read().await?;
                let order = store::get(&mut tx, id).await?.order;
                return Ok(Outcome::Running(order.id, order.state, order.status));
            }
            tokio::time::sleep(wait).await;
            wait = (wait * 2).min(Duration::from_millis(100));
        }
    }

    /// Waits until nothing is left to be done for an order, as long as the caller does.
    pub(crate) async fn await_rest(&self, id: &OrderId, deadline: Instant) -> Result<Held, Error> {
        let mut wait = Duration::from_millis(5);
        loop {
            let mut tx = self.db.read().await?;
            let held = store::get(&mut tx, id).await?;
            drop(tx);
            if held.work.is_none() || Instant::now() + wait >= deadline {
                return Ok(held);
            }
            tokio::time::sleep(wait).await;
            wait = (wait * 2).min(Duration::from_millis(100));
        }
    }

    /// Makes the order that is asked for, at the catalogue's prices; every field that cannot be is named.
    async fn price(&self, asked: &Asked) -> Result<Order, Error> {
        let place_id = asked.place_id.clone().unwrap_or_else(|| Id::trusted(self.config.default_place.clone()));
        let ids: Vec<String> = asked
            .lines
            .iter()
            .filter_map(|line| match line {
                AskedLine::Product { id, .. } => Some(id.to_string()),
                AskedLine::AdHoc { .. } => None,
            })
            .collect();
        let products = async {
            if ids.is_empty() { Ok(HashMap::new()) } else { self.clients.products(ids).await.map_err(Error::from) }
        };
        let customer = async {
            match &asked.customer_id {
                Some(id) => self.clients.customer_exists(id.to_string()).await.map_err(Error::from),
                None => Ok(true),
            }
        };
        let place = async { self.clients.place_exists(place_id.as_str()).await.map_err(Error::from) };
        let (products, customer_exists, place_exists) = tokio::try_join!(products, customer, place)?;
        let mut errors = Vec::new();
        if !customer_exists {
            errors.push(FieldError::new("customer_id", "exists", "there is no such customer"));
        }
        if !place_exists {
            errors.push(FieldError::new("place_id", "exists", "there is no such place"));
        }
        let currency = asked.currency.unwrap_or(self.config.currency);
        let lines = lines(&asked.lines, &products, currency, &mut errors);
        let total =
            Amount::sum(lines.iter().map(|line| line.subtotal).chain(asked.adjustments.iter().map(|a| a.amount)));
        if total.is_none_or(|total| total.is_negative() || total > MOST_TOTAL) && errors.is_empty() {
            errors.push(FieldError::new("adjustments", "total", format!("the total must be from 0 to {MOST_TOTAL}")));
        }
        let (Some(total), true) = (total, errors.is_empty()) else {
            return Err(Problem::fields(errors).into());
        };
        let now = Timestamp::now();
        Ok(Order {
            id: asked.id.clone().unwrap_or_else(OrderId::new),
            number: 0,
            customer_id: asked.customer_id.clone(),
            place_id,
            channel: asked.channel,
            state: State::Created,
            status: Status::Pending,
            states: vec![StateAt { state: State::Created, at: now }],
            history: vec![Moved { status: Status::Pending, at: now, actor: Some(asked.actor.clone()), reason: None }],
            lines,
            adjustments: asked.adjustments.clone(),
            total,
            currency,
            payment: Payment { method: asked.method, status: "none".into(), id: None },
            reason: None,
            shipping_address: asked.shipping_address.clone(),
            notes: asked.notes.clone(),
            metadata: asked.metadata.clone(),
            archived: false,
            placed_at: asked.placed_at.unwrap_or(now),
            created_at: now,
            updated_at: now,
            version: 1,
            sequence: 1,
            cart_id: asked.cart.as_ref().map(|(id, _)| id.clone()),
        })
    }
}

/// How a request ends once its order is terminal; nothing while it is not.
fn ended(held: Held, stored: Option<Answer>, by_key: bool) -> Option<Outcome> {
    if let Some(answer) = stored {
        return Some(Outcome::Final(held.order.id, answer));
    }
    // The key's answer is written with the terminal state; a key that has been forgotten has none.
    if by_key && held.work.is_some() || held.order.status == Status::Pending {
        return None;
    }
    match held.refusal {
        Some(refusal) if held.order.states.iter().all(|s| s.state != State::Confirmed) => {
            Some(Outcome::Final(held.order.id, refusal))
        }
        _ => Some(Outcome::Known(Box::new(held.order))),
    }
}

fn lines(
    asked: &[AskedLine],
    products: &HashMap<String, Product>,
    currency: Currency,
    errors: &mut Vec<FieldError>,
) -> Vec<Line> {
    let mut lines = Vec::with_capacity(asked.len());
    for (position, line) in asked.iter().enumerate() {
        let mut fail = |field: &str, rule: &str, message: String| {
            errors.push(FieldError::new(format!("lines[{position}].{field}"), rule, message));
        };
        let (product_id, name, quantity, unit_price) = match line {
            AskedLine::AdHoc { name, quantity, unit_price } => (None, name.clone(), *quantity, *unit_price),
            AskedLine::Product { id, quantity, unit_price } => {
                let Some(product) = products.get(id.as_str()).filter(|product| product.active) else {
                    fail("product_id", "exists", format!("the catalogue does not sell `{id}`"));
                    continue;
                };
                if product.currency != currency {
                    fail(
                        "product_id",
                        "currency",
                        format!("`{id}` is sold in {}, the order is in {currency}", product.currency),
                    );
                    continue;
                }
                (Some(id.clone()), product.name.clone(), *quantity, unit_price.unwrap_or(product.price))
            }
        };
        let Some(subtotal) = unit_price.checked_mul(quantity) else {
            fail("quantity", "total", "the line's price is beyond 10000000000000".into());
            continue;
        };
        let line_id = store::line_id(i64::try_from(position).unwrap_or(i64::MAX - 1) + 1);
        lines.push(Line { line_id, product_id, name, quantity, returned: 0, unit_price, subtotal });
    }
    lines
}
