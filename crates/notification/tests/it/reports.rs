//! Orders that other programs report.

use db::{Db, Options, query};
use futures::future::join_all;
use serde_json::{Value, json};

use crate::test_service::TestService;

fn order(id: &str) -> Value {
    json!({
        "order_id": id, "customer_id": "c1", "items": [{"product_name": "Tea", "quantity": 2, "price": 4.5}],
        "total_price": 9.0, "status": "pending", "created_at": "2026-01-02T03:04:05Z",
    })
}

fn event(id: &str, data: &Value) -> Value {
    json!({
        "specversion": "1.0", "id": id, "source": "order-service", "type": "com.dapr.event.sent", "topic": "orders",
        "pubsubname": "pubsub", "datacontenttype": "application/json", "data": data,
    })
}

#[tokio::test]
async fn an_order_in_plain_json_is_told_once() {
    let service = TestService::start().await;
    for _ in 0..2 {
        let answer = service.report(&order("o1")).await;
        assert_eq!(answer.status(), 200);
        assert_eq!(answer.text().await.unwrap(), "");
    }
    let mut same = order("o1");
    same["trace"] = json!("another try");
    assert_eq!(service.report(&same).await.status(), 200);
    let mut moved = order("o1");
    moved["status"] = json!("shipped");
    service.report(&moved).await;
    let notices = service.notices().await;
    let messages: Vec<&str> = notices.iter().filter_map(|notice| notice["message"].as_str()).collect();
    assert_eq!(messages, ["Order o1 is pending: 1 item, 9.00", "Order o1 is shipped: 1 item, 9.00"]);
    let first = &notices[0];
    assert_eq!(
        (&first["kind"], &first["order_id"], &first["customer_id"]),
        (&json!("order.reported"), &json!("o1"), &json!("c1"))
    );
}

#[tokio::test]
async fn the_same_words_a_day_later_are_news() {
    let service = TestService::start().await;
    service.report(&order("o1")).await;
    let db = Db::open(&service.config.common.database_url, &Options::default(), None).await.unwrap();
    for (hours, told) in [(23, 1), (2, 2), (0, 2)] {
        let mut tx = db.write().await.unwrap();
        query("update inbox set at = at - $1").bind(hours * 3_600_000_000_i64).execute(&mut tx).await.unwrap();
        tx.commit().await.unwrap();
        service.report(&order("o1")).await;
        assert_eq!(service.notices().await.len(), told, "{hours} hours later");
    }
    db.close().await;
}

#[tokio::test]
async fn an_event_is_told_once_by_its_id() {
    let service = TestService::start().await;
    for (id, data) in [
        ("e1", order("o1")),
        ("e1", order("o1")),
        ("e2", order("o1")),
        // Some publish a text.
        ("e3", json!(order("o2").to_string())),
    ] {
        let url = format!("{}/orders", service.url);
        let request = service.near.post(url).header("content-type", "application/cloudevents+json; charset=utf-8");
        let answer = request.body(event(id, &data).to_string()).send().await.unwrap();
        assert_eq!(answer.status(), 200);
        assert_eq!(answer.json::<Value>().await.unwrap(), json!({"status": "SUCCESS"}));
    }
    let mut other = event("e1", &order("o3"));
    other["source"] = json!("another");
    service.report(&other).await;
    let orders: Vec<Value> = service.notices().await.into_iter().map(|mut notice| notice["order_id"].take()).collect();
    assert_eq!(orders, ["o1", "o1", "o2", "o3"]);
}

#[tokio::test]
async fn many_at_once_are_told_once() {
    let service = TestService::start().await;
    let answers = join_all((0..8).map(|_| async { service.report(&order("o1")).await.status() })).await;
    assert!(answers.iter().all(|status| *status == 200), "{answers:?}");
    assert_eq!(service.notices().await.len(), 1);
}

#[tokio::test]
async fn anything_else_is_refused_in_the_words_of_old() {
    let service = TestService::start().await;
    let mut partial = order("o1");
    partial.as_object_mut().unwrap().remove("items");
    let json = "application/json";
    let (partial, right) = (partial.to_string(), order("o1").to_string());
    let hollow = event("e1", &json!({"hello": "world"})).to_string();
    let bodies = [
        (json, ""),
        (json, "{"),
        (json, "null"),
        (json, "[]"),
        (json, "{}"),
        (json, &partial),
        (json, &hollow),
        // A page in a browser can send these here without being asked for leave.
        ("text/plain", &right),
        ("application/x-www-form-urlencoded", &right),
    ];
    for (kind, body) in bodies {
        let request = service.near.post(format!("{}/orders", service.url)).header("content-type", kind);
        let answer = request.body(body.to_owned()).send().await.unwrap();
        assert_eq!(answer.status(), 400, "{kind} {body}");
        assert!(answer.headers()["content-type"].to_str().unwrap().starts_with("text/plain"));
        assert_eq!(answer.text().await.unwrap(), "Invalid order data");
    }
    assert_eq!(service.notices().await.len(), 0);
}

#[tokio::test]
async fn from_afar_it_is_for_services_and_admins() {
    let service = TestService::start().await;
    let send = async |client: &reqwest::Client, token: &str| {
        let request = client.post(format!("{}/orders", service.url)).json(&order("o1"));
        let request = if token.is_empty() { request } else { request.bearer_auth(token) };
        request.send().await.unwrap().status()
    };
    assert_eq!(send(&service.far, "").await, 401);
    assert_eq!(send(&service.far, "nonsense").await, 401);
    assert_eq!(send(&service.far, &service.clerk).await, 403);
    assert_eq!(send(&service.near, &service.clerk).await, 403, "a token counts, wherever it comes from");
    assert_eq!(service.notices().await.len(), 0);
    for token in [&service.service, &service.admin] {
        assert_eq!(send(&service.far, token).await, 200);
    }
    assert_eq!(service.notices().await.len(), 1);
}
