//! Orders that other programs put on `new-order`.

use std::time::Duration;

use auth::Role;
use bus::Message;
use serde_json::{Value, json};

use crate::test_service::TestService;

async fn publish(service: &TestService, id: &str, body: &Value) {
    let message = Message { topic: "new-order".into(), key: id.into(), payload: body.to_string() };
    service.running.bus.publish(vec![message]).await.expect("publishes");
}

async fn settled(service: &TestService, id: &str) -> Value {
    let admin = service.user(Role::Admin, &[]);
    for _ in 0..200 {
        let (status, order) = service.call("GET", &format!("/api/orders/{id}"), &admin, None).await;
        if status == 200 && order["status"] != "pending" {
            return order;
        }
        tokio::time::sleep(Duration::from_millis(25)).await;
    }
    panic!("{id} was not placed");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_order_that_was_withdrawn_before_it_came_needs_nobody() {
    let service = TestService::open().await;
    let admin = service.user(Role::Admin, &[]);
    assert_eq!(service.call("POST", "/api/orders/gone/withdrawal", &admin, None).await.0, 204);
    for id in ["gone", "none/bad", "next"] {
        publish(&service, id, &json!({"id": id, "productId": "tea", "quantity": 1})).await;
    }
    settled(&service, "next").await;
    let letters = service.running.bus.dead_letters(&bus::DeadLetterFilter::default()).await.expect("letters");
    assert_eq!(letters.iter().map(|letter| letter.key.as_str()).collect::<Vec<_>>(), ["none/bad"]);
    assert_eq!(service.orders().await.len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_order_of_another_program_is_placed_once_and_our_own_are_skipped() {
    let service = TestService::open().await;
    let foreign = json!({"id": "x-1", "userId": "c7", "productId": "tea", "quantity": 2, "status": "pending"});
    for _ in 0..3 {
        publish(&service, "x-1", &foreign).await;
    }
    let order = settled(&service, "x-1").await;
    assert_eq!(
        (&order["status"], &order["customer_id"], &order["total"]),
        (&json!("confirmed"), &json!("c7"), &json!(9))
    );
    let several = json!({"id": 42, "userId": 5, "products": [{"productId": "tea", "quantity": "1"}, {"productId": "cup", "quantity": 1}]});
    publish(&service, "42", &several).await;
    let order = settled(&service, "42").await;
    assert_eq!((&order["customer_id"], &order["metadata"]), (&Value::Null, &json!({"user_id": "5"})), "{order}");
    // An order of this service that the store has lost is not placed again, with other prices, place and payment.
    publish(&service, "own", &json!({"id": "own", "productId": "tea", "quantity": 1, "origin": "souk"})).await;
    // What cannot be sold goes to the dead letters and does not hold up later messages.
    for (id, bad) in [
        ("b1", json!({"id": "b1", "productId": "none", "quantity": 1})),
        ("b2", json!({"id": "b2"})),
        ("b3", json!({"id": "b 3", "productId": "tea", "quantity": 1})),
        ("b4", json!("text")),
    ] {
        publish(&service, id, &bad).await;
    }
    publish(&service, "x-2", &json!({"id": "x-2", "productId": "cup", "quantity": 1})).await;
    settled(&service, "x-2").await;
    assert_eq!(service.orders().await.len(), 3, "our own orders on the same topic are not placed again");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_store_that_is_older_than_the_bus_is_not_started() {
    let service = TestService::open().await;
    let admin = service.user(Role::Admin, &[]);
    let tea = json!({"id": "o-1", "lines": [{"product_id": "tea", "quantity": 1}]});
    assert_eq!(service.call("POST", "/api/orders", &admin, Some(tea)).await.0, 201);
    let TestService { running, .. } = service;
    let running = running.restart(|_| {}).await.expect("the same store");
    let folder = tempfile::tempdir().expect("a folder");
    let earlier = testkit::url(&folder, "earlier").await.expect("a database");
    let refused = running.restart(|config| config.common.database_url = earlier).await.expect_err("an empty store");
    let refused = format!("{refused:#}");
    assert!(refused.contains("older than the bus") && refused.contains("o-1 on orders"), "{refused}");
}
