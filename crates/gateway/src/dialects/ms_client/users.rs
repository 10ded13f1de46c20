//! Users: `/login`, `/logout`, tokens. A token is one of the fleet and is valid for all services.

use axum::{
    extract::{FromRequestParts, State},
    response::{IntoResponse, Response},
};
use chassis::Json;
use http::{StatusCode, header::AUTHORIZATION, request::Parts};
use serde_json::{Value, json};

use super::error;
use crate::dialects::{
    api_client::ApiClient,
    model::{self, Session},
    routes::AnyJson,
};

/// The user of a valid token.
pub(super) struct User {
    name: String,
    role: &'static str,
    token: String,
}

/// An admin, as a client that sends the admin's token.
pub(super) struct Admin(pub(super) ApiClient);

impl FromRequestParts<ApiClient> for User {
    type Rejection = Response;

    async fn from_request_parts(parts: &mut Parts, api: &ApiClient) -> Result<Self, Response> {
        let header = parts.headers.get(AUTHORIZATION).and_then(|value| value.to_str().ok()).unwrap_or_default();
        let token = header.strip_prefix("Bearer ").unwrap_or(header).trim();
        verify(api, token).await
    }
}

impl FromRequestParts<ApiClient> for Admin {
    type Rejection = Response;

    async fn from_request_parts(parts: &mut Parts, api: &ApiClient) -> Result<Self, Response> {
        let user = User::from_request_parts(parts, api).await?;
        if user.role == "admin" {
            Ok(Self(api.of_user(&user.token)))
        } else {
            Err(error(StatusCode::FORBIDDEN, "Forbidden"))
        }
    }
}

/// The user of a token. Each call asks the customer service, so that a revoked token is refused at once.
async fn verify(api: &ApiClient, token: &str) -> Result<User, Response> {
    let unauthorized = || error(StatusCode::UNAUTHORIZED, "Unauthorized");
    if token.is_empty() {
        return Err(unauthorized());
    }
    match api.get(&["api", "users", "me"]).bearer(token).send().await.ok() {
        Ok(user) => {
            let user: model::User = user;
            let has = |role: &str| user.roles.iter().any(|known| known == role);
            let is_admin = has("admin");
            // The old fleet's users were its staff; customers have no access.
            if !is_admin && !has("manager") && !has("clerk") {
                return Err(unauthorized());
            }
            Ok(User { name: user.username, role: if is_admin { "admin" } else { "user" }, token: token.to_owned() })
        }
        Err(response) if response.status.is_server_error() => Err(super::refused(&response)),
        Err(_) => Err(unauthorized()),
    }
}

pub(super) async fn login(State(api): State<ApiClient>, AnyJson(body): AnyJson) -> Response {
    let text = |field: &str| body[field].as_str().filter(|text| !text.is_empty());
    let (Some(username), Some(password)) = (text("username"), text("password")) else {
        let refusal = json!({"msg": "Username and password required"});
        return (StatusCode::BAD_REQUEST, Json(refusal)).into_response();
    };
    let name = if username.contains('@') { "email" } else { "username" };
    let credentials = json!({name: username, "password": password, "end_others": true});
    match api.post(&["api", "users", "login"]).json(credentials).send().await.ok() {
        Ok(Session { token, .. }) => Json(json!({ "token": token })).into_response(),
        Err(response) if response.status.is_server_error() || response.status == StatusCode::TOO_MANY_REQUESTS => {
            super::refused(&response)
        }
        Err(_) => (StatusCode::UNAUTHORIZED, Json(json!({"msg": "Invalid credentials"}))).into_response(),
    }
}

pub(super) async fn logout(State(api): State<ApiClient>, user: User) -> Response {
    match api.post(&["api", "users", "logout"]).bearer(&user.token).send().await.check() {
        Ok(_) => Json(json!({"msg": "Successfully logged out"})).into_response(),
        Err(response) => super::refused(&response),
    }
}

pub(super) async fn validate(State(api): State<ApiClient>, AnyJson(body): AnyJson) -> Response {
    let Some(token) = body["token"].as_str().filter(|token| !token.is_empty()) else {
        return error(StatusCode::BAD_REQUEST, "Token is missing");
    };
    match verify(&api, token).await {
        Ok(user) => Json(json!({"valid": true, "user": user.name, "role": user.role})).into_response(),
        Err(response) if response.status() == StatusCode::UNAUTHORIZED => {
            (StatusCode::UNAUTHORIZED, Json(json!({"valid": false, "error": "Invalid token"}))).into_response()
        }
        Err(response) => response,
    }
}

pub(super) async fn admin_only(_: Admin) -> Json<Value> {
    Json(json!({"msg": "Welcome, admin!"}))
}

pub(super) async fn protected(user: User) -> Json<Value> {
    Json(json!({"msg": format!("Welcome, {}!", user.name)}))
}
