//! Work that takes long, aside from the threads that all requests share.

use std::future::{Future, poll_fn};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use chassis::{Kind, Problem};
use tokio::sync::Semaphore;
use tracing::Span;

/// How many at a time. They compete with the shared threads for the processors.
const AT_ONCE: usize = 2;
/// How long others wait for their turn. Each is over in some ten milliseconds, so that many are in front means a flood.
const PATIENCE: Duration = Duration::from_secs(1);

/// A few threads for the work that large queries need before the store is asked. Cheap to clone.
#[derive(Clone, Debug)]
pub(super) struct Aside(Arc<Semaphore>);

impl Aside {
    pub(super) fn new() -> Self {
        Self(Arc::new(Semaphore::new(AT_ONCE)))
    }

    /// Does this on a thread of its own. What has begun is finished, also if its client goes: it keeps its turn until then.
    pub(super) async fn run<T: Send + 'static>(&self, work: impl FnOnce() -> T + Send + 'static) -> Result<T, Problem> {
        let turn = tokio::time::timeout(PATIENCE, self.0.clone().acquire_owned()).await;
        let Ok(Ok(turn)) = turn else {
            return Err(Problem::new(Kind::Unavailable, "Too many large queries at once; try again.")
                .with_code("graphql.busy")
                .retry_after(1));
        };
        let span = Span::current();
        let work = move || {
            let _turn = turn;
            span.in_scope(work)
        };
        tokio::task::spawn_blocking(work).await.map_err(Problem::internal)
    }

    /// Runs a future whose first step takes long: that step on a thread of its own, the others as usual.
    pub(super) async fn begin<T: Send + 'static>(
        &self,
        future: impl Future<Output = T> + Send + 'static,
    ) -> Result<T, Problem> {
        let mut future: Pin<Box<dyn Future<Output = T> + Send>> = Box::pin(future);
        let begun = self.run(move || {
            // Nobody is woken by this step. The next one follows at once, and sees what has become ready.
            match future.as_mut().poll(&mut Context::from_waker(Waker::noop())) {
                Poll::Ready(output) => Ok(output),
                Poll::Pending => Err(future),
            }
        });
        match begun.await? {
            Ok(output) => Ok(output),
            Err(mut rest) => Ok(poll_fn(|cx| rest.as_mut().poll(cx)).await),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn the_first_step_is_elsewhere_and_the_rest_is_here() {
        let here = std::thread::current().id();
        let future = async move {
            assert_ne!(std::thread::current().id(), here);
            tokio::time::sleep(Duration::from_millis(20)).await;
            assert_eq!(std::thread::current().id(), here);
            5
        };
        assert_eq!(Aside::new().begin(future).await.unwrap(), 5);
        assert_eq!(Aside::new().begin(async { 6 }).await.unwrap(), 6);
    }

    #[tokio::test]
    async fn who_gets_no_turn_in_time_is_told_to_come_again() {
        let aside = Aside::new();
        let (release, wait) = std::sync::mpsc::channel::<()>();
        let wait = Arc::new(std::sync::Mutex::new(wait));
        let slow: Vec<_> = (0..AT_ONCE)
            .map(|_| {
                let (aside, wait) = (aside.clone(), wait.clone());
                tokio::spawn(async move { aside.run(move || wait.lock().unwrap().recv()).await.is_ok() })
            })
            .collect();
        tokio::time::sleep(Duration::from_millis(50)).await;
        let refused = aside.run(|| ()).await.unwrap_err();
        assert_eq!((refused.kind(), refused.code()), (Kind::Unavailable, "graphql.busy"));
        drop(release);
        for task in slow {
            assert!(task.await.unwrap());
        }
        aside.run(|| ()).await.unwrap();
    }

    #[tokio::test]
    async fn a_panic_aside_is_a_problem_and_gives_the_turn_back() {
        let aside = Aside::new();
        for _ in 0..=AT_ONCE {
            assert_eq!(aside.run(|| panic!("on purpose")).await.unwrap_err().kind(), Kind::Internal);
        }
    }
}
