//! The cart: what somebody means to buy, until it becomes an order.

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

/// A cart: the id of the customer whose it is, or `guest-` and a secret.
pub type CartId = Id<CartKind>;
/// A product in a cart.
pub type ItemId = Id<ItemKind>;

/// Most products in a cart: an order has no more lines.
pub const MOST_ITEMS: usize = 1_000;

/// A cart.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Cart {
    /// Names it.
    pub id: CartId,
    /// Whose it is; none of a guest.
    pub customer_id: Option<CustomerId>,
    /// Whose stock it would take, once somebody has said.
    pub place_id: Option<PlaceId>,
    /// What is in it, one item a product, as added.
    pub items: Vec<Item>,
    /// The order that its next checkout makes: chosen before, so that two checkouts at once make one order.
    pub order_id: OrderId,
    /// Whether it is becoming that order now; then nothing in it changes.
    pub checking_out: bool,
    /// The last order that was made of it and confirmed.
    pub last_order_id: Option<OrderId>,
    /// When it was made.
    pub created_at: Timestamp,
    /// When it last changed.
    pub updated_at: Timestamp,
    /// Counts changes; 0 of a cart that nobody has put anything into yet.
    pub version: i64,
}

/// A product in a cart, as it was when somebody last looked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Item {
    /// Names it.
    pub id: ItemId,
    /// Counts the items of all carts from 1.
    pub number: i64,
    /// The product.
    pub product_id: ProductId,
    /// Its name.
    pub name: String,
    /// Pieces.
    pub quantity: Quantity,
    /// Price of a piece.
    pub unit_price: Amount,
    /// Pieces that could be promised; none while nobody knows.
    pub available: Option<i64>,
    /// Whether the catalogue no longer sells it.
    pub gone: bool,
}

/// What the catalogue says of a product that it sells.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Offer {
    /// Its name.
    pub name: String,
    /// Price of a piece.
    pub unit_price: Amount,
}

/// What is different from when the item was added or last seen.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, ToSchema)]
#[serde(tag = "field", rename_all = "lowercase")]
pub enum Change {
    /// The price of a piece.
    Price {
        /// Then.
        was: Amount,
        /// Now.
        now: Amount,
    },
    /// The product's name.
    Name {
        /// Then.
        was: String,
        /// Now.
        now: String,
    },
    /// Pieces that can be promised.
    Available {
        /// Then.
        was: i64,
        /// Now.
        now: i64,
    },
    /// Whether the catalogue has stopped selling it.
    Gone {
        /// Then.
        was: bool,
        /// Now.
        now: bool,
    },
}

/// Why a cart cannot be changed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum CartRefused {
    /// It is becoming this order.
    CheckingOut(OrderId),
    /// There is no such item in it.
    NoItem,
    /// So many pieces of one product are too many.
    TooMany,
    /// So many products are too many.
    Full,
}

impl Item {
    /// Price of the item; none where it is beyond all money.
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

    /// What can be bought of it, in money; none where it is beyond all money.
    pub fn total(&self) -> Option<Amount> {
        self.items
            .iter()
            .filter(|item| !item.gone)
            .try_fold(Amount::ZERO, |sum, item| item.subtotal().and_then(|subtotal| sum.checked_add(subtotal)))
    }

    /// Nothing may be changed while the cart is becoming an order.
    pub fn changeable(&self) -> Result<(), CartRefused> {
        if self.checking_out { Err(CartRefused::CheckingOut(self.order_id.clone())) } else { Ok(()) }
    }

    /// Whether the product is in it.
    pub fn holds(&self, product_id: &ProductId) -> bool {
        self.items.iter().any(|item| item.product_id == *product_id)
    }

    /// Puts pieces into it: on top of those that are there, or as the new item. Gives where they are.
    pub fn put(&mut self, new: Item) -> Result<usize, CartRefused> {
        self.changeable()?;
        if let Some(at) = self.items.iter().position(|item| item.product_id == new.product_id) {
            let item = &mut self.items[at];
            let pieces = i64::from(item.quantity.get()) + i64::from(new.quantity.get());
            item.quantity = Quantity::new(pieces).map_err(|_| CartRefused::TooMany)?;
            return Ok(at);
        }
        if self.items.len() >= MOST_ITEMS {
            return Err(CartRefused::Full);
        }
        self.items.push(new);
        Ok(self.items.len() - 1)
    }

    /// Sets how many pieces of an item there are. Gives where it is.
    pub fn set(&mut self, id: &str, quantity: Quantity) -> Result<usize, CartRefused> {
        self.changeable()?;
        let at = self.at(id)?;
        self.items[at].quantity = quantity;
        Ok(at)
    }

    /// Takes an item out.
    pub fn take(&mut self, id: &str) -> Result<Item, CartRefused> {
        self.changeable()?;
        let at = self.at(id)?;
        Ok(self.items.remove(at))
    }

    /// Takes everything out.
    pub fn clear(&mut self) -> Result<(), CartRefused> {
        self.changeable()?;
        self.items.clear();
        Ok(())
    }

    /// Moves everything of another cart into this one. Where that does not go, both stay as they are.
    pub fn claim(&mut self, other: &mut Self) -> Result<(), CartRefused> {
        other.changeable()?;
        let mut filled = self.clone();
        filled.changeable()?;
        for item in &other.items {
            filled.put(item.clone())?;
        }
        *self = filled;
        other.items.clear();
        Ok(())
    }

    fn at(&self, id: &str) -> Result<usize, CartRefused> {
        self.items.iter().position(|item| item.id.as_str() == id).ok_or(CartRefused::NoItem)
    }

    /// Takes over what the catalogue and the shelf say now, where they said anything, and tells for each item what is
    /// different. A product that the catalogue does not name is gone; of one that the shelf does not name there is none.
    pub fn refresh(
        &mut self,
        offers: Option<&HashMap<String, Offer>>,
        available: Option<&HashMap<String, i64>>,
    ) -> Vec<Vec<Change>> {
        let one = |item: &mut Item| {
            let mut changes = Vec::new();
            if let Some(offers) = offers {
                let offer = offers.get(item.product_id.as_str());
                if let Some(offer) = offer {
                    if offer.unit_price != item.unit_price {
                        changes.push(Change::Price { was: item.unit_price, now: offer.unit_price });
                        item.unit_price = offer.unit_price;
                    }
                    if offer.name != item.name {
                        changes.push(Change::Name { was: item.name.clone(), now: offer.name.clone() });
                        item.name.clone_from(&offer.name);
                    }
                }
                if item.gone != offer.is_none() {
                    changes.push(Change::Gone { was: item.gone, now: offer.is_none() });
                    item.gone = offer.is_none();
                }
            }
            if let Some(available) = available {
                let now = available.get(item.product_id.as_str()).copied().unwrap_or(0);
                if let Some(was) = item.available.filter(|was| *was != now) {
                    changes.push(Change::Available { was, now });
                }
                item.available = Some(now);
            }
            changes
        };
        self.items.iter_mut().map(one).collect()
    }
}

#[cfg(test)]
#[path = "cart_tests.rs"]
mod tests;
