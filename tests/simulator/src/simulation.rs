//! A run: hosts, network, disks and clients take their turns on one thread, in simulated time.

use std::{
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use anyhow::Context as _;
use auth::InternalKey;

use crate::{
    client::{Book, Client},
    disk::{self, Disk},
    fleet::{HOSTS, Setup, host_of},
    host::Run,
    machine,
    network::{self, Event, Network, Wire},
    random::Random,
    trace::Trace,
    workload::Workload,
};

/// Microseconds of a turn at most.
const TURN: u64 = 5_000;
/// Orders for each simulated second.
const ORDERS_PER_SECOND: u64 = 60;
/// How long all may take to settle after the last fault.
const LONGEST_SETTLING: Duration = Duration::from_secs(900);
/// Starts of a host that fail one after the other before it counts as broken: more than disks that fail for a while explain.
const FAILED_STARTS: u32 = 30;

/// Orders from which on a run must have seen all kinds of faults.
const ENOUGH_FOR_ALL: u64 = 3_000;

/// Kinds of faults.
pub const FAULTS: [&str; 15] = [
    "crash: at a turn",
    "crash: in a write",
    "crash: before a sync",
    "crash: after a sync",
    "disk: full",
    "disk: read failed",
    "disk: sync failed",
    "disk: write failed",
    "network: delayed",
    "network: duplicate",
    "network: lost answer",
    "network: lost request",
    "network: overtaken",
    "power: lost",
    "provider: in doubt",
];

/// What became of a run.
#[derive(Debug)]
pub struct Report {
    /// What is wrong.
    pub findings: Vec<String>,
    /// How long it took in simulated time.
    pub simulated: Duration,
}

struct Simulation {
    trace: Trace,
    disk: Disk,
    network: Network,
    random: Random,
    setup: Setup,
    hosts: Vec<Option<Run>>,
    /// How many starts of each host have failed since one succeeded.
    failed_starts: [u32; HOSTS.len()],
    clients: Run,
    now: u64,
    started_at: Instant,
    runs: u64,
    chaos: bool,
}

/// Runs this many orders and checks what became of them.
pub fn run(seed: u64, orders: u64, folder: &Path, trace: &Trace) -> anyhow::Result<Report> {
    let disk = Disk::install(seed, trace.clone())?;
    let network = Network::new(seed, trace.clone());
    trace.expect(&FAULTS);
    let pieces = 30 + (orders / 25).cast_signed();
    let setup = Setup { folder: folder.to_owned(), key: InternalKey::generate()?, pieces, seed };
    let clients = Run::idle(0)?;
    clients.finish(setup.seed())?;
    let mut simulation = Simulation {
        trace: trace.clone(),
        random: Random::new(seed, "hosts"),
        disk,
        network,
        setup,
        hosts: HOSTS.iter().map(|_| None).collect(),
        failed_starts: [0; HOSTS.len()],
        clients,
        now: 0,
        started_at: Instant::now(),
        runs: 0,
        chaos: false,
    };
    simulation.run(seed, orders)
}

impl Simulation {
    fn run(&mut self, seed: u64, orders: u64) -> anyhow::Result<Report> {
        for host in 0..HOSTS.len() {
            self.start(host)?;
        }
        let wire = Wire { network: self.network.clone(), disk: self.disk.clone(), from: "clients", run: 0 };
        let client = Client { wire, key: self.setup.key.clone() };
        let workload = Workload { client, book: Book::default(), trace: self.trace.clone(), seed, orders };
        self.prepare(&workload)?;

        self.set_chaos(true);
        let window = (orders * 1_000 / ORDERS_PER_SECOND).max(10_000);
        let left = Arc::new(AtomicU64::new(orders + 1));
        let done = |left: &Arc<AtomicU64>, task| {
            let left = Arc::clone(left);
            async move {
                std::pin::Pin::<Box<dyn Future<Output = ()> + Send>>::from(task).await;
                left.fetch_sub(1, Ordering::SeqCst);
            }
        };
        for number in 0..orders {
            let life: Box<dyn Future<Output = ()> + Send> = Box::new(workload.clone().live(number, window));
            self.clients.spawn(done(&left, life));
        }
        let goods: Box<dyn Future<Output = ()> + Send> = Box::new(workload.clone().move_goods(window));
        self.clients.spawn(done(&left, goods));
        let mut last = orders;
        while left.load(Ordering::SeqCst) > 0 {
            self.turn()?;
            let now = left.load(Ordering::SeqCst) / 500;
            if now != last {
                last = now;
                tracing::info!(left = left.load(Ordering::SeqCst), simulated_seconds = self.now / 1_000_000, "runs");
            }
        }
        self.set_chaos(false);
        self.settle(&workload)
    }

    fn prepare(&mut self, workload: &Workload) -> anyhow::Result<()> {
        self.advance(Duration::from_secs(2))?;
        let failed = Arc::new(std::sync::Mutex::new(None));
        let (own, outcome) = (workload.clone(), Arc::clone(&failed));
        self.clients.spawn(async move {
            *outcome.lock().unwrap_or_else(std::sync::PoisonError::into_inner) = Some(own.prepare().await);
        });
        loop {
            self.turn()?;
            if let Some(outcome) = failed.lock().unwrap_or_else(std::sync::PoisonError::into_inner).take() {
                return outcome;
            }
            anyhow::ensure!(self.now < 600_000_000, "the preparation does not end");
        }
    }

    fn set_chaos(&mut self, chaos: bool) {
        self.chaos = chaos;
        self.trace.event(self.now, format_args!("chaos: {chaos}"));
        tracing::info!(chaos, simulated_seconds = self.now / 1_000_000, real = ?machine::real_time());
        let (network, disk) = if chaos {
            (
                network::Rates { lost: 0.01, lost_answer: 0.01, duplicate: 0.015, delayed: 0.02 },
                disk::Rates {
                    write_error: 0.000_1,
                    sync_error: 0.000_5,
                    read_error: 0.000_05,
                    write_crash: 0.000_04,
                    sync_crash: 0.000_3,
                },
            )
        } else {
            (network::Rates::default(), disk::Rates::default())
        };
        self.network.set_rates(network);
        self.disk.set_rates(disk);
        if !chaos {
            for run in self.hosts.iter().flatten() {
                self.disk.set_full(run.number, false);
            }
        }
    }

    /// Lets everything come to rest, audits, and asks for all orders.
    fn settle(&mut self, workload: &Workload) -> anyhow::Result<Report> {
        let from = self.now;
        let mut findings = loop {
            self.advance(Duration::from_secs(30))?;
            let (findings, pending) = self.audit()?;
            self.trace.event(self.now, format_args!("audit: {} findings, {pending} pending", findings.len()));
            tracing::info!(pending, simulated_seconds = self.now / 1_000_000, real = ?machine::real_time(), "audited");
            let settled = self.now - from > 60_000_000 && pending == 0;
            if settled || self.now - from > LONGEST_SETTLING.as_micros() as u64 {
                let unsettled = (!settled).then(|| format!("{pending} things have not come to rest"));
                break findings.into_iter().chain(unsettled).collect::<Vec<_>>();
            }
        };
        let done = Arc::new(AtomicU64::new(0));
        let (own, flag) = (workload.clone(), Arc::clone(&done));
        self.clients.spawn(async move {
            own.compare().await;
            flag.store(1, Ordering::SeqCst);
        });
        while done.load(Ordering::SeqCst) == 0 {
            self.turn()?;
        }
        findings.extend(workload.book.contradictions());
        for host in 0..HOSTS.len() {
            self.count_doubt(host);
        }
        let counts = self.trace.counts();
        if workload.orders >= ENOUGH_FOR_ALL {
            let never = FAULTS.iter().filter(|fault| counts.get(*fault).is_none_or(|count| *count == 0));
            findings.extend(never.map(|fault| format!("there was no fault of the kind `{fault}`")));
        }
        Ok(Report { findings, simulated: Duration::from_micros(self.now) })
    }

    fn advance(&mut self, by: Duration) -> anyhow::Result<()> {
        let until = self.now + by.as_micros() as u64;
        while self.now < until {
            self.turn()?;
        }
        Ok(())
    }

    /// One turn of everything.
    fn turn(&mut self) -> anyhow::Result<()> {
        while let Some(event) = self.network.due(self.now) {
            self.happen(event)?;
        }
        if self.chaos {
            self.disturb()?;
        }
        let due = self.network.next_due().map_or(u64::MAX, |due| due.next_multiple_of(1_000));
        let next = due.clamp(self.now + 1_000, self.now + TURN);
        let until = self.started_at + Duration::from_micros(next);
        self.clients.step(until, &self.disk);
        for (host, name) in HOSTS.into_iter().enumerate() {
            let Some(run) = &self.hosts[host] else { continue };
            run.step(until, &self.disk);
            if self.disk.is_dead(run.number) {
                self.failed_starts[host] = 0;
                self.kill(host)?;
            } else if let Some(why) = run.failure() {
                self.trace.event(self.now, format_args!("{name} does not start: {why}"));
                self.trace.add("start failed", 1);
                self.failed_starts[host] += 1;
                anyhow::ensure!(self.failed_starts[host] < FAILED_STARTS, "{name} does not start any more: {why}");
                self.kill(host)?;
            }
        }
        self.now = next;
        self.network.set_time(next);
        machine::set_time(next);
        Ok(())
    }

    fn happen(&mut self, event: Event) -> anyhow::Result<()> {
        match event {
            Event::Request { to, request, reply } => {
                let (service, grpc) = host_of(&to);
                let host = HOSTS.iter().position(|name| *name == service).context("a call to a known service")?;
                match (&self.hosts[host], reply) {
                    (Some(run), reply) => {
                        self.disk.enter(run.number, Some(Arc::clone(&run.wake)));
                        run.deliver(request, grpc, reply, &self.network);
                    }
                    (None, Some(reply)) => {
                        self.trace.add("network: refused", 1);
                        self.network.answer(reply, Err(chassis::Unreachable), (0, 0, 0));
                    }
                    (None, None) => {}
                }
            }
            Event::Response(reply, answer) => reply.deliver(answer, &self.disk),
            Event::Start(host) => self.start(host)?,
            Event::Room(run) => self.disk.set_full(run, false),
        }
        Ok(())
    }

    /// Crashes hosts and fills disks by chance.
    fn disturb(&mut self) -> anyhow::Result<()> {
        for (host, name) in HOSTS.into_iter().enumerate() {
            let Some(number) = self.hosts[host].as_ref().map(|run| run.number) else { continue };
            if self.random.chance(0.000_2) {
                self.trace.add("crash: at a turn", 1);
                self.failed_starts[host] = 0;
                self.kill(host)?;
            } else if self.random.chance(0.000_1) {
                self.trace.event(self.now, format_args!("the disk of {name} is full"));
                self.disk.set_full(number, true);
                let room = self.random.between(20_000, 4_000_000);
                self.network.schedule(room, Event::Room(number));
            }
        }
        Ok(())
    }

    fn start(&mut self, host: usize) -> anyhow::Result<()> {
        self.runs += 1;
        let (name, run) = (HOSTS[host], self.runs);
        self.trace.event(self.now, format_args!("{name} starts"));
        let wire = Wire { network: self.network.clone(), disk: self.disk.clone(), from: name, run };
        self.hosts[host] = Some(Run::start(run, name, &self.setup, wire)?);
        Ok(())
    }

    /// Ends a run at the point where it is, sometimes with a loss of power, and starts the next one later.
    fn kill(&mut self, host: usize) -> anyhow::Result<()> {
        self.count_doubt(host);
        let Some(run) = self.hosts[host].take() else { return Ok(()) };
        let number = run.number;
        self.trace.event(self.now, format_args!("{} dies", HOSTS[host]));
        self.disk.kill(number);
        drop(run);
        self.disk.reap(number)?;
        if self.random.chance(0.5) {
            self.trace.add("power: lost", 1);
            let store = self.setup.store(HOSTS[host]);
            self.disk.lose_power(&store.display().to_string())?;
        }
        let pause = self.random.between(50_000, 3_000_000);
        self.network.schedule(pause, Event::Start(host));
        Ok(())
    }

    fn count_doubt(&self, host: usize) {
        if let Some(run) = self.hosts[host].as_ref().filter(|_| HOSTS[host] == payment::NAME) {
            self.trace.add("provider: in doubt", run.metric("payment_operations_total", "in_doubt"));
        }
    }

    fn audit(&self) -> anyhow::Result<(Vec<String>, usize)> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        self.disk.enter(u64::MAX, None);
        let checks = runtime.block_on(souk::audit::audit(&self.setup.folder))?;
        let pending = checks.iter().map(|check| check.pending).sum();
        let findings =
            checks.iter().flat_map(|check| check.violations.iter().map(|what| format!("{}: {what}", check.name)));
        Ok((findings.collect(), pending))
    }
}
