//! Leases: this replica renews those of the orders whose sagas it runs, and takes over orders whose leases have expired.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use commerce::{OrderId, Timestamp};

use super::{App, saga_driver};
use crate::{
    metrics::{AGE_BOUNDS, AGES},
    store::{self, Takeover},
};

/// Most orders taken over in one transaction.
const MAX_TAKEOVER: i64 = 200;
/// Interval between two counts of the open orders.
const COUNT_INTERVAL: Duration = Duration::from_secs(5);

/// The orders whose sagas run in this process, with the epochs of their leases.
#[derive(Debug, Clone, Default)]
pub(crate) struct ActiveSagas(Arc<Mutex<HashMap<OrderId, i64>>>);

impl ActiveSagas {
    /// Adds an order until the guard is dropped, which a panic does, too: its lease then expires and another replica takes
    /// the order over.
    pub(super) fn add(&self, id: &OrderId, epoch: i64) -> ActiveGuard {
        self.lock().insert(id.clone(), epoch);
        ActiveGuard { active: self.clone(), id: id.clone(), epoch }
    }

    fn all(&self) -> Vec<(OrderId, i64)> {
        self.lock().iter().map(|(id, epoch)| (id.clone(), *epoch)).collect()
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<OrderId, i64>> {
        // Each change is one insert or remove, so a panic elsewhere leaves nothing half done.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Keeps an order in [`ActiveSagas`].
#[derive(Debug)]
pub(super) struct ActiveGuard {
    active: ActiveSagas,
    id: OrderId,
    epoch: i64,
}

impl Drop for ActiveGuard {
    fn drop(&mut self) {
        let mut active = self.active.lock();
        // A later epoch of the same order has its own guard.
        if active.get(&self.id) == Some(&self.epoch) {
            active.remove(&self.id);
        }
    }
}

/// Renews leases and takes orders over until the process stops; then releases the leases that are left.
pub(crate) async fn run(app: App) {
    let period = Duration::from_secs(app.config.lease_seconds).max(Duration::from_secs(1)) / 4;
    let succeeded = upkeep::LastSuccess::of(&app.ctx, "takeover");
    // On a store that no other replica uses, every lease found at start belongs to an earlier process.
    let mut takeover = if app.config.sole_replica { Takeover::EveryOpenOrder } else { Takeover::ExpiredLeases };
    let mut failing = false;
    loop {
        match sweep(&app, takeover).await {
            Ok(more) => {
                succeeded.now();
                if failing {
                    tracing::info!("lease renewal works again");
                }
                failing = false;
                if more {
                    continue;
                }
                takeover = Takeover::ExpiredLeases;
            }
            Err(error) => {
                if !failing {
                    tracing::warn!(error = &error as &dyn std::error::Error, "lease renewal failed; retrying");
                }
                failing = true;
            }
        }
        tokio::select! {
            () = app.ctx.shutdown.cancelled() => break,
            () = tokio::time::sleep(period) => {}
        }
    }
    if let Err(error) = release(&app).await {
        tracing::warn!(error = &error as &dyn std::error::Error, "releasing leases failed; they will expire");
    }
}

/// Renews and takes over once. Returns whether there are more orders to take over.
async fn sweep(app: &App, takeover: Takeover) -> Result<bool, db::Error> {
    let active = app.active.all();
    app.meters.active.with_label_values::<&str>(&[]).set(i64::try_from(active.len()).unwrap_or(i64::MAX));
    app.db.read_clock().await?;
    let now = app.store_time();
    let (until, latest) = (app.new_lease(0).until, now.latest_deadline(app.lease_duration()));
    let mut tx = app.db.read().await?;
    let open = store::has_takeover(&mut tx, now..=latest, takeover).await?;
    drop(tx);
    if active.is_empty() && !open {
        return Ok(false);
    }
    let mut tx = app.db.write().await?;
    store::renew(&mut tx, &active, until).await?;
    // Committed by itself, so that a failed takeover costs no renewal.
    tx.commit().await?;
    let mut tx = app.db.write().await?;
    let taken = store::take_over(&mut tx, &app.ctx.instance, now..=latest, until, takeover, MAX_TAKEOVER).await?;
    tx.commit().await?;
    let count = taken.len();
    if count > 0 {
        tracing::info!(orders = count, "took over open orders");
        let counter = app.meters.takeovers.with_label_values::<&str>(&[]);
        counter.inc_by(u64::try_from(count).unwrap_or(u64::MAX));
    }
    for stored in taken {
        if let Some(work) = &stored.work {
            saga_driver::resume(app, stored.order, stored.lease.epoch, work);
        }
    }
    Ok(i64::try_from(count).unwrap_or(i64::MAX) >= MAX_TAKEOVER)
}

/// Counts the open orders of the store by age until the process stops.
pub(crate) async fn count_open(app: App) {
    loop {
        // After a failure the gauge keeps its value until the next count.
        if let Ok(counts) = open_by_age(&app).await {
            for (age, count) in AGES.into_iter().zip(counts) {
                app.meters.open.with_label_values(&[age]).set(count);
            }
        }
        tokio::select! {
            () = app.ctx.shutdown.cancelled() => return,
            () = tokio::time::sleep(COUNT_INTERVAL) => {}
        }
    }
}

async fn open_by_age(app: &App) -> Result<[i64; 4], db::Error> {
    let now = Timestamp::now();
    let mut tx = app.db.read().await?;
    store::count_open_by_age(&mut tx, AGE_BOUNDS.map(|seconds| now.minus(Duration::from_secs(seconds)))).await
}

async fn release(app: &App) -> Result<(), db::Error> {
    let mut tx = app.db.write().await?;
    store::release_leases(&mut tx, &app.ctx.instance).await?;
    tx.commit().await
}
