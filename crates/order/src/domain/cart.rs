//! The cart: items that a customer or guest collects until a checkout makes an order of them.

use std::collections::HashMap;

use commerce::{Amount, CustomerId, Id, OrderId, PlaceId, ProductId, Quantity, Timestamp};
use serde::Serialize;
use utoipa::ToSchema;

/// Marks [`CartId`].
#[derive(Debug)]
pub enum CartKind {}
/// Marks [`ItemId`].
#[derive(Debug)]
pub enum ItemKind {}

/// The id of a cart: the customer's id, or `guest-` and a secret.
pub type CartId = Id<CartKind>;
/// The id of an item in a cart.
pub type ItemId = Id<ItemKind>;

/// Most items in a cart: as many as an order may have lines.
pub const MAX_ITEMS: usize = 1_000;

/// A cart.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Cart {
    /// The cart's id.
    pub id: CartId,
    /// The owner; `None` for a guest.
    pub customer_id: Option<CustomerId>,
    /// The place whose stock the cart uses, once it is chosen.
    pub place_id: Option<PlaceId>,
    /// One item for each product, in the order of their addition.
    pub items: Vec<Item>,
    /// The id of the order that the next checkout makes. It is fixed in advance, so that concurrent checkouts make one order.
    pub order_id: OrderId,
    /// Whether a checkout is making that order; then the cart cannot be edited.
    pub checking_out: bool,
    /// The last confirmed order that was made of the cart.
    pub last_order_id: Option<OrderId>,
    /// When the cart was created.
    pub created_at: Timestamp,
    /// When the cart last changed.
    pub updated_at: Timestamp,
    /// The version; 0 before the first change.
    pub version: i64,
}

/// An item of a cart, with the values of the last refresh.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Item {
    /// The item's id.
    pub id: ItemId,
    /// The item's number, counted over all carts from 1.
    pub number: i64,
    /// The product.
    pub product_id: ProductId,
    /// The product's name.
    pub name: String,
    /// Pieces.
    pub quantity: Quantity,
    /// Price of one piece.
    pub unit_price: Amount,
    /// Available pieces; `None` while unknown.
    pub available: Option<i64>,
    /// Whether the catalogue no longer sells it.
    pub gone: bool,
}

/// A product that the catalogue sells.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Offer {
    /// The product's name.
    pub name: String,
    /// Price of one piece.
    pub unit_price: Amount,
}

/// A change of an item since it was added or the cart was last read.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, ToSchema)]
#[schema(as = CartItemChange)]
#[serde(tag = "field", rename_all = "lowercase")]
pub enum ItemChange {
    /// The price of one piece.
    Price {
        /// The value before.
        was: Amount,
        /// The present value.
        now: Amount,
    },
    /// The product's name.
    Name {
        /// The value before.
        was: String,
        /// The present value.
        now: String,
    },
    /// The available pieces.
    Available {
        /// The value before.
        was: i64,
        /// The present value.
        now: i64,
    },
    /// Whether the catalogue no longer sells the product.
    Gone {
        /// The value before.
        was: bool,
        /// The present value.
        now: bool,
    },
}

/// Why a cart cannot be edited.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum CartError {
    /// The cart is being checked out as this order.
    CheckingOut(OrderId),
    /// The cart has no such item.
    UnknownItem,
    /// Too many pieces of one product.
    TooMany,
    /// Too many products.
    Full,
}

impl Item {
    /// Price of the item; `None` if it exceeds the largest amount.
    pub fn subtotal(&self) -> Option<Amount> {
        self.unit_price.checked_mul(self.quantity)
    }
}

impl Cart {
    /// An empty cart.
    pub fn empty(id: CartId, customer_id: Option<CustomerId>, order_id: OrderId, now: Timestamp) -> Self {
        Self {
            id,
            customer_id,
            place_id: None,
            items: Vec::new(),
            order_id,
            checking_out: false,
            last_order_id: None,
            created_at: now,
            updated_at: now,
            version: 0,
        }
    }

    /// Price of the items that the catalogue still sells; `None` if it exceeds the largest amount.
    pub fn total(&self) -> Option<Amount> {
        self.items
            .iter()
            .filter(|item| !item.gone)
            .try_fold(Amount::ZERO, |sum, item| item.subtotal().and_then(|subtotal| sum.checked_add(subtotal)))
    }

    /// Refuses edits while the cart is being checked out.
    pub fn check_editable(&self) -> Result<(), CartError> {
        if self.checking_out { Err(CartError::CheckingOut(self.order_id.clone())) } else { Ok(()) }
    }

    /// Whether the cart contains the product.
    pub fn contains(&self, product_id: &ProductId) -> bool {
        self.items.iter().any(|item| item.product_id == *product_id)
    }

    /// Adds pieces to the item of the same product, or as a new item. Returns the item's index.
    pub fn add(&mut self, new: Item) -> Result<usize, CartError> {
        self.check_editable()?;
        if let Some(index) = self.items.iter().position(|item| item.product_id == new.product_id) {
            let item = &mut self.items[index];
            let pieces = i64::from(item.quantity.get()) + i64::from(new.quantity.get());
            item.quantity = Quantity::new(pieces).map_err(|_| CartError::TooMany)?;
            return Ok(index);
        }
        if self.items.len() >= MAX_ITEMS {
            return Err(CartError::Full);
        }
        self.items.push(new);
        Ok(self.items.len() - 1)
    }

    /// Sets the quantity of an item. Returns the item's index.
    pub fn set_quantity(&mut self, id: &str, quantity: Quantity) -> Result<usize, CartError> {
        self.check_editable()?;
        let index = self.index_of(id)?;
        self.items[index].quantity = quantity;
        Ok(index)
    }

    /// Removes an item.
    pub fn remove(&mut self, id: &str) -> Result<Item, CartError> {
        self.check_editable()?;
        let index = self.index_of(id)?;
        Ok(self.items.remove(index))
    }

    /// Removes all items.
    pub fn clear(&mut self) -> Result<(), CartError> {
        self.check_editable()?;
        self.items.clear();
        Ok(())
    }

    /// Moves all items of another cart into this one. If one does not fit, both carts stay as they are.
    pub fn claim(&mut self, other: &mut Self) -> Result<(), CartError> {
        other.check_editable()?;
        let mut filled = self.clone();
        filled.check_editable()?;
        for item in &other.items {
            filled.add(item.clone())?;
        }
        *self = filled;
        other.items.clear();
        Ok(())
    }

    fn index_of(&self, id: &str) -> Result<usize, CartError> {
        self.items.iter().position(|item| item.id.as_str() == id).ok_or(CartError::UnknownItem)
    }

    /// Updates the items from catalogue and stock, as far as they answered, and returns the changes of each item. A product
    /// that is missing in `offers` is gone; of one that is missing in `available` there are 0 pieces.
    pub fn refresh(
        &mut self,
        offers: Option<&HashMap<String, Offer>>,
        available: Option<&HashMap<String, i64>>,
    ) -> Vec<Vec<ItemChange>> {
        let refresh_item = |item: &mut Item| {
            let mut changes = Vec::new();
            if let Some(offers) = offers {
                let offer = offers.get(item.product_id.as_str());
                if let Some(offer) = offer {
                    if offer.unit_price != item.unit_price {
                        changes.push(ItemChange::Price { was: item.unit_price, now: offer.unit_price });
                        item.unit_price = offer.unit_price;
                    }
                    if offer.name != item.name {
                        changes.push(ItemChange::Name { was: item.name.clone(), now: offer.name.clone() });
                        item.name.clone_from(&offer.name);
                    }
                }
                if item.gone != offer.is_none() {
                    changes.push(ItemChange::Gone { was: item.gone, now: offer.is_none() });
                    item.gone = offer.is_none();
                }
            }
            if let Some(available) = available {
                let now = available.get(item.product_id.as_str()).copied().unwrap_or(0);
                if let Some(was) = item.available.filter(|was| *was != now) {
                    changes.push(ItemChange::Available { was, now });
                }
                item.available = Some(now);
            }
            changes
        };
        self.items.iter_mut().map(refresh_item).collect()
    }
}

#[cfg(test)]
#[path = "cart_tests.rs"]
mod tests;
