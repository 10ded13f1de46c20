//! A broker for one machine: a durable log in SQLite with the semantics of topics and consumer groups.

use std::collections::HashMap;

use batch::Batcher;
use chassis::Context;
use commerce::Timestamp;
use db::{Db, Migration, Options, insert, query};
use tokio::sync::watch;

use crate::{Error, Outgoing};

const MIGRATIONS: &[Migration] =
    &[Migration { version: 1, name: "log and offsets", sql: include_str!("../migrations/embedded_log.sql") }];

/// Most publications that share one commit.
const SHARED: usize = 64;

/// A message of the log.
#[derive(Debug, Clone)]
pub struct Logged {
    /// Where it stands among all messages.
    pub position: i64,
    /// The message.
    pub message: Outgoing,
}

/// The log. All services of one process share one; other processes may open the same file.
#[derive(Debug)]
pub struct Embedded {
    db: Db,
    publisher: Batcher<Vec<Outgoing>, (), db::Error>,
    /// Counts publications of this process, to wake its consumers.
    published: watch::Receiver<u64>,
}

impl Embedded {
    pub(crate) async fn open(path: &str, ctx: &Context) -> Result<Self, Error> {
        let db = Db::open(&format!("sqlite:{path}"), &Options::default(), None).await?;
        db.migrate(MIGRATIONS).await?;
        let (wake, published) = watch::channel(0);
        let wake = std::sync::Arc::new(wake);
        let log = db.clone();
        let publisher = Batcher::start(&ctx.tasks, SHARED, move |batches: Vec<Vec<Outgoing>>| {
            let (log, wake) = (log.clone(), std::sync::Arc::clone(&wake));
            async move {
                let answers = batches.iter().map(|_| ()).collect();
                append(&log, batches.into_iter().flatten()).await?;
                wake.send_modify(|n| *n += 1);
                Ok(answers)
            }
        });
        Ok(Self { db, publisher, published })
    }

    pub(crate) async fn publish(&self, messages: Vec<Outgoing>) -> Result<(), Error> {
        self.publisher.run(messages).await.map_err(|error| match error {
            batch::Error::Stopped => Error::Stopped,
            batch::Error::Failed(error) => {
                tracing::debug!(error = &*error as &dyn std::error::Error, "the embedded log refused");
                Error::Log(db::Error::Url("the embedded log".into()))
            }
        })
    }

    /// Tells when something was published in this process.
    pub(crate) fn watch(&self) -> watch::Receiver<u64> {
        self.published.clone()
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

    /// Every message of the log in the file, in order, for an auditor. Reads only.
    pub async fn all(path: &str) -> Result<Vec<Logged>, Error> {
        let options = Options { read_only: true, ..Options::default() };
        let db = Db::open(&format!("sqlite:{path}"), &options, None).await?;
        let mut tx = db.read().await?;
        let rows = query("select position, topic, key, payload from log order by position").fetch_all(&mut tx).await?;
        let messages = rows.iter().map(logged).collect::<Result<_, _>>()?;
        drop(tx);
        db.close().await;
        Ok(messages)
    }
}

fn logged(row: &db::Row) -> Result<Logged, db::Error> {
    Ok(Logged {
        position: row.get("position")?,
        message: Outgoing { topic: row.get("topic")?, key: row.get("key")?, payload: row.get("payload")? },
    })
}

async fn append(db: &Db, messages: impl Iterator<Item = Outgoing>) -> Result<(), db::Error> {
    let now = Timestamp::now().micros();
    let mut tx = db.write().await?;
    let rows = messages.map(|m| vec![m.topic.into(), m.key.into(), m.payload.into(), now.into()]);
    insert("log", &["topic", "key", "payload", "at"], rows).execute(&mut tx).await?;
    tx.commit().await
}
