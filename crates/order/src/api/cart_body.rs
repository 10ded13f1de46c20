//! The bodies of requests and responses about carts.

use aws_lc_rs::rand;
use chassis::Problem;
use commerce::{Amount, Currency, CustomerId, Id, OrderId, PlaceId, ProductId, Quantity, Timestamp};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::order_body::PaymentChoice;
use crate::domain::{Address, Cart, CartId, Item, ItemChange, ItemId};

/// The prefix of the ids of guests' carts.
pub(super) const GUEST_PREFIX: &str = "guest-";

/// The id of a new guest's cart: 128 random bits, since the id is all that is needed to use the cart.
pub(super) fn new_guest_id() -> Result<CartId, Problem> {
    let mut secret = [0_u8; 16];
    rand::fill(&mut secret).map_err(|_| Problem::internal(std::io::Error::other("no random numbers")))?;
    let digits: String = secret.iter().map(|byte| format!("{byte:02x}")).collect();
    Ok(Id::trusted(format!("{GUEST_PREFIX}{digits}")))
}

/// A cart.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Cart, example = json!({
    "id": "0197f9a0-7c2e-7000-8000-000000000001", "customer_id": "0197f9a0-7c2e-7000-8000-000000000001",
    "items": [{"item_id": "0197f9a1-7c2e-7000-8000-000000000002", "number": 7, "product_id": "1", "name": "Tea", "quantity": 2,
        "unit_price": 4.5, "subtotal": 9, "available": 40, "changes": [{"field": "price", "was": 4, "now": 4.5}]}],
    "total": 9, "currency": "EUR", "version": 3, "updated_at": "2026-01-31T12:00:00.000000Z"}))]
pub(crate) struct CartBody {
    /// The cart's id: the customer's id, or `guest-` and a secret.
    id: CartId,
    /// The owner; missing for a guest's cart.
    #[serde(skip_serializing_if = "Option::is_none")]
    customer_id: Option<CustomerId>,
    /// The place whose stock the cart uses, once it is chosen.
    #[serde(skip_serializing_if = "Option::is_none")]
    place_id: Option<PlaceId>,
    /// The items: one for each product, in the order of their addition.
    items: Vec<ItemBody>,
    /// The price of the items that the catalogue still sells.
    total: Amount,
    /// The currency of all amounts of the cart.
    currency: Currency,
    /// The order of a running checkout. Until its outcome the cart cannot be edited.
    #[serde(skip_serializing_if = "Option::is_none")]
    order_id: Option<OrderId>,
    /// The last confirmed order that was made of the cart.
    #[serde(skip_serializing_if = "Option::is_none")]
    last_order_id: Option<OrderId>,
    /// The version; also the `ETag`. 0 before the first change.
    version: i64,
    /// When the cart last changed.
    updated_at: Timestamp,
}

/// An item of a cart.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = CartItem)]
pub(crate) struct ItemBody {
    /// The item's id.
    item_id: ItemId,
    /// The item's number, counted over all carts from 1.
    number: i64,
    /// The product.
    product_id: ProductId,
    /// The product's name.
    name: String,
    /// Pieces.
    quantity: Quantity,
    /// Price of one piece.
    unit_price: Amount,
    /// Price of the item: quantity times unit price.
    subtotal: Amount,
    /// Available pieces; null while unknown.
    available: Option<i64>,
    /// Whether the catalogue no longer sells the product. Then the cart cannot be checked out.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    gone: bool,
    /// The changes since the item was added or the cart was last read.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    changes: Vec<ItemChange>,
}

/// An item after an edit, with the id and version of its cart.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = EditedItem)]
pub(crate) struct EditedItem {
    #[serde(flatten)]
    item: ItemBody,
    /// The cart's id.
    cart_id: CartId,
    /// The cart's version after the edit.
    version: i64,
}

impl ItemBody {
    fn new(item: &Item, changes: Vec<ItemChange>) -> Self {
        Self {
            item_id: item.id.clone(),
            number: item.number,
            product_id: item.product_id.clone(),
            name: item.name.clone(),
            quantity: item.quantity,
            unit_price: item.unit_price,
            // The checkout refuses an item whose price exceeds the largest amount.
            subtotal: item.subtotal().unwrap_or(Amount::ZERO),
            available: item.available,
            gone: item.gone,
            changes,
        }
    }
}

impl EditedItem {
    pub(super) fn new(cart: &Cart, index: usize) -> Self {
        let item = ItemBody::new(&cart.items[index], Vec::new());
        Self { item, cart_id: cart.id.clone(), version: cart.version }
    }
}

impl CartBody {
    pub(super) fn new(cart: &Cart, changes: Vec<Vec<ItemChange>>, currency: Currency) -> Self {
        let changes = changes.into_iter().chain(std::iter::repeat_with(Vec::new));
        Self {
            id: cart.id.clone(),
            customer_id: cart.customer_id.clone(),
            place_id: cart.place_id.clone(),
            items: cart.items.iter().zip(changes).map(|(item, changes)| ItemBody::new(item, changes)).collect(),
            total: cart.total().unwrap_or(Amount::ZERO),
            currency,
            order_id: cart.checking_out.then(|| cart.order_id.clone()),
            last_order_id: cart.last_order_id.clone(),
            version: cart.version,
            updated_at: cart.updated_at,
        }
    }
}

/// A new guest's cart.
#[derive(Debug, Default, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(example = json!({}))]
pub(crate) struct NewCart {
    /// The place whose stock the cart uses; the logistics centre if missing.
    #[serde(default)]
    pub(super) place_id: Option<PlaceId>,
}

/// Pieces of a product to add to a cart.
#[derive(Debug, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(example = json!({"product_id": "1", "quantity": 2}))]
pub(crate) struct NewItem {
    /// The product.
    pub(super) product_id: ProductId,
    /// Pieces, from 1 to 1,000,000.
    #[schema(minimum = 1, maximum = 1_000_000)]
    pub(super) quantity: i64,
}

/// The new quantity of an item.
#[derive(Debug, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(example = json!({"quantity": 3}))]
pub(crate) struct QuantityUpdate {
    /// Pieces, from 1 to 1,000,000.
    #[schema(minimum = 1, maximum = 1_000_000)]
    pub(super) quantity: i64,
}

/// A guest's cart whose items are moved.
#[derive(Debug, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(example = json!({"guest_id": "guest-9f86d081884c7d659a2feaa0c55ad015"}))]
pub(crate) struct ClaimRequest {
    /// The id of the guest's cart.
    pub(super) guest_id: String,
}

/// The options of a checkout.
#[derive(Debug, Default, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(example = json!({"shipping_address": {"line1": "1 Main Street", "city": "Paris"}}))]
pub(crate) struct CheckoutOptions {
    /// The place whose stock the order uses. If missing: the place of the cart, or the logistics centre.
    #[serde(default)]
    pub(super) place_id: Option<PlaceId>,
    /// The payment; by card if missing.
    #[serde(default)]
    pub(super) payment: Option<PaymentChoice>,
    /// The shipping address.
    #[serde(default)]
    pub(super) shipping_address: Option<Address>,
    /// At most 2,000 characters.
    #[serde(default)]
    pub(super) notes: Option<String>,
}
