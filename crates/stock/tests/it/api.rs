//! Who may call which route, and which input is refused.

use auth::Role;
use proto::stock::v1::{CheckRequest, CommitRequest, ReleaseRequest, ReserveRequest};
use serde_json::{Value, json};
use tonic::Code;

use crate::service::{TestService, order_lines, with};

fn adjustment(place_id: &str, delta: i64) -> Value {
    json!({ "product_id": "g", "place_id": place_id, "delta": delta, "reason": "count" })
}

type Route = (&'static str, &'static str, Option<Value>, [u16; 6]);

/// Every route with its status for: no token, customer, clerk, manager (both of s1), admin, service.
fn routes(store: &Value) -> Vec<Route> {
    let threshold = json!({ "threshold": 1 });
    let batch =
        json!({ "adjustments": [{ "id": "b", "product_id": "g", "place_id": "s1", "delta": 1, "reason": "r" }] });
    vec![
        ("GET", "/api/places", None, [200; 6]),
        ("GET", "/api/places/s1", None, [200; 6]),
        ("POST", "/api/places", Some(store.clone()), [401, 403, 403, 403, 200, 403]),
        ("GET", "/api/stock/levels", None, [401, 403, 200, 200, 200, 200]),
        ("GET", "/api/stock/ledger", None, [401, 403, 200, 200, 200, 403]),
        ("GET", "/api/stock/ledger?place_id=logistics", None, [401, 403, 403, 403, 200, 403]),
        ("POST", "/api/stock/adjustments", Some(adjustment("s1", 1)), [401, 403, 403, 201, 201, 403]),
        ("POST", "/api/stock/adjustments", Some(adjustment("logistics", 1)), [401, 403, 403, 403, 201, 403]),
        ("POST", "/api/stock/adjustments/batch", Some(batch), [401, 403, 403, 403, 201, 403]),
        ("PUT", "/api/stock/levels/g/s1/threshold", Some(threshold.clone()), [401, 403, 403, 200, 200, 403]),
        ("PUT", "/api/stock/levels/g/logistics/threshold", Some(threshold), [401, 403, 403, 403, 200, 403]),
    ]
}

#[tokio::test(flavor = "multi_thread")]
async fn every_route_lets_through_whom_it_should() {
    let service = TestService::open(|_| {}).await;
    let admin = service.user_token(Role::Admin, &[]);
    let store = json!({ "id": "s1", "name": "Store", "kind": "store" });
    assert_eq!(service.call("POST", "/api/places", &admin, Some(store.clone())).await.0, 201);
    let tokens = [
        String::new(),
        service.user_token(Role::Customer, &[]),
        service.user_token(Role::Clerk, &["s1"]),
        service.user_token(Role::Manager, &["s1"]),
        admin,
        service.service_token(),
    ];
    for (method, path, body, statuses) in routes(&store) {
        for (token, status) in tokens.iter().zip(statuses) {
            let (answered, body) = service.call(method, path, token, body.clone()).await;
            assert_eq!(answered, status, "{method} {path} {body}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn only_services_change_by_grpc_and_admins_may_check() {
    let service = TestService::open(|_| {}).await;
    let mut client = service.client();
    let orders = || vec![order_lines("o", &[("g", 1)])];
    let ids = || vec!["o".to_owned()];
    let bare = client.reserve(ReserveRequest { orders: orders() }).await.expect_err("refused");
    assert_eq!(bare.code(), Code::Unauthenticated);
    for role in [Role::Admin, Role::Manager, Role::Customer] {
        let token = service.user_token(role, &["logistics"]);
        let denied = Some(Code::PermissionDenied);
        let check = client.check(with(CheckRequest { orders: orders() }, &token)).await;
        assert_eq!(check.err().map(|s| s.code()), if role == Role::Admin { None } else { denied });
        let reserve = client.reserve(with(ReserveRequest { orders: orders() }, &token)).await;
        assert_eq!(reserve.err().map(|s| s.code()), denied);
        let release = client.release(with(ReleaseRequest { order_ids: ids() }, &token)).await;
        assert_eq!(release.err().map(|s| s.code()), denied);
        let commit = client.commit(with(CommitRequest { order_ids: ids() }, &token)).await;
        assert_eq!(commit.err().map(|s| s.code()), denied);
    }
    for order_ids in [Vec::new(), vec!["a/b".to_owned()], vec!["o".to_owned(); 1001]] {
        let status =
            client.release(with(ReleaseRequest { order_ids }, &service.service_token())).await.expect_err("refused");
        assert_eq!(status.code(), Code::InvalidArgument);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_repeated_adjustment_gets_the_same_response_and_changes_nothing() {
    let service = TestService::open(|_| {}).await;
    let admin = service.user_token(Role::Admin, &[]);
    let path = "/api/stock/adjustments";
    let mut with_id = adjustment("logistics", 7);
    with_id["id"] = json!("x");
    let first = service.call("POST", path, &admin, Some(with_id.clone())).await;
    assert_eq!((first.0, &first.1["balance"]), (201, &json!(7)));
    assert_eq!(service.call("POST", path, &admin, Some(with_id.clone())).await, first);
    with_id["delta"] = json!(8);
    assert_eq!(service.call("POST", path, &admin, Some(with_id)).await.0, 409);
    let keyed = service.keyed("POST", path, &admin, Some(adjustment("logistics", 1)), Some("k")).await;
    assert_eq!(keyed.0, 201);
    assert_eq!(service.keyed("POST", path, &admin, Some(adjustment("logistics", 1)), Some("k")).await, keyed);
    for (key, delta, refusal) in
        [("k", 2, (422, "idempotency_key.reused")), (" ", 1, (400, "idempotency_key.malformed"))]
    {
        let (status, problem) =
            service.keyed("POST", path, &admin, Some(adjustment("logistics", delta)), Some(key)).await;
        assert_eq!((status, problem["code"].as_str()), (refusal.0, Some(refusal.1)));
    }
    assert_eq!(service.level("g").await, (8, 0));
    let ledger = service.call("GET", "/api/stock/ledger?limit=1", &admin, None).await.1;
    assert_eq!((&ledger["data"][0]["balance"], &ledger["data"][0]["kind"]), (&json!(8), &json!("adjusted")));
    let next = format!("/api/stock/ledger?limit=1&cursor={}", ledger["next_cursor"].as_str().expect("a cursor"));
    let last = service.call("GET", &next, &admin, None).await.1;
    assert_eq!((&last["data"][0]["balance"], &last["next_cursor"]), (&json!(7), &Value::Null));
}

#[tokio::test(flavor = "multi_thread")]
async fn what_cannot_be_is_refused_and_nothing_is_written() {
    let service = TestService::open(|_| {}).await;
    let admin = service.user_token(Role::Admin, &[]);
    service.put_in("g", 5).await;
    service.reserve("o1", &[("g", 3)]).await;
    let path = "/api/stock/adjustments";
    let long = "x".repeat(501);
    for (body, status) in [
        (adjustment("logistics", -3), 409),
        (adjustment("logistics", 0), 422),
        (adjustment("logistics", i64::MIN), 422),
        (adjustment("nowhere", 1), 422),
        (json!({ "product_id": "g", "place_id": "logistics", "delta": 1, "reason": long }), 422),
        (json!({ "product_id": "a b", "place_id": "logistics", "delta": 1, "reason": "r" }), 422),
        (json!({ "product_id": "g", "place_id": "logistics", "delta": 1.5, "reason": "r" }), 400),
        (json!({ "product_id": "g", "place_id": "logistics", "delta": 1, "reason": "r", "colour": "red" }), 400),
    ] {
        let (answered, problem) = service.call("POST", path, &admin, Some(body.clone())).await;
        assert_eq!((answered, &problem["status"]), (status, &json!(status)), "{body}");
    }
    let one = |id: &str, delta: i64| json!({ "id": id, "product_id": "g", "place_id": "logistics", "delta": delta, "reason": "r" });
    let batch = json!({ "adjustments": [one("a", 1), one("b", -9)] });
    assert_eq!(service.call("POST", "/api/stock/adjustments/batch", &admin, Some(batch)).await.0, 409);
    assert_eq!(service.level("g").await, (5, 3));
    for path in ["/api/stock/levels?limit=0", "/api/stock/levels?cursor=AAAA", "/api/stock/ledger?colour=red"] {
        assert_eq!(service.call("GET", path, &admin, None).await.0, 400, "{path}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn thresholds_and_places_are_checked_and_a_low_level_is_published_at_once() {
    let service = TestService::open(|_| {}).await;
    let admin = service.user_token(Role::Admin, &[]);
    service.put_in("g", 2).await;
    let put = |place: &str| format!("/api/stock/levels/g/{place}/threshold");
    assert_eq!(service.call("PUT", &put("nowhere"), &admin, Some(json!({ "threshold": 1 }))).await.0, 404);
    assert_eq!(service.call("PUT", &put("logistics"), &admin, Some(json!({ "threshold": -1 }))).await.0, 422);
    let (status, level) = service.call("PUT", &put("logistics"), &admin, Some(json!({ "threshold": 3 }))).await;
    assert_eq!((status, &level["available"]), (200, &json!(2)));
    let events = service.events_of("logistics/g").await;
    assert_eq!(events.last(), Some(&("souk.stock.low".to_owned(), 2)));
    let bad = json!({ "id": "a b", "name": "", "kind": "barn" });
    let (status, problem) = service.call("POST", "/api/places", &admin, Some(bad)).await;
    assert_eq!((status, problem["errors"].as_array().map(Vec::len)), (422, Some(3)));
    assert_eq!(service.call("GET", "/api/places/none", "", None).await.0, 404);
    let places = service.call("GET", "/api/places?include_total=true", "", None).await.1;
    assert_eq!((&places["total"], &places["data"][0]["kind"]), (&json!(1), &json!("logistics")));
}

#[tokio::test(flavor = "multi_thread")]
async fn levels_are_found_by_products_and_by_what_is_available() {
    let service = TestService::open(|_| {}).await;
    for (product, pieces) in [("a", 2), ("b", 50), ("c", 200)] {
        service.put_in(product, pieces).await;
    }
    let admin = service.user_token(Role::Admin, &[]);
    let cases = [
        ("max_available=50", vec!["a", "b"]),
        ("min_available=50", vec!["b", "c"]),
        ("min_available=3&max_available=100", vec!["b"]),
        ("product_id=a&product_id=c", vec!["a", "c"]),
        ("product_id=a&place_id=logistics&place_id=elsewhere", vec!["a"]),
        ("place_id=elsewhere", vec![]),
    ];
    for (query, wanted) in cases {
        let (status, page) = service.call("GET", &format!("/api/stock/levels?{query}"), &admin, None).await;
        let found = page["data"].as_array().cloned().unwrap_or_default();
        let found: Vec<&str> = found.iter().filter_map(|level| level["product_id"].as_str()).collect();
        assert_eq!((status, found), (200, wanted), "{query}");
    }
    assert_eq!(service.call("GET", "/api/stock/levels?max_available=few", &admin, None).await.0, 400);
}

#[test]
fn every_operation_has_an_id_of_its_own_and_a_short_summary() {
    let description = serde_json::to_value(stock::openapi()).expect("JSON");
    let mut ids = std::collections::BTreeSet::new();
    for (path, operations) in description["paths"].as_object().expect("paths") {
        for (method, operation) in operations.as_object().expect("operations") {
            let id = operation["operationId"].as_str().expect("an id");
            assert!(id.starts_with(char::is_lowercase) && id.chars().all(char::is_alphanumeric), "{id}");
            assert!(ids.insert(id.to_owned()), "{id} twice");
            let summary = operation["summary"].as_str().expect("a summary");
            assert!(summary.len() <= 40 && !summary.ends_with('.'), "{method} {path}: {summary}");
            assert!(operation["description"].is_string(), "{method} {path}");
        }
    }
    assert_eq!(ids.len(), 16, "{ids:?}");
}
