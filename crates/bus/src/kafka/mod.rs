//! Kafka, through librdkafka.
//!
//! The key of a message is the id of its aggregate, so all events of one aggregate are in one partition, in order.

mod consume;
mod publish;
mod read;

use std::{
    collections::BTreeMap,
    sync::{
        Arc, Mutex, Once, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use chassis::{Context, backoff};
use prometheus::IntGauge;
use rdkafka::{
    ClientConfig, ClientContext, Statistics,
    admin::{AdminClient, AdminOptions, NewTopic, TopicReplication},
    config::RDKafkaLogLevel,
    consumer::{BaseConsumer, Consumer, ConsumerContext},
    error::{KafkaError, RDKafkaErrorCode},
};
use tokio::sync::{oneshot, watch};

use crate::{Error, Topology, topology};

pub(crate) use read::{dump, read, tail};

/// Time-out of operations on the cluster.
const TIMEOUT: Duration = Duration::from_secs(10);

/// How long [`connection_error`] waits for a connection to fail.
const DIAGNOSIS_TIMEOUT: Duration = Duration::from_secs(2);

/// Largest message of a created topic, in bytes, unless the URL sets `message.max.bytes`. A request body of 2 MiB can
/// become an event that is larger than Kafka's own default.
const MAX_MESSAGE: u32 = 10 << 20;
/// Largest dead letter, in bytes: it contains the message with its quotes escaped once more. Larger ones are truncated.
const MAX_DEAD_LETTER: u32 = 16 << 20;
/// Name of the client setting for the largest message.
const CLIENT_MAX_BYTES: &str = "message.max.bytes";
/// Name of the topic setting for the largest message.
const TOPIC_MAX_BYTES: &str = "max.message.bytes";

/// The settings in the URL.
#[derive(Clone)]
pub(crate) struct Settings {
    /// The bootstrap servers.
    pub(crate) servers: String,
    /// Prefix of topic and group names, so that several installations can share a cluster.
    pub(crate) prefix: String,
    /// Of created topics.
    pub(crate) partitions: i32,
    pub(crate) replication: i32,
    /// Further settings of librdkafka.
    pub(crate) properties: BTreeMap<String, String>,
}

impl Settings {
    /// Validates the settings before anything runs.
    pub(crate) fn check(&self) -> Result<(), Error> {
        let is_set = |name: &str, accepts: fn(&str) -> bool| {
            self.properties.get(name).is_some_and(|text| accepts(&text.to_ascii_uppercase()))
        };
        let needs_tls_build = |mechanism: &str| mechanism != "PLAIN";
        let tls = is_set("security.protocol", |protocol| protocol.ends_with("SSL"))
            || is_set("sasl.mechanism", needs_tls_build)
            || is_set("sasl.mechanisms", needs_tls_build);
        if tls && !cfg!(feature = "kafka-tls") {
            return Err(Error::Setting(
                "this build supports no TLS to Kafka, and of SASL only PLAIN; build it with the feature kafka-tls"
                    .into(),
            ));
        }
        // Creating a client only validates its settings; it connects later. The reason names the property, never its
        // value.
        self.client().create::<BaseConsumer>().map(drop).map_err(|error| match error {
            KafkaError::ClientConfig(_, why, name, _) => Error::Setting(format!("{name} in the bus URL: {why}")),
            other => Error::Kafka(other),
        })
    }

    /// The settings of all clients. The URL cannot override what callers set after this.
    fn client(&self) -> ClientConfig {
        let mut config = ClientConfig::new();
        config
            .set("client.id", "souk")
            .set("socket.keepalive.enable", "true")
            .set("reconnect.backoff.max.ms", "5000")
            .set("topic.metadata.refresh.interval.ms", "10000")
            // A producer refuses larger messages; a consumer fetches at least this much.
            .set(CLIENT_MAX_BYTES, MAX_DEAD_LETTER.to_string())
            // A dead member's partitions move after about the time that leases take to expire.
            .set("session.timeout.ms", "10000")
            .set("heartbeat.interval.ms", "2000");
        for (name, value) in &self.properties {
            config.set(name, value);
        }
        config.set("bootstrap.servers", &self.servers);
        // The adapter logs what matters; librdkafka's own lines are logged at debug level.
        config.set_log_level(RDKafkaLogLevel::Warning);
        config
    }

    pub(crate) fn topic(&self, name: &str) -> String {
        format!("{}{name}", self.prefix)
    }

    /// The definition of a topic to create.
    fn new_topic<'a>(&self, name: &'a str, max_bytes: &'a str) -> NewTopic<'a> {
        let topic = NewTopic::new(name, self.partitions, TopicReplication::Fixed(self.replication));
        // A message that was acknowledged survives the loss of a broker, as far as there are replicas to spare.
        let in_sync = if self.replication >= 3 { "2" } else { "1" };
        let topic = topic.set(TOPIC_MAX_BYTES, max_bytes).set("min.insync.replicas", in_sync);
        // Dead letters are kept until an operator replays them.
        if name.ends_with(topology::DEAD_LETTER_SUFFIX) { topic.set("retention.ms", "-1") } else { topic }
    }

    /// The largest message of a topic to create. The URL can lower it: a cluster with a smaller limit refuses the topic.
    fn max_message_bytes(&self, name: &str) -> String {
        let default = if name.ends_with(topology::DEAD_LETTER_SUFFIX) { MAX_DEAD_LETTER } else { MAX_MESSAGE };
        self.properties.get(CLIENT_MAX_BYTES).cloned().unwrap_or_else(|| default.to_string())
    }
}

/// Observes the connections of a client, logs their loss and recovery, and exports the lag.
pub(crate) struct ClientObserver {
    group: &'static str,
    unreachable: AtomicBool,
    /// The last connection error, without the parts that differ each time.
    reason: Mutex<String>,
    lag: Option<IntGauge>,
}

impl ClientObserver {
    pub(crate) fn new(group: &'static str, lag: Option<IntGauge>) -> Self {
        Self { group, unreachable: AtomicBool::new(false), reason: Mutex::default(), lag }
    }

    /// An observer that logs nothing, for clients whose callers report failures.
    pub(crate) fn silent() -> Self {
        Self { group: "", unreachable: AtomicBool::new(true), reason: Mutex::default(), lag: None }
    }

    fn reason(&self) -> std::sync::MutexGuard<'_, String> {
        // A panic cannot leave the text half changed, so poisoning is ignored.
        self.reason.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Records the error in a log line of librdkafka: `[thread:…]: ERROR (after 3ms in state …)`.
    fn record_reason(&self, line: &str) {
        let error = line.rsplit("]: ").next().unwrap_or_default();
        error.split(" (after ").next().unwrap_or_default().clone_into(&mut self.reason());
    }

    /// Logs once that the cluster became unreachable.
    fn report_lost(&self, reason: &str) {
        if !self.unreachable.swap(true, Ordering::Relaxed) {
            tracing::warn!(group = self.group, reason, "Kafka is unreachable; waiting for it");
        }
    }

    /// Logs once that the cluster is reachable again.
    fn report_recovered(&self) {
        if !self.group.is_empty() && self.unreachable.swap(false, Ordering::Relaxed) {
            tracing::info!(group = self.group, "Kafka is reachable again");
        }
    }
}

impl ClientContext for ClientObserver {
    fn log(&self, _: RDKafkaLogLevel, facility: &str, message: &str) {
        tracing::debug!(facility, message, "librdkafka");
        if facility == "FAIL" {
            self.record_reason(message);
        }
    }

    fn error(&self, error: KafkaError, reason: &str) {
        tracing::debug!(%error, reason, "librdkafka");
        if error.rdkafka_error_code() != Some(RDKafkaErrorCode::AllBrokersDown) {
            self.record_reason(reason);
        }
        // The loss of one of several brokers does no harm; only the loss of all is logged.
        if matches!(
            error.rdkafka_error_code(),
            Some(RDKafkaErrorCode::AllBrokersDown | RDKafkaErrorCode::Authentication | RDKafkaErrorCode::Fatal)
        ) {
            let last = self.reason().clone();
            self.report_lost(if last.is_empty() { reason } else { &last });
        }
    }

    fn stats(&self, statistics: Statistics) {
        if statistics.brokers.values().any(|broker| broker.state == "UP" && broker.nodeid >= 0) {
            self.report_recovered();
        }
        if let Some(lag) = &self.lag {
            // Minus one means unknown, as for the partitions of another replica.
            let partitions = statistics.topics.values().flat_map(|topic| topic.partitions.values());
            lag.set(partitions.map(|partition| partition.consumer_lag_stored.max(0)).sum());
        }
    }
}

impl ConsumerContext for ClientObserver {}

/// The adapter for a Kafka cluster.
pub(crate) struct Kafka {
    pub(crate) settings: Settings,
    ctx: Context,
    pub(crate) topology: Topology,
    producer: Mutex<Option<Arc<publish::Producer>>>,
    /// Whether the topics exist, or the cluster does not allow to create them.
    topics_ready: watch::Sender<bool>,
    topic_creation: Once,
}

impl Kafka {
    pub(crate) fn open(settings: Settings, ctx: &Context, topology: Topology) -> Result<Self, Error> {
        let kafka = Self {
            settings,
            ctx: ctx.clone(),
            topology,
            producer: Mutex::new(None),
            topics_ready: watch::Sender::new(false),
            topic_creation: Once::new(),
        };
        // Reports invalid settings of the producer now, not with the first event.
        kafka.producer()?;
        Ok(kafka)
    }

    /// Waits until the topics exist. The first call starts their creation.
    async fn wait_for_topics(&self) {
        self.topic_creation.call_once(|| {
            let (settings, topology, ready) = (self.settings.clone(), self.topology, self.topics_ready.clone());
            let shutdown = self.ctx.shutdown.clone();
            self.ctx.spawn("topics", async move {
                if backoff::until_ok("creating Kafka's topics", &shutdown, || create_topics(&settings, topology))
                    .await
                    .is_some()
                {
                    ready.send_replace(true);
                }
            });
        });
        // `self` owns the sender, so it is not dropped.
        let _ = self.topics_ready.subscribe().wait_for(|ready| *ready).await;
    }

    fn slot(&self) -> std::sync::MutexGuard<'_, Option<Arc<publish::Producer>>> {
        // A panic cannot leave the slot half changed, so poisoning is ignored.
        self.producer.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Creates the topics that do not exist. Existing ones stay as they are.
async fn create_topics(settings: &Settings, topology: Topology) -> Result<(), Error> {
    let names: Vec<(String, String)> =
        topology.all_topics().map(|name| (settings.topic(&name), settings.max_message_bytes(&name))).collect();
    let topics: Vec<NewTopic<'_>> = names.iter().map(|(name, max_bytes)| settings.new_topic(name, max_bytes)).collect();
    let admin: AdminClient<ClientObserver> = settings.client().create_with_context(ClientObserver::silent())?;
    let options = AdminOptions::new().request_timeout(Some(TIMEOUT));
    let outcome = admin.create_topics(&topics, &options).await;
    // Blocks until a thread has ended.
    offload(move || drop(admin)).await;
    let outcome = match outcome {
        Ok(outcome) => outcome,
        Err(error) => return Err(connection_error(settings).await.map_or_else(|| error.into(), Error::Unreachable)),
    };
    for refused in outcome.into_iter().filter_map(Result::err) {
        use RDKafkaErrorCode as Code;
        match refused {
            (_, Code::TopicAlreadyExists) => {}
            // The owner of the cluster creates the topics; if a topic is missing, publishing fails.
            (
                topic,
                code @ (Code::TopicAuthorizationFailed | Code::ClusterAuthorizationFailed | Code::PolicyViolation),
            ) => {
                tracing::warn!(topic, %code, "Kafka does not allow to create the topic; the owner of the cluster must create it");
            }
            (topic, code) => return Err(Error::Refused { topic, reason: code.to_string() }),
        }
    }
    Ok(())
}

/// Why the cluster is unreachable, by a consumer client: an admin client does not report connection errors.
async fn connection_error(settings: &Settings) -> Option<String> {
    let config = settings.client();
    let connect = move || {
        let client: BaseConsumer<ClientObserver> = config.create_with_context(ClientObserver::silent()).ok()?;
        // Only the connection error is of interest; polling delivers it to the observer.
        let _ = client.fetch_metadata(None, DIAGNOSIS_TIMEOUT);
        for _ in 0..20 {
            let _ = client.poll(Duration::from_millis(10));
        }
        let reason = client.context().reason().clone();
        Some(reason).filter(|reason| !reason.is_empty())
    };
    offload(connect).await.flatten()
}

/// Runs blocking work on a thread of its own and waits for it for at most [`TIMEOUT`]. On the runtime's own threads a broker
/// that hangs would prevent the process from exiting.
async fn offload<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> Option<T> {
    let (done, outcome) = oneshot::channel();
    std::thread::spawn(move || done.send(work()).is_ok());
    tokio::time::timeout(TIMEOUT, outcome).await.ok()?.ok()
}
