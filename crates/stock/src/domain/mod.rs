//! What stock is and what may be done with it. No I/O, no clock and no random of its own.

mod book;
mod level;
mod reservation;

pub(crate) use book::{Book, Reserved, Told};
pub(crate) use level::{Adjustment, Level, Movement, Rejection, Slot, Wish};
pub(crate) use reservation::{Line, Reservation, State};
