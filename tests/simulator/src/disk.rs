//! The disk: a layer of SQLite's file system (<https://sqlite.org/vfs.html>) that fails, crashes, and forgets what was not synced.
//!
//! It passes everything on to SQLite's own layer. So locks, shared memory and files are real, and SQLite itself decides what an error
//! of the disk does to a transaction. A file belongs to the run of a service that opened it. After the crash of that run its files
//! take no more writes; when they are closed, a loss of power takes back writes after the last sync.

mod layer;

use std::{
    collections::{HashMap, HashSet},
    ffi::c_int,
    fs::{self, OpenOptions},
    os::unix::fs::FileExt as _,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    thread,
};

use libsqlite3_sys as sqlite;

use crate::{random::Random, trace::Trace};

/// How often it is looked whether the files of a dead run are closed, before that counts as a leak.
const LONGEST_REAPING: u32 = 200_000;

/// How often the disk fails, for each write, sync or read.
#[derive(Debug, Clone, Copy, Default)]
pub struct Rates {
    /// Of writes that fail.
    pub write_error: f64,
    /// Of syncs that fail.
    pub sync_error: f64,
    /// Of reads that fail.
    pub read_error: f64,
    /// Of writes in which the process dies.
    pub write_crash: f64,
    /// Of syncs before or after which the process dies.
    pub sync_crash: f64,
}

/// A write that was not synced yet, and how to take it back.
#[derive(Debug)]
struct Unsynced {
    offset: u64,
    before: Vec<u8>,
    length_before: u64,
}

/// The disk of a run. Cheap to clone.
#[derive(Clone)]
pub struct Disk(Arc<Mutex<State>>);

struct State {
    random: Random,
    trace: Trace,
    rates: Rates,
    /// The run that opens files now.
    current: u64,
    /// Runs whose disk is full.
    full: HashMap<u64, bool>,
    /// Runs that are dead, and whether their death has been seen.
    dead: HashMap<u64, bool>,
    open: HashMap<u64, usize>,
    unsynced: HashMap<String, Vec<Unsynced>>,
    /// While files of a dead run are closed, nothing is deleted.
    reaping: bool,
    wake: Option<Arc<tokio::sync::Notify>>,
    /// Whether closing a file leaves its log as it is.
    never_emptied: bool,
    /// The threads of connections that are set up. Before that nothing fails: nobody waits for the thread of a connection that could
    /// not be set up, so what it does last would happen at any time.
    established: HashSet<thread::ThreadId>,
}

impl Disk {
    /// Makes this the file system of all SQLite connections that are opened from now on, which must be none before.
    pub fn install(seed: u64, trace: Trace) -> anyhow::Result<Self> {
        let disk = Self(Arc::new(Mutex::new(State {
            random: Random::new(seed, "disk"),
            trace,
            rates: Rates::default(),
            current: 0,
            full: HashMap::new(),
            dead: HashMap::new(),
            open: HashMap::new(),
            unsynced: HashMap::new(),
            reaping: false,
            wake: None,
            never_emptied: false,
            established: HashSet::new(),
        })));
        layer::register(&disk)?;
        Ok(disk)
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Sets how often it fails.
    pub fn set_rates(&self, rates: Rates) {
        let mut state = self.state();
        // The stores exist by now.
        (state.rates, state.never_emptied) = (rates, true);
    }

    /// From now on files are opened by this run, which is woken when the disk kills it.
    pub fn enter(&self, run: u64, wake: Option<Arc<tokio::sync::Notify>>) {
        let mut state = self.state();
        (state.current, state.wake) = (run, wake);
    }

    /// Fills the disk of a run, or makes room on it.
    pub fn set_full(&self, run: u64, full: bool) {
        self.state().full.insert(run, full);
    }

    /// Whether a run is dead.
    pub fn is_dead(&self, run: u64) -> bool {
        self.state().dead.contains_key(&run)
    }

    /// Ends a run: its files take no more writes.
    pub fn kill(&self, run: u64) {
        let mut state = self.state();
        state.dead.insert(run, true);
        state.reaping = true;
    }

    /// Waits until the files of a dead run are closed.
    pub fn reap(&self, run: u64) -> anyhow::Result<()> {
        for _ in 0..LONGEST_REAPING {
            if self.state().open.get(&run).is_none_or(|open| *open == 0) {
                self.state().reaping = false;
                return Ok(());
            }
            thread::sleep(std::time::Duration::from_micros(50));
        }
        anyhow::bail!("a dead run keeps its files open")
    }

    /// Takes back a number of the last writes to files of this folder that were not synced, as a loss of power does.
    pub fn lose_power(&self, folder: &str) -> anyhow::Result<()> {
        let mut state = self.state();
        let mut paths: Vec<String> = state.unsynced.keys().filter(|path| path.starts_with(folder)).cloned().collect();
        paths.sort();
        for path in paths {
            let writes = state.unsynced.remove(&path).unwrap_or_default();
            let kept = state.random.between(0, writes.len() as u64 + 1) as usize;
            let lost = &writes[kept..];
            state.trace.add("power: lost writes", lost.len() as u64);
            if fs::exists(&path)? {
                let file = OpenOptions::new().write(true).open(&path)?;
                for write in lost.iter().rev() {
                    file.write_all_at(&write.before, write.offset)?;
                    file.set_len(write.length_before)?;
                }
            }
        }
        Ok(())
    }
}

/// What is to happen at an operation.
enum Fate {
    Pass,
    Fail(c_int),
}

/// An operation of a file that may fail.
#[derive(Clone, Copy, PartialEq)]
enum Operation {
    Read,
    Write,
    Sync,
    Synced,
}

impl State {
    fn fate(&mut self, run: u64, operation: Operation) -> Fate {
        let error = match operation {
            Operation::Read => sqlite::SQLITE_IOERR_READ,
            Operation::Write => sqlite::SQLITE_IOERR_WRITE,
            Operation::Sync | Operation::Synced => sqlite::SQLITE_IOERR_FSYNC,
        };
        if self.dead.contains_key(&run) {
            return if operation == Operation::Read { Fate::Pass } else { Fate::Fail(error) };
        }
        if operation == Operation::Write && self.full.get(&run).copied().unwrap_or_default() {
            self.trace.add("disk: full", 1);
            return Fate::Fail(sqlite::SQLITE_FULL);
        }
        if !self.established.contains(&thread::current().id()) {
            return Fate::Pass;
        }
        let Rates { read_error, write_error, sync_error, write_crash, sync_crash } = self.rates;
        let (rate, name, crash_rate, crash) = match operation {
            Operation::Read => (read_error, "disk: read failed", 0.0, ""),
            Operation::Write => (write_error, "disk: write failed", write_crash, "crash: in a write"),
            Operation::Sync => (sync_error, "disk: sync failed", sync_crash, "crash: before a sync"),
            Operation::Synced => (0.0, "", sync_crash, "crash: after a sync"),
        };
        if rate > 0.0 && self.random.chance(rate) {
            self.trace.add(name, 1);
            return Fate::Fail(error);
        }
        if crash_rate > 0.0 && self.random.chance(crash_rate) {
            self.trace.add(crash, 1);
            self.dead.insert(run, false);
            if let Some(wake) = &self.wake {
                wake.notify_one();
            }
            return Fate::Fail(error);
        }
        Fate::Pass
    }
}
