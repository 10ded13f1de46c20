//! Carts. A guest's is for whoever knows its id; a customer's for him, and for staff.

use auth::{Allow, AnyUser, Caller, MaybeCaller, Staff};
use axum::{
    extract::State as AxumState,
    response::{IntoResponse, Response},
};
use chassis::{Json, OptionalJson, Path, Problem, Query};
use commerce::{
    CustomerId, PlaceId, ProductId, Quantity,
    page::{BadPage, Page, PageQuery},
};
use http::{HeaderMap, HeaderValue, StatusCode, header};
use serde::Deserialize;
use utoipa::IntoParams;

use super::{
    State,
    cart_body::{CartBody, GUEST, ItemAnswer, NewCart, NewCheckout, NewClaim, NewItem, NewQuantity, guest_id},
    orders::{Running, bad, check_address, deadline, path, respond},
    own_place, request, staff_only,
};
use crate::{
    accept::Outcome,
    carts::{Edit, Edited, Keyed, Press, Whose},
    domain::{Cart, CartId, Order, PaymentMethod},
    error::Error,
    store::{self, Answer, carts::Filter},
};

/// The cart of that id, if the caller may have it.
async fn whose(state: &State, caller: Option<&Caller>, id: &str) -> Result<Whose, Problem> {
    let none = || Problem::not_found("cart");
    let cart_id = CartId::parse(id).map_err(|_| none())?;
    if id.starts_with(GUEST) {
        return Ok(Whose { id: cart_id, customer_id: None });
    }
    let caller = caller.ok_or_else(|| Problem::unauthenticated("A customer's cart wants his token."))?;
    super::people_only(caller)?;
    let customer = CustomerId::parse(id).map_err(|_| none())?;
    if !caller.is_customer(id) {
        if !caller.is_staff() {
            return Err(none());
        }
        let known = async {
            let mut tx = state.checkout.db.read().await?;
            let there = store::carts::find(&mut tx, id).await?.is_some();
            drop(tx);
            Ok::<_, Error>(there || state.checkout.clients.customer_exists(id.to_owned()).await?)
        };
        if !known.await? {
            return Err(none());
        }
    }
    Ok(Whose { id: cart_id, customer_id: Some(customer) })
}

/// Under whose name an Idempotency-Key is kept: whoever has no token is known by the cart's secret.
fn subject(caller: Option<&Caller>, cart: &Whose) -> String {
    caller.map_or_else(|| format!("cart:{}", cart.id), |caller| caller.subject.clone())
}

/// The version that the caller has seen, if he says.
fn seen(headers: &HeaderMap) -> Option<i64> {
    let tag = headers.get(header::IF_MATCH)?.to_str().unwrap_or_default().trim();
    // What is no version is none that the cart ever has.
    (tag != "*").then(|| tag.trim_matches('"').parse().unwrap_or(-1))
}

fn tagged(mut response: Response, version: i64) -> Response {
    if let Ok(tag) = HeaderValue::from_str(&format!("\"{version}\"")) {
        response.headers_mut().insert(header::ETAG, tag);
    }
    response
}

fn shown(state: &State, cart: &Cart) -> CartBody {
    CartBody::new(cart, Vec::new(), state.checkout.config.currency)
}

fn json(status: StatusCode, body: &impl serde::Serialize) -> Answer {
    // Plain structs always serialise.
    Answer { status: status.as_u16(), body: serde_json::to_string(body).unwrap_or_default() }
}

/// Makes an empty cart for a guest. Its id is the secret by which it is read and changed without a token. An Idempotency-Key
/// counts for callers with a token.
#[utoipa::path(post, path = "/api/carts", tag = "carts", request_body = Option<NewCart>,
    params(("Idempotency-Key" = Option<String>, Header)),
    responses((status = 201, body = CartBody), (status = 422)))]
pub(super) async fn create(
    AxumState(state): AxumState<State>,
    MaybeCaller(caller): MaybeCaller,
    headers: HeaderMap,
    OptionalJson(new): OptionalJson<NewCart>,
) -> Result<Response, Problem> {
    let new = new.unwrap_or_default();
    let payload_hash = request::payload_hash(&new);
    let keyed = match &caller {
        // Strangers that choose the same key must not come by each other's carts.
        None => None,
        Some(caller) => {
            let key = request::key(&headers, &caller.subject, store::CARTS_ROUTE)?;
            key.map(|key| Keyed { key, payload_hash })
        }
    };
    let render = |cart: &Cart| json(StatusCode::CREATED, &shown(&state, cart));
    let answer = state.checkout.guest_cart(guest_id()?, new.place_id, keyed, render).await.map_err(Problem::from)?;
    let id = serde_json::from_str::<serde_json::Value>(&answer.body).unwrap_or_default();
    Ok(request::stored(&format!("/api/carts/{}", id["id"].as_str().unwrap_or_default()), answer))
}

/// Which carts.
#[derive(Debug, Default, Deserialize, IntoParams)]
#[serde(default, deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(crate) struct CartQuery {
    /// The one that holds the item with this number.
    item_number: Option<i64>,
    /// Of this customer.
    customer_id: Option<String>,
    /// Rows wanted, 1 to 100; 20 if not said.
    limit: Option<u32>,
    /// Where the page before ended.
    cursor: Option<String>,
    /// Numbered page, from 1, down to 10,000 rows.
    page: Option<u32>,
    /// Whether the answer tells the `total`.
    include_total: Option<bool>,
}

/// Carts as they were last seen, the one that changed last first. For staff.
#[utoipa::path(get, path = "/api/carts", tag = "carts", params(CartQuery), responses((status = 200, body = Page<CartBody>)))]
pub(super) async fn list(
    AxumState(state): AxumState<State>,
    _caller: Allow<Staff>,
    Query(query): Query<CartQuery>,
) -> Result<Json<Page<CartBody>>, Problem> {
    let filter = Filter { item_number: query.item_number, customer_id: query.customer_id };
    let paging =
        PageQuery { limit: query.limit, cursor: query.cursor, page: query.page, include_total: query.include_total };
    let key = &state.cart_cursors;
    let window = paging.page_request::<(i64, String)>(key).map_err(|BadPage { field, message }| bad(field, message))?;
    let read = async {
        let mut tx = state.checkout.db.snapshot().await?;
        let carts = store::carts::list(&mut tx, &filter, &window).await?;
        let total = if window.include_total { Some(store::carts::count(&mut tx, &filter).await?) } else { None };
        Ok::<_, Error>((carts, total))
    };
    let (carts, total) = read.await?;
    let page = window.page(key, carts, total, |cart: &Cart| (cart.updated_at.micros(), cart.id.to_string()));
    Ok(Json(Page {
        data: page.data.iter().map(|cart| shown(&state, cart)).collect(),
        next_cursor: page.next_cursor,
        page: page.page,
        total: page.total,
    }))
}

/// A cart at the prices and with the availability of now; `changes` says what is different from when somebody last looked.
#[utoipa::path(get, path = "/api/carts/{id}", tag = "carts", params(("id" = String, Path)),
    responses((status = 200, body = CartBody), (status = 404)))]
pub(super) async fn get(
    AxumState(state): AxumState<State>,
    MaybeCaller(caller): MaybeCaller,
    Path(id): Path<String>,
) -> Result<Response, Problem> {
    let whose = whose(&state, caller.as_ref(), &id).await?;
    let (cart, changes) = state.checkout.look_into(&whose).await.map_err(Problem::from)?;
    let body = CartBody::new(&cart, changes, state.checkout.config.currency);
    Ok(tagged(Json(body).into_response(), cart.version))
}

/// Takes everything out of a cart.
#[utoipa::path(delete, path = "/api/carts/{id}", tag = "carts", params(("id" = String, Path), ("If-Match" = Option<String>, Header)),
    responses((status = 204), (status = 404), (status = 409), (status = 412)))]
pub(super) async fn clear(
    AxumState(state): AxumState<State>,
    MaybeCaller(caller): MaybeCaller,
    Path(id): Path<String>,
    headers: HeaderMap,
) -> Result<StatusCode, Problem> {
    let whose = whose(&state, caller.as_ref(), &id).await?;
    edit(&state, &whose, &Edit::Clear, &headers, None).await?;
    Ok(StatusCode::NO_CONTENT)
}

async fn edit(
    state: &State,
    whose: &Whose,
    edit: &Edit,
    headers: &HeaderMap,
    keyed: Option<&Keyed>,
) -> Result<Edited, Problem> {
    let created = |cart: &Cart, at: usize| match edit {
        Edit::Claim(_) => json(StatusCode::OK, &shown(state, cart)),
        _ => json(StatusCode::CREATED, &ItemAnswer::new(cart, at)),
    };
    state.checkout.edit_cart(whose, edit, seen(headers), keyed, created).await.map_err(Problem::from)
}

/// Puts pieces of a product into a cart, on top of those that are there.
#[utoipa::path(post, path = "/api/carts/{id}/items", tag = "carts", request_body = NewItem,
    params(("id" = String, Path), ("Idempotency-Key" = Option<String>, Header), ("If-Match" = Option<String>, Header)),
    responses((status = 201, body = ItemAnswer), (status = 404), (status = 409), (status = 412), (status = 422)))]
pub(super) async fn add(
    AxumState(state): AxumState<State>,
    MaybeCaller(caller): MaybeCaller,
    Path(id): Path<String>,
    headers: HeaderMap,
    Json(new): Json<NewItem>,
) -> Result<Response, Problem> {
    let whose = whose(&state, caller.as_ref(), &id).await?;
    let key = request::key(&headers, &subject(caller.as_ref(), &whose), store::CART_ITEMS_ROUTE)?;
    let keyed = key.map(|key| Keyed { key, payload_hash: request::payload_hash(&(&id, &new)) });
    let (product_id, quantity) = new.check()?;
    let item = state.checkout.new_item(&whose, product_id, quantity).await.map_err(Problem::from)?;
    let (answer, version) = match edit(&state, &whose, &Edit::Put(Box::new(item)), &headers, keyed.as_ref()).await? {
        Edited::Known(answer) => (answer, None),
        Edited::Done(cart, at) => (json(StatusCode::CREATED, &ItemAnswer::new(&cart, at)), Some(cart.version)),
    };
    let response = request::stored(&format!("/api/carts/{}", whose.id), answer);
    Ok(match version {
        Some(version) => tagged(response, version),
        None => response,
    })
}

/// Sets how many pieces of an item there are.
#[utoipa::path(put, path = "/api/carts/{id}/items/{item_id}", tag = "carts", request_body = NewQuantity,
    params(("id" = String, Path), ("item_id" = String, Path), ("If-Match" = Option<String>, Header)),
    responses((status = 200, body = ItemAnswer), (status = 404), (status = 409), (status = 412), (status = 422)))]
pub(super) async fn set(
    AxumState(state): AxumState<State>,
    MaybeCaller(caller): MaybeCaller,
    Path((id, item_id)): Path<(String, String)>,
    headers: HeaderMap,
    Json(new): Json<NewQuantity>,
) -> Result<Response, Problem> {
    let whose = whose(&state, caller.as_ref(), &id).await?;
    let quantity =
        Quantity::new(new.quantity).map_err(|invalid| Problem::invalid("quantity", "range", invalid.to_string()))?;
    match edit(&state, &whose, &Edit::Set(item_id, quantity), &headers, None).await? {
        Edited::Done(cart, at) => Ok(tagged(Json(ItemAnswer::new(&cart, at)).into_response(), cart.version)),
        Edited::Known(answer) => Ok(request::stored(&format!("/api/carts/{id}"), answer)),
    }
}

/// Takes an item out of a cart.
#[utoipa::path(delete, path = "/api/carts/{id}/items/{item_id}", tag = "carts",
    params(("id" = String, Path), ("item_id" = String, Path), ("If-Match" = Option<String>, Header)),
    responses((status = 204), (status = 404), (status = 409), (status = 412)))]
pub(super) async fn remove(
    AxumState(state): AxumState<State>,
    MaybeCaller(caller): MaybeCaller,
    Path((id, item_id)): Path<(String, String)>,
    headers: HeaderMap,
) -> Result<StatusCode, Problem> {
    let whose = whose(&state, caller.as_ref(), &id).await?;
    edit(&state, &whose, &Edit::Take(item_id), &headers, None).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// Moves what is in a guest's cart into a customer's.
#[utoipa::path(post, path = "/api/carts/{id}/claim", tag = "carts", request_body = NewClaim,
    params(("id" = String, Path), ("Idempotency-Key" = Option<String>, Header)),
    responses((status = 200, body = CartBody), (status = 404), (status = 409), (status = 422)))]
pub(super) async fn claim(
    AxumState(state): AxumState<State>,
    caller: Allow<AnyUser>,
    Path(id): Path<String>,
    headers: HeaderMap,
    Json(new): Json<NewClaim>,
) -> Result<Response, Problem> {
    let whose = whose(&state, Some(&caller), &id).await?;
    if whose.customer_id.is_none() {
        return Err(Problem::not_found("cart"));
    }
    let key = request::key(&headers, &caller.subject, store::CART_CLAIMS_ROUTE)?;
    let keyed = key.map(|key| Keyed { key, payload_hash: request::payload_hash(&(&id, &new)) });
    let path = format!("/api/carts/{id}");
    match edit(&state, &whose, &Edit::Claim(new.guest_id), &headers, keyed.as_ref()).await? {
        Edited::Done(cart, _) => Ok(tagged(Json(shown(&state, &cart)).into_response(), cart.version)),
        Edited::Known(answer) => Ok(request::stored(&path, answer)),
    }
}

/// Makes an order of a cart, once, however often it is asked for; all who ask get that order's outcome. A confirmed order
/// leaves the cart empty, a cancelled one leaves it as it was.
#[utoipa::path(post, path = "/api/carts/{id}/checkout", tag = "carts", request_body = Option<NewCheckout>,
    params(("id" = String, Path), ("Idempotency-Key" = Option<String>, Header), ("If-Match" = Option<String>, Header),
        ("Prefer" = Option<String>, Header)),
    responses((status = 201, body = Order), (status = 202, body = Running), (status = 402), (status = 404), (status = 409),
        (status = 412), (status = 422)))]
pub(super) async fn check_out(
    AxumState(state): AxumState<State>,
    caller: Allow<AnyUser>,
    Path(id): Path<String>,
    headers: HeaderMap,
    OptionalJson(new): OptionalJson<NewCheckout>,
) -> Result<Response, Problem> {
    let new = new.unwrap_or_default();
    let whose = whose(&state, Some(&caller), &id).await?;
    // What a guest has filled is bought by whoever has logged in meanwhile, or by somebody at the counter.
    let own = || caller.customer_id.as_deref().and_then(|id| CustomerId::parse(id).ok());
    let buyer = match &whose.customer_id {
        Some(customer) => Some(customer.clone()),
        None if caller.is_staff() => None,
        None => Some(own().ok_or_else(|| Problem::forbidden("A customer may order only for himself."))?),
    };
    let press = press(&state, &caller, whose, buyer, new, &headers).await?;
    let outcome = state.checkout.check_out(&press, deadline(&state, &headers)).await.map_err(Problem::from)?;
    match outcome {
        Outcome::Known(order) => {
            let answer = json(StatusCode::CREATED, &order);
            if press.key.is_some() {
                state.checkout.keep_answer(&order.id, &answer).await.map_err(Problem::from)?;
            }
            Ok(request::stored(&path(&order.id), answer))
        }
        outcome => respond(outcome),
    }
}

async fn press(
    state: &State,
    caller: &Caller,
    cart: Whose,
    buyer: Option<CustomerId>,
    new: NewCheckout,
    headers: &HeaderMap,
) -> Result<Press, Problem> {
    let key = request::key(headers, &caller.subject, store::CART_CHECKOUTS_ROUTE)?;
    let payload_hash = request::payload_hash(&(&cart.id, &buyer, &new));
    let method = new.payment.as_ref().map(|payment| payment.method).unwrap_or_default();
    if method != PaymentMethod::Card {
        staff_only(caller, "take cash or put an order on account")?;
    }
    let mut errors = Vec::new();
    if let Some(notes) = &new.notes {
        request::text(&mut errors, "notes", notes, 0..=2_000);
    }
    if let Some(address) = &new.shipping_address {
        check_address(&mut errors, address);
    }
    if !errors.is_empty() {
        return Err(Problem::fields(errors));
    }
    let read = async {
        let mut tx = state.checkout.db.snapshot().await?;
        state.checkout.load_cart(&mut tx, &cart).await
    };
    let chosen = read.await?.place_id;
    let place: Option<PlaceId> = new.place_id.or(chosen);
    own_place(caller, place.as_ref().map_or(state.checkout.config.default_place.as_str(), |id| id.as_str()))?;
    Ok(Press {
        cart,
        buyer,
        place_id: place,
        method,
        shipping_address: new.shipping_address,
        notes: new.notes,
        payload_hash,
        key,
        actor: caller.actor(),
        version: seen(headers),
    })
}

impl NewItem {
    fn check(self) -> Result<(ProductId, Quantity), Problem> {
        let quantity = Quantity::new(self.quantity)
            .map_err(|invalid| Problem::invalid("quantity", "range", invalid.to_string()))?;
        Ok((self.product_id, quantity))
    }
}
