//! Handlers that record what they receive.

use std::{
    collections::HashMap,
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    time::Duration,
};

use bus::{Event, Failure, Handler, Message};
use db::{Db, Options, query};

/// The trace of all events.
const TRACE: &str = "0af7651916cd43dd8448eb211c80319c";

/// An event as a service publishes it.
pub fn event(subject: &str, sequence: i64) -> Message {
    let payload = serde_json::json!({
        "specversion": "1.0", "id": format!("{subject}-{sequence}"), "source": "/souk/test", "type": "souk.order.placed",
        "subject": subject, "time": "2026-01-02T03:04:05.000006Z", "sequence": sequence,
        "traceparent": format!("00-{TRACE}-b7ad6b7169203331-01"),
        "datacontenttype": "application/json", "data": {"n": sequence, "amount": 1234567.89},
    });
    Message { topic: "orders".into(), key: subject.into(), payload: payload.to_string() }
}

/// Waits until a condition holds, and fails after a minute.
pub async fn until(what: &str, holds: impl Fn() -> bool) {
    for _ in 0..6_000 {
        if holds() {
            return;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    panic!("{what} did not come true");
}

/// The handled events, in their order.
#[derive(Clone, Default)]
pub struct Seen(Arc<Mutex<Vec<(String, i64)>>>, Arc<AtomicUsize>);

impl Seen {
    pub fn all(&self) -> Vec<(String, i64)> {
        self.0.lock().expect("no panic before").clone()
    }

    pub fn add(&self, events: &[Event]) {
        let is_whole = |event: &&Event| {
            event.topic == "orders"
                && event.data.get().contains("1234567.89")
                && event.traceparent.as_ref().is_some_and(|trace| trace.contains(TRACE))
        };
        self.1.fetch_add(events.iter().filter(|event| !is_whole(event)).count(), Ordering::SeqCst);
        let new = events.iter().map(|event| (event.subject.clone(), event.sequence.unwrap_or(0)));
        self.0.lock().expect("no panic before").extend(new);
    }

    /// How many events lacked their topic, their amount or their trace.
    pub fn damaged(&self) -> usize {
        self.1.load(Ordering::SeqCst)
    }

    pub fn count(&self) -> usize {
        self.0.lock().expect("no panic before").len()
    }

    /// The sequences of each subject, without repeats: a broker may deliver a message twice, but never reorder.
    pub fn by_subject(&self) -> HashMap<String, Vec<i64>> {
        let mut seen: HashMap<String, Vec<i64>> = HashMap::new();
        for (subject, sequence) in self.all() {
            let known = seen.entry(subject).or_default();
            if !known.contains(&sequence) {
                known.push(sequence);
            }
        }
        seen
    }

    /// How many different events were seen.
    pub fn different(&self) -> usize {
        self.by_subject().values().map(Vec::len).sum()
    }
}

/// Records all events.
#[derive(Clone, Default)]
pub struct Recorder {
    pub seen: Seen,
}

impl Handler for Recorder {
    async fn handle(&self, events: &[Event]) -> Result<(), Failure> {
        self.seen.add(events);
        Ok(())
    }
}

/// Records the events, and never finishes to handle them.
#[derive(Clone, Default)]
pub struct Stuck {
    pub seen: Seen,
}

impl Handler for Stuck {
    async fn handle(&self, events: &[Event]) -> Result<(), Failure> {
        self.seen.add(events);
        std::future::pending().await
    }
}

/// Fails with a temporary error until it is opened.
#[derive(Clone, Default)]
pub struct Blocked {
    pub open: Arc<AtomicBool>,
    pub tries: Arc<AtomicUsize>,
    pub seen: Seen,
}

impl Handler for Blocked {
    async fn handle(&self, events: &[Event]) -> Result<(), Failure> {
        self.tries.fetch_add(1, Ordering::SeqCst);
        if !self.open.load(Ordering::SeqCst) {
            return Err(Failure::Later(anyhow::anyhow!("the store is unreachable")));
        }
        self.seen.add(events);
        Ok(())
    }
}

/// Fails with a permanent error for one subject until it is cured.
#[derive(Clone, Default)]
pub struct Picky {
    pub cured: Arc<AtomicBool>,
    pub seen: Seen,
}

impl Handler for Picky {
    async fn handle(&self, events: &[Event]) -> Result<(), Failure> {
        if !self.cured.load(Ordering::SeqCst) && events.iter().any(|event| event.subject == "poison") {
            return Err(Failure::Bad(anyhow::anyhow!("it is poison")));
        }
        self.seen.add(events);
        Ok(())
    }
}

/// Records each event's effect in its own store, through the inbox. Fails with a permanent error for one event until it is cured.
#[derive(Clone)]
pub struct Counter {
    pub db: Db,
    pub seen: Seen,
    pub poison: Arc<Mutex<Option<String>>>,
}

impl Counter {
    pub async fn open(url: &str) -> Self {
        let db = Db::open(url, &Options::default(), None).await.expect("opens");
        db.migrate(bus::MIGRATIONS).await.expect("migrates");
        let mut tx = db.write().await.expect("begins");
        query("create table if not exists effects (subject text not null, sequence bigint not null)")
            .execute(&mut tx)
            .await
            .expect("creates");
        tx.commit().await.expect("commits");
        Self { db, seen: Seen::default(), poison: Arc::default() }
    }

    /// Every effect, in the order of its subject.
    pub async fn effects(&self) -> HashMap<String, Vec<i64>> {
        let mut tx = self.db.read().await.expect("reads");
        let rows =
            query("select subject, sequence from effects order by rowid").fetch_all(&mut tx).await.expect("rows");
        let mut effects: HashMap<String, Vec<i64>> = HashMap::new();
        for row in rows {
            let subject: String = row.get("subject").expect("a text");
            effects.entry(subject).or_default().push(row.get("sequence").expect("a number"));
        }
        effects
    }
}

impl Handler for Counter {
    fn inbox(&self) -> Option<&Db> {
        Some(&self.db)
    }

    async fn handle(&self, events: &[Event]) -> Result<(), Failure> {
        let poison = self.poison.lock().expect("no panic before").clone();
        if events.iter().any(|event| Some(&event.id) == poison.as_ref()) {
            return Err(Failure::Bad(anyhow::anyhow!("it is poison")));
        }
        let mut tx = self.db.write().await?;
        let fresh = bus::inbox::fresh(&mut tx, events).await?;
        for (event, _) in events.iter().zip(fresh).filter(|(_, fresh)| *fresh) {
            query("insert into effects (subject, sequence) values ($1, $2)")
                .bind(event.subject.as_str())
                .bind(event.sequence.unwrap_or(0))
                .execute(&mut tx)
                .await?;
        }
        tx.commit().await?;
        self.seen.add(events);
        Ok(())
    }
}
