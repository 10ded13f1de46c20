//! The part of the books that one transaction works on: it is loaded, changed in memory by these rules, and
//! what changed is saved. The caller holds the rows, so that nobody else changes them meanwhile.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    time::Duration,
};

use commerce::{OrderId, PlaceId, ProductId, Timestamp};

use super::{
    level::{Adjustment, AdjustmentRejection, AdjustmentRequest, Level, Movement, MovementKind, StockKey},
    reservation::{Reservation, ReservationLine, ReservationState, Shortage},
};

/// What the ids begin with under which programs outside the house set goods aside.
const OUTSIDE: &str = "legacy:";

/// What others are told, as things stood then.
#[derive(Debug, Clone)]
pub(crate) enum DomainEvent {
    Reserved(Reservation),
    Released(Reservation),
    Sold(Reservation),
    /// With what came back, and why.
    Restocked(Reservation, Vec<(ProductId, i64)>, String),
    Adjusted(Level, Adjustment),
    Low(StockKey, Level),
}

/// What a reserve answers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Reserved {
    Held,
    Short(Vec<Shortage>),
    /// A release came first.
    Released,
    Committed,
    /// Other lines or another place than before, or no such place.
    Invalid(String),
}

/// Levels and reservations in hand, with notes of what changed.
#[derive(Debug, Default)]
pub(crate) struct UnitOfWork {
    pub(crate) now: Timestamp,
    /// How long goods are set aside before somebody asks.
    pub(crate) hold: Duration,
    pub(crate) places: BTreeSet<PlaceId>,
    pub(crate) levels: BTreeMap<StockKey, Level>,
    pub(crate) reservations: HashMap<OrderId, Reservation>,
    pub(crate) adjustments: HashMap<String, Adjustment>,
    pub(crate) changed_levels: BTreeSet<StockKey>,
    pub(crate) changed_reservations: BTreeSet<OrderId>,
    pub(crate) changed_lines: BTreeSet<(OrderId, ProductId)>,
    pub(crate) removed_lines: BTreeSet<(OrderId, ProductId)>,
    pub(crate) new_adjustments: Vec<Adjustment>,
    pub(crate) movements: Vec<Movement>,
    pub(crate) events: Vec<DomainEvent>,
}

impl UnitOfWork {
    /// Whether nothing has to be saved.
    pub(crate) fn is_clean(&self) -> bool {
        self.changed_levels.is_empty() && self.changed_reservations.is_empty()
    }

    /// What is missing for these lines.
    pub(crate) fn shortages(&self, place_id: &PlaceId, lines: &BTreeMap<ProductId, i64>) -> Vec<Shortage> {
        lines
            .iter()
            .filter_map(|(product_id, requested)| {
                let key = key(place_id, product_id);
                let available = self.levels.get(&key).map_or(0, Level::available);
                (available < *requested).then(|| Shortage {
                    product_id: product_id.clone(),
                    requested: *requested,
                    available,
                })
            })
            .collect()
    }

    /// What a reserve would answer; changes nothing.
    pub(crate) fn check(&self, order_id: &OrderId, place_id: &PlaceId, lines: &BTreeMap<ProductId, i64>) -> Reserved {
        if let Some(known) = self.reservations.get(order_id).filter(|known| !is_free_again(known)) {
            return match known.state {
                ReservationState::Released => Reserved::Released,
                ReservationState::Committed => Reserved::Committed,
                ReservationState::Held if is_same(known, place_id, lines) => Reserved::Held,
                ReservationState::Held => Reserved::Invalid("the order holds other lines already".into()),
            };
        }
        if !self.places.contains(place_id) {
            return Reserved::Invalid(format!("there is no place {place_id}"));
        }
        match self.shortages(place_id, lines) {
            short if short.is_empty() => Reserved::Held,
            short => Reserved::Short(short),
        }
    }

    /// Sets all lines aside for an order, or none.
    pub(crate) fn reserve(
        &mut self,
        order_id: &OrderId,
        place_id: &PlaceId,
        lines: &BTreeMap<ProductId, i64>,
    ) -> Reserved {
        let answer = self.check(order_id, place_id, lines);
        let before = self.reservations.get(order_id);
        if answer != Reserved::Held || before.is_some_and(|known| known.state != ReservationState::Released) {
            return answer;
        }
        if let Some(before) = before {
            // What it was of before is no longer so.
            let gone = before.lines.keys().filter(|product_id| !lines.contains_key(*product_id));
            self.removed_lines.extend(gone.map(|product_id| (order_id.clone(), product_id.clone())));
        }
        let (sequence, created_at) = before.map_or((1, self.now), |before| (before.sequence + 1, before.created_at));
        let kept = |quantity: i64| ReservationLine { quantity, restocked: 0 };
        let reservation = Reservation {
            order_id: order_id.clone(),
            place_id: Some(place_id.clone()),
            state: ReservationState::Held,
            lines: lines.iter().map(|(id, quantity)| (id.clone(), kept(*quantity))).collect(),
            sequence,
            expires_at: self.now.plus(self.hold),
            created_at,
            updated_at: self.now,
        };
        for (product_id, quantity) in lines {
            self.change_level(key(place_id, product_id), |level| level.reserved += quantity);
            self.changed_lines.insert((order_id.clone(), product_id.clone()));
        }
        self.events.push(DomainEvent::Reserved(reservation.clone()));
        self.changed_reservations.insert(order_id.clone());
        self.reservations.insert(order_id.clone(), reservation);
        answer
    }

    /// Gives back what an order holds. Before the reserve it leaves a tombstone.
    pub(crate) fn release(&mut self, order_id: &OrderId) -> ReservationState {
        let Some(mut reservation) = self.reservations.remove(order_id) else {
            self.insert_tombstone(order_id);
            return ReservationState::Released;
        };
        if reservation.state == ReservationState::Held {
            if let Some(place_id) = &reservation.place_id {
                for (product_id, line) in &reservation.lines {
                    self.change_level(key(place_id, product_id), |level| level.reserved -= line.quantity);
                }
            }
            self.advance_reservation(&mut reservation, ReservationState::Released);
            self.events.push(DomainEvent::Released(reservation.clone()));
        }
        let state = reservation.state;
        self.reservations.insert(order_id.clone(), reservation);
        state
    }

    /// Turns what an order holds into a sale; nothing where it was never reserved.
    pub(crate) fn commit(&mut self, order_id: &OrderId, actor: &str) -> Option<ReservationState> {
        let mut reservation = self.reservations.remove(order_id)?;
        if reservation.state == ReservationState::Held {
            if let Some(place_id) = reservation.place_id.clone() {
                for (product_id, line) in &reservation.lines {
                    let key = key(&place_id, product_id);
                    self.change_level(key.clone(), |level| {
                        level.reserved -= line.quantity;
                        level.on_hand -= line.quantity;
                    });
                    self.record_movement(key, MovementKind::Sold, -line.quantity, order_id, "", actor);
                }
            }
            self.advance_reservation(&mut reservation, ReservationState::Committed);
            self.events.push(DomainEvent::Sold(reservation.clone()));
        }
        let state = reservation.state;
        self.reservations.insert(order_id.clone(), reservation);
        Some(state)
    }

    /// Puts sold goods back: these lines, or everything that has not come back. Never more than was sold;
    /// gives what could not be put back.
    pub(crate) fn restock(
        &mut self,
        order_id: &OrderId,
        lines: Option<&BTreeMap<ProductId, i64>>,
        reason: &str,
        actor: &str,
    ) -> Vec<(ProductId, i64)> {
        let wanted = |lines: &BTreeMap<ProductId, i64>| lines.clone().into_iter().collect::<Vec<_>>();
        let Some(mut reservation) = self.reservations.remove(order_id) else {
            return lines.map(wanted).unwrap_or_default();
        };
        let lines = lines.map(wanted).unwrap_or_else(|| {
            let left = |line: &ReservationLine| line.quantity - line.restocked;
            reservation.lines.iter().map(|(id, line)| (id.clone(), left(line))).collect()
        });
        let mut back = Vec::new();
        let mut refused = Vec::new();
        let place_id = reservation.place_id.clone().filter(|_| reservation.state == ReservationState::Committed);
        for (product_id, quantity) in lines {
            let line = reservation.lines.get_mut(&product_id).filter(|_| place_id.is_some());
            let fits = line.as_ref().map_or(0, |line| quantity.min(line.quantity - line.restocked));
            if let (Some(line), Some(place_id), true) = (line, &place_id, fits > 0) {
                line.restocked += fits;
                let key = key(place_id, &product_id);
                self.change_level(key.clone(), |level| level.on_hand += fits);
                self.record_movement(key, MovementKind::Restocked, fits, order_id, reason, actor);
                self.changed_lines.insert((order_id.clone(), product_id.clone()));
                back.push((product_id.clone(), fits));
            }
            if fits < quantity {
                refused.push((product_id, quantity - fits));
            }
        }
        if !back.is_empty() {
            let state = reservation.state;
            self.advance_reservation(&mut reservation, state);
            self.events.push(DomainEvent::Restocked(reservation.clone(), back, reason.to_owned()));
        }
        self.reservations.insert(order_id.clone(), reservation);
        refused
    }

    /// An order is cancelled: what it holds is released, what was sold to it comes back.
    pub(crate) fn cancel(&mut self, order_id: &OrderId, actor: &str) {
        match self.reservations.get(order_id).map(|known| known.state) {
            Some(ReservationState::Committed) => {
                self.restock(order_id, None, "order cancelled", actor);
            }
            _ => {
                self.release(order_id);
            }
        }
    }

    /// Asks again later whether a reservation is still wanted.
    pub(crate) fn extend_hold(&mut self, order_id: &OrderId, pause: Duration) {
        let until = self.now.plus(pause);
        if let Some(known) = self.reservations.get_mut(order_id).filter(|known| known.state == ReservationState::Held) {
            known.expires_at = until;
            self.changed_reservations.insert(order_id.clone());
        }
    }

    /// Does all requests or none. What was done before under the same ids is not done again.
    pub(crate) fn adjust(&mut self, requests: &[AdjustmentRequest]) -> Result<Vec<Adjustment>, AdjustmentRejection> {
        self.check_adjustments(requests)?;
        let mut done = Vec::with_capacity(requests.len());
        for request in requests {
            if let Some(known) = self.adjustments.get(&request.id) {
                done.push(known.clone());
                continue;
            }
            self.change_level(request.key.clone(), |level| level.on_hand += request.delta);
            let mut level = self.levels.get(&request.key).cloned().unwrap_or_default();
            let adjustment = Adjustment { request: request.clone(), balance: level.on_hand, at: self.now };
            self.record_movement(
                request.key.clone(),
                MovementKind::Adjusted,
                request.delta,
                &request.id,
                &request.reason,
                &request.actor,
            );
            level.sequence = self.next_sequence(&request.key);
            self.events.push(DomainEvent::Adjusted(level, adjustment.clone()));
            self.new_adjustments.push(adjustment.clone());
            self.adjustments.insert(request.id.clone(), adjustment.clone());
            done.push(adjustment);
        }
        Ok(done)
    }

    /// Goes through the requests without changing anything, since all are done or none.
    fn check_adjustments(&self, requests: &[AdjustmentRequest]) -> Result<(), AdjustmentRejection> {
        let mut scratch: BTreeMap<&StockKey, Level> = BTreeMap::new();
        let mut ids: HashMap<&str, &AdjustmentRequest> = HashMap::new();
        for (index, request) in requests.iter().enumerate() {
            let known = self.adjustments.get(&request.id).map(|known| &known.request);
            if let Some(known) = known.or(ids.insert(&request.id, request)) {
                // Who asks is no part of what is asked for.
                if (&known.key, known.delta, &known.reason) != (&request.key, request.delta, &request.reason) {
                    return Err(AdjustmentRejection::Reused { id: request.id.clone() });
                }
                continue;
            }
            if !self.places.contains(&request.key.place_id) {
                return Err(AdjustmentRejection::UnknownPlace { index, place_id: request.key.place_id.clone() });
            }
            let level = scratch
                .entry(&request.key)
                .or_insert_with(|| self.levels.get(&request.key).cloned().unwrap_or_default());
            level.on_hand = level.after(request.delta).ok_or_else(|| AdjustmentRejection::BelowReserved {
                index,
                product_id: request.key.product_id.clone(),
                delta: request.delta,
                on_hand: level.on_hand,
                reserved: level.reserved,
            })?;
        }
        Ok(())
    }

    /// Goods leave a place for another; refused, with what is available, where there are not enough.
    pub(crate) fn send(&mut self, key: &StockKey, quantity: i64, cause: &str, actor: &str) -> Result<(), i64> {
        let available = self.levels.get(key).map_or(0, Level::available);
        if available < quantity {
            return Err(available);
        }
        self.change_level(key.clone(), |level| level.on_hand -= quantity);
        self.record_movement(key.clone(), MovementKind::Sent, -quantity, cause, "", actor);
        Ok(())
    }

    /// Goods arrive from another place. Where more or less was counted than had left, that is a movement of its own.
    pub(crate) fn receive(&mut self, key: &StockKey, booked: i64, difference: i64, cause: &str, actor: &str) {
        for (kind, quantity, reason) in [
            (MovementKind::Received, booked, ""),
            (MovementKind::Adjusted, difference, "difference counted on arrival"),
        ] {
            if quantity != 0 {
                self.change_level(key.clone(), |level| level.on_hand += quantity);
                self.record_movement(key.clone(), kind, quantity, cause, reason, actor);
            }
        }
    }

    /// What is to be put in or taken out, so that so much can be promised; nothing if it is so already.
    pub(crate) fn delta_to_available(&self, key: &StockKey, available: i64) -> i64 {
        available - self.levels.get(key).map_or(0, Level::available)
    }

    /// Sets below how many available people are told; tells at once if it is so already.
    pub(crate) fn set_threshold(&mut self, key: &StockKey, threshold: Option<i64>) -> Level {
        self.change_level(key.clone(), |level| level.threshold = threshold);
        self.levels.get(key).cloned().unwrap_or_default()
    }

    /// Every change of a level goes through here, so that none is forgotten and a low level is always told.
    fn change_level(&mut self, key: StockKey, change: impl FnOnce(&mut Level)) {
        let level = self.levels.entry(key.clone()).or_default();
        let was_low = level.is_low();
        change(level);
        let is_low = level.is_low();
        if is_low && !was_low {
            level.sequence += 1;
            self.events.push(DomainEvent::Low(key.clone(), level.clone()));
        }
        self.changed_levels.insert(key);
    }

    fn next_sequence(&mut self, key: &StockKey) -> i64 {
        let level = self.levels.entry(key.clone()).or_default();
        level.sequence += 1;
        level.sequence
    }

    fn record_movement(
        &mut self,
        key: StockKey,
        kind: MovementKind,
        quantity: i64,
        cause: impl ToString,
        reason: &str,
        actor: &str,
    ) {
        let balance = self.levels.get(&key).map_or(0, |level| level.on_hand);
        self.movements.push(Movement {
            key,
            kind,
            quantity,
            balance,
            cause: cause.to_string(),
            reason: reason.to_owned(),
            actor: actor.to_owned(),
        });
    }

    fn advance_reservation(&mut self, reservation: &mut Reservation, state: ReservationState) {
        reservation.state = state;
        reservation.sequence += 1;
        reservation.updated_at = self.now;
        self.changed_reservations.insert(reservation.order_id.clone());
    }

    /// This order will never hold stock.
    fn insert_tombstone(&mut self, order_id: &OrderId) {
        let tombstone = Reservation {
            order_id: order_id.clone(),
            place_id: None,
            state: ReservationState::Released,
            lines: BTreeMap::new(),
            sequence: 0,
            expires_at: self.now,
            created_at: self.now,
            updated_at: self.now,
        };
        self.changed_reservations.insert(order_id.clone());
        self.reservations.insert(order_id.clone(), tombstone);
    }
}

fn key(place_id: &PlaceId, product_id: &ProductId) -> StockKey {
    StockKey { place_id: place_id.clone(), product_id: product_id.clone() }
}

/// Whether goods may be set aside again under an id after they were given back. An order's release is for ever, since it
/// refuses a late reserve; ids from outside, which no saga stands behind, live in a namespace of their own and come again.
fn is_free_again(known: &Reservation) -> bool {
    known.state == ReservationState::Released && known.order_id.as_str().starts_with(OUTSIDE)
}

fn is_same(known: &Reservation, place_id: &PlaceId, lines: &BTreeMap<ProductId, i64>) -> bool {
    known.place_id.as_ref() == Some(place_id)
        && known.lines.len() == lines.len()
        && lines.iter().all(|(id, quantity)| known.lines.get(id).is_some_and(|line| line.quantity == *quantity))
}

#[cfg(test)]
#[path = "unit_of_work_tests.rs"]
mod tests;
