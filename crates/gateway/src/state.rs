//! What the gateway's handlers need.

use std::{sync::Arc, time::Duration};

use auth::oidc::ForeignIssuers;
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
    /// The same by gRPC.
    pub(crate) stock_channel: Channel,
    pub(crate) notification: Upstream,
    pub(crate) payment: PaymentsClient<Channel>,
    /// The same connection, for what speaks the old proto.
    pub(crate) payment_channel: Channel,
    /// Tells only whether the payment service is well; calls go by gRPC.
    pub(crate) payment_health: Upstream,
    /// Whose tokens the dialect `event-prospect` takes.
    pub(crate) event_prospect_issuer: ForeignIssuers,
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
        check_timeouts(&config)?;
        let mut connector = HttpConnector::new();
        connector.set_nodelay(true);
        connector.set_connect_timeout(Some(Duration::from_secs(2)));
        let http = Client::builder(TokioExecutor::new())
            .pool_timer(TokioTimer::new())
            .pool_idle_timeout(IDLE)
            .build(connector);
        let payment_channel = channel(&config.payment_grpc_url)?;
        Ok(Self {
            http,
            customer: Upstream::new("customer", &config.customer_url)?,
            product: Upstream::new("product", &config.product_url)?,
            order: Upstream::new("order", &config.order_url)?,
            stock: Upstream::new("stock", &config.stock_url)?,
            stock_channel: channel(&config.stock_grpc_url)?,
            notification: Upstream::new("notification", &config.notification_url)?,
            payment: PaymentsClient::new(payment_channel.clone()),
            payment_channel,
            payment_health: Upstream::new("payment", &config.payment_url)?,
            verifier: auth::Verifier::new(&config.auth)?,
            event_prospect_issuer: ForeignIssuers::new(&config.event_prospect_issuer, None)?,
            key: auth::InternalKey::parse(&config.auth.internal_key)?.for_service(NAME),
            config: Arc::new(config),
        })
    }

    pub(crate) fn upstreams(&self) -> [&Upstream; 6] {
        [&self.customer, &self.product, &self.order, &self.stock, &self.payment_health, &self.notification]
    }

    /// Who verifies users' tokens.
    pub(crate) fn verifier(&self) -> &auth::Verifier {
        &self.verifier
    }

    /// The services that describe a REST API.
    pub(crate) fn described(&self) -> [&Upstream; 4] {
        [&self.customer, &self.order, &self.stock, &self.notification]
    }
}

/// A connection that is made when it is first used.
fn channel(url: &str) -> anyhow::Result<Channel> {
    let endpoint = Endpoint::from_shared(url.to_owned())?;
    Ok(endpoint.connect_timeout(Duration::from_secs(2)).tcp_nodelay(true).connect_lazy())
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
