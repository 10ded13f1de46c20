//! Parameters and cells.

use serde_json::Value as Json;

/// A parameter.
#[derive(Debug, Clone, PartialEq)]
pub enum Value {
    /// BIGINT.
    Int(i64),
    /// TEXT.
    Text(String),
    /// Many texts, for `{list $n}`.
    Texts(Vec<Option<String>>),
    /// Many numbers, for `{ints $n}`.
    Ints(Vec<Option<i64>>),
    /// NULL of whatever type the statement wants.
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

/// A text without U+0000, which ids, filters and notes of strangers may hold: Postgres refuses it, and SQLite takes it
/// for the end of a text in JSON. What stands for it finds nothing, and nothing fails for it.
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

/// Many rows as one parameter, for `{rows $n}`.
pub(crate) fn json_rows(rows: impl IntoIterator<Item = Vec<Value>>) -> String {
    let cells = |row: Vec<Value>| row.into_iter().map(|cell| Json::from(cell.without_nul())).collect();
    let rows: Vec<Json> = rows.into_iter().map(|row| Json::Array(cells(row))).collect();
    Json::Array(rows).to_string()
}
