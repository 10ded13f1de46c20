//! The resources of the public API, with the fields that dialects use. A field that is missing in a response has its default.

use std::collections::BTreeMap;

use commerce::{Amount, Timestamp};
use http::StatusCode;
use serde::{Deserialize, Deserializer, Serialize};

use super::api_client::ApiResponse;

/// A page of a list.
#[derive(Debug, Deserialize)]
#[serde(bound = "T: Deserialize<'de>", default)]
pub(crate) struct Page<T> {
    pub(crate) data: Vec<T>,
    pub(crate) next_cursor: Option<String>,
    pub(crate) total: u64,
}

impl<T> Default for Page<T> {
    fn default() -> Self {
        Self { data: Vec::new(), next_cursor: None, total: 0 }
    }
}

/// The data of a GraphQL response.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
#[serde(bound = "T: Default + Deserialize<'de>")]
pub(crate) struct GraphQl<T> {
    /// Null in a response with errors.
    #[serde(deserialize_with = "null_as_default")]
    pub(crate) data: T,
}

fn null_as_default<'de, D: Deserializer<'de>, T: Default + Deserialize<'de>>(deserializer: D) -> Result<T, D::Error> {
    Option::<T>::deserialize(deserializer).map(Option::unwrap_or_default)
}

/// The status of an order.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum OrderStatus {
    Pending,
    Confirmed,
    Processing,
    Shipped,
    Delivered,
    Cancelled,
    /// A status that this version does not know, or none.
    #[default]
    #[serde(other)]
    Unknown,
}

impl OrderStatus {
    /// The name in the API.
    pub(crate) const fn as_str(self) -> &'static str {
        match self {
            Self::Pending => "pending",
            Self::Confirmed => "confirmed",
            Self::Processing => "processing",
            Self::Shipped => "shipped",
            Self::Delivered => "delivered",
            Self::Cancelled => "cancelled",
            Self::Unknown => "",
        }
    }
}

/// A state of the checkout saga.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub(crate) enum SagaState {
    Created,
    StockChecked,
    StockReserved,
    Paid,
    Confirmed,
    Cancelled,
    /// A state that this version does not know, or none.
    #[default]
    #[serde(other)]
    Unknown,
}

/// A state of the saga and when the order reached it.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
pub(crate) struct ReachedState {
    pub(crate) state: SagaState,
    pub(crate) at: String,
}

/// An order.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
pub(crate) struct Order {
    pub(crate) id: String,
    pub(crate) number: i64,
    pub(crate) customer_id: Option<String>,
    pub(crate) channel: String,
    pub(crate) status: OrderStatus,
    /// Only in events: the status before the change.
    pub(crate) previous_status: OrderStatus,
    pub(crate) state: SagaState,
    pub(crate) states: Vec<ReachedState>,
    pub(crate) lines: Vec<OrderLine>,
    pub(crate) total: Amount,
    /// Why the order was cancelled.
    pub(crate) reason: Option<String>,
    pub(crate) shipping_address: Option<Address>,
    pub(crate) notes: Option<String>,
    pub(crate) metadata: BTreeMap<String, String>,
    pub(crate) archived: bool,
    pub(crate) placed_at: String,
    pub(crate) created_at: Option<String>,
    pub(crate) updated_at: Option<String>,
}

/// A line of an order.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
pub(crate) struct OrderLine {
    pub(crate) line_id: String,
    pub(crate) product_id: Option<String>,
    pub(crate) name: String,
    pub(crate) quantity: i64,
    pub(crate) unit_price: Amount,
    pub(crate) subtotal: Amount,
}

/// A postal address.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
pub(crate) struct Address {
    pub(crate) line1: Option<String>,
    pub(crate) line2: Option<String>,
    pub(crate) city: Option<String>,
    pub(crate) state: Option<String>,
    pub(crate) postal_code: Option<String>,
    pub(crate) country: Option<String>,
}

/// A customer.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
pub(crate) struct Customer {
    pub(crate) id: String,
    pub(crate) number: i64,
    pub(crate) name: Option<String>,
    pub(crate) first_name: Option<String>,
    pub(crate) last_name: Option<String>,
    pub(crate) email: Option<String>,
    pub(crate) phone: Option<String>,
    pub(crate) address: Option<Address>,
    pub(crate) created_at: Option<String>,
    pub(crate) updated_at: Option<String>,
    pub(crate) anonymised_at: Option<String>,
}

impl Customer {
    /// Whether the personal data was removed. Only the orders of such a customer remain.
    pub(crate) fn is_anonymised(&self) -> bool {
        self.anonymised_at.is_some()
    }
}

/// A user.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
pub(crate) struct User {
    pub(crate) id: String,
    pub(crate) username: String,
    pub(crate) customer_id: Option<String>,
    pub(crate) roles: Vec<String>,
}

/// A session: the response to a login or a registration.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
pub(crate) struct Session {
    pub(crate) token: String,
    pub(crate) expires_at: Option<Timestamp>,
    pub(crate) user: User,
}

/// A product of the catalogue.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
pub(crate) struct Product {
    pub(crate) id: String,
    pub(crate) number: i64,
    pub(crate) name: String,
    pub(crate) description: Option<String>,
    pub(crate) category: Option<String>,
    /// Absent if the query does not ask for it.
    price: Option<Amount>,
}

impl Product {
    /// The price. An order or sum must not take a missing price for 0.
    pub(crate) fn price(&self) -> Result<Amount, ApiResponse> {
        self.price.ok_or_else(|| {
            ApiResponse::refusal(StatusCode::BAD_GATEWAY, "The catalogue sent a product without a price.")
        })
    }
}

/// Pieces of a product in a place.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
pub(crate) struct Level {
    pub(crate) product_id: String,
    pub(crate) place_id: String,
    pub(crate) available: i64,
    pub(crate) threshold: Option<i64>,
}

/// A prospect.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
pub(crate) struct Prospect {
    pub(crate) id: String,
    pub(crate) number: i64,
    pub(crate) first_name: String,
    pub(crate) last_name: String,
    pub(crate) field: String,
    pub(crate) activity_id: Option<String>,
}

/// An activity, which the dialect `event-prospect` calls an event.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
pub(crate) struct Activity {
    pub(crate) id: String,
    pub(crate) number: i64,
    pub(crate) name: String,
    pub(crate) date: String,
    pub(crate) prospect_id: Option<String>,
}

/// An entry of the stock ledger.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
pub(crate) struct LedgerEntry {
    pub(crate) product_id: String,
    pub(crate) kind: String,
    pub(crate) reason: String,
    /// Pieces on hand after the entry.
    pub(crate) balance: i64,
    pub(crate) at: String,
}

/// A store or a logistics centre.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
pub(crate) struct Place {
    pub(crate) id: String,
    pub(crate) number: i64,
    pub(crate) name: String,
    pub(crate) kind: PlaceKind,
}

/// The kind of a place.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum PlaceKind {
    Store,
    /// A logistics centre.
    #[default]
    #[serde(other)]
    Other,
}

/// A cart.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
pub(crate) struct Cart {
    pub(crate) id: String,
    pub(crate) items: Vec<CartItem>,
}

/// An item of a cart.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
pub(crate) struct CartItem {
    pub(crate) item_id: String,
    pub(crate) number: i64,
    pub(crate) product_id: String,
    pub(crate) quantity: i64,
}

/// A replenishment: goods that a store requests from the logistics centre.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
pub(crate) struct Replenishment {
    pub(crate) id: String,
    pub(crate) number: i64,
    pub(crate) product_id: String,
    pub(crate) place_id: String,
    pub(crate) quantity: i64,
    pub(crate) stage: ReplenishmentStage,
    pub(crate) received: i64,
    pub(crate) in_transit: i64,
}

/// The stage of a replenishment.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum ReplenishmentStage {
    Requested,
    Approved,
    Refused,
    InTransit,
    Received,
    /// A stage that this version does not know.
    #[default]
    #[serde(other)]
    Unknown,
}

/// A report.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(crate) struct Report {
    pub(crate) rows: Vec<ReportRow>,
}

/// A row of a report; which fields it has depends on the report.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
pub(crate) struct ReportRow {
    pub(crate) place_id: String,
    pub(crate) product_id: String,
    pub(crate) name: Option<String>,
    pub(crate) orders: i64,
    pub(crate) quantity: i64,
    pub(crate) revenue: Amount,
    pub(crate) available: i64,
}

/// A reservation of stock, in events.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
pub(crate) struct Reservation {
    pub(crate) lines: Vec<OrderLine>,
}

/// A payment, in events.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
pub(crate) struct Payment {
    pub(crate) amount: Amount,
}
