//! The checkout saga as a pure state machine: `step(saga, event) -> (saga, effect)`.
//!
//! It has no database, clock or network: a driver performs each effect and feeds its result back. Every effect may be
//! performed twice, and a crash may lose everything between two events. The peer services make repeats harmless, and the
//! machine undoes nothing before the decision to cancel is durable. From any point it ends in CONFIRMED with everything
//! done, or in CANCELLED with nothing.

use serde::{Deserialize, Serialize};

use super::{SagaState, Undo};

/// One checkout.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Saga {
    /// What the order requires.
    pub requirements: Requirements,
    /// The present phase.
    pub phase: Phase,
    /// The states that were reached since the start of this run, in their order.
    pub reached: Vec<SagaState>,
    /// Whether an earlier run ended without a result; it may have charged.
    pub resumed: bool,
}

/// What an order requires before it can be confirmed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Requirements {
    /// Its lines use stock.
    pub stock: bool,
    /// Something is charged.
    pub payment: bool,
}

/// What the saga waits for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Phase {
    /// The reservation.
    Reserving,
    /// The charge.
    Charging,
    /// The confirmation to be durable.
    Confirming,
    /// The decision to cancel to be durable.
    Deciding(Undo, CancelReason),
    /// The payment to be voided.
    Voiding(Undo, CancelReason),
    /// The stock to be released.
    Releasing(CancelReason),
    /// The cancellation to be durable.
    Cancelling(CancelReason),
    /// Nothing: the order is confirmed.
    Confirmed,
    /// Nothing: the order is cancelled.
    Cancelled(CancelReason),
    /// Nothing: another replica has the lease.
    LeaseLost,
}

/// Why an order is cancelled.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum CancelReason {
    /// Not enough stock of these products.
    Stock(Vec<Shortage>),
    /// The payment was refused.
    Payment(String),
    /// Anything else.
    Other(String),
}

/// A product with too little stock.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Shortage {
    /// The product.
    pub product_id: String,
    /// Requested pieces.
    pub requested: u32,
    /// Available pieces.
    pub available: u32,
}

impl CancelReason {
    /// The reason as text.
    pub fn text(&self) -> String {
        match self {
            Self::Stock(_) => "not enough stock".into(),
            Self::Payment(reason) => format!("payment refused: {reason}"),
            Self::Other(reason) => reason.clone(),
        }
    }
}

/// The result of an effect.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Event {
    /// The stock is reserved.
    Reserved,
    /// The reservation was refused; nothing is reserved.
    NotReserved(CancelReason),
    /// The payment is captured.
    Charged,
    /// The payment was refused; nothing is charged.
    NotCharged(String),
    /// No answer: the effect may have happened or not.
    NoAnswer,
    /// No answer for longer than an order waits.
    TimedOut(String),
    /// The write is durable.
    Stored,
    /// Nothing was written: the lease was lost.
    LeaseLost,
    /// The payment is voided; a late charge is refused.
    Voided,
    /// The stock is released; a late reservation is refused.
    Released,
}

/// What the driver has to do next.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Effect {
    /// Reserve the stock.
    Reserve,
    /// Charge the payment.
    Charge,
    /// Store the confirmation with its event.
    StoreConfirmed,
    /// Store the decision to cancel.
    StoreDecision,
    /// Void the payment, or have a late charge refused.
    Void,
    /// Release the stock, or have a late reservation refused.
    Release,
    /// Store the cancellation with its event.
    StoreCancelled,
    /// Nothing: the saga has ended.
    Stop,
}

impl Saga {
    /// A new checkout.
    pub fn start(requirements: Requirements) -> Self {
        let saga = Self { requirements, phase: Phase::Reserving, reached: Vec::new(), resumed: false };
        if requirements.stock { saga } else { saga.reserved() }
    }

    /// A checkout whose earlier run ended without a result. Its order is stored as CREATED, and all effects are repeated.
    pub fn resume(requirements: Requirements) -> Self {
        Self { resumed: true, ..Self::start(requirements) }
    }

    /// A cancellation whose decision is durable.
    pub fn decided(undo: Undo, reason: CancelReason) -> Self {
        let requirements = Requirements { stock: undo.release, payment: undo.void };
        Self { requirements, phase: undoing(undo, reason), reached: Vec::new(), resumed: true }
    }

    /// The effect that the present phase waits for.
    pub fn effect(&self) -> Effect {
        match &self.phase {
            Phase::Reserving => Effect::Reserve,
            Phase::Charging => Effect::Charge,
            Phase::Confirming => Effect::StoreConfirmed,
            Phase::Deciding(..) => Effect::StoreDecision,
            Phase::Voiding(..) => Effect::Void,
            Phase::Releasing(_) => Effect::Release,
            Phase::Cancelling(_) => Effect::StoreCancelled,
            Phase::Confirmed | Phase::Cancelled(_) | Phase::LeaseLost => Effect::Stop,
        }
    }

    /// The saga after an event. An event that the phase does not wait for changes nothing.
    #[must_use]
    pub fn step(self, event: Event) -> Self {
        match (self.phase.clone(), event) {
            (Phase::Reserving, Event::Reserved) => self.reserved(),
            // A refused reservation leaves nothing to release; an earlier run may have charged.
            (Phase::Reserving, Event::NotReserved(reason)) => {
                let undo = Undo { release: false, void: self.resumed && self.requirements.payment };
                self.reach(SagaState::StockChecked).cancel(undo, reason)
            }
            (Phase::Reserving, Event::TimedOut(reason)) => {
                let undo = Undo { release: true, void: self.resumed && self.requirements.payment };
                self.cancel(undo, CancelReason::Other(reason))
            }
            (Phase::Charging, Event::Charged) => self.reach(SagaState::Paid).to(Phase::Confirming),
            (Phase::Charging, Event::NotCharged(reason)) => {
                let undo = Undo { release: self.requirements.stock, void: false };
                self.cancel(undo, CancelReason::Payment(reason))
            }
            (Phase::Charging, Event::TimedOut(reason)) => {
                let undo = Undo { release: self.requirements.stock, void: true };
                self.cancel(undo, CancelReason::Other(reason))
            }
            (Phase::Confirming, Event::Stored) => self.to(Phase::Confirmed),
            (Phase::Deciding(undo, reason), Event::Stored) => self.to(undoing(undo, reason)),
            (Phase::Voiding(undo, reason), Event::Voided) => self.to(undoing(Undo { void: false, ..undo }, reason)),
            (Phase::Releasing(reason), Event::Released) => self.to(Phase::Cancelling(reason)),
            (Phase::Cancelling(reason), Event::Stored) => self.to(Phase::Cancelled(reason)),
            (Phase::Confirming | Phase::Deciding(..) | Phase::Cancelling(_), Event::LeaseLost) => {
                self.to(Phase::LeaseLost)
            }
            _ => self,
        }
    }

    fn reserved(self) -> Self {
        let next = if self.requirements.payment { Phase::Charging } else { Phase::Confirming };
        self.reach(SagaState::StockChecked).reach(SagaState::StockReserved).to(next)
    }

    fn cancel(self, undo: Undo, reason: CancelReason) -> Self {
        if undo.release || undo.void {
            self.to(Phase::Deciding(undo, reason))
        } else {
            self.to(Phase::Cancelling(reason))
        }
    }

    fn reach(mut self, state: SagaState) -> Self {
        self.reached.push(state);
        self
    }

    fn to(mut self, phase: Phase) -> Self {
        self.phase = phase;
        self
    }
}

/// The payment is undone before the stock: refunds matter more to the customer.
fn undoing(undo: Undo, reason: CancelReason) -> Phase {
    match undo {
        Undo { void: true, .. } => Phase::Voiding(undo, reason),
        Undo { release: true, .. } => Phase::Releasing(reason),
        _ => Phase::Cancelling(reason),
    }
}

#[cfg(test)]
#[path = "saga_tests.rs"]
mod tests;
