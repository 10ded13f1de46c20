//! What the gateway's handlers need.

use std::{sync::Arc, time::Duration};

use axum::extract::FromRef;
use chassis::config::ConfigError;
use hyper_util::{
    client::legacy::{Client, connect::HttpConnector},
    rt::{TokioExecutor, TokioTimer},
};
use proto::payment::v1::payments_client::PaymentsClient;
use tonic::transport::{Channel, Endpoint};

use crate::{
    NAME,
    config::Config,
    upstream::{Http, Upstream},
};

/// How long an idle connection to a service is kept.
const IDLE: Duration = Duration::from_secs(60);

/// What handlers need. Cheap to clone.
#[derive(Clone)]
pub(crate) struct Gateway {
    pub(crate) config: Arc<Config>,
    pub(crate) http: Http,
    pub(crate) customer: Upstream,
    pub(crate) product: Upstream,
    pub(crate) order: Upstream,
    pub(crate) stock: Upstream,
    pub(crate) notification: Upstream,
    pub(crate) payment: PaymentsClient<Channel>,
    /// Tells only whether the payment service is well; calls go by gRPC.
    pub(crate) payment_health: Upstream,
    verifier: auth::Verifier,
    pub(crate) key: auth::InternalKey,
}

impl FromRef<Gateway> for auth::Verifier {
    fn from_ref(gateway: &Gateway) -> Self {
        gateway.verifier.clone()
    }
}

impl Gateway {
    pub(crate) fn new(config: Config) -> anyhow::Result<Self> {
        let auth = config.auth();
        check_timeouts(&config)?;
        let mut connector = HttpConnector::new();
        connector.set_nodelay(true);
        connector.set_connect_timeout(Some(Duration::from_secs(2)));
        let http = Client::builder(TokioExecutor::new())
            .pool_timer(TokioTimer::new())
            .pool_idle_timeout(IDLE)
            .build(connector);
        let channel = Endpoint::from_shared(config.payment_grpc_url.clone())?
            .connect_timeout(Duration::from_secs(2))
            .tcp_nodelay(true)
            .connect_lazy();
        Ok(Self {
            http,
            customer: Upstream::new("customer", &config.customer_url)?,
            product: Upstream::new("product", &config.product_url)?,
            order: Upstream::new("order", &config.order_url)?,
            stock: Upstream::new("stock", &config.stock_url)?,
            notification: Upstream::new("notification", &config.notification_url)?,
            payment: PaymentsClient::new(channel),
            payment_health: Upstream::new("payment", &config.payment_url)?,
            verifier: auth::Verifier::new(&auth)?,
            key: auth::InternalKey::parse(&auth.internal_key)?.for_service(NAME),
            config: Arc::new(config),
        })
    }

    pub(crate) fn upstreams(&self) -> [&Upstream; 6] {
        [&self.customer, &self.product, &self.order, &self.stock, &self.payment_health, &self.notification]
    }

    /// The services that describe a REST API.
    pub(crate) fn described(&self) -> [&Upstream; 4] {
        [&self.customer, &self.order, &self.stock, &self.notification]
    }
}

/// A time-out of a service that there is not would never be used.
fn check_timeouts(config: &Config) -> anyhow::Result<()> {
    const KNOWN: [&str; 6] = ["customer", "product", "order", "stock", "payment", "notification"];
    match config.timeouts.keys().find(|name| !KNOWN.contains(&name.as_str())) {
        Some(name) => {
            let known = KNOWN.join(", ");
            Err(ConfigError::new(format!("timeouts: `{name}` is none of {known}")).into())
        }
        None => Ok(()),
    }
}
