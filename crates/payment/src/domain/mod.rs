//! The types and rules of payments. No I/O, no clock and no randomness: the caller provides both.

mod payment;
mod provider_call;
mod rules;
pub(crate) mod sandbox;

pub(crate) use payment::{
    Action, Method, Op, Operation, OperationOutcome, OperationRequest, Payment, PaymentKind, PaymentStatus,
    RequestedAmount, Terms, earlier_provider_key,
};
pub(crate) use provider_call::ProviderCall;
pub(crate) use rules::{
    Decision, PaymentEvent, ProviderRequest, Resolution, decide, decide_recorded, inconsistency, record, resolve,
};
