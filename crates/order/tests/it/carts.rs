//! Carts, through the API of one replica and of two.

use std::{collections::BTreeSet, sync::Arc, time::Duration};

use auth::Role;
use serde_json::{Value, json};

use crate::house::House;

fn tea(quantity: i64) -> Option<Value> {
    Some(json!({ "product_id": "tea", "quantity": quantity }))
}

fn id(order: &Value) -> String {
    order["id"].as_str().unwrap_or_else(|| panic!("an order: {order}")).to_owned()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_guest_fills_a_cart_and_the_customer_that_he_becomes_buys_it() {
    let house = House::open().await;
    let (status, cart) = house.call("POST", "/api/carts", "", None).await;
    let guest = id(&cart);
    assert_eq!((status, guest.starts_with("guest-"), guest.len()), (201, true, 38), "{cart}");
    let items = format!("/api/carts/{guest}/items");
    let (status, first) = house.call("POST", &items, "", tea(2)).await;
    assert_eq!(status, 201, "{first}");
    assert_eq!((&first["number"], &first["quantity"], &first["subtotal"]), (&json!(1), &json!(2), &json!(9)));
    assert_eq!((&first["available"], &first["version"]), (&json!(100), &json!(2)));
    let (_, more) = house.call("POST", &items, "", tea(3)).await;
    assert_eq!((&more["item_id"], &more["quantity"]), (&first["item_id"], &json!(5)), "what is there adds up");
    let cup = json!({ "product_id": "cup", "quantity": 1 });
    let (_, second) = house.call("POST", &items, "", Some(cup)).await;
    assert_eq!(second["number"], json!(2));
    let one = format!("{items}/{}", first["item_id"].as_str().expect("an id"));
    let (status, set) = house.call("PUT", &one, "", Some(json!({ "quantity": 4 }))).await;
    assert_eq!((status, &set["subtotal"]), (200, &json!(18)));
    let other = format!("{items}/{}", second["item_id"].as_str().expect("an id"));
    assert_eq!(house.call("DELETE", &other, "", None).await.0, 204);
    assert_eq!(house.call("DELETE", &other, "", None).await.0, 404);

    let buyer = house.customer("c1");
    house.call("POST", "/api/carts/c1/items", &buyer, tea(1)).await;
    let claim = json!({ "guest_id": guest });
    let (status, cart) = house.keyed("/api/carts/c1/claim", &buyer, claim.clone(), "k").await;
    assert_eq!((status, &cart["items"][0]["quantity"], &cart["total"]), (200, &json!(5), &json!(22.5)), "{cart}");
    assert_eq!(house.keyed("/api/carts/c1/claim", &buyer, claim, "k").await, (200, cart), "once");
    let (_, left) = house.call("GET", &format!("/api/carts/{guest}"), "", None).await;
    assert_eq!(left["items"], json!([]));

    let (status, order) = house.call("POST", "/api/carts/c1/checkout", &buyer, None).await;
    assert_eq!((status, &order["customer_id"], &order["total"]), (201, &json!("c1"), &json!(22.5)), "{order}");
    let (_, cart) = house.call("GET", "/api/carts/c1", &buyer, None).await;
    assert_eq!((&cart["items"], &cart["last_order_id"], &cart["order_id"]), (&json!([]), &order["id"], &Value::Null));
    let (status, problem) = house.call("POST", "/api/carts/c1/checkout", &buyer, None).await;
    assert_eq!((status, &problem["order_id"]), (409, &order["id"]));
}

#[tokio::test(flavor = "multi_thread")]
async fn the_cart_says_what_has_changed_since_it_was_last_seen() {
    let house = House::open().await;
    let buyer = house.customer("c1");
    house.call("POST", "/api/carts/c1/items", &buyer, tea(2)).await;
    house.change(|world| {
        world.products.insert("tea".into(), ("Green tea".into(), 500, true));
        world.shelf.insert(("logistics".into(), "tea".into()), 1);
    });
    let (_, cart) = house.call("GET", "/api/carts/c1", &buyer, None).await;
    let changes = json!([
        { "field": "price", "was": 4.5, "now": 5 },
        { "field": "name", "was": "Tea", "now": "Green tea" },
        { "field": "available", "was": 100, "now": 1 },
    ]);
    assert_eq!((&cart["items"][0]["changes"], &cart["total"]), (&changes, &json!(10)));
    let version = cart["version"].clone();
    let (_, cart) = house.call("GET", "/api/carts/c1", &buyer, None).await;
    assert_eq!((&cart["items"][0]["changes"], &cart["version"]), (&Value::Null, &version), "it is remembered");
    house.change(|world| (world.levels_away, world.catalogue_away) = (true, true));
    let (status, cart) = house.call("GET", "/api/carts/c1", &buyer, None).await;
    assert_eq!((status, &cart["items"][0]["unit_price"], &cart["items"][0]["available"]), (200, &json!(5), &json!(1)));
    house.change(|world| world.catalogue_away = false);
    let (_, cup) = house.call("POST", "/api/carts/c2/items", &house.customer("c2"), tea(1)).await;
    assert_eq!(cup["available"], Value::Null, "nobody knows");
    house.change(|world| world.products.get_mut("tea").expect("tea").2 = false);
    let (_, cart) = house.call("GET", "/api/carts/c1", &buyer, None).await;
    assert_eq!(cart["items"][0]["changes"], json!([{ "field": "gone", "was": false, "now": true }]));
    assert_eq!((&cart["items"][0]["gone"], &cart["total"]), (&json!(true), &json!(0)));
    assert_eq!(house.call("POST", "/api/carts/c1/checkout", &buyer, None).await.0, 422);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cart_is_for_whom_it_should_be() {
    let house = House::open().await;
    let (_, guest) = house.call("POST", "/api/carts", "", None).await;
    let guest = id(&guest);
    let tokens = [
        String::new(),
        house.customer("c1"),
        house.user(Role::Clerk, &["s1"]),
        house.user(Role::Admin, &[]),
        house.service(),
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
            let (answered, problem) = house.call(method, &path, token, body.clone()).await;
            assert_eq!(answered, status, "{method} {path} {problem}");
        }
    }
    let admin = house.user(Role::Admin, &[]);
    let (_, found) = house.call("GET", "/api/carts?item_number=2", &admin, None).await;
    assert_eq!((found["data"].as_array().map(Vec::len), &found["data"][0]["id"]), (Some(1), &json!(guest)), "{found}");
    let (_, page) = house.call("GET", "/api/carts?limit=1&include_total=true", &admin, None).await;
    assert_eq!(page["total"], json!(2), "{page}");
    let next = format!("/api/carts?limit=1&cursor={}", page["next_cursor"].as_str().expect("a cursor"));
    let (_, rest) = house.call("GET", &next, &admin, None).await;
    assert_eq!((rest["data"].as_array().map(Vec::len), &rest["next_cursor"]), (Some(1), &Value::Null));
    let clerk = house.user(Role::Clerk, &["s1"]);
    let till = json!({ "place_id": "s1", "payment": { "method": "cash" } });
    let (status, order) = house.call("POST", &format!("/api/carts/{guest}/checkout"), &clerk, Some(till)).await;
    assert_eq!((status, &order["customer_id"], &order["place_id"]), (201, &Value::Null, &json!("s1")), "{order}");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_refused_stays_in_the_cart_to_be_mended() {
    let house = House::open().await;
    let buyer = house.customer("c1");
    let (_, item) = house.call("POST", "/api/carts/c1/items", &buyer, tea(101)).await;
    let (status, short) = house.keyed("/api/carts/c1/checkout", &buyer, json!({}), "a").await;
    assert_eq!((status, &short["shortages"][0]["requested"]), (409, &json!(101)), "{short}");
    let one = format!("/api/carts/c1/items/{}", item["item_id"].as_str().expect("an id"));
    assert_eq!(house.call("PUT", &one, &buyer, Some(json!({ "quantity": 2 }))).await.0, 200);
    house.change(|world| world.limit = Some(899));
    let (status, refused) = house.keyed("/api/carts/c1/checkout", &buyer, json!({}), "b").await;
    assert_eq!(status, 402, "{refused}");
    assert_ne!(refused["order_id"], short["order_id"]);
    house.change(|world| world.limit = None);
    let (status, order) = house.keyed("/api/carts/c1/checkout", &buyer, json!({}), "c").await;
    assert_eq!(status, 201, "{order}");
    for (key, answer) in [("a", (409, short)), ("b", (402, refused)), ("c", (201, order))] {
        assert_eq!(house.keyed("/api/carts/c1/checkout", &buyer, json!({}), key).await, answer, "{key}");
    }
    let other = json!({ "notes": "another" });
    assert_eq!(house.keyed("/api/carts/c1/checkout", &buyer, other, "c").await.0, 422);
    assert_eq!(house.orders().await.len(), 3);
}

#[tokio::test(flavor = "multi_thread")]
async fn while_it_is_becoming_an_order_nothing_in_it_changes() {
    let house = House::open().await;
    let buyer = house.customer("c1");
    let (_, item) = house.call("POST", "/api/carts/c1/items", &buyer, tea(1)).await;
    house.change(|world| world.slowness = Duration::from_millis(600));
    let request = house.http.post(format!("http://{}/api/carts/c1/checkout", house.at[0])).bearer_auth(&buyer);
    let running = request.header("prefer", "respond-async").send().await.expect("answers");
    assert_eq!(running.status(), 202);
    let running: Value = running.json().await.expect("JSON");
    let (_, cart) = house.call("GET", "/api/carts/c1", &buyer, None).await;
    assert_eq!(cart["order_id"], running["id"]);
    let one = format!("/api/carts/c1/items/{}", item["item_id"].as_str().expect("an id"));
    for (method, path, body) in
        [("POST", "/api/carts/c1/items", tea(1)), ("PUT", &one, Some(json!({ "quantity": 2 }))), ("DELETE", &one, None)]
    {
        let (status, problem) = house.call(method, path, &buyer, body).await;
        assert_eq!((status, &problem["order_id"]), (409, &running["id"]), "{method} {problem}");
    }
    let (status, order) = house.keyed("/api/carts/c1/checkout", &buyer, json!({}), "late").await;
    assert_eq!((status, &order["id"]), (201, &running["id"]), "{order}");
    assert_eq!(house.keyed("/api/carts/c1/checkout", &buyer, json!({}), "late").await, (201, order));
    assert_eq!(house.call("POST", "/api/carts/c1/items", &buyer, tea(1)).await.0, 201);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_key_adds_once_and_an_old_version_changes_nothing() {
    let house = House::open().await;
    let buyer = house.customer("c1");
    let item = json!({ "product_id": "tea", "quantity": 2 });
    let first = house.keyed("/api/carts/c1/items", &buyer, item.clone(), "k").await;
    assert_eq!(house.keyed("/api/carts/c1/items", &buyer, item, "k").await, first);
    let request = house.http.delete(format!("http://{}/api/carts/c1", house.at[0])).bearer_auth(&buyer);
    assert_eq!(request.header("if-match", "\"7\"").send().await.expect("answers").status(), 412);
    let (_, cart) = house.call("GET", "/api/carts/c1", &buyer, None).await;
    assert_eq!((&cart["items"][0]["quantity"], &cart["version"]), (&json!(2), &json!(1)));
    assert_eq!(house.call("DELETE", "/api/carts/c1", &buyer, None).await.0, 204);
    for (quantity, status) in [(0, 422), (1_000_001, 422), (1_000_000, 201), (1, 422)] {
        assert_eq!(house.call("POST", "/api/carts/c1/items", &buyer, tea(quantity)).await.0, status, "{quantity}");
    }
    let none = json!({ "product_id": "nothing", "quantity": 1 });
    assert_eq!(house.call("POST", "/api/carts/c1/items", &buyer, Some(none)).await.0, 422);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cart_that_an_older_version_did_not_let_go_of_is_let_go_of_by_the_next_press() {
    let house = House::open().await;
    let buyer = house.customer("c1");
    house.call("POST", "/api/carts/c1/items", &buyer, tea(1)).await;
    let (_, order) = house.call("POST", "/api/carts/c1/checkout", &buyer, None).await;
    let becoming = format!("update carts set checking_out = 1, order_id = '{}'", id(&order));
    house.run(&becoming).await;
    assert_eq!(house.call("POST", "/api/carts/c1/items", &buyer, tea(1)).await.0, 409);
    let (status, again) = house.call("POST", "/api/carts/c1/checkout", &buyer, None).await;
    assert_eq!((status, id(&again)), (201, id(&order)));
    assert_eq!(house.call("POST", "/api/carts/c1/items", &buyer, tea(1)).await.0, 201);
}

/// So many presses at once, over all replicas.
async fn presses(house: &Arc<House>, round: usize, many: usize) -> Vec<(u16, Value)> {
    let buyer = house.customer("c1");
    let presses: Vec<_> = (0..many)
        .map(|n| {
            let (house, buyer) = (house.clone(), buyer.clone());
            let key = (n % 2 == 0).then(|| format!("round {round}, key {n}"));
            let replica = n % house.at.len();
            tokio::spawn(async move {
                house.ask(replica, "POST", "/api/carts/c1/checkout", &buyer, Some(json!({})), key.as_deref()).await
            })
        })
        .collect();
    let mut answers = Vec::new();
    for press in presses {
        answers.push(press.await.expect("no panic"));
    }
    answers
}

async fn one_order(house: &Arc<House>, many: usize) {
    let buyer = house.customer("c1");
    for round in 1..=3 {
        assert_eq!(house.call("POST", "/api/carts/c1/items", &buyer, tea(2)).await.0, 201);
        let answers = presses(house, round, many).await;
        let ids: BTreeSet<&str> = answers
            .iter()
            .map(|(status, body)| match status {
                201 => body["id"].as_str().expect("an order"),
                // Who comes when all is over hears which order it was.
                409 => body["order_id"].as_str().unwrap_or_else(|| panic!("an order: {body}")),
                _ => panic!("{status} {body}"),
            })
            .collect();
        assert_eq!(ids.len(), 1, "{ids:?}");
        assert!(answers.iter().filter(|(status, _)| *status == 201).count() > 1, "some came at once");
        let orders = house.orders().await;
        assert_eq!(orders.len(), round);
        assert!(orders.iter().all(|order| order.status == "confirmed"));
        let world = house.world.lock().expect("no panic before");
        assert_eq!((world.held.len(), world.charged.len()), (round, round));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn fifty_who_press_at_once_make_one_order() {
    let house = Arc::new(House::open().await);
    house.change(|world| world.slowness = Duration::from_millis(30));
    one_order(&house, 50).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn presses_at_two_replicas_make_one_order() {
    let house = Arc::new(House::with(2).await);
    house.change(|world| world.slowness = Duration::from_millis(30));
    one_order(&house, 20).await;
}
