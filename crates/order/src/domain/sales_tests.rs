//! Ranges are made of the right rows, and orders add and subtract the right sums.

use proptest::prelude::*;

use super::*;

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2_000))]

    #[test]
    fn a_day_is_read_as_it_is_written(day in -700_000_i64..2_900_000) {
        let day = Day(day);
        prop_assert_eq!(day.to_string().parse(), Ok(day));
        prop_assert_eq!(Day::of(Timestamp::from_micros(day.0 * DAY)), day);
        prop_assert_eq!(Day::of(Timestamp::from_micros(day.0 * DAY + DAY - 1)), day);
        let (month, year, week) = (day.month(), day.year(), day.week());
        prop_assert!(year <= month && month <= day && day < month.next_month() && day < year.next_year());
        prop_assert!(week <= day && day.0 - week.0 < 7 && (week.0 + 3).rem_euclid(7) == 0);
    }

    #[test]
    fn a_range_is_made_of_each_of_its_days_once(from in 0_i64..4_000, length in 0_i64..2_500) {
        let (from, to) = (Day(from), Day(from + length));
        let mut counted: BTreeMap<Day, i64> = BTreeMap::new();
        let mut rows = 0;
        for segment in segments(from, to) {
            // Each row of the grain that starts in the segment stands for all its days.
            let mut start = segment.from;
            prop_assert_eq!(segment.grain.start(start), start, "a segment begins where a row does");
            while start < segment.to {
                let end = match segment.grain {
                    Grain::Day => start.next(),
                    Grain::Month => start.next_month(),
                    Grain::Year => start.next_year(),
                };
                for day in start.0..end.0 {
                    *counted.entry(Day(day)).or_default() += if segment.subtracted { -1 } else { 1 };
                }
                rows += 1;
                start = end;
            }
            prop_assert_eq!(start, segment.to, "and ends where one does");
        }
        counted.retain(|_, times| *times != 0);
        let wanted: BTreeMap<Day, i64> = (from.0..to.0).map(|day| (Day(day), 1)).collect();
        prop_assert_eq!(counted, wanted);
        prop_assert!(rows <= 32 + 12 + 1 + length / 365, "few rows: {}", rows);
    }

    #[test]
    fn whole_months_are_those_of_which_no_day_is_outside(from in 0_i64..4_000, length in 0_i64..500) {
        let (from, to) = (Day(from), Day(from + length));
        let (first, last) = from.whole_months(to);
        prop_assert!(from <= first && first <= last && last <= to);
        let whole = |month: Day| month >= from && month.next_month() <= to;
        let all = (from.0..to.0).map(|day| Day(day).month()).filter(|month| whole(*month)).min();
        prop_assert_eq!(all, (first < last).then_some(first));
        prop_assert!(first == last || !whole(last) && last.month() == last);
    }

    #[test]
    fn what_is_added_and_taken_off_leaves_nothing(
        lines in prop::collection::vec((prop::option::of(0_u8..3), 1_i64..9, 0_i64..9, 0_i64..500), 1..6),
        adjustment in -400_i64..400,
        day in 0_i64..40_000,
    ) {
        let names = ["a", "b", "c"];
        let lines: Vec<SoldLine<'_>> = lines
            .iter()
            .map(|(product, quantity, returned, unit_price)| SoldLine {
                product_id: product.map(|n| names[usize::from(n)]),
                quantity: *quantity,
                returned: *returned.min(quantity),
                unit_price: *unit_price,
            })
            .collect();
        let bought: i64 = lines.iter().map(|line| line.quantity * line.unit_price).sum();
        let total = Amount::from_minor((bought + adjustment).max(0));
        let place = PlaceId::trusted("s1".into());
        let mut deltas = Deltas::default();
        deltas.add_sale(Day(day), &place, total, lines.iter().cloned());
        for grain in Grain::ALL {
            let of = |product: &str| deltas.0.get(&(grain, grain.start(Day(day)), "s1".into(), product.into())).copied();
            let whole = of("").expect("a row of the whole order");
            prop_assert_eq!(whole.orders, 1);
            prop_assert_eq!(whole.quantity, lines.iter().map(|line| line.quantity - line.returned).sum::<i64>());
            prop_assert!(whole.revenue >= 0 && whole.revenue <= total.minor());
            let pieces: i64 = names.iter().filter_map(|name| of(name)).map(|sums| sums.quantity).sum();
            prop_assert!(pieces <= whole.quantity);
        }
        deltas.subtract_sale(Day(day), &place, total, lines.into_iter());
        prop_assert_eq!(deltas.changes().count(), 0);
    }
}

#[test]
fn what_is_no_day_is_refused() {
    for text in ["", "2026-02-30", "2026-13-01", "2026-1-1", "26-01-01", "0000-01-01", "2026-01-01-01", "2026-01-01T00"]
    {
        assert!(text.parse::<Day>().is_err(), "{text}");
    }
    assert_eq!("2024-02-29".parse::<Day>().map(|day| day.next().to_string()), Ok("2024-03-01".into()));
    assert_eq!("1970-01-01".parse(), Ok(Day(0)));
}
