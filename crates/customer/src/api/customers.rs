//! `/api/customers`.

use auth::{AdminOnly, Allow, AnyUser, Anyone, Caller, Staff};
use axum::extract::State;
use axum::response::Response;
use chassis::{Json, Kind, Path, Problem, Query, conditional};
use commerce::CustomerId;
use commerce::page::{Page, PageQuery};
use http::header::AUTHORIZATION;
use http::{HeaderMap, StatusCode};
use idempotency::{Fingerprint, KeyedRequest, StoredResponse};
use serde::{Deserialize, Serialize};
use service::List;
use utoipa::{IntoParams, ToSchema};

use super::Api;
use crate::domain::{Address, Change, NewCustomer, Profile};
use crate::error::Error;
use crate::store::Filter;
use crate::views::{self, CustomerView};

/// Most ids in one request.
const MAX_IDS: usize = 100;
const ROUTE: &str = "POST /api/customers";

/// A new customer.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct CreateCustomer {
    /// Id chosen by the client. The same request again returns 200, another one with the id 409.
    id: Option<CustomerId>,
    /// Display name; first and last name if absent.
    name: Option<String>,
    /// First name.
    first_name: Option<String>,
    /// Last name.
    last_name: Option<String>,
    /// E-mail address; unique without regard to case.
    email: Option<String>,
    /// Phone number.
    phone: Option<String>,
    /// Postal address.
    address: Option<Address>,
}

/// Filter of the list of customers.
#[derive(Clone, Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(crate) struct ListCustomers {
    /// With this e-mail address.
    email: Option<String>,
    /// With this text in names, e-mail address or phone number; at most 200 characters.
    search: Option<String>,
    /// With one of these ids; may be repeated, at most 100 times.
    #[serde(default)]
    id: Vec<String>,
    /// With this number.
    number: Option<i64>,
    /// `number` (the default), or `-number` for the newest first.
    sort: Option<String>,
}

/// Options of a deletion.
#[derive(Clone, Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(crate) struct DeleteCustomer {
    /// Whether to cancel the customer's open orders first.
    #[serde(default)]
    cancel_open: bool,
}

/// Lists customers in the order of their numbers. Customers see only themselves.
#[utoipa::path(get, operation_id = "listCustomers", path = "/api/customers", tag = "customers", params(ListCustomers, PageQuery), security(("bearer" = [])),
    responses((status = 200, body = Page<CustomerView>)))]
pub(super) async fn list_customers(
    State(api): State<Api>,
    caller: Allow<Anyone>,
    List { filter: query, paging }: List<ListCustomers>,
) -> Result<Json<Page<CustomerView>>, Problem> {
    if query.id.len() > MAX_IDS {
        return Err(Problem::invalid("id", "count", format!("at most {MAX_IDS}")));
    }
    if query.search.as_ref().is_some_and(|search| search.chars().count() > 200) {
        return Err(Problem::invalid("search", "length", "at most 200 characters"));
    }
    let newest_first = match query.sort.as_deref() {
        None | Some("number") => false,
        Some("-number") => true,
        Some(_) => return Err(Problem::invalid("sort", "enum", "number or -number")),
    };
    let mut filter =
        Filter { ids: query.id, email: query.email, search: query.search, number: query.number, newest_first };
    if !caller.is_staff() && !caller.is_service() {
        let own = caller.customer_id.clone().unwrap_or_default();
        if filter.ids.is_empty() || filter.ids.contains(&own) {
            filter.ids = vec![own];
        } else {
            filter.ids = vec![String::new()];
        }
    }
    let window = paging.page_request::<i64>(&api.customer_cursors).map_err(Error::from)?;
    let (rows, total) = api.store.customers(filter, window.clone()).await?;
    let page = window.page(&api.customer_cursors, rows, total, |customer| customer.number);
    Ok(Json(Page {
        data: page.data.iter().map(CustomerView::from).collect(),
        next_cursor: page.next_cursor,
        page: page.page,
        total: page.total,
    }))
}

/// Creates a customer. For staff.
#[utoipa::path(post, operation_id = "createCustomer", path = "/api/customers", tag = "customers", request_body = CreateCustomer, security(("bearer" = [])),
    params(("Idempotency-Key" = Option<String>, Header)),
    responses((status = 201, body = CustomerView), (status = 200, description = "The customer existed already, created by the same request with the same id", body = CustomerView)))]
pub(super) async fn create_customer(
    State(api): State<Api>,
    caller: Allow<Staff>,
    headers: HeaderMap,
    Json(body): Json<CreateCustomer>,
) -> Result<StoredResponse, Problem> {
    let created_from = Fingerprint::of(&body).to_base64();
    let key = KeyedRequest::from_headers(&headers, &caller.subject, ROUTE, &body)?;
    let profile = Profile {
        name: body.name,
        first_name: body.first_name,
        last_name: body.last_name,
        email: body.email,
        phone: body.phone,
        address: body.address,
    };
    let profile = profile.checked().map_err(Error::Invalid)?;
    let new = NewCustomer { id: body.id, profile, created_from };
    let reply = api.store.create_customer(new, key, views::customer_response).await?;
    api.relay.wake();
    Ok(reply)
}

/// Returns a customer. For customers, 404 for anyone but themselves.
#[utoipa::path(get, operation_id = "getCustomer", path = "/api/customers/{id}", tag = "customers", params(("id" = String, Path)), security(("bearer" = [])),
    responses((status = 200, body = CustomerView)))]
pub(super) async fn get_customer(
    State(api): State<Api>,
    caller: Allow<Anyone>,
    Path(id): Path<String>,
) -> Result<Response, Problem> {
    let id = visible(&caller, &id)?;
    let customer = api.store.customer(&id).await?.ok_or(Error::NotFound("customer"))?;
    Ok(conditional::versioned(customer.version, CustomerView::from(&customer)))
}

/// Replaces the profile of a customer; absent fields are removed.
#[utoipa::path(put, operation_id = "replaceCustomer", path = "/api/customers/{id}", tag = "customers", request_body = Profile, security(("bearer" = [])),
    params(("id" = String, Path), ("If-Match" = Option<String>, Header)),
    responses((status = 200, body = CustomerView)))]
pub(super) async fn replace_customer(
    State(api): State<Api>,
    caller: Allow<AnyUser>,
    Path(id): Path<String>,
    headers: HeaderMap,
    Json(profile): Json<Profile>,
) -> Result<Response, Problem> {
    change(api, &caller, &id, &headers, Change::Replace(Box::new(profile))).await
}

/// Changes the fields that are sent: absent fields stay, null removes a field (JSON Merge Patch, RFC 7386).
#[utoipa::path(patch, operation_id = "changeCustomer", path = "/api/customers/{id}", tag = "customers", request_body = Profile, security(("bearer" = [])),
    params(("id" = String, Path), ("If-Match" = Option<String>, Header)),
    responses((status = 200, body = CustomerView)))]
pub(super) async fn change_customer(
    State(api): State<Api>,
    caller: Allow<AnyUser>,
    Path(id): Path<String>,
    headers: HeaderMap,
    Json(patch): Json<serde_json::Value>,
) -> Result<Response, Problem> {
    change(api, &caller, &id, &headers, Change::Merge(patch)).await
}

async fn change(api: Api, caller: &Caller, id: &str, headers: &HeaderMap, change: Change) -> Result<Response, Problem> {
    let id = visible(caller, id)?;
    let customer = api.store.change_customer(&id, conditional::if_match(headers), change).await?;
    api.relay.wake();
    Ok(conditional::versioned(customer.version, CustomerView::from(&customer)))
}

/// Deletes a customer: removes all personal data of the customer and of the user. Orders stay. For admins.
#[utoipa::path(delete, operation_id = "deleteCustomer", path = "/api/customers/{id}", tag = "customers", security(("bearer" = [])),
    params(("id" = String, Path), DeleteCustomer, ("If-Match" = Option<String>, Header)),
    responses((status = 204), (status = 409, description = "An open order cannot be cancelled")))]
pub(super) async fn delete_customer(
    State(api): State<Api>,
    caller: Allow<AdminOnly>,
    Path(id): Path<String>,
    Query(query): Query<DeleteCustomer>,
    headers: HeaderMap,
) -> Result<StatusCode, Problem> {
    let id = visible(&caller, &id)?;
    let seen = conditional::if_match(&headers);
    if query.cancel_open {
        let customer = api.store.customer(&id).await?.ok_or(Error::NotFound("customer"))?;
        if seen.is_some_and(|seen| seen != customer.version) {
            return Err(Error::Stale { version: customer.version }.into());
        }
        let token = headers.get(AUTHORIZATION).and_then(|value| value.to_str().ok());
        let token = token.ok_or_else(|| {
            Problem::new(Kind::Unauthenticated, "A token is required: send `Authorization: Bearer …`.")
        })?;
        api.orders.cancel_open(id.as_str(), token).await?;
    }
    let ended = api.store.anonymise_customer(&id, seen).await?;
    api.tokens.ended(ended);
    api.relay.wake();
    Ok(StatusCode::NO_CONTENT)
}

/// The id, if the caller may see that customer.
fn visible(caller: &Caller, id: &str) -> Result<CustomerId, Problem> {
    let known = caller.is_staff() || caller.is_service() || caller.is_customer(id);
    match CustomerId::parse(id) {
        Ok(id) if known => Ok(id),
        _ => Err(Error::NotFound("customer").into()),
    }
}
