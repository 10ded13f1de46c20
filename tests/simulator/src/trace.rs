//! What happened in a run: a digest over all events in their order, and how many there were of each kind.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

/// The trace of a run. Cheap to clone.
#[derive(Debug, Clone, Default)]
pub struct Trace(Arc<Mutex<State>>);

#[derive(Debug, Default)]
struct State {
    digest: Digest,
    counts: BTreeMap<&'static str, u64>,
    printed: bool,
}

impl Trace {
    /// An empty trace; prints each event if that is wanted.
    pub fn new(printed: bool) -> Self {
        Self(Arc::new(Mutex::new(State { printed, ..State::default() })))
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Adds an event: at which time, and what.
    pub fn event(&self, micros: u64, what: std::fmt::Arguments<'_>) {
        let mut state = self.state();
        let line = format!("{micros:>12} {what}");
        if state.printed {
            eprintln!("{line}");
        }
        state.digest.add(line.as_bytes());
    }

    /// Counts events of a kind.
    pub fn add(&self, kind: &'static str, count: u64) {
        let mut state = self.state();
        *state.counts.entry(kind).or_default() += count;
        state.digest.add(kind.as_bytes());
    }

    /// Names kinds that are shown also if there were none.
    pub fn expect(&self, kinds: &[&'static str]) {
        let mut state = self.state();
        for kind in kinds {
            state.counts.entry(kind).or_default();
        }
    }

    /// How many events of each kind there were.
    pub fn counts(&self) -> BTreeMap<&'static str, u64> {
        self.state().counts.clone()
    }

    /// The digest of everything so far.
    pub fn digest(&self) -> u64 {
        self.state().digest.0
    }
}

/// FNV-1a (<http://www.isthe.com/chongo/tech/comp/fnv/>).
#[derive(Debug, Clone, Copy)]
pub struct Digest(pub u64);

impl Default for Digest {
    fn default() -> Self {
        Self(0xcbf2_9ce4_8422_2325)
    }
}

impl Digest {
    /// Adds bytes.
    pub fn add(&mut self, bytes: &[u8]) {
        for byte in bytes {
            self.0 = (self.0 ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3);
        }
    }

    /// The digest of these bytes.
    pub fn of(bytes: &[u8]) -> u64 {
        let mut digest = Self::default();
        digest.add(bytes);
        digest.0
    }
}
