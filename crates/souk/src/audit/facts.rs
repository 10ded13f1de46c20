//! The facts of all stores.

use std::{
    collections::{BTreeMap, HashMap, HashSet},
    path::Path,
    time::Duration,
};

use anyhow::{Context, bail};
use bus::{Dump, inbox::InboxDump, outbox::OutboxDump};
use commerce::Timestamp;

use crate::data;

/// What is younger than this on a running fleet may still be under way: a lease.
pub(super) const LEASE: Duration = Duration::from_secs(10);
/// How far a replica's clock may be ahead.
const CLOCK_AHEAD: Duration = Duration::from_secs(24 * 3_600);
/// How long a consumer may lag behind on a running fleet: longer than a restart and a broker's failover.
const CONSUMED: Duration = Duration::from_secs(600);
/// How long a provider may owe an answer about a payment on a running fleet.
const ANSWERED: Duration = Duration::from_secs(24 * 3_600);

/// An aggregate whose changes are published as events.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Aggregate {
    /// Number of events published.
    pub(crate) last: i64,
    /// When it was created, at the latest when its first event was published; unknown for some aggregates.
    pub(crate) created_at: Option<Timestamp>,
    /// When its last event was published; unknown for some aggregates.
    pub(crate) last_published: Option<Timestamp>,
}

/// Everything that the checks look at.
pub(crate) struct Facts {
    /// Whether a fleet runs on the stores.
    pub(crate) running: bool,
    /// When the reading began.
    pub(crate) now: Timestamp,
    pub(crate) orders: BTreeMap<String, order::audit::OrderFact>,
    /// Of each kind: the highest number, and the last one that was given.
    pub(crate) numbers: Vec<(&'static str, i64, i64)>,
    /// What each service holds, compared with what its last events say.
    pub(crate) comparisons: Vec<bus::Comparison>,
    /// What contradicts within the store of a service.
    pub(crate) contradictions: Vec<String>,
    /// The summaries of sales beside the orders.
    pub(crate) reports: order::reports::SalesComparison,
    pub(crate) payments: BTreeMap<String, payment::PaymentFact>,
    pub(crate) levels: Vec<stock::LevelFact>,
    pub(crate) in_transit: Vec<stock::TransitFact>,
    pub(crate) reservations: BTreeMap<String, stock::ReservationFact>,
    /// Reservations that were released before then may have been forgotten.
    pub(crate) released_before: Option<Timestamp>,
    /// The events that the order service consumed.
    pub(crate) order_inbox: InboxDump,
    /// The events that the stock service consumed.
    pub(crate) stock_inbox: InboxDump,
    /// The events that the notification service consumed.
    pub(crate) notification_inbox: InboxDump,
    /// The notifications by their ids.
    pub(crate) notifications: HashMap<String, notification::NotificationFact>,
    /// Notifications from before then may have been deleted.
    pub(crate) notified_before: Option<Timestamp>,
    /// Ids of all activities, of deleted ones too.
    pub(crate) activities: HashSet<String>,
    /// The events written to the outboxes, by topic.
    pub(crate) outboxes: BTreeMap<&'static str, OutboxDump>,
    /// The aggregates whose changes are published, by topic and subject.
    pub(crate) aggregates: BTreeMap<(String, String), Aggregate>,
    /// The bus; `None` where the broker keeps no log.
    pub(crate) log: Option<Dump>,
    /// The position up to which each group had handled each topic when the reading began, on the embedded bus.
    pub(crate) handled: HashMap<(String, String), i64>,
}

const STORES: [&str; 7] = ["customer", "product", "order", "stock", "payment", "notification", "bus"];

/// The URLs of all stores and of the bus.
pub(crate) struct StoreUrls(BTreeMap<&'static str, String>);

impl StoreUrls {
    /// Those of a data folder, but for the ones that are named as `NAME=URL`. Fails if a file is missing.
    pub(crate) fn read(folder: &Path, named: &[String]) -> anyhow::Result<Self> {
        let mut urls: BTreeMap<&str, String> = STORES
            .into_iter()
            .map(|name| (name, if name == "bus" { data::bus_url(folder) } else { data::store_url(folder, name) }))
            .collect();
        for pair in named {
            let (name, url) = pair.split_once('=').with_context(|| format!("--store {pair} is not NAME=URL"))?;
            let name = STORES
                .into_iter()
                .find(|known| *known == name)
                .with_context(|| format!("--store {name}: must be one of {}", STORES.join(", ")))?;
            urls.insert(name, url.to_owned());
        }
        for (name, url) in &urls {
            let Some(path) = url.strip_prefix("sqlite:").or_else(|| url.strip_prefix("embedded:")) else { continue };
            if !Path::new(path).exists() {
                bail!(
                    "the {name} store {path} does not exist; set the data folder with --data or the store with --store {name}=URL"
                );
            }
        }
        Ok(Self(urls))
    }

    /// That of one store; they all have one.
    pub(crate) fn of(&self, name: &str) -> &str {
        self.0.get(name).map(String::as_str).unwrap_or_default()
    }
}

impl Facts {
    /// Reads all stores. The order store is read first: the others, read later, can only have more.
    pub(crate) async fn read(urls: &StoreUrls, running: bool) -> anyhow::Result<Self> {
        let now = Timestamp::now();
        // What is handled by now has its effect in all stores that are read after this.
        let handled = bus::Bus::handled(urls.of("bus")).await.context("the bus")?;
        // The consumer is read first: what it has consumed, the publishers must have.
        let notifications =
            notification::audit_facts(urls.of("notification")).await.context("the notification store")?;
        let orders = order::audit::audit_facts(urls.of("order")).await.context("the order store")?;
        let payments = payment::audit_facts(urls.of("payment")).await.context("the payment store")?;
        let stock = stock::audit_facts(urls.of("stock")).await.context("the stock store")?;
        let customers = customer::audit_facts(urls.of("customer")).await.context("the customer store")?;
        let products = product::audit_facts(urls.of("product")).await.context("the product store")?;
        let log = match bus::Bus::read_all(urls.of("bus")).await {
            Ok(kept) => Some(kept),
            Err(bus::Error::Unsupported(_)) => None,
            Err(error) => return Err(error).context("the bus"),
        };
        // One outbox publishes to two topics: what it has deleted is of both.
        let prospects = OutboxDump { events: Vec::new(), pruned_before: customers.outbox.pruned_before };
        let aggregates = aggregates(&orders, &payments, &stock, &customers, &products);
        Ok(Self {
            running,
            now,
            // Those of customers are counted over several reads, between which others may be given.
            numbers: [
                orders.numbers.as_slice(),
                &[payments.numbers, products.numbers],
                &stock.numbers,
                if running { &[] } else { &customers.numbers },
            ]
            .concat(),
            comparisons: vec![
                orders.comparison,
                payments.comparison,
                stock.comparison,
                customers.comparison,
                products.comparison,
            ],
            contradictions: [orders.contradictions, payments.contradictions, stock.contradictions].concat(),
            reports: orders.reports,
            orders: orders.orders.into_iter().map(|order| (order.id.clone(), order)).collect(),
            payments: payments.payments.into_iter().map(|payment| (payment.order_id.clone(), payment)).collect(),
            levels: stock.levels,
            in_transit: stock.in_transit,
            reservations: stock.reservations.into_iter().map(|r| (r.order_id.clone(), r)).collect(),
            released_before: stock.released_before,
            order_inbox: orders.inbox,
            stock_inbox: stock.inbox,
            notification_inbox: notifications.inbox,
            notifications: notifications.notifications,
            notified_before: notifications.pruned_before,
            activities: customers.activities.into_iter().map(|activity| activity.id).collect(),
            outboxes: BTreeMap::from([
                ("prospect-events", prospects),
                ("orders", orders.outbox),
                ("payments", payments.outbox),
                ("stock", stock.outbox),
                ("customers", customers.outbox),
                ("products", products.outbox),
            ]),
            aggregates,
            log,
            handled,
        })
    }

    /// Whether something that changed then may still be under way.
    pub(crate) fn is_young(&self, changed: Timestamp) -> bool {
        // A replica's clock may be ahead. What is days ahead would be young for ever.
        self.running && changed.plus(LEASE) > self.now && changed < Timestamp::now().plus(CLOCK_AHEAD)
    }

    /// Whether an event of that time, which was not consumed, is overdue.
    pub(crate) fn is_consumption_overdue(&self, published: Timestamp) -> bool {
        self.running && published.plus(CONSUMED) < self.now
    }

    /// Whether the answer of a provider to a question of that time is overdue.
    pub(crate) fn is_answer_overdue(&self, asked: Timestamp) -> bool {
        self.running && asked.plus(ANSWERED) < self.now
    }

    /// Whether the order's last event has not yet taken effect on stock.
    pub(crate) fn stock_is_behind(&self, order: &order::audit::OrderFact) -> bool {
        match self.stock_inbox.last.get(&("orders".to_owned(), order.id.clone())) {
            Some((consumed, _)) => *consumed < order.last_sequence,
            None => !forgotten(self.stock_inbox.pruned_before, Some(order.last_published_at)),
        }
    }

    /// Whether the first `missing` events of something may have been forgotten: only what the broker had for long is,
    /// so nothing published later is.
    pub(crate) fn may_lack(&self, topic: &str, aggregate: Aggregate, missing: i64) -> bool {
        let pruned = self.outboxes.get(topic).and_then(|outbox| outbox.pruned_before);
        let last = if missing < aggregate.last { None } else { aggregate.last_published };
        missing == 0 || (forgotten(pruned, aggregate.created_at) && forgotten(pruned, last))
    }

    /// Whether an order cannot be checked yet: it is open, young, or being refunded.
    pub(crate) fn is_under_way(&self, order: &order::audit::OrderFact) -> bool {
        order.open || order.refunds_pending > 0 || self.is_young(order.updated_at)
    }

    /// Whether the lease of an open order expired long ago on a running fleet, so that no replica drives it.
    pub(crate) fn is_abandoned(&self, order: &order::audit::OrderFact) -> bool {
        self.running && order.open && order.lease_until.plus(3 * LEASE) < self.now
    }
}

/// All aggregates whose changes are published as events.
fn aggregates(
    orders: &order::audit::Facts,
    payments: &payment::Facts,
    stock: &stock::Facts,
    customers: &customer::Facts,
    products: &product::Facts,
) -> BTreeMap<(String, String), Aggregate> {
    let mut aggregates = BTreeMap::new();
    let mut add =
        |topic: &str, subject: &str, last, created_at: Option<Timestamp>, last_published: Option<Timestamp>| {
            aggregates.insert((topic.to_owned(), subject.to_owned()), Aggregate { last, created_at, last_published });
        };
    let time = |micros: i64| Some(Timestamp::from_micros(micros));
    for order in &orders.orders {
        add("orders", &order.id, order.last_sequence, Some(order.created_at), Some(order.last_published_at));
    }
    for payment in &payments.payments {
        // It also changes without an event.
        add("payments", &payment.order_id, payment.last_sequence, time(payment.created_at), None);
    }
    for held in &stock.reservations {
        add("stock", &held.order_id, held.last_sequence, time(held.created_at), time(held.updated_at));
    }
    for level in &stock.levels {
        let subject = format!("{}/{}", level.place_id, level.product_id);
        add("stock", &subject, level.last_sequence, None, None);
    }
    for (id, last) in &stock.replenishments {
        add("stock", &format!("replenishment/{id}"), *last, None, None);
    }
    for customer in &customers.customers {
        let (created_at, last_published) = (Some(customer.created_at), Some(customer.updated_at));
        add("customers", &customer.id, customer.last_sequence, created_at, last_published);
    }
    for prospect in &customers.prospects {
        let (created_at, last_published) = (Some(prospect.created_at), Some(prospect.updated_at));
        add("prospect-events", &prospect.id, prospect.last_sequence, created_at, last_published);
    }
    for activity in &customers.activities {
        // Published once, and changed without an event.
        let created_at = Some(activity.created_at);
        add("customers", &format!("activity/{}", activity.id), activity.last_sequence, created_at, created_at);
    }
    for product in &products.products {
        let (created_at, last_published) = (Some(product.created_at), Some(product.updated_at));
        add("products", &product.id, product.last_sequence, created_at, last_published);
    }
    aggregates
}

/// Whether something of that time may have been deleted; true if the time is unknown.
pub(crate) fn forgotten(before: Option<Timestamp>, at: Option<Timestamp>) -> bool {
    before.is_some_and(|before| at.is_none_or(|at| at < before))
}
