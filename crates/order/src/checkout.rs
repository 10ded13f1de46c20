//! The driver of the checkout saga: performs its effects and feeds their results back.
//!
//! Durable steps in series for one order: order + outbox; reserve; charge; terminal state + outbox. The
//! first and last are ours and go through one [`Batcher`], so that orders that wait share commits.

use std::{sync::Arc, time::Duration};

use batch::Batcher;
use bus::Relay;
use chassis::{Context, Kind, Problem, backoff};
use commerce::Timestamp;
use db::Db;
use proto::{payment::v1 as payment, stock::v1 as stock};
use tokio::time::Instant;

use crate::{
    clients::Clients,
    config::Config,
    domain::{
        Order, State, Status, Work,
        saga::{Effect, Event, Needs, Phase, Refusal, Saga, Shortage},
    },
    error::Error,
    events,
    leases::Driving,
    metrics::Meters,
    store::{self, Answer, Change, Lease, Placed, Placement, Settlement},
};

/// Most orders that share one commit.
const SHARED: usize = 128;
/// Longest wait before a neighbour that did not answer is asked again.
const LONGEST_PAUSE: Duration = Duration::from_secs(2);

/// What is written through the batcher.
#[derive(Clone)]
enum Write {
    Place(Box<Placement>),
    Settle(Box<Settlement>),
}

enum Wrote {
    Placed(Placed),
    Settled(bool),
}

/// Takes orders through their checkout. Cheap to clone.
#[derive(Clone)]
pub(crate) struct Checkout {
    pub(crate) db: Db,
    pub(crate) ctx: Context,
    pub(crate) config: Arc<Config>,
    pub(crate) clients: Clients,
    pub(crate) relay: Relay,
    pub(crate) meters: Meters,
    pub(crate) driving: Driving,
    writer: Batcher<Write, Wrote, db::Error>,
}

/// An order and the epoch of the lease under which it is driven.
pub(crate) struct Driven {
    pub(crate) order: Order,
    pub(crate) epoch: i64,
    /// Who wants it cancelled, if a person does.
    pub(crate) canceller: Option<String>,
}

impl Checkout {
    pub(crate) fn new(db: Db, ctx: Context, config: Arc<Config>, clients: Clients, relay: Relay) -> Self {
        let writer = {
            let (db, ctx, relay) = (db.clone(), ctx.clone(), relay.clone());
            // A database that does not answer would let each order wait for it alone.
            let try_alone = |error: &db::Error| !matches!(error, db::Error::Unavailable(_));
            Batcher::start_with(&ctx.tasks.clone(), SHARED, try_alone, move |writes| {
                write(db.clone(), ctx.clone(), relay.clone(), writes)
            })
        };
        Self { meters: Meters::new(&ctx.metrics), driving: Driving::default(), db, ctx, config, clients, relay, writer }
    }

    /// How long the client who is being answered waits for an outcome before it gets 202.
    pub(crate) fn patience(&self) -> Duration {
        chassis::deadline::within_to_answer(Duration::from_secs(self.config.checkout_seconds))
    }

    /// A fresh lease of this replica. It runs out a quarter before the time that is promised, since whoever takes over
    /// looks four times in that time.
    pub(crate) fn lease(&self, epoch: i64) -> Lease {
        let span = Duration::from_secs(self.config.lease_seconds) * 3 / 4;
        Lease { owner: self.ctx.instance.clone(), epoch, until: Timestamp::now().plus(span) }
    }

    /// Makes a new order durable.
    pub(crate) async fn place(&self, placement: Placement) -> Result<Placed, Error> {
        match self.writer.run(Write::Place(Box::new(placement))).await? {
            Wrote::Placed(placed) => Ok(placed),
            Wrote::Settled(_) => Err(Error::Stopped),
        }
    }

    /// Drives an order from the beginning of its checkout in a task of its own. The answer comes when the
    /// order is terminal; it is missing when the order went to somebody else or the process stops.
    pub(crate) fn begin(&self, order: Order, epoch: i64) -> tokio::sync::oneshot::Receiver<Answer> {
        self.meters.begun.with_label_values::<&str>(&[]).inc();
        let saga = Saga::start(needs(&order));
        self.spawn(order, epoch, saga, None)
    }

    /// Goes on with what is written on an order as still to be done.
    pub(crate) fn go_on(&self, order: Order, epoch: i64, work: &Work) {
        let saga = match work {
            Work::Cancel { undo, refusal, .. } => Saga::decided(*undo, refusal.clone()),
            Work::Checkout => Saga::resume(needs(&order)),
            Work::Refund => return self.give_back(order, epoch),
        };
        let canceller = match work {
            Work::Cancel { actor, .. } => actor.clone(),
            Work::Checkout | Work::Refund => None,
        };
        drop(self.spawn(order, epoch, saga, canceller));
    }

    fn spawn(
        &self,
        order: Order,
        epoch: i64,
        saga: Saga,
        canceller: Option<String>,
    ) -> tokio::sync::oneshot::Receiver<Answer> {
        let (answer, answered) = tokio::sync::oneshot::channel();
        let this = self.clone();
        let id = order.id.clone();
        let driving = self.driving.add(&id, epoch);
        let span = tracing::info_span!("saga", service = crate::NAME, order.id = %id);
        if let Some(parent) = chassis::trace::current_traceparent() {
            chassis::trace::set_parent(&span, &parent);
        }
        let drive = async move {
            let driven = Driven { order, epoch, canceller };
            if let Some(terminal) = this.drive(driven, saga).await {
                // Whoever asked may have gone; the answer is stored for when he asks again.
                let _ = answer.send(terminal);
            }
            drop(driving);
        };
        self.ctx.tasks.spawn(tracing::Instrument::instrument(drive, span));
        answered
    }

    async fn drive(&self, mut driven: Driven, mut saga: Saga) -> Option<Answer> {
        let began = Instant::now();
        let mut pauses = backoff::pauses(LONGEST_PAUSE);
        // The checkout's own states are stamped as they are reached, once each.
        let mut stamped = 0;
        let mut answer = None;
        loop {
            for state in saga.reached.iter().skip(stamped) {
                driven.order.reach(*state, Timestamp::now());
            }
            stamped = saga.reached.len();
            let event = match saga.effect() {
                Effect::Stop => break,
                Effect::Reserve => self.reserve(&driven).await,
                Effect::Charge => self.charge(&mut driven).await,
                Effect::Void => self.void(&mut driven).await,
                Effect::Release => self.release(&driven).await,
                Effect::StoreConfirmed | Effect::StoreDecision | Effect::StoreCancelled => {
                    let (event, terminal) = self.store(&driven, &saga).await;
                    answer = terminal.or(answer);
                    event
                }
            };
            if event == Event::NoAnswer {
                if self.ctx.shutdown.is_cancelled() {
                    return None;
                }
                tokio::time::sleep(pauses.next().unwrap_or(LONGEST_PAUSE)).await;
                if began.elapsed() > Duration::from_secs(self.config.patience_seconds) {
                    let away = match saga.phase {
                        Phase::Reserving => "the stock service did not answer in time",
                        _ => "the payment service did not answer in time",
                    };
                    saga = saga.step(Event::GivenUp(away.into()));
                }
            } else {
                pauses = backoff::pauses(LONGEST_PAUSE);
                saga = saga.step(event);
            }
        }
        self.report(&saga, began);
        answer.filter(|_| saga.phase != Phase::Lost)
    }

    fn report(&self, saga: &Saga, began: Instant) {
        let outcome = match &saga.phase {
            Phase::Confirmed => "confirmed",
            Phase::Cancelled(Refusal::Stock(_)) => "cancelled_stock",
            Phase::Cancelled(Refusal::Payment(_)) => "cancelled_payment",
            Phase::Cancelled(Refusal::Other(_)) => "cancelled_other",
            _ => {
                self.meters.lost.with_label_values::<&str>(&[]).inc();
                return;
            }
        };
        self.meters.outcomes.with_label_values(&[outcome]).inc();
        self.meters.duration.with_label_values(&[outcome]).observe(began.elapsed().as_secs_f64());
    }

    async fn reserve(&self, driven: &Driven) -> Event {
        let order = &driven.order;
        // Unmerged: the stock service counts lines of one product together itself.
        let lines = order
            .lines
            .iter()
            .filter_map(|line| {
                let product_id = line.product_id.as_ref()?.to_string();
                Some(stock::Line { product_id, quantity: line.quantity.get() })
            })
            .collect();
        let wanted = stock::OrderLines { order_id: order.id.to_string(), place_id: order.place_id.to_string(), lines };
        self.ctx.crash.reach("order.reserve.before");
        let answer = self.clients.reserve(wanted).await;
        self.ctx.crash.reach("order.reserve.after");
        let Ok(result) = answer else { return Event::NoAnswer };
        match result.outcome() {
            stock::ReserveOutcome::Reserved | stock::ReserveOutcome::Committed => Event::Reserved,
            stock::ReserveOutcome::Short => {
                let shortages = result.shortages.into_iter().map(|s| Shortage {
                    product_id: s.product_id,
                    requested: s.requested,
                    available: s.available,
                });
                Event::NotReserved(Refusal::Stock(shortages.collect()))
            }
            stock::ReserveOutcome::Released => {
                Event::NotReserved(Refusal::Other("its reservation was released".into()))
            }
            stock::ReserveOutcome::Invalid => Event::NotReserved(Refusal::Other(result.detail)),
            stock::ReserveOutcome::Unspecified => Event::NoAnswer,
        }
    }

    async fn charge(&self, driven: &mut Driven) -> Event {
        let order = &mut driven.order;
        let wanted = payment::Authorization {
            order_id: order.id.to_string(),
            op_id: "checkout".into(),
            amount: order.total.minor(),
            currency: order.currency.to_string(),
            customer_id: order.customer_id.as_ref().map(ToString::to_string).unwrap_or_default(),
            method: order.payment.method.as_str().into(),
            capture: true,
        };
        self.ctx.crash.reach("order.charge.before");
        let answer = self.clients.authorise(wanted).await;
        self.ctx.crash.reach("order.charge.after");
        let Ok(result) = answer else { return Event::NoAnswer };
        note_payment(order, result.payment.as_ref());
        match result.outcome() {
            payment::Outcome::Done => Event::Charged,
            payment::Outcome::Refused | payment::Outcome::Invalid => Event::NotCharged(result.reason),
            // Asked again under the same operation id, it is settled and never charged twice.
            payment::Outcome::InDoubt | payment::Outcome::Unspecified => Event::NoAnswer,
        }
    }

    async fn void(&self, driven: &mut Driven) -> Event {
        let order = &mut driven.order;
        let wanted = payment::Operation {
            order_id: order.id.to_string(),
            op_id: "cancel".into(),
            amount: 0,
            reason: "order cancelled".into(),
            up_to: false,
        };
        self.ctx.crash.reach("order.void.before");
        let answer = self.clients.void(wanted).await;
        self.ctx.crash.reach("order.void.after");
        let Ok(result) = answer else { return Event::NoAnswer };
        note_payment(order, result.payment.as_ref());
        match result.outcome() {
            payment::Outcome::Done => Event::Voided,
            payment::Outcome::Refused | payment::Outcome::Invalid => {
                // The money stays where it is until a person has looked; the order must not say otherwise.
                tracing::error!(order.id = %order.id, reason = result.reason, "the payment service refuses to give money back");
                Event::NoAnswer
            }
            payment::Outcome::InDoubt | payment::Outcome::Unspecified => Event::NoAnswer,
        }
    }

    async fn release(&self, driven: &Driven) -> Event {
        self.ctx.crash.reach("order.release.before");
        let answer = self.clients.release(driven.order.id.to_string()).await;
        self.ctx.crash.reach("order.release.after");
        match answer.map(|result| result.state()) {
            Ok(stock::HoldState::Released | stock::HoldState::Unknown) => Event::Released,
            Ok(stock::HoldState::Committed) => {
                tracing::error!(order.id = %driven.order.id, "stock was sold to an order that is not confirmed");
                Event::Released
            }
            _ => Event::NoAnswer,
        }
    }

    /// Makes what the saga wants durable; a terminal write also gives the answer.
    async fn store(&self, driven: &Driven, saga: &Saga) -> (Event, Option<Answer>) {
        let settlement = settlement(driven, saga, Timestamp::now());
        let answer = match &settlement.change {
            Change::Terminal { answer, .. } => Some(answer.clone()),
            Change::Decision => None,
        };
        match self.writer.run(Write::Settle(Box::new(settlement))).await {
            Ok(Wrote::Settled(true)) => (Event::Stored, answer),
            Ok(_) => (Event::LostLease, None),
            Err(error) => {
                tracing::warn!(order.id = %driven.order.id, error = &error as &dyn std::error::Error, "an order's outcome is not stored yet");
                (Event::NoAnswer, None)
            }
        }
    }
}

fn needs(order: &Order) -> Needs {
    Needs { stock: !order.goods().is_empty(), payment: order.is_charged() }
}

fn note_payment(order: &mut Order, payment: Option<&payment::Payment>) {
    if let Some(payment) = payment {
        order.payment.status.clone_from(&payment.status);
        order.payment.id = commerce::PaymentId::parse(&payment.id).ok();
    }
}

/// The order as the saga's current phase has it written.
fn settlement(driven: &Driven, saga: &Saga, now: Timestamp) -> Settlement {
    let mut order = driven.order.clone();
    let epoch = driven.epoch;
    match &saga.phase {
        Phase::Deciding(undo, refusal) => {
            let work = Work::Cancel { undo: *undo, refusal: refusal.clone(), actor: None };
            Settlement { order, work: Some(work), epoch, change: Change::Decision }
        }
        Phase::Cancelling(refusal) => {
            let previous = order.status;
            let reason = refusal.reason();
            order.move_to(Status::Cancelled, now, driven.canceller.clone(), Some(reason.clone()));
            order.reason = Some(reason);
            order.reach(State::Cancelled, now);
            order.touch(now);
            let event = Box::new(events::cancelled(&order, previous));
            let answer = refusal_answer(&order, refusal);
            Settlement { order, work: None, epoch, change: Change::Terminal { event, plain: None, answer } }
        }
        _ => {
            order.confirm(now);
            order.touch(now);
            let (event, plain) = (Box::new(events::confirmed(&order)), Some(events::confirmed_plainly(&order)));
            let answer = Answer { status: 201, body: serde_json::to_string(&order).unwrap_or_default() };
            Settlement { order, work: None, epoch, change: Change::Terminal { event, plain, answer } }
        }
    }
}

/// The problem document that a refused order is answered with, now and whenever it is asked for again.
fn refusal_answer(order: &Order, refusal: &Refusal) -> Answer {
    let text = refusal.reason();
    let kind = match refusal {
        Refusal::Payment(_) => Kind::PaymentRequired,
        Refusal::Stock(_) | Refusal::Other(_) => Kind::Conflict,
    };
    let mut problem = Problem::new(kind, format!("The order is cancelled: {text}."))
        .with("order_id", &order.id)
        .with("reason", &text);
    if let Refusal::Stock(shortages) = refusal {
        problem = problem.with("shortages", shortages);
    }
    let mut members = problem.members();
    members.insert("instance".into(), "/api/orders".into());
    if let Some(trace) = chassis::trace::current_traceparent() {
        members.insert("trace_id".into(), chassis::trace::trace_id(&trace).into());
    }
    Answer { status: kind.status().as_u16(), body: serde_json::Value::Object(members).to_string() }
}

/// Writes what has queued as one transaction.
async fn write(db: Db, ctx: Context, relay: Relay, writes: Vec<Write>) -> Result<Vec<Wrote>, db::Error> {
    let mut placements = Vec::new();
    let mut settlements = Vec::new();
    let mut kinds = Vec::with_capacity(writes.len());
    for write in writes {
        match write {
            Write::Place(placement) => {
                kinds.push("place");
                placements.push(*placement);
            }
            Write::Settle(settlement) => {
                kinds.push(match (&settlement.change, settlement.order.status) {
                    (Change::Decision, _) => "decide",
                    (_, Status::Cancelled) => "cancel",
                    _ => "confirm",
                });
                settlements.push(*settlement);
            }
        }
    }
    let mut tx = db.write().await?;
    let placed = if placements.is_empty() {
        Vec::new()
    } else {
        store::place(&mut tx, placements, events::placed, events::placed_plainly).await?
    };
    let settled = if settlements.is_empty() { Vec::new() } else { store::settle(&mut tx, settlements).await? };
    reach(&ctx, &kinds, |point| point.0);
    tx.commit().await?;
    reach(&ctx, &kinds, |point| point.1);
    relay.wake();
    let (mut placed, mut settled) = (placed.into_iter(), settled.into_iter());
    Ok(kinds
        .iter()
        .map(|kind| match *kind {
            "place" => placed.next().map_or(Wrote::Settled(false), Wrote::Placed),
            _ => Wrote::Settled(settled.next().unwrap_or(false)),
        })
        .collect())
}

fn reach(ctx: &Context, kinds: &[&str], point: impl Fn((&'static str, &'static str)) -> &'static str) {
    for kind in kinds {
        ctx.crash.reach(point(match *kind {
            "place" => ("order.place.before", "order.place.after"),
            "decide" => ("order.decide.before", "order.decide.after"),
            "cancel" => ("order.cancel.before", "order.cancel.after"),
            _ => ("order.confirm.before", "order.confirm.after"),
        }));
    }
}
