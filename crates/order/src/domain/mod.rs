//! Orders and their rules: no I/O, no framework, no clock of its own.

mod order;
mod returns;
pub mod saga;
mod status;

pub use order::{Address, Adjustment, Line, Moved, Order, Payment, PaymentMethod, StateAt, Undo, Work};
pub use returns::{RefundStatus, Return, ReturnRefused, WantedReturn, plan_return};
pub use status::{State, Status};
