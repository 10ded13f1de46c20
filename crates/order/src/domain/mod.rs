//! Orders and their rules: no I/O, no framework, no clock of its own.

mod cart;
mod order;
mod returns;
pub mod saga;
mod sales;
mod status;

pub use cart::{Cart, CartId, CartRefused, Change, Item, ItemId, MOST_ITEMS, Offer};
pub use order::{Address, Adjustment, Channel, Line, Moved, Order, Payment, PaymentMethod, StateAt, Undo, Work};
pub use returns::{RefundStatus, Return, ReturnRefused, WantedReturn, plan_return};
pub use sales::{Day, Deltas, Grain, Row as SummaryRow, Segment, SoldLine, Sums, segments};
pub use status::{State, Status};
