//! What stock is and what may be done with it. No I/O, no clock and no random of its own.

mod book;
mod level;
mod replenishment;
mod reservation;

pub(crate) use book::{Book, Reserved, Told};
#[cfg(test)]
pub(crate) use level::MovementKind;
pub(crate) use level::{Adjustment, Level, Movement, Rejection, Slot, Wish};
pub(crate) use replenishment::{Goods, Move, Replenishment, Stage, Step, Unmoved};
pub(crate) use reservation::{Line, Reservation, State};
