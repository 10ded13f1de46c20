//! Order events change stock, each once and in its order.

use std::time::Duration;

use bus::{DeadLetterFilter, Message};
use proto::stock::v1::HoldState;
use serde_json::json;

use crate::service::{OrderAnswer, TestService};

/// What happens to returned goods.
enum Goods {
    Restocked,
    WrittenOff,
}

#[tokio::test(flavor = "multi_thread")]
async fn a_confirmed_order_is_sold_and_its_returns_come_back_once() {
    let service = TestService::open(|_| {}).await;
    service.put_in("g", 10).await;
    service.reserve("o1", &[("g", 4)]).await;
    let lines = json!({ "lines": [{ "line_id": "1", "product_id": "g", "quantity": 4 }, { "line_id": "2", "name": "wrapping" }] });
    service.deliver("placed", "o1", 1, lines.clone()).await;
    service.deliver("confirmed", "o1", 2, lines.clone()).await;
    assert_eq!(service.level("g").await, (6, 0));
    let returned = |id: &str, quantity: i64, goods: Goods| {
        json!({ "lines": [], "return": { "id": id, "restock": matches!(goods, Goods::Restocked),
            "lines": [{ "line_id": "1", "product_id": "g", "quantity": quantity }, { "line_id": "2", "quantity": 1 }] } })
    };
    service.deliver("returned", "o1", 3, returned("r1", 1, Goods::Restocked)).await;
    service.deliver("returned", "o1", 3, returned("r1", 1, Goods::Restocked)).await;
    service.deliver("returned", "o1", 4, returned("r2", 1, Goods::WrittenOff)).await;
    assert_eq!(service.level("g").await, (7, 0));
    // An old event that is delivered again is dropped, since newer ones have taken effect.
    service.deliver("confirmed", "o1", 2, lines.clone()).await;
    service.deliver("cancelled", "o1", 5, lines).await;
    assert_eq!(service.level("g").await, (10, 0));
    let kinds: Vec<String> = service.events_of("o1").await.into_iter().map(|(kind, _)| kind).collect();
    assert_eq!(kinds, ["souk.stock.reserved", "souk.stock.sold", "souk.stock.restocked", "souk.stock.restocked"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_return_that_comes_before_the_sale_waits_for_it() {
    let service = TestService::open(|_| {}).await;
    service.put_in("g", 10).await;
    service.reserve("o1", &[("g", 4)]).await;
    let lines = json!({ "lines": [{ "line_id": "1", "product_id": "g", "quantity": 4 }] });
    let returned = json!({ "lines": [], "return": { "id": "r1", "restock": true, "lines": [{ "line_id": "1", "product_id": "g", "quantity": 1 }] } });
    service.deliver("placed", "o1", 1, lines.clone()).await;
    // The sale cannot be read, so both go to the dead letters.
    service.publish("confirmed", "o1", 2, json!({ "lines": "none" })).await;
    service.publish("returned", "o1", 3, returned).await;
    let all = DeadLetterFilter::default();
    let sequences = || async {
        let letters = service.bus().dead_letters(&all).await.expect("letters");
        letters.iter().map(|letter| letter.sequence).collect::<Vec<_>>()
    };
    while sequences().await != [Some(2), Some(3)] {
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    assert_eq!(service.level("g").await, (10, 4), "nothing comes back of what was not sold");
    // The sale in a form that can be read, as a replay after a mended version has it.
    let mut sale = json!({ "specversion": "1.0", "id": "o1/2", "source": "/souk/order", "type": "souk.order.confirmed",
        "subject": "o1", "time": "2026-01-01T00:00:00Z", "sequence": 2, "replay": true, "replaygroup": "stock" });
    sale["data"] = lines;
    let message = Message { topic: "orders".into(), key: "o1".into(), payload: sale.to_string() };
    service.bus().publish(vec![message]).await.expect("publishes");
    service.wait_until(|facts| facts.inbox.last.values().any(|(last, _)| *last == 2)).await;
    assert_eq!(service.level("g").await, (6, 0));
    let third = DeadLetterFilter { id: Some("o1/3".into()), ..DeadLetterFilter::default() };
    service.bus().replay(&third).await.expect("replays");
    service.wait_until(|facts| facts.inbox.last.values().any(|(last, _)| *last == 3)).await;
    assert_eq!(service.level("g").await, (7, 0));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cancelled_order_gives_back_what_it_holds_or_was_sold() {
    let service = TestService::open(|_| {}).await;
    service.put_in("g", 10).await;
    service.reserve("o1", &[("g", 4)]).await;
    service.deliver("cancelled", "o1", 2, json!({})).await;
    assert_eq!(service.level("g").await, (10, 0));
    assert_eq!(service.release("o1").await, HoldState::Released);

    // Sold meanwhile.
    service.reserve("o2", &[("g", 3)]).await;
    let lines = json!({ "lines": [{ "line_id": "1", "product_id": "g", "quantity": 3 }] });
    service.deliver("confirmed", "o2", 2, lines.clone()).await;
    assert_eq!(service.level("g").await, (7, 0));
    service.deliver("cancelled", "o2", 3, lines).await;
    assert_eq!(service.level("g").await, (10, 0));
}

#[tokio::test(flavor = "multi_thread")]
async fn an_expired_reservation_is_released_only_if_its_order_does_not_need_it() {
    let service = TestService::open(|config| {
        config.reservation_seconds = 0;
        config.expire_every_ms = 20;
    })
    .await;
    service.put_in("g", 10).await;
    for status in ["pending", "cancelled"] {
        service.peers().orders.insert(status.into(), OrderAnswer::Status(status));
    }
    for order_id in ["pending", "cancelled", "unknown"] {
        service.reserve(order_id, &[("g", 1)]).await;
    }
    let state = |facts: &stock::Facts, id: &str| facts.reservations.iter().find(|r| r.order_id == id).map(|r| r.state);
    service
        .wait_until(|facts| {
            state(facts, "cancelled") == Some("released") && state(facts, "unknown") == Some("released")
        })
        .await;
    service.wait_until_checked(&["pending"]).await;
    assert_eq!(service.level("g").await, (10, 1));
    assert_eq!(service.commit("pending").await, HoldState::Committed);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_404_that_is_not_the_order_services_releases_nothing_and_stops_no_other_check() {
    let service = TestService::open(|config| {
        config.reservation_seconds = 0;
        config.expire_every_ms = 20;
    })
    .await;
    service.put_in("g", 10).await;
    let strange = [OrderAnswer::BareNotFound, OrderAnswer::OtherProblem, OrderAnswer::NoProblem];
    for (n, answer) in strange.into_iter().enumerate() {
        service.peers().orders.insert(format!("strange{n}"), answer);
        service.reserve(&format!("strange{n}"), &[("g", 1)]).await;
    }
    // It expires after them, so it is checked after them.
    service.reserve("unknown", &[("g", 1)]).await;
    service
        .wait_until(|facts| facts.reservations.iter().any(|r| r.order_id == "unknown" && r.state == "released"))
        .await;
    service.wait_until_checked(&["strange0", "strange1", "strange2"]).await;
    assert_eq!(service.level("g").await, (10, 3));
    // KeyedRequest again, it is settled as soon as the answer can be believed.
    service.peers().orders.insert("strange0".into(), OrderAnswer::Status("cancelled"));
    service
        .wait_until(|facts| facts.reservations.iter().any(|r| r.order_id == "strange0" && r.state == "released"))
        .await;
    assert_eq!(service.level("g").await, (10, 2));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_reservation_of_a_clock_that_was_ahead_is_checked_all_the_same() {
    let service = TestService::open(|config| config.expire_every_ms = 20).await;
    service.put_in("g", 10).await;
    service.peers().orders.insert("o1".into(), OrderAnswer::Status("cancelled"));
    service.reserve("o1", &[("g", 4)]).await;
    assert_eq!(service.level("g").await, (10, 4), "held for a quarter of an hour");
    let db = db::Db::open(service.database(), &db::Options::default(), None).await.expect("opens");
    let mut tx = db.write().await.expect("begins");
    let ahead = db::query("update reservations set expires_at = expires_at + 7200000000");
    assert_eq!(ahead.execute(&mut tx).await.expect("updates"), 1);
    tx.commit().await.expect("commits");
    db.close().await;
    service.wait_until(|facts| facts.reservations.iter().all(|reservation| reservation.state == "released")).await;
    assert_eq!(service.level("g").await, (10, 0));
}
