//! What the order service consumes: refunds that were made by hand, so that the order shows them.

use std::collections::BTreeMap;

use bus::{Event, Failure, Handler};
use commerce::Timestamp;
use db::Db;
use serde::Deserialize;

use crate::store;

/// Follows the payments' events.
pub(crate) struct Follower {
    pub(crate) db: Db,
}

#[derive(Deserialize)]
struct Payment {
    order_id: String,
    status: String,
}

impl Handler for Follower {
    async fn handle(&self, events: &[Event]) -> Result<(), Failure> {
        let backs: Vec<Event> = events
            .iter()
            .filter(|event| matches!(event.kind.as_str(), "souk.payment.refunded" | "souk.payment.voided"))
            .cloned()
            .collect();
        if backs.is_empty() {
            return Ok(());
        }
        let mut tx = self.db.write().await?;
        let fresh = bus::inbox::fresh(&mut tx, &backs).await?;
        // Of several events of one order the last one tells.
        let mut statuses = BTreeMap::new();
        for (event, _) in backs.iter().zip(fresh).filter(|(_, fresh)| *fresh) {
            let payment: Payment = event.data()?;
            statuses.insert(payment.order_id, payment.status);
        }
        if !statuses.is_empty() {
            store::note_payment(&mut tx, statuses.into_iter().collect(), Timestamp::now()).await?;
        }
        tx.commit().await?;
        Ok(())
    }
}
