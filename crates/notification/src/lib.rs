//! Notifications, the live stream, and the timeline of a customer.
//!
//! Consumes the events of the order, stock, payment and customer services, and orders that other programs report; turns them into
//! sentences for people; shows each caller those that the caller may see.

mod api;
mod audit;
mod config;
mod domain;
mod error;
mod events;
mod store;

use std::sync::Arc;

use bus::Sidecar;
use chassis::App;
use tokio::sync::{Semaphore, watch};

pub use audit::{Facts, NotificationFact, audit_facts, history, notification_of};
use service::{Deps, Service};

pub use config::Config;

/// The service's name.
pub const NAME: &str = "notification";

/// The service, for [`service::main`] and `souk`.
#[derive(Debug)]
pub struct Notification;

impl Service for Notification {
    const NAME: &'static str = NAME;
    const CRASH_POINTS: &'static [&'static str] = &[];
    type Config = Config;

    async fn build(config: Config, deps: Deps) -> anyhow::Result<App> {
        let Deps { ctx, bus } = deps;
        let db = service::open_db(NAME, &config.common.database_url, store::MIGRATIONS, Some(&ctx)).await?;
        upkeep::prune(&ctx, &db, store::prunes(&config));
        let (sender, news) = watch::channel(0);
        let sender = Arc::new(sender);
        let listener = events::Listener { db: db.clone(), news: Arc::clone(&sender) };
        bus.subscribe(&ctx, NAME, listener)?;
        let state = api::State {
            db: db.clone(),
            verifier: auth::Verifier::new(&config.common.auth)?,
            cursors: config.common.cursor_key("notifications"),
            news,
            sender,
            sidecar: Sidecar::of_process(),
            streams: Arc::new(Semaphore::new(config.streams)),
            ctx,
        };
        Ok(App {
            http: chassis::openapi_docs(api::router().with_state(state)).merge(bus.routes()),
            grpc: None,
            ready: service::ready_if_db(db),
            callers: chassis::Callers::Services,
        })
    }
}

/// The API's description.
pub fn openapi() -> utoipa::openapi::OpenApi {
    api::router().into_openapi()
}
