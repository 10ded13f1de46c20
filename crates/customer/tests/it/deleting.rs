//! A customer who goes: what is cancelled, what is forgotten, what stays.

use std::sync::{Arc, Mutex};

use axum::Router;
use axum::extract::{Path, Request, State};
use axum::routing::{get, post};
use chassis::Json;
use http::StatusCode;
use serde_json::{Value, json};

use crate::customers::ada;
use crate::test_service::{TestService, problem};

type Cancelled = Arc<Mutex<Vec<String>>>;

/// An order service with one open order per status, that refuses to cancel one of them.
fn orders(cancelled: Cancelled) -> Router {
    async fn list(State(cancelled): State<Cancelled>, request: Request) -> Json<Value> {
        let query = request.uri().query().unwrap();
        let open = ["pending", "confirmed"].iter().filter(|status| query.contains(**status));
        let open: Vec<Value> = open
            .filter(|status| !cancelled.lock().unwrap().iter().any(|id| id == **status))
            .map(|status| json!({"id": status}))
            .collect();
        Json(json!({"data": open, "next_cursor": null}))
    }
    async fn cancel(State(cancelled): State<Cancelled>, Path(id): Path<String>, request: Request) -> StatusCode {
        assert!(request.headers()["authorization"].to_str().unwrap().starts_with("Bearer ey"));
        cancelled.lock().unwrap().push(id);
        StatusCode::OK
    }
    Router::new().route("/api/orders", get(list)).route("/api/orders/{id}/cancel", post(cancel)).with_state(cancelled)
}

#[tokio::test]
async fn deleting_leaves_the_customer_without_anything_personal() {
    let cancelled = Cancelled::default();
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let order_url = format!("http://{}", listener.local_addr().unwrap());
    let router = orders(cancelled.clone());
    tokio::spawn(async move { axum::serve(listener, router).await });
    let service = TestService::start_with(&order_url).await;

    let me = service.register("bob").await;
    let token = me["token"].as_str().unwrap();
    let path = format!("/api/customers/{}", me["user"]["customer_id"].as_str().unwrap());
    let key = service.request("POST", "/api/customers", &service.clerk).header("idempotency-key", "k");
    key.json(&ada()).send().await.unwrap();

    let stale = service.request("DELETE", &path, &service.admin).header("if-match", "\"7\"").send().await.unwrap();
    problem(stale, 412).await;
    let gone = service.request("DELETE", &format!("{path}?cancel_open=true"), &service.admin).send().await.unwrap();
    assert_eq!(gone.status(), 204);
    assert_eq!(*cancelled.lock().unwrap(), ["pending", "confirmed"]);
    assert_eq!(service.request("DELETE", &path, &service.admin).send().await.unwrap().status(), 204);

    let left: Value = service.get(&path, &service.admin).await.json().await.unwrap();
    assert_eq!((&left["name"], left.get("email")), (&json!("Anonymised"), None));
    problem(service.get(&path, token).await, 401).await;
    let again = json!({"username": "bob", "password": "correct horse"});
    problem(service.send("POST", "/api/users/login", "", &again).await, 401).await;
    problem(service.send("PATCH", &path, &service.admin, &json!({"name": "Bob"})).await, 409).await;
    service.register("bob").await;

    let facts = customer::audit_facts(&service.config.common.database_url).await.unwrap();
    let told = facts.customers.iter().find(|fact| path.ends_with(&fact.id)).unwrap();
    assert_eq!(told.last_sequence, 2);
    let about: Vec<_> = facts.outbox.events.iter().filter(|event| event.subject == told.id).collect();
    assert_eq!(about.iter().map(|event| event.sequence).collect::<Vec<_>>(), [1, 2]);
    assert!(about.iter().all(|event| !event.payload.contains("bob")), "{about:?}");
    assert!(about[1].payload.contains("souk.customer.anonymised"));
}

#[tokio::test]
async fn a_customer_stays_when_his_orders_cannot_be_asked_for() {
    let service = TestService::start().await;
    let id = service.make(&ada()).await["id"].as_str().unwrap().to_owned();
    let answer = service
        .request("DELETE", &format!("/api/customers/{id}?cancel_open=true"), &service.admin)
        .send()
        .await
        .unwrap();
    assert!(answer.headers().contains_key("retry-after"));
    problem(answer, 503).await;
    let still: Value = service.get(&format!("/api/customers/{id}"), &service.admin).await.json().await.unwrap();
    assert_eq!(still["name"], "Ada Lovelace");
}
