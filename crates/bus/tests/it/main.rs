//! What every broker adapter must keep: at least once, in order per key, effects exactly once.

use std::{
    path::Path,
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use bus::{Bus, Event, Failure, Handler, NewEvent, Relay};
use chassis::{Context, CrashPoints};
use db::{Db, Options, query};
use tokio_util::sync::CancellationToken;

fn ctx(name: &'static str) -> Context {
    Context::new(name, Context::new_instance(), CancellationToken::new(), CrashPoints::none())
}

async fn open(dir: &Path, name: &str) -> Db {
    let url = format!("sqlite:{}", dir.join(name).display());
    let db = Db::open(&url, &Options::default(), None).await.expect("opens");
    db.migrate(bus::MIGRATIONS).await.expect("migrates");
    db
}

async fn bus(dir: &Path, ctx: &Context) -> Bus {
    Bus::open(&format!("embedded:{}", dir.join("bus.db").display()), ctx).await.expect("a bus")
}

fn event(subject: &str, sequence: i64) -> NewEvent {
    NewEvent::new("orders", "souk.order.placed", subject, sequence, &serde_json::json!({"n": sequence}))
}

async fn tell(db: &Db, relay: Option<&Relay>, events: Vec<NewEvent>) {
    let mut tx = db.write().await.expect("begins");
    bus::outbox::append(&mut tx, "test", events).await.expect("appends");
    tx.commit().await.expect("commits");
    if let Some(relay) = relay {
        relay.wake();
    }
}

/// Waits for what must come, and fails when it does not.
async fn until(what: &str, holds: impl Fn() -> bool) {
    for _ in 0..500 {
        if holds() {
            return;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    panic!("{what} did not come true");
}

/// The bus's own task ends when nobody can publish any more.
async fn stop(ctx: Context, bus: Bus) {
    drop(bus);
    ctx.shutdown.cancel();
    ctx.tasks.close();
    tokio::time::timeout(Duration::from_secs(5), ctx.tasks.wait()).await.expect("tasks end");
}

type Seen = Arc<Mutex<Vec<(String, i64)>>>;

fn seen(seen: &Seen) -> Vec<(String, i64)> {
    seen.lock().expect("no panic before").clone()
}

/// Notes what it is given.
#[derive(Clone, Default)]
struct Recorder {
    seen: Seen,
}

impl Handler for Recorder {
    async fn handle(&self, events: &[Event]) -> Result<(), Failure> {
        let new = events.iter().map(|event| (event.subject.clone(), event.sequence.unwrap_or(0)));
        self.seen.lock().expect("no panic before").extend(new);
        Ok(())
    }
}

/// Counts each event's effect in its own store, through the inbox.
struct Counter {
    db: Db,
    handled: Arc<AtomicUsize>,
}

impl Handler for Counter {
    async fn handle(&self, events: &[Event]) -> Result<(), Failure> {
        let mut tx = self.db.write().await?;
        let fresh = bus::inbox::fresh(&mut tx, events).await?;
        for _ in fresh.iter().filter(|fresh| **fresh) {
            query("update effects set n = n + 1").execute(&mut tx).await?;
        }
        tx.commit().await?;
        self.handled.fetch_add(events.len(), Ordering::SeqCst);
        Ok(())
    }
}

#[tokio::test]
async fn only_what_is_committed_is_told_and_every_group_gets_it_in_order() {
    let dir = tempfile::tempdir().expect("a folder");
    let ctx = ctx("test");
    let db = open(dir.path(), "a.db").await;
    let bus = bus(dir.path(), &ctx).await;
    let relay = Relay::start(&ctx, db.clone(), bus.clone());
    let (first, second) = (Recorder::default(), Recorder::default());
    bus.subscribe(&ctx, "first", &["orders"], first.clone());
    bus.subscribe(&ctx, "second", &["orders", "stock"], second.clone());
    let mut tx = db.write().await.expect("begins");
    bus::outbox::append(&mut tx, "test", vec![event("never", 1)]).await.expect("appends");
    drop(tx);
    let told: Vec<(String, i64)> = (1..=300).map(|n| (format!("o{}", n % 7), n)).collect();
    for chunk in told.chunks(11) {
        tell(&db, Some(&relay), chunk.iter().map(|(subject, n)| event(subject, *n)).collect()).await;
    }
    until("both groups get all", || seen(&first.seen).len() == 300 && seen(&second.seen).len() == 300).await;
    assert_eq!(seen(&first.seen), told);
    assert_eq!(seen(&second.seen), told);
    stop(ctx, bus).await;
}

#[tokio::test]
async fn a_group_goes_on_where_it_was_and_a_new_group_begins_at_the_beginning() {
    let dir = tempfile::tempdir().expect("a folder");
    let db = open(dir.path(), "a.db").await;
    for (from, to) in [(1, 50), (51, 120)] {
        let ctx = ctx("test");
        let bus = bus(dir.path(), &ctx).await;
        let _relay = Relay::start(&ctx, db.clone(), bus.clone());
        tell(&db, None, (from..=to).map(|n| event("o", n)).collect()).await;
        let old = Recorder::default();
        bus.subscribe(&ctx, "old", &["orders"], old.clone());
        until("the group gets what is new", || seen(&old.seen).last().is_some_and(|(_, n)| *n == to)).await;
        assert_eq!(seen(&old.seen).first().map(|(_, n)| *n), Some(from));
        let newcomer = Recorder::default();
        let group = if from == 1 { "n1" } else { "n2" };
        bus.subscribe(&ctx, group, &["orders"], newcomer.clone());
        until("the newcomer gets all", || seen(&newcomer.seen).len() == to as usize).await;
        stop(ctx, bus).await;
    }
}

#[tokio::test]
async fn what_comes_twice_or_late_takes_effect_once() {
    let dir = tempfile::tempdir().expect("a folder");
    let ctx = ctx("test");
    let bus = bus(dir.path(), &ctx).await;
    let sender = open(dir.path(), "sender.db").await;
    let relay = Relay::start(&ctx, sender.clone(), bus.clone());
    let receiver = open(dir.path(), "receiver.db").await;
    let mut tx = receiver.write().await.expect("begins");
    query("create table effects (n bigint not null)").execute(&mut tx).await.expect("creates");
    query("insert into effects (n) values (0)").execute(&mut tx).await.expect("inserts");
    tx.commit().await.expect("commits");
    let handled = Arc::new(AtomicUsize::new(0));
    bus.subscribe(&ctx, "count", &["orders"], Counter { db: receiver.clone(), handled: Arc::clone(&handled) });
    tell(&sender, Some(&relay), vec![event("a", 1), event("b", 1), event("a", 2)]).await;
    until("the first three come", || handled.load(Ordering::SeqCst) >= 3).await;
    // A relay that died between publishing and noting it publishes again; an old one comes late.
    tell(&sender, Some(&relay), vec![event("a", 1), event("a", 2), event("b", 1), event("b", 2)]).await;
    until("the repeats come", || handled.load(Ordering::SeqCst) >= 7).await;
    let mut tx = receiver.read().await.expect("reads");
    let n: i64 = query("select n from effects").fetch_one(&mut tx).await.expect("reads").get("n").expect("a number");
    assert_eq!(n, 4);
    drop(tx);
    stop(ctx, bus).await;
}

/// Refuses one subject for ever, and another a few times.
struct Picky {
    seen: Seen,
    refusals: AtomicUsize,
}

impl Handler for Picky {
    async fn handle(&self, events: &[Event]) -> Result<(), Failure> {
        if events.iter().any(|event| event.subject == "poison") {
            return Err(Failure::Bad(anyhow::anyhow!("it is poison")));
        }
        if events.iter().any(|event| event.subject == "slow") && self.refusals.fetch_add(1, Ordering::SeqCst) < 6 {
            return Err(Failure::Later(anyhow::anyhow!("the store is away")));
        }
        let new = events.iter().map(|event| (event.subject.clone(), event.sequence.unwrap_or(0)));
        self.seen.lock().expect("no panic before").extend(new);
        Ok(())
    }
}

#[tokio::test]
async fn poison_goes_to_the_dead_letters_with_its_reason_and_what_has_to_wait_is_not_lost() {
    let dir = tempfile::tempdir().expect("a folder");
    let ctx = ctx("test");
    let db = open(dir.path(), "a.db").await;
    let bus = bus(dir.path(), &ctx).await;
    let relay = Relay::start(&ctx, db.clone(), bus.clone());
    let taken = Seen::default();
    bus.subscribe(&ctx, "picky", &["orders"], Picky { seen: Arc::clone(&taken), refusals: AtomicUsize::new(0) });
    tell(&db, Some(&relay), vec![event("good", 1), event("poison", 1), event("slow", 1), event("good", 2)]).await;
    let no_event = bus::Outgoing { topic: "orders".into(), key: "x".into(), payload: "no event".into() };
    bus.publish(vec![no_event]).await.expect("publishes");
    until("all but the poison are taken", || seen(&taken).len() == 3).await;
    let order: Vec<(String, i64)> = [("good", 1), ("slow", 1), ("good", 2)].map(|(s, n)| (s.to_owned(), n)).into();
    assert_eq!(seen(&taken), order);
    tokio::time::sleep(Duration::from_millis(100)).await;
    let log = bus::Embedded::all(&dir.path().join("bus.db").display().to_string()).await.expect("reads");
    let dead: Vec<&str> = log
        .iter()
        .filter(|logged| logged.message.topic == "orders.dlq")
        .map(|logged| logged.message.payload.as_str())
        .collect();
    assert_eq!(dead.len(), 2, "{dead:?}");
    assert!(
        dead.iter().any(|letter| letter.contains("it is poison") && letter.contains("souk.order.placed")),
        "{dead:?}"
    );
    assert!(dead.iter().any(|letter| letter.contains("no CloudEvent")), "{dead:?}");
    stop(ctx, bus).await;
}
