//! Reservations past their time: the order service is asked whether they are still wanted, and only what is
//! cancelled or unknown there is given back.

use std::time::Duration;

use anyhow::Context as _;
use chassis::Context;
use commerce::{OrderId, Timestamp};
use db::Db;

use crate::{
    clients::{Orders, Wanted},
    commands::{Command, StockQueue},
    metrics, store,
};

/// Reservations looked at in one round.
const AT_ONCE: i64 = 100;
/// How often what is set aside is counted.
const COUNT: Duration = Duration::from_secs(5);

/// What the expirer works with.
pub(crate) struct Expirer {
    pub(crate) db: Db,
    pub(crate) queue: StockQueue,
    pub(crate) orders: Orders,
    /// How often it looks.
    pub(crate) every: Duration,
    /// How long a reservation that is still wanted is left alone.
    pub(crate) pause: Duration,
}

impl Expirer {
    /// Looks again and again until the process stops.
    pub(crate) async fn run(self, ctx: Context) {
        let expired = metrics::expired(&ctx.metrics);
        let succeeded = upkeep::LastSuccess::of(&ctx, "expirer");
        let mut last = String::new();
        loop {
            tokio::select! {
                () = ctx.shutdown.cancelled() => return,
                () = tokio::time::sleep(self.every) => {}
            }
            let looked = self.look(&ctx, &expired).await;
            if looked.is_ok() {
                succeeded.now();
            }
            let said = looked.err().map(|err| format!("{err:#}")).unwrap_or_default();
            if said != last && !said.is_empty() {
                tracing::warn!(error = %said, "reservations past their time cannot be settled; they are kept");
            }
            last = said;
        }
    }

    /// One round. An order that cannot be settled does not stand in the way of the others; the first such is
    /// told of, so that the same trouble again is told once.
    async fn look(&self, ctx: &Context, expired: &prometheus::IntCounterVec) -> anyhow::Result<()> {
        let orders = {
            let mut tx = self.db.read().await?;
            store::unit_of_work::expired(&mut tx, Timestamp::now(), AT_ONCE).await?
        };
        let mut first = Ok(());
        for order_id in orders {
            let settled = tokio::select! {
                () = ctx.shutdown.cancelled() => return first,
                settled = self.settle(&order_id) => settled,
            };
            match settled {
                Ok(answer) => expired.with_label_values(&[answer]).inc(),
                Err(err) => first = first.and(Err(err).with_context(|| format!("order {order_id}"))),
            }
        }
        first
    }

    /// Asks about one order and does what follows.
    async fn settle(&self, order_id: &OrderId) -> anyhow::Result<&'static str> {
        let (answer, task) = match self.orders.wants(order_id).await? {
            Wanted::No => ("released", Command::Release(order_id.clone())),
            Wanted::Yes => ("kept", Command::ExtendHold(order_id.clone(), self.pause)),
        };
        self.queue.one(task).await?;
        Ok(answer)
    }
}

/// Counts, again and again, what is set aside in the whole store.
pub(crate) async fn count(db: Db, ctx: Context) {
    let (held, pieces) = metrics::held(&ctx.metrics);
    loop {
        // A gauge that is not set this time is set the next.
        if let Ok(counted) = counted(&db).await {
            held.set(counted.0);
            pieces.set(counted.1);
        }
        tokio::select! {
            () = ctx.shutdown.cancelled() => return,
            () = tokio::time::sleep(COUNT) => {}
        }
    }
}

async fn counted(db: &Db) -> Result<(i64, i64), db::Error> {
    let mut tx = db.read().await?;
    store::unit_of_work::held(&mut tx).await
}
