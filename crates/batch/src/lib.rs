//! Group commit: one leader executes at once what many callers asked for.
//!
//! Callers put items into a queue; the leader takes whatever has queued while it was busy, processes it as one unit (one
//! transaction, one remote call), and answers each caller. There is no timer: a single item is taken at once, without delay;
//! under load, commits and calls are shared (DeWitt et al., SIGMOD 1984). The leader is a task of its own, so a caller that is
//! cancelled cancels nobody else's work.
//!
//! [`Batcher`] is the mechanism. [`CommandQueue`] adds what services with a store share: calls of many commands, and
//! constraints that refuse one command only.

mod queue;

use std::{future::Future, panic::AssertUnwindSafe, sync::Arc};

use futures::FutureExt;
use tokio::sync::{mpsc, oneshot};
use tokio_util::task::TaskTracker;
use tracing::{Instrument, Span};

pub use queue::{CommandError, CommandExecutor, CommandQueue};

/// Why an item has no result.
#[derive(Debug, Clone, thiserror::Error)]
pub enum Error<E> {
    /// The work failed. All callers of the batch share the error.
    #[error(transparent)]
    Failed(Arc<E>),
    /// The leader has stopped, or its work panicked. Work in progress may have taken effect or not.
    #[error("the work ended without a result")]
    Stopped,
}

struct Item<T, R, E> {
    value: T,
    /// The caller's span: work for one caller alone belongs to that caller's trace.
    span: Span,
    result: oneshot::Sender<Result<R, Error<E>>>,
}

/// The entrance of the queue. Cheap to clone; the leader ends when the last clone is dropped.
#[derive(Debug)]
pub struct Batcher<T, R, E> {
    queue: mpsc::Sender<Item<T, R, E>>,
}

impl<T, R, E> std::fmt::Debug for Item<T, R, E> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Item")
    }
}

impl<T, R, E> Clone for Batcher<T, R, E> {
    fn clone(&self) -> Self {
        Self { queue: self.queue.clone() }
    }
}

impl<T, R, E> Batcher<T, R, E>
where
    T: Clone + Send + 'static,
    R: Send + 'static,
    E: Send + Sync + 'static,
{
    /// Starts a leader that takes at most `max_items` items at once and processes them by `work`, which returns one result
    /// for each item, in their order.
    ///
    /// If `work` fails as a whole it must have left no trace; its items are then processed one by one, so that the failure
    /// of one item fails that item alone.
    pub fn start<F, W>(tasks: &TaskTracker, max_items: usize, work: F) -> Self
    where
        F: Fn(Vec<T>) -> W + Send + Sync + 'static,
        W: Future<Output = Result<Vec<R>, E>> + Send,
    {
        Self::start_with(tasks, max_items, |_| true, work)
    }

    /// The same, where `retry_singly` decides after which failures the items are processed one by one. A time-out of a remote
    /// call is none: every item would wait for it again while all others queue behind.
    pub fn start_with<F, W>(tasks: &TaskTracker, max_items: usize, retry_singly: fn(&E) -> bool, work: F) -> Self
    where
        F: Fn(Vec<T>) -> W + Send + Sync + 'static,
        W: Future<Output = Result<Vec<R>, E>> + Send,
    {
        let (queue, mut items) = mpsc::channel::<Item<T, R, E>>(max_items.max(1) * 4);
        tasks.spawn(async move {
            let mut batch = Vec::with_capacity(max_items);
            while items.recv_many(&mut batch, max_items.max(1)).await > 0 {
                // Tasks that are ready to run may be about to put in an item: let them run, then look once more. This
                // costs nothing if no other task is ready.
                tokio::task::yield_now().await;
                while batch.len() < max_items
                    && let Ok(item) = items.try_recv()
                {
                    batch.push(item);
                }
                let batch = std::mem::take(&mut batch);
                // Work for many callers belongs to no single trace.
                let span = match batch.as_slice() {
                    [one] => one.span.clone(),
                    _ => Span::none(),
                };
                // A panic fails its own batch only, not those after it.
                if AssertUnwindSafe(process(&work, retry_singly, batch)).catch_unwind().instrument(span).await.is_err()
                {
                    tracing::error!("the work of a batch panicked");
                }
            }
        });
        Self { queue }
    }

    /// Puts an item in and waits for its result. If the caller is cancelled the work is done nevertheless.
    pub async fn run(&self, value: T) -> Result<R, Error<E>> {
        let (result, received) = oneshot::channel();
        self.queue.send(Item { value, span: Span::current(), result }).await.map_err(|_| Error::Stopped)?;
        received.await.map_err(|_| Error::Stopped)?
    }
}

async fn process<T, R, E, F, W>(work: &F, retry_singly: fn(&E) -> bool, batch: Vec<Item<T, R, E>>)
where
    T: Clone,
    F: Fn(Vec<T>) -> W,
    W: Future<Output = Result<Vec<R>, E>>,
{
    let values: Vec<T> = batch.iter().map(|item| item.value.clone()).collect();
    match work(values).await {
        Ok(results) => {
            for (item, result) in batch.into_iter().zip(results) {
                // A caller that was cancelled needs no result.
                let _ = item.result.send(Ok(result));
            }
        }
        Err(error) if batch.len() == 1 || !retry_singly(&error) => {
            let error = Arc::new(error);
            for item in batch {
                let _ = item.result.send(Err(Error::Failed(Arc::clone(&error))));
            }
        }
        Err(_) => {
            for item in batch {
                let result = match work(vec![item.value]).instrument(item.span).await {
                    Ok(mut results) => results.pop().ok_or(Error::Stopped),
                    Err(error) => Err(Error::Failed(Arc::new(error))),
                };
                let _ = item.result.send(result);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::{
        Mutex,
        atomic::{AtomicUsize, Ordering},
    };

    use super::*;

    #[derive(Debug, thiserror::Error)]
    #[error("{0} is poison")]
    struct Poison(u32);

    #[tokio::test]
    async fn what_queues_while_the_leader_is_busy_is_done_at_once() {
        let sizes = Arc::new(Mutex::new(Vec::new()));
        let seen = Arc::clone(&sizes);
        let tasks = TaskTracker::new();
        let batcher = Batcher::start(&tasks, 8, move |batch: Vec<u32>| {
            seen.lock().expect("no panic before").push(batch.len());
            async move {
                tokio::time::sleep(std::time::Duration::from_millis(5)).await;
                Ok::<_, Poison>(batch.into_iter().map(|n| n * 2).collect())
            }
        });
        let callers: Vec<_> = (0..21)
            .map(|n| {
                let batcher = batcher.clone();
                tokio::spawn(async move { batcher.run(n).await.expect("answers") })
            })
            .collect();
        for (n, caller) in (0..).zip(callers) {
            assert_eq!(caller.await.expect("no panic"), n * 2);
        }
        let sizes = sizes.lock().expect("no panic before").clone();
        assert_eq!(sizes.iter().sum::<usize>(), 21);
        assert!(sizes.len() <= 5 && sizes.iter().all(|n| *n <= 8), "{sizes:?}");
    }

    #[tokio::test]
    async fn one_items_failure_fails_that_item_alone() {
        let tasks = TaskTracker::new();
        let gate = Arc::new(tokio::sync::Semaphore::new(0));
        let open = Arc::clone(&gate);
        let batcher = Batcher::start(&tasks, 100, move |batch: Vec<u32>| {
            let gate = Arc::clone(&open);
            async move {
                gate.acquire().await.expect("open").forget();
                match batch.iter().find(|n| **n == 3) {
                    Some(n) => Err(Poison(*n)),
                    None => Ok(batch),
                }
            }
        });
        let callers: Vec<_> = (0..5)
            .map(|n| {
                let batcher = batcher.clone();
                tokio::spawn(async move { batcher.run(n).await })
            })
            .collect();
        tokio::task::yield_now().await;
        gate.add_permits(100);
        for (n, caller) in (0..).zip(callers) {
            let answer = caller.await.expect("no panic");
            assert_eq!(answer.is_err(), n == 3, "{n}: {answer:?}");
        }
    }

    #[tokio::test]
    async fn what_is_not_worth_trying_alone_fails_at_once_and_a_panic_fails_its_batch_only() {
        let calls = Arc::new(AtomicUsize::new(0));
        let count = Arc::clone(&calls);
        let tasks = TaskTracker::new();
        let batcher = Batcher::start_with(
            &tasks,
            100,
            |_| false,
            move |batch: Vec<u32>| {
                let count = Arc::clone(&count);
                async move {
                    count.fetch_add(1, Ordering::SeqCst);
                    assert!(!batch.contains(&7), "seven");
                    tokio::task::yield_now().await;
                    if batch.contains(&3) { Err(Poison(3)) } else { Ok(batch) }
                }
            },
        );
        let ask = |n: u32| {
            let batcher = batcher.clone();
            tokio::spawn(async move { batcher.run(n).await })
        };
        let callers: Vec<_> = (0..5).map(ask).collect();
        for caller in callers {
            assert!(matches!(caller.await.expect("no panic"), Err(Error::Failed(_))));
        }
        assert_eq!(calls.load(Ordering::SeqCst), 1, "no item was tried alone");
        assert!(matches!(batcher.run(7).await, Err(Error::Stopped)));
        assert!(matches!(batcher.run(8).await, Ok(8)), "the leader continues");
    }

    #[tokio::test]
    async fn the_work_is_done_when_its_caller_has_gone() {
        let done = Arc::new(AtomicUsize::new(0));
        let count = Arc::clone(&done);
        let tasks = TaskTracker::new();
        let batcher = Batcher::start(&tasks, 4, move |batch: Vec<u32>| {
            let count = Arc::clone(&count);
            async move {
                tokio::task::yield_now().await;
                count.fetch_add(batch.len(), Ordering::SeqCst);
                Ok::<_, Poison>(batch)
            }
        });
        let caller = tokio::spawn({
            let batcher = batcher.clone();
            async move { batcher.run(1).await }
        });
        tokio::task::yield_now().await;
        caller.abort();
        drop(batcher);
        tasks.close();
        tasks.wait().await;
        assert_eq!(done.load(Ordering::SeqCst), 1);
    }
}
