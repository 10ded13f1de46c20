//! The order.

use std::collections::BTreeMap;

use commerce::{Amount, Currency, CustomerId, LineId, OrderId, PaymentId, PlaceId, ProductId, Quantity, Timestamp};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::{CartId, State, Status, saga::Refusal};

/// An order, in the shape in which everybody sees it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, ToSchema)]
pub struct Order {
    /// Opaque, or chosen by the client.
    pub id: OrderId,
    /// Counts orders from 1.
    pub number: i64,
    /// Who buys; none of a walk-in.
    pub customer_id: Option<CustomerId>,
    /// Whose stock it takes.
    pub place_id: PlaceId,
    /// Where it was taken.
    pub channel: Channel,
    /// How far the saga has come.
    pub state: State,
    /// Where people have moved it.
    pub status: Status,
    /// Each state with its time.
    pub states: Vec<StateAt>,
    /// Where its status stood from when on, and who moved it.
    pub history: Vec<Moved>,
    /// What is bought; never merged.
    pub lines: Vec<Line>,
    /// What changes the total beside the lines.
    pub adjustments: Vec<Adjustment>,
    /// Lines and adjustments together.
    pub total: Amount,
    /// Of all amounts here.
    pub currency: Currency,
    /// How it is paid.
    pub payment: Payment,
    /// Why it was cancelled.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// Where it goes.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub shipping_address: Option<Address>,
    /// Said with it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub notes: Option<String>,
    /// What clients keep with it in their own words.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub metadata: BTreeMap<String, String>,
    /// Whether it is out of sight; only head office and other services still see it.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub archived: bool,
    /// When it was placed, as the shop says.
    pub placed_at: Timestamp,
    /// When Souk took it.
    pub created_at: Timestamp,
    /// When it last changed.
    pub updated_at: Timestamp,
    /// Counts changes from 1; the `ETag`.
    pub version: i64,
    /// Counts its events.
    #[serde(skip)]
    pub sequence: i64,
    /// The cart of which it was made, which is let go when it is terminal.
    #[serde(skip)]
    pub cart_id: Option<CartId>,
}

/// Where an order was taken.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum Channel {
    /// From afar: its goods are sent.
    #[default]
    Web,
    /// At a till: its goods leave with the buyer.
    Store,
}

impl Channel {
    /// As it is written.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Web => "web",
            Self::Store => "store",
        }
    }

    /// Reads what [`Channel::as_str`] writes.
    pub fn parse(text: &str) -> Option<Self> {
        [Self::Web, Self::Store].into_iter().find(|channel| channel.as_str() == text)
    }
}

/// A state and when it was reached.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct StateAt {
    /// The state.
    pub state: State,
    /// When.
    pub at: Timestamp,
}

/// A move of an order's status.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Moved {
    /// Where to.
    pub status: Status,
    /// When.
    pub at: Timestamp,
    /// Who; the saga itself where it is not said.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub actor: Option<String>,
    /// Why, where it was said.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
}

/// A line: a product of the catalogue, or an ad-hoc line by name, which takes no stock.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, ToSchema)]
pub struct Line {
    /// Names the line within its order.
    pub line_id: LineId,
    /// None of an ad-hoc line.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub product_id: Option<ProductId>,
    /// As it was when bought.
    pub name: String,
    /// Pieces bought.
    pub quantity: Quantity,
    /// Pieces that came back.
    pub returned: u32,
    /// Price of a piece.
    pub unit_price: Amount,
    /// Price of the line.
    pub subtotal: Amount,
}

/// What changes the total beside the lines: a discount, a fee.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Adjustment {
    /// What it is.
    pub label: String,
    /// Below zero for a discount.
    pub amount: Amount,
}

/// Where goods go.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Address {
    /// Street and number.
    pub line1: String,
    /// More of it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub line2: Option<String>,
    /// Town.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub city: Option<String>,
    /// State, region.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub state: Option<String>,
    /// Postal code.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub postal_code: Option<String>,
    /// Country.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub country: Option<String>,
}

/// How an order is paid.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum PaymentMethod {
    /// Charged by the payment service.
    #[default]
    Card,
    /// Captured by being said.
    Cash,
    /// Nothing is charged.
    OnAccount,
}

impl PaymentMethod {
    /// As it is written.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Card => "card",
            Self::Cash => "cash",
            Self::OnAccount => "on_account",
        }
    }

    /// Reads what [`PaymentMethod::as_str`] writes.
    pub fn parse(text: &str) -> Option<Self> {
        [Self::Card, Self::Cash, Self::OnAccount].into_iter().find(|method| method.as_str() == text)
    }
}

/// The money of an order.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, ToSchema)]
pub struct Payment {
    /// How.
    pub method: PaymentMethod,
    /// As the payment service says; `none` before it was asked, or where it never is.
    pub status: String,
    /// The payment service's id of it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub id: Option<PaymentId>,
}

/// What is still to be done for an order, written on it before it is done.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum Work {
    /// The checkout.
    Checkout,
    /// It was decided to cancel: what is to be undone, and why.
    Cancel {
        /// What is to be undone.
        undo: Undo,
        /// Why.
        refusal: Refusal,
        /// Who wants it; the saga itself where it is not said.
        actor: Option<String>,
    },
    /// Money of returns is to be given back.
    Refund,
}

/// What cancelling has to undo.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Undo {
    /// Give held stock back. Not of a confirmed order: its stock follows the event.
    pub release: bool,
    /// Give the money back.
    pub void: bool,
}

impl Order {
    /// Whether the payment service is to be asked: nothing is charged on account, nor where nothing is due.
    pub fn is_charged(&self) -> bool {
        self.payment.method != PaymentMethod::OnAccount && self.total > Amount::ZERO
    }

    /// Products and pieces to hold: lines of one product count together, ad-hoc lines not at all.
    pub fn goods(&self) -> Vec<(ProductId, u32)> {
        let mut goods: std::collections::BTreeMap<&ProductId, u32> = std::collections::BTreeMap::new();
        for line in &self.lines {
            if let Some(product) = &line.product_id {
                let pieces = goods.entry(product).or_default();
                *pieces = pieces.saturating_add(line.quantity.get());
            }
        }
        goods.into_iter().map(|(product, pieces)| (product.clone(), pieces)).collect()
    }

    /// The same in the order in which they stand on the order.
    pub fn goods_as_bought(&self) -> Vec<(&ProductId, u32)> {
        let mut goods: Vec<(&ProductId, u32)> = Vec::new();
        for line in &self.lines {
            let Some(product) = &line.product_id else { continue };
            match goods.iter_mut().find(|(known, _)| *known == product) {
                Some((_, pieces)) => *pieces = pieces.saturating_add(line.quantity.get()),
                None => goods.push((product, line.quantity.get())),
            }
        }
        goods
    }

    /// Notes that the saga reached a state.
    pub fn reach(&mut self, state: State, now: Timestamp) {
        self.state = state;
        self.states.push(StateAt { state, at: now });
    }

    /// Moves its status, and notes who did and why.
    pub fn move_to(&mut self, status: Status, now: Timestamp, actor: Option<String>, reason: Option<String>) {
        self.status = status;
        self.history.push(Moved { status, at: now, actor, reason });
    }

    /// Moves its status as a confirmation does: goods that are sold at a till leave with the buyer at once.
    pub fn confirm(&mut self, now: Timestamp) {
        self.move_to(Status::Confirmed, now, None, None);
        if self.channel == Channel::Store {
            self.move_to(Status::Delivered, now, None, Some("sold at the till".into()));
        }
        self.reach(State::Confirmed, now);
    }

    /// Whether something of it came back.
    pub fn has_returns(&self) -> bool {
        self.lines.iter().any(|line| line.returned > 0)
    }

    /// Notes a change that is about to be stored, with one event that tells of it.
    pub fn touch(&mut self, now: Timestamp) {
        self.version += 1;
        self.sequence += 1;
        self.updated_at = now;
    }
}
