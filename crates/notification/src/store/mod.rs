//! What the notification service asks of its database.

use commerce::{Timestamp, page::Window};
use db::{Migration, Query, Result, Row, Tx, Value, insert, query};

use crate::domain::{Notice, Scope, Severity};

/// The tables of this service, beside those of the bus.
pub(crate) const MIGRATIONS: &[Migration] =
    &[Migration { version: 100, name: "notifications", sql: include_str!("../../migrations/0001_notifications.sql") }];

/// Which notifications.
#[derive(Debug, Clone)]
pub(crate) struct Filter {
    /// What the caller may see.
    pub(crate) scope: Scope,
    /// About this customer.
    pub(crate) customer_id: Option<String>,
    /// About this order.
    pub(crate) order_id: Option<String>,
    /// Of this kind.
    pub(crate) kind: Option<String>,
    /// That matter so much.
    pub(crate) severity: Option<Severity>,
}

impl Filter {
    /// All that a scope lets see.
    pub(crate) fn of(scope: Scope) -> Self {
        Self { scope, customer_id: None, order_id: None, kind: None, severity: None }
    }

    fn condition(&self) -> (String, Vec<Value>) {
        let mut text = String::from("1 = 1");
        let mut values: Vec<Value> = Vec::new();
        let mut and = |part: &str, value: Value| {
            values.push(value);
            text.push_str(&part.replace('?', &format!("${}", values.len())));
        };
        match &self.scope {
            Scope::All => {}
            Scope::Places(places) => {
                let places = serde_json::to_string(places).unwrap_or_default();
                and(" and place_id in {list ?}", places.into());
            }
            Scope::Customer(id) => and(" and customer_id = ?", id.into()),
        }
        if let Some(id) = &self.customer_id {
            and(" and customer_id = ?", id.into());
        }
        if let Some(id) = &self.order_id {
            and(" and order_id = ?", id.into());
        }
        if let Some(kind) = &self.kind {
            and(" and kind = ?", kind.into());
        }
        if let Some(severity) = self.severity {
            and(" and severity = ?", severity.as_str().into());
        }
        (text, values)
    }
}

const COLUMNS: &str = "number, id, at, kind, severity, message, subject, order_id, customer_id, place_id";

/// Writes notifications; gives back how many are new.
pub(crate) async fn add(tx: &mut Tx, notices: Vec<Notice>) -> Result<u64> {
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
pub(crate) async fn list(tx: &mut Tx, filter: &Filter, window: &Window<i64>) -> Result<Vec<Notice>> {
    let (mut condition, mut values) = filter.condition();
    if let Some(after) = window.after {
        values.push(after.into());
        condition.push_str(&format!(" and number < ${}", values.len()));
    }
    values.push(window.fetch().into());
    let limit = values.len();
    values.push(window.offset.into());
    let text = format!(
        "select {COLUMNS} from notifications where {condition} order by number desc limit ${limit} offset ${}",
        values.len()
    );
    read(bound(text, values), tx).await
}

/// How many the filter leaves.
pub(crate) async fn count(tx: &mut Tx, filter: &Filter) -> Result<u64> {
    let (condition, values) = filter.condition();
    let text = format!("select count(*) as n from notifications where {condition}");
    let row = bound(text, values).fetch_one(tx).await?;
    Ok(u64::try_from(row.get::<i64>("n")?).unwrap_or(0))
}

/// Oldest first, from after `number`, for the live stream.
pub(crate) async fn since(tx: &mut Tx, filter: &Filter, number: i64, limit: i64) -> Result<Vec<Notice>> {
    let (condition, mut values) = filter.condition();
    values.push(number.into());
    values.push(limit.into());
    let (after, limit) = (values.len() - 1, values.len());
    let text = format!(
        "select {COLUMNS} from notifications where {condition} and number > ${after} order by number limit ${limit}"
    );
    read(bound(text, values), tx).await
}

/// The number of the newest.
pub(crate) async fn newest(tx: &mut Tx) -> Result<i64> {
    query("select coalesce(max(number), 0) as n from notifications").fetch_one(tx).await?.get("n")
}

fn bound(text: String, values: Vec<Value>) -> Query {
    values.into_iter().fold(query(text), Query::bind)
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
