//! No piece appears or vanishes, whatever the order of transitions.

use std::collections::BTreeMap;

use proptest::prelude::*;

use super::*;
use crate::domain::{AdjustmentRequest, ReservationRequest, UnitOfWork};

const PLACES: u8 = 3;

/// One random step.
#[derive(Debug, Clone)]
enum Action {
    Request { from: u8, to: u8, quantity: i64 },
    Transition { which: usize, wanted: Transition },
    Sell { place: u8, order: u8, quantity: i64 },
    Cancel { order: u8 },
    Adjust { place: u8, delta: i64 },
}

fn place(n: u8) -> PlaceId {
    PlaceId::trusted(format!("p{n}"))
}

fn key(n: u8) -> StockKey {
    StockKey { place_id: place(n), product_id: product() }
}

fn product() -> ProductId {
    ProductId::trusted("g".into())
}

fn actions() -> impl Strategy<Value = Vec<Action>> {
    let wanted = prop_oneof![
        Just(Transition::Approve),
        Just(Transition::Refuse { reason: "no".into() }),
        Just(Transition::Dispatch),
        (0..12_i64, any::<(bool, bool)>()).prop_map(|(quantity, (last, may_differ))| Transition::Receive {
            quantity,
            last,
            may_differ
        }),
    ];
    let action = prop_oneof![
        (0..PLACES, 0..PLACES, 1..12_i64).prop_map(|(from, to, quantity)| Action::Request { from, to, quantity }),
        (0..6_usize, wanted.clone()).prop_map(|(which, wanted)| Action::Transition { which, wanted }),
        (0..6_usize, wanted).prop_map(|(which, wanted)| Action::Transition { which, wanted }),
        (0..PLACES, 0..8_u8, 1..6_i64).prop_map(|(place, order, quantity)| Action::Sell { place, order, quantity }),
        (0..8_u8).prop_map(|order| Action::Cancel { order }),
        (0..PLACES, -4..9_i64).prop_map(|(place, delta)| Action::Adjust { place, delta }),
    ];
    prop::collection::vec(action, 1..60)
}

/// Performs all actions. Returns the unit of work and the replenishments.
fn run(actions: &[Action]) -> (UnitOfWork, Vec<Replenishment>) {
    let mut unit = UnitOfWork { places: (0..PLACES).map(place).collect(), ..UnitOfWork::default() };
    let mut all: Vec<Replenishment> = Vec::new();
    for (n, action) in actions.iter().enumerate() {
        match action {
            Action::Request { from, to, quantity } if from != to => {
                let id = format!("r{n}");
                all.push(Replenishment::requested(id, place(*from), key(*to), *quantity, "a", unit.now));
            }
            Action::Transition { which, wanted } => {
                let count = all.len().max(1);
                let Some(one) = all.get_mut(which % count) else { continue };
                let before = one.clone();
                let goods = one.apply(wanted, "a", unit.now);
                let from = StockKey { place_id: one.from.clone(), product_id: product() };
                let to = StockKey { place_id: one.to.clone(), product_id: product() };
                match goods {
                    Ok(Some(GoodsMovement::Leave(quantity))) if unit.send(&from, quantity, &one.id, "a").is_err() => {
                        *one = before
                    }
                    Ok(Some(GoodsMovement::Arrive { booked, difference })) => {
                        unit.receive(&to, booked, difference, &one.id, "a")
                    }
                    _ => {}
                }
            }
            Action::Sell { place: at, order, quantity } => {
                let order = commerce::OrderId::trusted(format!("o{order}"));
                unit.reserve(&ReservationRequest {
                    order_id: order.clone(),
                    place_id: place(*at),
                    lines: BTreeMap::from([(product(), *quantity)]),
                });
                unit.commit(&order, "a");
            }
            Action::Cancel { order } => unit.cancel(&commerce::OrderId::trusted(format!("o{order}")), "a"),
            Action::Adjust { place, delta } if *delta != 0 => {
                let request = AdjustmentRequest {
                    id: format!("a{n}"),
                    key: key(*place),
                    delta: *delta,
                    reason: "r".into(),
                    actor: "a".into(),
                };
                // An adjustment below what is reserved is refused, and changes nothing.
                let _ = unit.adjust(&[request]);
            }
            Action::Request { .. } | Action::Adjust { .. } => {}
        }
    }
    (unit, all)
}

proptest! {
    #[test]
    fn every_unit_is_in_a_place_on_its_way_sold_or_written_off(actions in actions()) {
        let (unit, all) = run(&actions);
        let moved = |kind| unit.movements.iter().filter(|m| m.kind == kind).map(|m| m.quantity).sum::<i64>();
        use crate::domain::MovementKind::{Adjusted, Received, Restocked, Sent, Sold};
        let on_hand: i64 = unit.levels.values().map(|level| level.on_hand).sum();
        let in_transit: i64 = all.iter().map(Replenishment::in_transit).sum();
        prop_assert_eq!(on_hand + in_transit, moved(Adjusted) + moved(Sold) + moved(Restocked));
        prop_assert_eq!(-moved(Sent) - moved(Received), in_transit);
        // A difference counted on arrival is a movement of its own.
        let differences: i64 = all.iter().map(Replenishment::difference).sum();
        let booked: i64 = unit
            .movements
            .iter()
            .filter(|m| m.kind == Adjusted && m.cause.starts_with('r'))
            .map(|m| m.quantity)
            .sum();
        prop_assert_eq!(booked, differences);
        for (key, level) in &unit.levels {
            prop_assert!(level.on_hand >= level.reserved && level.reserved >= 0, "{:?} {:?}", key, level);
        }
        for one in &all {
            prop_assert_eq!(one.history.len() as i64, one.sequence);
            prop_assert_eq!(one.history.last().map(|step| step.stage), Some(one.stage));
        }
    }
}

#[test]
fn what_is_refused_or_received_is_over() {
    let mut one = Replenishment::requested("r".into(), place(0), key(1), 5, "a", Timestamp::from_micros(0));
    let now = Timestamp::from_micros(1);
    assert!(one.apply(&Transition::Dispatch, "a", now).is_err());
    assert_eq!(one.apply(&Transition::Approve, "a", now), Ok(Some(GoodsMovement::None)));
    assert_eq!(one.apply(&Transition::Approve, "a", now), Ok(None));
    assert_eq!(one.apply(&Transition::Dispatch, "a", now), Ok(Some(GoodsMovement::Leave(5))));
    assert!(one.apply(&Transition::Refuse { reason: "late".into() }, "a", now).is_err());
    let some = Transition::Receive { quantity: 2, last: false, may_differ: false };
    assert_eq!(one.apply(&some, "a", now), Ok(Some(GoodsMovement::Arrive { booked: 2, difference: 0 })));
    assert_eq!((one.in_transit(), one.difference()), (3, 0));
    let rest = Transition::Receive { quantity: 2, last: true, may_differ: true };
    assert_eq!(one.apply(&rest, "a", now), Ok(Some(GoodsMovement::Arrive { booked: 3, difference: -1 })));
    assert_eq!((one.in_transit(), one.difference(), one.stage), (0, -1, ReplenishmentStage::Received));
    assert!(one.apply(&rest, "a", now).is_err());
}
