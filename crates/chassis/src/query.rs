//! Deserialises query strings: numbers are parsed where the type has a number, and a repeated name fills a list.

use std::fmt;

use serde::de::value::{MapDeserializer, SeqDeserializer};
use serde::de::{self, DeserializeOwned, Deserializer, IntoDeserializer, Visitor};

use crate::{Kind, Problem};

/// Deserialises a query string into `T`. Refuses text that is not UTF-8, a repeated name where `T` has a single value, and,
/// if `T` denies them, unknown names.
pub fn from_query<T: DeserializeOwned>(query: &str) -> Result<T, Problem> {
    let mut fields: Vec<(String, Values)> = Vec::new();
    for pair in query.split('&').filter(|pair| !pair.is_empty()) {
        let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
        let (name, value) = (decode(name)?, decode(value)?);
        match fields.iter_mut().find(|(known, _)| *known == name) {
            Some((_, values)) => values.values.push(value),
            None => fields.push((name.clone(), Values { name, values: vec![value] })),
        }
    }
    T::deserialize(MapDeserializer::<_, QueryError>::new(fields.into_iter()))
        .map_err(|err| Problem::new(Kind::Unreadable, format!("Query: {err}")))
}

fn decode(text: &str) -> Result<String, Problem> {
    let unreadable = || Problem::new(Kind::Unreadable, "The query string is not percent-encoded UTF-8.");
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.bytes();
    while let Some(byte) = rest.next() {
        match byte {
            b'+' => bytes.push(b' '),
            b'%' => {
                let mut digit =
                    || rest.next().and_then(|hex| char::from(hex).to_digit(16)).and_then(|hex| u8::try_from(hex).ok());
                let (Some(high), Some(low)) = (digit(), digit()) else {
                    return Err(unreadable());
                };
                bytes.push(high << 4 | low);
            }
            other => bytes.push(other),
        }
    }
    String::from_utf8(bytes).map_err(|_| unreadable())
}

#[derive(Debug)]
struct QueryError(String);

impl fmt::Display for QueryError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for QueryError {}

impl de::Error for QueryError {
    fn custom<T: fmt::Display>(msg: T) -> Self {
        Self(msg.to_string())
    }
}

struct Values {
    name: String,
    values: Vec<String>,
}

impl Values {
    fn one(mut self) -> Result<(String, String), QueryError> {
        if self.values.len() > 1 {
            return Err(QueryError(format!("{} is given {} times", self.name, self.values.len())));
        }
        Ok((self.name, self.values.pop().unwrap_or_default()))
    }
}

impl IntoDeserializer<'_, QueryError> for Values {
    type Deserializer = Self;

    fn into_deserializer(self) -> Self {
        self
    }
}

macro_rules! parsed {
    ($($method:ident $visit:ident $type:ty, $what:literal;)*) => {$(
        fn $method<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, QueryError> {
            let (name, value) = self.one()?;
            let parsed: $type = value.parse().map_err(|_| QueryError(format!("{name} is {value:?}, but must be {}", $what)))?;
            visitor.$visit(parsed)
        }
    )*};
}

impl<'de> Deserializer<'de> for Values {
    type Error = QueryError;

    parsed! {
        deserialize_bool visit_bool bool, "true or false";
        deserialize_i8 visit_i8 i8, "a whole number";
        deserialize_i16 visit_i16 i16, "a whole number";
        deserialize_i32 visit_i32 i32, "a whole number";
        deserialize_i64 visit_i64 i64, "a whole number";
        deserialize_u8 visit_u8 u8, "a whole number from 0";
        deserialize_u16 visit_u16 u16, "a whole number from 0";
        deserialize_u32 visit_u32 u32, "a whole number from 0";
        deserialize_u64 visit_u64 u64, "a whole number from 0";
        deserialize_f32 visit_f32 f32, "a number";
        deserialize_f64 visit_f64 f64, "a number";
    }

    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, QueryError> {
        let (name, value) = self.one()?;
        visitor.visit_string(value).map_err(|err: QueryError| QueryError(format!("{name}: {err}")))
    }

    fn deserialize_option<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, QueryError> {
        visitor.visit_some(self)
    }

    fn deserialize_newtype_struct<V: Visitor<'de>>(self, _: &'static str, visitor: V) -> Result<V::Value, QueryError> {
        visitor.visit_newtype_struct(self)
    }

    fn deserialize_seq<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, QueryError> {
        let name = self.name;
        let items = self.values.into_iter().map(|value| Values { name: name.clone(), values: vec![value] });
        visitor.visit_seq(SeqDeserializer::new(items))
    }

    fn deserialize_enum<V: Visitor<'de>>(
        self,
        _: &'static str,
        _: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, QueryError> {
        let (name, value) = self.one()?;
        visitor.visit_enum(value.into_deserializer()).map_err(|err: QueryError| QueryError(format!("{name}: {err}")))
    }

    serde::forward_to_deserialize_any! {
        char str string bytes byte_buf unit unit_struct tuple tuple_struct map struct identifier ignored_any i128 u128
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, Default, PartialEq, serde::Deserialize)]
    #[serde(deny_unknown_fields, default)]
    struct Filter {
        limit: Option<u32>,
        search: Option<String>,
        id: Vec<String>,
        open: Option<bool>,
    }

    #[test]
    fn a_query_string_becomes_typed() {
        let filter: Filter = from_query("limit=5&id=a&search=M%C3%BCller+1&id=b&open=true").unwrap();
        let id = vec!["a".to_owned(), "b".to_owned()];
        assert_eq!(filter, Filter { limit: Some(5), search: Some("Müller 1".into()), id, open: Some(true) });
        assert_eq!(from_query::<Filter>("").unwrap(), Filter::default());
    }

    #[test]
    fn a_bad_query_names_what_is_wrong() {
        for (query, hint) in [
            ("limit=five", "limit is \"five\""),
            ("limit=-1", "limit"),
            ("limit=1&limit=2", "limit is given 2 times"),
            ("colour=red", "colour"),
            ("search=%FF", "UTF-8"),
            ("search=%F", "UTF-8"),
        ] {
            let problem = from_query::<Filter>(query).unwrap_err();
            assert_eq!(problem.kind(), Kind::Unreadable);
            assert!(problem.detail().contains(hint), "{query}: {}", problem.detail());
        }
    }
}
