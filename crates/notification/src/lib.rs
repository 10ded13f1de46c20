//! Notifications, the live stream, and the timeline of a customer.
//!
//! Consumes what the order, stock, payment and customer services publish, and orders that other programs report, turns
//! it into sentences for people, and shows each caller those that he may see.

mod api;
mod audit;
mod config;
mod domain;
mod error;
mod events;
mod store;

use std::sync::Arc;

use bus::{Bus, Sidecar};
use chassis::{App, Context};
use commerce::page::CursorKey;
use db::{Db, Options};
use tokio::sync::{Semaphore, watch};

pub use audit::{Facts, audit_facts};
pub use config::Config;

/// The service's name.
pub const NAME: &str = "notification";

/// What it is built from.
#[derive(Debug, Clone)]
pub struct Deps {
    /// The process around it.
    pub ctx: Context,
    /// Where events come from.
    pub bus: Bus,
}

/// Wires the service.
pub async fn build(config: Config, deps: Deps) -> anyhow::Result<App> {
    let Deps { ctx, bus } = deps;
    let db = Db::open(&config.database_url, &Options::of(NAME), Some(ctx.metrics.registry())).await?;
    db.migrate(&[bus::MIGRATIONS, store::MIGRATIONS].concat()).await?;
    upkeep::prune(&ctx, &db, store::prunes(&config));
    let (sender, news) = watch::channel(0);
    let sender = Arc::new(sender);
    let listener = events::Listener { db: db.clone(), news: Arc::clone(&sender) };
    bus.subscribe(&ctx, NAME, listener)?;
    let state = api::State {
        db: db.clone(),
        verifier: auth::Verifier::new(&config.auth())?.trusting(&config.trusted_issuers)?,
        cursors: CursorKey::derive(config.internal_key.expose().as_bytes(), "notifications"),
        news,
        sender,
        sidecar: Sidecar::of_process(),
        streams: Arc::new(Semaphore::new(config.streams)),
        ctx,
    };
    Ok(App {
        http: chassis::openapi_docs(api::router().with_state(state)).merge(bus.routes()),
        grpc: None,
        ready: chassis::ready_if(move || {
            let db = db.clone();
            async move { db.ping().await }
        }),
    })
}

/// Opens what the configuration names, and wires the service.
pub async fn start(config: Config, ctx: Context) -> anyhow::Result<App> {
    let bus = Bus::open(&config.bus_url, &ctx).await?;
    build(config, Deps { ctx, bus }).await
}

/// The API's description.
pub fn openapi() -> utoipa::openapi::OpenApi {
    api::router().into_openapi()
}
