//! The payment service: authorise, capture, void and refund, each idempotent by order, operation and operation id, through a
//! provider port. A payment, its events and the decision of a local provider are one transaction.

mod api;
mod audit;
mod clients;
mod commands;
mod config;
mod domain;
mod error;
mod events;
mod executor;
mod metrics;
mod operations;
mod queue;
mod resolver;
mod store;
mod unit_of_work;

use std::sync::Arc;

use auth::{InternalKey, Verifier};
use bus::{Relay, SqlOutbox};
use chassis::App;
use service::{Deps, OrderClient, Service};

pub use audit::{Facts, PaymentFact, audit_facts, history};
pub use config::{Config, Money};

use api::Api;
use clients::{Provider, Sandbox};
use executor::Executor;
use operations::Operations;
use queue::PaymentQueue;
use resolver::Resolver;

/// The service's name.
pub const NAME: &str = "payment";

/// Points where a test can make the process abort.
pub const CRASH_POINTS: &[&str] = &[
    "payment.authorize.before_commit",
    "payment.authorize.after_commit",
    "payment.void.before_commit",
    "payment.void.after_commit",
    "payment.refund.before_commit",
    "payment.refund.after_commit",
];

/// The service, for [`service::main`] and `souk`.
#[derive(Debug)]
pub struct Payment;

impl Service for Payment {
    const NAME: &'static str = NAME;
    const CRASH_POINTS: &'static [&'static str] = CRASH_POINTS;
    type Config = Config;

    async fn build(config: Config, deps: Deps) -> anyhow::Result<App> {
        let Deps { ctx, bus } = deps;
        config.check()?;
        let verifier = Verifier::new(&config.common.auth)?;
        let db = service::open_db(NAME, &config.common.database_url, store::MIGRATIONS, Some(&ctx)).await?;
        bus.check_store(&db, NAME).await?;
        upkeep::prune(&ctx, &db, store::prunes(&config));
        let relay = Relay::start(&ctx, Arc::new(SqlOutbox::new(db.clone())), bus);
        let sandbox = Sandbox::new(&config, db.clone());
        let provider = Provider {
            local: (!config.sandbox_is_remote()).then(|| sandbox.clone()),
            remote: Arc::new(sandbox),
            timeout: config.provider_timeout(),
        };
        let executor = Executor {
            db: db.clone(),
            relay,
            provider: provider.clone(),
            crash: ctx.crash.clone(),
            money: metrics::MoneyMetrics::new(&ctx.metrics, config.currency),
            lease: resolver::lease(&provider),
            pause: config.resolve_every(),
        };
        let queue = PaymentQueue::start(&ctx, executor);
        let resolver = Resolver {
            db: db.clone(),
            queue: queue.clone(),
            provider,
            tasks: ctx.tasks.clone(),
            every: config.resolve_every(),
        };
        ctx.spawn("resolver", resolver.clone().run(ctx.clone()));
        let api = Api {
            operations: Operations::new(queue, resolver, config.provider_patience(), &ctx.metrics),
            orders: OrderClient::new(
                &config.order_url,
                InternalKey::parse(&config.common.auth.internal_key)?,
                NAME,
                &ctx,
            )?,
            db: db.clone(),
            cursors: config.common.cursor_key("payments"),
            currency: config.currency,
        };
        Ok(App {
            http: api::http(),
            grpc: Some(api::grpc(api, verifier).await?),
            ready: service::ready_if_db(db),
            callers: chassis::Callers::Services,
        })
    }
}

/// The OpenAPI description.
pub fn openapi() -> utoipa::openapi::OpenApi {
    api::openapi()
}
