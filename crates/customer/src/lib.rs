//! Customers, users and their tokens; prospects and activities.
//!
//! This service stores buyers and logins, issues the users' tokens and publishes the keys that verify them. Deleting a
//! customer anonymises it: orders stay, personal data goes. A prospect may become a customer; each event about a prospect, from this
//! fleet or from another program, becomes an activity.

mod api;
mod audit;
mod clients;
mod config;
mod consumer;
mod convert_prospect;
mod domain;
mod error;
mod events;
mod login_throttle;
mod passwords;
mod recovery;
mod seed;
mod store;
mod tokens;
mod views;

use std::sync::Arc;

use auth::Verifier;
use bus::Relay;
use chassis::App;

pub use audit::{Fact, Facts, activity_of, audit_facts};
use service::{Deps, Service};

pub use config::Config;
pub use seed::{SeedUser, seed, tokens};

use store::{Opened, Retention};

/// The service's name.
pub const NAME: &str = "customer";

/// The service, for [`service::main`] and `souk`.
#[derive(Debug)]
pub struct Customer;

impl Service for Customer {
    const NAME: &'static str = NAME;
    const CRASH_POINTS: &'static [&'static str] = &[];
    type Config = Config;

    async fn build(config: Config, deps: Deps) -> anyhow::Result<App> {
        let Deps { ctx, bus } = deps;
        let Opened { store, outbox } = store::open(&config.common.database_url, Some(&ctx)).await?;
        if let store::Store::Sql(sql) = store.as_ref() {
            bus.check_store(&sql.db, NAME).await?;
        }
        seed::first_admin(&config, store.as_ref()).await?;
        let tokens =
            tokens::Tokens::open(Arc::clone(&store), &config.common.auth.issuer, config.token_ttl_seconds).await?;
        let relay = Relay::start(&ctx, outbox.clone(), bus.clone());
        bus.subscribe(&ctx, NAME, consumer::Listener { store: Arc::clone(&store), relay: relay.clone() })?;
        recovery::start(&ctx, Arc::clone(&store), tokens.clone(), relay.clone());
        let keep =
            Retention { events: upkeep::days(config.outbox_days), replies: upkeep::hours(config.idempotency_hours) };
        upkeep::start(&ctx, outbox.leases(), store.jobs(keep));
        let api = api::Api {
            verifier: Verifier::with_local_keys(&config.common.auth, &tokens.local_keys())?,
            tokens,
            relay,
            passwords: passwords::Passwords::new(),
            orders: Arc::new(clients::Orders::new(&config.order_url, &ctx)?),
            places: Arc::new(clients::Places::new(&config.stock_url, &ctx)?),
            customer_cursors: config.common.cursor_key("customers"),
            user_cursors: config.common.cursor_key("users"),
            prospect_cursors: config.common.cursor_key("prospects"),
            activity_cursors: config.common.cursor_key("activities"),
            store: Arc::clone(&store),
        };
        Ok(App {
            http: api::routes(api).merge(bus.routes()),
            grpc: None,
            ready: chassis::ready_if(move || {
                let store = Arc::clone(&store);
                async move { store.ping().await }
            }),
            callers: chassis::Callers::Services,
        })
    }
}

/// The description of the API.
pub fn openapi() -> utoipa::openapi::OpenApi {
    api::openapi()
}
