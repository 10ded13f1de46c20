//! Placing an order: look it up by key or id, price it by the catalogue, store it, start its saga.

use std::collections::{BTreeMap, HashMap};

use chassis::{FieldError, Kind, Problem};
use commerce::{Amount, Currency, CustomerId, Id, OrderId, PlaceId, ProductId, Quantity, Timestamp};
use tokio::time::Instant;

use super::{
    App,
    outcome::{Outcome, wait_for_outcome},
    saga_driver, withdraw,
};
use idempotency::Key;

use crate::{
    clients::{CALL_TIMEOUT, Product},
    domain::{
        Address, Adjustment, CartId, Channel, Line, Order, Payment, PaymentMethod, SagaState, StateAt, Status,
        StatusChange,
    },
    error::Error,
    store::{self, InsertOutcome, OrderInsert},
};

/// The largest total: what the payment service takes.
const MAX_TOTAL: Amount = Amount::from_minor(1_000_000_000_000);
/// The epoch of a new order's lease.
const FIRST_EPOCH: i64 = 1;

/// A request for an order, each field valid by itself.
#[derive(Debug, Clone)]
pub(crate) struct OrderRequest {
    pub(crate) id: Option<OrderId>,
    pub(crate) customer_id: Option<CustomerId>,
    pub(crate) place_id: Option<PlaceId>,
    pub(crate) placed_at: Option<Timestamp>,
    pub(crate) currency: Option<Currency>,
    pub(crate) method: PaymentMethod,
    pub(crate) lines: Vec<LineRequest>,
    pub(crate) adjustments: Vec<Adjustment>,
    pub(crate) shipping_address: Option<Address>,
    pub(crate) notes: Option<String>,
    pub(crate) metadata: BTreeMap<String, String>,
    pub(crate) channel: Channel,
    /// The cart that the order is made of, with the version that was read; then `id` is the order id that the cart holds.
    pub(crate) cart: Option<(CartId, i64)>,
    pub(crate) payload_hash: String,
    pub(crate) key: Option<Key>,
    /// When the order is withdrawn unless it is acknowledged.
    pub(crate) acknowledge_by: Option<Timestamp>,
    pub(crate) actor: String,
}

/// A line of an [`OrderRequest`].
#[derive(Debug, Clone)]
pub(crate) enum LineRequest {
    /// A product of the catalogue, at its price or at a price that staff sets.
    Product { id: ProductId, quantity: Quantity, unit_price: Option<Amount> },
    /// A line by name and price.
    AdHoc { name: String, quantity: Quantity, unit_price: Amount },
}

/// An order that exists already.
struct ExistingOrder {
    id: OrderId,
    payload_hash: String,
    found_by: FoundBy,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum FoundBy {
    Key,
    Id,
}

/// Places an order, or finds the one that the same request made before, and waits for its outcome until `deadline`.
pub(crate) async fn place_order(app: &App, request: OrderRequest, deadline: Instant) -> Result<Outcome, Error> {
    if request.acknowledge_by.is_some_and(|by| by <= app.store_time()) {
        return match find_existing(app, &request).await? {
            Some(existing) => outcome_of(app, existing, &request, deadline).await,
            None => Err(withdraw::too_late().into()),
        };
    }
    let priced = tokio::time::timeout(2 * CALL_TIMEOUT, price(app, &request)).await.unwrap_or_else(|_| {
        let late = "A peer service did not answer in time; try again.";
        Err(Problem::new(Kind::Unavailable, late).with_code("peer.unavailable").retry_after(1).into())
    });
    let order = match priced {
        Ok(order) => order,
        // A repeated request gets its first outcome, even if the catalogue would refuse it now.
        Err(refused) => {
            return match find_existing(app, &request).await? {
                Some(existing) => outcome_of(app, existing, &request, deadline).await,
                None => Err(refused),
            };
        }
    };
    let new = OrderInsert {
        order,
        id_chosen: request.id.is_some(),
        payload_hash: request.payload_hash.clone(),
        key: request.key.clone(),
        acknowledge_by: request.acknowledge_by,
        lease: app.new_lease(FIRST_EPOCH),
        traceparent: chassis::trace::current_traceparent(),
        cart_version: request.cart.as_ref().map(|(_, version)| *version),
    };
    let existing = match app.writer.insert(new).await? {
        InsertOutcome::Inserted(order) => {
            let id = order.id.clone();
            let response = saga_driver::start(app, *order, FIRST_EPOCH);
            return match tokio::time::timeout_at(deadline, response).await {
                Ok(Ok(response)) => Ok(Outcome::Final(id, response)),
                // Another replica or a cancellation took the order over; the outcome is read from the store.
                Ok(Err(_)) => wait_for_outcome(app, &id, request.key.as_ref(), deadline).await,
                Err(_) => Ok(Outcome::InProgress { id, state: SagaState::Created, status: Status::Pending }),
            };
        }
        InsertOutcome::Withdrawn => return Err(withdraw::withdrawn().into()),
        InsertOutcome::CartChanged => return Ok(Outcome::CartChanged),
        InsertOutcome::ExistingKey { order_id, payload_hash } => {
            ExistingOrder { id: order_id, payload_hash, found_by: FoundBy::Key }
        }
        InsertOutcome::ExistingId { order_id, payload_hash } => {
            ExistingOrder { id: order_id, payload_hash, found_by: FoundBy::Id }
        }
    };
    outcome_of(app, existing, &request, deadline).await
}

/// The order that the same key or id made before.
async fn find_existing(app: &App, request: &OrderRequest) -> Result<Option<ExistingOrder>, Error> {
    if request.key.is_none() && request.id.is_none() {
        return Ok(None);
    }
    let mut tx = app.db.read().await?;
    if let Some(key) = &request.key
        && let Some((target, payload_hash, _)) = store::find_key(&mut tx, key).await?
    {
        return Ok(Some(ExistingOrder { id: Id::trusted(target), payload_hash, found_by: FoundBy::Key }));
    }
    if let Some(id) = &request.id
        && let Some(stored) = store::find(&mut tx, id.as_str()).await?
    {
        let (id, payload_hash) = (stored.order.id, stored.payload_hash);
        return Ok(Some(ExistingOrder { id, payload_hash, found_by: FoundBy::Id }));
    }
    Ok(None)
}

async fn outcome_of(
    app: &App,
    existing: ExistingOrder,
    request: &OrderRequest,
    deadline: Instant,
) -> Result<Outcome, Error> {
    // A cart's order id that exists means that another checkout of the same cart came first.
    if existing.found_by == FoundBy::Id && request.cart.is_some() {
        return Ok(Outcome::CartChanged);
    }
    if existing.payload_hash != request.payload_hash {
        let problem = match existing.found_by {
            FoundBy::Key => idempotency::reused(),
            FoundBy::Id => Problem::new(Kind::Conflict, "An order with this id exists, with other contents.")
                .with_code("order.id_reused")
                .with("order_id", &existing.id),
        };
        return Err(problem.into());
    }
    let key = request.key.as_ref().filter(|_| existing.found_by == FoundBy::Key);
    wait_for_outcome(app, &existing.id, key, deadline).await
}

/// Builds the order at the catalogue's prices. A refusal names every invalid field.
async fn price(app: &App, request: &OrderRequest) -> Result<Order, Error> {
    let place_id = request.place_id.clone().unwrap_or_else(|| Id::trusted(app.config.default_place.clone()));
    let product_ids: Vec<String> = request
        .lines
        .iter()
        .filter_map(|line| match line {
            LineRequest::Product { id, .. } => Some(id.to_string()),
            LineRequest::AdHoc { .. } => None,
        })
        .collect();
    let products = async {
        if product_ids.is_empty() {
            Ok(HashMap::new())
        } else {
            app.clients.products(product_ids).await.map_err(Error::from)
        }
    };
    let customer = async {
        match &request.customer_id {
            Some(id) => app.clients.customer_exists(id.to_string()).await.map_err(Error::from),
            None => Ok(true),
        }
    };
    let place = async { app.clients.place_exists(place_id.as_str()).await.map_err(Error::from) };
    let (products, customer_exists, place_exists) = tokio::try_join!(products, customer, place)?;
    let mut errors = Vec::new();
    if !customer_exists {
        errors.push(FieldError::new("customer_id", "exists", "there is no such customer"));
    }
    if !place_exists {
        errors.push(FieldError::new("place_id", "exists", "there is no such place"));
    }
    let currency = request.currency.unwrap_or(app.config.currency);
    let lines = price_lines(&request.lines, &products, currency, &mut errors);
    let total = Amount::sum(lines.iter().map(|line| line.subtotal).chain(request.adjustments.iter().map(|a| a.amount)));
    if total.is_none_or(|total| total.is_negative() || total > MAX_TOTAL) && errors.is_empty() {
        errors.push(FieldError::new("adjustments", "total", format!("the total must be from 0 to {MAX_TOTAL}")));
    }
    let (Some(total), true) = (total, errors.is_empty()) else {
        return Err(Problem::fields(errors).into());
    };
    let now = Timestamp::now();
    Ok(Order {
        id: request.id.clone().unwrap_or_else(OrderId::new),
        number: 0,
        customer_id: request.customer_id.clone(),
        place_id,
        channel: request.channel,
        state: SagaState::Created,
        status: Status::Pending,
        states: vec![StateAt { state: SagaState::Created, at: now }],
        history: vec![StatusChange {
            status: Status::Pending,
            at: now,
            actor: Some(request.actor.clone()),
            reason: None,
        }],
        lines,
        adjustments: request.adjustments.clone(),
        total,
        currency,
        payment: Payment { method: request.method, status: "none".into(), id: None },
        reason: None,
        shipping_address: request.shipping_address.clone(),
        notes: request.notes.clone(),
        metadata: request.metadata.clone(),
        archived: false,
        placed_at: request.placed_at.unwrap_or(now),
        created_at: now,
        updated_at: now,
        version: 1,
        sequence: 1,
        cart_id: request.cart.as_ref().map(|(id, _)| id.clone()),
    })
}

fn price_lines(
    requested: &[LineRequest],
    products: &HashMap<String, Product>,
    currency: Currency,
    errors: &mut Vec<FieldError>,
) -> Vec<Line> {
    let mut lines = Vec::with_capacity(requested.len());
    for (index, line) in requested.iter().enumerate() {
        let mut fail = |field: &str, rule: &str, message: String| {
            errors.push(FieldError::new(format!("lines[{index}].{field}"), rule, message));
        };
        let (product_id, name, quantity, unit_price) = match line {
            LineRequest::AdHoc { name, quantity, unit_price } => (None, name.clone(), *quantity, *unit_price),
            LineRequest::Product { id, quantity, unit_price } => {
                let Some(product) = products.get(id.as_str()).filter(|product| product.active) else {
                    fail("product_id", "exists", format!("the catalogue does not sell `{id}`"));
                    continue;
                };
                if product.currency != currency {
                    let message = format!("`{id}` is sold in {}, the order is in {currency}", product.currency);
                    fail("product_id", "currency", message);
                    continue;
                }
                (Some(id.clone()), product.name.clone(), *quantity, unit_price.unwrap_or(product.price))
            }
        };
        let Some(subtotal) = unit_price.checked_mul(quantity) else {
            fail("quantity", "total", "the line's price is beyond 10000000000000".into());
            continue;
        };
        let line_id = store::line_id(i64::try_from(index).unwrap_or(i64::MAX - 1) + 1);
        lines.push(Line { line_id, product_id, name, quantity, returned: 0, unit_price, subtotal });
    }
    lines
}
