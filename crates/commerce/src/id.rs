//! Typed ids: the id of an order cannot be used as that of a product.

use std::{
    borrow::Cow,
    fmt,
    hash::{Hash, Hasher},
    marker::PhantomData,
    str::FromStr,
};

use serde::{Deserialize, Deserializer, Serialize, Serializer, de};
use utoipa::openapi::schema::{ObjectBuilder, Type};

use crate::Invalid;

/// The kinds of ids.
pub mod kind {
    /// An order.
    #[derive(Debug)]
    pub enum Order {}
    /// A line of an order.
    #[derive(Debug)]
    pub enum Line {}
    /// A customer.
    #[derive(Debug)]
    pub enum Customer {}
    /// A product; its id is the SKU.
    #[derive(Debug)]
    pub enum Product {}
    /// A store or a logistics centre.
    #[derive(Debug)]
    pub enum Place {}
    /// A user who logs in.
    #[derive(Debug)]
    pub enum User {}
    /// A payment.
    #[derive(Debug)]
    pub enum Payment {}
    /// A return of goods.
    #[derive(Debug)]
    pub enum Return {}
}

/// Id of an order.
pub type OrderId = Id<kind::Order>;
/// Id of a line of an order.
pub type LineId = Id<kind::Line>;
/// Id of a customer.
pub type CustomerId = Id<kind::Customer>;
/// Id of a product: the SKU, case-sensitive.
pub type ProductId = Id<kind::Product>;
/// Id of a place.
pub type PlaceId = Id<kind::Place>;
/// Id of a user.
pub type UserId = Id<kind::User>;
/// Id of a payment.
pub type PaymentId = Id<kind::Payment>;
/// Id of a return.
pub type ReturnId = Id<kind::Return>;

/// An opaque id: a generated UUIDv7, or 1 to 64 letters, digits and `-._~:@` chosen by the client. `.` and `..` are refused,
/// since URL paths resolve them.
pub struct Id<K> {
    text: Box<str>,
    kind: PhantomData<fn() -> K>,
}

impl<K> Id<K> {
    /// Generates an id (UUIDv7, RFC 9562). Ids are unique and sort by the time of their creation.
    #[expect(clippy::new_without_default, reason = "a generated id is not a default value")]
    pub fn new() -> Self {
        Self::trusted(uuid::Uuid::now_v7().to_string())
    }

    /// Validates an id from a client.
    pub fn parse(text: &str) -> Result<Self, Invalid> {
        let allowed = |b: u8| b.is_ascii_alphanumeric() || b"-._~:@".contains(&b);
        if (1..=64).contains(&text.len()) && text.bytes().all(allowed) && text != "." && text != ".." {
            Ok(Self::trusted(text.to_owned()))
        } else {
            let shown: String = text.chars().take(70).collect();
            Err(Invalid(format!("`{shown}` is not an id: 1 to 64 letters, digits or - . _ ~ : @, and not . or ..")))
        }
    }

    /// Wraps a text that is known to be a valid id, such as one from our own store.
    pub fn trusted(text: String) -> Self {
        Self { text: text.into_boxed_str(), kind: PhantomData }
    }

    /// The text.
    pub fn as_str(&self) -> &str {
        &self.text
    }
}

impl<K> Clone for Id<K> {
    fn clone(&self) -> Self {
        Self { text: self.text.clone(), kind: PhantomData }
    }
}
impl<K> PartialEq for Id<K> {
    fn eq(&self, other: &Self) -> bool {
        self.text == other.text
    }
}
impl<K> Eq for Id<K> {}
impl<K> PartialOrd for Id<K> {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}
impl<K> Ord for Id<K> {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        self.text.cmp(&other.text)
    }
}
impl<K> Hash for Id<K> {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.text.hash(state);
    }
}
impl<K> fmt::Debug for Id<K> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&self.text, f)
    }
}
impl<K> fmt::Display for Id<K> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}
impl<K> FromStr for Id<K> {
    type Err = Invalid;

    fn from_str(text: &str) -> Result<Self, Invalid> {
        Self::parse(text)
    }
}
impl<K> From<Id<K>> for String {
    fn from(id: Id<K>) -> Self {
        id.text.into()
    }
}
impl<K> Serialize for Id<K> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.text)
    }
}
impl<'de, K> Deserialize<'de> for Id<K> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Self::parse(&Cow::<'_, str>::deserialize(deserializer)?).map_err(de::Error::custom)
    }
}
impl<K> utoipa::ToSchema for Id<K> {
    fn name() -> Cow<'static, str> {
        "Id".into()
    }
}
impl<K> utoipa::PartialSchema for Id<K> {
    fn schema() -> utoipa::openapi::RefOr<utoipa::openapi::schema::Schema> {
        ObjectBuilder::new()
            .schema_type(Type::String)
            .min_length(Some(1))
            .max_length(Some(64))
            .pattern(Some("^[A-Za-z0-9._~:@-]{1,64}$"))
            .into()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_is_safe_in_a_url_path() {
        for text in ["gift_0001_20", "...", ".a", "a.", "..b"] {
            assert!(OrderId::parse(text).is_ok(), "{text:?}");
        }
        for text in ["", ".", "..", "a b", "a/b", "é", "a\n", &"x".repeat(65)] {
            assert!(OrderId::parse(text).is_err(), "{text:?}");
        }
    }

    #[test]
    fn later_ids_sort_after_earlier_ones() {
        let ids: Vec<OrderId> = (0..100).map(|_| OrderId::new()).collect();
        assert!(ids.is_sorted());
    }
}
