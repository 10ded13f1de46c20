//! Reports: what was sold is what the orders say, whatever becomes of them and whoever sells at the same time.

use std::sync::Arc;

use auth::Role;
use serde_json::{Value, json};

use crate::house::House;

/// Takes an order of an admin; gives it.
async fn order(house: &House, place: &str, day: &str, lines: &[(&str, i64)]) -> Value {
    let lines: Vec<Value> = lines.iter().map(|(id, n)| json!({ "product_id": id, "quantity": n })).collect();
    let body = json!({ "place_id": place, "placed_at": format!("{day}T23:59:59Z"), "lines": lines });
    let admin = house.user(Role::Admin, &[]);
    let (status, order) = house.call("POST", "/api/orders", &admin, Some(body)).await;
    assert_eq!(status, 201, "{order}");
    order
}

async fn get(house: &House, path: &str) -> Value {
    let (status, report) = house.call("GET", path, &house.user(Role::Admin, &[]), None).await;
    assert_eq!(status, 200, "{path} {report}");
    report
}

async fn equal(house: &House, rows: usize) {
    let compared = order::reports::compare(&house.database).await.expect("compares");
    assert_eq!((compared.added, compared.differences), (0, Vec::new()));
    assert_eq!(compared.rows, rows);
}

#[tokio::test(flavor = "multi_thread")]
async fn reports_follow_the_orders() {
    let house = House::open().await;
    let kept = order(&house, "s1", "2024-12-31", &[("tea", 4), ("cup", 1)]).await;
    order(&house, "logistics", "2025-01-01", &[("tea", 1), ("tea", 2)]).await;
    let gone = order(&house, "s1", "2025-02-28", &[("cup", 3)]).await;
    let admin = house.user(Role::Admin, &[]);
    let path = |order: &Value, what: &str| format!("/api/orders/{}/{what}", order["id"].as_str().expect("an id"));
    let back = json!({ "lines": [{ "line_id": "1", "quantity": 3 }] });
    assert_eq!(house.call("POST", &path(&kept, "returns"), &admin, Some(back)).await.0, 201);

    let all = "from=2024-01-01&to=2026-12-31";
    let report = get(&house, &format!("/api/reports/sales?{all}")).await;
    let store = |place: &str, orders: i64, quantity: i64, revenue: Value| json!({ "place_id": place, "orders": orders, "quantity": quantity, "revenue": revenue });
    let stores = json!([store("logistics", 1, 3, json!(13.5)), store("s1", 2, 5, json!(52.5))]);
    assert_eq!(report["rows"], stores);
    assert_eq!(report["total"], json!({ "orders": 3, "quantity": 8, "revenue": 66 }));
    assert_eq!(house.call("POST", &path(&gone, "cancel"), &admin, None).await.0, 200);
    let report = get(&house, &format!("/api/reports/sales?{all}&by=product")).await;
    let product = |id: &str, name: &str, orders: i64, quantity: i64, revenue: i64| json!({ "product_id": id, "name": name, "orders": orders, "quantity": quantity, "revenue": revenue });
    assert_eq!(report["rows"], json!([product("tea", "Tea", 2, 4, 18), product("cup", "Cup", 1, 1, 12)]));
    let top = get(&house, &format!("/api/reports/top-sellers?{all}&limit=1")).await;
    assert_eq!(top["rows"], json!([product("tea", "Tea", 2, 4, 18)]));
    let days = get(&house, &format!("/api/reports/sales?{all}&by=day&place_id=s1")).await;
    let day = json!({ "day": "2024-12-31", "orders": 1, "quantity": 2, "revenue": 16.5 });
    assert_eq!(days["rows"].as_array().expect("rows").first(), Some(&day));
    let one = get(&house, "/api/reports/sales?from=2025-01-01&to=2025-01-01").await;
    assert_eq!(one["total"], json!({ "orders": 1, "quantity": 3, "revenue": 13.5 }));
    let weeks = get(&house, &format!("/api/reports/trends?{all}&by=week")).await;
    let first: Vec<(&Value, &Value)> =
        weeks["rows"].as_array().expect("rows").iter().map(|row| (&row["day"], &row["place_id"])).take(2).collect();
    assert_eq!(first, [(&json!("2024-12-30"), &json!("logistics")), (&json!("2024-12-30"), &json!("s1"))]);

    let manager = house.user(Role::Manager, &["s1"]);
    let (_, own) = house.call("GET", &format!("/api/reports/sales?{all}"), &manager, None).await;
    assert_eq!(own["rows"].as_array().map(Vec::len), Some(1), "{own}");
    let paths =
        ["sales", "sales?place_id=logistics", "sales?place_id=s1", "top-sellers", "trends", "shortages", "overstock"];
    for path in paths {
        let cases = [
            (String::new(), 401),
            (house.customer("c1"), 403),
            (house.user(Role::Clerk, &["s1"]), 403),
            (house.service(), 403),
            (manager.clone(), if path.ends_with("logistics") { 403 } else { 200 }),
            (admin.clone(), 200),
        ];
        for (token, status) in cases {
            assert_eq!(house.call("GET", &format!("/api/reports/{path}"), &token, None).await.0, status, "{path}");
        }
    }
    for bad in ["sales?by=year", "sales?from=2025-02-30", "sales?from=2025-01-02&to=2025-01-01", "top-sellers?limit=0"]
    {
        assert_eq!(house.call("GET", &format!("/api/reports/{bad}"), &admin, None).await.0, 400, "{bad}");
    }
    equal(&house, 3 * (3 + 2)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn levels_are_reported_from_all_pages() {
    let house = House::open().await;
    house.change(|world| {
        for (n, product) in ["tea", "cup", "pot"].into_iter().enumerate() {
            world.shelf.insert(("s1".into(), product.into()), i64::try_from(n).expect("small") + 4);
        }
    });
    let short = get(&house, "/api/reports/shortages").await;
    let tea = json!({ "place_id": "s1", "product_id": "tea", "name": "Tea", "on_hand": 4, "available": 4 });
    assert_eq!((short["rows"].as_array().map(Vec::len), &short["rows"][0]), (Some(2), &tea));
    let over = get(&house, "/api/reports/overstock").await;
    assert_eq!((over["rows"].as_array().map(Vec::len), &over["truncated"]), (Some(3), &json!(false)), "{over}");
    house.change(|world| world.catalogue_away = true);
    assert_eq!(get(&house, "/api/reports/shortages?max=4").await["rows"][0]["name"], Value::Null);
    house.change(|world| world.levels_away = true);
    assert_eq!(house.call("GET", "/api/reports/shortages", &house.user(Role::Admin, &[]), None).await.0, 503);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_wrong_is_found_and_put_right() {
    let house = House::open().await;
    order(&house, "s1", "2025-01-01", &[("tea", 4), ("cup", 1)]).await;
    order(&house, "s1", "2025-03-01", &[("tea", 1)]).await;
    let old = order(&house, "s1", "2025-02-01", &[("cup", 2)]).await;
    equal(&house, 7 + 7 + 3).await;
    house.run("update sales_summary set quantity = quantity + 1 where product_id = 'tea' and grain = 'month'").await;
    house.run("delete from sales_summary where product_id = '' and grain = 'year'").await;
    let compared = order::reports::compare(&house.database).await.expect("compares");
    assert_eq!(compared.differences.len(), 3, "{:?}", compared.differences);
    let rebuilt = order::reports::rebuild(&house.database).await.expect("rebuilds");
    assert_eq!((rebuilt.differences.len(), rebuilt.added), (3, 0));
    equal(&house, compared.rows).await;
    // As a store from before there were summaries: nothing is summed, and what changes is left to whoever sums it.
    house.run("delete from sales_summary").await;
    house.run("update orders set summed = 0").await;
    let path = format!("/api/orders/{}/cancel", old["id"].as_str().expect("an id"));
    assert_eq!(house.call("POST", &path, &house.user(Role::Admin, &[]), None).await.0, 200);
    let rebuilt = order::reports::rebuild(&house.database).await.expect("rebuilds");
    assert_eq!((rebuilt.differences.len(), rebuilt.added), (0, 2));
    let report = get(&house, "/api/reports/sales?from=2025-01-01&to=2025-12-31").await;
    assert_eq!(report["total"], json!({ "orders": 2, "quantity": 6, "revenue": 34.5 }));
}

#[tokio::test(flavor = "multi_thread")]
async fn replicas_that_sell_and_cancel_at_once_keep_the_same_sums() {
    let house = Arc::new(House::with(2).await);
    house.change(|world| world.limit = None);
    let admin = house.user(Role::Admin, &[]);
    let sell = |n: usize| {
        let (house, admin) = (house.clone(), admin.clone());
        tokio::spawn(async move {
            let goods = ["tea", "cup"];
            let lines = json!([
                { "product_id": goods[n % 2], "quantity": 1 },
                { "product_id": goods[(n + 1) % 2], "quantity": 1 },
            ]);
            let place = ["s1", "logistics"][n / 2 % 2];
            let body = json!({ "place_id": place, "lines": lines });
            let (status, order) = house.ask(n % 2, "POST", "/api/orders", &admin, Some(body), None).await;
            assert_eq!(status, 201, "{order}");
            let id = order["id"].as_str().expect("an id");
            if n.is_multiple_of(3) {
                let path = format!("/api/orders/{id}/cancel");
                assert_eq!(house.ask((n + 1) % 2, "POST", &path, &admin, None, None).await.0, 200);
            } else if n % 3 == 1 {
                let back = json!({ "lines": [{ "line_id": "1", "quantity": 1 }] });
                let path = format!("/api/orders/{id}/returns");
                assert_eq!(house.ask(0, "POST", &path, &admin, Some(back), None).await.0, 201);
            }
        })
    };
    let selling: Vec<_> = (0..60).map(sell).collect();
    for sold in selling {
        sold.await.expect("no panic");
    }
    equal(&house, 3 * 6).await;
}
