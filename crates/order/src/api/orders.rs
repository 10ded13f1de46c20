//! Orders.

use std::{collections::BTreeMap, time::Duration};

use auth::{Allow, AnyUser, Caller};
use axum::{
    extract::State as AxumState,
    response::{IntoResponse, Response},
};
use chassis::{FieldError, Json, Kind, Path, Problem, Query};
use commerce::{
    Amount, Currency, CustomerId, OrderId, PlaceId, ProductId, Quantity, Timestamp,
    page::{BadPage, Page, PageQuery},
};
use http::{HeaderMap, HeaderValue, StatusCode, header};
use serde::{Deserialize, Serialize};
use tokio::time::Instant;
use utoipa::{IntoParams, ToSchema};

use super::{State, own_place, request, staff_only, visible};
use crate::{
    accept::{Asked, AskedLine, Outcome},
    domain::{Address, Adjustment, Channel, Order, PaymentMethod, Status},
    store::{self, Filter},
};

const MOST_LINES: usize = 1_000;

/// A new order.
#[derive(Debug, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(example = json!({"lines": [{"product_id": "1", "quantity": 2}]}))]
pub(crate) struct NewOrder {
    /// DeadLetterFilter by the client; the same id never makes a second order.
    #[serde(default)]
    pub(super) id: Option<OrderId>,
    /// Who buys; a customer himself if he does not say, a walk-in if staff does not.
    #[serde(default)]
    pub(super) customer_id: Option<CustomerId>,
    /// Whose stock; the logistics centre if not said.
    #[serde(default)]
    pub(super) place_id: Option<PlaceId>,
    /// When it was placed; staff only.
    #[serde(default)]
    pub(super) placed_at: Option<Timestamp>,
    /// EUR if not said.
    #[serde(default)]
    pub(super) currency: Option<Currency>,
    /// By card if not said.
    #[serde(default)]
    pub(super) payment: Option<NewPayment>,
    /// 1 to 1,000 of them.
    pub(super) lines: Vec<NewLine>,
    /// Discounts and fees; staff only.
    #[serde(default)]
    pub(super) adjustments: Vec<Adjustment>,
    /// Where it goes.
    #[serde(default)]
    pub(super) shipping_address: Option<Address>,
    /// At most 2,000 characters.
    #[serde(default)]
    pub(super) notes: Option<String>,
    /// What the client wants to find with it again: at most 20 entries of at most 500 characters.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub(super) metadata: BTreeMap<String, String>,
}

/// How it is paid.
#[derive(Debug, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct NewPayment {
    /// card, cash or on_account.
    pub(super) method: PaymentMethod,
}

/// A line: `product_id`, or `name` and `unit_price` (staff only).
#[derive(Debug, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct NewLine {
    /// The SKU.
    #[serde(default)]
    product_id: Option<ProductId>,
    /// Of an ad-hoc line.
    #[serde(default)]
    name: Option<String>,
    /// Pieces, from 1 to 1,000,000.
    #[schema(value_type = i64, minimum = 1, maximum = 1_000_000)]
    quantity: i64,
    /// Instead of the catalogue's price; staff only.
    #[serde(default)]
    unit_price: Option<Amount>,
}

impl NewOrder {
    pub(super) fn check(self, caller: &Caller, headers: &HeaderMap, channel: Channel) -> Result<Asked, Problem> {
        let buyer = buyer(caller, self.customer_id.clone())?;
        // Who buys belongs to what is asked for: the same words from somebody else are another order. So does where.
        let (payload_hash, route) = match channel {
            Channel::Web => (request::payload_hash(&(&buyer, &self)), store::ORDERS_ROUTE),
            Channel::Store => (request::payload_hash(&(&buyer, &self, "store")), store::SALES_ROUTE),
        };
        let key = request::key(headers, &caller.subject, route)?;
        let mut errors = Vec::new();
        if !(1..=MOST_LINES).contains(&self.lines.len()) {
            errors.push(FieldError::new("lines", "length", format!("1 to {MOST_LINES} lines")));
        }
        let lines = self
            .lines
            .into_iter()
            .enumerate()
            .filter_map(|(position, line)| line.check(position, caller, &mut errors).transpose())
            .collect::<Result<Vec<AskedLine>, Problem>>()?;
        // What is said to be paid must have been seen to be paid, and credit is for the shop to give.
        if self.payment.as_ref().is_some_and(|payment| payment.method != PaymentMethod::Card) {
            staff_only(caller, "take cash or put an order on account")?;
        }
        if !self.adjustments.is_empty() {
            staff_only(caller, "adjust the total")?;
        }
        for (position, adjustment) in self.adjustments.iter().enumerate().take(MOST_LINES) {
            request::text(&mut errors, &format!("adjustments[{position}].label"), &adjustment.label, 1..=200);
        }
        if self.adjustments.len() > 100 {
            errors.push(FieldError::new("adjustments", "length", "at most 100"));
        }
        if self.placed_at.is_some() {
            staff_only(caller, "say when an order was placed")?;
        }
        if let Some(notes) = &self.notes {
            request::text(&mut errors, "notes", notes, 0..=2_000);
        }
        check_metadata(&mut errors, &self.metadata);
        if let Some(address) = &self.shipping_address {
            check_address(&mut errors, address);
        }
        if self.id.as_ref().is_some_and(|id| id.as_str().starts_with("legacy:")) {
            errors.push(FieldError::new("id", "reserved", "ids that begin with `legacy:` are of an older fleet"));
        }
        if !errors.is_empty() {
            return Err(Problem::fields(errors));
        }
        Ok(Asked {
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
            actor: caller.actor(),
        })
    }
}

/// Names are short, and there are few.
pub(super) fn check_metadata<'a, V: AsRef<str> + 'a>(
    errors: &mut Vec<FieldError>,
    metadata: impl IntoIterator<Item = (&'a String, &'a V)>,
) {
    let mut count = 0;
    for (name, value) in metadata {
        count += 1;
        request::text(errors, "metadata", name, 1..=40);
        request::text(errors, &format!("metadata.{name}"), value.as_ref(), 0..=500);
    }
    if count > 20 {
        errors.push(FieldError::new("metadata", "length", "at most 20 entries"));
    }
}

impl NewLine {
    fn check(
        self,
        position: usize,
        caller: &Caller,
        errors: &mut Vec<FieldError>,
    ) -> Result<Option<AskedLine>, Problem> {
        let field = |name: &str| format!("lines[{position}].{name}");
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
            staff_only(caller, "set prices")?;
        }
        Ok(match (self.product_id, self.name, self.unit_price) {
            (Some(id), None, unit_price) => Some(AskedLine::Product { id, quantity, unit_price }),
            (None, Some(name), Some(unit_price)) => {
                request::text(errors, &field("name"), &name, 1..=200);
                Some(AskedLine::AdHoc { name, quantity, unit_price })
            }
            _ => {
                let message = "either product_id, or name with unit_price";
                errors.push(FieldError::new(format!("lines[{position}]"), "shape", message));
                None
            }
        })
    }
}

/// Who buys: a customer only for himself, staff for anybody or a walk-in.
fn buyer(caller: &Caller, asked: Option<CustomerId>) -> Result<Option<CustomerId>, Problem> {
    if caller.is_staff() {
        return Ok(asked);
    }
    let own = caller.customer_id.as_deref().and_then(|id| CustomerId::parse(id).ok());
    match (asked, own) {
        (asked, Some(own)) if asked.as_ref().is_none_or(|asked| *asked == own) => Ok(Some(own)),
        _ => Err(Problem::forbidden("A customer may order only for himself.")),
    }
}

pub(super) fn check_address(errors: &mut Vec<FieldError>, address: &Address) {
    request::text(errors, "shipping_address.line1", &address.line1, 1..=200);
    let optional = [
        ("line2", &address.line2),
        ("city", &address.city),
        ("state", &address.state),
        ("postal_code", &address.postal_code),
        ("country", &address.country),
    ];
    for (name, value) in optional {
        if let Some(value) = value {
            request::text(errors, &format!("shipping_address.{name}"), value, 0..=200);
        }
    }
}

/// Where an order that is still running is to be asked for.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct Running {
    id: OrderId,
    state: crate::domain::State,
    status: Status,
    status_url: String,
}

/// Takes an order and answers with its outcome, or 202 when that takes longer (or `Prefer: respond-async`).
#[utoipa::path(post, path = "/api/orders", tag = "orders", request_body = NewOrder,
    params(("Idempotency-Key" = Option<String>, Header), ("Prefer" = Option<String>, Header)),
    responses((status = 201, body = Order), (status = 202, body = Running), (status = 402), (status = 409), (status = 422)))]
pub(super) async fn create(
    AxumState(state): AxumState<State>,
    caller: Allow<AnyUser>,
    headers: HeaderMap,
    Json(new): Json<NewOrder>,
) -> Result<Response, Problem> {
    let asked = new.check(&caller, &headers, Channel::Web)?;
    let place = asked.place_id.as_ref().map_or(state.checkout.config.default_place.as_str(), |id| id.as_str());
    own_place(&caller, place)?;
    let outcome = state.checkout.accept(asked, deadline(&state, &headers)).await.map_err(Problem::from)?;
    respond(outcome)
}

/// Until when the client waits for its answer.
pub(super) fn deadline(state: &State, headers: &HeaderMap) -> Instant {
    let patience = if request::respond_async(headers) { Duration::ZERO } else { state.checkout.patience() };
    Instant::now() + patience
}

/// What a request for an order is answered with.
pub(super) fn respond(outcome: Outcome) -> Result<Response, Problem> {
    Ok(match outcome {
        Outcome::Final(id, answer) => request::stored(&path(&id), answer),
        Outcome::Known(order) => {
            let mut response = request::order_response(StatusCode::OK, &order);
            request::locate(&mut response, &path(&order.id));
            response
        }
        Outcome::Running(id, at, status) => running(id, at, status),
        Outcome::CartChanged => return Err(Problem::new(Kind::Conflict, "The cart was changed meanwhile; try again.")),
    })
}

pub(super) fn path(id: &OrderId) -> String {
    format!("/api/orders/{id}")
}

pub(super) fn running(id: OrderId, state: crate::domain::State, status: Status) -> Response {
    let path = path(&id);
    let body = Running { id, state, status, status_url: path.clone() };
    let mut response = (StatusCode::ACCEPTED, Json(body)).into_response();
    response.headers_mut().insert(header::RETRY_AFTER, HeaderValue::from_static("1"));
    request::locate(&mut response, &path);
    response
}

/// Which orders.
#[derive(Debug, Default, Deserialize, IntoParams)]
#[serde(default, deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(crate) struct ListQuery {
    /// Of this customer.
    customer_id: Option<String>,
    /// pending, confirmed, processing, shipped, delivered, cancelled.
    status: Option<String>,
    /// Of this place.
    place_id: Option<String>,
    /// web, store.
    channel: Option<String>,
    /// The one of this number.
    number: Option<i64>,
    /// Placed then or later.
    placed_from: Option<Timestamp>,
    /// Placed earlier.
    placed_to: Option<Timestamp>,
    /// `-number` (newest first) or `number`.
    sort: Option<String>,
    /// Rows wanted, 1 to 100; 20 if not said.
    limit: Option<u32>,
    /// Where the page before ended.
    cursor: Option<String>,
    /// Numbered page, from 1, down to 10,000 rows.
    page: Option<u32>,
    /// Whether the answer tells the `total`.
    include_total: Option<bool>,
}

pub(super) fn bad(field: &str, message: impl Into<String>) -> Problem {
    Problem::new(Kind::Unreadable, format!("{field}: {}", message.into()))
}

impl ListQuery {
    fn filter(&self, caller: &Caller) -> Result<Filter, Problem> {
        let status = match &self.status {
            None => None,
            Some(text) => Some(Status::parse(text).ok_or_else(|| {
                bad("status", format!("`{text}` is none of {}", Status::ALL.map(Status::as_str).join(", ")))
            })?),
        };
        let channel = match self.channel.as_deref() {
            None => None,
            Some(text) => {
                Some(Channel::parse(text).ok_or_else(|| bad("channel", format!("`{text}` is none of web, store")))?)
            }
        };
        let ascending = match self.sort.as_deref() {
            None | Some("-number") => false,
            Some("number") => true,
            Some(_) => return Err(bad("sort", "number or -number")),
        };
        let mut filter = Filter {
            customer_id: self.customer_id.clone(),
            status,
            place_id: self.place_id.clone(),
            places: None,
            channel,
            number: self.number,
            from: self.placed_from,
            to: self.placed_to,
            ascending,
        };
        if caller.is_staff() && !caller.is_admin() {
            filter.places = Some(caller.stores.clone());
        } else if !caller.is_staff() && !caller.is_service() {
            let own = caller.customer_id.clone().unwrap_or_default();
            if filter.customer_id.as_ref().is_some_and(|asked| *asked != own) {
                return Err(Problem::not_found("customer"));
            }
            filter.customer_id = Some(own);
        }
        Ok(filter)
    }
}

/// Orders that the caller may see.
#[utoipa::path(get, path = "/api/orders", tag = "orders", params(ListQuery), responses((status = 200, body = Page<Order>)))]
pub(super) async fn list(
    AxumState(state): AxumState<State>,
    caller: Caller,
    Query(query): Query<ListQuery>,
) -> Result<Json<Page<Order>>, Problem> {
    let filter = query.filter(&caller)?;
    let paging =
        PageQuery { limit: query.limit, cursor: query.cursor, page: query.page, include_total: query.include_total };
    let window =
        paging.page_request::<i64>(&state.cursors).map_err(|BadPage { field, message }| bad(field, message))?;
    let db = &state.checkout.db;
    let page = async {
        let mut tx = db.snapshot().await?;
        let held = store::list(&mut tx, &filter, &window).await?;
        let total = if window.include_total { Some(store::count(&mut tx, &filter).await?) } else { None };
        Ok::<_, crate::error::Error>((held, total))
    };
    let (held, total) = page.await.map_err(Problem::from)?;
    let orders = held.into_iter().map(|held| held.order).collect();
    Ok(Json(window.page(&state.cursors, orders, total, |order: &Order| order.number)))
}

/// An order by id, with its history.
#[utoipa::path(get, path = "/api/orders/{id}", tag = "orders", params(("id" = String, Path)),
    responses((status = 200, body = Order), (status = 404)))]
pub(super) async fn get(
    AxumState(state): AxumState<State>,
    caller: Caller,
    Path(id): Path<String>,
) -> Result<Response, Problem> {
    let order = find(&state, &caller, &id).await?;
    Ok(request::order_response(StatusCode::OK, &order))
}

/// The order, if it is there and the caller may see it.
pub(super) async fn find(state: &State, caller: &Caller, id: &str) -> Result<Order, Problem> {
    let read = async {
        let mut tx = state.checkout.db.snapshot().await?;
        Ok::<_, crate::error::Error>(store::find(&mut tx, id).await?)
    };
    let held = read.await.map_err(Problem::from)?;
    match held {
        Some(held) if !held.order.archived || caller.is_admin() || caller.is_service() => visible(caller, held.order),
        _ => Err(Problem::not_found("order")),
    }
}
