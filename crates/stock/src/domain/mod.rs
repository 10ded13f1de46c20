//! The types and rules of stock. No I/O, no clock and no randomness: the caller provides both.

mod event;
mod level;
mod replenishment;
mod reservation;
mod unit_of_work;

pub(crate) use event::DomainEvent;
#[cfg(test)]
pub(crate) use level::MovementKind;
pub(crate) use level::{Adjustment, AdjustmentRejection, AdjustmentRequest, Level, Movement, SYSTEM_ACTOR, StockKey};
pub(crate) use replenishment::{
    GoodsMovement, Replenishment, ReplenishmentStage, ReplenishmentStep, Transition, TransitionError,
};
pub(crate) use reservation::{Reservation, ReservationLine, ReservationRequest, ReservationState};
pub(crate) use unit_of_work::{Reserved, UnitOfWork};
