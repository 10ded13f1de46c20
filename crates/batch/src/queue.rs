//! A queue of commands: callers submit lists of commands, and the executor executes what has queued as one unit.

use std::{future::Future, sync::Arc};

use db::AsDb;
use tokio_util::task::TaskTracker;

use crate::{Batcher, Error};

/// Executes commands, many as one unit (one transaction).
pub trait CommandExecutor: Send + Sync + 'static {
    /// What callers ask for.
    type Command: Send + Sync + 'static;
    /// The result of one command. A refusal that concerns one command only is an outcome, not an error.
    type Outcome: Send + 'static;
    /// Why nothing was executed.
    type Error: CommandError;

    /// Executes all commands as one unit, and returns one outcome for each, in their order. An error leaves no trace.
    fn execute(
        &self,
        commands: &[&Self::Command],
    ) -> impl Future<Output = Result<Vec<Self::Outcome>, Self::Error>> + Send;

    /// The outcome of a command of a longer call that the store refused when it was executed by itself. An error fails the
    /// whole call.
    fn refused(&self, command: &Self::Command, error: Self::Error) -> Result<Self::Outcome, Self::Error>;
}

/// What the queue distinguishes in the errors of an executor. All callers of one unit share an error, so it is cheap to clone.
pub trait CommandError: AsDb + Clone + Send + Sync + 'static {
    /// The error of a command without an outcome, because the process stops or the unit broke off.
    fn stopped() -> Self;

    /// Whether the store did not answer. Such calls are not executed one by one, since each would wait for the store again
    /// while all others queue behind it.
    fn is_unresponsive(&self) -> bool {
        matches!(self.as_db(), Some(db::Error::Unavailable(_)))
    }

    /// Whether one command violated a constraint of the store, which tells nothing about the other commands.
    fn is_constraint(&self) -> bool {
        self.as_db().is_some_and(|err| err.constraint().is_some())
    }
}

type Call<X> = Arc<Vec<<X as CommandExecutor>::Command>>;

/// Where callers submit commands. Cheap to clone.
pub struct CommandQueue<X: CommandExecutor> {
    calls: Batcher<Call<X>, Vec<X::Outcome>, X::Error>,
}

impl<X: CommandExecutor> Clone for CommandQueue<X> {
    fn clone(&self) -> Self {
        Self { calls: self.calls.clone() }
    }
}

impl<X: CommandExecutor> std::fmt::Debug for CommandQueue<X> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("CommandQueue")
    }
}

impl<X: CommandExecutor> CommandQueue<X> {
    /// Starts a leader that executes at most `max_calls` queued calls as one unit.
    pub fn start(tasks: &TaskTracker, max_calls: usize, executor: X) -> Self {
        let executor = Arc::new(executor);
        let calls = Batcher::start_with(
            tasks,
            max_calls,
            |error: &X::Error| !error.is_unresponsive(),
            move |calls| {
                let executor = Arc::clone(&executor);
                async move { execute(&*executor, calls).await }
            },
        );
        Self { calls }
    }

    /// Executes these commands as part of one unit, and returns one outcome for each, in their order.
    pub async fn run_all(&self, commands: Vec<X::Command>) -> Result<Vec<X::Outcome>, X::Error> {
        if commands.is_empty() {
            return Ok(Vec::new());
        }
        self.calls.run(Arc::new(commands)).await.map_err(|error| match error {
            Error::Failed(error) => (*error).clone(),
            Error::Stopped => X::Error::stopped(),
        })
    }

    /// Executes one command.
    pub async fn run(&self, command: X::Command) -> Result<X::Outcome, X::Error> {
        self.run_all(vec![command]).await?.pop().ok_or_else(X::Error::stopped)
    }
}

async fn execute<X: CommandExecutor>(executor: &X, calls: Vec<Call<X>>) -> Result<Vec<Vec<X::Outcome>>, X::Error> {
    let commands: Vec<&X::Command> = calls.iter().flat_map(|call| call.iter()).collect();
    let outcomes = match executor.execute(&commands).await {
        // A constraint that one command violates must not fail the others of its call.
        Err(error) if calls.len() == 1 && commands.len() > 1 && error.is_constraint() => {
            one_by_one(executor, &commands).await?
        }
        outcomes => outcomes?,
    };
    // Otherwise a caller would get the outcome of another one's command.
    if outcomes.len() != commands.len() {
        return Err(X::Error::stopped());
    }
    let mut outcomes = outcomes.into_iter();
    Ok(calls.iter().map(|call| outcomes.by_ref().take(call.len()).collect()).collect())
}

async fn one_by_one<X: CommandExecutor>(executor: &X, commands: &[&X::Command]) -> Result<Vec<X::Outcome>, X::Error> {
    let mut outcomes = Vec::with_capacity(commands.len());
    for command in commands {
        outcomes.push(match executor.execute(&[*command]).await {
            Ok(mut executed) => executed.pop().ok_or_else(X::Error::stopped)?,
            Err(error) if error.is_constraint() => executor.refused(command, error)?,
            Err(error) => return Err(error),
        });
    }
    Ok(outcomes)
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;

    use super::*;

    #[derive(Debug, Clone, PartialEq)]
    enum Failure {
        Constraint,
        Unresponsive,
        Stopped,
    }

    impl AsDb for Failure {
        fn as_db(&self) -> Option<&db::Error> {
            None
        }
    }

    impl CommandError for Failure {
        fn stopped() -> Self {
            Self::Stopped
        }
        fn is_unresponsive(&self) -> bool {
            *self == Self::Unresponsive
        }
        fn is_constraint(&self) -> bool {
            *self == Self::Constraint
        }
    }

    /// Doubles numbers. The store violates a constraint at 3 and does not answer at 9.
    #[derive(Clone, Default)]
    struct Doubler {
        units: Arc<Mutex<Vec<Vec<u32>>>>,
    }

    impl CommandExecutor for Doubler {
        type Command = u32;
        type Outcome = Result<u32, String>;
        type Error = Failure;

        async fn execute(&self, commands: &[&u32]) -> Result<Vec<Self::Outcome>, Failure> {
            self.units.lock().expect("no panic before").push(commands.iter().map(|n| **n).collect());
            if commands.contains(&&9) {
                return Err(Failure::Unresponsive);
            }
            if commands.contains(&&3) {
                return Err(Failure::Constraint);
            }
            // At 7 it forgets an outcome.
            Ok(commands.iter().filter(|n| ***n != 7).map(|n| Ok(**n * 2)).collect())
        }

        fn refused(&self, command: &u32, _: Failure) -> Result<Self::Outcome, Failure> {
            Ok(Err(format!("{command} is refused")))
        }
    }

    fn start() -> (Doubler, CommandQueue<Doubler>) {
        let executor = Doubler::default();
        (executor.clone(), CommandQueue::start(&TaskTracker::new(), 8, executor))
    }

    #[tokio::test]
    async fn a_call_gets_one_outcome_for_each_command_in_their_order() {
        let (executor, queue) = start();
        let calls = [vec![1, 2], vec![], vec![5, 4, 6]].map(|commands| {
            let queue = queue.clone();
            tokio::spawn(async move { queue.run_all(commands).await })
        });
        let mut outcomes = Vec::new();
        for call in calls {
            outcomes.push(call.await.expect("no panic").expect("is executed"));
        }
        assert_eq!(outcomes, [vec![Ok(2), Ok(4)], vec![], vec![Ok(10), Ok(8), Ok(12)]]);
        assert_eq!(*executor.units.lock().expect("no panic before"), [[1, 2, 5, 4, 6]], "one unit for both calls");
    }

    #[tokio::test]
    async fn a_constraint_refuses_its_command_only_and_fails_a_call_of_one() {
        let (executor, queue) = start();
        let outcomes = queue.run_all(vec![1, 3, 5]).await;
        assert_eq!(outcomes, Ok(vec![Ok(2), Err("3 is refused".to_owned()), Ok(10)]));
        assert_eq!(*executor.units.lock().expect("no panic before"), [vec![1, 3, 5], vec![1], vec![3], vec![5]]);
        assert_eq!(queue.run(3).await, Err(Failure::Constraint));
    }

    #[tokio::test]
    async fn a_missing_outcome_fails_its_call_and_shifts_no_other() {
        let (_, queue) = start();
        let calls = [(vec![7, 1], Err(Failure::Stopped)), (vec![2], Ok(vec![Ok(4)]))].map(|(commands, outcomes)| {
            let queue = queue.clone();
            (tokio::spawn(async move { queue.run_all(commands).await }), outcomes)
        });
        for (call, outcomes) in calls {
            assert_eq!(call.await.expect("no panic"), outcomes);
        }
    }

    #[tokio::test]
    async fn a_store_that_does_not_answer_fails_all_calls_of_the_unit_at_once() {
        let (executor, queue) = start();
        let calls = [vec![1], vec![9, 2]].map(|commands| {
            let queue = queue.clone();
            tokio::spawn(async move { queue.run_all(commands).await })
        });
        for call in calls {
            assert_eq!(call.await.expect("no panic"), Err(Failure::Unresponsive));
        }
        assert_eq!(executor.units.lock().expect("no panic before").len(), 1);
    }
}
