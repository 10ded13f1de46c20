//! Orders that their client gave up, or must acknowledge.

use std::time::Duration;

use auth::Role;
use commerce::Timestamp;
use serde_json::{Value, json};

use crate::test_service::TestService;

fn tea(id: &str) -> Value {
    json!({ "id": id, "lines": [{ "product_id": "tea", "quantity": 2 }] })
}

async fn place(service: &TestService, path: &str, body: &Value, acknowledge_by: &str) -> (u16, Value) {
    let (method, token) = ("POST".parse().expect("a method"), service.user(Role::Clerk, &["s1", "logistics"]));
    let request = service.running.request(method, path, &token).header("acknowledge-by", acknowledge_by).json(body);
    let response = request.send().await.expect("answers");
    (response.status().as_u16(), response.json().await.unwrap_or_default())
}

fn soon(millis: u64) -> String {
    Timestamp::now().plus(Duration::from_millis(millis)).to_string()
}

async fn until(service: &TestService, id: &str, holds: impl Fn(&Value) -> bool) -> Value {
    for _ in 0..500 {
        let (_, order) = service.call("GET", &format!("/api/orders/{id}"), &service.service(), None).await;
        if holds(&order) {
            return order;
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    panic!("it did not happen within ten seconds");
}

/// Whether the order's payment is captured.
fn is_charged(service: &TestService, id: &str) -> bool {
    service.peers.lock().expect("no panic before").charged.contains_key(id)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_withdrawal_that_comes_first_refuses_the_order() {
    let service = TestService::open().await;
    let admin = service.user(Role::Admin, &[]);
    for _ in 0..2 {
        assert_eq!(service.call("POST", "/api/orders/late/withdrawal", &admin, None).await.0, 204);
    }
    let (status, problem) = service.call("POST", "/api/orders", &admin, Some(tea("late"))).await;
    assert_eq!((status, &problem["code"]), (409, &json!("order.withdrawn")));
    assert_eq!(service.call("POST", "/api/orders", &admin, Some(tea("other"))).await.0, 201);
    assert_eq!(service.call("POST", "/api/orders/other/withdrawal", &admin, None).await.0, 204);
    until(&service, "other", |order| order["status"] == "cancelled").await;
    assert!(!is_charged(&service, "other"));
    // It refunds whatever the order was, so it is no business of a store's staff.
    for stranger in [service.customer("c1"), service.user(Role::Manager, &["logistics"])] {
        for what in ["withdrawal", "acknowledgement"] {
            assert_eq!(service.call("POST", &format!("/api/orders/other/{what}"), &stranger, None).await.0, 403);
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_order_stays_if_it_is_acknowledged_and_not_otherwise() {
    let service = TestService::open().await;
    let admin = service.user(Role::Admin, &[]);
    for id in ["known", "unknown"] {
        assert_eq!(place(&service, "/api/orders", &tea(id), &soon(700)).await.0, 201, "{id}");
    }
    for _ in 0..2 {
        assert_eq!(service.call("POST", "/api/orders/known/acknowledgement", &admin, None).await.0, 204);
    }
    let order = until(&service, "unknown", |order| order["status"] == "cancelled").await;
    assert_eq!(order["reason"], "its client did not get to know of it");
    let (status, problem) = service.call("POST", "/api/orders/unknown/acknowledgement", &admin, None).await;
    assert_eq!((status, &problem["code"]), (409, &json!("order.withdrawn")));
    assert_eq!(service.call("POST", "/api/orders/none/acknowledgement", &admin, None).await.0, 404);
    let (status, again) = place(&service, "/api/orders", &tea("known"), "2026-01-01T00:00:00Z").await;
    assert_eq!((status, &again["status"]), (200, &json!("confirmed")), "a repeat finds it, however late it is");
    tokio::time::sleep(Duration::from_secs(2)).await;
    until(&service, "known", |order| order["status"] == "confirmed").await;
    assert!(is_charged(&service, "known") && !is_charged(&service, "unknown"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_sale_over_the_counter_that_is_not_acknowledged_is_taken_back() {
    let service = TestService::open().await;
    let mut sale = tea("sale");
    sale["payment"] = json!({ "method": "cash" });
    let (status, sold) = place(&service, "/api/stores/s1/sales", &sale, &soon(300)).await;
    assert_eq!((status, &sold["status"]), (201, &json!("delivered")));
    until(&service, "sale", |order| order["lines"][0]["returned"] == 2).await;
    let (_, returns) = service.call("GET", "/api/orders/sale/returns", &service.service(), None).await;
    assert_eq!(returns["data"][0]["restock"], true);
    let admin = service.user(Role::Admin, &[]);
    assert_eq!(service.call("POST", "/api/orders/sale/acknowledgement", &admin, None).await.0, 409);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_deadline_that_is_over_places_nothing_and_one_that_is_far_away_is_refused() {
    let service = TestService::open().await;
    let (status, problem) = place(&service, "/api/orders", &tea("a"), "2026-01-01T00:00:00Z").await;
    assert_eq!((status, &problem["code"]), (409, &json!("order.withdrawn")));
    assert_eq!(place(&service, "/api/orders", &tea("a"), &soon(700_000)).await.0, 422);
    assert_eq!(place(&service, "/api/orders", &tea("a"), "tomorrow").await.0, 400);
    assert_eq!(service.orders().await.len(), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_withdrawal_after_the_goods_left_gives_back_costs_too_even_if_the_goods_are_back() {
    let service = TestService::open().await;
    let admin = service.user(Role::Admin, &[]);
    for (id, returned) in [("partly", 1), ("wholly", 2)] {
        let mut order = tea(id);
        order["adjustments"] = json!([{ "label": "shipping", "amount": 5 }]);
        let (status, placed) = service.call("POST", "/api/orders", &admin, Some(order)).await;
        assert_eq!(status, 201, "{placed}");
        let total = placed["total"].as_f64().expect("a total");
        let path = format!("/api/orders/{id}");
        for status in ["processing", "shipped"] {
            let step = Some(json!({ "status": status }));
            assert_eq!(service.call("PUT", &format!("{path}/status"), &admin, step).await.0, 200);
        }
        let goods = |id: &str| json!({ "id": id, "lines": [{ "line_id": "1", "quantity": returned }] });
        let returns = format!("{path}/returns");
        let taken = service.call("POST", &returns, &admin, Some(goods("withdrawal:x"))).await;
        assert_eq!(
            (taken.0, &taken.1["errors"][0]["rule"]),
            (422, &json!("reserved")),
            "it could block the withdrawal"
        );
        assert_eq!(service.call("POST", &returns, &admin, Some(goods(&format!("r-{id}")))).await.0, 201);
        for _ in 0..2 {
            assert_eq!(service.call("POST", &format!("{path}/withdrawal"), &admin, None).await.0, 204);
        }
        let mut refunded = 0.0;
        for _ in 0..500 {
            let (_, made) = service.call("GET", &returns, &admin, None).await;
            let done = made["data"].as_array().into_iter().flatten().filter(|made| made["refund"]["status"] == "done");
            refunded = done.filter_map(|made| made["refund"]["amount"].as_f64()).sum();
            if refunded >= total {
                break;
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        assert!((refunded - total).abs() < 0.001, "{id}: {refunded} of {total}");
    }
}
