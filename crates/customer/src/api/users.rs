//! `/api/users`: logins and roles.

use auth::{AdminOnly, Allow, AnyUser, Issued, Open, Role};
use axum::extract::State;
use axum::response::{IntoResponse, Response};
use chassis::{Json, Kind, Path, Problem};
use commerce::page::{Page, PageQuery};
use commerce::{CustomerId, Timestamp, UserId};
use http::{HeaderMap, StatusCode};
use idempotency::{KeyedRequest, StoredResponse};
use serde::{Deserialize, Serialize};
use service::List;
use utoipa::{IntoParams, ToSchema};

use super::Api;
use crate::domain::{Credentials, NewUser, User, check_roles};
use crate::error::Error;
use crate::views::{self, UserView};

const ROUTE: &str = "POST /api/users";

/// A registration.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Register {
    /// 3 to 64 letters, digits or `. _ -`.
    username: String,
    /// E-mail address.
    email: String,
    /// 8 to 200 characters.
    password: String,
    /// Display name; the username if absent.
    name: Option<String>,
}

/// A user with an access token.
#[derive(Serialize, ToSchema)]
pub(crate) struct SignedIn {
    /// The access token, for `Authorization: Bearer`.
    token: String,
    /// When the token expires.
    expires_at: Timestamp,
    user: UserView,
}

/// Credentials: either e-mail address or username, and the password.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Login {
    /// E-mail address.
    email: Option<String>,
    /// Login name, instead of the e-mail address.
    username: Option<String>,
    /// Password.
    password: String,
    /// Whether to revoke the user's other tokens; false if absent.
    #[serde(default)]
    end_others: bool,
}

/// A new user, created by an admin.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct CreateUser {
    /// 3 to 64 letters, digits or `. _ -`.
    username: String,
    /// E-mail address.
    email: String,
    /// 8 to 200 characters.
    password: String,
    /// Display name; the username if absent.
    name: Option<String>,
    /// Roles, at least one.
    roles: Vec<String>,
    /// Ids of the places that the user works in.
    #[serde(default)]
    stores: Vec<String>,
    /// Id of an existing customer that the user is.
    customer_id: Option<CustomerId>,
}

/// The fields of [`CreateUser`] that make its fingerprint: all but the password, since a fast hash of a password must not be stored.
#[derive(Serialize)]
struct Fingerprinted<'a> {
    username: &'a str,
    email: &'a str,
    name: &'a Option<String>,
    roles: &'a [String],
    stores: &'a [String],
    customer_id: &'a Option<CustomerId>,
}

impl CreateUser {
    fn fingerprinted(&self) -> Fingerprinted<'_> {
        let Self { username, email, name, roles, stores, customer_id, password: _ } = self;
        Fingerprinted { username, email, name, roles, stores, customer_id }
    }
}

/// The roles that replace those of a user.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct SetRoles {
    /// All roles.
    roles: Vec<String>,
    /// Ids of all places that the user works in.
    #[serde(default)]
    stores: Vec<String>,
}

/// Filter of the list of users; it has none but paging.
#[derive(Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(crate) struct ListUsers {}

fn signed_in(user: &User, issued: Issued) -> SignedIn {
    SignedIn {
        token: issued.token,
        expires_at: Timestamp::from_micros(issued.expires_at * 1_000_000),
        user: user.into(),
    }
}

/// Registers a buyer: creates a user and the customer that the user is.
///
/// There is no `Idempotency-Key`: the response holds a token, and the caller is not authenticated yet.
#[utoipa::path(post, operation_id = "register", path = "/api/users/register", tag = "users", request_body = Register,
    responses((status = 201, body = SignedIn), (status = 409, description = "Username or e-mail address is taken")))]
pub(super) async fn register(State(api): State<Api>, _: Open, Json(body): Json<Register>) -> Result<Response, Problem> {
    let credentials =
        Credentials::checked(&body.username, &body.email, body.name, &body.password).map_err(Error::Invalid)?;
    let new = NewUser {
        credentials,
        password_hash: api.passwords.hash(body.password).await?,
        roles: vec![Role::Customer],
        stores: Vec::new(),
        customer_id: None,
        with_customer: true,
    };
    let (user, _) = api.store.create_user(new, None, views::user_response).await?;
    let user = user.ok_or(Error::Defect("a registration without a user"))?;
    api.relay.wake();
    let (issued, user) = api.tokens.issue(user).await?;
    Ok((StatusCode::CREATED, Json(signed_in(&user, issued))).into_response())
}

/// Logs in: returns an access token.
#[utoipa::path(post, operation_id = "login", path = "/api/users/login", tag = "users", request_body = Login,
    responses((status = 200, body = SignedIn), (status = 429, description = "Too many wrong passwords for this login name")))]
pub(super) async fn login(State(api): State<Api>, _: Open, Json(body): Json<Login>) -> Result<Json<SignedIn>, Problem> {
    let login = match (body.email, body.username) {
        (Some(login), None) | (None, Some(login)) => login,
        _ => {
            return Err(Problem::invalid("email", "one_of", "either email or username"));
        }
    };
    let user = api.store.user_by_login(&login).await?;
    let hash = user.as_ref().map(|user| user.password_hash.clone());
    let right = api.passwords.verify(&login, body.password, hash).await?;
    let user = user.filter(|_| right).ok_or(Error::BadLogin)?;
    if body.end_others {
        api.tokens.ended(api.store.end_tokens(&user.id).await?);
    }
    let (issued, user) = api.tokens.issue(user).await?;
    Ok(Json(signed_in(&user, issued)))
}

/// Logs out: revokes the caller's token.
#[utoipa::path(post, operation_id = "logout", path = "/api/users/logout", tag = "users", security(("bearer" = [])),
    responses((status = 204), (status = 409, description = "The token was issued outside the fleet")))]
pub(super) async fn logout(State(api): State<Api>, caller: Allow<AnyUser>) -> Result<StatusCode, Problem> {
    if caller.is_foreign() {
        return Err(Problem::new(
            Kind::Conflict,
            "The token was issued by another identity provider, which alone can revoke it.",
        ));
    }
    api.tokens.revoke(&caller).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// Returns the user of the token.
#[utoipa::path(get, operation_id = "me", path = "/api/users/me", tag = "users", security(("bearer" = [])), responses((status = 200, body = UserView)))]
pub(super) async fn me(State(api): State<Api>, caller: Allow<AnyUser>) -> Result<Json<UserView>, Problem> {
    let user = api.store.user(&UserId::trusted(caller.subject.clone())).await?.ok_or(Error::NotFound("user"))?;
    Ok(Json(UserView::from(&user)))
}

/// Lists users. For admins.
#[utoipa::path(get, operation_id = "listUsers", path = "/api/users", tag = "users", params(ListUsers, PageQuery), security(("bearer" = [])),
    responses((status = 200, body = Page<UserView>)))]
pub(super) async fn list_users(
    State(api): State<Api>,
    _: Allow<AdminOnly>,
    List { paging, .. }: List<ListUsers>,
) -> Result<Json<Page<UserView>>, Problem> {
    let window = paging.page_request::<String>(&api.user_cursors).map_err(Error::from)?;
    let (rows, total) = api.store.users(window.clone()).await?;
    let page = window.page(&api.user_cursors, rows, total, |user| user.id.as_str().to_owned());
    Ok(Json(Page {
        data: page.data.iter().map(UserView::from).collect(),
        next_cursor: page.next_cursor,
        page: page.page,
        total: page.total,
    }))
}

/// Creates a user with any roles but `service`. For admins.
#[utoipa::path(post, operation_id = "createUser", path = "/api/users", tag = "users", request_body = CreateUser, security(("bearer" = [])),
    params(("Idempotency-Key" = Option<String>, Header)),
    responses((status = 201, body = UserView)))]
pub(super) async fn create_user(
    State(api): State<Api>,
    caller: Allow<AdminOnly>,
    headers: HeaderMap,
    Json(body): Json<CreateUser>,
) -> Result<StoredResponse, Problem> {
    let key = KeyedRequest::from_headers(&headers, &caller.subject, ROUTE, &body.fingerprinted())?;
    let roles = check_roles(&body.roles, &body.stores);
    let credentials = Credentials::checked(&body.username, &body.email, body.name, &body.password);
    let (credentials, roles) = match (credentials, roles) {
        (Ok(credentials), Ok(roles)) => (credentials, roles),
        (credentials, roles) => {
            let broken = credentials.err().into_iter().chain(roles.err()).flatten().collect();
            return Err(Error::Invalid(broken).into());
        }
    };
    // A repeat gets its first response, even if a place is gone or the stock service does not answer.
    if let Some(key) = &key
        && let Some(reply) = api.store.user_response(key).await?
    {
        return Ok(reply);
    }
    api.places.demand(&body.stores).await?;
    let new = NewUser {
        credentials,
        password_hash: api.passwords.hash(body.password).await?,
        with_customer: roles.contains(&Role::Customer) && body.customer_id.is_none(),
        roles,
        stores: body.stores,
        customer_id: body.customer_id,
    };
    let (_, reply) = api.store.create_user(new, key, views::user_response).await?;
    api.relay.wake();
    Ok(reply)
}

/// Replaces the roles of a user and revokes the user's tokens. For admins.
#[utoipa::path(put, operation_id = "setRoles", path = "/api/users/{id}/roles", tag = "users", request_body = SetRoles, security(("bearer" = [])),
    params(("id" = String, Path)), responses((status = 200, body = UserView)))]
pub(super) async fn set_roles(
    State(api): State<Api>,
    _: Allow<AdminOnly>,
    Path(id): Path<String>,
    Json(body): Json<SetRoles>,
) -> Result<Json<UserView>, Problem> {
    let roles = check_roles(&body.roles, &body.stores).map_err(Error::Invalid)?;
    let id = UserId::parse(&id).map_err(|_| Error::NotFound("user"))?;
    api.places.demand(&body.stores).await?;
    let (user, ended) = api.store.set_roles(&id, roles, body.stores).await?;
    api.tokens.ended(ended);
    Ok(Json(UserView::from(&user)))
}
