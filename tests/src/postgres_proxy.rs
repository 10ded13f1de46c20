//! A proxy in front of PostgreSQL that makes transactions fail at the worst moments: around their COMMIT. It reads the messages of the
//! frontend (<https://www.postgresql.org/docs/current/protocol-message-formats.html>).

use std::{
    collections::BTreeMap,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use anyhow::{Context, Result};
use rand::{Rng, SeedableRng, rngs::StdRng};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream, tcp::OwnedReadHalf, tcp::OwnedWriteHalf},
    sync::Notify,
    task::JoinHandle,
};

/// What happens to a COMMIT.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum CommitFault {
    /// The connection ends, and the server never gets it.
    CutBefore,
    /// The server commits, and the connection ends before the answer.
    CutAfter,
    /// It is held back longer than a statement may take.
    Pause,
    /// It is held back for a moment.
    Slow,
}

impl CommitFault {
    /// All kinds.
    pub const ALL: [Self; 4] = [Self::CutBefore, Self::CutAfter, Self::Pause, Self::Slow];
}

/// One fault in so many commits.
const ONE_IN: u32 = 15;
/// Longer than a lease, and than the time-out of a call.
const PAUSE: Duration = Duration::from_secs(4);
const SLOW: Duration = Duration::from_millis(150);
/// How long the answer to a commit is waited for, before the connection is cut anyway.
const ANSWER: Duration = Duration::from_secs(2);

/// A port that forwards connections to a PostgreSQL server. Closed when dropped.
#[derive(Debug)]
pub struct PostgresProxy {
    /// Its URL: `postgres://USER@127.0.0.1:PORT`.
    pub url: String,
    faults: Arc<Faults>,
    task: JoinHandle<()>,
}

#[derive(Debug)]
struct Faults {
    on: AtomicBool,
    random: Mutex<StdRng>,
    injected: Mutex<BTreeMap<CommitFault, u64>>,
}

impl PostgresProxy {
    /// A proxy for the server at `postgres://USER@HOST:PORT`, without faults at first.
    pub async fn start(server: &str, seed: u64) -> Result<Self> {
        let (user, address) =
            server.strip_prefix("postgres://").and_then(|rest| rest.split_once('@')).context("postgres://USER@HOST")?;
        let address = address.trim_end_matches('/').to_owned();
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let url = format!("postgres://{user}@{}", listener.local_addr()?);
        let random = Mutex::new(StdRng::seed_from_u64(seed));
        let faults = Arc::new(Faults { on: AtomicBool::new(false), random, injected: Mutex::default() });
        let task = tokio::spawn(accept(listener, address, Arc::clone(&faults)));
        Ok(Self { url, faults, task })
    }

    /// Turns the faults on or off.
    pub fn set_faults(&self, on: bool) {
        self.faults.on.store(on, Ordering::Relaxed);
    }

    /// How many faults of each kind there were.
    pub fn injected(&self) -> BTreeMap<CommitFault, u64> {
        self.faults.injected.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

impl Drop for PostgresProxy {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Faults {
    /// The fault of the next commit, if it has one.
    fn next(&self) -> Option<CommitFault> {
        if !self.on.load(Ordering::Relaxed) {
            return None;
        }
        let mut random = self.random.lock().unwrap_or_else(PoisonError::into_inner);
        if !random.random_ratio(1, ONE_IN) {
            return None;
        }
        let fault = CommitFault::ALL[random.random_range(0..CommitFault::ALL.len())];
        *self.injected.lock().unwrap_or_else(PoisonError::into_inner).entry(fault).or_default() += 1;
        Some(fault)
    }
}

async fn accept(listener: TcpListener, address: String, faults: Arc<Faults>) {
    while let Ok((client, _)) = listener.accept().await {
        let (address, faults) = (address.clone(), Arc::clone(&faults));
        tokio::spawn(async move {
            let Ok(server) = TcpStream::connect(&address).await else { return };
            let _ = (client.set_nodelay(true), server.set_nodelay(true));
            let (from_client, to_client) = client.into_split();
            let (from_server, to_server) = server.into_split();
            let answers = Answers::default();
            // Whichever side ends first ends the connection.
            tokio::select! {
                _ = forward_requests(from_client, to_server, &faults, &answers) => {}
                _ = forward_answers(from_server, to_client, &answers) => {}
            }
        });
    }
}

/// The answers of the server on one connection.
#[derive(Default)]
struct Answers {
    /// Whether they are swallowed.
    swallowed: AtomicBool,
    /// That one came.
    came: Notify,
}

async fn forward_answers(mut server: OwnedReadHalf, mut client: OwnedWriteHalf, answers: &Answers) -> Result<()> {
    let mut buffer = vec![0; 16 << 10];
    loop {
        let count = server.read(&mut buffer).await?;
        if count == 0 {
            return Ok(());
        }
        if answers.swallowed.load(Ordering::Relaxed) {
            answers.came.notify_one();
        } else {
            client.write_all(&buffer[..count]).await?;
        }
    }
}

async fn forward_requests(
    mut client: OwnedReadHalf,
    mut server: OwnedWriteHalf,
    faults: &Faults,
    answers: &Answers,
) -> Result<()> {
    // Only the messages before the start have no type. A request for encryption is one of them; without it the next is the start.
    let mut started = false;
    loop {
        let kind = if started { Some(client.read_u8().await?) } else { None };
        let length = client.read_u32().await?;
        let mut body = vec![0; (length as usize).saturating_sub(4)];
        client.read_exact(&mut body).await?;
        const PROTOCOL_3: [u8; 4] = [0, 3, 0, 0];
        started = started || body.starts_with(&PROTOCOL_3);
        let is_commit = kind == Some(b'Q') && body.to_ascii_uppercase().starts_with(b"COMMIT");
        let fault = if is_commit { faults.next() } else { None };
        match fault {
            Some(CommitFault::CutBefore) => return Ok(()),
            Some(CommitFault::CutAfter) => answers.swallowed.store(true, Ordering::Relaxed),
            Some(CommitFault::Pause) => tokio::time::sleep(PAUSE).await,
            Some(CommitFault::Slow) => tokio::time::sleep(SLOW).await,
            None => {}
        }
        let mut message = Vec::with_capacity(body.len() + 5);
        message.extend(kind);
        message.extend(length.to_be_bytes());
        message.extend(body);
        server.write_all(&message).await?;
        if fault == Some(CommitFault::CutAfter) {
            let _ = tokio::time::timeout(ANSWER, answers.came.notified()).await;
            return Ok(());
        }
    }
}
