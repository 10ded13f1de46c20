//! Kafka, by librdkafka.
//!
//! The key of a message is that of its aggregate, so one partition has all events of one aggregate, in order.

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

pub(crate) use read::{dump, read};

/// Longest wait for the broker.
const PATIENCE: Duration = Duration::from_secs(10);

/// Time for a connection to fail in, when its reason is looked for.
const PAUSE: Duration = Duration::from_secs(2);

/// Largest message of a topic that is made, in bytes, unless the URL says `message.max.bytes`. What makes an event is a body
/// of at most 2 MiB, and Kafka's own limit is below that.
const MESSAGE: u32 = 10 << 20;
/// Largest dead letter: the message with every quote in it escaped once more. What is larger still is cut.
const LETTER: u32 = 16 << 20;
/// Of clients.
const LARGEST: &str = "message.max.bytes";
/// Of topics.
const LARGEST_OF_TOPIC: &str = "max.message.bytes";

/// What the URL says.
#[derive(Clone)]
pub(crate) struct Settings {
    /// Where to find the cluster, as librdkafka takes it.
    pub(crate) servers: String,
    /// Before the names of topics and groups, so that several houses can share a cluster.
    pub(crate) prefix: String,
    /// Of topics that are made.
    pub(crate) partitions: i32,
    pub(crate) replication: i32,
    /// Anything else that librdkafka knows.
    pub(crate) properties: BTreeMap<String, String>,
}

impl Settings {
    /// Finds mistakes before anything runs.
    pub(crate) fn check(&self) -> Result<(), Error> {
        let wants = |name: &str, what: fn(&str) -> bool| {
            self.properties.get(name).is_some_and(|text| what(&text.to_ascii_uppercase()))
        };
        let digests = |mechanism: &str| mechanism != "PLAIN";
        let tls = wants("security.protocol", |protocol| protocol.ends_with("SSL"))
            || wants("sasl.mechanism", digests)
            || wants("sasl.mechanisms", digests);
        if tls && !cfg!(feature = "kafka-tls") {
            return Err(Error::Setting(
                "this build has no TLS to Kafka, and of SASL only PLAIN; build with the feature kafka-tls".into(),
            ));
        }
        // A client connects by itself later; making one only reads its settings. The reason names the property, never
        // its value.
        self.client().create::<BaseConsumer>().map(drop).map_err(|error| match error {
            KafkaError::ClientConfig(_, why, name, _) => Error::Setting(format!("{name} in the bus URL: {why}")),
            other => Error::Kafka(other),
        })
    }

    /// What all clients share. What the callers set after this, the URL cannot change.
    fn client(&self) -> ClientConfig {
        let mut config = ClientConfig::new();
        config
            .set("client.id", "souk")
            .set("socket.keepalive.enable", "true")
            .set("reconnect.backoff.max.ms", "5000")
            .set("topic.metadata.refresh.interval.ms", "10000")
            // A producer refuses what is larger by itself; a consumer fetches as much at least.
            .set(LARGEST, LETTER.to_string())
            // A dead member's partitions are somebody else's after the time that leases have too.
            .set("session.timeout.ms", "10000")
            .set("heartbeat.interval.ms", "2000");
        for (name, value) in &self.properties {
            config.set(name, value);
        }
        config.set("bootstrap.servers", &self.servers);
        // Our own logs have what matters; librdkafka's are shown at debug level.
        config.set_log_level(RDKafkaLogLevel::Warning);
        config
    }

    pub(crate) fn topic(&self, name: &str) -> String {
        format!("{}{name}", self.prefix)
    }

    /// A topic as it is made.
    fn new_topic<'a>(&self, name: &'a str, largest: &'a str) -> NewTopic<'a> {
        let topic = NewTopic::new(name, self.partitions, TopicReplication::Fixed(self.replication));
        let topic = topic.set(LARGEST_OF_TOPIC, largest);
        // A dead letter waits for somebody, however long that takes.
        if name.ends_with(topology::DEAD) { topic.set("retention.ms", "-1") } else { topic }
    }

    /// The largest message of a topic that is made. A cluster that allows less would refuse the topic, so the URL decides.
    fn largest(&self, name: &str) -> String {
        let most = if name.ends_with(topology::DEAD) { LETTER } else { MESSAGE };
        self.properties.get(LARGEST).cloned().unwrap_or_else(|| most.to_string())
    }
}

/// Listens to what a client tells of its connections.
pub(crate) struct Watch {
    group: &'static str,
    away: AtomicBool,
    /// What was last told of a connection, without what differs each time.
    reason: Mutex<String>,
    lag: Option<IntGauge>,
}

impl Watch {
    pub(crate) fn new(group: &'static str, lag: Option<IntGauge>) -> Self {
        Self { group, away: AtomicBool::new(false), reason: Mutex::default(), lag }
    }

    /// A client whose owner tells of failures himself.
    pub(crate) fn quiet() -> Self {
        Self { group: "", away: AtomicBool::new(true), reason: Mutex::default(), lag: None }
    }

    fn reason(&self) -> std::sync::MutexGuard<'_, String> {
        // A text is whole after a panic, so poison means nothing.
        self.reason.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Keeps what a client tells of a connection: behind the name of a thread stands what failed, and after how long.
    fn note(&self, told: &str) {
        let what = told.rsplit("]: ").next().unwrap_or_default();
        what.split(" (after ").next().unwrap_or_default().clone_into(&mut self.reason());
    }

    /// Says once that the broker is away.
    fn gone(&self, reason: &str) {
        if !self.away.swap(true, Ordering::Relaxed) {
            tracing::warn!(group = self.group, reason, "Kafka is away; waiting for it");
        }
    }

    fn back(&self) {
        if !self.group.is_empty() && self.away.swap(false, Ordering::Relaxed) {
            tracing::info!(group = self.group, "Kafka is back");
        }
    }
}

impl ClientContext for Watch {
    fn log(&self, _: RDKafkaLogLevel, facility: &str, message: &str) {
        tracing::debug!(facility, message, "librdkafka");
        if facility == "FAIL" {
            self.note(message);
        }
    }

    fn error(&self, error: KafkaError, reason: &str) {
        tracing::debug!(%error, reason, "librdkafka");
        if error.rdkafka_error_code() != Some(RDKafkaErrorCode::AllBrokersDown) {
            self.note(reason);
        }
        // One broker of several may go without harm; the others are told of when all have gone.
        if matches!(
            error.rdkafka_error_code(),
            Some(RDKafkaErrorCode::AllBrokersDown | RDKafkaErrorCode::Authentication | RDKafkaErrorCode::Fatal)
        ) {
            let why = self.reason().clone();
            self.gone(if why.is_empty() { reason } else { &why });
        }
    }

    fn stats(&self, statistics: Statistics) {
        if statistics.brokers.values().any(|broker| broker.state == "UP" && broker.nodeid >= 0) {
            self.back();
        }
        if let Some(lag) = &self.lag {
            // Minus one stands for "not known", as of what another replica has.
            let partitions = statistics.topics.values().flat_map(|topic| topic.partitions.values());
            lag.set(partitions.map(|partition| partition.consumer_lag_stored.max(0)).sum());
        }
    }
}

impl ConsumerContext for Watch {}

/// A cluster.
pub(crate) struct Kafka {
    pub(crate) settings: Settings,
    ctx: Context,
    pub(crate) topology: Topology,
    producer: Mutex<Option<Arc<publish::Producer>>>,
    /// Whether the cluster has said that the topics are there, or that we may not make them.
    made: watch::Sender<bool>,
    making: Once,
}

impl Kafka {
    pub(crate) fn open(settings: Settings, ctx: &Context, topology: Topology) -> Result<Self, Error> {
        let kafka = Self {
            settings,
            ctx: ctx.clone(),
            topology,
            producer: Mutex::new(None),
            made: watch::Sender::new(false),
            making: Once::new(),
        };
        // What only a producer minds shows now, not with the first event.
        kafka.current()?;
        Ok(kafka)
    }

    /// Waits until the topics are there. Whoever comes first has them made.
    async fn topics(&self) {
        self.making.call_once(|| {
            let (settings, topology, made) = (self.settings.clone(), self.topology, self.made.clone());
            let shutdown = self.ctx.shutdown.clone();
            self.ctx.spawn("topics", async move {
                if backoff::until_ok("making Kafka's topics", &shutdown, || make(&settings, topology)).await.is_some() {
                    made.send_replace(true);
                }
            });
        });
        // The sender is ours, so it is not gone.
        let _ = self.made.subscribe().wait_for(|made| *made).await;
    }

    fn slot(&self) -> std::sync::MutexGuard<'_, Option<Arc<publish::Producer>>> {
        // A panic in here leaves it whole, so poison means nothing.
        self.producer.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Makes the topics that are not there. Those that are stay as they are.
async fn make(settings: &Settings, topology: Topology) -> Result<(), Error> {
    let names: Vec<(String, String)> =
        topology.all_topics().map(|name| (settings.topic(&name), settings.largest(&name))).collect();
    let topics: Vec<NewTopic<'_>> = names.iter().map(|(name, largest)| settings.new_topic(name, largest)).collect();
    let admin: AdminClient<Watch> = settings.client().create_with_context(Watch::quiet())?;
    let options = AdminOptions::new().request_timeout(Some(PATIENCE));
    let outcome = admin.create_topics(&topics, &options).await;
    // Ends a thread, which takes a moment.
    offload(move || drop(admin)).await;
    let outcome = match outcome {
        Ok(outcome) => outcome,
        Err(error) => return Err(why(settings).await.map_or_else(|| error.into(), Error::Away)),
    };
    for refused in outcome.into_iter().filter_map(Result::err) {
        use RDKafkaErrorCode as Code;
        match refused {
            (_, Code::TopicAlreadyExists) => {}
            // Somebody else makes the topics here; if he has not, publishing says so.
            (
                topic,
                code @ (Code::TopicAuthorizationFailed | Code::ClusterAuthorizationFailed | Code::PolicyViolation),
            ) => {
                tracing::warn!(topic, %code, "Kafka does not let us make the topic; it must be made by its owner");
            }
            (topic, code) => return Err(Error::Refused { topic, reason: code.to_string() }),
        }
    }
    Ok(())
}

/// Why the cluster does not answer, by a client that hears of its connections; an admin client does not.
async fn why(settings: &Settings) -> Option<String> {
    let config = settings.client();
    let ask = move || {
        let client: BaseConsumer<Watch> = config.create_with_context(Watch::quiet()).ok()?;
        // Only the failure is of interest; its events are taken by polling.
        let _ = client.fetch_metadata(None, PAUSE);
        for _ in 0..20 {
            let _ = client.poll(Duration::from_millis(10));
        }
        let reason = client.context().reason().clone();
        Some(reason).filter(|reason| !reason.is_empty())
    };
    offload(ask).await.flatten()
}

/// Runs what may block for long on a thread of its own, and waits for it with patience only. On the runtime's own
/// threads a broker that hangs would keep the process from ending.
async fn offload<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> Option<T> {
    let (done, outcome) = oneshot::channel();
    std::thread::spawn(move || done.send(work()).is_ok());
    tokio::time::timeout(PATIENCE, outcome).await.ok()?.ok()
}
