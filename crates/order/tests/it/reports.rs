//! Reports equal the orders, through returns, cancellations and concurrent sales.

use std::sync::Arc;

use auth::Role;
use serde_json::{Value, json};

use crate::test_service::TestService;

/// Places an order as admin and returns it.
async fn order(service: &TestService, place: &str, day: &str, lines: &[(&str, i64)]) -> Value {
    let lines: Vec<Value> = lines.iter().map(|(id, n)| json!({ "product_id": id, "quantity": n })).collect();
    let body = json!({ "place_id": place, "placed_at": format!("{day}T23:59:59Z"), "lines": lines });
    let admin = service.user(Role::Admin, &[]);
    let (status, order) = service.call("POST", "/api/orders", &admin, Some(body)).await;
    assert_eq!(status, 201, "{order}");
    order
}

async fn get(service: &TestService, path: &str) -> Value {
    let (status, report) = service.call("GET", path, &service.user(Role::Admin, &[]), None).await;
    assert_eq!(status, 200, "{path} {report}");
    report
}

async fn equal(service: &TestService, rows: usize) {
    let compared = order::reports::compare(service.database()).await.expect("compares");
    assert_eq!((compared.added, compared.differences), (0, Vec::new()));
    assert_eq!(compared.rows, rows);
}

#[tokio::test(flavor = "multi_thread")]
async fn reports_follow_the_orders() {
    let service = TestService::open().await;
    let kept = order(&service, "s1", "2024-12-31", &[("tea", 4), ("cup", 1)]).await;
    order(&service, "logistics", "2025-01-01", &[("tea", 1), ("tea", 2)]).await;
    let gone = order(&service, "s1", "2025-02-28", &[("cup", 3)]).await;
    let admin = service.user(Role::Admin, &[]);
    let path = |order: &Value, what: &str| format!("/api/orders/{}/{what}", order["id"].as_str().expect("an id"));
    let back = json!({ "lines": [{ "line_id": "1", "quantity": 3 }] });
    assert_eq!(service.call("POST", &path(&kept, "returns"), &admin, Some(back)).await.0, 201);

    let all = "from=2024-01-01&to=2026-12-31";
    let report = get(&service, &format!("/api/reports/sales?{all}")).await;
    let store = |place: &str, orders: i64, quantity: i64, revenue: Value| json!({ "place_id": place, "orders": orders, "quantity": quantity, "revenue": revenue });
    let stores = json!([store("logistics", 1, 3, json!(13.5)), store("s1", 2, 5, json!(52.5))]);
    assert_eq!(report["rows"], stores);
    assert_eq!(report["total"], json!({ "orders": 3, "quantity": 8, "revenue": 66 }));
    assert_eq!(service.call("POST", &path(&gone, "cancel"), &admin, None).await.0, 200);
    let report = get(&service, &format!("/api/reports/sales?{all}&by=product")).await;
    let product = |id: &str, name: &str, orders: i64, quantity: i64, revenue: i64| json!({ "product_id": id, "name": name, "orders": orders, "quantity": quantity, "revenue": revenue });
    assert_eq!(report["rows"], json!([product("tea", "Tea", 2, 4, 18), product("cup", "Cup", 1, 1, 12)]));
    let top = get(&service, &format!("/api/reports/top-sellers?{all}&limit=1")).await;
    assert_eq!(top["rows"], json!([product("tea", "Tea", 2, 4, 18)]));
    let days = get(&service, &format!("/api/reports/sales?{all}&by=day&place_id=s1")).await;
    let day = json!({ "day": "2024-12-31", "orders": 1, "quantity": 2, "revenue": 16.5 });
    assert_eq!(days["rows"].as_array().expect("rows").first(), Some(&day));
    let one = get(&service, "/api/reports/sales?from=2025-01-01&to=2025-01-01").await;
    assert_eq!(one["total"], json!({ "orders": 1, "quantity": 3, "revenue": 13.5 }));
    let weeks = get(&service, &format!("/api/reports/trends?{all}&by=week")).await;
    let first: Vec<(&Value, &Value)> =
        weeks["rows"].as_array().expect("rows").iter().map(|row| (&row["day"], &row["place_id"])).take(2).collect();
    assert_eq!(first, [(&json!("2024-12-30"), &json!("logistics")), (&json!("2024-12-30"), &json!("s1"))]);

    let manager = service.user(Role::Manager, &["s1"]);
    let (_, own) = service.call("GET", &format!("/api/reports/sales?{all}"), &manager, None).await;
    assert_eq!(own["rows"].as_array().map(Vec::len), Some(1), "{own}");
    let paths =
        ["sales", "sales?place_id=logistics", "sales?place_id=s1", "top-sellers", "trends", "shortages", "overstock"];
    for path in paths {
        let cases = [
            (String::new(), 401),
            (service.customer("c1"), 403),
            (service.user(Role::Clerk, &["s1"]), 403),
            (service.service(), 403),
            (manager.clone(), if path.ends_with("logistics") { 403 } else { 200 }),
            (admin.clone(), 200),
        ];
        for (token, status) in cases {
            assert_eq!(service.call("GET", &format!("/api/reports/{path}"), &token, None).await.0, status, "{path}");
        }
    }
    for bad in ["sales?by=year", "sales?from=2025-02-30", "sales?from=2025-01-02&to=2025-01-01", "top-sellers?limit=0"]
    {
        assert_eq!(service.call("GET", &format!("/api/reports/{bad}"), &admin, None).await.0, 400, "{bad}");
    }
    equal(&service, 3 * (3 + 2)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn levels_are_reported_from_all_pages() {
    let service = TestService::open().await;
    service.change_peers(|peers| {
        for (n, product) in ["tea", "cup", "pot"].into_iter().enumerate() {
            peers.available.insert(("s1".into(), product.into()), i64::try_from(n).expect("small") + 4);
        }
    });
    let short = get(&service, "/api/reports/shortages").await;
    let tea = json!({ "place_id": "s1", "product_id": "tea", "name": "Tea", "on_hand": 4, "available": 4 });
    assert_eq!((short["rows"].as_array().map(Vec::len), &short["rows"][0]), (Some(2), &tea));
    let over = get(&service, "/api/reports/overstock").await;
    assert_eq!((over["rows"].as_array().map(Vec::len), &over["truncated"]), (Some(3), &json!(false)), "{over}");
    service.change_peers(|peers| peers.catalogue_down = true);
    assert_eq!(get(&service, "/api/reports/shortages?max=4").await["rows"][0]["name"], Value::Null);
    service.change_peers(|peers| peers.levels_down = true);
    let (status, down) = service.call("GET", "/api/reports/shortages", &service.user(Role::Admin, &[]), None).await;
    assert_eq!((status, &down["code"], &down["peer"]), (503, &json!("peer.unavailable"), &json!("stock")), "{down}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_manager_of_more_than_a_hundred_stores_gets_the_levels_of_all() {
    let service = TestService::open().await;
    let stores: Vec<String> = (0..230).map(|n| format!("store-{n}")).collect();
    service.change_peers(|peers| {
        peers.available = stores.iter().map(|store| ((store.clone(), "tea".to_owned()), 3)).collect();
    });
    let names: Vec<&str> = stores.iter().map(String::as_str).collect();
    let manager = service.user(Role::Manager, &names[..205]);
    let (status, report) = service.call("GET", "/api/reports/shortages", &manager, None).await;
    assert_eq!((status, &report["truncated"]), (200, &json!(true)), "a hundred answers of two levels each: {report}");
    let manager = service.user(Role::Manager, &names[..150]);
    let (_, report) = service.call("GET", "/api/reports/shortages", &manager, None).await;
    let rows = report["rows"].as_array().expect("rows");
    assert_eq!((rows.len(), &report["truncated"]), (150, &json!(false)));
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_wrong_is_found_and_put_right() {
    let service = TestService::open().await;
    order(&service, "s1", "2025-01-01", &[("tea", 4), ("cup", 1)]).await;
    order(&service, "s1", "2025-03-01", &[("tea", 1)]).await;
    let old = order(&service, "s1", "2025-02-01", &[("cup", 2)]).await;
    equal(&service, 7 + 7 + 3).await;
    service.run("update sales_summary set quantity = quantity + 1 where product_id = 'tea' and grain = 'month'").await;
    service.run("delete from sales_summary where product_id = '' and grain = 'year'").await;
    let compared = order::reports::compare(service.database()).await.expect("compares");
    assert_eq!(compared.differences.len(), 3, "{:?}", compared.differences);
    let rebuilt = order::reports::rebuild(service.database()).await.expect("rebuilds");
    assert_eq!((rebuilt.differences.len(), rebuilt.added), (3, 0));
    equal(&service, compared.rows).await;
    // As a store of a version without summaries: no order is summed, and a cancellation changes no sums.
    service.run("delete from sales_summary").await;
    service.run("update orders set summed = 0").await;
    let path = format!("/api/orders/{}/cancel", old["id"].as_str().expect("an id"));
    assert_eq!(service.call("POST", &path, &service.user(Role::Admin, &[]), None).await.0, 200);
    let rebuilt = order::reports::rebuild(service.database()).await.expect("rebuilds");
    assert_eq!((rebuilt.differences.len(), rebuilt.added), (0, 2));
    let report = get(&service, "/api/reports/sales?from=2025-01-01&to=2025-12-31").await;
    assert_eq!(report["total"], json!({ "orders": 2, "quantity": 6, "revenue": 34.5 }));
}

#[tokio::test(flavor = "multi_thread")]
async fn replicas_that_sell_and_cancel_at_once_keep_the_same_sums() {
    let service = Arc::new(TestService::with(2).await);
    service.change_peers(|peers| peers.limit = None);
    let admin = service.user(Role::Admin, &[]);
    let sell = |n: usize| {
        let (service, admin) = (service.clone(), admin.clone());
        tokio::spawn(async move {
            let goods = ["tea", "cup"];
            let lines = json!([
                { "product_id": goods[n % 2], "quantity": 1 },
                { "product_id": goods[(n + 1) % 2], "quantity": 1 },
            ]);
            let place = ["s1", "logistics"][n / 2 % 2];
            let body = json!({ "place_id": place, "lines": lines });
            let (status, order) = service.call_replica(n % 2, "POST", "/api/orders", &admin, Some(body), None).await;
            assert_eq!(status, 201, "{order}");
            let id = order["id"].as_str().expect("an id");
            if n.is_multiple_of(3) {
                let path = format!("/api/orders/{id}/cancel");
                assert_eq!(service.call_replica((n + 1) % 2, "POST", &path, &admin, None, None).await.0, 200);
            } else if n % 3 == 1 {
                let back = json!({ "lines": [{ "line_id": "1", "quantity": 1 }] });
                let path = format!("/api/orders/{id}/returns");
                assert_eq!(service.call_replica(0, "POST", &path, &admin, Some(back), None).await.0, 201);
            }
        })
    };
    let selling: Vec<_> = (0..60).map(sell).collect();
    for sold in selling {
        sold.await.expect("no panic");
    }
    equal(&service, 3 * 6).await;
}
