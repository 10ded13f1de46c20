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

/// How long messages are kept at least, for inspection. Messages that a group has not consumed yet are kept longer, and so
/// are dead letters, which wait for an operator.
const RETENTION: Duration = upkeep::days(7);

/// Maximum number of publications in one commit.
const MAX_GROUP_COMMIT: usize = 64;
/// How often the log is polled without a wake-up, for messages of other processes.
const POLL_INTERVAL: Duration = Duration::from_millis(250);
/// How often offsets are stored. The inbox drops messages that are handled twice after a crash.
const STORE_INTERVAL: Duration = Duration::from_millis(500);

/// A message of the log.
#[derive(Debug, Clone)]
pub struct Logged {
    /// Its position in the log, over all topics.
    pub position: i64,
    /// The message.
    pub message: Message,
}

/// The embedded broker. All services of one process share one; other processes can open the same file.
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
        register_groups(&db, topology).await?;
        upkeep::prune(ctx, &db, vec![prune()]);
        let (wake, published) = watch::channel(0);
        let wake = Arc::new(wake);
        let log = db.clone();
        let publisher = Batcher::start(&ctx.tasks, MAX_GROUP_COMMIT, move |batches: Vec<Vec<Message>>| {
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

    /// The offset of a group in each topic.
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

    /// The next messages of these topics, from the lowest of their offsets on.
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

    /// The position of the last message.
    pub(crate) async fn end(&self) -> Result<i64, db::Error> {
        let mut tx = self.db.read().await?;
        query("select coalesce(max(position), 0) as position from log").fetch_one(&mut tx).await?.get("position")
    }

    /// Stores the offsets of a group.
    pub(crate) async fn store_offsets(&self, group: &str, offsets: &HashMap<String, i64>) -> Result<(), db::Error> {
        let mut tx = self.db.write().await?;
        let rows = offsets.iter().map(|(topic, position)| vec![group.into(), topic.into(), (*position).into()]);
        insert("offsets", &["grp", "topic", "position"], rows)
            .suffix("on conflict (grp, topic) do update set position = max(position, excluded.position)")
            .execute(&mut tx)
            .await?;
        tx.commit().await
    }

    /// The number of messages after these offsets.
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

    /// As [`Self::all`], with the time before which messages may have been pruned, if any were, and the last position that was given.
    pub(crate) async fn dump(path: &str) -> Result<(Vec<Logged>, Option<Timestamp>, i64), Error> {
        let options = Options { read_only: true, ..Options::default() };
        let db = Db::open(&format!("sqlite:{path}"), &options, None).await?;
        let mut tx = db.snapshot().await?;
        let rows = query("select position, topic, key, payload from log order by position").fetch_all(&mut tx).await?;
        let messages = rows.iter().map(logged).collect::<Result<_, _>>()?;
        let pruned_before = upkeep::pruned_before(&mut tx, LOG).await?;
        // SQLite keeps it of an autoincrement column, also when all rows are deleted.
        let end = query("select coalesce((select seq from sqlite_sequence where name = 'log'), 0) as last");
        let end = end.fetch_one(&mut tx).await?.get("last")?;
        drop(tx);
        db.close().await;
        Ok((messages, pruned_before, end))
    }

    /// The stored offsets of a file, by group and topic.
    pub(crate) async fn handled(path: &str) -> Result<HashMap<(String, String), i64>, Error> {
        let options = Options { read_only: true, ..Options::default() };
        let db = Db::open(&format!("sqlite:{path}"), &options, None).await?;
        let mut tx = db.read().await?;
        let rows = query("select grp, topic, position from offsets").fetch_all(&mut tx).await?;
        let offset = |row: &db::Row| Ok(((row.get("grp")?, row.get("topic")?), row.get("position")?));
        let handled = rows.iter().map(offset).collect::<Result<_, db::Error>>()?;
        drop(tx);
        db.close().await;
        Ok(handled)
    }

    /// Reads every message of the log in a file, in order, for the audit. Changes nothing.
    pub async fn all(path: &str) -> Result<Vec<Logged>, Error> {
        Ok(Self::dump(path).await?.0)
    }
}

/// The log as the source of a group's messages.
pub(crate) struct Source {
    pub(crate) log: Arc<Embedded>,
    pub(crate) group: &'static str,
    pub(crate) topics: &'static [&'static str],
    pub(crate) lag: IntGauge,
}

impl consumer::Source for Source {
    type Session = Session;

    async fn open(&self) -> Result<Session, Error> {
        let stored = self.log.offsets(self.group).await?;
        let offset = |topic: &&str| ((*topic).to_owned(), stored.get(*topic).copied().unwrap_or(0));
        Ok(Session {
            log: Arc::clone(&self.log),
            group: self.group,
            lag: self.lag.clone(),
            offsets: self.topics.iter().map(offset).collect(),
            wake: self.log.published.clone(),
            last_read: 0,
            dirty: false,
            stored_at: Instant::now(),
        })
    }
}

/// A group's progress in the log.
pub(crate) struct Session {
    log: Arc<Embedded>,
    group: &'static str,
    lag: IntGauge,
    offsets: HashMap<String, i64>,
    wake: watch::Receiver<u64>,
    /// The position of the last message of the last batch.
    last_read: i64,
    /// Whether the offsets changed since they were stored.
    dirty: bool,
    stored_at: Instant,
}

impl Session {
    fn advance(&mut self) {
        for offset in self.offsets.values_mut() {
            *offset = (*offset).max(self.last_read);
        }
        self.dirty = true;
    }

    async fn store(&mut self) {
        // If this fails, the events are delivered again after a crash, and the inbox drops them.
        self.dirty = self.log.store_offsets(self.group, &self.offsets).await.is_err();
        self.stored_at = Instant::now();
        if let Ok(n) = self.log.lag(&self.offsets).await {
            self.lag.set(n);
        }
    }
}

impl consumer::Session for Session {
    async fn next(&mut self) -> Result<Vec<Incoming>, Error> {
        loop {
            if self.dirty && self.stored_at.elapsed() >= STORE_INTERVAL {
                self.store().await;
            }
            self.wake.mark_unchanged();
            let messages = self.log.read(&self.offsets, BATCH as i64).await?;
            if let Some(last) = messages.last() {
                self.last_read = last.position;
                // The offset of one topic may be beyond that of another.
                let is_new = |logged: &Logged| self.offsets.get(&logged.message.topic) < Some(&logged.position);
                let incoming = |Logged { message, position }| Incoming { message, broker_id: position.to_string() };
                let new: Vec<Incoming> = messages.into_iter().filter(is_new).map(incoming).collect();
                if !new.is_empty() {
                    return Ok(new);
                }
                self.advance();
                continue;
            }
            tokio::select! {
                // Fails when this process has no publisher; then only polling finds messages.
                Ok(()) = self.wake.changed() => {}
                () = tokio::time::sleep(POLL_INTERVAL) => {}
            }
        }
    }

    async fn acknowledge(&mut self) {
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

/// Deletes old messages that all groups of their topic have consumed.
fn prune() -> upkeep::Prune {
    upkeep::Prune {
        table: LOG,
        key: "position",
        old: "at < $1 and topic not like '%.dlq' and not exists
              (select 1 from offsets where offsets.topic = log.topic and offsets.position < log.position)",
        keep: RETENTION,
    }
}

/// Stores an offset for every group of the topology, so that messages are kept for a group that has never connected yet.
async fn register_groups(db: &Db, topology: Topology) -> Result<(), db::Error> {
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
