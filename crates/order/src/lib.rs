//! Orders and the checkout saga.
//!
//! Takes orders over REST, drives each through the saga (`domain/saga.rs`, pure; `checkout.rs`, its
//! driver) against the stock and payment services, and publishes what became of it.

mod accept;
mod api;
pub mod audit;
mod cancel;
mod checkout;
mod clients;
mod config;
mod domain;
mod error;
mod events;
mod follow;
mod fulfil;
mod leases;
pub mod metrics;
mod restitution;
mod store;

use std::sync::Arc;

use bus::{Bus, Relay, SqlOutbox};
use chassis::{App, Context};
use commerce::page::CursorKey;
use db::{Db, Options};

pub use config::Config;

/// The service's name.
pub const NAME: &str = "order";

/// Where tests have the process die: around each durable write and each send of the saga.
pub const CRASH_POINTS: &[&str] = &[
    "order.place.before",
    "order.place.after",
    "order.reserve.before",
    "order.reserve.after",
    "order.charge.before",
    "order.charge.after",
    "order.confirm.before",
    "order.confirm.after",
    "order.decide.before",
    "order.decide.after",
    "order.void.before",
    "order.void.after",
    "order.release.before",
    "order.release.after",
    "order.cancel.before",
    "order.cancel.after",
    "order.return.before",
    "order.return.after",
    "order.refund.before",
    "order.refund.after",
    "order.refunded.before",
    "order.refunded.after",
    "order.status.before",
    "order.status.after",
];

/// What the service gets from its process.
#[derive(Debug, Clone)]
pub struct Deps {
    /// Its surroundings.
    pub ctx: Context,
    /// Where it publishes.
    pub bus: Bus,
}

/// Wires the service.
pub async fn build(config: Config, deps: Deps) -> anyhow::Result<App> {
    let Deps { ctx, bus } = deps;
    let auth = config.auth();
    let verifier = auth::Verifier::new(&auth)?;
    let key = auth::InternalKey::parse(&auth.internal_key)?.for_service(NAME);
    let db = Db::open(&config.database_url, &Options::of(NAME), Some(ctx.metrics.registry())).await?;
    db.migrate(&[bus::MIGRATIONS, store::MIGRATIONS].concat()).await?;
    upkeep::prune(&ctx, &db, store::prunes(&config));
    let relay = Relay::start(&ctx, Arc::new(SqlOutbox::new(db.clone())), bus.clone());
    bus.subscribe(&ctx, NAME, follow::Follower { db: db.clone() })?;
    let clients = clients::Clients::new(&config, &ctx, &key)?;
    let cursors = CursorKey::derive(config.internal_key.expose().as_bytes(), "orders");
    let checkout = checkout::Checkout::new(db.clone(), ctx.clone(), Arc::new(config), clients, relay);
    ctx.spawn("leases", leases::keep(checkout.clone()));
    ctx.spawn("open sagas", leases::count(checkout.clone()));
    let state = api::State { checkout, verifier, cursors };
    Ok(App {
        http: chassis::openapi_docs(api::router().with_state(state)).merge(bus.routes()),
        grpc: None,
        ready: chassis::ready_if(move || {
            let db = db.clone();
            async move { db.ping().await }
        }),
    })
}

/// Opens what the service needs by its URLs, and wires it.
pub async fn start(config: Config, ctx: Context) -> anyhow::Result<App> {
    let bus = Bus::open(&config.bus_url, &ctx).await?;
    build(config, Deps { ctx, bus }).await
}

/// The API's description.
pub fn openapi() -> utoipa::openapi::OpenApi {
    api::router().into_openapi()
}
