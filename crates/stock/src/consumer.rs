//! Follows what becomes of orders: a confirmed one turns its reservation into a sale, a cancelled one gives
//! everything back, returned goods go back on the shelf. Taken in their `sequence`, each once.

use bus::{Event, Failure, Handler};
use commerce::OrderId;
use prometheus::IntCounterVec;

use crate::{
    commands::{Command, Executor, Outcome},
    domain::ReservationState,
    error::Error,
    events::OrderData,
};

/// What is done about order events.
pub(crate) struct OrderEventConsumer {
    pub(crate) executor: Executor,
    pub(crate) inconsistencies: IntCounterVec,
}

impl Handler for OrderEventConsumer {
    async fn handle(&self, events: &[Event]) -> Result<(), Failure> {
        let mut plan = Vec::with_capacity(events.len());
        for event in events {
            plan.push(tasks(event)?);
        }
        let answers = self.executor.follow(events, &plan).await.map_err(failure)?;
        for (event, answers) in events.iter().zip(&answers) {
            for answer in answers {
                self.look(event, answer);
            }
        }
        Ok(())
    }
}

impl OrderEventConsumer {
    /// Tells of what should not be: the audit would find it too, but later.
    fn look(&self, event: &Event, answer: &Outcome) {
        let wrong = match answer {
            Outcome::Reservation(Some(ReservationState::Committed)) => return,
            Outcome::Reservation(Some(ReservationState::Released | ReservationState::Held))
                if event.kind == CONFIRMED =>
            {
                "confirmed, but its stock was released".to_owned()
            }
            Outcome::Reservation(None) if event.kind == CONFIRMED => {
                "confirmed, but nothing was reserved for it".to_owned()
            }
            Outcome::Restocked(refused) if !refused.is_empty() => {
                let what: Vec<String> = refused.iter().map(|(id, quantity)| format!("{quantity} of {id}")).collect();
                format!("more came back than was sold: {}", what.join(", "))
            }
            _ => return,
        };
        self.inconsistencies.with_label_values(&[event.kind.as_str()]).inc();
        tracing::error!(order.id = %event.subject, event.kind = %event.kind, "the order's stock does not fit: {wrong}");
    }
}

/// The events that something is done about.
pub(crate) const KINDS: &[&str] = &[CONFIRMED, CANCELLED, RETURNED];
const CONFIRMED: &str = "souk.order.confirmed";
const CANCELLED: &str = "souk.order.cancelled";
const RETURNED: &str = "souk.order.returned";

/// What an event calls for.
fn tasks(event: &Event) -> Result<Vec<Command>, Failure> {
    if !KINDS.contains(&event.kind.as_str()) {
        return Ok(Vec::new());
    }
    let order_id = OrderId::parse(&event.subject).map_err(|err| Failure::Bad(err.into()))?;
    let data: OrderData = event.data()?;
    Ok(match event.kind.as_str() {
        // Lines without a product (a service, a price by hand) were never set aside.
        CONFIRMED if data.lines.iter().any(|line| line.product_id.is_some()) => {
            vec![Command::Commit(order_id)]
        }
        CANCELLED => vec![Command::Cancel(order_id)],
        RETURNED => data
            .returned
            .filter(|returned| returned.restock)
            .map(|returned| (returned.by_product(), format!("return {}", returned.id)))
            .filter(|(lines, _)| !lines.is_empty())
            .map(|(lines, reason)| Command::Restock { order_id, lines, reason })
            .into_iter()
            .collect(),
        _ => Vec::new(),
    })
}

fn failure(err: Error) -> Failure {
    match err.kind() {
        chassis::Kind::Unavailable => Failure::Later(err.into()),
        _ => Failure::Bad(err.into()),
    }
}
