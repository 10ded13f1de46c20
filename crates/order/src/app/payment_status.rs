//! The payment status of orders, from the events of the payment service.

use std::collections::BTreeMap;

use bus::{Event, Failure};
use commerce::Timestamp;
use serde::Deserialize;

use super::App;
use crate::store;

/// The topic of these events.
pub(crate) const TOPIC: &str = "payments";

#[derive(Deserialize)]
struct Payment {
    order_id: String,
    status: String,
}

/// Stores the payment status of each order that these payment events are about, once for each event.
pub(crate) async fn record(app: &App, events: &[Event]) -> Result<(), Failure> {
    if events.is_empty() {
        return Ok(());
    }
    let mut tx = app.db.write().await?;
    let fresh = bus::inbox::newest(&mut tx, events).await?;
    // The last of several events of one order has its present status.
    let mut statuses = BTreeMap::new();
    for (event, _) in events.iter().zip(fresh).filter(|(_, fresh)| *fresh) {
        let payment: Payment = event.data()?;
        statuses.insert(payment.order_id, payment.status);
    }
    if !statuses.is_empty() {
        store::set_payment_status(&mut tx, statuses.into_iter().collect(), Timestamp::now()).await?;
    }
    tx.commit().await?;
    Ok(())
}
