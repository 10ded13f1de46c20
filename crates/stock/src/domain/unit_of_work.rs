//! The unit of work of one transaction: the levels, reservations and adjustments that it loads, the rules that change them in
//! memory, and notes of what has to be saved. The transaction holds the rows, so that no other one changes them meanwhile.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    time::Duration,
};

use commerce::{OrderId, PlaceId, ProductId, Timestamp};

use super::{
    event::DomainEvent,
    level::{Adjustment, AdjustmentRejection, AdjustmentRequest, Level, Movement, MovementKind, StockKey},
    reservation::{Reservation, ReservationLine, ReservationRequest, ReservationState, Shortage},
};

/// The prefix of reservation ids that belong to other programs, not to orders.
const EXTERNAL_PREFIX: &str = "legacy:";

/// The result of a reserve.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Reserved {
    Held,
    Short(Vec<Shortage>),
    /// The order was released before.
    Released,
    /// The order's stock is sold already.
    Committed,
    /// The order has other lines or another place than before, or the place does not exist.
    Invalid(String),
}

/// What one transaction has loaded and changed.
#[derive(Debug, Default)]
pub(crate) struct UnitOfWork {
    pub(crate) now: Timestamp,
    /// How long goods are reserved before the order service is asked whether the order still needs them.
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

    fn shortages(&self, request: &ReservationRequest) -> Vec<Shortage> {
        request
            .lines
            .iter()
            .filter_map(|(product_id, requested)| {
                let key = StockKey::new(&request.place_id, product_id);
                let available = self.levels.get(&key).map_or(0, Level::available);
                (available < *requested).then(|| Shortage {
                    product_id: product_id.clone(),
                    requested: *requested,
                    available,
                })
            })
            .collect()
    }

    /// What [`Self::reserve`] would return; changes nothing.
    pub(crate) fn check(&self, request: &ReservationRequest) -> Reserved {
        if let Some(known) = self.reservations.get(&request.order_id).filter(|known| !may_reserve_again(known)) {
            return match known.state {
                ReservationState::Released => Reserved::Released,
                ReservationState::Committed => Reserved::Committed,
                ReservationState::Held if is_same(known, request) => Reserved::Held,
                ReservationState::Held => Reserved::Invalid("the order holds other lines already".into()),
            };
        }
        if !self.places.contains(&request.place_id) {
            return Reserved::Invalid(format!("there is no place {}", request.place_id));
        }
        match self.shortages(request) {
            short if short.is_empty() => Reserved::Held,
            short => Reserved::Short(short),
        }
    }

    /// Reserves all lines of an order, or none.
    pub(crate) fn reserve(&mut self, request: &ReservationRequest) -> Reserved {
        let result = self.check(request);
        let ReservationRequest { order_id, place_id, lines } = request;
        let before = self.reservations.get(order_id);
        if result != Reserved::Held || before.is_some_and(|known| known.state != ReservationState::Released) {
            return result;
        }
        if let Some(before) = before {
            // Lines of the released reservation that the new one does not have.
            let gone = before.lines.keys().filter(|product_id| !lines.contains_key(*product_id));
            self.removed_lines.extend(gone.map(|product_id| (order_id.clone(), product_id.clone())));
        }
        let (sequence, created_at) = before.map_or((1, self.now), |before| (before.sequence + 1, before.created_at));
        let line = |quantity: i64| ReservationLine { quantity, restocked: 0 };
        let reservation = Reservation {
            order_id: order_id.clone(),
            place_id: Some(place_id.clone()),
            state: ReservationState::Held,
            lines: lines.iter().map(|(id, quantity)| (id.clone(), line(*quantity))).collect(),
            sequence,
            expires_at: self.now.plus(self.hold),
            created_at,
            updated_at: self.now,
        };
        for (product_id, quantity) in lines {
            self.change_level(StockKey::new(place_id, product_id), |level| level.reserved += quantity);
            self.changed_lines.insert((order_id.clone(), product_id.clone()));
        }
        self.events.push(DomainEvent::Reserved(reservation.clone()));
        self.changed_reservations.insert(order_id.clone());
        self.reservations.insert(order_id.clone(), reservation);
        result
    }

    /// Releases what an order holds. A release that comes before the reserve inserts a tombstone.
    pub(crate) fn release(&mut self, order_id: &OrderId) -> ReservationState {
        let Some(mut reservation) = self.reservations.remove(order_id) else {
            self.insert_tombstone(order_id);
            return ReservationState::Released;
        };
        if reservation.state == ReservationState::Held {
            if let Some(place_id) = &reservation.place_id {
                for (product_id, line) in &reservation.lines {
                    self.change_level(StockKey::new(place_id, product_id), |level| level.reserved -= line.quantity);
                }
            }
            self.update_reservation(&mut reservation, ReservationState::Released);
            self.events.push(DomainEvent::Released(reservation.clone()));
        }
        let state = reservation.state;
        self.reservations.insert(order_id.clone(), reservation);
        state
    }

    /// Turns what an order holds into a sale. Returns nothing where nothing was ever reserved.
    pub(crate) fn commit(&mut self, order_id: &OrderId, actor: &str) -> Option<ReservationState> {
        let mut reservation = self.reservations.remove(order_id)?;
        if reservation.state == ReservationState::Held {
            if let Some(place_id) = reservation.place_id.clone() {
                for (product_id, line) in &reservation.lines {
                    let key = StockKey::new(&place_id, product_id);
                    self.change_level(key.clone(), |level| {
                        level.reserved -= line.quantity;
                        level.on_hand -= line.quantity;
                    });
                    self.record_movement(key, MovementKind::Sold, -line.quantity, order_id, "", actor);
                }
            }
            self.update_reservation(&mut reservation, ReservationState::Committed);
            self.events.push(DomainEvent::Sold(reservation.clone()));
        }
        let state = reservation.state;
        self.reservations.insert(order_id.clone(), reservation);
        Some(state)
    }

    /// Puts sold goods back: these lines, or everything that was not put back yet. Never more than was sold; returns the
    /// pieces that were not put back.
    pub(crate) fn restock(
        &mut self,
        order_id: &OrderId,
        lines: Option<&BTreeMap<ProductId, i64>>,
        reason: &str,
        actor: &str,
    ) -> Vec<(ProductId, i64)> {
        let listed = |lines: &BTreeMap<ProductId, i64>| lines.clone().into_iter().collect::<Vec<_>>();
        let Some(mut reservation) = self.reservations.remove(order_id) else {
            return lines.map(listed).unwrap_or_default();
        };
        let lines = lines.map(listed).unwrap_or_else(|| {
            let remaining = |line: &ReservationLine| line.quantity - line.restocked;
            reservation.lines.iter().map(|(id, line)| (id.clone(), remaining(line))).collect()
        });
        let mut restocked = Vec::new();
        let mut refused = Vec::new();
        let place_id = reservation.place_id.clone().filter(|_| reservation.state == ReservationState::Committed);
        for (product_id, quantity) in lines {
            let line = reservation.lines.get_mut(&product_id).filter(|_| place_id.is_some());
            let fits = line.as_ref().map_or(0, |line| quantity.min(line.quantity - line.restocked));
            if let (Some(line), Some(place_id), true) = (line, &place_id, fits > 0) {
                line.restocked += fits;
                let key = StockKey::new(place_id, &product_id);
                self.change_level(key.clone(), |level| level.on_hand += fits);
                self.record_movement(key, MovementKind::Restocked, fits, order_id, reason, actor);
                self.changed_lines.insert((order_id.clone(), product_id.clone()));
                restocked.push((product_id.clone(), fits));
            }
            if fits < quantity {
                refused.push((product_id, quantity - fits));
            }
        }
        if !restocked.is_empty() {
            let state = reservation.state;
            self.update_reservation(&mut reservation, state);
            let event = DomainEvent::Restocked {
                reservation: reservation.clone(),
                lines: restocked,
                reason: reason.to_owned(),
            };
            self.events.push(event);
        }
        self.reservations.insert(order_id.clone(), reservation);
        refused
    }

    /// Releases what a cancelled order holds, and restocks what was sold to it.
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

    /// Postpones the expiry of a reservation.
    pub(crate) fn extend_hold(&mut self, order_id: &OrderId, pause: Duration) {
        let until = self.now.plus(pause);
        if let Some(known) = self.reservations.get_mut(order_id).filter(|known| known.state == ReservationState::Held) {
            known.expires_at = until;
            self.changed_reservations.insert(order_id.clone());
        }
    }

    /// Applies all adjustments or none. Those that were applied before under the same ids are not applied again.
    pub(crate) fn adjust(&mut self, requests: &[AdjustmentRequest]) -> Result<Vec<Adjustment>, AdjustmentRejection> {
        self.check_adjustments(requests)?;
        let mut adjustments = Vec::with_capacity(requests.len());
        for request in requests {
            if let Some(known) = self.adjustments.get(&request.id) {
                adjustments.push(known.clone());
                continue;
            }
            self.change_level(request.key.clone(), |level| level.on_hand += request.delta);
            let mut level = self.levels.get(&request.key).cloned().unwrap_or_default();
            let adjustment = Adjustment { request: request.clone(), balance: level.on_hand, at: self.now };
            let AdjustmentRequest { id, key, delta, reason, actor } = request;
            self.record_movement(key.clone(), MovementKind::Adjusted, *delta, id, reason, actor);
            level.sequence = self.next_sequence(key);
            self.events.push(DomainEvent::Adjusted { level, adjustment: adjustment.clone() });
            self.new_adjustments.push(adjustment.clone());
            self.adjustments.insert(id.clone(), adjustment.clone());
            adjustments.push(adjustment);
        }
        Ok(adjustments)
    }

    /// Checks all requests before any is applied, since all are applied or none.
    fn check_adjustments(&self, requests: &[AdjustmentRequest]) -> Result<(), AdjustmentRejection> {
        let mut scratch: BTreeMap<&StockKey, Level> = BTreeMap::new();
        let mut ids: HashMap<&str, &AdjustmentRequest> = HashMap::new();
        for (index, request) in requests.iter().enumerate() {
            let known = self.adjustments.get(&request.id).map(|known| &known.request);
            if let Some(known) = known.or(ids.insert(&request.id, request)) {
                // The actor may differ: another person may repeat a request.
                if (&known.key, known.delta, &known.reason) != (&request.key, request.delta, &request.reason) {
                    return Err(AdjustmentRejection::IdReused { id: request.id.clone() });
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

    /// Takes goods that leave for another place out of a level. Refused with the available pieces if these are too few.
    pub(crate) fn send(&mut self, key: &StockKey, quantity: i64, cause: &str, actor: &str) -> Result<(), i64> {
        let available = self.levels.get(key).map_or(0, Level::available);
        if available < quantity {
            return Err(available);
        }
        self.change_level(key.clone(), |level| level.on_hand -= quantity);
        self.record_movement(key.clone(), MovementKind::Sent, -quantity, cause, "", actor);
        Ok(())
    }

    /// Puts goods that arrived from another place into a level. A difference to what had left is a movement of its own.
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

    /// The adjustment that makes this quantity available; 0 if it is available already.
    pub(crate) fn delta_to_available(&self, key: &StockKey, available: i64) -> i64 {
        available - self.levels.get(key).map_or(0, Level::available)
    }

    /// Sets the threshold of a level. The event that the level is low follows at once where it is.
    pub(crate) fn set_threshold(&mut self, key: &StockKey, threshold: Option<i64>) -> Level {
        self.change_level(key.clone(), |level| level.threshold = threshold);
        self.levels.get(key).cloned().unwrap_or_default()
    }

    /// The only way to change a level, so that each change is saved and a low level is always published.
    fn change_level(&mut self, key: StockKey, change: impl FnOnce(&mut Level)) {
        let level = self.levels.entry(key.clone()).or_default();
        let was_low = level.is_low();
        change(level);
        let is_low = level.is_low();
        if is_low && !was_low {
            level.sequence += 1;
            self.events.push(DomainEvent::Low { key: key.clone(), level: level.clone() });
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

    fn update_reservation(&mut self, reservation: &mut Reservation, state: ReservationState) {
        reservation.state = state;
        reservation.sequence += 1;
        reservation.updated_at = self.now;
        self.changed_reservations.insert(reservation.order_id.clone());
    }

    /// A tombstone refuses every later reserve of the order.
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

/// Whether a released reservation may be made again. The release of an order is final, since it has to refuse a late reserve;
/// reservations of other programs have no saga behind them, live in a namespace of their own, and are made again.
fn may_reserve_again(known: &Reservation) -> bool {
    known.state == ReservationState::Released && known.order_id.as_str().starts_with(EXTERNAL_PREFIX)
}

fn is_same(known: &Reservation, request: &ReservationRequest) -> bool {
    let has = |id: &ProductId, quantity: i64| known.lines.get(id).is_some_and(|line| line.quantity == quantity);
    known.place_id.as_ref() == Some(&request.place_id)
        && known.lines.len() == request.lines.len()
        && request.lines.iter().all(|(id, quantity)| has(id, *quantity))
}

#[cfg(test)]
#[path = "unit_of_work_tests.rs"]
mod tests;
