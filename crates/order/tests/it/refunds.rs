//! What an order shows of its payment while refunds are made by returns and by hand, and what a cancellation ends.

use std::time::Duration;

use auth::Role;
use bus::Message;
use serde_json::{Value, json};

use crate::test_service::TestService;

/// Publishes that the payment of an order was refunded and has this status now, as the event of that number.
async fn publish_refund(service: &TestService, order: &str, sequence: i64, status: &str) {
    let event = json!({"specversion": "1.0", "id": format!("{order}-{sequence}"), "source": "/souk/payment",
        "type": "souk.payment.refunded", "subject": order, "time": "2026-01-01T00:00:00Z", "sequence": sequence,
        "data": {"order_id": order, "status": status}});
    let message = Message { topic: "payments".into(), key: order.into(), payload: event.to_string() };
    service.running.bus.publish(vec![message]).await.expect("publishes");
}

async fn payment_status(service: &TestService, order: &str) -> Value {
    let admin = service.user(Role::Admin, &[]);
    service.call("GET", &format!("/api/orders/{order}"), &admin, None).await.1["payment"]["status"].clone()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_refund_by_hand_between_the_steps_of_a_return_is_not_overwritten_by_the_older_answer() {
    let service = TestService::open().await;
    let admin = service.user(Role::Admin, &[]);
    // The event about the refund by hand, number 3, comes while the answer about the return's, number 2, is on its way; and the
    // other way round.
    for (order, answered, expected) in [("later", 2, "refunded"), ("earlier", 4, "partly_refunded")] {
        let body = json!({"id": order, "lines": [{"product_id": "tea", "quantity": 2}]});
        assert_eq!(service.call("POST", "/api/orders", &admin, Some(body)).await.0, 201);
        service.change_peers(|peers| {
            (peers.refund_delay, peers.refund_sequence) = (Duration::from_millis(1_000), answered);
        });
        let back = json!({"lines": [{"line_id": "1", "quantity": 1}]});
        let path = format!("/api/orders/{order}/returns");
        let by_hand = async {
            tokio::time::sleep(Duration::from_millis(200)).await;
            publish_refund(&service, order, 3, "refunded").await;
        };
        let ((status, made), ()) = tokio::join!(service.call("POST", &path, &admin, Some(back)), by_hand);
        assert_eq!((status, &made["refund"]["status"]), (201, &json!("done")), "{made}");
        assert_eq!(payment_status(&service, order).await, expected, "{order}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_event_about_an_earlier_status_of_a_payment_comes_too_late() {
    let service = TestService::open().await;
    let admin = service.user(Role::Admin, &[]);
    for order in ["o1", "o2"] {
        let body = json!({"id": order, "lines": [{"product_id": "tea", "quantity": 2}]});
        assert_eq!(service.call("POST", "/api/orders", &admin, Some(body)).await.0, 201);
    }
    for (order, sequence, status) in [("o1", 3, "refunded"), ("o1", 2, "partly_refunded"), ("o2", 2, "voided")] {
        publish_refund(&service, order, sequence, status).await;
    }
    while payment_status(&service, "o2").await != "voided" {
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    assert_eq!(payment_status(&service, "o1").await, "refunded");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_key_returns_once_and_no_more_comes_back_than_was_sold() {
    let service = TestService::open().await;
    let admin = service.user(Role::Admin, &[]);
    let body = json!({"id": "o1", "lines": [{"product_id": "tea", "quantity": 2}]});
    assert_eq!(service.call("POST", "/api/orders", &admin, Some(body)).await.0, 201);
    let returns = "/api/orders/o1/returns";
    let back = |quantity: i64| json!({"restock": false, "lines": [{"line_id": "1", "quantity": quantity}]});
    let (status, first) = service.keyed(returns, &admin, back(1), "k").await;
    assert_eq!(status, 201, "{first}");
    let (_, again) = service.keyed(returns, &admin, back(1), "k").await;
    assert_eq!(again["id"], first["id"], "{again}");
    let (status, refused) = service.call("POST", returns, &admin, Some(back(2))).await;
    assert_eq!((status, &refused["code"]), (409, &json!("return.too_many")), "{refused}");
    assert_eq!(service.call("POST", returns, &admin, Some(back(1))).await.0, 201);
    let (_, made) = service.call("GET", returns, &admin, None).await;
    assert_eq!(made["data"].as_array().map(Vec::len), Some(2), "{made}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_checkout_in_progress_confirms_nothing_after_its_order_was_cancelled() {
    let service = TestService::open().await;
    let admin = service.user(Role::Admin, &[]);
    // The checkout goes on while the cancellation waits for the stock service.
    service.change_peers(|peers| {
        (peers.reserve_delay, peers.release_delay) = (Duration::from_millis(500), Duration::from_millis(1_200));
    });
    let body = json!({"id": "o1", "lines": [{"product_id": "tea", "quantity": 2}]});
    let cancel = async {
        tokio::time::sleep(Duration::from_millis(200)).await;
        service.call("POST", "/api/orders/o1/cancel", &admin, None).await
    };
    let (_, (status, cancelled)) = tokio::join!(service.call("POST", "/api/orders", &admin, Some(body)), cancel);
    assert!(matches!(status, 200 | 202), "{cancelled}");
    for _ in 0..100 {
        let (_, order) = service.call("GET", "/api/orders/o1", &admin, None).await;
        assert_ne!(order["status"], "confirmed", "{order}");
        if order["status"] == "cancelled" {
            return;
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    panic!("the order is not cancelled");
}
