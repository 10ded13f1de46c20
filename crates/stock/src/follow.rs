//! Follows what becomes of orders: a confirmed one turns its reservation into a sale, a cancelled one gives
//! everything back, returned goods go back on the shelf. Taken in their `sequence`, each once.

use bus::{Event, Failure, Handler};
use commerce::OrderId;
use prometheus::IntCounterVec;

use crate::{
    domain::State,
    error::Error,
    events::OrderData,
    operate::{Answer, Desk, Task},
};

/// What is done about order events.
pub(crate) struct Follower {
    pub(crate) desk: Desk,
    pub(crate) misfits: IntCounterVec,
}

impl Handler for Follower {
    async fn handle(&self, events: &[Event]) -> Result<(), Failure> {
        let mut plan = Vec::with_capacity(events.len());
        for event in events {
            plan.push(tasks(event)?);
        }
        let answers = self.desk.follow(events, &plan).await.map_err(failure)?;
        for (event, answers) in events.iter().zip(&answers) {
            for answer in answers {
                self.look(event, answer);
            }
        }
        Ok(())
    }
}

impl Follower {
    /// Tells of what should not be: the audit would find it too, but later.
    fn look(&self, event: &Event, answer: &Answer) {
        let wrong = match answer {
            Answer::State(Some(State::Committed)) => return,
            Answer::State(Some(State::Released | State::Held)) if event.kind == CONFIRMED => {
                "confirmed, but its stock was released".to_owned()
            }
            Answer::State(None) if event.kind == CONFIRMED => "confirmed, but nothing was reserved for it".to_owned(),
            Answer::Restocked(refused) if !refused.is_empty() => {
                let what: Vec<String> = refused.iter().map(|(id, quantity)| format!("{quantity} of {id}")).collect();
                format!("more came back than was sold: {}", what.join(", "))
            }
            _ => return,
        };
        self.misfits.with_label_values(&[event.kind.as_str()]).inc();
        tracing::error!(order.id = %event.subject, event.kind = %event.kind, "the order's stock does not fit: {wrong}");
    }
}

/// The events that something is done about.
pub(crate) const KINDS: &[&str] = &[CONFIRMED, CANCELLED, RETURNED];
const CONFIRMED: &str = "souk.order.confirmed";
const CANCELLED: &str = "souk.order.cancelled";
const RETURNED: &str = "souk.order.returned";

/// What an event calls for.
fn tasks(event: &Event) -> Result<Vec<Task>, Failure> {
    if !KINDS.contains(&event.kind.as_str()) {
        return Ok(Vec::new());
    }
    let order_id = OrderId::parse(&event.subject).map_err(|err| Failure::Bad(err.into()))?;
    let data: OrderData = event.data()?;
    Ok(match event.kind.as_str() {
        // Lines without a product (a service, a price by hand) were never set aside.
        CONFIRMED if data.lines.iter().any(|line| line.product_id.is_some()) => {
            vec![Task::Commit(order_id)]
        }
        CANCELLED => vec![Task::Cancel(order_id)],
        RETURNED => data
            .returned
            .filter(|returned| returned.restock)
            .map(|returned| (returned.by_product(), format!("return {}", returned.id)))
            .filter(|(lines, _)| !lines.is_empty())
            .map(|(lines, reason)| Task::Restock { order_id, lines, reason })
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
