//! Orders and the checkout saga.
//!
//! Takes orders over REST, drives each through the saga (`domain/saga.rs`, pure; `checkout.rs`, its
//! driver) against the stock and payment services, and publishes what became of it.

mod accept;
mod amend;
mod api;
pub mod audit;
mod cancel;
mod carts;
mod checkout;
mod clients;
mod config;
mod domain;
mod error;
mod events;
mod follow;
mod fulfil;
pub mod generate;
mod leases;
pub mod metrics;
pub mod reports;
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
    let verifier = auth::Verifier::new(&auth)?.trusting(&config.trusted_issuers)?;
    let key = auth::InternalKey::parse(&auth.internal_key)?.for_service(NAME);
    let db = Db::open(&config.database_url, &Options::of(NAME), Some(ctx.metrics.registry())).await?;
    db.migrate(&[bus::MIGRATIONS, store::MIGRATIONS].concat()).await?;
    let jobs = store::prunes(&config).into_iter().map(|prune| prune.job(db.clone()));
    upkeep::start(&ctx, Arc::new(upkeep::SqlLeases(db.clone())), jobs.chain([reports::job(db.clone())]).collect());
    let relay = Relay::start(&ctx, Arc::new(SqlOutbox::new(db.clone())), bus.clone());
    let clients = clients::Clients::new(&config, &ctx, &key)?;
    let cursors = CursorKey::derive(config.internal_key.expose().as_bytes(), "orders");
    let cart_cursors = CursorKey::derive(config.internal_key.expose().as_bytes(), "carts");
    let checkout = checkout::Checkout::new(db.clone(), ctx.clone(), Arc::new(config), clients, relay.clone());
    bus.subscribe(&ctx, NAME, follow::Follower { checkout: checkout.clone() })?;
    ctx.spawn("leases", leases::keep(checkout.clone()));
    ctx.spawn("open sagas", leases::count(checkout.clone()));
    let state = api::State { checkout, verifier, cursors, cart_cursors };
    Ok(App {
        http: chassis::openapi_docs(api::router().with_state(state)).merge(bus.routes()),
        grpc: None,
        ready: chassis::ready_telling(
            move || {
                let db = db.clone();
                async move { db.ping().await }
            },
            // A broker that is away is shown, and no reason to take the service out.
            move || serde_json::json!({"store": "answers", "unpublished_seconds": relay.unpublished_seconds()}),
        ),
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
