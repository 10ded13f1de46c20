//! The order.

use std::collections::BTreeMap;

use commerce::{Amount, Currency, CustomerId, LineId, OrderId, PaymentId, PlaceId, ProductId, Quantity, Timestamp};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::{CartId, SagaState, Status, saga::CancelReason};

/// An order.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, ToSchema)]
pub struct Order {
    /// The order's id: generated, or chosen by the client.
    pub id: OrderId,
    /// The order's number, counted from 1.
    pub number: i64,
    /// The customer who buys; null for a walk-in sale.
    pub customer_id: Option<CustomerId>,
    /// The place whose stock the order uses.
    pub place_id: PlaceId,
    /// Where the order was placed.
    pub channel: Channel,
    /// The state of the checkout.
    pub state: SagaState,
    /// The status, which staff changes after the confirmation.
    pub status: Status,
    /// The states that the checkout has reached, with their times.
    pub states: Vec<StateAt>,
    /// The changes of the status, oldest first.
    pub history: Vec<StatusChange>,
    /// The lines, as requested; lines of one product are not merged.
    pub lines: Vec<Line>,
    /// Discounts and fees.
    pub adjustments: Vec<Adjustment>,
    /// The sum of lines and adjustments.
    pub total: Amount,
    /// The currency of all amounts of the order, as ISO 4217 code.
    pub currency: Currency,
    /// The payment.
    pub payment: Payment,
    /// Why the order was cancelled.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// The shipping address.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub shipping_address: Option<Address>,
    /// Notes of the client or staff.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub notes: Option<String>,
    /// The client's own data.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub metadata: BTreeMap<String, String>,
    /// Whether the order is archived: hidden from all but admins and services.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub archived: bool,
    /// When the order was placed, as the request gives it.
    pub placed_at: Timestamp,
    /// When the order was stored.
    pub created_at: Timestamp,
    /// When the order last changed.
    pub updated_at: Timestamp,
    /// The version, counted from 1; also the `ETag`.
    pub version: i64,
    /// The sequence of the order's last event.
    #[serde(skip)]
    pub sequence: i64,
    /// The cart that the order was made of; its checkout ends when the order is terminal.
    #[serde(skip)]
    pub cart_id: Option<CartId>,
}

/// Where an order was placed: `web`, whose goods are shipped, or `store`, whose goods the buyer takes along.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum Channel {
    /// Online: the goods are shipped.
    #[default]
    Web,
    /// In a store: the buyer takes the goods along.
    Store,
}

impl Channel {
    /// The wire name.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Web => "web",
            Self::Store => "store",
        }
    }

    /// Parses a wire name.
    pub fn parse(text: &str) -> Option<Self> {
        [Self::Web, Self::Store].into_iter().find(|channel| channel.as_str() == text)
    }
}

/// A state that the checkout has reached.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct StateAt {
    /// The state.
    pub state: SagaState,
    /// When it was reached.
    pub at: Timestamp,
}

/// A change of an order's status.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct StatusChange {
    /// The new status.
    pub status: Status,
    /// When it changed.
    pub at: Timestamp,
    /// The user or program that changed it; missing when the checkout did.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub actor: Option<String>,
    /// The reason, if one was given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
}

/// A line of an order: a product of the catalogue, or an ad-hoc line by name, which uses no stock.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, ToSchema)]
pub struct Line {
    /// The line's id within the order: its position from 1.
    pub line_id: LineId,
    /// The product; missing in an ad-hoc line.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub product_id: Option<ProductId>,
    /// The product's name when it was bought, or the name of the ad-hoc line.
    pub name: String,
    /// Pieces bought.
    pub quantity: Quantity,
    /// Pieces returned.
    pub returned: u32,
    /// Price of one piece.
    pub unit_price: Amount,
    /// Price of the line: quantity times unit price.
    pub subtotal: Amount,
}

/// A discount or fee on the total.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Adjustment {
    /// What it is for, 1 to 200 characters.
    pub label: String,
    /// The amount; negative for a discount.
    pub amount: Amount,
}

/// A postal address. Each field has at most 200 characters.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Address {
    /// Street and number.
    pub line1: String,
    /// Second line.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub line2: Option<String>,
    /// City.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub city: Option<String>,
    /// State or region.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub state: Option<String>,
    /// Postal code.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub postal_code: Option<String>,
    /// Country.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub country: Option<String>,
}

/// The payment method of an order: `card` is charged by the payment service, `cash` is recorded as captured, `on_account`
/// charges nothing. Customers may only pay by card.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum PaymentMethod {
    /// By card: charged by the payment service.
    #[default]
    Card,
    /// In cash: recorded as captured at once. Staff only.
    Cash,
    /// On account: nothing is charged. Staff only.
    OnAccount,
}

impl PaymentMethod {
    /// The wire name.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Card => "card",
            Self::Cash => "cash",
            Self::OnAccount => "on_account",
        }
    }

    /// Parses a wire name.
    pub fn parse(text: &str) -> Option<Self> {
        [Self::Card, Self::Cash, Self::OnAccount].into_iter().find(|method| method.as_str() == text)
    }
}

/// The payment of an order.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, ToSchema)]
pub struct Payment {
    /// The payment method.
    pub method: PaymentMethod,
    /// The status of the payment in the payment service, such as `captured`; `none` before it is charged or when nothing is.
    pub status: String,
    /// The id of the payment in the payment service.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub id: Option<PaymentId>,
}

/// What is still to be done for an order. It is stored with the order before it is done, so that another replica can resume it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum PendingWork {
    /// The checkout.
    Checkout,
    /// A cancellation that is decided.
    Cancel {
        /// What to undo.
        undo: Undo,
        /// Why.
        #[serde(rename = "refusal")]
        reason: CancelReason,
        /// Who cancelled; `None`: the saga.
        actor: Option<String>,
    },
    /// The refunds of returns.
    Refund,
}

/// What a cancellation has to undo.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Undo {
    /// Release the reserved stock. False for a confirmed order, whose stock follows the event.
    pub release: bool,
    /// Void the payment.
    pub void: bool,
}

impl Order {
    /// Whether the payment service charges the order: not on account, and not if the total is 0.
    pub fn is_charged(&self) -> bool {
        self.payment.method != PaymentMethod::OnAccount && self.total > Amount::ZERO
    }

    /// Products and pieces to reserve: lines of one product are added up, ad-hoc lines left out.
    pub fn goods(&self) -> Vec<(ProductId, u32)> {
        let mut goods: BTreeMap<&ProductId, u32> = BTreeMap::new();
        for line in &self.lines {
            if let Some(product) = &line.product_id {
                let pieces = goods.entry(product).or_default();
                *pieces = pieces.saturating_add(line.quantity.get());
            }
        }
        goods.into_iter().map(|(product, pieces)| (product.clone(), pieces)).collect()
    }

    /// The same, in the order of the lines.
    pub fn goods_in_line_order(&self) -> Vec<(&ProductId, u32)> {
        let mut goods: Vec<(&ProductId, u32)> = Vec::new();
        for line in &self.lines {
            let Some(product) = &line.product_id else { continue };
            match goods.iter_mut().find(|(other, _)| *other == product) {
                Some((_, pieces)) => *pieces = pieces.saturating_add(line.quantity.get()),
                None => goods.push((product, line.quantity.get())),
            }
        }
        goods
    }

    /// Records a state that the saga has reached.
    pub fn reach_state(&mut self, state: SagaState, now: Timestamp) {
        self.state = state;
        self.states.push(StateAt { state, at: now });
    }

    /// Changes the status, and records who did and why.
    pub fn set_status(&mut self, status: Status, now: Timestamp, actor: Option<String>, reason: Option<String>) {
        self.status = status;
        self.history.push(StatusChange { status, at: now, actor, reason });
    }

    /// Confirms the order. One that is sold in a store is delivered at once.
    pub fn confirm(&mut self, now: Timestamp) {
        self.set_status(Status::Confirmed, now, None, None);
        if self.channel == Channel::Store {
            self.set_status(Status::Delivered, now, None, Some("sold at the till".into()));
        }
        self.reach_state(SagaState::Confirmed, now);
    }

    /// Whether some pieces were returned.
    pub fn has_returns(&self) -> bool {
        self.lines.iter().any(|line| line.returned > 0)
    }

    /// Counts a change that is stored with one event.
    pub fn touch(&mut self, now: Timestamp) {
        self.version += 1;
        self.sequence += 1;
        self.updated_at = now;
    }
}
