//! Guessing passwords is slow: after ten wrong ones a login name rests until its minute is over.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use moka::sync::Cache;

use crate::error::Error;

/// Wrong passwords allowed for one login name within the window.
const MOST: u32 = 10;
/// The window, from the first wrong password on.
const WINDOW: Duration = Duration::from_secs(60);
/// Most login names counted at once.
const NAMES: u64 = 100_000;
/// Longest login name; longer ones are not counted, so that they cannot fill the memory.
const LONGEST: usize = 254;

/// Counts wrong passwords by login name, whether there is such a user or not. Cheap to clone.
///
/// The counts are kept in the memory of each process. They need not survive a restart or be shared: each replica allows ten wrong
/// passwords a minute and a restart ten more, which does not weaken a sound password. An attacker cannot evict a name by trying
/// many others: a name is counted after its password was hashed, and two concurrent hashes do not reach 100,000 a minute.
#[derive(Clone, Debug)]
pub(crate) struct LoginThrottle {
    wrong: Cache<String, Arc<Wrong>>,
}

#[derive(Debug)]
struct Wrong {
    since: Instant,
    count: AtomicU32,
}

impl LoginThrottle {
    pub(crate) fn new() -> Self {
        Self { wrong: Cache::builder().max_capacity(NAMES).time_to_live(WINDOW).build() }
    }

    /// Refuses a login name that has to rest.
    pub(crate) fn admit(&self, login: &str) -> Result<(), Error> {
        match self.wrong.get(&key(login)) {
            Some(wrong) if wrong.count.load(Ordering::Relaxed) >= MOST => {
                let rest = WINDOW.saturating_sub(wrong.since.elapsed());
                Err(Error::TooManyAttempts { seconds: rest.as_secs() + 1 })
            }
            _ => Ok(()),
        }
    }

    /// Counts a wrong password, or forgets those before a right one.
    pub(crate) fn note(&self, login: &str, right: bool) {
        let key = key(login);
        if right {
            self.wrong.invalidate(&key);
            return;
        }
        // Put in once and counted in place: the window does not begin anew with every attempt.
        let wrong = self.wrong.get_with(key, || Arc::new(Wrong { since: Instant::now(), count: AtomicU32::new(0) }));
        wrong.count.fetch_add(1, Ordering::Relaxed);
    }
}

/// The name as it is looked up.
fn key(login: &str) -> String {
    login.trim().chars().take(LONGEST).collect::<String>().to_lowercase()
}
