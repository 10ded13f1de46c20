//! Carts. The id of a guest's cart is all that is needed to use it; a customer's cart is for the customer and for staff.

use auth::{Allow, AnyUser, Caller, MaybeCaller, Staff};
use axum::{
    extract::State,
    response::{IntoResponse, Response},
};
use chassis::{Json, OptionalJson, Path, Problem, check_text, conditional};
use commerce::{
    CustomerId, PlaceId, ProductId, Quantity,
    page::{Page, PageQuery},
};
use http::{HeaderMap, StatusCode};
use serde::Deserialize;
use service::{List, bad_page};
use utoipa::IntoParams;

use super::{
    ApiState,
    cart_body::{
        CartBody, CheckoutOptions, ClaimRequest, EditedItem, GUEST_PREFIX, NewCart, NewItem, QuantityUpdate,
        new_guest_id,
    },
    order_body::{check_address, not_own_order, own_customer_id},
    orders::{OrderInProgress, deadline, outcome_response, path},
    request::payload_hash,
    require_own_place, require_staff, require_user, response,
};
use idempotency::{Key, KeyedRequest};

use crate::{
    app::{
        CartFilter,
        carts::{self, CartRef, Edit, Edited},
        checkout_cart::{self, CheckoutRequest},
        outcome::Outcome,
        queries, routes,
    },
    domain::{Cart, CartId, Order, PaymentMethod},
};

/// The cart with this id; 404 if the caller may not see it.
async fn authorise(state: &ApiState, caller: Option<&Caller>, id: &str) -> Result<CartRef, Problem> {
    let not_found = || Problem::not_found("cart");
    let cart_id = CartId::parse(id).map_err(|_| not_found())?;
    if id.starts_with(GUEST_PREFIX) {
        return Ok(CartRef { id: cart_id, customer_id: None });
    }
    let caller = caller.ok_or_else(|| Problem::unauthenticated("A customer's cart requires a token."))?;
    require_user(caller)?;
    let customer = CustomerId::parse(id).map_err(|_| not_found())?;
    let visible = caller.is_customer(id) || (caller.is_staff() && carts::customer_cart_exists(&state.app, id).await?);
    if visible { Ok(CartRef { id: cart_id, customer_id: Some(customer) }) } else { Err(not_found()) }
}

/// The subject of an Idempotency-Key: the caller, or the cart for requests without a token.
fn key_subject(caller: Option<&Caller>, cart: &CartRef) -> String {
    caller.map_or_else(|| format!("cart:{}", cart.id), |caller| caller.subject.clone())
}

fn body(state: &ApiState, cart: &Cart) -> CartBody {
    CartBody::new(cart, Vec::new(), state.app.config.currency)
}

/// Creates an empty cart for a guest.
///
/// The id of the cart is a secret: it is all that is needed to read and edit the cart. `Idempotency-Key` has an effect only
/// with a token.
#[utoipa::path(post, path = "/api/carts", operation_id = "createCart", tag = "carts", request_body = Option<NewCart>,
    params(("Idempotency-Key" = Option<String>, Header)),
    responses(
        (status = 201, body = CartBody, description = "The new cart"),
        (status = 422, description = "There is no such place")))]
pub(super) async fn create(
    State(state): State<ApiState>,
    MaybeCaller(caller): MaybeCaller,
    headers: HeaderMap,
    OptionalJson(new): OptionalJson<NewCart>,
) -> Result<Response, Problem> {
    let new = new.unwrap_or_default();
    let keyed = match &caller {
        // Without a token, two guests with the same key would get the same cart.
        None => None,
        Some(caller) => KeyedRequest::from_headers(&headers, &caller.subject, routes::CARTS, &new)?,
    };
    let render = |cart: &Cart| response::rendered(StatusCode::CREATED, &body(&state, cart));
    let answer = carts::create_guest_cart(&state.app, new_guest_id()?, new.place_id, keyed, render).await?;
    let id = serde_json::from_str::<serde_json::Value>(&answer.body).unwrap_or_default();
    Ok(response::stored(&format!("/api/carts/{}", id["id"].as_str().unwrap_or_default()), answer))
}

/// Filter of the list of carts.
#[derive(Debug, Default, Deserialize, IntoParams)]
#[serde(default, deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(crate) struct ListFilter {
    /// Only the cart that contains the item with this number.
    item_number: Option<i64>,
    /// Only the cart of this customer.
    customer_id: Option<String>,
}

/// Lists carts, last changed first, without refreshing their prices. For staff.
#[utoipa::path(get, path = "/api/carts", operation_id = "listCarts", tag = "carts", params(ListFilter, PageQuery),
    responses((status = 200, body = Page<CartBody>, description = "A page of carts")))]
pub(super) async fn list(
    State(state): State<ApiState>,
    _caller: Allow<Staff>,
    List { filter, paging }: List<ListFilter>,
) -> Result<Json<Page<CartBody>>, Problem> {
    let filter = CartFilter { item_number: filter.item_number, customer_id: filter.customer_id };
    let cursors = &state.cart_cursors;
    let request = paging.page_request::<(i64, String)>(cursors).map_err(bad_page)?;
    let (carts, total) = queries::list_carts(&state.app, &filter, &request).await?;
    let page = request.page(cursors, carts, total, |cart: &Cart| (cart.updated_at.micros(), cart.id.to_string()));
    Ok(Json(Page {
        data: page.data.iter().map(|cart| body(&state, cart)).collect(),
        next_cursor: page.next_cursor,
        page: page.page,
        total: page.total,
    }))
}

/// Reads a cart at the present prices and availability.
///
/// `changes` of an item lists what has changed since it was added or the cart was last read. A customer's cart exists, empty,
/// before its first item.
#[utoipa::path(get, path = "/api/carts/{id}", operation_id = "getCart", tag = "carts", params(("id" = String, Path)),
    responses((status = 200, body = CartBody, description = "The cart")))]
pub(super) async fn get(
    State(state): State<ApiState>,
    MaybeCaller(caller): MaybeCaller,
    Path(id): Path<String>,
) -> Result<Response, Problem> {
    let cart_ref = authorise(&state, caller.as_ref(), &id).await?;
    let (cart, changes) = carts::refresh_cart(&state.app, &cart_ref).await?;
    let body = CartBody::new(&cart, changes, state.app.config.currency);
    Ok(response::with_etag(Json(body).into_response(), cart.version))
}

/// Removes all items of a cart.
#[utoipa::path(delete, path = "/api/carts/{id}", operation_id = "clearCart", tag = "carts",
    params(("id" = String, Path), ("If-Match" = Option<String>, Header)),
    responses(
        (status = 204, description = "Cleared"),
        (status = 409, description = "The cart is being checked out")))]
pub(super) async fn clear(
    State(state): State<ApiState>,
    MaybeCaller(caller): MaybeCaller,
    Path(id): Path<String>,
    headers: HeaderMap,
) -> Result<StatusCode, Problem> {
    let cart_ref = authorise(&state, caller.as_ref(), &id).await?;
    edit(&state, &cart_ref, &Edit::Clear, &headers, None).await?;
    Ok(StatusCode::NO_CONTENT)
}

async fn edit(
    state: &ApiState,
    cart_ref: &CartRef,
    edit: &Edit,
    headers: &HeaderMap,
    keyed: Option<&KeyedRequest>,
) -> Result<Edited, Problem> {
    let render = |cart: &Cart, index: usize| match edit {
        Edit::Claim(_) => response::rendered(StatusCode::OK, &body(state, cart)),
        _ => response::rendered(StatusCode::CREATED, &EditedItem::new(cart, index)),
    };
    carts::edit(&state.app, cart_ref, edit, conditional::if_match(headers), keyed, render).await.map_err(Problem::from)
}

/// Adds pieces of a product to a cart.
///
/// Pieces of a product that the cart contains are added to its item. Refused with 409 during a checkout.
#[utoipa::path(post, path = "/api/carts/{id}/items", operation_id = "addCartItem", tag = "carts", request_body = NewItem,
    params(("id" = String, Path), ("Idempotency-Key" = Option<String>, Header), ("If-Match" = Option<String>, Header)),
    responses(
        (status = 201, body = EditedItem, description = "The item"),
        (status = 409, description = "The cart is being checked out"),
        (status = 422, description = "The quantity is out of range, or the catalogue does not sell the product")))]
pub(super) async fn add_item(
    State(state): State<ApiState>,
    MaybeCaller(caller): MaybeCaller,
    Path(id): Path<String>,
    headers: HeaderMap,
    Json(new): Json<NewItem>,
) -> Result<Response, Problem> {
    let cart_ref = authorise(&state, caller.as_ref(), &id).await?;
    let subject = key_subject(caller.as_ref(), &cart_ref);
    let keyed = KeyedRequest::from_headers(&headers, &subject, routes::CART_ITEMS, &(&id, &new))?;
    let (product_id, quantity) = new.check()?;
    let item = carts::new_item(&state.app, &cart_ref, product_id, quantity).await?;
    let location = format!("/api/carts/{}", cart_ref.id);
    match edit(&state, &cart_ref, &Edit::Add(Box::new(item)), &headers, keyed.as_ref()).await? {
        Edited::Repeated(answer) => Ok(response::stored(&location, answer)),
        Edited::Done(cart, index) => {
            let answer = response::rendered(StatusCode::CREATED, &EditedItem::new(&cart, index));
            Ok(response::with_etag(response::stored(&location, answer), cart.version))
        }
    }
}

/// Sets the quantity of an item.
#[utoipa::path(put, path = "/api/carts/{id}/items/{item_id}", operation_id = "setCartItemQuantity", tag = "carts",
    request_body = QuantityUpdate,
    params(("id" = String, Path), ("item_id" = String, Path), ("If-Match" = Option<String>, Header)),
    responses(
        (status = 200, body = EditedItem, description = "The item"),
        (status = 409, description = "The cart is being checked out"),
        (status = 422, description = "The quantity is out of range")))]
pub(super) async fn set_quantity(
    State(state): State<ApiState>,
    MaybeCaller(caller): MaybeCaller,
    Path((id, item_id)): Path<(String, String)>,
    headers: HeaderMap,
    Json(new): Json<QuantityUpdate>,
) -> Result<Response, Problem> {
    let cart_ref = authorise(&state, caller.as_ref(), &id).await?;
    let quantity = check_quantity(new.quantity)?;
    match edit(&state, &cart_ref, &Edit::SetQuantity(item_id, quantity), &headers, None).await? {
        Edited::Done(cart, index) => {
            Ok(response::with_etag(Json(EditedItem::new(&cart, index)).into_response(), cart.version))
        }
        Edited::Repeated(answer) => Ok(response::stored(&format!("/api/carts/{id}"), answer)),
    }
}

/// Removes an item of a cart.
#[utoipa::path(delete, path = "/api/carts/{id}/items/{item_id}", operation_id = "removeCartItem", tag = "carts",
    params(("id" = String, Path), ("item_id" = String, Path), ("If-Match" = Option<String>, Header)),
    responses(
        (status = 204, description = "Removed"),
        (status = 409, description = "The cart is being checked out")))]
pub(super) async fn remove_item(
    State(state): State<ApiState>,
    MaybeCaller(caller): MaybeCaller,
    Path((id, item_id)): Path<(String, String)>,
    headers: HeaderMap,
) -> Result<StatusCode, Problem> {
    let cart_ref = authorise(&state, caller.as_ref(), &id).await?;
    edit(&state, &cart_ref, &Edit::Remove(item_id), &headers, None).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// Moves all items of a guest's cart into a customer's cart.
///
/// Refused with 422 when the guest's cart does not exist, and with 409 during a checkout of either cart.
#[utoipa::path(post, path = "/api/carts/{id}/claim", operation_id = "claimCart", tag = "carts",
    request_body = ClaimRequest,
    params(("id" = String, Path), ("Idempotency-Key" = Option<String>, Header)),
    responses(
        (status = 200, body = CartBody, description = "The customer's cart"),
        (status = 409, description = "One of the carts is being checked out"),
        (status = 422, description = "The guest's cart does not exist")))]
pub(super) async fn claim(
    State(state): State<ApiState>,
    caller: Allow<AnyUser>,
    Path(id): Path<String>,
    headers: HeaderMap,
    Json(new): Json<ClaimRequest>,
) -> Result<Response, Problem> {
    let cart_ref = authorise(&state, Some(&caller), &id).await?;
    if cart_ref.customer_id.is_none() {
        return Err(Problem::not_found("cart"));
    }
    let keyed = KeyedRequest::from_headers(&headers, &caller.subject, routes::CART_CLAIMS, &(&id, &new))?;
    match edit(&state, &cart_ref, &Edit::Claim(new.guest_id), &headers, keyed.as_ref()).await? {
        Edited::Done(cart, _) => Ok(response::with_etag(Json(body(&state, &cart)).into_response(), cart.version)),
        Edited::Repeated(answer) => Ok(response::stored(&format!("/api/carts/{id}"), answer)),
    }
}

/// Checks a cart out: makes one order of it, however often that is requested.
///
/// All requests during a checkout get the outcome of its order. A confirmed order leaves the cart empty, a cancelled one
/// leaves it as it was. Refused with 409 when the cart is empty or the stock is short, and with 402 when the payment is
/// refused.
#[utoipa::path(post, path = "/api/carts/{id}/checkout", operation_id = "checkOutCart", tag = "carts",
    request_body = Option<CheckoutOptions>,
    params(("id" = String, Path), ("Idempotency-Key" = Option<String>, Header), ("If-Match" = Option<String>, Header),
        ("Prefer" = Option<String>, Header)),
    responses(
        (status = 201, body = Order, description = "The confirmed order"),
        (status = 202, body = OrderInProgress, description = "The order is still in progress; see `status_url`"),
        (status = 402, description = "The payment was refused; the order is cancelled"),
        (status = 409, description = "The cart is empty, or the stock is short and the order is cancelled")))]
pub(super) async fn check_out(
    State(state): State<ApiState>,
    caller: Allow<AnyUser>,
    Path(id): Path<String>,
    headers: HeaderMap,
    OptionalJson(options): OptionalJson<CheckoutOptions>,
) -> Result<Response, Problem> {
    let cart_ref = authorise(&state, Some(&caller), &id).await?;
    // The buyer of a guest's cart is the calling customer; staff sells it as a walk-in sale.
    let buyer = match &cart_ref.customer_id {
        Some(customer) => Some(customer.clone()),
        None if caller.is_staff() => None,
        None => Some(own_customer_id(&caller).ok_or_else(not_own_order)?),
    };
    let request = checkout_request(&state, &caller, cart_ref, buyer, options.unwrap_or_default(), &headers).await?;
    match checkout_cart::check_out(&state.app, &request, deadline(&state, &headers)).await? {
        Outcome::Existing(order) => {
            let answer = response::rendered(StatusCode::CREATED, &order);
            if request.key.is_some() {
                checkout_cart::store_response(&state.app, &order.id, &answer).await?;
            }
            Ok(response::stored(&path(&order.id), answer))
        }
        outcome => outcome_response(outcome),
    }
}

async fn checkout_request(
    state: &ApiState,
    caller: &Caller,
    cart: CartRef,
    buyer: Option<CustomerId>,
    options: CheckoutOptions,
    headers: &HeaderMap,
) -> Result<CheckoutRequest, Problem> {
    let key = Key::from_headers(headers, &caller.subject, routes::CART_CHECKOUTS)?;
    let payload_hash = payload_hash(&(&cart.id, &buyer, &options));
    let method = options.payment.as_ref().map(|payment| payment.method).unwrap_or_default();
    if method != PaymentMethod::Card {
        require_staff(caller, "take cash or put an order on account")?;
    }
    let mut errors = Vec::new();
    if let Some(notes) = &options.notes {
        errors.extend(check_text("notes", notes, 0..=2_000));
    }
    if let Some(address) = &options.shipping_address {
        check_address(&mut errors, address);
    }
    if !errors.is_empty() {
        return Err(Problem::fields(errors));
    }
    let chosen = carts::chosen_place(&state.app, &cart).await?;
    let place_id: Option<PlaceId> = options.place_id.or(chosen);
    let place = place_id.as_ref().map_or(state.app.config.default_place.as_str(), |id| id.as_str());
    require_own_place(caller, place)?;
    Ok(CheckoutRequest {
        cart,
        buyer,
        place_id,
        method,
        shipping_address: options.shipping_address,
        notes: options.notes,
        payload_hash,
        key,
        actor: caller.actor(),
        if_version: conditional::if_match(headers),
    })
}

fn check_quantity(quantity: i64) -> Result<Quantity, Problem> {
    Quantity::new(quantity).map_err(|invalid| Problem::invalid("quantity", "range", invalid.to_string()))
}

impl NewItem {
    fn check(self) -> Result<(ProductId, Quantity), Problem> {
        Ok((self.product_id, check_quantity(self.quantity)?))
    }
}
