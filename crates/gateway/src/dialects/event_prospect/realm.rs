//! The accepted tokens: those of the configured realm, or else the fleet's own, which this port then issues under the realm's
//! paths.

use auth::oidc::{ForeignError, ForeignIssuers};
use axum::{
    body::Bytes,
    extract::State,
    response::{IntoResponse, Response},
};
use chassis::{Json, Kind, from_query};
use commerce::Timestamp;
use http::{HeaderMap, StatusCode, header};
use serde::Deserialize;
use serde_json::{Value, json};

use crate::{
    dialects::{api_client::ApiClient, model::Session},
    state::Gateway,
};

/// Verifies tokens.
pub(super) enum TokenCheck<'a> {
    /// Tokens of the configured realm.
    Realm(&'a ForeignIssuers),
    /// Tokens of the fleet.
    Fleet(&'a auth::Verifier),
}

impl<'a> TokenCheck<'a> {
    pub(super) fn of(gateway: &'a Gateway) -> Self {
        if gateway.event_prospect_issuer.is_empty() {
            Self::Fleet(gateway.verifier())
        } else {
            Self::Realm(&gateway.event_prospect_issuer)
        }
    }

    /// Returns 401 for an invalid token, 503 if the token cannot be verified now.
    pub(super) async fn check(&self, token: &str) -> Result<(), StatusCode> {
        match self {
            Self::Realm(issuers) => match issuers.verify(token).await {
                Ok(_) => Ok(()),
                Err(ForeignError::Away) => Err(StatusCode::SERVICE_UNAVAILABLE),
                Err(ForeignError::UnknownIssuer | ForeignError::Refused(_)) => Err(StatusCode::UNAUTHORIZED),
            },
            Self::Fleet(verifier) => match verifier.verify(token).await {
                // The realm's users were its staff.
                Ok(caller) if caller.is_staff() => Ok(()),
                Ok(_) => Err(StatusCode::UNAUTHORIZED),
                Err(problem) if problem.kind() == Kind::Unauthenticated => Err(StatusCode::UNAUTHORIZED),
                Err(_) => Err(StatusCode::SERVICE_UNAVAILABLE),
            },
        }
    }
}

/// The realm's description (OpenID Connect Discovery 1.0, section 3), with the host of the request.
pub(super) async fn discovery(State(api): State<ApiClient>, headers: HeaderMap) -> Json<Value> {
    let host = headers.get(header::HOST).and_then(|host| host.to_str().ok()).unwrap_or("localhost:8180");
    let at = |path: &str| format!("http://{host}/realms/EventProspect/protocol/openid-connect/{path}");
    Json(json!({
        "issuer": api.gateway.config.auth.issuer,
        "token_endpoint": at("token"),
        "jwks_uri": at("certs"),
        "grant_types_supported": ["password"],
        "response_types_supported": ["token"],
        "subject_types_supported": ["public"],
        "id_token_signing_alg_values_supported": ["ES256"],
    }))
}

pub(super) async fn certs(State(api): State<ApiClient>) -> Response {
    let response = api.get(&[".well-known", "jwks.json"]).send().await;
    (response.status, Json(response.body)).into_response()
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Grant {
    grant_type: String,
    username: String,
    password: String,
}

/// A token for name and password (RFC 6749, section 4.3).
pub(super) async fn token(State(api): State<ApiClient>, body: Bytes) -> Response {
    let refusal = |status, error: &str, why: &str| {
        (status, Json(json!({"error": error, "error_description": why}))).into_response()
    };
    let Ok(grant) = from_query::<Grant>(std::str::from_utf8(&body).unwrap_or_default()) else {
        return refusal(StatusCode::BAD_REQUEST, "invalid_request", "The body is no form");
    };
    if grant.grant_type != "password" {
        return refusal(StatusCode::BAD_REQUEST, "unsupported_grant_type", "Only the grant type password is taken");
    }
    let name = if grant.username.contains('@') { "email" } else { "username" };
    let credentials = json!({name: grant.username, "password": grant.password});
    match api.post(&["api", "users", "login"]).json(credentials).send().await.ok() {
        Ok(Session { token, expires_at, .. }) => {
            let expires_in = expires_at.map_or(0, |end| (end.micros() - Timestamp::now().micros()) / 1_000_000);
            Json(json!({
                "access_token": token,
                "expires_in": expires_in,
                "refresh_expires_in": 0,
                "token_type": "Bearer",
                "scope": "profile email",
            }))
            .into_response()
        }
        Err(response) if response.status.is_server_error() => {
            refusal(StatusCode::SERVICE_UNAVAILABLE, "temporarily_unavailable", response.detail())
        }
        Err(_) => refusal(StatusCode::UNAUTHORIZED, "invalid_grant", "Invalid user credentials"),
    }
}
