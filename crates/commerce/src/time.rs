//! Points in time.

use std::{borrow::Cow, fmt, str::FromStr, time::Duration};

use chrono::{DateTime, Datelike, SecondsFormat, Utc};
use serde::{Deserialize, Deserializer, Serialize, Serializer, de};
use utoipa::openapi::schema::{KnownFormat, ObjectBuilder, SchemaFormat, Type};

use crate::Invalid;

/// A point in time in microseconds since 1970 UTC; RFC 3339 in JSON.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Timestamp(i64);

impl Timestamp {
    /// The current time. Not for `domain/`, which gets the time as an argument.
    pub fn now() -> Self {
        Self(Utc::now().timestamp_micros())
    }

    /// From microseconds since 1970.
    pub const fn from_micros(micros: i64) -> Self {
        Self(micros)
    }

    /// Microseconds since 1970.
    pub const fn micros(self) -> i64 {
        self.0
    }

    /// The time `span` later.
    pub fn plus(self, span: Duration) -> Self {
        Self(self.0.saturating_add(micros_of(span)))
    }

    /// The time `span` earlier.
    pub fn minus(self, span: Duration) -> Self {
        Self(self.0.saturating_sub(micros_of(span)))
    }

    /// The duration since `earlier`; zero if that is later.
    pub fn since(self, earlier: Self) -> Duration {
        Duration::from_micros(u64::try_from(self.0.saturating_sub(earlier.0)).unwrap_or(0))
    }

    /// The latest deadline that can have been set by now for something that lasts `length`, with as much again for clocks that differ.
    /// A stored deadline beyond it was set before a clock was put right: it is void, since it would hold for as long as the clock was
    /// ahead.
    pub fn latest_deadline(self, length: Duration) -> Self {
        self.plus(length.saturating_mul(2))
    }

    /// Whether the time can be formatted as RFC 3339: an offset or a leap second can move it beyond the years of four
    /// digits.
    fn is_writable(self) -> bool {
        DateTime::<Utc>::from_timestamp_micros(self.0).is_some_and(|time| (1..=9999).contains(&time.year()))
    }
}

fn micros_of(span: Duration) -> i64 {
    i64::try_from(span.as_micros()).unwrap_or(i64::MAX)
}

impl fmt::Display for Timestamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let time = DateTime::<Utc>::from_timestamp_micros(self.0).unwrap_or_default();
        f.write_str(&time.to_rfc3339_opts(SecondsFormat::Micros, true))
    }
}

impl FromStr for Timestamp {
    type Err = Invalid;

    fn from_str(text: &str) -> Result<Self, Invalid> {
        let time = DateTime::parse_from_rfc3339(text).ok().map(|time| Self(time.timestamp_micros()));
        time.filter(|time| time.is_writable()).ok_or_else(|| {
            let shown: String = text.chars().take(40).collect();
            Invalid(format!(
                "`{shown}` is not a time: RFC 3339 in the years 0001 to 9999 UTC, for example 2026-01-31T12:00:00Z"
            ))
        })
    }
}

impl Serialize for Timestamp {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Timestamp {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Cow::<'_, str>::deserialize(deserializer)?.parse().map_err(de::Error::custom)
    }
}

impl utoipa::ToSchema for Timestamp {
    fn name() -> Cow<'static, str> {
        "Timestamp".into()
    }
}

impl utoipa::PartialSchema for Timestamp {
    fn schema() -> utoipa::openapi::RefOr<utoipa::openapi::schema::Schema> {
        ObjectBuilder::new()
            .schema_type(Type::String)
            .format(Some(SchemaFormat::KnownFormat(KnownFormat::DateTime)))
            .into()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_accepted_time_can_be_parsed_again() {
        for text in [
            "0001-01-01T00:00:00Z",
            "9999-12-31T23:59:59.999999Z",
            "0001-01-01T01:00:00+01:00",
            "9999-12-31T22:59:59-01:00",
            "0000-12-31T23:30:00-01:00",
            "2016-12-31T23:59:60Z",
        ] {
            let time: Timestamp = text.parse().expect(text);
            assert_eq!(time.to_string().parse::<Timestamp>().expect("our own format"), time, "{text}");
        }
    }

    #[test]
    fn a_time_outside_of_the_years_of_four_digits_is_refused() {
        for text in [
            "0000-12-31T23:59:59Z",
            "0001-01-01T00:00:00+00:01",
            "9999-12-31T23:59:59-00:01",
            "9999-12-31T23:59:60Z",
            "10000-01-01T00:00:00Z",
            "-0001-01-01T00:00:00Z",
        ] {
            assert!(text.parse::<Timestamp>().is_err(), "{text}");
        }
    }
}
