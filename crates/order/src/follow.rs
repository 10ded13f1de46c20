//! What the order service consumes: refunds that were made by hand, so that the order shows them; and orders that other
//! programs put on `new-order`.

use std::collections::BTreeMap;

use bus::{Event, Failure, Handler};
use chassis::{Kind, Problem};
use commerce::{Id, OrderId, ProductId, Quantity, Timestamp};
use serde::Deserialize;
use serde_json::Value;

use crate::{
    accept::{Asked, AskedLine},
    checkout::Checkout,
    domain::Channel,
    error::Error,
    events::{BUYER, NEW_ORDERS},
    store,
};

/// How ids begin that are no orders' ids.
const OUTSIDE: &str = "legacy:";

/// Follows the payments' events, and takes others' orders.
pub(crate) struct Follower {
    pub(crate) checkout: Checkout,
}

#[derive(Deserialize)]
struct Payment {
    order_id: String,
    status: String,
}

/// An order as the programs of an older fleet write it; ids come as texts or numbers.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Foreign {
    id: Value,
    #[serde(default)]
    user_id: Value,
    #[serde(default)]
    product_id: Value,
    #[serde(default)]
    quantity: Value,
    #[serde(default)]
    products: Vec<ForeignProduct>,
    #[serde(default)]
    status: Option<String>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct ForeignProduct {
    product_id: Value,
    quantity: Value,
}

impl Handler for Follower {
    async fn handle(&self, events: &[Event]) -> Result<(), Failure> {
        for event in events.iter().filter(|event| event.topic == NEW_ORDERS) {
            self.take(event).await?;
        }
        let backs: Vec<Event> = events
            .iter()
            .filter(|event| matches!(event.kind.as_str(), "souk.payment.refunded" | "souk.payment.voided"))
            .cloned()
            .collect();
        if backs.is_empty() {
            return Ok(());
        }
        let mut tx = self.checkout.db.write().await?;
        let fresh = bus::inbox::fresh(&mut tx, &backs).await?;
        // Of several events of one order the last one tells.
        let mut statuses = BTreeMap::new();
        for (event, _) in backs.iter().zip(fresh).filter(|(_, fresh)| *fresh) {
            let payment: Payment = event.data()?;
            statuses.insert(payment.order_id, payment.status);
        }
        if !statuses.is_empty() {
            store::note_payment(&mut tx, statuses.into_iter().collect(), Timestamp::now()).await?;
        }
        tx.commit().await?;
        Ok(())
    }

    fn takes_plain(&self, topic: &str) -> bool {
        topic == NEW_ORDERS
    }
}

impl Follower {
    /// Takes an order of another program, once by its id. Our own are there already, since they are told after they are
    /// durable.
    async fn take(&self, event: &Event) -> Result<(), Failure> {
        let foreign: Foreign = event.data()?;
        // What its own fleet has cancelled, or done with, is told and not asked for.
        if !matches!(foreign.status.as_deref(), None | Some("pending")) {
            return Ok(());
        }
        let id = OrderId::parse(&text(&foreign.id)).map_err(|why| Failure::Bad(anyhow::anyhow!("id: {why}")))?;
        if id.as_str().starts_with(OUTSIDE) {
            return Err(Failure::Bad(anyhow::anyhow!("id: `{OUTSIDE}` is how ids of payments from outside begin")));
        }
        let known = async {
            let mut tx = self.checkout.db.read().await?;
            store::find(&mut tx, id.as_str()).await
        };
        if known.await?.is_some() {
            return Ok(());
        }
        let mut asked = foreign.asked(id)?;
        if let Some(customer) = &asked.customer_id {
            let exists = self.checkout.clients.customer_exists(customer.to_string()).await;
            if !exists.map_err(|error| later(error.into()))? {
                asked.metadata.insert(BUYER.into(), customer.to_string());
                asked.customer_id = None;
            }
        }
        // From here on the saga goes on by itself.
        match self.checkout.accept(asked, tokio::time::Instant::now()).await {
            Ok(_) => Ok(()),
            Err(error) => Err(later(error)),
        }
    }
}

impl Foreign {
    fn asked(self, id: OrderId) -> Result<Asked, Failure> {
        let one = [ForeignProduct { product_id: self.product_id, quantity: self.quantity }];
        let products = if self.products.is_empty() { &one[..] } else { &self.products };
        let lines = products.iter().map(ForeignProduct::line).collect::<Result<Vec<AskedLine>, Failure>>()?;
        let user = text(&self.user_id);
        let customer_id = Id::parse(&user).ok();
        // What is no id of ours is none of a customer.
        let buyer =
            Some(user.clone()).filter(|user| customer_id.is_none() && (1..=500).contains(&user.chars().count()));
        Ok(Asked {
            id: Some(id),
            customer_id,
            place_id: None,
            placed_at: None,
            currency: None,
            method: Default::default(),
            lines,
            adjustments: Vec::new(),
            shipping_address: None,
            notes: None,
            metadata: buyer.map(|buyer| (BUYER.to_owned(), buyer)).into_iter().collect(),
            channel: Channel::Web,
            cart: None,
            payload_hash: format!("{NEW_ORDERS}:{user}"),
            key: None,
            actor: NEW_ORDERS.into(),
        })
    }
}

impl ForeignProduct {
    fn line(&self) -> Result<AskedLine, Failure> {
        let bad = |why: String| Failure::Bad(anyhow::anyhow!(why));
        let pieces = self.quantity.as_i64().or_else(|| self.quantity.as_str()?.parse().ok());
        let quantity = Quantity::new(pieces.unwrap_or_default()).map_err(|why| bad(format!("quantity: {why}")))?;
        let id = ProductId::parse(&text(&self.product_id)).map_err(|why| bad(format!("productId: {why}")))?;
        Ok(AskedLine::Product { id, quantity, unit_price: None })
    }
}

/// A text, or a number as one; nothing of null.
fn text(value: &Value) -> String {
    match value {
        Value::Null => String::new(),
        Value::String(text) => text.clone(),
        other => other.to_string(),
    }
}

/// What cannot be sold never will be; a store or neighbour that is away is waited for.
fn later(error: Error) -> Failure {
    let problem = Problem::from(error);
    let why = anyhow::anyhow!("{problem}");
    if matches!(problem.kind(), Kind::Unavailable | Kind::Timeout | Kind::Internal | Kind::BadGateway) {
        Failure::Later(why)
    } else {
        Failure::Bad(why)
    }
}
