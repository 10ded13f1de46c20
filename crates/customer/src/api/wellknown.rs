//! The keys and revocations by which other services verify tokens.

use auth::Open;
use axum::extract::State;
use chassis::Json;
use serde_json::{Value, json};

use super::Api;

/// The public keys (RFC 7517).
#[utoipa::path(get, operation_id = "jwks", path = "/.well-known/jwks.json", tag = "keys", responses((status = 200, body = Object)))]
pub(super) async fn jwks(State(api): State<Api>, _: Open) -> Json<Value> {
    Json(json!({ "keys": api.tokens.jwks().await }))
}

/// Ids of the tokens that were revoked and have not expired yet.
#[utoipa::path(get, operation_id = "revoked", path = "/.well-known/revoked", tag = "keys", responses((status = 200, body = Object)))]
pub(super) async fn revoked(State(api): State<Api>, _: Open) -> Json<Value> {
    Json(json!({ "revoked": api.tokens.revoked() }))
}
