//! A host: one process of a service. A run of it is everything between a start and a crash.

use std::{
    sync::{Arc, Mutex, PoisonError},
    time::Instant,
};

use axum::Router;
use bytes::Bytes;
use chassis::{Context, CrashPoints, Unreachable};
use tokio::{runtime::Runtime, sync::Notify, time};
use tokio_util::sync::CancellationToken;
use tower::ServiceExt as _;

use crate::{
    disk::Disk,
    fleet::Setup,
    network::{self, Network, Reply, Wire},
};

/// What a start has come to.
enum Served {
    Starting,
    Ready { http: Router, grpc: Option<Router> },
    Failed(String),
}

/// A run of a host. What belongs to it lives in a runtime of its own, so that it ends with that at any point.
pub struct Run {
    /// Its number, of all runs of all hosts.
    pub number: u64,
    /// Woken when it is to end.
    pub wake: Arc<Notify>,
    runtime: Runtime,
    served: Arc<Mutex<Served>>,
    ctx: Option<Context>,
}

impl Run {
    /// A run without a service.
    pub fn idle(number: u64) -> anyhow::Result<Self> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build()?;
        let served = Arc::new(Mutex::new(Served::Starting));
        Ok(Self { number, wake: Arc::default(), runtime, served, ctx: None })
    }

    /// Starts a service.
    pub fn start(number: u64, name: &'static str, setup: &Setup, wire: Wire) -> anyhow::Result<Self> {
        let mut run = Self::idle(number)?;
        let mut ctx = Context::new(name, Context::new_instance(), CancellationToken::new(), CrashPoints::none());
        ctx.network = chassis::Network::simulated(Arc::new(wire));
        let (served, setup, own) = (Arc::clone(&run.served), setup.clone(), ctx.clone());
        run.runtime.spawn(async move {
            let outcome = match setup.build(name, own.clone()).await {
                Ok(app) => {
                    let (http, grpc) = app.into_routers(&own);
                    Served::Ready { http, grpc }
                }
                Err(error) => Served::Failed(format!("{error:#}")),
            };
            *served.lock().unwrap_or_else(PoisonError::into_inner) = outcome;
        });
        run.ctx = Some(ctx);
        Ok(run)
    }

    /// Puts a task into it.
    pub fn spawn(&self, task: impl Future<Output = ()> + Send + 'static) {
        self.runtime.spawn(task);
    }

    /// Runs a task of it to its end, for the preparation.
    pub fn finish<T>(&self, task: impl Future<Output = T>) -> T {
        self.runtime.block_on(task)
    }

    /// Lets it run up to this time, or until it is to end.
    pub fn step(&self, until: Instant, disk: &Disk) {
        disk.enter(self.number, Some(Arc::clone(&self.wake)));
        self.runtime.block_on(async {
            tokio::select! {
                biased;
                () = self.wake.notified() => {}
                () = time::sleep_until(time::Instant::from_std(until)) => {}
            }
        });
    }

    /// Why its start failed, if it did.
    pub fn failure(&self) -> Option<String> {
        match &*self.served.lock().unwrap_or_else(PoisonError::into_inner) {
            Served::Failed(why) => Some(why.clone()),
            Served::Starting | Served::Ready { .. } => None,
        }
    }

    /// The sum of a metric over labels that contain this text.
    pub fn metric(&self, name: &str, label: &str) -> u64 {
        let Some(ctx) = &self.ctx else { return 0 };
        let families = ctx.metrics.registry().gather();
        let counters = families.iter().filter(|family| family.name() == name).flat_map(|family| family.get_metric());
        let matching = counters.filter(|metric| metric.get_label().iter().any(|pair| pair.value() == label));
        matching.map(|metric| metric.get_counter().get_value() as u64).sum()
    }

    /// Hands it a request; the response is sent when it is there.
    pub fn deliver(&self, request: http::Request<Bytes>, grpc: bool, reply: Option<Reply>, network: &Network) {
        let router = match &*self.served.lock().unwrap_or_else(PoisonError::into_inner) {
            Served::Ready { http, grpc: other } => {
                if grpc {
                    other.clone()
                } else {
                    Some(http.clone())
                }
            }
            Served::Starting | Served::Failed(_) => None,
        };
        let Some(router) = router else {
            if let Some(reply) = reply {
                network.answer(reply, Err(Unreachable), (0, 0, 0));
            }
            return;
        };
        let network = network.clone();
        self.spawn(async move {
            let Ok(response) = router.oneshot(request.map(axum::body::Body::from)).await;
            let (answer, about) = network::read(response).await;
            if let Some(reply) = reply {
                network.answer(reply, answer, about);
            }
        });
    }
}
