//! Carts, through the API of one replica and of two.

use std::{collections::BTreeSet, sync::Arc, time::Duration};

use auth::Role;
use serde_json::{Value, json};

use crate::test_service::TestService;

fn tea(quantity: i64) -> Option<Value> {
    Some(json!({ "product_id": "tea", "quantity": quantity }))
}

fn id(order: &Value) -> String {
    order["id"].as_str().unwrap_or_else(|| panic!("an order: {order}")).to_owned()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_guest_fills_a_cart_and_the_customer_that_he_becomes_buys_it() {
    let service = TestService::open().await;
    let (status, cart) = service.call("POST", "/api/carts", "", None).await;
    let guest = id(&cart);
    assert_eq!((status, guest.starts_with("guest-"), guest.len()), (201, true, 38), "{cart}");
    let items = format!("/api/carts/{guest}/items");
    let (status, first) = service.call("POST", &items, "", tea(2)).await;
    assert_eq!(status, 201, "{first}");
    assert_eq!((&first["number"], &first["quantity"], &first["subtotal"]), (&json!(1), &json!(2), &json!(9)));
    assert_eq!((&first["available"], &first["version"]), (&json!(100), &json!(2)));
    let (_, more) = service.call("POST", &items, "", tea(3)).await;
    assert_eq!((&more["item_id"], &more["quantity"]), (&first["item_id"], &json!(5)), "pieces of one product add up");
    let cup = json!({ "product_id": "cup", "quantity": 1 });
    let (_, second) = service.call("POST", &items, "", Some(cup)).await;
    assert_eq!(second["number"], json!(2));
    let one = format!("{items}/{}", first["item_id"].as_str().expect("an id"));
    let (status, set) = service.call("PUT", &one, "", Some(json!({ "quantity": 4 }))).await;
    assert_eq!((status, &set["subtotal"]), (200, &json!(18)));
    let other = format!("{items}/{}", second["item_id"].as_str().expect("an id"));
    assert_eq!(service.call("DELETE", &other, "", None).await.0, 204);
    assert_eq!(service.call("DELETE", &other, "", None).await.0, 404);

    let buyer = service.customer("c1");
    service.call("POST", "/api/carts/c1/items", &buyer, tea(1)).await;
    let claim = json!({ "guest_id": guest });
    let (status, cart) = service.keyed("/api/carts/c1/claim", &buyer, claim.clone(), "k").await;
    assert_eq!((status, &cart["items"][0]["quantity"], &cart["total"]), (200, &json!(5), &json!(22.5)), "{cart}");
    assert_eq!(service.keyed("/api/carts/c1/claim", &buyer, claim, "k").await, (200, cart), "once");
    let (_, left) = service.call("GET", &format!("/api/carts/{guest}"), "", None).await;
    assert_eq!(left["items"], json!([]));

    let (status, order) = service.call("POST", "/api/carts/c1/checkout", &buyer, None).await;
    assert_eq!((status, &order["customer_id"], &order["total"]), (201, &json!("c1"), &json!(22.5)), "{order}");
    let (_, cart) = service.call("GET", "/api/carts/c1", &buyer, None).await;
    assert_eq!((&cart["items"], &cart["last_order_id"], &cart["order_id"]), (&json!([]), &order["id"], &Value::Null));
    let (status, problem) = service.call("POST", "/api/carts/c1/checkout", &buyer, None).await;
    assert_eq!((status, &problem["order_id"]), (409, &order["id"]));
}

#[tokio::test(flavor = "multi_thread")]
async fn the_cart_says_what_has_changed_since_it_was_last_seen() {
    let service = TestService::open().await;
    let buyer = service.customer("c1");
    service.call("POST", "/api/carts/c1/items", &buyer, tea(2)).await;
    service.change_peers(|peers| {
        peers.products.insert("tea".into(), ("Green tea".into(), 500, true));
        peers.available.insert(("logistics".into(), "tea".into()), 1);
    });
    let (_, cart) = service.call("GET", "/api/carts/c1", &buyer, None).await;
    let changes = json!([
        { "field": "price", "was": 4.5, "now": 5 },
        { "field": "name", "was": "Tea", "now": "Green tea" },
        { "field": "available", "was": 100, "now": 1 },
    ]);
    assert_eq!((&cart["items"][0]["changes"], &cart["total"]), (&changes, &json!(10)));
    let version = cart["version"].clone();
    let (_, cart) = service.call("GET", "/api/carts/c1", &buyer, None).await;
    assert_eq!((&cart["items"][0]["changes"], &cart["version"]), (&Value::Null, &version), "the new values are kept");
    service.change_peers(|peers| (peers.levels_down, peers.catalogue_down) = (true, true));
    let (status, cart) = service.call("GET", "/api/carts/c1", &buyer, None).await;
    assert_eq!((status, &cart["items"][0]["unit_price"], &cart["items"][0]["available"]), (200, &json!(5), &json!(1)));
    service.change_peers(|peers| peers.catalogue_down = false);
    let (_, cup) = service.call("POST", "/api/carts/c2/items", &service.customer("c2"), tea(1)).await;
    assert_eq!(cup["available"], Value::Null, "unknown");
    service.change_peers(|peers| peers.products.get_mut("tea").expect("tea").2 = false);
    let (_, cart) = service.call("GET", "/api/carts/c1", &buyer, None).await;
    assert_eq!(cart["items"][0]["changes"], json!([{ "field": "gone", "was": false, "now": true }]));
    assert_eq!((&cart["items"][0]["gone"], &cart["total"]), (&json!(true), &json!(0)));
    assert_eq!(service.call("POST", "/api/carts/c1/checkout", &buyer, None).await.0, 422);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cart_is_for_whom_it_should_be() {
    let service = TestService::open().await;
    let (_, guest) = service.call("POST", "/api/carts", "", None).await;
    let guest = id(&guest);
    let tokens = [
        String::new(),
        service.customer("c1"),
        service.user(Role::Clerk, &["s1"]),
        service.user(Role::Admin, &[]),
        service.service(),
    ];
    let quantity = || Some(json!({ "product_id": "tea", "quantity": 1 }));
    let routes = [
        ("GET", "/api/carts/c1".to_owned(), None, [401, 200, 200, 200, 403]),
        ("GET", "/api/carts/c2".to_owned(), None, [401, 404, 200, 200, 403]),
        ("GET", "/api/carts/nobody".to_owned(), None, [401, 404, 404, 404, 403]),
        ("POST", "/api/carts/c2/items".to_owned(), quantity(), [401, 404, 201, 201, 403]),
        ("GET", format!("/api/carts/{guest}"), None, [200; 5]),
        ("GET", "/api/carts/guest-0".to_owned(), None, [404; 5]),
        ("POST", format!("/api/carts/{guest}/items"), quantity(), [201; 5]),
        ("GET", "/api/carts".to_owned(), None, [401, 403, 200, 200, 403]),
        ("POST", "/api/carts/c2/checkout".to_owned(), None, [401, 404, 403, 201, 403]),
        ("POST", "/api/carts/c1/claim".to_owned(), Some(json!({ "guest_id": "guest-0" })), [401, 422, 422, 422, 403]),
    ];
    for (method, path, body, statuses) in routes {
        for (token, status) in tokens.iter().zip(statuses) {
            let (answered, problem) = service.call(method, &path, token, body.clone()).await;
            assert_eq!(answered, status, "{method} {path} {problem}");
        }
    }
    let admin = service.user(Role::Admin, &[]);
    let (_, found) = service.call("GET", "/api/carts?item_number=2", &admin, None).await;
    assert_eq!((found["data"].as_array().map(Vec::len), &found["data"][0]["id"]), (Some(1), &json!(guest)), "{found}");
    let (_, page) = service.call("GET", "/api/carts?limit=1&include_total=true", &admin, None).await;
    assert_eq!(page["total"], json!(2), "{page}");
    let next = format!("/api/carts?limit=1&cursor={}", page["next_cursor"].as_str().expect("a cursor"));
    let (_, rest) = service.call("GET", &next, &admin, None).await;
    assert_eq!((rest["data"].as_array().map(Vec::len), &rest["next_cursor"]), (Some(1), &Value::Null));
    let clerk = service.user(Role::Clerk, &["s1"]);
    let till = json!({ "place_id": "s1", "payment": { "method": "cash" } });
    let (status, order) = service.call("POST", &format!("/api/carts/{guest}/checkout"), &clerk, Some(till)).await;
    assert_eq!((status, &order["customer_id"], &order["place_id"]), (201, &Value::Null, &json!("s1")), "{order}");
}

#[tokio::test(flavor = "multi_thread")]
async fn who_is_told_that_he_cannot_pay_leaves_the_goods_to_others() {
    let service = TestService::open().await;
    service.change_peers(|peers| (peers.limit, peers.release_delay) = (Some(1), Duration::from_millis(300)));
    let buyer = service.customer("c1");
    service.call("POST", "/api/carts/c1/items", &buyer, tea(100)).await;
    let (status, refused) = service.call("POST", "/api/carts/c1/checkout", &buyer, None).await;
    assert_eq!(status, 402, "{refused}");
    let mut held = 1;
    service.change_peers(|peers| held = peers.held.len());
    assert_eq!(held, 0, "they are free before he is told, so that the next attempt finds them");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_refused_stays_in_the_cart_to_be_mended() {
    let service = TestService::open().await;
    let buyer = service.customer("c1");
    let (_, item) = service.call("POST", "/api/carts/c1/items", &buyer, tea(101)).await;
    let (status, short) = service.keyed("/api/carts/c1/checkout", &buyer, json!({}), "a").await;
    assert_eq!((status, &short["shortages"][0]["requested"]), (409, &json!(101)), "{short}");
    let one = format!("/api/carts/c1/items/{}", item["item_id"].as_str().expect("an id"));
    assert_eq!(service.call("PUT", &one, &buyer, Some(json!({ "quantity": 2 }))).await.0, 200);
    service.change_peers(|peers| peers.limit = Some(899));
    let (status, refused) = service.keyed("/api/carts/c1/checkout", &buyer, json!({}), "b").await;
    assert_eq!(status, 402, "{refused}");
    assert_ne!(refused["order_id"], short["order_id"]);
    service.change_peers(|peers| peers.limit = None);
    let (status, order) = service.keyed("/api/carts/c1/checkout", &buyer, json!({}), "c").await;
    assert_eq!(status, 201, "{order}");
    for (key, answer) in [("a", (409, short)), ("b", (402, refused)), ("c", (201, order))] {
        assert_eq!(service.keyed("/api/carts/c1/checkout", &buyer, json!({}), key).await, answer, "{key}");
    }
    let other = json!({ "notes": "another" });
    assert_eq!(service.keyed("/api/carts/c1/checkout", &buyer, other, "c").await.0, 422);
    assert_eq!(service.orders().await.len(), 3);
}

#[tokio::test(flavor = "multi_thread")]
async fn while_it_is_being_checked_out_nothing_in_it_changes() {
    let service = TestService::open().await;
    let buyer = service.customer("c1");
    let (_, item) = service.call("POST", "/api/carts/c1/items", &buyer, tea(1)).await;
    service.change_peers(|peers| peers.reserve_delay = Duration::from_millis(600));
    let request = service.http.post(format!("{}/api/carts/c1/checkout", service.replicas[0])).bearer_auth(&buyer);
    let running = request.header("prefer", "respond-async").send().await.expect("answers");
    assert_eq!(running.status(), 202);
    let running: Value = running.json().await.expect("JSON");
    let (_, cart) = service.call("GET", "/api/carts/c1", &buyer, None).await;
    assert_eq!(cart["order_id"], running["id"]);
    let one = format!("/api/carts/c1/items/{}", item["item_id"].as_str().expect("an id"));
    for (method, path, body) in
        [("POST", "/api/carts/c1/items", tea(1)), ("PUT", &one, Some(json!({ "quantity": 2 }))), ("DELETE", &one, None)]
    {
        let (status, problem) = service.call(method, path, &buyer, body).await;
        assert_eq!((status, &problem["order_id"]), (409, &running["id"]), "{method} {problem}");
    }
    let (status, order) = service.keyed("/api/carts/c1/checkout", &buyer, json!({}), "late").await;
    assert_eq!((status, &order["id"]), (201, &running["id"]), "{order}");
    assert_eq!(service.keyed("/api/carts/c1/checkout", &buyer, json!({}), "late").await, (201, order));
    assert_eq!(service.call("POST", "/api/carts/c1/items", &buyer, tea(1)).await.0, 201);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_key_adds_once_and_an_old_version_changes_nothing() {
    let service = TestService::open().await;
    let buyer = service.customer("c1");
    let item = json!({ "product_id": "tea", "quantity": 2 });
    let first = service.keyed("/api/carts/c1/items", &buyer, item.clone(), "k").await;
    assert_eq!(service.keyed("/api/carts/c1/items", &buyer, item, "k").await, first);
    let request = service.http.delete(format!("{}/api/carts/c1", service.replicas[0])).bearer_auth(&buyer);
    assert_eq!(request.header("if-match", "\"7\"").send().await.expect("answers").status(), 412);
    let (_, cart) = service.call("GET", "/api/carts/c1", &buyer, None).await;
    assert_eq!((&cart["items"][0]["quantity"], &cart["version"]), (&json!(2), &json!(1)));
    assert_eq!(service.call("DELETE", "/api/carts/c1", &buyer, None).await.0, 204);
    for (quantity, status) in [(0, 422), (1_000_001, 422), (1_000_000, 201), (1, 422)] {
        assert_eq!(service.call("POST", "/api/carts/c1/items", &buyer, tea(quantity)).await.0, status, "{quantity}");
    }
    let none = json!({ "product_id": "nothing", "quantity": 1 });
    assert_eq!(service.call("POST", "/api/carts/c1/items", &buyer, Some(none)).await.0, 422);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_checkout_that_an_older_version_left_open_is_finished_by_the_next_one() {
    let service = TestService::open().await;
    let buyer = service.customer("c1");
    service.call("POST", "/api/carts/c1/items", &buyer, tea(1)).await;
    let (_, order) = service.call("POST", "/api/carts/c1/checkout", &buyer, None).await;
    let becoming = format!("update carts set checking_out = 1, order_id = '{}'", id(&order));
    service.run(&becoming).await;
    assert_eq!(service.call("POST", "/api/carts/c1/items", &buyer, tea(1)).await.0, 409);
    let (status, again) = service.call("POST", "/api/carts/c1/checkout", &buyer, None).await;
    assert_eq!((status, id(&again)), (201, id(&order)));
    assert_eq!(service.call("POST", "/api/carts/c1/items", &buyer, tea(1)).await.0, 201);
}

/// Concurrent checkouts over all replicas.
async fn checkouts(service: &Arc<TestService>, round: usize, many: usize) -> Vec<(u16, Value)> {
    let buyer = service.customer("c1");
    let checkouts: Vec<_> = (0..many)
        .map(|n| {
            let (service, buyer) = (service.clone(), buyer.clone());
            let key = (n % 2 == 0).then(|| format!("round {round}, key {n}"));
            let replica = n % service.replicas.len();
            tokio::spawn(async move {
                service
                    .call_replica(replica, "POST", "/api/carts/c1/checkout", &buyer, Some(json!({})), key.as_deref())
                    .await
            })
        })
        .collect();
    let mut answers = Vec::new();
    for checkout in checkouts {
        answers.push(checkout.await.expect("no panic"));
    }
    answers
}

async fn one_order(service: &Arc<TestService>, many: usize) {
    let buyer = service.customer("c1");
    for round in 1..=3 {
        assert_eq!(service.call("POST", "/api/carts/c1/items", &buyer, tea(2)).await.0, 201);
        let answers = checkouts(service, round, many).await;
        let ids: BTreeSet<&str> = answers
            .iter()
            .map(|(status, body)| match status {
                201 => body["id"].as_str().expect("an order"),
                // A checkout after the end of the others finds the cart empty, with its last order.
                409 => body["order_id"].as_str().unwrap_or_else(|| panic!("an order: {body}")),
                _ => panic!("{status} {body}"),
            })
            .collect();
        assert_eq!(ids.len(), 1, "{ids:?}");
        assert!(answers.iter().filter(|(status, _)| *status == 201).count() > 1, "some came at once");
        let orders = service.orders().await;
        assert_eq!(orders.len(), round);
        assert!(orders.iter().all(|order| order.status == "confirmed"));
        let peers = service.peers.lock().expect("no panic before");
        assert_eq!((peers.held.len(), peers.charged.len()), (round, round));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn fifty_checkouts_at_once_make_one_order() {
    let service = Arc::new(TestService::open().await);
    service.change_peers(|peers| peers.reserve_delay = Duration::from_millis(30));
    one_order(&service, 50).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn checkouts_at_two_replicas_make_one_order() {
    let service = Arc::new(TestService::with(2).await);
    service.change_peers(|peers| peers.reserve_delay = Duration::from_millis(30));
    one_order(&service, 20).await;
}
