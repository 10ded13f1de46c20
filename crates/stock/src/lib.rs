//! The stock service: how much of what is where, set aside for orders all or nothing, sold when they are
//! confirmed, put back when they are cancelled or returned, with a ledger line for every movement.

mod api;
mod audit;
mod clients;
mod commands;
mod config;
mod consumer;
mod domain;
mod error;
mod events;
mod executor;
mod expire;
mod metrics;
mod queue;
mod reorder;
mod replenish;
mod seed;
mod store;

use std::time::Duration;

use std::sync::Arc;

use auth::{InternalKey, Verifier};
use bus::{Bus, Relay, SqlOutbox};
use chassis::{App, Context};
use db::{Db, Options};

pub use audit::{Facts, LevelFact, LineFact, ReservationFact, TransitFact, audit_facts};
pub use config::Config;
pub use seed::{SeedLevel, SeedPlace, seed};

use api::{Api, Cursors};
use clients::{Catalogue, Orders};
use consumer::OrderEventConsumer;
use executor::Executor;
use expire::Expirer;
use queue::StockQueue;

/// The service's name.
pub const NAME: &str = "stock";

/// Where a test may have the process die.
pub const CRASH_POINTS: &[&str] = &[
    "stock.reserve.before_commit",
    "stock.reserve.after_commit",
    "stock.release.before_commit",
    "stock.release.after_commit",
    "stock.commit.before_commit",
    "stock.commit.after_commit",
    "stock.restock.before_commit",
    "stock.restock.after_commit",
];

/// What it is built from.
pub struct Deps {
    /// The process around it.
    pub ctx: Context,
    /// Where its events go and come from.
    pub bus: Bus,
}

/// Wires the service.
pub async fn build(config: Config, deps: Deps) -> anyhow::Result<App> {
    let Deps { ctx, bus } = deps;
    let verifier = Verifier::new(&config.auth())?.trusting(&config.trusted_issuers)?;
    let client = clients::http()?;
    let catalogue = Catalogue::new(client.clone(), &config.product_url, &ctx.metrics);
    let orders = Orders::new(client, &config.order_url, InternalKey::parse(&config.internal_key)?, &ctx.metrics);
    let db = open(&config, Some(&ctx)).await?;
    upkeep::prune(&ctx, &db, store::prunes(&config));
    let relay = Relay::start(&ctx, Arc::new(SqlOutbox::new(db.clone())), bus.clone());
    let executor = Executor {
        db: db.clone(),
        relay: Some(relay),
        crash: ctx.crash.clone(),
        hold: config.hold(),
        replenish_from: config.auto_replenish.then(|| config.logistics_place.clone()),
    };
    let queue = StockQueue::start(&ctx, executor.clone());
    bus.subscribe(
        &ctx,
        NAME,
        OrderEventConsumer {
            executor: executor.clone(),
            inconsistencies: metrics::inconsistencies(&ctx.metrics, consumer::KINDS),
        },
    )?;
    let expirer = Expirer {
        db: db.clone(),
        queue: queue.clone(),
        orders,
        every: config.expire_every(),
        pause: config.hold().min(Duration::from_secs(60)),
    };
    ctx.spawn("expirer", expirer.run(ctx.clone()));
    ctx.spawn("held stock", expire::measure_held_stock(db.clone(), ctx.clone()));
    let api = Api {
        queue: queue.clone(),
        executor,
        db: db.clone(),
        catalogue,
        verifier,
        cursors: Cursors::derive(config.internal_key.expose().as_bytes()),
        default_place: config.logistics_place.clone(),
        reservations: metrics::reservations(&ctx.metrics),
    };
    // On the heap, since it holds a clone of all that handlers have.
    let grpc = Box::pin(api::grpc(api.clone())).await?;
    Ok(App {
        http: api::http(api).merge(bus.routes()),
        grpc: Some(grpc),
        ready: chassis::ready_if(move || {
            let db = db.clone();
            async move { db.ping().await }
        }),
    })
}

/// The store as this version wants it, with the logistics centre in it.
async fn open(config: &Config, ctx: Option<&Context>) -> anyhow::Result<Db> {
    let db = migrated(config, ctx).await?;
    seed::create_logistics_place(&db, config).await?;
    Ok(db)
}

async fn migrated(config: &Config, ctx: Option<&Context>) -> anyhow::Result<Db> {
    let registry = ctx.map(|ctx| ctx.metrics.registry());
    let db = Db::open(&config.database_url, &Options::of(NAME), registry).await?;
    db.migrate(&[bus::MIGRATIONS, store::MIGRATIONS].concat()).await?;
    Ok(db)
}

/// Opens what the configuration names, and wires the service.
pub async fn start(config: Config, ctx: Context) -> anyhow::Result<App> {
    let bus = Bus::open(&config.bus_url, &ctx).await?;
    build(config, Deps { ctx, bus }).await
}

/// The description of the HTTP side.
pub fn openapi() -> utoipa::openapi::OpenApi {
    api::openapi()
}
