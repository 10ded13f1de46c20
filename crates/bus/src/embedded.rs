//! A broker for one machine: a durable log in SQLite with the semantics of topics and consumer groups.

use std::{collections::HashMap, sync::Arc, time::Duration};

use batch::Batcher;
use chassis::Context;
use commerce::Timestamp;
use db::{Db, Migration, Options, Value, insert, query};
use prometheus::IntGauge;
use tokio::{sync::watch, time::Instant};

use crate::{
    Error, Message, Topology,
    consumer::{self, BATCH, Incoming},
};

const MIGRATIONS: &[Migration] = &[
    Migration { version: 1, name: "log and offsets", sql: include_str!("../migrations/embedded_log.sql") },
    upkeep::MIGRATIONS[0],
    Migration { version: 3, name: "age of the log", sql: include_str!("../migrations/embedded_age.sql") },
];

/// How long a message stays at least, for whoever wants to look. What a group has not taken yet stays, and so do dead
/// letters, which wait for somebody.
const KEEP: Duration = upkeep::days(7);

/// Most publications that share one commit.
const SHARED: usize = 64;
/// How often the log is looked at without a wake-up, for what other processes publish.
const POLL: Duration = Duration::from_millis(250);
/// How often offsets are stored. What is handled twice after a crash is dropped by the inbox.
const STORE: Duration = Duration::from_millis(500);

/// A message of the log.
#[derive(Debug, Clone)]
pub struct Logged {
    /// Where it stands among all messages.
    pub position: i64,
    /// The message.
    pub message: Message,
}

/// The log. All services of one process share one; other processes may open the same file.
#[derive(Debug)]
pub struct Embedded {
    db: Db,
    publisher: Batcher<Vec<Message>, (), db::Error>,
    /// Counts publications of this process, to wake its consumers.
    published: watch::Receiver<u64>,
}

impl Embedded {
    pub(crate) async fn open(path: &str, ctx: &Context, topology: Topology) -> Result<Self, Error> {
        let db = Db::open(&format!("sqlite:{path}"), &Options::default(), None).await?;
        db.migrate(MIGRATIONS).await?;
        know(&db, topology).await?;
        upkeep::prune(ctx, &db, vec![prune()]);
        let (wake, published) = watch::channel(0);
        let wake = Arc::new(wake);
        let log = db.clone();
        let publisher = Batcher::start(&ctx.tasks, SHARED, move |batches: Vec<Vec<Message>>| {
            let (log, wake) = (log.clone(), Arc::clone(&wake));
            async move {
                let answers = batches.iter().map(|_| ()).collect();
                append(&log, batches.into_iter().flatten()).await?;
                wake.send_modify(|n| *n += 1);
                Ok(answers)
            }
        });
        Ok(Self { db, publisher, published })
    }

    pub(crate) async fn publish(&self, messages: Vec<Message>) -> Result<(), Error> {
        self.publisher.run(messages).await.map_err(|error| match error {
            batch::Error::Stopped => Error::Stopped,
            batch::Error::Failed(error) => Error::Shared(error),
        })
    }

    /// Where a group stands in each topic.
    pub(crate) async fn offsets(&self, group: &str) -> Result<HashMap<String, i64>, db::Error> {
        let mut tx = self.db.read().await?;
        query("select topic, position from offsets where grp = $1")
            .bind(group)
            .fetch_all(&mut tx)
            .await?
            .iter()
            .map(|row| Ok((row.get("topic")?, row.get("position")?)))
            .collect()
    }

    /// The next messages of some topics, each past its own offset.
    pub(crate) async fn read(&self, offsets: &HashMap<String, i64>, limit: i64) -> Result<Vec<Logged>, db::Error> {
        let from = offsets.values().copied().min().unwrap_or(0);
        let mut tx = self.db.read().await?;
        let rows = query(
            "select position, topic, key, payload from log
             where position > $1 and topic in {list $2} order by position limit $3",
        )
        .bind(from)
        .list(offsets.keys())
        .bind(limit)
        .fetch_all(&mut tx)
        .await?;
        rows.iter().map(logged).collect()
    }

    /// Notes how far a group has come.
    pub(crate) async fn store_offsets(&self, group: &str, offsets: &HashMap<String, i64>) -> Result<(), db::Error> {
        let mut tx = self.db.write().await?;
        let rows = offsets.iter().map(|(topic, position)| vec![group.into(), topic.into(), (*position).into()]);
        insert("offsets", &["grp", "topic", "position"], rows)
            .suffix("on conflict (grp, topic) do update set position = max(position, excluded.position)")
            .execute(&mut tx)
            .await?;
        tx.commit().await
    }

    /// Messages of the topics that a group has still to take.
    pub(crate) async fn lag(&self, offsets: &HashMap<String, i64>) -> Result<i64, db::Error> {
        let from = offsets.values().copied().min().unwrap_or(0);
        let mut tx = self.db.read().await?;
        query("select count(*) as n from log where position > $1 and topic in {list $2}")
            .bind(from)
            .list(offsets.keys())
            .fetch_one(&mut tx)
            .await?
            .get("n")
    }

    /// The same with the time before which messages may have been forgotten, if any were.
    pub(crate) async fn dump(path: &str) -> Result<(Vec<Logged>, Option<Timestamp>), Error> {
        let options = Options { read_only: true, ..Options::default() };
        let db = Db::open(&format!("sqlite:{path}"), &options, None).await?;
        let mut tx = db.snapshot().await?;
        let rows = query("select position, topic, key, payload from log order by position").fetch_all(&mut tx).await?;
        let messages = rows.iter().map(logged).collect::<Result<_, _>>()?;
        let forgotten = upkeep::pruned_before(&mut tx, LOG).await?;
        drop(tx);
        db.close().await;
        Ok((messages, forgotten))
    }

    /// Every message of the log in the file, in order, for an auditor. Reads only.
    pub async fn all(path: &str) -> Result<Vec<Logged>, Error> {
        Ok(Self::dump(path).await?.0)
    }
}

/// The log as a group reads it.
pub(crate) struct Source {
    pub(crate) log: Arc<Embedded>,
    pub(crate) group: &'static str,
    pub(crate) topics: &'static [&'static str],
    pub(crate) lag: IntGauge,
}

impl consumer::Source for Source {
    type Session = Session;

    async fn open(&self) -> Result<Session, Error> {
        let known = self.log.offsets(self.group).await?;
        let offset = |topic: &&str| ((*topic).to_owned(), known.get(*topic).copied().unwrap_or(0));
        Ok(Session {
            log: Arc::clone(&self.log),
            group: self.group,
            lag: self.lag.clone(),
            offsets: self.topics.iter().map(offset).collect(),
            wake: self.log.published.clone(),
            taken: 0,
            dirty: false,
            stored: Instant::now(),
        })
    }
}

/// How far a group is.
pub(crate) struct Session {
    log: Arc<Embedded>,
    group: &'static str,
    lag: IntGauge,
    offsets: HashMap<String, i64>,
    wake: watch::Receiver<u64>,
    /// The last position that was given out.
    taken: i64,
    /// Whether the offsets are not stored yet.
    dirty: bool,
    stored: Instant,
}

impl Session {
    fn advance(&mut self) {
        for offset in self.offsets.values_mut() {
            *offset = (*offset).max(self.taken);
        }
        self.dirty = true;
    }

    async fn store(&mut self) {
        // If this fails the events come again after a crash and the inbox drops them.
        self.dirty = self.log.store_offsets(self.group, &self.offsets).await.is_err();
        self.stored = Instant::now();
        if let Ok(n) = self.log.lag(&self.offsets).await {
            self.lag.set(n);
        }
    }
}

impl consumer::Session for Session {
    async fn next(&mut self) -> Result<Vec<Incoming>, Error> {
        loop {
            if self.dirty && self.stored.elapsed() >= STORE {
                self.store().await;
            }
            self.wake.mark_unchanged();
            let messages = self.log.read(&self.offsets, BATCH as i64).await?;
            if let Some(last) = messages.last() {
                self.taken = last.position;
                // One topic may be further than another.
                let is_new = |logged: &Logged| self.offsets.get(&logged.message.topic) < Some(&logged.position);
                let incoming = |Logged { message, position }| Incoming { message, place: position.to_string() };
                let new: Vec<Incoming> = messages.into_iter().filter(is_new).map(incoming).collect();
                if !new.is_empty() {
                    return Ok(new);
                }
                self.advance();
                continue;
            }
            tokio::select! {
                // Without publishers in this process there is nobody to wake it.
                Ok(()) = self.wake.changed() => {}
                () = tokio::time::sleep(POLL) => {}
            }
        }
    }

    async fn done(&mut self) {
        self.advance();
    }

    async fn close(mut self) {
        if self.dirty {
            self.store().await;
        }
    }
}

/// The table of messages.
const LOG: &str = "log";

/// Forgets what is old and was taken by all who hear it.
fn prune() -> upkeep::Prune {
    upkeep::Prune {
        table: LOG,
        key: "position",
        old: "at < $1 and topic not like '%.dlq' and not exists
              (select 1 from offsets where offsets.topic = log.topic and offsets.position < log.position)",
        keep: KEEP,
    }
}

/// Notes the groups, so that what one will hear that has never come yet is kept for it.
async fn know(db: &Db, topology: Topology) -> Result<(), db::Error> {
    let mut rows: Vec<Vec<Value>> = Vec::new();
    for (group, topics) in topology.groups {
        rows.extend(topics.iter().map(|topic| vec![(*group).into(), (*topic).into(), 0.into()]));
    }
    let mut tx = db.write().await?;
    insert("offsets", &["grp", "topic", "position"], rows)
        .suffix("on conflict (grp, topic) do nothing")
        .execute(&mut tx)
        .await?;
    tx.commit().await
}

fn logged(row: &db::Row) -> Result<Logged, db::Error> {
    Ok(Logged {
        position: row.get("position")?,
        message: Message { topic: row.get("topic")?, key: row.get("key")?, payload: row.get("payload")? },
    })
}

async fn append(db: &Db, messages: impl Iterator<Item = Message>) -> Result<(), db::Error> {
    let now = Timestamp::now().micros();
    let mut tx = db.write().await?;
    let rows = messages.map(|m| vec![m.topic.into(), m.key.into(), m.payload.into(), now.into()]);
    insert("log", &["topic", "key", "payload", "at"], rows).execute(&mut tx).await?;
    tx.commit().await
}
