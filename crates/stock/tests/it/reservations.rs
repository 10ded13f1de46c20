//! Reservations: never more than is available, all lines of an order or none.

use proto::stock::v1::{CheckRequest, HoldState, ReserveOutcome, ReserveRequest};
use tokio::task::JoinSet;

use crate::service::{TestService, order_lines, with};

#[tokio::test(flavor = "multi_thread")]
async fn sixty_four_buyers_of_the_last_ten_get_exactly_ten() {
    let service = TestService::open(|_| {}).await;
    service.put_in("g", 10).await;
    let mut buyers = JoinSet::new();
    for n in 0..64 {
        let (mut client, token) = (service.client(), service.service_token());
        buyers.spawn(async move {
            let request = ReserveRequest { orders: vec![order_lines(&format!("o{n}"), &[("g", 1)])] };
            client.reserve(with(request, &token)).await.expect("answers").into_inner().results[0].outcome()
        });
    }
    let outcomes = buyers.join_all().await;
    let count = |wanted| outcomes.iter().filter(|outcome| **outcome == wanted).count();
    assert_eq!((count(ReserveOutcome::Reserved), count(ReserveOutcome::Short)), (10, 54));
    assert_eq!(service.level("g").await, (10, 10));
}

#[tokio::test(flavor = "multi_thread")]
async fn an_order_is_held_whole_once_and_two_lines_of_a_product_count_together() {
    let service = TestService::open(|_| {}).await;
    service.put_in("a", 5).await;
    service.put_in("b", 5).await;
    let short = service.reserve("o1", &[("a", 3), ("b", 1), ("a", 3)]).await;
    assert_eq!(short.outcome(), ReserveOutcome::Short);
    assert_eq!(
        (short.shortages[0].product_id.as_str(), short.shortages[0].requested, short.shortages[0].available),
        ("a", 6, 5)
    );
    assert_eq!((service.level("a").await, service.level("b").await), ((5, 0), (5, 0)));
    for _ in 0..2 {
        assert_eq!(service.reserve("o1", &[("a", 2), ("b", 1), ("a", 3)]).await.outcome(), ReserveOutcome::Reserved);
    }
    assert_eq!(service.reserve("o1", &[("a", 4), ("b", 1)]).await.outcome(), ReserveOutcome::Invalid);
    assert_eq!((service.level("a").await, service.level("b").await), ((5, 5), (5, 1)));
    let check = with(
        CheckRequest { orders: vec![order_lines("o2", &[("b", 5)]), order_lines("o3", &[("b", 4)])] },
        &service.service_token(),
    );
    let results = service.client().check(check).await.expect("answers").into_inner().results;
    assert_eq!((results[0].outcome(), results[1].outcome()), (ReserveOutcome::Short, ReserveOutcome::Reserved));
    assert_eq!((service.release("o1").await, service.release("o1").await), (HoldState::Released, HoldState::Released));
    assert_eq!(service.level("a").await, (5, 0));
    let events = service.events_of("o1").await;
    assert_eq!(events, [("souk.stock.reserved".to_owned(), 1), ("souk.stock.released".to_owned(), 2)]);
}

#[tokio::test(flavor = "multi_thread")]
async fn release_first_refuses_the_late_reserve_and_what_is_sold_stays_sold() {
    let service = TestService::open(|_| {}).await;
    service.put_in("g", 5).await;
    assert_eq!(service.release("o1").await, HoldState::Released);
    assert_eq!(service.reserve("o1", &[("g", 1)]).await.outcome(), ReserveOutcome::Released);
    assert_eq!(service.commit("never").await, HoldState::Unknown);
    service.reserve("o2", &[("g", 2)]).await;
    for _ in 0..2 {
        assert_eq!(service.commit("o2").await, HoldState::Committed);
    }
    assert_eq!(service.release("o2").await, HoldState::Committed);
    assert_eq!(service.reserve("o2", &[("g", 2)]).await.outcome(), ReserveOutcome::Committed);
    assert_eq!(service.level("g").await, (3, 0));
    assert!(service.events_of("o1").await.is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn one_bad_order_fails_alone_in_its_call() {
    let service = TestService::open(|_| {}).await;
    service.put_in("g", 5).await;
    let mut orders: Vec<_> = (0..5).map(|n| order_lines(&format!("o{n}"), &[("g", 1)])).collect();
    orders[0].order_id = "a/b".into();
    orders[1].place_id = "nowhere".into();
    orders[2].lines.clear();
    orders[3].lines[0].quantity = 0;
    let request = with(ReserveRequest { orders }, &service.service_token());
    let results = service.client().reserve(request).await.expect("answers").into_inner().results;
    for (result, hint) in results.iter().zip(["order_id", "nowhere", "lines", "quantity"]) {
        assert_eq!(result.outcome(), ReserveOutcome::Invalid);
        assert!(result.detail.contains(hint), "{}", result.detail);
    }
    assert_eq!(results[4].outcome(), ReserveOutcome::Reserved);
    assert_eq!(service.level("g").await, (5, 1));
}

#[tokio::test(flavor = "multi_thread")]
async fn lines_of_a_product_add_up_past_what_one_line_may_hold() {
    const MOST: u32 = 1_000_000;
    let service = TestService::open(|_| {}).await;
    service.put_in("g", 1_000_000_000).await;
    // More than the million of a line, and all that is available.
    assert_eq!(service.reserve("o1", &[("g", MOST); 1_000]).await.outcome(), ReserveOutcome::Reserved);
    assert_eq!(service.level("g").await, (1_000_000_000, 1_000_000_000));
    let short = service.reserve("o2", &[("g", MOST); 2]).await;
    assert_eq!(short.outcome(), ReserveOutcome::Short);
    assert_eq!((short.shortages[0].requested, short.shortages[0].available), (2 * MOST, 0));
    // More than the result can express.
    let short = service.reserve("o3", &[("g", MOST); 5_000]).await;
    assert_eq!((short.outcome(), short.shortages[0].requested), (ReserveOutcome::Short, u32::MAX));
    for _ in 0..5 {
        service.put_in("h", 1_000_000_000).await;
    }
    let short = service.reserve("o4", &[("h", MOST); 5_001]).await;
    assert_eq!((short.shortages[0].requested, short.shortages[0].available), (u32::MAX, u32::MAX));
    assert_eq!(service.reserve("o4", &[("h", MOST); 5_000]).await.outcome(), ReserveOutcome::Reserved);
    assert_eq!(service.reserve("o5", &[("g", MOST + 1)]).await.outcome(), ReserveOutcome::Invalid);
    assert_eq!(service.commit("o1").await, HoldState::Committed);
    assert_eq!(service.level("g").await, (0, 0));
}

#[tokio::test(flavor = "multi_thread")]
async fn an_order_that_is_named_like_a_level_has_events_of_its_own() {
    let service = TestService::open(|_| {}).await;
    service.put_in("2", 5).await;
    for order_id in ["2@logistics", "logistics@2"] {
        service.reserve(order_id, &[("2", 1)]).await;
        assert_eq!(service.events_of(order_id).await, [("souk.stock.reserved".to_owned(), 1)]);
    }
    assert_eq!(service.events_of("logistics/2").await, [("souk.stock.adjusted".to_owned(), 1)]);
}

#[tokio::test(flavor = "multi_thread")]
async fn sample_goods_are_put_in_once() {
    let service = TestService::open(|_| {}).await;
    let config = service.config();
    let store = commerce::PlaceId::parse("store-5").expect("an id");
    let place = stock::SeedPlace { id: store.clone(), name: "Canal".into(), kind: "store", city: None };
    let level = |product: &str, place_id: &commerce::PlaceId, quantity| stock::SeedLevel {
        product_id: commerce::ProductId::parse(product).expect("an id"),
        place_id: place_id.clone(),
        quantity,
        threshold: Some(7),
    };
    let centre = config.logistics_place.clone();
    let levels = [level("1", &store, 3), level("2", &store, 4), level("2", &centre, 1000)];
    for opened in [3, 0] {
        assert_eq!(stock::seed(&config, std::slice::from_ref(&place), &levels).await.expect("seeds"), opened);
    }
    assert_eq!(service.level("2").await, (1000, 0));
    // Put in, and below its threshold.
    let events = [("souk.stock.adjusted".to_owned(), 1), ("souk.stock.low".to_owned(), 2)];
    assert_eq!(service.events_of("store-5/2").await, events);
}
