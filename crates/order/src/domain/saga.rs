//! The checkout saga as a pure state machine: `step(saga, event) -> (saga, effect)`.
//!
//! It knows no database, clock or network; a driver performs each effect and feeds its result back.
//! Every effect may be performed twice, and every event may come after a crash lost what was between:
//! the services make repeats harmless, and this machine only ever decides to undo after the decision
//! is durable. From any point it ends in CONFIRMED with everything or CANCELLED with nothing.

use serde::{Deserialize, Serialize};

use super::{State, Undo};

/// Where one checkout stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Saga {
    /// What the order needs.
    pub needs: Needs,
    /// Where it stands.
    pub phase: Phase,
    /// The states reached since it was last stored, in their order.
    pub reached: Vec<State>,
    /// Whether a process that is gone drove it before, and may have charged.
    pub resumed: bool,
}

/// What an order needs before it can be confirmed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Needs {
    /// It has lines that take stock.
    pub stock: bool,
    /// It has something to charge.
    pub payment: bool,
}

/// What the saga waits for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Phase {
    /// The stock service's answer.
    Reserving,
    /// The payment service's answer.
    Charging,
    /// That the confirmation is durable.
    Confirming,
    /// That the decision to cancel is durable.
    Deciding(Undo, Refusal),
    /// That the money is back.
    Voiding(Undo, Refusal),
    /// That the stock is back.
    Releasing(Refusal),
    /// That the cancellation is durable.
    Cancelling(Refusal),
    /// Nothing: the order is confirmed.
    Confirmed,
    /// Nothing: the order is cancelled.
    Cancelled(Refusal),
    /// Nothing: somebody else drives the order now.
    Lost,
}

/// Why an order is cancelled.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Refusal {
    /// Not enough stock: of what.
    Stock(Vec<Shortage>),
    /// The payment was refused.
    Payment(String),
    /// Anything else.
    Other(String),
}

/// A product of which there is not enough.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Shortage {
    /// The product.
    pub product_id: String,
    /// Pieces wanted.
    pub requested: u32,
    /// Pieces there are.
    pub available: u32,
}

impl Refusal {
    /// In words.
    pub fn reason(&self) -> String {
        match self {
            Self::Stock(_) => "not enough stock".into(),
            Self::Payment(reason) => format!("payment refused: {reason}"),
            Self::Other(reason) => reason.clone(),
        }
    }
}

/// What happened.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Event {
    /// The stock is held.
    Reserved,
    /// The stock is not to be had; nothing is held.
    NotReserved(Refusal),
    /// The money is captured.
    Charged,
    /// The payment is refused; nothing is charged.
    NotCharged(String),
    /// No answer: it may have happened or not.
    NoAnswer,
    /// No answer for longer than an order waits.
    GivenUp(String),
    /// What was to be stored is durable.
    Stored,
    /// What was to be stored was not: the lease is somebody else's.
    LostLease,
    /// The money is back, or was never taken and never will be.
    Voided,
    /// The stock is back, or was never held and never will be.
    Released,
}

/// What is to be done next.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Effect {
    /// Ask the stock service to hold the goods.
    Reserve,
    /// Ask the payment service to take the money.
    Charge,
    /// Make the confirmation durable, with its event.
    StoreConfirmed,
    /// Make the decision to cancel durable.
    StoreDecision,
    /// Ask the payment service to give the money back, or to refuse a late charge.
    Void,
    /// Ask the stock service to give the goods back, or to refuse a late hold.
    Release,
    /// Make the cancellation durable, with its event.
    StoreCancelled,
    /// Nothing more.
    Stop,
}

impl Saga {
    /// A checkout from its beginning.
    pub fn start(needs: Needs) -> Self {
        let saga = Self { needs, phase: Phase::Reserving, reached: Vec::new(), resumed: false };
        if needs.stock { saga } else { saga.reserved() }
    }

    /// A checkout that a process which is gone began: its order is stored as CREATED, and all that may
    /// have happened since is asked for again.
    pub fn resume(needs: Needs) -> Self {
        Self { resumed: true, ..Self::start(needs) }
    }

    /// A cancellation whose decision is durable.
    pub fn decided(undo: Undo, refusal: Refusal) -> Self {
        let needs = Needs { stock: undo.release, payment: undo.void };
        Self { needs, phase: undoing(undo, refusal), reached: Vec::new(), resumed: true }
    }

    /// What is to be done now.
    pub fn effect(&self) -> Effect {
        match &self.phase {
            Phase::Reserving => Effect::Reserve,
            Phase::Charging => Effect::Charge,
            Phase::Confirming => Effect::StoreConfirmed,
            Phase::Deciding(..) => Effect::StoreDecision,
            Phase::Voiding(..) => Effect::Void,
            Phase::Releasing(_) => Effect::Release,
            Phase::Cancelling(_) => Effect::StoreCancelled,
            Phase::Confirmed | Phase::Cancelled(_) | Phase::Lost => Effect::Stop,
        }
    }

    /// What an event makes of it. An event that the phase does not wait for changes nothing.
    #[must_use]
    pub fn step(self, event: Event) -> Self {
        match (self.phase.clone(), event) {
            (Phase::Reserving, Event::Reserved) => self.reserved(),
            // A refused hold leaves nothing; what an earlier process may have charged goes back.
            (Phase::Reserving, Event::NotReserved(refusal)) => {
                let undo = Undo { release: false, void: self.resumed && self.needs.payment };
                self.reach(State::StockChecked).cancel(undo, refusal)
            }
            (Phase::Reserving, Event::GivenUp(reason)) => {
                let undo = Undo { release: true, void: self.resumed && self.needs.payment };
                self.cancel(undo, Refusal::Other(reason))
            }
            (Phase::Charging, Event::Charged) => self.reach(State::Paid).to(Phase::Confirming),
            (Phase::Charging, Event::NotCharged(reason)) => {
                let undo = Undo { release: self.needs.stock, void: false };
                self.cancel(undo, Refusal::Payment(reason))
            }
            (Phase::Charging, Event::GivenUp(reason)) => {
                let undo = Undo { release: self.needs.stock, void: true };
                self.cancel(undo, Refusal::Other(reason))
            }
            (Phase::Confirming, Event::Stored) => self.to(Phase::Confirmed),
            (Phase::Deciding(undo, refusal), Event::Stored) => self.to(undoing(undo, refusal)),
            (Phase::Voiding(undo, refusal), Event::Voided) => self.to(undoing(Undo { void: false, ..undo }, refusal)),
            (Phase::Releasing(refusal), Event::Released) => self.to(Phase::Cancelling(refusal)),
            (Phase::Cancelling(refusal), Event::Stored) => self.to(Phase::Cancelled(refusal)),
            (Phase::Confirming | Phase::Deciding(..) | Phase::Cancelling(_), Event::LostLease) => self.to(Phase::Lost),
            _ => self,
        }
    }

    fn reserved(self) -> Self {
        let next = if self.needs.payment { Phase::Charging } else { Phase::Confirming };
        self.reach(State::StockChecked).reach(State::StockReserved).to(next)
    }

    fn cancel(self, undo: Undo, refusal: Refusal) -> Self {
        if undo.release || undo.void {
            self.to(Phase::Deciding(undo, refusal))
        } else {
            self.to(Phase::Cancelling(refusal))
        }
    }

    fn reach(mut self, state: State) -> Self {
        self.reached.push(state);
        self
    }

    fn to(mut self, phase: Phase) -> Self {
        self.phase = phase;
        self
    }
}

/// Money first: a customer waits more for his money than a shelf for its goods.
fn undoing(undo: Undo, refusal: Refusal) -> Phase {
    match undo {
        Undo { void: true, .. } => Phase::Voiding(undo, refusal),
        Undo { release: true, .. } => Phase::Releasing(refusal),
        _ => Phase::Cancelling(refusal),
    }
}

#[cfg(test)]
#[path = "saga_tests.rs"]
mod tests;
