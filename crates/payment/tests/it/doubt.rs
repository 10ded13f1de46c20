//! A foreign provider that loses answers or does not answer at all.

use std::time::Duration;

use proto::payment::v1::Outcome;

use crate::house::{House, outcome};

fn purse(config: &mut payment::Config, amount: &str) {
    config.sandbox_balance = Some(payment::Money(amount.parse().expect("money")));
    config.resolve_every_ms = 50;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_lost_answer_is_settled_by_asking_and_never_charges_twice() {
    let house = House::open(|config| {
        purse(config, "10");
        config.sandbox_lost_answer_rate = 1.0;
    })
    .await;
    for _ in 0..2 {
        assert_eq!(outcome(&house.charge("o1", 600).await), Outcome::Done);
    }
    assert_eq!(house.books("o1").await, ("captured", 600, 0));
    // Four are left in the purse: had the first been charged twice, this would be refused.
    assert_eq!(outcome(&house.charge("o2", 400).await), Outcome::Done);
    assert_eq!(outcome(&house.charge("o3", 1).await), Outcome::Refused);
    assert_eq!(outcome(&house.void("o1").await), Outcome::Done);
    assert_eq!(house.books("o1").await, ("voided", 600, 600));
    assert_eq!(outcome(&house.charge("o4", 600).await), Outcome::Done);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_stays_in_doubt_is_settled_after_a_restart() {
    let house = House::open(|config| {
        purse(config, "10");
        config.sandbox_failure_rate = 1.0;
    })
    .await;
    assert_eq!(outcome(&house.charge("o1", 600).await), Outcome::InDoubt);
    assert_eq!(outcome(&house.charge("o2", 100).await), Outcome::InDoubt);
    assert_eq!(outcome(&house.void("o2").await), Outcome::InDoubt);
    assert_eq!(house.books("o1").await, ("in_doubt", 0, 0));
    assert!(house.told("o1").await.is_empty());
    let house = house.restart(|config| config.sandbox_failure_rate = 0.0).await;
    for _ in 0..100 {
        if house.books("o1").await.0 != "in_doubt" && house.books("o2").await.0 != "in_doubt" {
            break;
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    assert_eq!(house.books("o1").await, ("captured", 600, 0));
    // The void was decided while the charge was in doubt and had not happened: it never does.
    assert_eq!(house.books("o2").await.0, "refused");
    assert_eq!(outcome(&house.void("o2").await), Outcome::Done);
    assert_eq!(outcome(&house.charge("o1", 600).await), Outcome::Done);
    assert_eq!(outcome(&house.charge("o3", 400).await), Outcome::Done);
}
