//! Expires reservations: asks the order service whether an expired reservation is still needed, and releases it only if the
//! order is cancelled or unknown there.

use std::time::Duration;

use anyhow::Context as _;
use chassis::Context;
use commerce::{OrderId, Timestamp};
use db::Db;
use service::OrderClient;

use crate::{metrics, queue::StockQueue, store};

/// Reservations checked in one round.
const PER_ROUND: i64 = 100;
/// How often the held stock is measured.
const MEASURE_EVERY: Duration = Duration::from_secs(5);

/// Checks expired reservations from time to time.
pub(crate) struct Expirer {
    pub(crate) db: Db,
    pub(crate) queue: StockQueue,
    pub(crate) orders: OrderClient,
    /// The pause between two rounds.
    pub(crate) every: Duration,
    /// How long goods are reserved before the order is checked.
    pub(crate) hold: Duration,
    /// How long a reservation that is still needed is not checked again.
    pub(crate) pause: Duration,
}

impl Expirer {
    /// Runs rounds until the process stops.
    pub(crate) async fn run(self, ctx: Context) {
        let expired = metrics::expired(&ctx.metrics);
        let succeeded = upkeep::LastSuccess::of(&ctx, "expirer");
        let mut last = String::new();
        loop {
            tokio::select! {
                () = ctx.shutdown.cancelled() => return,
                () = tokio::time::sleep(self.every) => {}
            }
            let round = self.run_round(&ctx, &expired).await;
            if round.is_ok() {
                succeeded.now();
            }
            let error = round.err().map(|err| format!("{err:#}")).unwrap_or_default();
            if error != last && !error.is_empty() {
                tracing::warn!(%error, "expired reservations cannot be checked; they are kept");
            }
            last = error;
        }
    }

    /// One round. An order that cannot be checked does not stop the others. Returns the first failure, so that a failure that
    /// lasts is logged once.
    async fn run_round(&self, ctx: &Context, expired: &prometheus::IntCounterVec) -> anyhow::Result<()> {
        let orders = {
            let now = Timestamp::from_micros(self.db.read_clock().await?);
            let mut tx = self.db.read().await?;
            store::unit_of_work::expired(&mut tx, now, now.latest_deadline(self.hold), PER_ROUND).await?
        };
        let mut first = Ok(());
        for order_id in orders {
            let checked = tokio::select! {
                () = ctx.shutdown.cancelled() => return first,
                checked = self.check(&order_id) => checked,
            };
            match checked {
                Ok(answer) => expired.with_label_values(&[answer]).inc(),
                Err(err) => first = first.and(Err(err).with_context(|| format!("order {order_id}"))),
            }
        }
        first
    }

    /// Releases or keeps the reservation of one order. Returns the metric's label.
    async fn check(&self, order_id: &OrderId) -> anyhow::Result<&'static str> {
        match self.orders.status(order_id.as_str()).await?.as_deref() {
            None | Some("cancelled") => {
                self.queue.release(vec![order_id.clone()]).await?;
                Ok("released")
            }
            // Confirmed, or it may still be.
            Some(_) => {
                self.queue.extend_hold(order_id.clone(), self.pause).await?;
                Ok("kept")
            }
        }
    }
}

/// Measures the held stock of the whole store from time to time.
pub(crate) async fn measure_held_stock(db: Db, ctx: Context) {
    let (held, pieces) = metrics::held(&ctx.metrics);
    loop {
        // After a failure the gauges keep their values until the next round.
        if let Ok((orders, sum)) = read_held_stock(&db).await {
            held.set(orders);
            pieces.set(sum);
        }
        tokio::select! {
            () = ctx.shutdown.cancelled() => return,
            () = tokio::time::sleep(MEASURE_EVERY) => {}
        }
    }
}

async fn read_held_stock(db: &Db) -> Result<(i64, i64), db::Error> {
    let mut tx = db.read().await?;
    store::unit_of_work::held(&mut tx).await
}
