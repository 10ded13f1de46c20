//! Replenishments: requested, approved, in transit, received.

use auth::Role;
use serde_json::{Value, json};

use crate::service::TestService;

const PATH: &str = "/api/stock/replenishments";

async fn with_store(service: &TestService) -> String {
    let admin = service.user_token(Role::Admin, &[]);
    let store = json!({"id": "store-1", "name": "Store", "kind": "store"});
    assert_eq!(service.call("POST", "/api/places", &admin, Some(store)).await.0, 201);
    admin
}

async fn request(service: &TestService, token: &str, quantity: i64) -> String {
    let body = json!({"product_id": "g", "place_id": "store-1", "quantity": quantity});
    let (status, made) = service.call("POST", PATH, token, Some(body)).await;
    assert_eq!((status, &made["stage"]), (201, &json!("requested")), "{made}");
    made["id"].as_str().expect("an id").to_owned()
}

async fn step(service: &TestService, token: &str, id: &str, what: &str, body: Option<Value>) -> (u16, Value) {
    service.call("POST", &format!("{PATH}/{id}/{what}"), token, body).await
}

#[tokio::test(flavor = "multi_thread")]
async fn goods_go_from_the_centre_to_a_store_and_what_is_missing_is_booked() {
    let service = TestService::open(|_| {}).await;
    let admin = with_store(&service).await;
    let clerk = service.user_token(Role::Clerk, &["store-1"]);
    service.put_in("g", 10).await;
    let id = request(&service, &clerk, 8).await;
    assert_eq!(step(&service, &clerk, &id, "approve", None).await.0, 403);
    assert_eq!(step(&service, &admin, &id, "dispatch", None).await.0, 409, "not approved yet");
    assert_eq!(step(&service, &admin, &id, "approve", None).await.0, 200);
    let (_, sent) = step(&service, &admin, &id, "dispatch", None).await;
    assert_eq!((&sent["stage"], &sent["in_transit"]), (&json!("in_transit"), &json!(8)));
    assert_eq!(service.level("g").await, (2, 0));
    let facts = stock::audit_facts(&service.config().common.database_url).await.expect("reads");
    assert_eq!(facts.in_transit.iter().map(|transit| transit.pieces).sum::<i64>(), 8);

    // Counted twice under one idempotency key, the pieces arrive once.
    for _ in 0..2 {
        let path = format!("{PATH}/{id}/receive");
        let body = Some(json!({"quantity": 5}));
        let (status, some) = service.keyed("POST", &path, &clerk, body, Some("box 1")).await;
        assert_eq!((status, &some["received"], &some["in_transit"]), (200, &json!(5), &json!(3)));
    }
    let (_, levels) = service.call("GET", "/api/stock/levels?product_id=g", &clerk, None).await;
    let in_transit: Vec<&Value> =
        levels["data"].as_array().expect("levels").iter().map(|level| &level["in_transit"]).collect();
    assert_eq!(in_transit, [&json!(0), &json!(3)], "in transit to the store: {levels}");
    // Only a manager may book a difference.
    for wrong in [json!({"quantity": 2, "last": true}), json!({"quantity": 4})] {
        assert_eq!(step(&service, &clerk, &id, "receive", Some(wrong)).await.0, 403);
    }
    let manager = service.user_token(Role::Manager, &["store-1"]);
    assert_eq!(step(&service, &manager, &id, "receive", Some(json!({"quantity": 1_000_000}))).await.0, 422);
    let (_, all) = step(&service, &manager, &id, "receive", Some(json!({"quantity": 2, "last": true}))).await;
    assert_eq!((&all["stage"], &all["received"], &all["difference"]), (&json!("received"), &json!(7), &json!(-1)));
    let (_, levels) = service.call("GET", "/api/stock/levels?place_id=store-1", &clerk, None).await;
    assert_eq!(levels["data"][0]["on_hand"], 7);
    let kinds: Vec<String> =
        service.events_of(&format!("replenishment/{id}")).await.into_iter().map(|event| event.0).collect();
    let stages = ["requested", "approved", "sent", "partly_received", "received"];
    assert_eq!(kinds, stages.map(|kind| format!("souk.replenishment.{kind}")));
    let actors: Vec<&Value> = all["history"].as_array().expect("steps").iter().map(|step| &step["actor"]).collect();
    assert_eq!(actors, ["Clerk", "Admin", "Admin", "Clerk", "Manager"]);
    // `level` compares the ledger and the reservations with the level.
    service.level("g").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_is_sent_that_is_not_there_or_reserved_for_an_order() {
    let service = TestService::open(|_| {}).await;
    let admin = with_store(&service).await;
    service.put_in("g", 5).await;
    service.reserve("o1", &[("g", 3)]).await;
    let id = request(&service, &admin, 4).await;
    step(&service, &admin, &id, "approve", None).await;
    let (status, short) = step(&service, &admin, &id, "dispatch", None).await;
    assert_eq!((status, &short["available"]), (409, &json!(2)), "{short}");
    assert_eq!(service.level("g").await, (5, 3));
    let (status, refused) = step(&service, &admin, &id, "refuse", Some(json!({"reason": "sold out"}))).await;
    assert_eq!((status, &refused["reason"]), (200, &json!("sold out")));
    assert_eq!(step(&service, &admin, &id, "approve", None).await.0, 409);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_store_below_its_threshold_asks_once_until_the_goods_have_come() {
    let service = TestService::open(|_| {}).await;
    let admin = with_store(&service).await;
    service.put_in("g", 50).await;
    let stock = |delta: i64| json!({"product_id": "g", "place_id": "store-1", "delta": delta, "reason": "test"});
    service.call("POST", "/api/stock/adjustments", &admin, Some(stock(12))).await;
    let threshold = Some(json!({"threshold": 10}));
    assert_eq!(service.call("PUT", "/api/stock/levels/g/store-1/threshold", &admin, threshold).await.0, 200);
    for delta in [-3, 5, -6] {
        service.call("POST", "/api/stock/adjustments", &admin, Some(stock(delta))).await;
    }
    let (_, list) = service.call("GET", &format!("{PATH}?include_total=true"), &admin, None).await;
    assert_eq!(list["total"], 1, "{list}");
    let automatic = &list["data"][0];
    // Nine pieces are available, the threshold is ten: the request brings the level to twice the threshold.
    assert_eq!(
        (&automatic["automatic"], &automatic["quantity"], &automatic["place_id"]),
        (&json!(true), &json!(11), &json!("store-1"))
    );
    let id = automatic["id"].as_str().expect("an id");
    for (what, body) in [("approve", None), ("dispatch", None), ("receive", Some(json!({"quantity": 11})))] {
        assert_eq!(step(&service, &admin, id, what, body).await.0, 200, "{what}");
    }
    service.call("POST", "/api/stock/adjustments", &admin, Some(stock(-12))).await;
    let (_, list) = service.call("GET", &format!("{PATH}?stage=requested"), &admin, None).await;
    assert_eq!(list["data"].as_array().map(Vec::len), Some(1), "it is low again: {list}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_repeat_asks_for_nothing_more_and_strangers_see_nothing() {
    let service = TestService::open(|_| {}).await;
    let admin = with_store(&service).await;
    let body = |quantity: i64| json!({"id": "r-1", "product_id": "g", "place_id": "store-1", "quantity": quantity});
    let (_, first) = service.call("POST", PATH, &admin, Some(body(3))).await;
    let (status, again) = service.call("POST", PATH, &admin, Some(body(3))).await;
    assert_eq!((status, &again), (201, &first));
    assert_eq!(service.call("POST", PATH, &admin, Some(body(4))).await.0, 409);
    let keyed = json!({"product_id": "g", "place_id": "store-1", "quantity": 2});
    let (_, one) = service.keyed("POST", PATH, &admin, Some(keyed.clone()), Some("k")).await;
    let (_, two) = service.keyed("POST", PATH, &admin, Some(keyed), Some("k")).await;
    assert_eq!(one["id"], two["id"]);
    let other = service.user_token(Role::Clerk, &["store-2"]);
    assert_eq!(service.call("GET", &format!("{PATH}/r-1"), &other, None).await.0, 404);
    let (_, none) = service.call("GET", PATH, &other, None).await;
    assert_eq!(none["data"], json!([]));
    for (wrong, field) in [
        (json!({"product_id": "g", "place_id": "store-1", "quantity": 0}), "quantity"),
        (json!({"product_id": "g", "place_id": "nowhere", "quantity": 1}), "place_id"),
        (json!({"product_id": "g", "place_id": "logistics", "quantity": 1}), "place_id"),
    ] {
        let (status, problem) = service.call("POST", PATH, &admin, Some(wrong)).await;
        assert_eq!((status, &problem["errors"][0]["field"]), (422, &json!(field)), "{problem}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn twenty_who_count_the_same_put_in_what_is_missing_once() {
    let service = TestService::open(|_| {}).await;
    let admin = service.user_token(Role::Admin, &[]);
    service.put_in("g", 5).await;
    service.reserve("o1", &[("g", 3)]).await;
    let counted = json!({"available": 50, "reason": "counted"});
    let path = "/api/stock/levels/g/logistics/available";
    let all =
        futures::future::join_all((0..20).map(|_| service.call("PUT", path, &admin, Some(counted.clone())))).await;
    assert!(all.iter().all(|(status, level)| *status == 200 && level["available"] == 50), "{all:?}");
    assert_eq!(service.level("g").await, (53, 3));
    let none = json!({"available": 0, "reason": "sold out"});
    assert_eq!(service.call("PUT", path, &admin, Some(none)).await.0, 200);
    assert_eq!(service.level("g").await, (3, 3), "reserved pieces stay");
    assert_eq!(
        service.call("PUT", path, &service.user_token(Role::Clerk, &["logistics"]), Some(json!({}))).await.0,
        403
    );
}
