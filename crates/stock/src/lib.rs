//! The stock service: levels of products in places. Stock is reserved for orders, all or nothing, sold when they are confirmed,
//! and put back when they are cancelled or returned; each movement has an entry in the ledger.

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

use std::{sync::Arc, time::Duration};

use auth::{InternalKey, Verifier};
use bus::{Relay, SqlOutbox};
use chassis::App;
use service::{Deps, OrderClient, Service};

pub use audit::{Facts, LevelFact, LineFact, ReservationFact, TransitFact, audit_facts, history};
pub use config::Config;
pub use seed::{SeedLevel, SeedPlace, seed};

use api::{Api, Cursors};
use clients::Catalogue;
use consumer::OrderEventConsumer;
use executor::Executor;
use expire::Expirer;
use queue::StockQueue;

/// The service's name.
pub const NAME: &str = "stock";

/// Points where a test can make the process abort.
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

/// The service, for [`service::main`] and `souk`.
#[derive(Debug)]
pub struct Stock;

impl Service for Stock {
    const NAME: &'static str = NAME;
    const CRASH_POINTS: &'static [&'static str] = CRASH_POINTS;
    type Config = Config;

    async fn build(config: Config, deps: Deps) -> anyhow::Result<App> {
        let Deps { ctx, bus } = deps;
        let verifier = Verifier::new(&config.common.auth)?;
        let catalogue = Catalogue::new(&config.product_url, &ctx)?;
        let key = InternalKey::parse(&config.common.auth.internal_key)?;
        let orders = OrderClient::new(&config.order_url, key, NAME, &ctx)?;
        let db = store::open(&config, Some(&ctx)).await?;
        bus.check_store(&db, NAME).await?;
        seed::create_logistics_place(&db, &config).await?;
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
            hold: config.hold(),
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
            cursors: Cursors::derive(&config.common),
            default_place: config.logistics_place.clone(),
            reservations: metrics::reservations(&ctx.metrics),
        };
        // On the heap: the future holds a clone of the state of all handlers.
        let grpc = Box::pin(api::grpc(api.clone())).await?;
        Ok(App {
            http: api::http(api).merge(bus.routes()),
            grpc: Some(grpc),
            ready: service::ready_if_db(db),
            callers: chassis::Callers::Services,
        })
    }
}

/// The OpenAPI description.
pub fn openapi() -> utoipa::openapi::OpenApi {
    api::openapi()
}
