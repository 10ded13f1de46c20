//! A remote provider that loses answers or does not answer at all.

use std::time::Duration;

use proto::payment::v1::Outcome;

use crate::service::{TestService, outcome};

fn limit_balance(config: &mut payment::Config, amount: &str) {
    config.sandbox_balance = Some(payment::Money(amount.parse().expect("money")));
    config.resolve_every_ms = 50;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_lost_answer_is_resolved_by_asking_and_never_charges_twice() {
    let service = TestService::open(|config| {
        limit_balance(config, "10");
        config.sandbox_lost_answer_rate = 1.0;
    })
    .await;
    for _ in 0..2 {
        assert_eq!(outcome(&service.charge("o1", 600).await), Outcome::Done);
    }
    assert_eq!(service.totals_of("o1").await, ("captured", 600, 0));
    // The balance is 4: had the first been charged twice, this charge would be refused.
    assert_eq!(outcome(&service.charge("o2", 400).await), Outcome::Done);
    assert_eq!(outcome(&service.charge("o3", 1).await), Outcome::Refused);
    assert_eq!(outcome(&service.void("o1").await), Outcome::Done);
    assert_eq!(service.totals_of("o1").await, ("voided", 600, 600));
    assert_eq!(outcome(&service.charge("o4", 600).await), Outcome::Done);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_stays_in_doubt_is_resolved_after_a_restart() {
    let service = TestService::open(|config| {
        limit_balance(config, "10");
        config.sandbox_failure_rate = 1.0;
    })
    .await;
    assert_eq!(outcome(&service.charge("o1", 600).await), Outcome::InDoubt);
    assert_eq!(outcome(&service.charge("o2", 100).await), Outcome::InDoubt);
    assert_eq!(outcome(&service.void("o2").await), Outcome::InDoubt);
    assert_eq!(service.totals_of("o1").await, ("in_doubt", 0, 0));
    assert!(service.events_of("o1").await.is_empty());
    let service = service.restart(|config| config.sandbox_failure_rate = 0.0).await;
    for _ in 0..100 {
        if service.totals_of("o1").await.0 != "in_doubt" && service.totals_of("o2").await.0 != "in_doubt" {
            break;
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    assert_eq!(service.totals_of("o1").await, ("captured", 600, 0));
    // The void was recorded while the charge was in doubt and had not happened: the charge is abandoned.
    assert_eq!(service.totals_of("o2").await.0, "refused");
    assert_eq!(outcome(&service.void("o2").await), Outcome::Done);
    assert_eq!(outcome(&service.charge("o1", 600).await), Outcome::Done);
    assert_eq!(outcome(&service.charge("o3", 400).await), Outcome::Done);
}

#[tokio::test(flavor = "multi_thread")]
async fn ids_that_look_like_a_key_of_another_operation_make_no_repeat_of_it() {
    let service = TestService::open(|config| {
        limit_balance(config, "50");
        config.sandbox_latency_ms = 1;
    })
    .await;
    assert_eq!(outcome(&service.charge("o1", 2_000).await), Outcome::Done);
    assert_eq!(outcome(&service.refund("o1", "x:authorize:a", 100).await), Outcome::Done);
    // With colons between the parts, the charge of this order would have the key of that refund, and be taken for done.
    assert_eq!(outcome(&service.charge("o1:refund:x", 4_000).await), Outcome::Refused, "31.00 are left");
    assert_eq!(outcome(&service.charge("o1:refund:x:authorize", 3_100).await), Outcome::Done);
    assert_eq!(outcome(&service.charge("o2", 1).await), Outcome::Refused, "nothing is left");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_claim_of_a_clock_that_was_ahead_is_void() {
    let service = TestService::open(|config| {
        limit_balance(config, "10");
        config.sandbox_failure_rate = 1.0;
        // Later rounds would claim it again.
        config.resolve_every_ms = 3_600_000;
    })
    .await;
    assert_eq!(outcome(&service.charge("o1", 600).await), Outcome::InDoubt);
    let db = db::Db::open(service.database(), &db::Options::default(), None).await.expect("opens");
    let mut tx = db.write().await.expect("begins");
    let ahead = db::query("update payments set claimed_until = claimed_until + 86400000000");
    assert_eq!(ahead.execute(&mut tx).await.expect("updates"), 1);
    tx.commit().await.expect("commits");
    db.close().await;
    let service = service
        .restart(|config| {
            config.sandbox_failure_rate = 0.0;
            config.resolve_every_ms = 50;
        })
        .await;
    for _ in 0..100 {
        if service.totals_of("o1").await.0 != "in_doubt" {
            break;
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    assert_eq!(service.totals_of("o1").await, ("captured", 600, 0));
}
