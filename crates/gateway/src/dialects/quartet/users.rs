//! Users: registering and logging in. A user is known by the customer that he is, since orders name him so.

use axum::{
    extract::State,
    response::{IntoResponse, Response},
};
use chassis::{Json, Problem};
use http::StatusCode;
use serde_json::{Value, json};

use super::{Quartet, away, refusal};
use crate::dialects::routes::AnyJson;

pub(super) async fn register(State(quartet): State<Quartet>, AnyJson(body): AnyJson) -> Response {
    let asked = json!({
        "username": body["username"].as_str().unwrap_or_default(),
        "email": body["email"].as_str().unwrap_or_default().to_lowercase(),
        "password": body["password"].as_str().unwrap_or_default(),
    });
    match quartet.api.post(&["api", "users", "register"]).json(asked).send().await.ok() {
        Ok(made) => {
            let response = json!({
                "success": true,
                "message": "Utilisateur enregistré avec succès",
                "userId": id(&made["user"]),
            });
            (StatusCode::CREATED, Json(response)).into_response()
        }
        Err(response) if response.status == StatusCode::CONFLICT => {
            refusal(StatusCode::BAD_REQUEST, "Utilisateur ou email déjà utilisé")
        }
        Err(response) if response.status == StatusCode::INTERNAL_SERVER_ERROR => {
            refusal(StatusCode::INTERNAL_SERVER_ERROR, "Erreur lors de l'inscription")
        }
        // The old fleet asked for nothing but these three; which of them does not do is said.
        Err(response) if response.fields().next().is_some() => {
            let told: Vec<String> = response.fields().map(|(field, why)| format!("{field}: {why}")).collect();
            refusal(StatusCode::BAD_REQUEST, &told.join("; "))
        }
        Err(response) => away(&response),
    }
}

pub(super) async fn login(State(quartet): State<Quartet>, AnyJson(body): AnyJson) -> Response {
    let email = body["email"].as_str().unwrap_or_default().to_lowercase();
    let asked = json!({"email": email, "password": body["password"].as_str().unwrap_or_default()});
    match quartet.api.post(&["api", "users", "login"]).json(asked).send().await.ok() {
        Ok(signed_in) => {
            let user = &signed_in["user"];
            let username = user["username"].as_str().unwrap_or_default();
            let token = match quartet.tokens.issue(id(user), &email, username) {
                Ok(token) => token,
                Err(error) => return Problem::internal(error).into_response(),
            };
            Json(json!({
                "success": true,
                "message": "Connexion réussie",
                "token": token,
                "user": {"id": id(user), "username": username, "email": email},
            }))
            .into_response()
        }
        Err(response) if response.status == StatusCode::UNAUTHORIZED => unknown_or_wrong(&quartet, &email).await,
        Err(response) => away(&response),
    }
}

/// The old fleet told its callers which of the two it was.
async fn unknown_or_wrong(quartet: &Quartet, email: &str) -> Response {
    let request = quartet.api.get(&["api", "customers"]).query("email", email).query("limit", 1);
    match request.send().await.ok() {
        Ok(found) if found["data"].get(0).is_none() => refusal(StatusCode::NOT_FOUND, "Utilisateur non trouvé"),
        Ok(_) => refusal(StatusCode::UNAUTHORIZED, "Mot de passe incorrect"),
        Err(response) => away(&response),
    }
}

fn id(user: &Value) -> &str {
    user["customer_id"].as_str().or(user["id"].as_str()).unwrap_or_default()
}
