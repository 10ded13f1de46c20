//! The services behind the gateway: their replicas, health checks and round robin.

use std::{
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use axum::body::Body;
use chassis::Context;
use futures::{StreamExt, stream::FuturesUnordered};
use http::{Request, Uri, uri::Authority};
use http_body_util::BodyExt;
use hyper_util::client::legacy::{Client, connect::HttpConnector};
use prometheus::IntGaugeVec;
use tokio::sync::{Notify, watch};

pub(crate) type Http = Client<HttpConnector, Body>;
pub(crate) type HttpError = hyper_util::client::legacy::Error;

/// The timeout of a health check.
const PROBE_TIMEOUT: Duration = Duration::from_secs(2);
/// The period of health checks of an unhealthy replica.
const UNHEALTHY_PERIOD: Duration = Duration::from_secs(1);

/// A service and its replicas. Cheap to clone.
#[derive(Clone, Debug)]
pub(crate) struct Upstream {
    pub(crate) name: &'static str,
    replicas: Arc<[Replica]>,
    /// Counts requests, for the round robin.
    turn: Arc<AtomicUsize>,
}

/// A replica of a service.
#[derive(Debug)]
pub(crate) struct Replica {
    pub(crate) authority: Authority,
    /// The result of the last probe, or of a failed request since.
    health: watch::Sender<Health>,
    /// The number of probes that began.
    probes: AtomicUsize,
    /// Requests a probe before its time.
    probe_requested: Notify,
}

#[derive(Debug, Clone, Copy)]
struct Health {
    healthy: bool,
    /// The number of the last probe.
    probe: usize,
}

impl Replica {
    fn at(authority: Authority) -> Self {
        let health = watch::Sender::new(Health { healthy: true, probe: 0 });
        Self { authority, health, probes: AtomicUsize::new(0), probe_requested: Notify::new() }
    }

    fn is_healthy(&self) -> bool {
        self.health.borrow().healthy
    }

    /// Excludes the replica until a probe succeeds.
    pub(crate) fn mark_unhealthy(&self) {
        self.health.send_modify(|health| health.healthy = false);
        self.probe_requested.notify_one();
    }

    /// Requests a probe. Completes when a probe that began after the call has ended.
    fn probe(&self) -> impl Future<Output = ()> + use<> {
        let begin = self.probes.load(Ordering::Relaxed);
        let mut health = self.health.subscribe();
        self.probe_requested.notify_one();
        async move {
            let _ = health.wait_for(|health| health.probe > begin).await;
        }
    }
}

/// An invalid URL of a service.
#[derive(Debug, thiserror::Error)]
#[error("`{url}` is no URL of the {name} service: http://HOST:PORT, several separated by commas")]
pub(crate) struct BadUrl {
    name: &'static str,
    url: String,
}

impl Upstream {
    pub(crate) fn new(name: &'static str, urls: &str) -> Result<Self, BadUrl> {
        let replicas = urls
            .split(',')
            .map(str::trim)
            .filter(|url| !url.is_empty())
            .map(|url| {
                url.parse::<Uri>()
                    .ok()
                    .filter(|uri| uri.scheme_str() == Some("http"))
                    .and_then(|uri| uri.authority().cloned())
                    .map(Replica::at)
                    .ok_or_else(|| BadUrl { name, url: url.to_owned() })
            })
            .collect::<Result<Vec<Replica>, BadUrl>>()?;
        if replicas.is_empty() {
            return Err(BadUrl { name, url: urls.to_owned() });
        }
        Ok(Self { name, replicas: replicas.into(), turn: Arc::default() })
    }

    /// The next healthy replica. If there is none, all are probed once more: the last probe may be a second old, and the service may
    /// have recovered since.
    pub(crate) async fn next(&self) -> Option<&Replica> {
        if let Some(healthy) = self.healthy() {
            return Some(healthy);
        }
        let probes = async {
            let mut probes: FuturesUnordered<_> = self.replicas.iter().map(Replica::probe).collect();
            while probes.next().await.is_some() {
                if let Some(healthy) = self.healthy() {
                    return Some(healthy);
                }
            }
            None
        };
        // A probe that runs already has to end first.
        tokio::time::timeout(2 * PROBE_TIMEOUT, probes).await.unwrap_or_default()
    }

    /// The next replica that was healthy at its last probe.
    pub(crate) fn healthy(&self) -> Option<&Replica> {
        let start = self.turn.fetch_add(1, Ordering::Relaxed);
        let count = self.replicas.len();
        (0..count).map(|step| &self.replicas[(start + step) % count]).find(|replica| replica.is_healthy())
    }

    /// Probes the replicas until the process stops.
    pub(crate) fn watch(&self, ctx: &Context, http: &Http, period: Duration) {
        let healthy =
            ctx.metrics.gauge("gateway_upstream_healthy", "1 if the upstream is healthy.", &["neighbour", "upstream"]);
        for index in 0..self.replicas.len() {
            let (this, http, ctx_, healthy) = (self.clone(), http.clone(), ctx.clone(), healthy.clone());
            ctx.spawn("health", async move { this.check(index, http, ctx_, healthy, period).await });
        }
    }

    async fn check(self, index: usize, http: Http, ctx: Context, gauge: IntGaugeVec, period: Duration) {
        let Some(replica) = self.replicas.get(index) else { return };
        let mut was = true;
        loop {
            let probe = replica.probes.fetch_add(1, Ordering::Relaxed) + 1;
            let healthy = is_ready(&http, &replica.authority).await;
            replica.health.send_replace(Health { healthy, probe });
            gauge.with_label_values(&[self.name, replica.authority.as_str()]).set(i64::from(healthy));
            if healthy != was {
                let upstream = replica.authority.as_str();
                if healthy {
                    tracing::info!(service = self.name, upstream, "upstream is reachable again");
                } else {
                    tracing::warn!(service = self.name, upstream, "upstream is unreachable");
                }
            }
            was = healthy;
            tokio::select! {
                () = ctx.shutdown.cancelled() => return,
                () = replica.probe_requested.notified() => {}
                () = tokio::time::sleep(if healthy { period } else { UNHEALTHY_PERIOD.min(period) }) => {}
            }
        }
    }
}

/// Whether a replica is ready. A replica without its store would refuse its share of the requests.
async fn is_ready(http: &Http, authority: &Authority) -> bool {
    let Ok(request) = Request::get(format!("http://{authority}/ready")).body(Body::empty()) else {
        return false;
    };
    let check = async {
        let response = http.request(request).await.ok()?;
        let ok = response.status().is_success();
        // Read to the end, so that the connection can be reused.
        response.into_body().collect().await.ok()?;
        Some(ok)
    };
    matches!(tokio::time::timeout(PROBE_TIMEOUT, check).await, Ok(Some(true)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn healthy_replicas_take_turns_and_the_others_are_passed_over() {
        let upstream = Upstream::new("order", "http://a:1, http://b:2,http://c:3").expect("three URLs");
        let take = || upstream.healthy().map(|replica| replica.authority.host().to_owned());
        let three: Vec<_> = (0..3).filter_map(|_| take()).collect();
        assert_eq!(three, ["a", "b", "c"]);
        upstream.replicas[1].mark_unhealthy();
        assert!((0..6).filter_map(|_| take()).all(|host| host != "b"));
        upstream.replicas[0].mark_unhealthy();
        upstream.replicas[2].mark_unhealthy();
        assert_eq!(take(), None);
    }

    #[tokio::test]
    async fn a_service_that_is_back_is_not_refused_for_what_the_last_look_found() -> anyhow::Result<()> {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await?;
        let address = listener.local_addr()?;
        drop(listener);
        let upstream = Upstream::new("order", &format!("http://{address}"))?;
        let ctx = Context::new("gateway", "1", Default::default(), Default::default());
        let http = Client::builder(hyper_util::rt::TokioExecutor::new()).build(HttpConnector::new());
        let looks_seldom = Duration::from_secs(3_600);
        upstream.watch(&ctx, &http, looks_seldom);
        while upstream.healthy().is_some() {
            tokio::task::yield_now().await;
        }
        assert!(upstream.next().await.is_none(), "nobody listens");

        let listener = tokio::net::TcpListener::bind(address).await?;
        let app = axum::Router::new().route("/ready", axum::routing::get(|| async {}));
        tokio::spawn(async move { axum::serve(listener, app).await });
        assert!(upstream.next().await.is_some(), "it is back");
        Ok(())
    }

    #[test]
    fn what_is_no_http_url_is_named() {
        for url in ["", "order:80", "https://order"] {
            let error = Upstream::new("order", url).expect_err("no URL").to_string();
            assert!(error.contains("order service"), "{error}");
        }
    }
}
