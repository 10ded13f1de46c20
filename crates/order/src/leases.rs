//! Leases: this replica renews those of the orders that it drives, and takes over those that ran out.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use commerce::{OrderId, Timestamp};

use crate::{
    checkout::Checkout,
    metrics::{AGES, BOUNDS},
    store,
};

/// Most orders taken over at once.
const TAKEN: i64 = 200;
/// How often open orders are counted.
const COUNT: Duration = Duration::from_secs(5);

/// The orders that this replica drives now, with the epochs of their leases.
#[derive(Debug, Clone, Default)]
pub(crate) struct Driving(Arc<Mutex<HashMap<OrderId, i64>>>);

impl Driving {
    /// Notes that an order is driven, until the guard is dropped, also by a panic: then nobody renews its
    /// lease, and it is taken over.
    pub(crate) fn add(&self, id: &OrderId, epoch: i64) -> Driven {
        self.lock().insert(id.clone(), epoch);
        Driven { driving: self.clone(), id: id.clone(), epoch }
    }

    fn all(&self) -> Vec<(OrderId, i64)> {
        self.lock().iter().map(|(id, epoch)| (id.clone(), *epoch)).collect()
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, HashMap<OrderId, i64>> {
        // Each change is one insert or remove, so a panic elsewhere leaves nothing half done.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// An order that is driven.
#[derive(Debug)]
pub(crate) struct Driven {
    driving: Driving,
    id: OrderId,
    epoch: i64,
}

impl Drop for Driven {
    fn drop(&mut self) {
        let mut driving = self.driving.lock();
        // Unless it is driven again under a later epoch.
        if driving.get(&self.id) == Some(&self.epoch) {
            driving.remove(&self.id);
        }
    }
}

/// Renews and takes over until the process stops; then lets go of what is left.
pub(crate) async fn keep(checkout: Checkout) {
    let period = Duration::from_secs(checkout.config.lease_seconds).max(Duration::from_secs(1)) / 4;
    let succeeded = upkeep::LastSuccess::of(&checkout.ctx, "takeover");
    let mut first = true;
    let mut failing = false;
    loop {
        match sweep(&checkout, first).await {
            Ok(more) => {
                succeeded.now();
                first = first && more;
                if failing {
                    tracing::info!("leases are kept again");
                }
                failing = false;
                if more {
                    continue;
                }
            }
            Err(error) => {
                if !failing {
                    tracing::warn!(error = &error as &dyn std::error::Error, "cannot keep leases");
                }
                failing = true;
            }
        }
        tokio::select! {
            () = checkout.ctx.shutdown.cancelled() => break,
            () = tokio::time::sleep(period) => {}
        }
    }
    if let Err(error) = let_go(&checkout).await {
        tracing::warn!(error = &error as &dyn std::error::Error, "leases are left to run out");
    }
}

/// One round; tells whether there is more to take over at once.
async fn sweep(checkout: &Checkout, first: bool) -> Result<bool, db::Error> {
    let driving = checkout.driving.all();
    checkout.meters.driven.with_label_values::<&str>(&[]).set(i64::try_from(driving.len()).unwrap_or(i64::MAX));
    let now = Timestamp::now();
    let until = checkout.lease(0).until;
    let mut tx = checkout.db.read().await?;
    let open = store::expired(&mut tx, now, first && checkout.config.sole_replica).await?;
    drop(tx);
    if driving.is_empty() && !open {
        return Ok(false);
    }
    let mut tx = checkout.db.write().await?;
    store::renew(&mut tx, &driving, until).await?;
    // What is ours stays ours, whatever becomes of taking over.
    tx.commit().await?;
    let mut tx = checkout.db.write().await?;
    let all = first && checkout.config.sole_replica;
    let taken = store::take_over(&mut tx, &checkout.ctx.instance, now, until, all, TAKEN).await?;
    tx.commit().await?;
    let count = taken.len();
    if count > 0 {
        tracing::info!(orders = count, "open orders taken over");
        let counter = checkout.meters.takeovers.with_label_values::<&str>(&[]);
        counter.inc_by(u64::try_from(count).unwrap_or(u64::MAX));
    }
    for held in taken {
        if let Some(work) = &held.work {
            checkout.go_on(held.order, held.lease.epoch, work);
        }
    }
    Ok(i64::try_from(count).unwrap_or(i64::MAX) >= TAKEN)
}

/// Counts, again and again, what is open in the whole store.
pub(crate) async fn count(checkout: Checkout) {
    loop {
        // A gauge that is not set this time is set the next.
        if let Ok(counts) = open(&checkout).await {
            for (age, count) in AGES.into_iter().zip(counts) {
                checkout.meters.open.with_label_values(&[age]).set(count);
            }
        }
        tokio::select! {
            () = checkout.ctx.shutdown.cancelled() => return,
            () = tokio::time::sleep(COUNT) => {}
        }
    }
}

async fn open(checkout: &Checkout) -> Result<[i64; 4], db::Error> {
    let now = Timestamp::now();
    let mut tx = checkout.db.read().await?;
    store::open_since(&mut tx, BOUNDS.map(|seconds| now.minus(Duration::from_secs(seconds)))).await
}

async fn let_go(checkout: &Checkout) -> Result<(), db::Error> {
    let mut tx = checkout.db.write().await?;
    store::release_leases(&mut tx, &checkout.ctx.instance).await?;
    tx.commit().await
}
