//! What stock is and what may be done with it. No I/O, no clock and no random of its own.

mod level;
mod replenishment;
mod reservation;
mod unit_of_work;

#[cfg(test)]
pub(crate) use level::MovementKind;
pub(crate) use level::{Adjustment, AdjustmentRejection, AdjustmentRequest, Level, Movement, StockKey};
pub(crate) use replenishment::{
    GoodsMovement, Replenishment, ReplenishmentStage, ReplenishmentStep, Transition, TransitionError,
};
pub(crate) use reservation::{Reservation, ReservationLine, ReservationState};
pub(crate) use unit_of_work::{DomainEvent, Reserved, UnitOfWork};
