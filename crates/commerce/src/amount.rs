//! Amounts of money in integer minor units, never in binary floating point.

use std::{borrow::Cow, fmt, str::FromStr};

use serde::{Deserialize, Deserializer, Serialize, Serializer, de, ser};
use serde_json::value::RawValue;
use utoipa::openapi::schema::{ObjectBuilder, Type};

use crate::{Invalid, Quantity};

/// The largest amount, in minor units: exact in every JSON parser (below 2^53), with room for sums.
const MAX_MINOR: i64 = 1_000_000_000_000_000;

/// An amount of money in minor units (cents). The document that contains it has the currency.
///
/// In JSON it is a number with at most two decimals. It is parsed from the digits of the number, so 0.1 is exactly ten cents
/// and 12.345 is refused. Since that needs the raw text, it cannot be used inside `#[serde(flatten)]` or an untagged enum.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Amount(i64);

impl Amount {
    /// Zero.
    pub const ZERO: Self = Self(0);

    /// From minor units (cents).
    pub const fn from_minor(minor: i64) -> Self {
        Self(minor)
    }

    /// In minor units (cents).
    pub const fn minor(self) -> i64 {
        self.0
    }

    /// Whether the amount is below zero.
    pub const fn is_negative(self) -> bool {
        self.0 < 0
    }

    /// The sum; `None` if it exceeds the largest amount.
    pub fn checked_add(self, other: Self) -> Option<Self> {
        self.0.checked_add(other.0).and_then(Self::bounded)
    }

    /// The difference; `None` if it exceeds the largest amount.
    pub fn checked_sub(self, other: Self) -> Option<Self> {
        self.0.checked_sub(other.0).and_then(Self::bounded)
    }

    /// The price of a quantity; `None` if it exceeds the largest amount.
    pub fn checked_mul(self, quantity: Quantity) -> Option<Self> {
        self.0.checked_mul(i64::from(quantity.get())).and_then(Self::bounded)
    }

    /// The sum of all amounts; `None` if it exceeds the largest amount.
    pub fn sum(amounts: impl IntoIterator<Item = Self>) -> Option<Self> {
        amounts.into_iter().try_fold(Self::ZERO, |sum, amount| sum.checked_add(amount))
    }

    fn bounded(minor: i64) -> Option<Self> {
        (minor.abs() <= MAX_MINOR).then_some(Self(minor))
    }
}

impl fmt::Display for Amount {
    /// Always two decimals: `12.30`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let sign = if self.0 < 0 { "-" } else { "" };
        let minor = self.0.unsigned_abs();
        write!(f, "{sign}{}.{:02}", minor / 100, minor % 100)
    }
}

impl FromStr for Amount {
    type Err = Invalid;

    /// Parses a decimal number. Zeros after the second decimal are allowed.
    fn from_str(text: &str) -> Result<Self, Invalid> {
        let bad = || {
            Invalid(format!("`{text}` is not an amount: a number with at most two decimals, at most 10000000000000"))
        };
        let (negative, digits) = match text.strip_prefix('-') {
            Some(rest) => (true, rest),
            None => (false, text),
        };
        let (mantissa, exponent) = match digits.split_once(['e', 'E']) {
            Some((mantissa, exponent)) => (mantissa, exponent.parse::<i32>().map_err(|_| bad())?),
            None => (digits, 0),
        };
        let (whole, fraction) = mantissa.split_once('.').unwrap_or((mantissa, ""));
        let all_digits = |s: &str| s.bytes().all(|b| b.is_ascii_digit());
        if whole.is_empty() || !all_digits(whole) || !all_digits(fraction) || mantissa.ends_with('.') {
            return Err(bad());
        }
        // The amount in hundredths is `number` times ten to the power of `shift`, and must be an integer.
        let fraction = fraction.trim_end_matches('0');
        let number: i64 = format!("{whole}{fraction}").parse().map_err(|_| bad())?;
        let shift = exponent.checked_add(2).ok_or_else(bad)? - i32::try_from(fraction.len()).map_err(|_| bad())?;
        let minor = if number == 0 {
            Some(0)
        } else if shift >= 0 {
            10_i64.checked_pow(shift.unsigned_abs()).and_then(|power| number.checked_mul(power))
        } else {
            10_i64.checked_pow(shift.unsigned_abs()).filter(|power| number % power == 0).map(|power| number / power)
        };
        minor.map(|minor| if negative { -minor } else { minor }).and_then(Self::bounded).ok_or_else(bad)
    }
}

impl Serialize for Amount {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let text = self.to_string();
        let short = text.strip_suffix(".00").unwrap_or(&text);
        let short = match short.split_once('.') {
            Some(_) => short.trim_end_matches('0'),
            None => short,
        };
        RawValue::from_string(short.to_owned()).map_err(ser::Error::custom)?.serialize(serializer)
    }
}

impl<'de> Deserialize<'de> for Amount {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let raw = Box::<RawValue>::deserialize(deserializer)?;
        raw.get().parse().map_err(de::Error::custom)
    }
}

impl utoipa::ToSchema for Amount {
    fn name() -> Cow<'static, str> {
        "Amount".into()
    }
}

impl utoipa::PartialSchema for Amount {
    fn schema() -> utoipa::openapi::RefOr<utoipa::openapi::schema::Schema> {
        ObjectBuilder::new()
            .schema_type(Type::Number)
            .description(Some("An amount of money with at most two decimals."))
            .multiple_of(Some(0.01))
            .examples([serde_json::json!(12.5)])
            .into()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn digits_are_parsed_exactly() {
        for (text, minor) in [
            ("0", 0),
            ("0.1", 10),
            ("12.34", 1234),
            ("12.340", 1234),
            ("-2.5", -250),
            ("1e3", 100_000),
            ("1.5E1", 1500),
            ("120e-2", 120),
            ("10000000000000", MAX_MINOR),
        ] {
            assert_eq!(text.parse::<Amount>().map(Amount::minor), Ok(minor), "{text}");
        }
    }

    #[test]
    fn invalid_amounts_are_refused() {
        for text in
            ["12.345", "", ".5", "5.", "1e99", "--1", "NaN", "\"1\"", "10000000000000.01", "1e-3", "1e2147483647"]
        {
            assert!(text.parse::<Amount>().is_err(), "{text}");
        }
    }

    #[test]
    fn json_preserves_the_value_as_text_and_as_tree() {
        for minor in [0, 1, 10, 99, 100, 12_345, -250, MAX_MINOR] {
            let amount = Amount::from_minor(minor);
            let text = serde_json::to_string(&amount).expect("serialises");
            assert_eq!(serde_json::from_str::<Amount>(&text).expect("reads"), amount);
            let tree = serde_json::to_value(amount).expect("serialises");
            assert_eq!(serde_json::from_value::<Amount>(tree).expect("reads"), amount);
        }
        assert_eq!(serde_json::to_string(&Amount::from_minor(1250)).expect("serialises"), "12.5");
    }
}
