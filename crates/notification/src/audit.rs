//! What the audit reads of this service: how far the events of each aggregate have been consumed, and the notifications made of them.

use std::collections::HashMap;

use commerce::Timestamp;
use db::{Db, Options, query};

use crate::domain::{Payload, notice};

/// Everything that the audit asks of this service.
#[derive(Debug, Clone, Default)]
pub struct Facts {
    /// The last event of each aggregate that took effect here.
    pub inbox: bus::inbox::InboxDump,
    /// The notifications by their ids.
    pub notifications: HashMap<String, NotificationFact>,
    /// Notifications from before this time may have been deleted; none if none was.
    pub pruned_before: Option<Timestamp>,
}

/// What a notification is about. Its text is for people, and may be another one in another version.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NotificationFact {
    /// The kind of event.
    pub kind: String,
    /// Id of the aggregate that changed.
    pub subject: String,
    /// The order.
    pub order_id: Option<String>,
    /// The customer, who may see it.
    pub customer_id: Option<String>,
    /// The place, whose staff may see it.
    pub place_id: Option<String>,
}

/// The notification that an event must have made, with its id and time; `None` for an event that makes none.
pub fn notification_of(event: &bus::Event) -> Option<(String, Timestamp, NotificationFact)> {
    let payload: Payload = event.data().ok()?;
    let made = notice(&event.id, &event.kind, &event.subject, event.time, payload)?;
    let (kind, subject) = (made.kind, made.subject);
    let (order_id, customer_id, place_id) = (made.order_id, made.customer_id, made.place_id);
    Some((made.id, made.at, NotificationFact { kind, subject, order_id, customer_id, place_id }))
}

/// Reads the facts of the store at this URL, running or not.
pub async fn audit_facts(url: &str) -> anyhow::Result<Facts> {
    let db = Db::open(url, &Options::auditor(), None).await?;
    let mut tx = db.snapshot().await?;
    let inbox = bus::inbox::dump(&mut tx).await?;
    let rows = query("select id, kind, subject, order_id, customer_id, place_id from notifications");
    let mut notifications = HashMap::new();
    for row in rows.fetch_all(&mut tx).await? {
        let fact = NotificationFact {
            kind: row.get("kind")?,
            subject: row.get("subject")?,
            order_id: row.get("order_id")?,
            customer_id: row.get("customer_id")?,
            place_id: row.get("place_id")?,
        };
        notifications.insert(row.get("id")?, fact);
    }
    let pruned_before = upkeep::pruned_before(&mut tx, "notifications").await?;
    drop(tx);
    db.close().await;
    Ok(Facts { inbox, notifications, pruned_before })
}

/// What the store at `url` notified about one order, with the times.
pub async fn history(url: &str, order_id: &str) -> anyhow::Result<Vec<(Timestamp, String)>> {
    let db = Db::open(url, &Options::auditor(), None).await?;
    let mut tx = db.snapshot().await?;
    let rows = query("select at, message from notifications where order_id = $1 order by number").bind(order_id);
    let mut history = Vec::new();
    for row in rows.fetch_all(&mut tx).await? {
        history.push((Timestamp::from_micros(row.get("at")?), format!("notified: {}", row.get::<String>("message")?)));
    }
    history.extend(bus::inbox::last_effect(&mut tx, "orders", order_id).await?);
    drop(tx);
    db.close().await;
    Ok(history)
}
