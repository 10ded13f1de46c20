//! No unit appears or vanishes, however people move goods about.

use std::collections::BTreeMap;

use proptest::prelude::*;

use super::*;
use crate::domain::{Book, Wish};

const PLACES: u8 = 3;

/// Something that somebody does.
#[derive(Debug, Clone)]
enum Act {
    Request { from: u8, to: u8, quantity: i64 },
    Move { which: usize, wanted: Move },
    Sell { place: u8, order: u8, quantity: i64 },
    Cancel { order: u8 },
    Adjust { place: u8, delta: i64 },
}

fn place(n: u8) -> PlaceId {
    PlaceId::trusted(format!("p{n}"))
}

fn slot(n: u8) -> Slot {
    Slot { place_id: place(n), product_id: product() }
}

fn product() -> ProductId {
    ProductId::trusted("g".into())
}

fn acts() -> impl Strategy<Value = Vec<Act>> {
    let wanted = prop_oneof![
        Just(Move::Approve),
        Just(Move::Refuse { reason: "no".into() }),
        Just(Move::Dispatch),
        (0..12_i64, any::<(bool, bool)>()).prop_map(|(quantity, (last, may_differ))| Move::Receive {
            quantity,
            last,
            may_differ
        }),
    ];
    let act = prop_oneof![
        (0..PLACES, 0..PLACES, 1..12_i64).prop_map(|(from, to, quantity)| Act::Request { from, to, quantity }),
        (0..6_usize, wanted.clone()).prop_map(|(which, wanted)| Act::Move { which, wanted }),
        (0..6_usize, wanted).prop_map(|(which, wanted)| Act::Move { which, wanted }),
        (0..PLACES, 0..8_u8, 1..6_i64).prop_map(|(place, order, quantity)| Act::Sell { place, order, quantity }),
        (0..8_u8).prop_map(|order| Act::Cancel { order }),
        (0..PLACES, -4..9_i64).prop_map(|(place, delta)| Act::Adjust { place, delta }),
    ];
    prop::collection::vec(act, 1..60)
}

/// Does it all, and gives what is there, what is under way, and what was put in and sold.
fn run(acts: &[Act]) -> (Book, Vec<Replenishment>) {
    let mut book = Book { places: (0..PLACES).map(place).collect(), ..Book::default() };
    let mut all: Vec<Replenishment> = Vec::new();
    for (n, act) in acts.iter().enumerate() {
        match act {
            Act::Request { from, to, quantity } if from != to => {
                let id = format!("r{n}");
                all.push(Replenishment::requested(id, place(*from), slot(*to), *quantity, "a", book.now));
            }
            Act::Move { which, wanted } => {
                let count = all.len().max(1);
                let Some(one) = all.get_mut(which % count) else { continue };
                let before = one.clone();
                let goods = one.apply(wanted, "a", book.now);
                let from = Slot { place_id: one.from.clone(), product_id: product() };
                let to = Slot { place_id: one.to.clone(), product_id: product() };
                match goods {
                    Ok(Some(Goods::Leave(quantity))) if book.send(&from, quantity, &one.id, "a").is_err() => {
                        *one = before
                    }
                    Ok(Some(Goods::Arrive { booked, difference })) => {
                        book.receive(&to, booked, difference, &one.id, "a")
                    }
                    _ => {}
                }
            }
            Act::Sell { place: at, order, quantity } => {
                let order = commerce::OrderId::trusted(format!("o{order}"));
                book.reserve(&order, &place(*at), &BTreeMap::from([(product(), *quantity)]));
                book.commit(&order, "a");
            }
            Act::Cancel { order } => book.cancel(&commerce::OrderId::trusted(format!("o{order}")), "a"),
            Act::Adjust { place, delta } if *delta != 0 => {
                let wish = Wish {
                    id: format!("a{n}"),
                    slot: slot(*place),
                    delta: *delta,
                    reason: "r".into(),
                    actor: "a".into(),
                };
                // One that would go below what is reserved is refused, and changes nothing.
                let _ = book.adjust(&[wish]);
            }
            Act::Request { .. } | Act::Adjust { .. } => {}
        }
    }
    (book, all)
}

proptest! {
    #[test]
    fn every_unit_is_in_a_place_on_its_way_sold_or_written_off(acts in acts()) {
        let (book, all) = run(&acts);
        let moved = |kind| book.movements.iter().filter(|m| m.kind == kind).map(|m| m.quantity).sum::<i64>();
        use crate::domain::MovementKind::{Adjusted, Received, Restocked, Sent, Sold};
        let on_hand: i64 = book.levels.values().map(|level| level.on_hand).sum();
        let in_transit: i64 = all.iter().map(Replenishment::in_transit).sum();
        prop_assert_eq!(on_hand + in_transit, moved(Adjusted) + moved(Sold) + moved(Restocked));
        prop_assert_eq!(-moved(Sent) - moved(Received), in_transit);
        // What was counted differently on arrival is in the books as such.
        let differences: i64 = all.iter().map(Replenishment::difference).sum();
        let booked: i64 = book
            .movements
            .iter()
            .filter(|m| m.kind == Adjusted && m.cause.starts_with('r'))
            .map(|m| m.quantity)
            .sum();
        prop_assert_eq!(booked, differences);
        for (slot, level) in &book.levels {
            prop_assert!(level.on_hand >= level.reserved && level.reserved >= 0, "{:?} {:?}", slot, level);
        }
        for one in &all {
            prop_assert_eq!(one.history.len() as i64, one.sequence);
            prop_assert_eq!(one.history.last().map(|step| step.stage), Some(one.stage));
        }
    }
}

#[test]
fn what_is_refused_or_received_is_over() {
    let mut one = Replenishment::requested("r".into(), place(0), slot(1), 5, "a", Timestamp::from_micros(0));
    let now = Timestamp::from_micros(1);
    assert!(one.apply(&Move::Dispatch, "a", now).is_err());
    assert_eq!(one.apply(&Move::Approve, "a", now), Ok(Some(Goods::Stay)));
    assert_eq!(one.apply(&Move::Approve, "a", now), Ok(None));
    assert_eq!(one.apply(&Move::Dispatch, "a", now), Ok(Some(Goods::Leave(5))));
    assert!(one.apply(&Move::Refuse { reason: "late".into() }, "a", now).is_err());
    let some = Move::Receive { quantity: 2, last: false, may_differ: false };
    assert_eq!(one.apply(&some, "a", now), Ok(Some(Goods::Arrive { booked: 2, difference: 0 })));
    assert_eq!((one.in_transit(), one.difference()), (3, 0));
    let rest = Move::Receive { quantity: 2, last: true, may_differ: true };
    assert_eq!(one.apply(&rest, "a", now), Ok(Some(Goods::Arrive { booked: 3, difference: -1 })));
    assert_eq!((one.in_transit(), one.difference(), one.stage), (0, -1, Stage::Received));
    assert!(one.apply(&rest, "a", now).is_err());
}
