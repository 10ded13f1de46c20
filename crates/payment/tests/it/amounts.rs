//! Amounts: captured once, and never more refunded than captured.

use proto::payment::v1::Outcome;
use tokio::task::JoinSet;

use crate::service::{TestService, card, outcome};

#[tokio::test(flavor = "multi_thread")]
async fn a_repeat_gets_the_first_result_and_another_amount_is_invalid() {
    let service = TestService::open(|_| {}).await;
    let first = service.charge("o1", 1234).await;
    assert_eq!(outcome(&first), Outcome::Done);
    let payment = first.payment.clone().expect("a payment");
    assert_eq!((payment.status.as_str(), payment.number, payment.operations.len()), ("captured", 1, 1));
    assert_eq!(service.charge("o1", 1234).await, first);
    let other = service.charge("o1", 1235).await;
    assert_eq!(outcome(&other), Outcome::Invalid);
    assert!(other.reason.contains("12.34") && other.reason.contains("12.35"), "{}", other.reason);
    assert_eq!(service.events_of("o1").await, [("souk.payment.captured".to_owned(), 1)]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_hundred_identical_authorisations_at_once_are_one_charge() {
    let service =
        TestService::open(|config| config.sandbox_balance = Some(payment::Money("15".parse().expect("money")))).await;
    let mut calls = JoinSet::new();
    for _ in 0..100 {
        let mut client = service.client();
        let request = crate::service::with(
            proto::payment::v1::AuthorizeRequest { items: vec![card("o1", 1000)] },
            &service.service_token(),
        );
        calls.spawn(async move { client.authorize(request).await.expect("answers").into_inner() });
    }
    let answers = calls.join_all().await;
    assert!(answers.iter().all(|answer| answer == &answers[0]));
    assert_eq!(outcome(&answers[0].results[0]), Outcome::Done);
    assert_eq!(service.totals_of("o1").await, ("captured", 1000, 0));
    // The balance of 15 paid 10 once; a refund raises the remaining 5 again.
    assert_eq!(outcome(&service.charge("o2", 501).await), Outcome::Refused);
    assert_eq!(outcome(&service.refund("o1", "r", 200).await), Outcome::Done);
    assert_eq!(outcome(&service.charge("o3", 700).await), Outcome::Done);
}

#[tokio::test(flavor = "multi_thread")]
async fn refunds_stop_at_what_was_captured_and_a_void_gives_the_rest_back() {
    let service = TestService::open(|_| {}).await;
    service.charge("o1", 1000).await;
    assert_eq!(outcome(&service.refund("o1", "r1", 400).await), Outcome::Done);
    assert_eq!(outcome(&service.refund("o1", "r1", 400).await), Outcome::Done);
    assert_eq!(outcome(&service.refund("o1", "r1", 401).await), Outcome::Invalid);
    let refused = service.refund("o1", "r2", 601).await;
    assert_eq!(
        (outcome(&refused), refused.reason.as_str()),
        (Outcome::Refused, "a refund of 6.01 is more than the 6.00 left of 10.00")
    );
    assert_eq!(service.totals_of("o1").await, ("partly_refunded", 1000, 400));
    for _ in 0..2 {
        assert_eq!(outcome(&service.void("o1").await), Outcome::Done);
    }
    assert_eq!(service.totals_of("o1").await, ("voided", 1000, 1000));
    let kinds: Vec<_> = service.events_of("o1").await;
    let expected = [("souk.payment.captured", 1), ("souk.payment.refunded", 2), ("souk.payment.voided", 3)];
    assert_eq!(kinds, expected.map(|(kind, n)| (kind.to_owned(), n)));
    assert_eq!(outcome(&service.refund("unknown", "r1", 1).await), Outcome::Invalid);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_refund_up_to_shows_what_was_really_given_back_also_when_it_is_repeated() {
    let service = TestService::open(|_| {}).await;
    service.charge("o1", 1000).await;
    service.refund("o1", "r1", 400).await;
    let first = service.refund_up_to("o1", "r2", 700).await;
    assert_eq!(outcome(&first), Outcome::Done);
    let payment = first.payment.clone().expect("a payment");
    let amounts: Vec<_> = payment.operations.iter().map(|o| (o.op_id.as_str(), o.amount)).collect();
    assert_eq!(amounts, [("a", 1000), ("r1", 400), ("r2", 600)]);
    assert_eq!(service.totals_of("o1").await, ("refunded", 1000, 1000));
    // From the store, after a restart.
    let service = service.restart(|_| {}).await;
    assert_eq!(service.refund_up_to("o1", "r2", 700).await, first);
    for other in [service.refund_up_to("o1", "r2", 600).await, service.refund("o1", "r2", 700).await] {
        assert_eq!(outcome(&other), Outcome::Invalid);
    }
    assert_eq!(outcome(&service.refund("o1", "r2", 600).await), Outcome::Invalid);
    let refused = service.refund_up_to("o1", "r3", 1).await;
    assert_eq!((outcome(&refused), refused.reason.as_str()), (Outcome::Refused, "nothing is left of 10.00"));
    assert_eq!(service.events_of("o1").await.len(), 3);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_void_that_comes_first_refuses_the_late_authorise_and_publishes_nothing() {
    let service = TestService::open(|_| {}).await;
    let void = service.void("o1").await;
    assert_eq!((outcome(&void), void.payment), (Outcome::Done, None));
    let late = service.charge("o1", 100).await;
    assert_eq!(outcome(&late), Outcome::Refused);
    assert_eq!(service.totals_of("o1").await, ("tombstone", 0, 0));
    assert!(service.events_of("o1").await.is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn the_sandbox_says_why_it_refuses_and_cash_never_asks_it() {
    let service = TestService::open(|config| {
        config.sandbox_limit = Some(payment::Money("500".parse().expect("money")));
        config.sandbox_decline = vec!["bad".into()];
    })
    .await;
    let over = service.charge("o1", 60_000).await;
    assert_eq!((outcome(&over), over.reason.as_str()), (Outcome::Refused, "amount 600.00 is over the limit of 500.00"));
    assert_eq!(service.events_of("o1").await, [("souk.payment.refused".to_owned(), 1)]);
    assert_eq!(outcome(&service.void("o1").await), Outcome::Done);
    assert_eq!(service.totals_of("o1").await, ("refused", 0, 0));
    let mut items = vec![card("o2", 100), card("o3", 60_000)];
    items[0].customer_id = "bad".into();
    items[1].method = "cash".into();
    let results = service.authorize(items).await;
    assert_eq!(results.iter().map(outcome).collect::<Vec<_>>(), [Outcome::Refused, Outcome::Done]);
}

#[tokio::test(flavor = "multi_thread")]
async fn five_hundred_authorisations_in_a_call_are_few_statements_and_one_commit() {
    let service = TestService::open(|_| {}).await;
    service.charge("warm", 1).await;
    let count = |name: &str, text: &str| -> u64 {
        let line = text.lines().find(|line| line.starts_with(name)).expect("a metric");
        line.rsplit(' ').next().expect("a value").parse().expect("a number")
    };
    // The relay runs at the same time; its statements are few.
    let items = (0..500).map(|n| card(&format!("b{n}"), 100 + n)).collect();
    let before = service.metrics().await;
    let results = service.authorize(items).await;
    let after = service.metrics().await;
    assert!(results.iter().all(|result| outcome(result) == Outcome::Done));
    let statements = count("db_statements_total", &after) - count("db_statements_total", &before);
    assert!(statements <= 20, "{statements} statements");
    let numbers: std::collections::BTreeSet<i64> =
        results.iter().map(|result| result.payment.as_ref().expect("a payment").number).collect();
    assert_eq!(numbers.len(), 500);
}
