//! Orders and the checkout saga.
//!
//! The service takes orders over REST, drives each through the saga (`domain/saga.rs`, pure; `app/saga_driver.rs`, its
//! driver) against the stock and payment services, and publishes the results.

mod api;
mod app;
pub mod audit;
mod clients;
mod config;
mod consumer;
mod domain;
mod error;
mod events;
pub mod generate;
pub mod metrics;
pub mod reports;
mod store;

use std::sync::Arc;

use bus::{Relay, SqlOutbox};
use chassis::App;
use service::{Deps, Service};

pub use config::Config;

/// The service's name.
pub const NAME: &str = "order";

/// Points where a test can make the process abort: around each durable write and each call of the saga.
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

/// The service, for [`service::main`] and `souk`.
#[derive(Debug)]
pub struct Order;

impl Service for Order {
    const NAME: &'static str = NAME;
    const CRASH_POINTS: &'static [&'static str] = CRASH_POINTS;
    type Config = Config;

    async fn build(config: Config, deps: Deps) -> anyhow::Result<App> {
        let Deps { ctx, bus } = deps;
        let verifier = auth::Verifier::new(&config.common.auth)?;
        let key = auth::InternalKey::parse(&config.common.auth.internal_key)?.for_service(NAME);
        let db = service::open_db(NAME, &config.common.database_url, store::MIGRATIONS, Some(&ctx)).await?;
        bus.check_store(&db, NAME).await?;
        let jobs = store::prunes(&config).into_iter().map(|prune| prune.job(db.clone()));
        upkeep::start(&ctx, Arc::new(upkeep::SqlLeases(db.clone())), jobs.chain([reports::job(db.clone())]).collect());
        let relay = Relay::start(&ctx, Arc::new(SqlOutbox::new(db.clone())), bus.clone());
        let clients = clients::Clients::new(&config, &ctx, &key)?;
        let (order_cursors, cart_cursors) = (config.common.cursor_key("orders"), config.common.cursor_key("carts"));
        let app = app::App::new(db.clone(), ctx.clone(), Arc::new(config), clients, relay.clone());
        bus.subscribe(&ctx, NAME, consumer::Consumer { app: app.clone() })?;
        ctx.spawn("leases", app::leases::run(app.clone()));
        ctx.spawn("withdrawals", app::withdraw::run(app.clone()));
        ctx.spawn("open sagas", app::leases::count_open(app.clone()));
        let state = api::ApiState { app, verifier, order_cursors, cart_cursors };
        Ok(App {
            http: chassis::openapi_docs(api::router().with_state(state)).merge(bus.routes()),
            grpc: None,
            ready: chassis::ready_with(
                move || {
                    let db = db.clone();
                    async move { db.ping().await }
                },
                // An unreachable broker is shown, and does not make the service unready.
                move || serde_json::json!({"store": "answers", "unpublished_seconds": relay.unpublished_seconds()}),
            ),
            callers: chassis::Callers::Services,
        })
    }
}

/// The API's description.
pub fn openapi() -> utoipa::openapi::OpenApi {
    api::router().into_openapi()
}
