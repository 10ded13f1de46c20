//! What every service is wired from: common settings, dependencies, start, lists, clients of peer services.
//!
//! A service implements [`Service`]. [`main`] runs it in a process of its own; `souk` runs all of them in one process
//! through the same trait.

mod common;
mod list;
mod orders;
mod rest;

use std::{future::Future, process::ExitCode};

use bus::Bus;
use chassis::{App, Context, Ready};
use db::{Db, Migration, Options};

pub use common::Common;
pub use list::{List, bad_page};
pub use orders::OrderClient;
pub use rest::{PeerError, RestPeer};

/// What a service gets from the process that runs it.
#[derive(Clone, Debug)]
pub struct Deps {
    /// Metrics, stop signal and background tasks of the service.
    pub ctx: Context,
    /// The event bus, shared by all services of a process.
    pub bus: Bus,
}

/// The settings of a service with a store.
pub trait Settings: chassis::Settings + Send {
    /// Those that it has in common with all others.
    fn common(&mut self) -> &mut Common;
}

/// Implements [`Settings`] for a struct with the common settings in a field `common`, and the port of gRPC in the named field if it
/// has one.
#[macro_export]
macro_rules! settings {
    ($config:ident $(, $grpc_port:ident)?) => {
        impl chassis::Settings for $config {
            fn bind(&self) -> (std::net::IpAddr, u16, Option<u16>) {
                (self.common.bind, self.common.port, None $(.or(Some(self.$grpc_port)))?)
            }
        }

        impl $crate::Settings for $config {
            fn common(&mut self) -> &mut $crate::Common {
                &mut self.common
            }
        }
    };
}

/// A service with a store and the event bus.
pub trait Service: 'static {
    /// Its name in logs, metrics, tokens and settings.
    const NAME: &'static str;
    /// Points where a test can make the process abort, besides those of the bus.
    const CRASH_POINTS: &'static [&'static str];
    /// Its settings.
    type Config: Settings;

    /// Opens the store and wires the service.
    fn build(config: Self::Config, deps: Deps) -> impl Future<Output = anyhow::Result<App>> + Send;
}

/// Runs a service in a process of its own until it is told to stop.
pub fn main<S: Service>() -> ExitCode {
    let crash_points = [S::CRASH_POINTS, bus::CRASH_POINTS].concat();
    chassis::main(S::NAME, &crash_points, start::<S>)
}

/// Opens the bus that the settings name and builds the service on it.
pub async fn start<S: Service>(mut config: S::Config, ctx: Context) -> anyhow::Result<App> {
    let bus = Bus::open(&config.common().bus_url, &ctx).await?;
    S::build(config, Deps { ctx, bus }).await
}

/// Opens the database of a service and brings its schema up to date: the tables of outbox, inbox and leases, then its own.
pub async fn open_db(name: &'static str, url: &str, own: &[Migration], ctx: Option<&Context>) -> anyhow::Result<Db> {
    let db = Db::open(url, &Options::of(name), ctx.map(|ctx| ctx.metrics.registry())).await?;
    db.migrate(&[bus::MIGRATIONS, own].concat()).await?;
    Ok(db)
}

/// Readiness of a service that needs nothing but its database.
pub fn ready_if_db(db: Db) -> Ready {
    chassis::ready_if(move || {
        let db = db.clone();
        async move { db.ping().await }
    })
}
