//! What a payment is and what may be done with it. No I/O, no clock and no random of its own.

mod payment;
mod rules;
pub(crate) mod sandbox;

pub(crate) use payment::{Act, Change, Kind, Method, Op, Operation, Outcome, Payment, Said, Status, Terms};
pub(crate) use rules::{Demand, Happening, Judgement, Verdict, conclude, demand_of, judge, record};
