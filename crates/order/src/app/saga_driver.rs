//! The driver of the checkout saga: performs its effects and feeds their results back.
//!
//! An order takes four durable steps in series: insert with outbox, reserve, charge, terminal state with outbox. The first
//! and last are writes to the store of this service and go through the writer, where orders that wait share commits.

use std::time::Duration;

use chassis::{Kind, Problem, backoff};
use commerce::Timestamp;
use proto::{payment::v1 as payment, stock::v1 as stock};
use tokio::{sync::oneshot, time::Instant};

use super::{App, returns};
use crate::{
    domain::{
        Order, PendingWork, SagaState, Status,
        saga::{CancelReason, Effect, Event, Phase, Requirements, Saga, Shortage},
    },
    events,
    store::{OrderUpdate, StoredResponse, UpdateKind},
};

/// Longest pause before a peer service that did not answer is called again.
const LONGEST_PAUSE: Duration = Duration::from_secs(2);

/// An order and the epoch of the lease under which its saga runs.
struct LeasedOrder {
    order: Order,
    epoch: i64,
    /// The actor who cancelled the order; `None` when the saga does.
    cancelled_by: Option<String>,
}

/// Runs the saga of a new order in a task of its own. The response arrives when the order is terminal; the channel closes
/// without one when another replica takes the order over or the process stops.
pub(super) fn start(app: &App, order: Order, epoch: i64) -> oneshot::Receiver<StoredResponse> {
    app.meters.started.with_label_values::<&str>(&[]).inc();
    let saga = Saga::start(requirements(&order));
    spawn(app, LeasedOrder { order, epoch, cancelled_by: None }, saga)
}

/// Resumes the pending work of an order.
pub(super) fn resume(app: &App, order: Order, epoch: i64, work: &PendingWork) {
    let (saga, cancelled_by) = match work {
        PendingWork::Checkout => (Saga::resume(requirements(&order)), None),
        PendingWork::Cancel { undo, reason, actor } => (Saga::decided(*undo, reason.clone()), actor.clone()),
        PendingWork::Refund => return returns::spawn_refunds(app, order, epoch),
    };
    drop(spawn(app, LeasedOrder { order, epoch, cancelled_by }, saga));
}

fn spawn(app: &App, leased: LeasedOrder, saga: Saga) -> oneshot::Receiver<StoredResponse> {
    let (response, receiver) = oneshot::channel();
    let app = app.clone();
    let tasks = app.ctx.tasks.clone();
    let active = app.active.add(&leased.order.id, leased.epoch);
    let span = tracing::info_span!("saga", service = crate::NAME, order.id = %leased.order.id);
    if let Some(parent) = chassis::trace::current_traceparent() {
        chassis::trace::set_parent(&span, &parent);
    }
    let run = async move {
        if let Some(terminal) = drive(&app, leased, saga).await {
            // Without a receiver the response is still in the store, for a repeat of the request.
            let _ = response.send(terminal);
        }
        drop(active);
    };
    tasks.spawn(tracing::Instrument::instrument(run, span));
    receiver
}

async fn drive(app: &App, mut leased: LeasedOrder, mut saga: Saga) -> Option<StoredResponse> {
    let began = Instant::now();
    let mut pauses = backoff::pauses(LONGEST_PAUSE);
    // How many of the saga's states have their time on the order.
    let mut stamped = 0;
    let mut response = None;
    loop {
        for state in saga.reached.iter().skip(stamped) {
            leased.order.reach_state(*state, Timestamp::now());
        }
        stamped = saga.reached.len();
        let event = match saga.effect() {
            Effect::Stop => break,
            Effect::Reserve => reserve(app, &leased.order).await,
            Effect::Charge => charge(app, &mut leased.order).await,
            Effect::Void => void(app, &mut leased.order).await,
            Effect::Release => release(app, &leased.order).await,
            Effect::StoreConfirmed | Effect::StoreDecision | Effect::StoreCancelled => {
                let (event, terminal) = store(app, &leased, &saga).await;
                response = terminal.or(response);
                event
            }
        };
        if event == Event::NoAnswer {
            if app.ctx.shutdown.is_cancelled() {
                return None;
            }
            tokio::time::sleep(pauses.next().unwrap_or(LONGEST_PAUSE)).await;
            if began.elapsed() > Duration::from_secs(app.config.patience_seconds) {
                let reason = match saga.phase {
                    Phase::Reserving => "the stock service did not answer in time",
                    _ => "the payment service did not answer in time",
                };
                saga = saga.step(Event::TimedOut(reason.into()));
            }
        } else {
            pauses = backoff::pauses(LONGEST_PAUSE);
            saga = saga.step(event);
        }
    }
    measure(app, &saga, began);
    response.filter(|_| saga.phase != Phase::LeaseLost)
}

fn measure(app: &App, saga: &Saga, began: Instant) {
    let outcome = match &saga.phase {
        Phase::Confirmed => "confirmed",
        Phase::Cancelled(CancelReason::Stock(_)) => "cancelled_stock",
        Phase::Cancelled(CancelReason::Payment(_)) => "cancelled_payment",
        Phase::Cancelled(CancelReason::Other(_)) => "cancelled_other",
        _ => {
            app.meters.lost_leases.with_label_values::<&str>(&[]).inc();
            return;
        }
    };
    app.meters.outcomes.with_label_values(&[outcome]).inc();
    app.meters.duration.with_label_values(&[outcome]).observe(began.elapsed().as_secs_f64());
}

async fn reserve(app: &App, order: &Order) -> Event {
    // Lines of one product are not merged here: the stock service adds them up.
    let lines = order
        .lines
        .iter()
        .filter_map(|line| {
            let product_id = line.product_id.as_ref()?.to_string();
            Some(stock::Line { product_id, quantity: line.quantity.get() })
        })
        .collect();
    let request = stock::OrderLines { order_id: order.id.to_string(), place_id: order.place_id.to_string(), lines };
    app.ctx.crash.reach("order.reserve.before");
    let result = app.clients.reserve(request).await;
    app.ctx.crash.reach("order.reserve.after");
    let Ok(result) = result else { return Event::NoAnswer };
    match result.outcome() {
        stock::ReserveOutcome::Reserved | stock::ReserveOutcome::Committed => Event::Reserved,
        stock::ReserveOutcome::Short => {
            let shortages = result.shortages.into_iter().map(|s| Shortage {
                product_id: s.product_id,
                requested: s.requested,
                available: s.available,
            });
            Event::NotReserved(CancelReason::Stock(shortages.collect()))
        }
        stock::ReserveOutcome::Released => {
            Event::NotReserved(CancelReason::Other("its reservation was released".into()))
        }
        stock::ReserveOutcome::Invalid => Event::NotReserved(CancelReason::Other(result.detail)),
        stock::ReserveOutcome::Unspecified => Event::NoAnswer,
    }
}

async fn charge(app: &App, order: &mut Order) -> Event {
    let request = payment::Authorization {
        order_id: order.id.to_string(),
        op_id: "checkout".into(),
        amount: order.total.minor(),
        currency: order.currency.to_string(),
        customer_id: order.customer_id.as_ref().map(ToString::to_string).unwrap_or_default(),
        method: order.payment.method.as_str().into(),
        capture: true,
    };
    app.ctx.crash.reach("order.charge.before");
    let result = app.clients.authorise(request).await;
    app.ctx.crash.reach("order.charge.after");
    let Ok(result) = result else { return Event::NoAnswer };
    copy_payment(order, result.payment.as_ref());
    match result.outcome() {
        payment::Outcome::Done => Event::Charged,
        payment::Outcome::Refused | payment::Outcome::Invalid => Event::NotCharged(result.reason),
        // A repeat under the same operation id resolves the doubt and never charges twice.
        payment::Outcome::InDoubt | payment::Outcome::Unspecified => Event::NoAnswer,
    }
}

async fn void(app: &App, order: &mut Order) -> Event {
    let request = payment::Operation {
        order_id: order.id.to_string(),
        op_id: "cancel".into(),
        amount: 0,
        reason: "order cancelled".into(),
        up_to: false,
    };
    app.ctx.crash.reach("order.void.before");
    let result = app.clients.void(request).await;
    app.ctx.crash.reach("order.void.after");
    let Ok(result) = result else { return Event::NoAnswer };
    copy_payment(order, result.payment.as_ref());
    match result.outcome() {
        payment::Outcome::Done => Event::Voided,
        payment::Outcome::Refused | payment::Outcome::Invalid => {
            // The order stays uncancelled until staff has resolved the payment: it must not show money as returned.
            tracing::error!(order.id = %order.id, reason = result.reason, "the payment service refused to void a payment");
            Event::NoAnswer
        }
        payment::Outcome::InDoubt | payment::Outcome::Unspecified => Event::NoAnswer,
    }
}

async fn release(app: &App, order: &Order) -> Event {
    app.ctx.crash.reach("order.release.before");
    let result = app.clients.release(order.id.to_string()).await;
    app.ctx.crash.reach("order.release.after");
    match result.map(|result| result.state()) {
        Ok(stock::HoldState::Released | stock::HoldState::Unknown) => Event::Released,
        Ok(stock::HoldState::Committed) => {
            tracing::error!(order.id = %order.id, "the stock of an unconfirmed order was committed");
            Event::Released
        }
        _ => Event::NoAnswer,
    }
}

/// Stores what the saga's phase requires. A terminal write also returns the response.
async fn store(app: &App, leased: &LeasedOrder, saga: &Saga) -> (Event, Option<StoredResponse>) {
    let update = order_update(leased, saga, Timestamp::now());
    let response = match &update.kind {
        UpdateKind::Terminal { response, .. } => Some(response.clone()),
        UpdateKind::Decision => None,
    };
    match app.writer.update(update).await {
        Ok(true) => (Event::Stored, response),
        Ok(false) => (Event::LeaseLost, None),
        Err(error) => {
            tracing::warn!(order.id = %leased.order.id, error = &error as &dyn std::error::Error, "storing the state of an order failed; retrying");
            (Event::NoAnswer, None)
        }
    }
}

fn requirements(order: &Order) -> Requirements {
    Requirements { stock: !order.goods().is_empty(), payment: order.is_charged() }
}

fn copy_payment(order: &mut Order, payment: Option<&payment::Payment>) {
    if let Some(payment) = payment {
        order.payment.status.clone_from(&payment.status);
        order.payment.id = commerce::PaymentId::parse(&payment.id).ok();
    }
}

/// The order as the saga's phase requires it to be stored.
fn order_update(leased: &LeasedOrder, saga: &Saga, now: Timestamp) -> OrderUpdate {
    let mut order = leased.order.clone();
    let epoch = leased.epoch;
    match &saga.phase {
        Phase::Deciding(undo, reason) => {
            let work = PendingWork::Cancel { undo: *undo, reason: reason.clone(), actor: None };
            OrderUpdate { order, work: Some(work), epoch, kind: UpdateKind::Decision }
        }
        Phase::Cancelling(reason) => {
            let previous = order.status;
            let text = reason.text();
            order.set_status(Status::Cancelled, now, leased.cancelled_by.clone(), Some(text.clone()));
            order.reason = Some(text);
            order.reach_state(SagaState::Cancelled, now);
            order.touch(now);
            let event = Box::new(events::cancelled(&order, previous));
            let response = refusal_response(&order, reason);
            OrderUpdate { order, work: None, epoch, kind: UpdateKind::Terminal { event, message: None, response } }
        }
        _ => {
            order.confirm(now);
            order.touch(now);
            let (event, message) = (Box::new(events::confirmed(&order)), Some(events::confirmed_message(&order)));
            let response = StoredResponse { status: 201, body: serde_json::to_string(&order).unwrap_or_default() };
            OrderUpdate { order, work: None, epoch, kind: UpdateKind::Terminal { event, message, response } }
        }
    }
}

/// The problem document of a refused order, for its request and for each repeat.
fn refusal_response(order: &Order, reason: &CancelReason) -> StoredResponse {
    let text = reason.text();
    let (kind, code) = match reason {
        CancelReason::Payment(_) => (Kind::PaymentRequired, "order.payment_refused"),
        CancelReason::Stock(_) => (Kind::Conflict, "order.stock_short"),
        CancelReason::Other(_) => (Kind::Conflict, "order.cancelled"),
    };
    let mut problem = Problem::new(kind, format!("The order is cancelled: {text}."))
        .with_code(code)
        .with("order_id", &order.id)
        .with("reason", &text);
    if let CancelReason::Stock(shortages) = reason {
        problem = problem.with("shortages", shortages);
    }
    let mut members = problem.members();
    members.insert("instance".into(), "/api/orders".into());
    if let Some(trace) = chassis::trace::current_traceparent() {
        members.insert("trace_id".into(), chassis::trace::trace_id(&trace).into());
    }
    StoredResponse { status: kind.status().as_u16(), body: serde_json::Value::Object(members).to_string() }
}
