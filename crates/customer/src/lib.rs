//! Customers, users and their tokens; prospects and activities.
//!
//! This service keeps who buys and who logs in, issues the users' tokens and publishes the keys to verify them
//! with. Deleting a customer anonymises him: his orders stay, everything personal goes. Prospects may become
//! customers; what is heard of them on the bus, from this house or another, becomes an activity.

mod api;
mod audit;
mod clients;
mod config;
mod convert;
mod domain;
mod error;
mod events;
mod follow;
mod guesses;
mod hear;
mod passwords;
mod seed;
mod store;
mod tokens;

use std::sync::Arc;

use auth::Verifier;
use bus::{Bus, Relay};
use chassis::{App, Context};
use commerce::page::CursorKey;

pub use audit::{CustomerFact, Facts, LeadFact, activity_of, audit_facts};
pub use config::Config;
pub use seed::{SeedUser, seed, tokens};

use store::{Keep, Opened};

/// The service's name.
pub const NAME: &str = "customer";

/// Where a test may have the process die.
pub const CRASH_POINTS: &[&str] = bus::CRASH_POINTS;

/// What it is built from.
pub struct Deps {
    /// The process around it.
    pub ctx: Context,
    /// Where its events go.
    pub bus: Bus,
}

/// Wires the service.
pub async fn build(config: Config, deps: Deps) -> anyhow::Result<App> {
    let Deps { ctx, bus } = deps;
    let Opened { store, outbox } = store::open(&config.database_url, Some(&ctx)).await?;
    seed::first_admin(&config, store.as_ref()).await?;
    let tokens = tokens::Tokens::open(Arc::clone(&store), &config.issuer, config.token_ttl_seconds).await?;
    let relay = Relay::start(&ctx, outbox.clone(), bus.clone());
    bus.subscribe(&ctx, NAME, hear::Listener { store: Arc::clone(&store), relay: relay.clone() })?;
    follow::start(&ctx, Arc::clone(&store), tokens.clone(), relay.clone());
    let keep = Keep { events: upkeep::days(config.outbox_days), replies: upkeep::hours(config.idempotency_hours) };
    upkeep::start(&ctx, outbox.leases(), store.jobs(keep));
    let secret = config.internal_key.expose().as_bytes();
    let api = api::Api {
        verifier: Verifier::with_local_keys(&config.auth(), &tokens.local_keys())?.trusting(&config.trusted_issuers)?,
        tokens,
        relay,
        passwords: passwords::Passwords::new(),
        orders: Arc::new(clients::Orders::new(&config.order_url, &ctx.metrics)),
        places: Arc::new(clients::Places::new(&config.stock_url, &ctx.metrics)),
        customer_cursors: CursorKey::derive(secret, "customers"),
        user_cursors: CursorKey::derive(secret, "users"),
        prospect_cursors: CursorKey::derive(secret, "prospects"),
        activity_cursors: CursorKey::derive(secret, "activities"),
        store: Arc::clone(&store),
    };
    Ok(App {
        http: api::routes(api).merge(bus.routes()),
        grpc: None,
        ready: chassis::ready_if(move || {
            let store = Arc::clone(&store);
            async move { store.ping().await }
        }),
    })
}

/// Opens what the configuration names, and wires the service.
pub async fn start(config: Config, ctx: Context) -> anyhow::Result<App> {
    let bus = Bus::open(&config.bus_url, &ctx).await?;
    build(config, Deps { ctx, bus }).await
}

/// The description of the API.
pub fn openapi() -> utoipa::openapi::OpenApi {
    api::openapi()
}
