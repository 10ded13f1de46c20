//! The database of the notification service.

use commerce::{Timestamp, page::PageRequest};
use db::{Migration, Query, Result, Row, Tx, insert, query};

use crate::domain::{Notice, Scope, Severity};

/// The tables of this service, beside those of the bus.
pub(crate) const MIGRATIONS: &[Migration] = &[
    Migration { version: 100, name: "notifications", sql: include_str!("../../migrations/0001_notifications.sql") },
    Migration { version: 101, name: "age", sql: include_str!("../../migrations/0002_age.sql") },
];

/// Rows that are deleted when they are old enough.
pub(crate) fn prunes(config: &crate::Config) -> Vec<upkeep::Prune> {
    vec![
        bus::inbox::prune(upkeep::days(config.inbox_days)),
        upkeep::Prune {
            table: "notifications",
            key: "number",
            old: "at < $1",
            keep: upkeep::days(config.notification_days),
        },
    ]
}

/// Which notifications.
#[derive(Debug, Clone)]
pub(crate) struct Filter {
    /// The notifications that the caller may see.
    pub(crate) scope: Scope,
    /// About this customer.
    pub(crate) customer_id: Option<String>,
    /// About this order.
    pub(crate) order_id: Option<String>,
    /// Of this kind.
    pub(crate) kind: Option<String>,
    /// With this severity.
    pub(crate) severity: Option<Severity>,
}

impl Filter {
    /// All that a scope lets see.
    pub(crate) fn of(scope: Scope) -> Self {
        Self { scope, customer_id: None, order_id: None, kind: None, severity: None }
    }

    fn conditions(&self) -> db::Filter {
        let mut filter = db::Filter::new("1 = 1");
        match &self.scope {
            Scope::All => {}
            Scope::Places(places) => filter.and("place_id in {list ?}", places),
            Scope::Customer(id) => filter.and("customer_id = ?", id),
        }
        if let Some(id) = &self.customer_id {
            filter.and("customer_id = ?", id);
        }
        if let Some(id) = &self.order_id {
            filter.and("order_id = ?", id);
        }
        if let Some(kind) = &self.kind {
            filter.and("kind = ?", kind);
        }
        if let Some(severity) = self.severity {
            filter.and("severity = ?", severity.as_str());
        }
        filter
    }
}

const COLUMNS: &str = "number, id, at, kind, severity, message, subject, order_id, customer_id, place_id";

/// Inserts notifications; returns how many are new.
pub(crate) async fn add(tx: &mut Tx, notices: Vec<Notice>) -> Result<u64> {
    // Numbers become visible in order: the live stream reads those after the last one that it sent.
    tx.lock(["notifications"]).await?;
    let rows = notices.into_iter().map(|notice| {
        vec![
            notice.id.into(),
            notice.at.micros().into(),
            notice.kind.into(),
            notice.severity.as_str().into(),
            notice.message.into(),
            notice.subject.into(),
            notice.order_id.into(),
            notice.customer_id.into(),
            notice.place_id.into(),
        ]
    });
    const INTO: &[&str] =
        &["id", "at", "kind", "severity", "message", "subject", "order_id", "customer_id", "place_id"];
    insert("notifications", INTO, rows).suffix("on conflict (id) do nothing").execute(tx).await
}

/// Newest first, past the window's `after`.
pub(crate) async fn list(tx: &mut Tx, filter: &Filter, window: &PageRequest<i64>) -> Result<Vec<Notice>> {
    let mut conditions = filter.conditions();
    if let Some(after) = window.after {
        conditions.and("number < ?", after);
    }
    let text = format!("select {COLUMNS} from notifications where {{where}} order by number desc limit ? offset ?");
    read(conditions.query(&text, [window.fetch().into(), window.offset.into()]), tx).await
}

/// How many the filter leaves.
pub(crate) async fn count(tx: &mut Tx, filter: &Filter) -> Result<u64> {
    filter.conditions().count("notifications", tx).await
}

/// Oldest first, from after `number`, for the live stream.
pub(crate) async fn since(tx: &mut Tx, filter: &Filter, number: i64, limit: i64) -> Result<Vec<Notice>> {
    let mut conditions = filter.conditions();
    conditions.and("number > ?", number);
    let text = format!("select {COLUMNS} from notifications where {{where}} order by number limit ?");
    read(conditions.query(&text, [limit.into()]), tx).await
}

/// The number of the newest.
pub(crate) async fn newest(tx: &mut Tx) -> Result<i64> {
    query("select coalesce(max(number), 0) as n from notifications").fetch_one(tx).await?.get("n")
}

async fn read(query: Query, tx: &mut Tx) -> Result<Vec<Notice>> {
    query.fetch_all(tx).await?.iter().map(notice).collect()
}

fn notice(row: &Row) -> Result<Notice> {
    Ok(Notice {
        id: row.get("id")?,
        number: row.get("number")?,
        at: Timestamp::from_micros(row.get("at")?),
        kind: row.get("kind")?,
        severity: if row.get::<String>("severity")? == "warning" { Severity::Warning } else { Severity::Info },
        message: row.get("message")?,
        subject: row.get("subject")?,
        order_id: row.get("order_id")?,
        customer_id: row.get("customer_id")?,
        place_id: row.get("place_id")?,
    })
}
