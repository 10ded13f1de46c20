//! What dialects share about orders whose clients expect them to be done with at once.

use std::time::Duration;

use http::StatusCode;

use super::desk::{Answer, Desk};

/// How long to wait for the end of a checkout that somebody moves or removes meanwhile.
const SETTLES: Duration = Duration::from_secs(5);

/// An order that is in sight.
pub(crate) async fn get(desk: &Desk, id: &str) -> Answer {
    let mut answer = desk.get(&["api", "orders", id]).send().await;
    if answer.body["archived"] == true {
        answer.status = StatusCode::NOT_FOUND;
    }
    answer
}

/// The order, when its checkout has come to an end or it takes too long.
pub(crate) async fn settled(desk: &Desk, id: &str) -> Answer {
    let mut pause = Duration::from_millis(10);
    let begun = tokio::time::Instant::now();
    loop {
        let order = get(desk, id).await;
        if order.body["status"] != "pending" || begun.elapsed() > SETTLES {
            return order;
        }
        tokio::time::sleep(pause).await;
        pause = (pause * 2).min(Duration::from_millis(200));
    }
}

/// Cancels an order first if it may be, so that goods go back; then puts it out of sight. The accounts keep it.
pub(crate) async fn discard(desk: &Desk, id: &str) -> Result<(), Answer> {
    let order = settled(desk, id).await.ok()?;
    if matches!(order["status"].as_str(), Some("confirmed" | "processing")) {
        let cancelled = desk.post(&["api", "orders", id, "cancel"]).send().await;
        // Goods that came back already keep it from being cancelled, and from nothing else.
        if !cancelled.status.is_success() && cancelled.status != StatusCode::CONFLICT {
            return Err(cancelled);
        }
        settled(desk, id).await.ok()?;
    }
    desk.delete(&["api", "orders", id]).send().await.ok().map(drop)
}
