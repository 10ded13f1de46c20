//! The rules hold under every order of commands.

use proptest::prelude::*;

use super::*;

fn place() -> PlaceId {
    PlaceId::trusted("p".into())
}

fn product(n: u8) -> ProductId {
    ProductId::trusted(format!("g{n}"))
}

fn order(n: u8) -> OrderId {
    OrderId::trusted(format!("o{n}"))
}

fn lines(lines: &[(u8, i64)]) -> BTreeMap<ProductId, i64> {
    lines.iter().map(|(n, quantity)| (product(*n), *quantity)).collect()
}

fn reservation(order_id: &OrderId, place_id: &PlaceId, of: &[(u8, i64)]) -> ReservationRequest {
    ReservationRequest { order_id: order_id.clone(), place_id: place_id.clone(), lines: lines(of) }
}

fn request(id: &str, n: u8, delta: i64) -> AdjustmentRequest {
    AdjustmentRequest {
        id: id.into(),
        key: StockKey::new(&place(), &product(n)),
        delta,
        reason: "r".into(),
        actor: "a".into(),
    }
}

fn unit(stock: &[i64]) -> UnitOfWork {
    let mut unit = UnitOfWork { places: [place()].into(), ..UnitOfWork::default() };
    for (n, quantity) in (0..).zip(stock) {
        unit.adjust(&[request(&format!("open{n}"), n, *quantity)]).expect("fits");
    }
    unit
}

fn level(unit: &UnitOfWork, n: u8) -> (i64, i64) {
    let level = &unit.levels[&StockKey::new(&place(), &product(n))];
    (level.on_hand, level.reserved)
}

#[test]
fn an_order_gets_all_its_lines_or_none_and_the_result_names_what_is_missing() {
    let mut unit = unit(&[5, 1]);
    let short = unit.reserve(&reservation(&order(1), &place(), &[(0, 5), (1, 2), (2, 1)]));
    let missing = |n, requested, available| Shortage { product_id: product(n), requested, available };
    assert_eq!(short, Reserved::Short(vec![missing(1, 2, 1), missing(2, 1, 0)]));
    assert_eq!(level(&unit, 0), (5, 0));
    assert_eq!(unit.reserve(&reservation(&order(1), &place(), &[(0, 5), (1, 1)])), Reserved::Held);
    assert_eq!(unit.reserve(&reservation(&order(1), &place(), &[(0, 5), (1, 1)])), Reserved::Held);
    assert!(matches!(unit.reserve(&reservation(&order(1), &place(), &[(0, 4)])), Reserved::Invalid(_)));
    assert_eq!((level(&unit, 0), level(&unit, 1)), ((5, 5), (1, 1)));
    let elsewhere = PlaceId::trusted("nowhere".into());
    assert!(matches!(unit.reserve(&reservation(&order(2), &elsewhere, &[(0, 1)])), Reserved::Invalid(_)));
}

#[test]
fn what_another_program_reserves_is_released_and_reserved_again() {
    let mut unit = unit(&[5]);
    let external = OrderId::trusted("legacy:77".into());
    assert_eq!(unit.release(&external), ReservationState::Released, "it was not there yet");
    for _ in 0..2 {
        assert_eq!(unit.reserve(&reservation(&external, &place(), &[(0, 4)])), Reserved::Held);
        assert_eq!(
            unit.reserve(&reservation(&external, &place(), &[(0, 4)])),
            Reserved::Held,
            "a repeat takes nothing more"
        );
        assert_eq!(level(&unit, 0), (5, 4));
        assert_eq!(unit.release(&external), ReservationState::Released);
        assert_eq!(level(&unit, 0), (5, 0));
    }
    assert_eq!(
        unit.reserve(&reservation(&external, &place(), &[(1, 3)])),
        Reserved::Short(vec![Shortage { product_id: product(1), requested: 3, available: 0 }])
    );
    assert_eq!(
        unit.reserve(&reservation(&external, &place(), &[(0, 3)])),
        Reserved::Held,
        "of other pieces than before"
    );
    assert_eq!((level(&unit, 0), unit.release(&external)), ((5, 3), ReservationState::Released));
    let sequences: Vec<i64> = unit
        .events
        .iter()
        .filter_map(|event| match event {
            DomainEvent::Reserved(reservation) | DomainEvent::Released(reservation) => Some(reservation.sequence),
            _ => None,
        })
        .collect();
    assert_eq!(sequences, [1, 2, 3, 4, 5, 6], "its events count on");
}

#[test]
fn a_release_that_comes_first_refuses_the_late_reserve() {
    let mut unit = unit(&[5]);
    assert_eq!(unit.release(&order(1)), ReservationState::Released);
    assert_eq!(unit.reserve(&reservation(&order(1), &place(), &[(0, 1)])), Reserved::Released);
    assert_eq!(unit.commit(&order(1), "a"), Some(ReservationState::Released));
    assert_eq!(unit.commit(&order(2), "a"), None);
    assert_eq!(level(&unit, 0), (5, 0));
}

#[test]
fn what_was_sold_comes_back_once_and_never_more_of_it() {
    let mut unit = unit(&[5]);
    unit.reserve(&reservation(&order(1), &place(), &[(0, 4)]));
    assert_eq!(unit.commit(&order(1), "a"), Some(ReservationState::Committed));
    assert_eq!(unit.release(&order(1)), ReservationState::Committed);
    assert_eq!(level(&unit, 0), (1, 0));
    assert!(unit.restock(&order(1), Some(&lines(&[(0, 1)])), "return", "a").is_empty());
    unit.cancel(&order(1), "a");
    unit.cancel(&order(1), "a");
    assert_eq!(level(&unit, 0), (5, 0));
    assert_eq!(unit.restock(&order(1), Some(&lines(&[(0, 1)])), "return", "a"), [(product(0), 1)]);
    assert_eq!(unit.reservations[&order(1)].sequence, 4);
}

#[test]
fn adjustments_are_done_together_or_not_at_all_and_never_below_what_is_reserved() {
    let mut unit = unit(&[5]);
    unit.reserve(&reservation(&order(1), &place(), &[(0, 4)]));
    let refused = unit.adjust(&[request("a", 1, 7), request("b", 0, -2)]);
    assert!(matches!(refused, Err(AdjustmentRejection::BelowReserved { index: 1, .. })));
    assert!(!unit.levels.contains_key(&StockKey::new(&place(), &product(1))));
    let first = unit.adjust(&[request("a", 1, 7), request("b", 0, -1)]).expect("fits");
    assert_eq!(unit.adjust(&[request("a", 1, 7), request("b", 0, -1)]), Ok(first));
    assert_eq!((level(&unit, 0), level(&unit, 1)), ((4, 4), (7, 0)));
    assert_eq!(unit.adjust(&[request("a", 1, 8)]), Err(AdjustmentRejection::IdReused { id: "a".into() }));
}

#[test]
fn a_level_that_falls_below_its_threshold_is_published_once() {
    let mut unit = unit(&[5]);
    unit.set_threshold(&StockKey::new(&place(), &product(0)), Some(4));
    let low = |unit: &UnitOfWork| unit.events.iter().filter(|event| matches!(event, DomainEvent::Low { .. })).count();
    unit.reserve(&reservation(&order(1), &place(), &[(0, 1)]));
    assert_eq!(low(&unit), 0);
    unit.reserve(&reservation(&order(2), &place(), &[(0, 1)]));
    unit.reserve(&reservation(&order(3), &place(), &[(0, 1)]));
    assert_eq!(low(&unit), 1);
    unit.release(&order(2));
    unit.release(&order(3));
    unit.reserve(&reservation(&order(4), &place(), &[(0, 2)]));
    assert_eq!(low(&unit), 2);
    // Selling what was reserved changes nothing in what is available.
    unit.commit(&order(4), "a");
    assert_eq!(low(&unit), 2);
}

#[derive(Debug, Clone)]
enum Step {
    Reserve(u8, Vec<(u8, i64)>),
    Release(u8),
    Commit(u8),
    Cancel(u8),
    Restock(u8, u8, i64),
    Adjust(u8, u8, i64),
}

fn steps() -> impl Strategy<Value = Step> {
    prop_oneof![
        3 => (0_u8..6, prop::collection::vec((0_u8..3, 1_i64..6), 1..4)).prop_map(|(o, l)| Step::Reserve(o, l)),
        1 => (0_u8..6).prop_map(Step::Release),
        2 => (0_u8..6).prop_map(Step::Commit),
        1 => (0_u8..6).prop_map(Step::Cancel),
        1 => (0_u8..6, 0_u8..3, 1_i64..6).prop_map(|(o, p, q)| Step::Restock(o, p, q)),
        1 => (0_u8..20, 0_u8..3, -6_i64..6).prop_map(|(id, p, d)| Step::Adjust(id, p, d)),
    ]
}

fn take(unit: &mut UnitOfWork, step: Step) {
    match step {
        Step::Reserve(o, l) => drop(unit.reserve(&reservation(&order(o), &place(), &l))),
        Step::Release(o) => drop(unit.release(&order(o))),
        Step::Commit(o) => drop(unit.commit(&order(o), "a")),
        Step::Cancel(o) => unit.cancel(&order(o), "a"),
        Step::Restock(o, p, q) => drop(unit.restock(&order(o), Some(&lines(&[(p, q)])), "r", "a")),
        Step::Adjust(_, _, 0) => {}
        Step::Adjust(id, p, d) => drop(unit.adjust(&[request(&format!("x{id}"), p, d)])),
    }
}

/// The invariants that the schema enforces and the audit checks.
fn holds(unit: &UnitOfWork) {
    for (key, level) in &unit.levels {
        assert!(level.reserved >= 0 && level.reserved <= level.on_hand, "{key:?} {level:?}");
        let moved: i64 = unit.movements.iter().filter(|m| m.key == *key).map(|m| m.quantity).sum();
        assert_eq!(moved, level.on_hand, "{key:?}");
        let mut held = 0;
        let mut out = 0;
        for reservation in unit.reservations.values() {
            let Some(line) = reservation.lines.get(&key.product_id) else {
                continue;
            };
            assert!(line.restocked >= 0 && line.restocked <= line.quantity);
            match reservation.state {
                ReservationState::Held => held += line.quantity,
                ReservationState::Committed => out += line.quantity - line.restocked,
                ReservationState::Released => assert_eq!(line.restocked, 0),
            }
        }
        assert_eq!(held, level.reserved, "{key:?}");
        let by_orders: i64 = unit
            .movements
            .iter()
            .filter(|m| m.key == *key && m.kind != MovementKind::Adjusted)
            .map(|m| m.quantity)
            .sum();
        assert_eq!(by_orders, -out, "{key:?}");
    }
}

proptest! {
    #[test]
    fn whatever_happens_in_whatever_order_no_piece_appears_or_is_lost(
        stock in prop::collection::vec(1_i64..12, 3), steps in prop::collection::vec(steps(), 1..60)
    ) {
        let mut unit = unit(&stock);
        for step in steps {
            take(&mut unit, step.clone());
            holds(&unit);
            // A repeated command of an order changes nothing; the inbox drops a repeated return.
            if !matches!(step, Step::Restock(..) | Step::Reserve(..)) {
                let before = (unit.levels.clone(), unit.events.len());
                take(&mut unit, step);
                let after = (unit.levels.clone(), unit.events.len());
                prop_assert_eq!(before, after);
            }
        }
        // The events of every subject are numbered without a gap.
        let mut last: HashMap<String, i64> = HashMap::new();
        for event in &unit.events {
            let before = last.insert(event.subject(), event.sequence()).unwrap_or(0);
            prop_assert_eq!(event.sequence(), before + 1);
        }
    }
}
