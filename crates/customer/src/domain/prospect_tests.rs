//! The rules of prospects, by example and for whatever comes.

use proptest::prelude::*;
use serde_json::json;

use super::*;

fn at(micros: i64) -> Timestamp {
    Timestamp::from_micros(micros)
}

fn lead() -> Lead {
    Lead {
        first_name: Some("Ada".into()),
        last_name: Some("Lovelace".into()),
        field: Some("mathematics".into()),
        email: Some("ada@example.org".into()),
        ..Lead::default()
    }
}

fn ada() -> Prospect {
    Prospect::new(ProspectId::trusted("p-1".into()), lead(), "clerk", at(1))
}

fn to(stage: Stage) -> Option<Move> {
    Some(Move { stage, reason: Some("because".into()) })
}

#[test]
fn a_change_merges_moves_and_tells_all_that_is_wrong() {
    let (merged, wanted) =
        LeadChange::Merge(json!({"email": null, "company": "ACME", "stage": "qualified"})).apply(&lead()).unwrap();
    assert_eq!((merged.email, merged.company.as_deref()), (None, Some("ACME")));
    assert_eq!(wanted, Some(Move { stage: Stage::Qualified, reason: None }));
    let whole = json!({"first_name": "A", "last_name": "B", "field": "x"});
    let (replaced, wanted) = LeadChange::Replace(whole).apply(&lead()).unwrap();
    assert_eq!((replaced.email, replaced.first_name.as_deref(), wanted), (None, Some("A"), None));
    for (patch, fields) in [
        (json!({"stage": "lost"}), vec!["reason"]),
        (json!({"reason": "why"}), vec!["reason"]),
        (json!({"first_name": null, "field": " ", "stage": "lost"}), vec!["first_name", "field", "reason"]),
        (json!({"owner": "a b", "activity_id": "..", "phone": "x"}), vec!["owner", "activity_id", "phone"]),
    ] {
        match LeadChange::Merge(patch.clone()).apply(&lead()) {
            Err(Error::Invalid(broken)) => {
                let named: Vec<&str> = broken.iter().map(|broken| broken.field.as_str()).collect();
                assert_eq!(named, fields, "{patch}");
            }
            other => panic!("{patch}: {other:?}"),
        }
    }
    for patch in [json!({"stage": "sold"}), json!({"stage": null}), json!({"customer_id": "c"}), json!([])] {
        assert!(matches!(LeadChange::Merge(patch.clone()).apply(&lead()), Err(Error::Unreadable(_))), "{patch}");
    }
}

#[test]
fn who_is_converted_stays_so() {
    let customer = CustomerId::trusted("c-1".into());
    let won = ada().converted(customer.clone(), "clerk", at(2)).unwrap().unwrap();
    assert_eq!((won.stage, won.customer_id.as_ref(), won.history.len()), (Stage::Won, Some(&customer), 2));
    assert!(won.converted(CustomerId::trusted("c-2".into()), "clerk", at(3)).unwrap().is_none());
    let called = ada().changed(lead(), to(Stage::Won), "clerk", at(2)).unwrap().unwrap();
    let won = called.converted(customer.clone(), "clerk", at(3)).unwrap().unwrap();
    assert_eq!((won.history.len(), won.sequence), (2, 3), "he was won before");
    let lost = ada().changed(lead(), to(Stage::Lost), "clerk", at(2)).unwrap().unwrap();
    assert!(matches!(lost.converted(customer, "clerk", at(3)), Err(Error::StageMove { from: "lost", to: "won" })));
}

#[test]
fn nothing_personal_is_left_of_who_was_deleted() {
    let lost = ada().changed(lead(), to(Stage::Lost), "clerk", at(2)).unwrap().unwrap();
    let erased = lost.erased(at(3));
    let name = (erased.lead.first_name.as_deref(), erased.lead.last_name.as_deref());
    assert_eq!((name, erased.lead.email, erased.deleted_at), ((Some("Anonymised"), Some("")), None, Some(at(3))));
    assert!(erased.history.iter().all(|moved| moved.reason.is_none()));
}

fn any_stage() -> impl Strategy<Value = Stage> {
    prop::sample::select(&Stage::ALL[..])
}

proptest! {
    /// Whatever is wanted in whatever order: the history event each stage in turn and every step is one that may be, no
    /// step is lost or made up, and what changes nothing leaves no trace.
    #[test]
    fn the_history_tells_every_move_and_only_moves_that_may_be(wanted in prop::collection::vec(any_stage(), 0..30)) {
        let mut prospect = ada();
        for (step, stage) in wanted.into_iter().enumerate() {
            let now = at(10 + step as i64);
            match prospect.changed(lead(), to(stage), "clerk", now) {
                Ok(None) => prop_assert_eq!(prospect.stage, stage),
                Ok(Some(after)) => {
                    prop_assert!(prospect.stage.may_become(stage));
                    prop_assert_eq!((after.version, after.sequence), (prospect.version + 1, prospect.sequence + 1));
                    prop_assert_eq!(&after.history[..prospect.history.len()], &prospect.history[..]);
                    prop_assert_eq!(after.history.len(), prospect.history.len() + 1);
                    prospect = after;
                }
                Err(Error::StageMove { .. }) => prop_assert!(!prospect.stage.may_become(stage)),
                Err(other) => return Err(TestCaseError::fail(other.to_string())),
            }
            prop_assert_eq!(prospect.history.last().map(|moved| moved.stage), Some(prospect.stage));
        }
        let stages: Vec<Stage> = prospect.history.iter().map(|moved| moved.stage).collect();
        prop_assert_eq!(stages[0], Stage::New);
        prop_assert!(stages.windows(2).all(|pair| pair[0].may_become(pair[1])));
        // Who is won stays won: nothing stands after it.
        prop_assert!(stages.iter().position(|stage| *stage == Stage::Won).is_none_or(|won| won + 1 == stages.len()));
    }
}
