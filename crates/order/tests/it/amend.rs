//! What may be amended of an order.

use auth::Role;
use serde_json::{Value, json};

use crate::test_service::TestService;

async fn placed(service: &TestService, method: &str) -> (String, Value) {
    let admin = service.user(Role::Admin, &[]);
    let order = json!({
        "lines": [{"product_id": "tea", "quantity": 2}],
        "payment": {"method": method},
        "metadata": {"ref": "B-1", "shelf": "4"},
    });
    let (status, order) = service.call("POST", "/api/orders", &admin, Some(order)).await;
    assert_eq!(status, 201, "{order}");
    (format!("/api/orders/{}", order["id"].as_str().expect("an id")), order)
}

async fn revenue(service: &TestService) -> Value {
    let admin = service.user(Role::Admin, &[]);
    let (_, report) = service.call("GET", "/api/reports/sales?by=store", &admin, None).await;
    report["rows"][0]["revenue"].clone()
}

#[tokio::test(flavor = "multi_thread")]
async fn the_total_of_an_order_on_account_changes_with_its_adjustments_and_the_reports_with_it() {
    let service = TestService::open().await;
    let (path, order) = placed(&service, "on_account").await;
    assert_eq!((&order["total"], &order["metadata"]), (&json!(9), &json!({"ref": "B-1", "shelf": "4"})));
    let clerk = service.user(Role::Clerk, &["logistics"]);
    let less = json!({"adjustments": [{"label": "rebate", "amount": -1.5}]});
    let (status, amended) = service.call("PATCH", &path, &clerk, Some(less.clone())).await;
    assert_eq!((status, &amended["total"], &amended["version"]), (200, &json!(7.5), &json!(3)), "{amended}");
    let last = amended["history"].as_array().and_then(|steps| steps.last()).expect("a step").clone();
    assert_eq!((&last["actor"], &last["status"]), (&json!("Clerk"), &json!("confirmed")));
    assert_eq!(last["reason"], "total changed from 9.00 to 7.50");
    assert_eq!(revenue(&service).await, json!(7.5));
    let (_, again) = service.call("PATCH", &path, &clerk, Some(less)).await;
    assert_eq!(again["version"], 3, "the same changes nothing");
    let below = json!({"adjustments": [{"label": "gift", "amount": -10}]});
    assert_eq!(service.call("PATCH", &path, &clerk, Some(below)).await.0, 422);
    let (status, _) = service.call("POST", &format!("{path}/cancel"), &clerk, None).await;
    assert_eq!(status, 200);
    assert!(matches!(revenue(&service).await, Value::Null), "what is cancelled counts no more");
    let late = json!({"adjustments": []});
    assert_eq!(service.call("PATCH", &path, &clerk, Some(late)).await.0, 409);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_clients_keep_with_an_order_is_merged_and_money_that_was_taken_stays() {
    let service = TestService::open().await;
    let (path, _) = placed(&service, "card").await;
    let admin = service.user(Role::Admin, &[]);
    let change = json!({"metadata": {"ref": null, "new": "x"}, "notes": "ring twice"});
    let (status, amended) = service.call("PATCH", &path, &admin, Some(change)).await;
    assert_eq!((status, &amended["metadata"]), (200, &json!({"shelf": "4", "new": "x"})), "{amended}");
    assert_eq!(amended["notes"], "ring twice");
    let (_, amended) = service.call("PATCH", &path, &admin, Some(json!({"notes": null}))).await;
    assert!(amended["notes"].is_null() && amended["metadata"]["new"] == "x", "{amended}");
    let other = json!({"adjustments": [{"label": "rebate", "amount": -1}]});
    assert_eq!(service.call("PATCH", &path, &admin, Some(other)).await.0, 409, "refunds are for that");
    assert_eq!(service.call("PATCH", &path, &service.customer("c1"), Some(json!({}))).await.0, 403);
    let stranger = service.user(Role::Clerk, &["s2"]);
    assert_eq!(service.call("PATCH", &path, &stranger, Some(json!({}))).await.0, 404);
    let many: Value = (0..20).map(|n| (format!("k{n}"), json!("v"))).collect::<serde_json::Map<_, _>>().into();
    assert_eq!(service.call("PATCH", &path, &admin, Some(json!({"metadata": many}))).await.0, 422, "22 in all");
    let long = json!({"metadata": {"k": "x".repeat(501)}});
    assert_eq!(service.call("PATCH", &path, &admin, Some(long)).await.0, 422);
}
