//! Statement parameters.

use serde_json::Value as Json;

/// The value of a parameter.
#[derive(Debug, Clone, PartialEq)]
pub enum Value {
    /// BIGINT.
    Int(i64),
    /// TEXT.
    Text(String),
    /// A list of texts, for `{list $n}`.
    Texts(Vec<Option<String>>),
    /// A list of numbers, for `{ints $n}`.
    Ints(Vec<Option<i64>>),
    /// NULL, of the type that the statement requires.
    Null,
}

impl From<i64> for Value {
    fn from(value: i64) -> Self {
        Self::Int(value)
    }
}
impl From<u32> for Value {
    fn from(value: u32) -> Self {
        Self::Int(i64::from(value))
    }
}
impl From<i32> for Value {
    fn from(value: i32) -> Self {
        Self::Int(i64::from(value))
    }
}
impl From<bool> for Value {
    fn from(value: bool) -> Self {
        Self::Int(i64::from(value))
    }
}
impl From<&str> for Value {
    fn from(value: &str) -> Self {
        Self::Text(value.to_owned())
    }
}
impl From<String> for Value {
    fn from(value: String) -> Self {
        Self::Text(value)
    }
}
impl From<&String> for Value {
    fn from(value: &String) -> Self {
        Self::Text(value.clone())
    }
}
impl From<Vec<String>> for Value {
    fn from(value: Vec<String>) -> Self {
        Self::Texts(value.into_iter().map(Some).collect())
    }
}
impl From<&Vec<String>> for Value {
    fn from(value: &Vec<String>) -> Self {
        value.clone().into()
    }
}
impl<T: Into<Value>> From<Option<T>> for Value {
    fn from(value: Option<T>) -> Self {
        value.map_or(Self::Null, Into::into)
    }
}

impl From<Value> for Json {
    fn from(value: Value) -> Self {
        match value {
            Value::Int(number) => number.into(),
            Value::Text(text) => text.into(),
            Value::Texts(texts) => texts.into(),
            Value::Ints(numbers) => numbers.into(),
            Value::Null => Self::Null,
        }
    }
}

/// Replaces U+0000, which texts of clients may contain: Postgres refuses it, and in JSON SQLite treats it as the end of the
/// text. A search for the replacement finds nothing, and no statement fails.
fn without_nul(text: String) -> String {
    if text.contains('\0') { text.replace('\0', "\u{FFFD}") } else { text }
}

impl Value {
    pub(crate) fn without_nul(self) -> Self {
        match self {
            Self::Text(text) => Self::Text(without_nul(text)),
            Self::Texts(texts) => Self::Texts(texts.into_iter().map(|text| text.map(without_nul)).collect()),
            other => other,
        }
    }
}

/// Encodes rows as one parameter, for `{rows $n}`.
pub(crate) fn json_rows(rows: impl IntoIterator<Item = Vec<Value>>) -> String {
    let cells = |row: Vec<Value>| row.into_iter().map(|cell| Json::from(cell.without_nul())).collect();
    let rows: Vec<Json> = rows.into_iter().map(|row| Json::Array(cells(row))).collect();
    Json::Array(rows).to_string()
}
