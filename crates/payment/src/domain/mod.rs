//! What a payment is and what may be done with it. No I/O, no clock and no random of its own.

mod payment;
mod rules;
pub(crate) mod sandbox;

pub(crate) use payment::{
    Action, Method, Op, Operation, OperationOutcome, OperationRequest, Payment, PaymentKind, PaymentStatus,
    RequestedAmount, Terms,
};
pub(crate) use rules::{Decision, PaymentEvent, ProviderRequest, Resolution, decide, decide_recorded, record, resolve};
