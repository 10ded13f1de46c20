//! Carts as they are shown, and what is said to change them.

use aws_lc_rs::rand;
use chassis::Problem;
use commerce::{Amount, Currency, CustomerId, Id, OrderId, PlaceId, ProductId, Quantity, Timestamp};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::orders::NewPayment;
use crate::domain::{Address, Cart, CartId, Change, Item, ItemId};

/// How the ids of guests' carts begin.
pub(super) const GUEST: &str = "guest-";

/// An id that nobody guesses: 128 random bits.
pub(super) fn guest_id() -> Result<CartId, Problem> {
    let mut secret = [0_u8; 16];
    rand::fill(&mut secret).map_err(|_| Problem::internal(std::io::Error::other("no random numbers")))?;
    let digits: String = secret.iter().map(|byte| format!("{byte:02x}")).collect();
    Ok(Id::trusted(format!("{GUEST}{digits}")))
}

/// A cart.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Cart, example = json!({
    "id": "0197f9a0-7c2e-7000-8000-000000000001", "customer_id": "0197f9a0-7c2e-7000-8000-000000000001",
    "items": [{"item_id": "0197f9a1-7c2e-7000-8000-000000000002", "number": 7, "product_id": "1", "name": "Tea", "quantity": 2,
        "unit_price": 4.5, "subtotal": 9, "available": 40, "changes": [{"field": "price", "was": 4, "now": 4.5}]}],
    "total": 9, "currency": "EUR", "version": 3, "updated_at": "2026-01-31T12:00:00.000000Z"}))]
pub(crate) struct CartBody {
    /// The customer's id; of a guest's cart `guest-` and a secret.
    id: CartId,
    /// Whose it is; none of a guest.
    #[serde(skip_serializing_if = "Option::is_none")]
    customer_id: Option<CustomerId>,
    /// Whose stock it would take, once somebody has said.
    #[serde(skip_serializing_if = "Option::is_none")]
    place_id: Option<PlaceId>,
    /// One a product, as added.
    items: Vec<ItemBody>,
    /// Of what the catalogue still sells.
    total: Amount,
    /// Of all amounts here.
    currency: Currency,
    /// The order that it is becoming now; until that is known nothing in it changes.
    #[serde(skip_serializing_if = "Option::is_none")]
    order_id: Option<OrderId>,
    /// The last confirmed order that was made of it.
    #[serde(skip_serializing_if = "Option::is_none")]
    last_order_id: Option<OrderId>,
    /// Counts changes; the `ETag`. 0 before the first.
    version: i64,
    /// When it last changed.
    updated_at: Timestamp,
}

/// A product in a cart.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = CartItem)]
pub(crate) struct ItemBody {
    /// Names it.
    item_id: ItemId,
    /// Counts the items of all carts from 1.
    number: i64,
    /// The product.
    product_id: ProductId,
    /// Its name.
    name: String,
    /// Pieces.
    quantity: Quantity,
    /// Price of a piece.
    unit_price: Amount,
    /// Price of the pieces.
    subtotal: Amount,
    /// Pieces that can be promised; null while nobody knows.
    available: Option<i64>,
    /// Whether the catalogue no longer sells it, so that the cart cannot be checked out.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    gone: bool,
    /// What is different from when it was added or last seen.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    changes: Vec<Change>,
}

/// An item, and the cart that it is in.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = CartItemAnswer)]
pub(crate) struct ItemAnswer {
    #[serde(flatten)]
    item: ItemBody,
    /// The cart.
    cart_id: CartId,
    /// The cart's version now.
    version: i64,
}

impl ItemBody {
    fn new(item: &Item, changes: Vec<Change>) -> Self {
        Self {
            item_id: item.id.clone(),
            number: item.number,
            product_id: item.product_id.clone(),
            name: item.name.clone(),
            quantity: item.quantity,
            unit_price: item.unit_price,
            // What is beyond all money cannot be bought either; the checkout says so.
            subtotal: item.subtotal().unwrap_or(Amount::ZERO),
            available: item.available,
            gone: item.gone,
            changes,
        }
    }
}

impl ItemAnswer {
    pub(super) fn new(cart: &Cart, at: usize) -> Self {
        let item = ItemBody::new(&cart.items[at], Vec::new());
        Self { item, cart_id: cart.id.clone(), version: cart.version }
    }
}

impl CartBody {
    pub(super) fn new(cart: &Cart, changes: Vec<Vec<Change>>, currency: Currency) -> Self {
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

/// A new cart of a guest.
#[derive(Debug, Default, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(example = json!({}))]
pub(crate) struct NewCart {
    /// Whose stock it would take; the logistics centre if not said.
    #[serde(default)]
    pub(super) place_id: Option<PlaceId>,
}

/// Pieces of a product.
#[derive(Debug, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(example = json!({"product_id": "1", "quantity": 2}))]
pub(crate) struct NewItem {
    /// The SKU.
    pub(super) product_id: ProductId,
    /// Pieces, from 1 to 1,000,000.
    #[schema(minimum = 1, maximum = 1_000_000)]
    pub(super) quantity: i64,
}

/// How many pieces there are to be.
#[derive(Debug, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(example = json!({"quantity": 3}))]
pub(crate) struct NewQuantity {
    /// Pieces, from 1 to 1,000,000.
    #[schema(minimum = 1, maximum = 1_000_000)]
    pub(super) quantity: i64,
}

/// A guest's cart to be taken over.
#[derive(Debug, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(example = json!({"guest_id": "guest-9f86d081884c7d659a2feaa0c55ad015"}))]
pub(crate) struct NewClaim {
    /// Its id.
    pub(super) guest_id: String,
}

/// How a cart is bought.
#[derive(Debug, Default, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(example = json!({"shipping_address": {"line1": "1 Main Street", "city": "Paris"}}))]
pub(crate) struct NewCheckout {
    /// Whose stock; that which the cart names, or the logistics centre, if not said.
    #[serde(default)]
    pub(super) place_id: Option<PlaceId>,
    /// By card if not said.
    #[serde(default)]
    pub(super) payment: Option<NewPayment>,
    /// Where it goes.
    #[serde(default)]
    pub(super) shipping_address: Option<Address>,
    /// At most 2,000 characters.
    #[serde(default)]
    pub(super) notes: Option<String>,
}
