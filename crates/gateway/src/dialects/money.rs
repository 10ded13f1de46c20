//! Money in requests of older fleets, which accepted any binary float and meant cents.

/// The largest price or total.
const MAX_AMOUNT: f64 = 1e9;

/// The nearest amount in whole cents; `None` for a negative, too large or undefined value.
pub(crate) fn rounded(value: f64) -> Option<f64> {
    (value.is_finite() && (0.0..=MAX_AMOUNT).contains(&value)).then(|| (value * 100.0).round() / 100.0)
}

/// The nearest amount, as cents.
pub(crate) fn cents(value: f64) -> Option<i64> {
    #[expect(clippy::cast_possible_truncation, reason = "a whole number in range, just checked")]
    rounded(value).map(|value| (value * 100.0).round() as i64)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_no_amount_is_none_and_the_rest_is_cents() {
        assert_eq!((rounded(1.005), rounded(0.1 + 0.2), rounded(19.999)), (Some(1.0), Some(0.3), Some(20.0)));
        assert_eq!((cents(200_000.01), cents(0.0)), (Some(20_000_001), Some(0)));
        for odd in [f64::NAN, f64::INFINITY, -0.01, 1e10] {
            assert_eq!(rounded(odd), None, "{odd}");
        }
    }
}
