//! The events that this service consumes.

use std::sync::Arc;

use bus::{Event, Failure, Handler};
use db::Db;
use tokio::sync::watch;

use crate::{
    domain::{Notice, Payload, notice},
    store,
};

/// Turns events into notifications, once each.
pub(crate) struct Listener {
    pub(crate) db: Db,
    /// Wakes the live streams after new notifications.
    pub(crate) news: Arc<watch::Sender<u64>>,
}

impl Handler for Listener {
    fn inbox(&self) -> Option<&Db> {
        Some(&self.db)
    }

    async fn handle(&self, events: &[Event]) -> Result<(), Failure> {
        let mut tx = self.db.write().await?;
        let fresh = bus::inbox::fresh(&mut tx, events).await?;
        let notices = events
            .iter()
            .zip(fresh)
            .filter(|(_, fresh)| *fresh)
            .filter_map(|(event, _)| tell(event).transpose())
            .collect::<Result<Vec<Notice>, _>>()?;
        let added = store::add(&mut tx, notices).await?;
        tx.commit().await?;
        if added > 0 {
            self.news.send_modify(|n| *n += added);
        }
        Ok(())
    }
}

fn tell(event: &Event) -> Result<Option<Notice>, serde_json::Error> {
    let payload: Payload = event.data()?;
    Ok(notice(&event.id, &event.kind, &event.subject, event.time, payload))
}
