//! Bodies of requests whose clients may be slow or leave.

use std::{
    error::Error,
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicU8, Ordering},
    },
    task::{Context, Poll, ready},
    time::Duration,
};

use axum::body::{Body, HttpBody};
use bytes::Bytes;
use http::HeaderMap;
use http_body::{Frame, SizeHint};
use tokio::{
    sync::{OwnedSemaphorePermit, Semaphore},
    time::{Instant, Sleep},
};

use crate::{BODY_LIMIT, Kind, Problem, extract::content_length};

/// How long a service waits for a client while it reads a body, all pauses together.
const GRACE: Duration = Duration::from_secs(10);
/// For so many bytes that came it waits one second more. Far below every line on which people work.
const MIN_RATE: u64 = 8 * 1024;

/// How far the body of a request has come, as far as its client is concerned; in the extensions of the request.
#[derive(Clone, Debug, Default)]
pub struct BodyProgress(Arc<AtomicU8>);

/// Nothing is asked of the client: the body is read no further now.
const PAUSED: u8 = 0;
/// The service waits for the client.
const AWAITED: u8 = 1;
/// The client has sent all of it.
const COMPLETE: u8 = 2;
/// The client has sent too little in its time.
const LATE: u8 = 3;
/// The connection ended before the body.
const BROKEN: u8 = 4;

impl BodyProgress {
    /// The problem of a request that failed, if its client is at fault: the body came too slowly, or its end is missing.
    pub fn fault(&self) -> Option<Problem> {
        match self.0.load(Ordering::Relaxed) {
            LATE => Some(late()),
            BROKEN => Some(broken()),
            _ => None,
        }
    }

    /// The same when the time of a request is over, in which the whole body should have come.
    pub fn fault_at_timeout(&self) -> Option<Problem> {
        let awaited = self.0.load(Ordering::Relaxed) == AWAITED;
        if awaited { Some(late()) } else { self.fault() }
    }

    fn set(&self, state: u8) {
        self.0.store(state, Ordering::Relaxed);
    }
}

/// How long the body of a request may take at the slowest pace that is allowed, if its length is known.
pub fn longest_upload(headers: &HeaderMap) -> Duration {
    let length = content_length(headers).unwrap_or_default().min(BODY_LIMIT as u64);
    Duration::from_secs(length / MIN_RATE)
}

/// The problem of a body that comes too slowly.
fn late() -> Problem {
    Problem::new(Kind::RequestTimeout, "The body came too slowly; send the request again.")
}

/// The problem of a body that ends before its announced end.
fn broken() -> Problem {
    Problem::new(Kind::Unreadable, "The body ended early.")
}

/// Why a body cannot be read, as a problem.
pub(crate) fn unreadable(error: axum::Error) -> Problem {
    let mut chain = std::iter::successors(Some(&error as &(dyn Error + 'static)), |error| (*error).source());
    if chain.any(|error| error.is::<Late>()) { late() } else { broken().because(error) }
}

/// What the bodies that are being read may have come to, in bytes, beyond [`FREE`] each: else a hundred clients who each keep a large one
/// unfinished would take as much memory as they like. The buffers in which bodies grow may take twice as much.
const BUDGET: usize = 16 * 1024 * 1024;
/// So much of a body needs no budget, so that large ones never keep ordinary requests waiting.
const FREE: usize = 64 * 1024;

/// The budget of one port, in the extensions of its requests.
#[derive(Clone, Debug)]
pub(crate) struct BodyBudget(Arc<Semaphore>);

impl BodyBudget {
    pub(crate) fn new() -> Self {
        Self(Arc::new(Semaphore::new(BUDGET)))
    }

    /// What one body has taken, nothing so far.
    pub(crate) fn share(&self) -> BodyShare {
        BodyShare { budget: self.clone(), length: FREE, taken: None }
    }
}

/// What one body has taken of the budget; given back when it is dropped.
pub(crate) struct BodyShare {
    budget: BodyBudget,
    length: usize,
    taken: Option<OwnedSemaphorePermit>,
}

impl BodyShare {
    /// Takes as much as a body of this length needs.
    pub(crate) fn cover(&mut self, length: usize) -> Result<(), Problem> {
        if length <= self.length {
            return Ok(());
        }
        let more = u32::try_from(length - self.length).unwrap_or(u32::MAX);
        let Ok(permit) = self.budget.0.clone().try_acquire_many_owned(more) else {
            let detail = "Too many large bodies are being sent at once; try again.";
            return Err(Problem::new(Kind::Unavailable, detail).with_code("body.busy").retry_after(1));
        };
        self.length = length;
        match &mut self.taken {
            Some(taken) => taken.merge(permit),
            none => *none = Some(permit),
        }
        Ok(())
    }
}

/// A body has come too slowly.
#[derive(Debug, thiserror::Error)]
#[error("the body came too slowly")]
struct Late;

/// The body of a client's request. It fails when the client is slower than [`MIN_RATE`] allows: without an end to that, a client that
/// announces a body and sends none would keep its connection, its request and what was read so far. Only time in which the service
/// waits for the client counts.
pub(crate) struct ClientBody {
    inner: Body,
    progress: BodyProgress,
    received: u64,
    waited: Duration,
    /// Since when the client is waited for, and the end of the wait.
    wait: Option<(Instant, Pin<Box<Sleep>>)>,
}

impl ClientBody {
    pub(crate) fn new(inner: Body, progress: BodyProgress) -> Self {
        if inner.is_end_stream() {
            progress.set(COMPLETE);
        }
        Self { inner, progress, received: 0, waited: Duration::ZERO, wait: None }
    }

    fn allowed(&self) -> Duration {
        GRACE + Duration::from_secs(self.received / MIN_RATE)
    }

    /// Ready when the client has used up its time.
    fn poll_late(&mut self, cx: &mut Context<'_>) -> Poll<Late> {
        self.progress.set(AWAITED);
        let left = self.allowed().saturating_sub(self.waited);
        let (_, sleep) = self.wait.get_or_insert_with(|| (Instant::now(), Box::pin(tokio::time::sleep(left))));
        ready!(sleep.as_mut().poll(cx));
        self.progress.set(LATE);
        Poll::Ready(Late)
    }
}

impl HttpBody for ClientBody {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        let frame = match Pin::new(&mut self.inner).poll_frame(cx) {
            Poll::Ready(frame) => frame,
            Poll::Pending => return self.poll_late(cx).map(|late| Some(Err(axum::Error::new(late)))),
        };
        if let Some((since, _)) = self.wait.take() {
            self.waited += since.elapsed();
        }
        self.progress.set(match &frame {
            None => COMPLETE,
            Some(Err(_)) => BROKEN,
            Some(Ok(_)) if self.inner.is_end_stream() => COMPLETE,
            Some(Ok(_)) => PAUSED,
        });
        let length = frame.as_ref().and_then(|frame| frame.as_ref().ok()?.data_ref().map(Bytes::len));
        self.received += length.unwrap_or_default() as u64;
        Poll::Ready(frame)
    }

    fn is_end_stream(&self) -> bool {
        self.inner.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.inner.size_hint()
    }
}
