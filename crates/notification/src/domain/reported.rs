//! An order as other programs report it.

use std::fmt;

use commerce::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::{Number, Value};
use utoipa::ToSchema;

use super::{Notice, Severity};

/// Longest id or status that is accepted, in characters.
const LONGEST: usize = 128;

/// An order that another program reports. Other fields are ignored.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub(crate) struct Reported {
    /// Id of the order, 1 to 128 characters; a whole number is accepted as well.
    order_id: Word,
    /// Id of the customer, like `order_id`; null if unknown. The field is required.
    #[serde(deserialize_with = "present")]
    #[schema(required)]
    customer_id: Option<Word>,
    /// The items; only their number is used.
    items: Vec<Value>,
    /// The total, at least 0, as a number or a string.
    #[schema(value_type = f64)]
    total_price: Price,
    /// Status of the order, such as `pending`; 1 to 128 characters.
    status: Word,
    /// When the order was created; 1 to 128 characters, not parsed.
    created_at: Word,
}

/// Accepts null and requires the field.
fn present<'de, D: serde::Deserializer<'de>>(deserializer: D) -> Result<Option<Word>, D::Error> {
    Option::deserialize(deserializer)
}

/// A short string; a whole number is accepted as well.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(try_from = "Value", into = "String")]
#[schema(value_type = String)]
struct Word(String);

impl TryFrom<Value> for Word {
    type Error = &'static str;

    fn try_from(value: Value) -> Result<Self, Self::Error> {
        let text = match value {
            Value::String(text) => text,
            Value::Number(number) if number.is_i64() || number.is_u64() => number.to_string(),
            _ => return Err("neither a string nor a whole number"),
        };
        let fits = !text.trim().is_empty() && text.chars().count() <= LONGEST && !text.contains(char::is_control);
        if fits { Ok(Self(text)) } else { Err("not 1 to 128 characters without control characters") }
    }
}

impl From<Word> for String {
    fn from(Word(text): Word) -> Self {
        text
    }
}

/// An amount as other programs write it, often a binary float.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(try_from = "Value", into = "Value")]
struct Price(Number);

impl TryFrom<Value> for Price {
    type Error = &'static str;

    fn try_from(value: Value) -> Result<Self, Self::Error> {
        let number = match value {
            Value::Number(number) => Some(number),
            Value::String(text) => text.trim().parse().ok(),
            _ => None,
        };
        let number = number.filter(|number| number.as_f64().is_some_and(|price| price >= 0.0));
        number.map(Self).ok_or("no amount")
    }
}

impl From<Price> for Value {
    fn from(Price(number): Price) -> Self {
        Self::Number(number)
    }
}

impl fmt::Display for Price {
    /// For people only; nothing is calculated with it.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:.2}", self.0.as_f64().unwrap_or_default())
    }
}

impl Reported {
    /// Its notification.
    pub(crate) fn notice(&self, id: String, now: Timestamp) -> Notice {
        let Self { order_id: Word(order_id), customer_id, items, total_price, status: Word(status), .. } = self;
        let pieces = if items.len() == 1 { "1 item".to_owned() } else { format!("{} items", items.len()) };
        Notice {
            id,
            number: 0,
            at: now,
            kind: "order.reported".into(),
            severity: Severity::Info,
            message: format!("Order {order_id} is {status}: {pieces}, {total_price}"),
            subject: order_id.clone(),
            order_id: Some(order_id.clone()),
            customer_id: customer_id.clone().map(String::from),
            place_id: None,
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn order() -> Value {
        json!({
            "order_id": "o1", "customer_id": "c1", "items": [{"product_name": "Tea", "quantity": 2, "price": 4.5}],
            "total_price": 9.000000000000002, "status": "pending", "created_at": "2026-01-02T03:04:05Z",
        })
    }

    fn read(value: Value) -> Option<Notice> {
        let reported: Option<Reported> = serde_json::from_value(value).ok();
        reported.map(|reported| reported.notice("n".into(), Timestamp::from_micros(0)))
    }

    fn with(field: &str, value: Value) -> Option<Notice> {
        let mut order = order();
        order[field] = value;
        read(order)
    }

    #[test]
    fn an_order_is_told_in_a_sentence() {
        let notice = read(order()).expect("an order");
        assert_eq!(notice.message, "Order o1 is pending: 1 item, 9.00");
        assert_eq!((notice.order_id.as_deref(), notice.customer_id.as_deref()), (Some("o1"), Some("c1")));
        let other = with("customer_id", Value::Null).expect("a walk-in");
        assert_eq!(other.customer_id, None);
        assert_eq!(with("order_id", json!(7)).expect("numbered").subject, "7");
        assert!(with("total_price", json!("12.50")).expect("a text").message.ends_with("12.50"));
        assert!(with("more", json!(1)).is_some(), "what nobody knows is passed over");
    }

    #[test]
    fn what_is_no_order_is_refused() {
        for field in ["order_id", "customer_id", "items", "total_price", "status", "created_at"] {
            let mut order = order();
            order.as_object_mut().expect("an object").remove(field);
            assert_eq!(read(order), None, "{field} is wanted");
        }
        for (field, bad) in [
            ("order_id", json!("")),
            ("order_id", json!("a\u{0}b")),
            ("order_id", json!("a".repeat(LONGEST + 1))),
            ("customer_id", json!({"id": 1})),
            ("items", json!("tea")),
            ("total_price", json!("much")),
            ("total_price", json!(-1)),
            ("status", json!(true)),
        ] {
            assert_eq!(with(field, bad.clone()), None, "{field} {bad}");
        }
        assert_eq!(read(json!([1])), None);
    }
}
