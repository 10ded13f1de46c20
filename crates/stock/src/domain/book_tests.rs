//! The rules under every order of events.

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

fn wish(id: &str, n: u8, delta: i64) -> Wish {
    Wish { id: id.into(), slot: slot(&place(), &product(n)), delta, reason: "r".into(), actor: "a".into() }
}

fn book(stock: &[i64]) -> Book {
    let mut book = Book { places: [place()].into(), ..Book::default() };
    for (n, quantity) in (0..).zip(stock) {
        book.adjust(&[wish(&format!("open{n}"), n, *quantity)]).expect("fits");
    }
    book
}

fn level(book: &Book, n: u8) -> (i64, i64) {
    let level = &book.levels[&slot(&place(), &product(n))];
    (level.on_hand, level.reserved)
}

#[test]
fn an_order_gets_all_its_lines_or_none_and_hears_what_is_missing() {
    let mut book = book(&[5, 1]);
    let short = book.reserve(&order(1), &place(), &lines(&[(0, 5), (1, 2), (2, 1)]));
    let missing = |n, requested, available| Shortage { product_id: product(n), requested, available };
    assert_eq!(short, Reserved::Short(vec![missing(1, 2, 1), missing(2, 1, 0)]));
    assert_eq!(level(&book, 0), (5, 0));
    assert_eq!(book.reserve(&order(1), &place(), &lines(&[(0, 5), (1, 1)])), Reserved::Held);
    assert_eq!(book.reserve(&order(1), &place(), &lines(&[(0, 5), (1, 1)])), Reserved::Held);
    assert!(matches!(book.reserve(&order(1), &place(), &lines(&[(0, 4)])), Reserved::Invalid(_)));
    assert_eq!((level(&book, 0), level(&book, 1)), ((5, 5), (1, 1)));
    let elsewhere = PlaceId::trusted("nowhere".into());
    assert!(matches!(book.reserve(&order(2), &elsewhere, &lines(&[(0, 1)])), Reserved::Invalid(_)));
}

#[test]
fn what_is_set_aside_from_outside_is_taken_given_back_and_taken_again() {
    let mut book = book(&[5]);
    let outside = OrderId::trusted("legacy:77".into());
    assert_eq!(book.release(&outside), State::Released, "it was not there yet");
    for _ in 0..2 {
        assert_eq!(book.reserve(&outside, &place(), &lines(&[(0, 4)])), Reserved::Held);
        assert_eq!(book.reserve(&outside, &place(), &lines(&[(0, 4)])), Reserved::Held, "a repeat takes nothing more");
        assert_eq!(level(&book, 0), (5, 4));
        assert_eq!(book.release(&outside), State::Released);
        assert_eq!(level(&book, 0), (5, 0));
    }
    assert_eq!(
        book.reserve(&outside, &place(), &lines(&[(1, 3)])),
        Reserved::Short(vec![Shortage { product_id: product(1), requested: 3, available: 0 }])
    );
    assert_eq!(book.reserve(&outside, &place(), &lines(&[(0, 3)])), Reserved::Held, "of other pieces than before");
    assert_eq!((level(&book, 0), book.release(&outside)), ((5, 3), State::Released));
    let sequences: Vec<i64> = book
        .told
        .iter()
        .filter_map(|told| match told {
            Told::Reserved(reservation) | Told::Released(reservation) => Some(reservation.sequence),
            _ => None,
        })
        .collect();
    assert_eq!(sequences, [1, 2, 3, 4, 5, 6], "its events count on");
}

#[test]
fn a_release_that_comes_first_refuses_the_late_reserve() {
    let mut book = book(&[5]);
    assert_eq!(book.release(&order(1)), State::Released);
    assert_eq!(book.reserve(&order(1), &place(), &lines(&[(0, 1)])), Reserved::Released);
    assert_eq!(book.commit(&order(1), "a"), Some(State::Released));
    assert_eq!(book.commit(&order(2), "a"), None);
    assert_eq!(level(&book, 0), (5, 0));
}

#[test]
fn what_was_sold_comes_back_once_and_never_more_of_it() {
    let mut book = book(&[5]);
    book.reserve(&order(1), &place(), &lines(&[(0, 4)]));
    assert_eq!(book.commit(&order(1), "a"), Some(State::Committed));
    assert_eq!(book.release(&order(1)), State::Committed);
    assert_eq!(level(&book, 0), (1, 0));
    assert!(book.restock(&order(1), Some(&lines(&[(0, 1)])), "return", "a").is_empty());
    book.cancel(&order(1), "a");
    book.cancel(&order(1), "a");
    assert_eq!(level(&book, 0), (5, 0));
    assert_eq!(book.restock(&order(1), Some(&lines(&[(0, 1)])), "return", "a"), [(product(0), 1)]);
    assert_eq!(book.reservations[&order(1)].sequence, 4);
}

#[test]
fn adjustments_are_done_together_or_not_at_all_and_never_below_what_is_reserved() {
    let mut book = book(&[5]);
    book.reserve(&order(1), &place(), &lines(&[(0, 4)]));
    let refused = book.adjust(&[wish("a", 1, 7), wish("b", 0, -2)]);
    assert!(matches!(refused, Err(Rejection::BelowReserved { index: 1, .. })));
    assert!(!book.levels.contains_key(&slot(&place(), &product(1))));
    let first = book.adjust(&[wish("a", 1, 7), wish("b", 0, -1)]).expect("fits");
    assert_eq!(book.adjust(&[wish("a", 1, 7), wish("b", 0, -1)]), Ok(first));
    assert_eq!((level(&book, 0), level(&book, 1)), ((4, 4), (7, 0)));
    assert_eq!(book.adjust(&[wish("a", 1, 8)]), Err(Rejection::Reused { id: "a".into() }));
}

#[test]
fn people_are_told_once_when_a_level_falls_below_its_threshold() {
    let mut book = book(&[5]);
    book.set_threshold(&slot(&place(), &product(0)), Some(4));
    let low = |book: &Book| book.told.iter().filter(|told| matches!(told, Told::Low(..))).count();
    book.reserve(&order(1), &place(), &lines(&[(0, 1)]));
    assert_eq!(low(&book), 0);
    book.reserve(&order(2), &place(), &lines(&[(0, 1)]));
    book.reserve(&order(3), &place(), &lines(&[(0, 1)]));
    assert_eq!(low(&book), 1);
    book.release(&order(2));
    book.release(&order(3));
    book.reserve(&order(4), &place(), &lines(&[(0, 2)]));
    assert_eq!(low(&book), 2);
    // Selling what was set aside changes nothing that could be promised.
    book.commit(&order(4), "a");
    assert_eq!(low(&book), 2);
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

fn take(book: &mut Book, step: Step) {
    match step {
        Step::Reserve(o, l) => drop(book.reserve(&order(o), &place(), &lines(&l))),
        Step::Release(o) => drop(book.release(&order(o))),
        Step::Commit(o) => drop(book.commit(&order(o), "a")),
        Step::Cancel(o) => book.cancel(&order(o), "a"),
        Step::Restock(o, p, q) => drop(book.restock(&order(o), Some(&lines(&[(p, q)])), "r", "a")),
        Step::Adjust(_, _, 0) => {}
        Step::Adjust(id, p, d) => drop(book.adjust(&[wish(&format!("x{id}"), p, d)])),
    }
}

/// What the schema demands and the audit asks.
fn holds(book: &Book) {
    for (slot, level) in &book.levels {
        assert!(level.reserved >= 0 && level.reserved <= level.on_hand, "{slot:?} {level:?}");
        let moved: i64 = book.movements.iter().filter(|m| m.slot == *slot).map(|m| m.quantity).sum();
        assert_eq!(moved, level.on_hand, "{slot:?}");
        let mut held = 0;
        let mut out = 0;
        for reservation in book.reservations.values() {
            let Some(line) = reservation.lines.get(&slot.product_id) else {
                continue;
            };
            assert!(line.restocked >= 0 && line.restocked <= line.quantity);
            match reservation.state {
                State::Held => held += line.quantity,
                State::Committed => out += line.quantity - line.restocked,
                State::Released => assert_eq!(line.restocked, 0),
            }
        }
        assert_eq!(held, level.reserved, "{slot:?}");
        let by_orders: i64 = book
            .movements
            .iter()
            .filter(|m| m.slot == *slot && m.kind != MovementKind::Adjusted)
            .map(|m| m.quantity)
            .sum();
        assert_eq!(by_orders, -out, "{slot:?}");
    }
}

proptest! {
    #[test]
    fn whatever_happens_in_whatever_order_no_piece_appears_or_is_lost(
        stock in prop::collection::vec(1_i64..12, 3), steps in prop::collection::vec(steps(), 1..60)
    ) {
        let mut book = book(&stock);
        for step in steps {
            take(&mut book, step.clone());
            holds(&book);
            // A repeat of what orders ask for changes nothing; a return is told apart by its event.
            if !matches!(step, Step::Restock(..) | Step::Reserve(..)) {
                let before = (book.levels.clone(), book.told.len());
                take(&mut book, step);
                let after = (book.levels.clone(), book.told.len());
                prop_assert_eq!(before, after);
            }
        }
        // Every aggregate's events are counted without a gap.
        let mut last: HashMap<String, i64> = HashMap::new();
        for event in book.told.iter().map(crate::events::event) {
            let before = last.insert(event.subject.clone(), event.sequence).unwrap_or(0);
            prop_assert_eq!(event.sequence, before + 1);
        }
    }
}
