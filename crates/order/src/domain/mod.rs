//! Orders and their rules: no I/O, no framework, no clock of its own.

mod cart;
mod order;
mod returns;
pub mod saga;
mod sales;
mod status;

pub use cart::{Cart, CartError, CartId, Item, ItemChange, ItemId, MAX_ITEMS, Offer};
pub use order::{
    Address, Adjustment, Channel, Line, Order, Payment, PaymentMethod, PendingWork, StateAt, StatusChange, Undo,
};
pub use returns::{RefundStatus, Return, ReturnDraft, ReturnError, plan_return};
pub use sales::{Day, Deltas, Grain, Segment, SoldLine, SummaryKey, Sums, segments};
pub use status::{SagaState, Status};
