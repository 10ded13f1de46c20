//! Waiting for the outcome of an order.

use std::time::Duration;

use chassis::backoff;
use commerce::OrderId;
use tokio::time::Instant;

use super::App;
use idempotency::Key;

use crate::{
    domain::{Order, SagaState, Status},
    error::Error,
    store::{self, StoredOrder, StoredResponse},
};

/// First pause between two reads of an order: about the duration of a saga step.
const FIRST_PAUSE: Duration = Duration::from_millis(5);
/// Longest pause between two reads of an order.
const LONGEST_PAUSE: Duration = Duration::from_millis(100);

/// How a request to place an order ends.
pub(crate) enum Outcome {
    /// The final response. Repeats of the request get the same bytes.
    Final(OrderId, StoredResponse),
    /// The order existed before the request; its present state.
    Existing(Box<Order>),
    /// The saga of the order still runs.
    InProgress { id: OrderId, state: SagaState, status: Status },
    /// Nothing was done: the cart changed after it was read.
    CartChanged,
}

/// Waits until an order that another task or replica drives is terminal, at most until `deadline`.
pub(crate) async fn wait_for_outcome(
    app: &App,
    id: &OrderId,
    key: Option<&Key>,
    deadline: Instant,
) -> Result<Outcome, Error> {
    let read = || async {
        let mut tx = app.db.read().await?;
        let stored = store::get(&mut tx, id).await?;
        let response = match key {
            Some(key) => store::find_key(&mut tx, key).await?.and_then(|(_, _, response)| response),
            None => None,
        };
        Ok(terminal_outcome(stored, response, key.is_some()))
    };
    if let Some(outcome) = poll(deadline, read).await? {
        return Ok(outcome);
    }
    let order = store::get(&mut app.db.read().await?, id).await?.order;
    Ok(Outcome::InProgress { id: order.id, state: order.state, status: order.status })
}

/// The outcome of an order once it is terminal; `None` before.
fn terminal_outcome(stored: StoredOrder, response: Option<StoredResponse>, by_key: bool) -> Option<Outcome> {
    if let Some(response) = response {
        return Some(Outcome::Final(stored.order.id, response));
    }
    // The response for a key is written with the terminal state; a key that was pruned has none.
    if by_key && stored.work.is_some() || stored.order.status == Status::Pending {
        return None;
    }
    match stored.refusal {
        Some(refusal) if stored.order.states.iter().all(|s| s.state != SagaState::Confirmed) => {
            Some(Outcome::Final(stored.order.id, refusal))
        }
        _ => Some(Outcome::Existing(Box::new(stored.order))),
    }
}

/// Waits until an order has no pending work, at most until `deadline`, and returns it.
pub(crate) async fn wait_until_idle(app: &App, id: &OrderId, deadline: Instant) -> Result<Order, Error> {
    let read = || async {
        let stored = store::get(&mut app.db.read().await?, id).await?;
        Ok(stored.work.is_none().then_some(stored.order))
    };
    match poll(deadline, read).await? {
        Some(order) => Ok(order),
        None => Ok(store::get(&mut app.db.read().await?, id).await?.order),
    }
}

/// Repeats `read` with growing pauses until it returns a value; `None` when the deadline passes first.
pub(super) async fn poll<T, F>(deadline: Instant, read: impl Fn() -> F) -> Result<Option<T>, Error>
where
    F: Future<Output = Result<Option<T>, Error>>,
{
    let mut pauses = backoff::pauses_between(FIRST_PAUSE, LONGEST_PAUSE);
    loop {
        if let Some(value) = read().await? {
            return Ok(Some(value));
        }
        let pause = pauses.next().unwrap_or(LONGEST_PAUSE);
        if Instant::now() + pause >= deadline {
            return Ok(None);
        }
        tokio::time::sleep(pause).await;
    }
}
