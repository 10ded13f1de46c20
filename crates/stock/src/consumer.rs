//! Consumes order events: a confirmed order turns its reservation into a sale, a cancelled order gives everything back, and
//! returned goods are put back. Each event takes effect once, in the order of its `sequence`.

use bus::{Event, Failure, Handler};
use commerce::OrderId;
use db::Db;
use prometheus::IntCounterVec;

use crate::{
    commands::{Command, Outcome},
    domain::ReservationState,
    events::OrderData,
    executor::Executor,
};

/// The kinds of event that change stock.
pub(crate) const KINDS: &[&str] = &[CONFIRMED, CANCELLED, RETURNED];
const CONFIRMED: &str = "souk.order.confirmed";
const CANCELLED: &str = "souk.order.cancelled";
const RETURNED: &str = "souk.order.returned";

/// The handler of order events.
pub(crate) struct OrderEventConsumer {
    pub(crate) executor: Executor,
    pub(crate) inconsistencies: IntCounterVec,
}

impl Handler for OrderEventConsumer {
    fn inbox(&self) -> Option<&Db> {
        Some(&self.executor.db)
    }

    async fn handle(&self, events: &[Event]) -> Result<(), Failure> {
        let commands = events.iter().map(command).collect::<Result<Vec<_>, _>>()?;
        let outcomes = self.executor.apply_events(events, &commands).await?;
        for (event, outcome) in events.iter().zip(&outcomes) {
            if let Some(inconsistency) = outcome.as_ref().and_then(inconsistency) {
                self.report(event, &inconsistency);
            }
        }
        Ok(())
    }
}

impl OrderEventConsumer {
    /// Reports what the audit would find too, but later.
    fn report(&self, event: &Event, inconsistency: &str) {
        self.inconsistencies.with_label_values(&[event.kind.as_str()]).inc();
        tracing::error!(
            order.id = %event.subject, event.kind = %event.kind, "an order event contradicts the order's stock: {inconsistency}"
        );
    }
}

/// What is wrong with the stock of an order, if the outcome shows that.
fn inconsistency(outcome: &Outcome) -> Option<String> {
    match outcome {
        Outcome::Committed(Some(ReservationState::Released | ReservationState::Held)) => {
            Some("the order is confirmed, but its stock was released".to_owned())
        }
        Outcome::Committed(None) => Some("the order is confirmed, but nothing was reserved for it".to_owned()),
        Outcome::Restocked(refused) if !refused.is_empty() => {
            let lines: Vec<String> = refused.iter().map(|(id, quantity)| format!("{quantity} of {id}")).collect();
            Some(format!("more was returned than was sold: {}", lines.join(", ")))
        }
        _ => None,
    }
}

/// An event of the order service has what it is about, so what lacks it was altered on its way.
fn lacks(member: &str) -> Failure {
    Failure::Bad(anyhow::anyhow!("data: `{member}` is missing"))
}

/// The command that an event asks for.
fn command(event: &Event) -> Result<Option<Command>, Failure> {
    if !KINDS.contains(&event.kind.as_str()) {
        return Ok(None);
    }
    let order_id = OrderId::parse(&event.subject).map_err(|err| Failure::Bad(err.into()))?;
    let data: OrderData = event.data()?;
    Ok(match event.kind.as_str() {
        // Lines without a product (a service, a manual price) have no reservation.
        CONFIRMED => {
            let lines = data.lines.ok_or_else(|| lacks("lines"))?;
            lines.iter().any(|line| line.product_id.is_some()).then_some(Command::Commit(order_id))
        }
        CANCELLED => Some(Command::Cancel(order_id)),
        RETURNED => Some(data.returned.ok_or_else(|| lacks("return"))?)
            .filter(|returned| returned.restock)
            .map(|returned| (returned.by_product(), format!("return {}", returned.id)))
            .filter(|(lines, _)| !lines.is_empty())
            .map(|(lines, reason)| Command::Restock { order_id, lines, reason }),
        _ => None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_event_without_what_it_is_about_is_unreadable_and_not_empty() {
        let of = |kind: &str, data: serde_json::Value| {
            let event = serde_json::json!({ "specversion": "1.0", "id": "e", "source": "/souk/order", "type": kind, "subject": "o1",
                "time": "2026-01-01T00:00:00Z", "sequence": 2, "data": data });
            command(&serde_json::from_value(event).expect("an event"))
        };
        let altered = || serde_json::json!({ "foo": 1 });
        assert!(matches!(of(CONFIRMED, altered()), Err(Failure::Bad(_))));
        assert!(matches!(of(RETURNED, altered()), Err(Failure::Bad(_))));
        assert!(matches!(of(CANCELLED, altered()), Ok(Some(Command::Cancel(_)))));
        assert!(matches!(of(CONFIRMED, serde_json::json!({ "lines": [] })), Ok(None)));
    }
}
