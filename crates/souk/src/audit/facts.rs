//! The facts of all stores.

use std::{
    collections::{BTreeMap, HashMap},
    path::Path,
    time::Duration,
};

use anyhow::{Context, bail};
use bus::outbox::Told;
use commerce::Timestamp;

use crate::data;

/// What is younger than this on a running fleet may still be under way: a lease.
const LEASE: Duration = Duration::from_secs(10);

/// A message of the bus: topic, key, text.
pub(crate) type Message = (String, String, String);

/// Everything that the checks look at.
pub(crate) struct Facts {
    /// Whether a fleet runs on the stores.
    pub(crate) running: bool,
    /// When the reading began.
    pub(crate) now: Timestamp,
    pub(crate) orders: BTreeMap<String, order::audit::OrderFact>,
    pub(crate) payments: BTreeMap<String, payment::PaymentFact>,
    pub(crate) levels: Vec<stock::LevelFact>,
    pub(crate) reservations: BTreeMap<String, stock::ReservationFact>,
    /// The last order event that took effect on stock, by order.
    pub(crate) stock_heard: HashMap<(String, String), i64>,
    /// The last event that the notification service heard, by topic and subject.
    pub(crate) notification_heard: HashMap<(String, String), i64>,
    /// What each service wrote to be published, by its name.
    pub(crate) told: BTreeMap<&'static str, Vec<Told>>,
    /// The last sequence of each aggregate, by topic and subject.
    pub(crate) sequences: BTreeMap<(String, String), i64>,
    /// The bus, in its order; nothing if it is not to be read.
    pub(crate) log: Vec<Message>,
}

const STORES: [&str; 7] = ["customer", "product", "order", "stock", "payment", "notification", "bus"];

impl Facts {
    /// Reads all stores. The order store is read first: what the others tell later can only be more.
    pub(crate) async fn read(folder: &Path, named: &[String]) -> anyhow::Result<Self> {
        let mut urls: BTreeMap<&str, String> =
            STORES.into_iter().map(|name| (name, data::store_url(folder, name))).collect();
        for pair in named {
            let (name, url) = pair.split_once('=').with_context(|| format!("--store {pair} is not NAME=URL"))?;
            let name = STORES
                .into_iter()
                .find(|known| *known == name)
                .with_context(|| format!("--store {name}: there are {}", STORES.join(", ")))?;
            urls.insert(name, url.replacen("embedded:", "sqlite:", 1));
        }
        for (name, url) in &urls {
            let path = url.strip_prefix("sqlite:").unwrap_or(url);
            if !Path::new(path).exists() {
                bail!(
                    "the {name} store {path} is not there; name the data folder with --data or the store with --store {name}=URL"
                );
            }
        }
        let url = |name: &str| urls.get(name).cloned().unwrap_or_default();
        let running = data::is_running(folder);
        let now = Timestamp::now();
        // The listener is read first: what it has heard, those who tell must know.
        let notifications = notification::audit_facts(&url("notification")).await.context("the notification store")?;
        let orders = order::audit::audit_facts(&url("order")).await.context("the order store")?;
        let payments = payment::audit_facts(&url("payment")).await.context("the payment store")?;
        let stock = stock::audit_facts(&url("stock")).await.context("the stock store")?;
        let customers = customer::audit_facts(&url("customer")).await.context("the customer store")?;
        let products = product::audit_facts(&url("product")).await.context("the product store")?;
        let log = bus::Embedded::all(url("bus").trim_start_matches("sqlite:")).await.context("the bus")?;
        let mut sequences = BTreeMap::new();
        let mut sequence = |topic: &str, subject: &str, last: i64| {
            sequences.insert((topic.to_owned(), subject.to_owned()), last);
        };
        for order in &orders.orders {
            sequence("orders", &order.id, order.last_sequence);
        }
        for payment in &payments.payments {
            sequence("payments", &payment.order_id, payment.last_sequence);
        }
        for reservation in &stock.reservations {
            sequence("stock", &reservation.order_id, reservation.last_sequence);
        }
        for level in &stock.levels {
            sequence("stock", &format!("{}/{}", level.place_id, level.product_id), level.last_sequence);
        }
        for customer in &customers.customers {
            sequence("customers", &customer.id, customer.last_sequence);
        }
        for product in &products.products {
            sequence("products", &product.id, product.last_sequence);
        }
        Ok(Self {
            running,
            now,
            orders: orders.orders.into_iter().map(|order| (order.id.clone(), order)).collect(),
            payments: payments.payments.into_iter().map(|payment| (payment.order_id.clone(), payment)).collect(),
            levels: stock.levels,
            reservations: stock.reservations.into_iter().map(|r| (r.order_id.clone(), r)).collect(),
            stock_heard: stock.heard,
            notification_heard: notifications.heard,
            told: BTreeMap::from([
                ("order", orders.outbox),
                ("payment", payments.events),
                ("stock", stock.events),
                ("customer", customers.events),
                ("product", products.events),
            ]),
            sequences,
            log: log.into_iter().map(|m| (m.message.topic, m.message.key, m.message.payload)).collect(),
        })
    }

    /// Whether something that changed then may still be under way.
    pub(crate) fn is_young(&self, changed: Timestamp) -> bool {
        self.running && changed.plus(LEASE) > self.now
    }

    /// Whether the order's last event has not yet taken effect on stock.
    pub(crate) fn stock_is_behind(&self, order: &order::audit::OrderFact) -> bool {
        let heard = self.stock_heard.get(&("orders".to_owned(), order.id.clone())).copied().unwrap_or(0);
        heard < order.last_sequence
    }

    /// Whether nothing can be said of an order yet: it is open, young, or being refunded.
    pub(crate) fn is_under_way(&self, order: &order::audit::OrderFact) -> bool {
        order.open || order.refunds_pending > 0 || self.is_young(order.updated_at)
    }

    /// Whether a running fleet has let an order's lease run out long ago, so that nobody drives it.
    pub(crate) fn is_forsaken(&self, order: &order::audit::OrderFact) -> bool {
        self.running && order.open && order.lease_until.plus(3 * LEASE) < self.now
    }
}
