//! The bodies of requests for orders.

use std::collections::BTreeMap;

use auth::Caller;
use chassis::{FieldError, Problem, check_text};
use commerce::{Amount, Currency, CustomerId, OrderId, PlaceId, ProductId, Quantity, Timestamp};
use http::HeaderMap;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::{request::payload_hash, require_staff};
use idempotency::Key;

use crate::{
    app::{
        place_order::{LineRequest, OrderRequest},
        routes,
    },
    domain::{Address, Adjustment, Channel, PaymentMethod},
};

const MAX_LINES: usize = 1_000;
const MAX_ADJUSTMENTS: usize = 100;

/// A new order.
#[derive(Debug, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(example = json!({"lines": [{"product_id": "1", "quantity": 2}]}))]
pub(crate) struct NewOrder {
    /// The order's id, chosen by the client; a repeat with the same id makes no second order. Generated if missing.
    #[serde(default)]
    pub(super) id: Option<OrderId>,
    /// The customer who buys. If missing: the calling customer; for staff, a walk-in sale.
    #[serde(default)]
    pub(super) customer_id: Option<CustomerId>,
    /// The place whose stock the order uses; the logistics centre if missing.
    #[serde(default)]
    pub(super) place_id: Option<PlaceId>,
    /// When the order was placed; now if missing. Staff only.
    #[serde(default)]
    pub(super) placed_at: Option<Timestamp>,
    /// The currency; EUR if missing.
    #[serde(default)]
    pub(super) currency: Option<Currency>,
    /// The payment; by card if missing.
    #[serde(default)]
    pub(super) payment: Option<PaymentChoice>,
    /// 1 to 1,000 lines.
    pub(super) lines: Vec<NewLine>,
    /// At most 100 discounts and fees. Staff only.
    #[serde(default)]
    pub(super) adjustments: Vec<Adjustment>,
    /// The shipping address.
    #[serde(default)]
    pub(super) shipping_address: Option<Address>,
    /// At most 2,000 characters.
    #[serde(default)]
    pub(super) notes: Option<String>,
    /// The client's own data: at most 20 entries with names of at most 40 and values of at most 500 characters.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub(super) metadata: BTreeMap<String, String>,
}

/// The payment of a new order.
#[derive(Debug, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct PaymentChoice {
    /// card, cash or on_account. Customers may only pay by card.
    pub(super) method: PaymentMethod,
}

/// A line of a new order: either `product_id`, or `name` with `unit_price`.
#[derive(Debug, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct NewLine {
    /// The product of a catalogue line.
    #[serde(default)]
    product_id: Option<ProductId>,
    /// The name of an ad-hoc line, 1 to 200 characters.
    #[serde(default)]
    name: Option<String>,
    /// Pieces, from 1 to 1,000,000.
    #[schema(value_type = i64, minimum = 1, maximum = 1_000_000)]
    quantity: i64,
    /// The price of one piece, instead of the catalogue's. Staff only.
    #[serde(default)]
    unit_price: Option<Amount>,
}

impl NewOrder {
    pub(super) fn check(self, caller: &Caller, headers: &HeaderMap, channel: Channel) -> Result<OrderRequest, Problem> {
        let buyer = buyer(caller, self.customer_id.clone())?;
        // The buyer and the channel are part of the request: the same body from another customer is another order.
        let (payload_hash, route) = match channel {
            Channel::Web => (payload_hash(&(&buyer, &self)), routes::ORDERS),
            Channel::Store => (payload_hash(&(&buyer, &self, "store")), routes::SALES),
        };
        let key = Key::from_headers(headers, &caller.subject, route)?;
        let mut errors = Vec::new();
        if !(1..=MAX_LINES).contains(&self.lines.len()) {
            errors.push(FieldError::new("lines", "length", format!("1 to {MAX_LINES} lines")));
        }
        let lines = self
            .lines
            .into_iter()
            .enumerate()
            .filter_map(|(index, line)| line.check(index, caller, &mut errors).transpose())
            .collect::<Result<Vec<LineRequest>, Problem>>()?;
        // Cash is recorded as captured, and an order on account is not charged: both need the trust of staff.
        if self.payment.as_ref().is_some_and(|payment| payment.method != PaymentMethod::Card) {
            require_staff(caller, "take cash or put an order on account")?;
        }
        if !self.adjustments.is_empty() {
            require_staff(caller, "adjust the total")?;
        }
        check_adjustments(&mut errors, &self.adjustments);
        if self.placed_at.is_some() {
            require_staff(caller, "set when an order was placed")?;
        }
        if let Some(notes) = &self.notes {
            errors.extend(check_text("notes", notes, 0..=2_000));
        }
        check_metadata(&mut errors, &self.metadata);
        if let Some(address) = &self.shipping_address {
            check_address(&mut errors, address);
        }
        if self.id.as_ref().is_some_and(|id| id.as_str().starts_with("legacy:")) {
            errors.push(FieldError::new("id", "reserved", "the prefix `legacy:` is reserved"));
        }
        if !errors.is_empty() {
            return Err(Problem::fields(errors));
        }
        Ok(OrderRequest {
            id: self.id,
            customer_id: buyer,
            place_id: self.place_id,
            placed_at: self.placed_at,
            currency: self.currency,
            method: self.payment.map(|payment| payment.method).unwrap_or_default(),
            lines,
            adjustments: self.adjustments,
            shipping_address: self.shipping_address,
            notes: self.notes,
            metadata: self.metadata,
            channel,
            cart: None,
            payload_hash,
            key,
            acknowledge_by: None,
            actor: caller.actor(),
        })
    }
}

pub(super) fn check_adjustments(errors: &mut Vec<FieldError>, adjustments: &[Adjustment]) {
    if adjustments.len() > MAX_ADJUSTMENTS {
        errors.push(FieldError::new("adjustments", "length", format!("at most {MAX_ADJUSTMENTS}")));
    }
    for (index, adjustment) in adjustments.iter().enumerate().take(MAX_LINES) {
        errors.extend(check_text(format!("adjustments[{index}].label"), &adjustment.label, 1..=200));
    }
}

pub(super) fn check_metadata<'a, V: AsRef<str> + 'a>(
    errors: &mut Vec<FieldError>,
    metadata: impl IntoIterator<Item = (&'a String, &'a V)>,
) {
    let mut count = 0;
    for (name, value) in metadata {
        count += 1;
        errors.extend(check_text("metadata", name, 1..=40));
        errors.extend(check_text(format!("metadata.{name}"), value.as_ref(), 0..=500));
    }
    if count > 20 {
        errors.push(FieldError::new("metadata", "length", "at most 20 entries"));
    }
}

pub(super) fn check_address(errors: &mut Vec<FieldError>, address: &Address) {
    errors.extend(check_text("shipping_address.line1", &address.line1, 1..=200));
    let optional = [
        ("line2", &address.line2),
        ("city", &address.city),
        ("state", &address.state),
        ("postal_code", &address.postal_code),
        ("country", &address.country),
    ];
    for (name, value) in optional {
        if let Some(value) = value {
            errors.extend(check_text(format!("shipping_address.{name}"), value, 0..=200));
        }
    }
}

impl NewLine {
    fn check(
        self,
        index: usize,
        caller: &Caller,
        errors: &mut Vec<FieldError>,
    ) -> Result<Option<LineRequest>, Problem> {
        let field = |name: &str| format!("lines[{index}].{name}");
        let quantity = match Quantity::new(self.quantity) {
            Ok(quantity) => quantity,
            Err(invalid) => {
                errors.push(FieldError::new(field("quantity"), "range", invalid.to_string()));
                return Ok(None);
            }
        };
        if self.unit_price.is_some_and(Amount::is_negative) {
            errors.push(FieldError::new(field("unit_price"), "range", "0 or more"));
        }
        if self.unit_price.is_some() {
            require_staff(caller, "set prices")?;
        }
        Ok(match (self.product_id, self.name, self.unit_price) {
            (Some(id), None, unit_price) => Some(LineRequest::Product { id, quantity, unit_price }),
            (None, Some(name), Some(unit_price)) => {
                errors.extend(check_text(field("name"), &name, 1..=200));
                Some(LineRequest::AdHoc { name, quantity, unit_price })
            }
            _ => {
                let message = "either product_id, or name with unit_price";
                errors.push(FieldError::new(format!("lines[{index}]"), "shape", message));
                None
            }
        })
    }
}

/// The customer of an order: customers order for themselves, staff for any customer or a walk-in.
fn buyer(caller: &Caller, requested: Option<CustomerId>) -> Result<Option<CustomerId>, Problem> {
    if caller.is_staff() {
        return Ok(requested);
    }
    match (requested, own_customer_id(caller)) {
        (requested, Some(own)) if requested.as_ref().is_none_or(|requested| *requested == own) => Ok(Some(own)),
        _ => Err(not_own_order()),
    }
}

pub(super) fn own_customer_id(caller: &Caller) -> Option<CustomerId> {
    caller.customer_id.as_deref().and_then(|id| CustomerId::parse(id).ok())
}

pub(super) fn not_own_order() -> Problem {
    Problem::forbidden("Customers may only order for themselves.")
}
