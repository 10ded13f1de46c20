//! The state that the gateway's handlers share.

use std::{ops::Deref, sync::Arc, time::Duration};

use auth::oidc::ForeignIssuers;
use axum::extract::FromRef;
use chassis::{CALLER_IDLE, config::ConfigError};
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

/// The state of the handlers. Cheap to clone.
#[derive(Clone)]
pub(crate) struct Gateway(Arc<Shared>);

/// What the clones of a [`Gateway`] share.
pub(crate) struct Shared {
    pub(crate) config: Config,
    pub(crate) http: Http,
    pub(crate) customer: Upstream,
    pub(crate) product: Upstream,
    pub(crate) order: Upstream,
    pub(crate) stock: Upstream,
    /// The gRPC connection of the stock service.
    pub(crate) stock_channel: Channel,
    pub(crate) notification: Upstream,
    pub(crate) payment: PaymentsClient<Channel>,
    /// The same connection, for the old proto.
    pub(crate) payment_channel: Channel,
    /// The health of the payment service; its calls use gRPC.
    pub(crate) payment_health: Upstream,
    /// The issuers whose tokens the dialect `event-prospect` accepts.
    pub(crate) event_prospect_issuer: ForeignIssuers,
    verifier: auth::Verifier,
    pub(crate) key: auth::InternalKey,
}

impl Deref for Gateway {
    type Target = Shared;

    fn deref(&self) -> &Shared {
        &self.0
    }
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
            .pool_idle_timeout(CALLER_IDLE)
            .build(connector);
        let payment_channel = channel(&config.payment_grpc_url)?;
        Ok(Self(Arc::new(Shared {
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
            config,
        })))
    }

    pub(crate) fn upstreams(&self) -> [&Upstream; 6] {
        [&self.customer, &self.product, &self.order, &self.stock, &self.payment_health, &self.notification]
    }

    /// The verifier of users' tokens.
    pub(crate) fn verifier(&self) -> &auth::Verifier {
        &self.verifier
    }

    /// The services with a description of a REST API.
    pub(crate) fn described(&self) -> [&Upstream; 4] {
        [&self.customer, &self.order, &self.stock, &self.notification]
    }
}

/// A connection that is opened at its first use.
fn channel(url: &str) -> anyhow::Result<Channel> {
    let endpoint = Endpoint::from_shared(url.to_owned())?;
    Ok(endpoint.connect_timeout(Duration::from_secs(2)).tcp_nodelay(true).connect_lazy())
}

/// Refuses a timeout for an unknown service, which would have no effect.
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
