//! The body of a request that may have to be sent again.

use std::{
    pin::Pin,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    task::{Context, Poll},
};

use axum::body::{Body, Bytes};
use http_body::{Body as HttpBody, Frame, SizeHint};

/// A body in clones of a request, of which one reads it. As long as nothing is read, the request can be sent by another clone: no byte of
/// it is stored for that.
#[derive(Clone, Debug)]
pub(crate) struct LentBody(Arc<Mutex<Lent>>);

#[derive(Debug)]
struct Lent {
    body: Body,
    is_read: bool,
}

impl LentBody {
    pub(crate) fn new(body: Body) -> Self {
        Self(Arc::new(Mutex::new(Lent { body, is_read: false })))
    }

    /// Whether something of it was read, or asked for.
    pub(crate) fn is_read(&self) -> bool {
        self.lent().is_read
    }

    fn lent(&self) -> MutexGuard<'_, Lent> {
        // A panic of the body leaves nothing half changed here.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl HttpBody for LentBody {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        let mut lent = self.lent();
        lent.is_read = true;
        Pin::new(&mut lent.body).poll_frame(cx)
    }

    fn is_end_stream(&self) -> bool {
        self.lent().body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.lent().body.size_hint()
    }
}
