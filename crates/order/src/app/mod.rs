//! Use cases. Each module has plain functions that take the [`App`]; the API and the event consumer call nothing else.

pub(crate) mod amend;
pub(crate) mod cancel;
pub(crate) mod carts;
pub(crate) mod change_status;
pub(crate) mod checkout_cart;
pub(crate) mod leases;
pub(crate) mod outcome;
pub(crate) mod payment_status;
pub(crate) mod place_order;
pub(crate) mod queries;
pub(crate) mod returns;
mod saga_driver;
pub(crate) mod sales_reports;
pub(crate) mod withdraw;
mod writer;

use std::{sync::Arc, time::Duration};

use bus::Relay;
use chassis::Context;
use commerce::Timestamp;
use db::Db;

use crate::{clients::Clients, config::Config, error::Error, metrics::Meters, store::Lease};
use leases::ActiveSagas;
use writer::Writer;

pub(crate) use crate::{
    clients::AvailabilityBound,
    store::{OrderFilter, StoredResponse, carts::CartFilter, routes},
};

/// What the use cases work with. Cheap to clone.
#[derive(Clone)]
pub(crate) struct App {
    pub(crate) config: Arc<Config>,
    db: Db,
    ctx: Context,
    clients: Clients,
    relay: Relay,
    meters: Meters,
    /// The sagas that run in this process.
    active: ActiveSagas,
    /// Writes new orders and saga updates in shared transactions.
    writer: Writer,
}

impl App {
    pub(crate) fn new(db: Db, ctx: Context, config: Arc<Config>, clients: Clients, relay: Relay) -> Self {
        let writer = Writer::start(&db, &ctx, &relay);
        let meters = Meters::new(&ctx.metrics);
        Self { config, db, ctx, clients, relay, meters, active: ActiveSagas::default(), writer }
    }

    /// How long a request waits for the outcome of its order before it is answered with 202.
    pub(crate) fn checkout_timeout(&self) -> Duration {
        chassis::deadline::within_to_answer(Duration::from_secs(self.config.checkout_seconds))
    }

    /// A fresh lease of this replica. It lasts three quarters of `lease_seconds`: other replicas look for expired leases
    /// four times in that span, so an order is taken over within `lease_seconds` of its owner's end.
    fn new_lease(&self, epoch: i64) -> Lease {
        Lease { owner: self.ctx.instance.clone(), epoch, until: self.store_time().plus(self.lease_duration()) }
    }

    fn lease_duration(&self) -> Duration {
        Duration::from_secs(self.config.lease_seconds) * 3 / 4
    }

    /// The time by the clock of the store, which decides about leases.
    fn store_time(&self) -> Timestamp {
        Timestamp::from_micros(self.db.now_micros())
    }
}

/// The row of an order is locked from its read to its update, so an update that finds another version is a defect.
fn require_written(written: bool) -> Result<(), Error> {
    if written { Ok(()) } else { Err(Error::LockedOrderChanged) }
}
