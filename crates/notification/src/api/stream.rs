//! The live stream: server-sent events (WHATWG HTML, section 9.2).

use std::{convert::Infallible, time::Duration};

use auth::Caller;
use axum::{
    extract::State as AxumState,
    response::{
        IntoResponse, Response,
        sse::{Event, KeepAlive, Sse},
    },
};
use chassis::{Kind, Problem};
use futures::stream;
use http::HeaderMap;
use tokio::sync::OwnedSemaphorePermit;

use super::{State, scope};
use crate::{
    domain::Notice,
    error::Error,
    store::{self, Filter},
};

/// Most notifications read at once.
const BATCH: i64 = 100;
/// How often a stream reads the store without being woken, for what other replicas wrote.
const POLL: Duration = Duration::from_secs(1);
/// How often an idle stream sends a comment, so that proxies keep the connection open.
const KEEP_ALIVE: Duration = Duration::from_secs(15);

struct Live {
    state: State,
    filter: Filter,
    last: i64,
    ready: std::vec::IntoIter<Notice>,
    expires_at: i64,
    _permit: OwnedSemaphorePermit,
}

/// Streams notifications as server-sent events: `id` is the number, `event` the kind, `data` the notification as JSON.
///
/// Starts with the next notification, or after the number in `Last-Event-ID`. Customers see their own, staff those of their places,
/// admins all. The stream ends when the token expires.
#[utoipa::path(get, operation_id = "stream", path = "/api/notifications/stream", tag = "notifications",
    params(("Last-Event-ID" = Option<i64>, Header)),
    responses((status = 200, content_type = "text/event-stream", body = String)))]
pub(super) async fn stream(
    AxumState(state): AxumState<State>,
    caller: Caller,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    let filter = Filter::of(scope(&caller)?);
    let permit = state
        .streams
        .clone()
        .try_acquire_owned()
        .map_err(|_| Problem::new(Kind::Unavailable, "Too many live streams; try again later.").retry_after(30))?;
    let last = match headers.get("last-event-id") {
        Some(id) => id
            .to_str()
            .ok()
            .and_then(|id| id.parse::<i64>().ok())
            .ok_or_else(|| Problem::new(Kind::Unreadable, "Last-Event-ID: not a number of this stream"))?,
        None => newest(&state).await.map_err(Problem::from)?,
    };
    let live =
        Live { filter, last, ready: Vec::new().into_iter(), expires_at: caller.expires_at, _permit: permit, state };
    let events = stream::unfold(live, |mut live| async move {
        let notice = live.next().await?;
        let event = Event::default()
            .id(notice.number.to_string())
            .event(notice.kind.clone())
            .json_data(&notice)
            .unwrap_or_default();
        Some((Ok::<_, Infallible>(event), live))
    });
    Ok(Sse::new(events).keep_alive(KeepAlive::new().interval(KEEP_ALIVE)).into_response())
}

async fn newest(state: &State) -> Result<i64, Error> {
    let mut tx = state.db.read().await?;
    Ok(store::newest(&mut tx).await?)
}

impl Live {
    /// The next notification; none when the service stops or the token has expired.
    async fn next(&mut self) -> Option<Notice> {
        loop {
            if let Some(notice) = self.ready.next() {
                self.last = notice.number;
                return Some(notice);
            }
            if self.state.ctx.shutdown.is_cancelled() || self.expired() {
                return None;
            }
            // Marked before the read, so that a notification in between wakes the stream again.
            self.state.news.mark_unchanged();
            match self.look().await {
                Ok(found) if !found.is_empty() => {
                    self.ready = found.into_iter();
                    continue;
                }
                Ok(_) => {}
                Err(error) => {
                    tracing::debug!(error = &error as &dyn std::error::Error, "a live stream waits for the store")
                }
            }
            let shutdown = self.state.ctx.shutdown.clone();
            tokio::select! {
                () = shutdown.cancelled() => return None,
                _ = self.state.news.changed() => {}
                () = tokio::time::sleep(POLL) => {}
            }
        }
    }

    fn expired(&self) -> bool {
        commerce::Timestamp::now().micros() / 1_000_000 >= self.expires_at
    }

    async fn look(&self) -> Result<Vec<Notice>, Error> {
        let mut tx = self.state.db.read().await?;
        Ok(store::since(&mut tx, &self.filter, self.last, BATCH).await?)
    }
}
