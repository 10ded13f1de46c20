//! Registration and login. The id of a user is the id of the user's customer, since orders name the customer.

use axum::{
    extract::State,
    response::{IntoResponse, Response},
};
use chassis::{Json, Problem};
use http::StatusCode;
use serde_json::json;

use super::{Quartet, failure, refusal};
use crate::dialects::{
    lists,
    model::{Customer, Session, User},
    routes::AnyJson,
};

pub(super) async fn register(State(quartet): State<Quartet>, AnyJson(body): AnyJson) -> Response {
    let user = json!({
        "username": body["username"].as_str().unwrap_or_default(),
        "email": body["email"].as_str().unwrap_or_default().to_lowercase(),
        "password": body["password"].as_str().unwrap_or_default(),
    });
    match quartet.api.post(&["api", "users", "register"]).json(user).send().await.ok() {
        Ok(Session { user, .. }) => {
            let response = json!({
                "success": true,
                "message": "Utilisateur enregistré avec succès",
                "userId": id(&user),
            });
            (StatusCode::CREATED, Json(response)).into_response()
        }
        Err(response) if response.status == StatusCode::CONFLICT => {
            refusal(StatusCode::BAD_REQUEST, "Utilisateur ou email déjà utilisé")
        }
        Err(response) if response.status == StatusCode::INTERNAL_SERVER_ERROR => {
            refusal(StatusCode::INTERNAL_SERVER_ERROR, "Erreur lors de l'inscription")
        }
        // The old fleet had these three fields only, so the message names the refused ones.
        Err(response) if response.fields().next().is_some() => {
            let messages: Vec<String> = response.fields().map(|(field, why)| format!("{field}: {why}")).collect();
            refusal(StatusCode::BAD_REQUEST, &messages.join("; "))
        }
        Err(response) => failure(&response),
    }
}

pub(super) async fn login(State(quartet): State<Quartet>, AnyJson(body): AnyJson) -> Response {
    let email = body["email"].as_str().unwrap_or_default().to_lowercase();
    let user = json!({"email": email, "password": body["password"].as_str().unwrap_or_default()});
    match quartet.api.post(&["api", "users", "login"]).json(user).send().await.ok() {
        Ok(Session { user, .. }) => {
            let token = match quartet.tokens.issue(id(&user), &email, &user.username) {
                Ok(token) => token,
                Err(error) => return Problem::internal(error).into_response(),
            };
            Json(json!({
                "success": true,
                "message": "Connexion réussie",
                "token": token,
                "user": {"id": id(&user), "username": user.username, "email": email},
            }))
            .into_response()
        }
        Err(response) if response.status == StatusCode::UNAUTHORIZED => unknown_or_wrong(&quartet, &email).await,
        Err(response) => failure(&response),
    }
}

/// The old fleet distinguished an unknown user from a wrong password.
async fn unknown_or_wrong(quartet: &Quartet, email: &str) -> Response {
    match lists::first::<Customer>(quartet.api.get(&["api", "customers"]).query("email", email)).await {
        Ok(None) => refusal(StatusCode::NOT_FOUND, "Utilisateur non trouvé"),
        Ok(_) => refusal(StatusCode::UNAUTHORIZED, "Mot de passe incorrect"),
        Err(response) => failure(&response),
    }
}

fn id(user: &User) -> &str {
    user.customer_id.as_deref().unwrap_or(&user.id)
}
