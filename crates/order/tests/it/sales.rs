//! Sales in a store.

use auth::Role;
use serde_json::{Value, json};

use crate::test_service::TestService;

fn sale(quantity: i64) -> Value {
    json!({ "lines": [{ "product_id": "tea", "quantity": quantity }], "payment": { "method": "cash" } })
}

#[tokio::test(flavor = "multi_thread")]
async fn goods_sold_at_a_till_are_delivered_at_once_and_may_come_back() {
    let service = TestService::open().await;
    let clerk = service.user(Role::Clerk, &["s1"]);
    let path = "/api/stores/s1/sales";
    let (status, sold) = service.keyed(path, &clerk, sale(2), "k").await;
    assert_eq!(status, 201, "{sold}");
    assert_eq!(
        (&sold["channel"], &sold["status"], &sold["state"]),
        (&json!("store"), &json!("delivered"), &json!("CONFIRMED"))
    );
    assert_eq!((&sold["place_id"], &sold["total"], &sold["customer_id"]), (&json!("s1"), &json!(9), &Value::Null));
    let moved: Vec<&Value> = sold["history"].as_array().expect("a list").iter().map(|m| &m["status"]).collect();
    assert_eq!(moved, ["pending", "confirmed", "delivered"]);
    assert_eq!(service.keyed(path, &clerk, sale(2), "k").await, (201, sold.clone()), "a repeat finds it");
    assert_eq!(service.keyed(path, &clerk, sale(3), "k").await.0, 422);
    let order = format!("/api/orders/{}", sold["id"].as_str().expect("an id"));
    let (status, problem) = service.call("POST", &format!("{order}/cancel"), &clerk, None).await;
    assert_eq!(status, 409, "{problem}");
    let manager = service.user(Role::Manager, &["s1"]);
    let back = json!({ "lines": [{ "line_id": "1", "quantity": 1 }] });
    let (status, returned) = service.call("POST", &format!("{order}/returns"), &manager, Some(back)).await;
    assert_eq!(status, 201, "{returned}");
    assert_eq!(returned["refund"]["amount"], json!(4.5));
    let admin = service.user(Role::Admin, &[]);
    let web = json!({ "lines": [{ "product_id": "tea", "quantity": 1 }] });
    assert_eq!(service.call("POST", "/api/orders", &admin, Some(web)).await.1["channel"], "web");
    for (channel, many) in [("web", 1), ("store", 1)] {
        let (_, page) = service.call("GET", &format!("/api/orders?channel={channel}"), &admin, None).await;
        assert_eq!(page["data"].as_array().expect("a list").len(), many);
    }
    assert_eq!(service.call("GET", "/api/orders?channel=fax", &admin, None).await.0, 400);
    assert_eq!(service.orders().await.len(), 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_sale_is_refused_as_an_order_is() {
    let service = TestService::open().await;
    let admin = service.user(Role::Admin, &[]);
    let (status, short) = service.call("POST", "/api/stores/s1/sales", &admin, Some(sale(101))).await;
    assert_eq!((status, &short["shortages"][0]["available"]), (409, &json!(100)), "{short}");
    assert_eq!(short["code"], "order.stock_short");
    let card = json!({ "lines": [{ "product_id": "pot", "quantity": 2 }], "payment": { "method": "card" } });
    assert_eq!(service.call("POST", "/api/stores/s1/sales", &admin, Some(card)).await.0, 402);
    for (store, status) in [("nowhere", 404), ("logistics", 404), ("a%20b", 404), ("s2", 409)] {
        let path = format!("/api/stores/{store}/sales");
        assert_eq!(service.call("POST", &path, &admin, Some(sale(1))).await.0, status, "{store}");
    }
    let credit = json!({ "lines": [{ "product_id": "tea", "quantity": 1 }], "payment": { "method": "on_account" } });
    assert_eq!(service.call("POST", "/api/stores/s1/sales", &admin, Some(credit)).await.0, 422);
    let cases = [
        (String::new(), 401),
        (service.customer("c1"), 403),
        (service.service(), 403),
        (service.user(Role::Clerk, &["s2"]), 403),
        (service.user(Role::Manager, &["s1"]), 201),
    ];
    for (token, status) in cases {
        assert_eq!(service.call("POST", "/api/stores/s1/sales", &token, Some(sale(1))).await.0, status);
    }
}
