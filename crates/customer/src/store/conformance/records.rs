//! Prospects and activities.

use commerce::Timestamp;

use super::*;
use crate::convert_prospect::convert;
use crate::domain::{Activity, ActivityId, Lead, LeadChange, Plan, Prospect, ProspectEvent, ProspectId};
use crate::events;
use crate::store::{Activities, Edit, Prospects, Step};

fn lead(name: &str) -> Lead {
    Lead {
        first_name: Some(name.into()),
        last_name: Some("Example".into()),
        field: Some("retail".into()),
        ..Lead::default()
    }
}

fn prospect(lead: Lead) -> Prospect {
    Prospect::new(ProspectId::new(), lead, "clerk", Timestamp::now())
}

fn shown(prospect: &Prospect, _: bool) -> StoredResponse {
    let id = prospect.id.as_str().to_owned();
    StoredResponse { status: 201, body: prospect.number.to_string(), location: id, etag: String::new() }
}

fn shown_activity(activity: &Activity, _: bool) -> StoredResponse {
    let id = activity.id.as_str().to_owned();
    StoredResponse { status: 201, body: activity.number.to_string(), location: id, etag: String::new() }
}

async fn known(store: &Store, lead: Lead) -> String {
    store.create_record(prospect(lead), None, shown).await.unwrap().location
}

async fn plan(store: &Store, name: &str, date: &str, prospect: Option<&str>) -> String {
    let plan = Plan { name: Some(name.into()), date: Some(date.into()), prospect_id: prospect.map(str::to_owned) };
    let new = Activity::new(ActivityId::new(), plan.checked().unwrap(), Timestamp::now());
    store.create_record(new, None, shown_activity).await.unwrap().location
}

fn merge(patch: serde_json::Value) -> Edit<Prospect> {
    Arc::new(move |before: &Prospect| {
        let (lead, wanted) = LeadChange::Merge(patch.clone()).apply(&before.lead)?;
        let after = before.changed(lead, wanted, "clerk", Timestamp::now())?;
        Ok(after.map(|after| Step {
            event: Some(events::prospect_event(events::PROSPECT_UPDATED, &after)),
            after,
            redaction: None,
        }))
    })
}

fn erase() -> Edit<Prospect> {
    Arc::new(|before: &Prospect| {
        let after = before.erased(Timestamp::now());
        let event = Some(events::prospect_event(events::PROSPECT_DELETED, &after));
        Ok(Some(Step { event, redaction: Some(events::prospect_data(&after)), after }))
    })
}

pub(super) async fn a_prospect_is_kept_as_he_is(test_store: &TestStore) {
    let store = test_store.store();
    let whole = Lead {
        company: Some("ACME".into()),
        email: Some("ada@example.org".into()),
        phone: Some("+49 30 1".into()),
        owner: Some("u-1".into()),
        activity_id: Some("a-1".into()),
        ..lead("Ada")
    };
    let new = prospect(whole);
    store.create_record(new.clone(), None, shown).await.unwrap();
    let kept = store.record::<Prospect>(new.id.as_str()).await.unwrap().unwrap();
    assert_eq!(kept, Prospect { number: 1, ..new });
    let less = serde_json::json!({"company": null, "email": null, "stage": "lost", "reason": "no budget"});
    let edited = store.edit_record(kept.id.as_str(), Some(1), merge(less)).await.unwrap();
    assert_eq!((edited.lead.company.as_ref(), edited.version, edited.history.len()), (None, 2, 2));
    assert_eq!(store.record::<Prospect>(kept.id.as_str()).await.unwrap().unwrap(), edited);
    let stale = store.edit_record(kept.id.as_str(), Some(1), merge(serde_json::json!({"field": "x"}))).await;
    assert!(matches!(stale, Err(Error::Stale { version: 2 })));
    let same = store.edit_record(kept.id.as_str(), None, merge(serde_json::json!({"stage": "lost", "reason": "x"})));
    assert_eq!(same.await.unwrap().version, 2);
    let events = store.outbox_dump().await.unwrap().events;
    assert_eq!(events.iter().map(|event| event.sequence).collect::<Vec<_>>(), [1, 2], "no event without a change");
    assert!(events.iter().all(|event| event.topic == "prospect-events" && event.subject == kept.id.as_str()));
    assert!(matches!(store.edit_record("nobody", None, erase()).await, Err(Error::NotFound(_))));
}

pub(super) async fn prospects_at_once_are_counted_and_a_key_makes_one(test_store: &TestStore) {
    let replicas = test_store.replicas().await;
    let (done, failed) = at_once(&replicas, 24, |store, n| async move {
        // Half of them are copies of one call.
        let key = (n % 2 == 0).then(|| key("clerk", "k-1", "same"));
        store.create_record(prospect(lead("Ada")), key, shown).await
    })
    .await;
    assert!(failed.is_empty(), "{failed:?}");
    let (rows, total) = test_store.store().records::<Prospect>(Prospects::default(), window(None, 50)).await.unwrap();
    assert_eq!(total, Some(13));
    assert_eq!(rows.iter().map(|row| row.number).collect::<Vec<_>>(), (1..=13).collect::<Vec<_>>());
    let copies: std::collections::BTreeSet<&str> = done.iter().map(|reply| reply.location.as_str()).collect();
    assert_eq!(copies.len(), 13);
    let other =
        test_store.store().create_record(prospect(lead("Bob")), Some(key("clerk", "k-1", "other")), shown).await;
    assert!(matches!(other, Err(Error::KeyReused(_))));
}

pub(super) async fn edits_at_once_neither_lose_nor_double_an_event(test_store: &TestStore) {
    let id = known(test_store.store().as_ref(), lead("Ada")).await;
    let replicas = test_store.replicas().await;
    let (done, failed) = at_once(&replicas, 12, |store, n| {
        let id = id.clone();
        async move { store.edit_record(&id, None, merge(serde_json::json!({"field": format!("f{n}")}))).await }
    })
    .await;
    assert!(failed.is_empty(), "{failed:?}");
    let mut versions: Vec<i64> = done.iter().map(|prospect| prospect.version).collect();
    versions.sort_unstable();
    assert_eq!(versions, (2..=13).collect::<Vec<_>>());
    let events = test_store.store().outbox_dump().await.unwrap().events;
    assert_eq!(events.iter().map(|event| event.sequence).collect::<Vec<_>>(), (1..=13).collect::<Vec<_>>());
}

pub(super) async fn prospects_are_found_by_what_is_asked(test_store: &TestStore) {
    let store = test_store.store();
    let ada = known(store.as_ref(), Lead { owner: Some("u-1".into()), ..lead("Ada") }).await;
    let bob =
        known(store.as_ref(), Lead { company: Some("100% Wool".into()), field: Some("wool".into()), ..lead("Bob") })
            .await;
    store.edit_record(&bob, None, merge(serde_json::json!({"stage": "qualified"}))).await.unwrap();
    let text = |text: &str| Some(text.to_owned());
    for (filter, found) in [
        (Prospects::default(), vec![&ada, &bob]),
        (Prospects { stage: text("qualified"), ..Prospects::default() }, vec![&bob]),
        (Prospects { field: text("retail"), ..Prospects::default() }, vec![&ada]),
        (Prospects { owner: text("u-1"), ..Prospects::default() }, vec![&ada]),
        (Prospects { search: text("100%"), ..Prospects::default() }, vec![&bob]),
        (Prospects { search: text("eXample"), stage: text("new"), ..Prospects::default() }, vec![&ada]),
        (Prospects { number: Some(2), ..Prospects::default() }, vec![&bob]),
        (Prospects { number: Some(9), ..Prospects::default() }, vec![]),
        (Prospects { search: text("a\0b"), ..Prospects::default() }, vec![]),
        (Prospects { field: text("a\0b"), ..Prospects::default() }, vec![]),
    ] {
        let (rows, total) = store.records::<Prospect>(filter.clone(), window(None, 10)).await.unwrap();
        let ids: Vec<&str> = rows.iter().map(|row| row.id.as_str()).collect();
        assert_eq!(
            (ids, total),
            (found.iter().map(|id| id.as_str()).collect(), Some(found.len() as u64)),
            "{filter:?}"
        );
    }
    let (rows, total) = store.records::<Prospect>(Prospects::default(), window(Some(1), 10)).await.unwrap();
    assert_eq!((rows.len(), rows[0].id.as_str(), total), (1, bob.as_str(), Some(2)));
}

pub(super) async fn a_deleted_prospect_leaves_nothing_personal(test_store: &TestStore) {
    let store = test_store.store();
    let secret = Lead { email: Some("ada@secret.example".into()), ..lead("Secretina") };
    let call = key("clerk", "k-1", "same");
    let id = store.create_record(prospect(secret), Some(call.clone()), shown).await.unwrap().location;
    store.edit_record(&id, None, merge(serde_json::json!({"company": "Secret Ltd"}))).await.unwrap();
    store.edit_record(&id, Some(2), erase()).await.unwrap();
    assert!(store.record::<Prospect>(&id).await.unwrap().is_none());
    assert_eq!(store.records::<Prospect>(Prospects::default(), window(None, 5)).await.unwrap().1, Some(0));
    assert!(matches!(store.edit_record(&id, None, erase()).await, Err(Error::NotFound(_))));
    let events = store.outbox_dump().await.unwrap().events;
    assert_eq!(events.iter().map(|event| event.sequence).collect::<Vec<_>>(), [1, 2, 3]);
    assert!(events.iter().all(|event| !event.payload.to_lowercase().contains("secret")), "{events:?}");
    assert!(events[0].payload.contains("souk.prospect.created") && events[2].payload.contains("souk.prospect.deleted"));
    let again = store.create_record(prospect(lead("Ada")), Some(call), shown).await.unwrap();
    assert!(again.location != id && again.body == "2", "the answer went with him, his number did not");
    let facts = crate::audit_facts(test_store.url()).await.unwrap();
    let mut last: Vec<i64> = facts.prospects.iter().map(|fact| fact.last_sequence).collect();
    last.sort_unstable();
    assert_eq!(last, [1, 3]);
}

pub(super) async fn a_prospect_becomes_one_customer(test_store: &TestStore) {
    let replicas = test_store.replicas().await;
    let store = test_store.store();
    let id = known(store.as_ref(), Lead { email: Some("ada@example.org".into()), ..lead("Ada") }).await;
    let (done, failed) = at_once(&replicas, 12, |store, _| {
        let id = id.clone();
        async move {
            let prospect = store.record::<Prospect>(&id).await?.unwrap();
            convert(store.as_ref(), prospect, "clerk").await
        }
    })
    .await;
    assert!(failed.is_empty(), "{failed:?}");
    assert!(done.iter().all(|won| *won == done[0] && won.customer_id.is_some() && won.version == 2), "{done:?}");
    let (customers, _) = store.customers(crate::store::Filter::default(), window(None, 5)).await.unwrap();
    assert_eq!((customers.len(), customers[0].name()), (1, "Ada Example"));
    let events = store.outbox_dump().await.unwrap().events;
    let converted = events.iter().filter(|event| event.payload.contains("souk.prospect.converted")).count();
    assert_eq!(converted, 1);

    let second = known(store.as_ref(), Lead { email: Some("ADA@example.org".into()), ..lead("Ada") }).await;
    let second = store.record::<Prospect>(&second).await.unwrap().unwrap();
    let linked = convert(store.as_ref(), second, "clerk").await.unwrap();
    assert_eq!(linked.customer_id, done[0].customer_id, "who has the address is linked");
    let nameless = store.record::<Prospect>(&known(store.as_ref(), lead("Bob")).await).await.unwrap().unwrap();
    let stranger = convert(store.as_ref(), nameless, "clerk").await.unwrap();
    assert!(stranger.customer_id != linked.customer_id);
}

pub(super) async fn an_event_makes_one_activity_for_ever(test_store: &TestStore) {
    let replicas = test_store.replicas().await;
    let store = test_store.store();
    let make = |n: usize| {
        let (id, now) = (crate::consumer::activity_of("/souk/customer", &(n % 3).to_string()), Timestamp::now());
        Activity::of_prospect(
            id,
            ProspectEvent::Created,
            "Ada Example",
            Some(ProspectId::trusted("p".into())),
            now,
            now,
        )
    };
    let (done, failed) =
        at_once(&replicas, 18, |store, n| async move { store.insert_record_once(make(n)).await }).await;
    assert!(failed.is_empty(), "{failed:?}");
    assert_eq!(done.iter().filter(|made| **made).count(), 3);
    let (rows, _) = store.records::<Activity>(Activities::default(), window(None, 9)).await.unwrap();
    assert_eq!(rows.iter().map(|row| row.number).collect::<Vec<_>>(), [1, 2, 3]);
    assert!(rows.iter().all(|row| row.by_event && row.plan.name == "Prospect created: Ada Example"));

    let erase: Edit<Activity> = Arc::new(|before: &Activity| {
        let after = before.erased(Timestamp::now());
        Ok(Some(Step { event: None, redaction: Some(events::activity_data(&after)), after }))
    });
    let gone = rows[0].id.as_str();
    store.edit_record(gone, Some(1), erase).await.unwrap();
    for n in 0..3 {
        assert!(!store.insert_record_once(make(n)).await.unwrap(), "what was deleted does not come again");
    }
    assert!(store.record::<Activity>(gone).await.unwrap().is_none());
    assert_eq!(store.records::<Activity>(Activities::default(), window(None, 9)).await.unwrap().1, Some(2));
    let events = store.outbox_dump().await.unwrap().events;
    assert_eq!(events.len(), 3);
    assert!(events.iter().all(|event| event.topic == "customers" && event.subject.starts_with("activity/")));
    let redacted = events.iter().find(|event| event.subject == format!("activity/{gone}")).unwrap();
    assert!(!redacted.payload.contains("Ada"), "{}", redacted.payload);
}

pub(super) async fn activities_are_found_by_day_and_prospect(test_store: &TestStore) {
    let store = test_store.store();
    let fair = plan(store.as_ref(), "Fair", "2026-05-04", None).await;
    let visit = plan(store.as_ref(), "Visit", "2026-05-06", Some("p-1")).await;
    let text = |text: &str| Some(text.to_owned());
    for (filter, found) in [
        (Activities::default(), vec![&fair, &visit]),
        (Activities { date: text("2026-05-04"), ..Activities::default() }, vec![&fair]),
        (Activities { from: text("2026-05-05"), ..Activities::default() }, vec![&visit]),
        (Activities { to: text("2026-05-05"), ..Activities::default() }, vec![&fair]),
        (Activities { from: text("2026-05-04"), to: text("2026-05-06"), ..Activities::default() }, vec![&fair, &visit]),
        (Activities { date: text("2026-05-04"), from: text("2026-05-05"), ..Activities::default() }, vec![]),
        (Activities { prospect_id: text("p-1"), ..Activities::default() }, vec![&visit]),
        (Activities { number: Some(1), ..Activities::default() }, vec![&fair]),
        (Activities { prospect_id: text("\0"), ..Activities::default() }, vec![]),
    ] {
        let (rows, total) = store.records::<Activity>(filter.clone(), window(None, 10)).await.unwrap();
        let ids: Vec<&str> = rows.iter().map(|row| row.id.as_str()).collect();
        assert_eq!(
            (ids, total),
            (found.iter().map(|id| id.as_str()).collect(), Some(found.len() as u64)),
            "{filter:?}"
        );
    }
    let forget: Edit<Activity> = Arc::new(|before: &Activity| {
        let plan = before.plan.merged(&serde_json::json!({"prospect_id": null}))?;
        Ok(before.changed(plan, Timestamp::now()).map(|after| Step { after, event: None, redaction: None }))
    });
    let changed = store.edit_record(&visit, None, forget).await.unwrap();
    assert_eq!((changed.plan.prospect_id.as_ref(), changed.version, changed.sequence), (None, 2, 1));
    assert_eq!(store.record::<Activity>(&visit).await.unwrap().unwrap(), changed);
}

pub(super) async fn what_is_told_of_all_kinds_waits_and_is_marked(test_store: &TestStore) {
    let (store, outbox) = (test_store.store(), &test_store.opened.outbox);
    make(store.as_ref(), named("Ada")).await.unwrap();
    let id = known(store.as_ref(), lead("Bob")).await;
    plan(store.as_ref(), "Fair", "2026-05-04", None).await;
    store.edit_record(&id, None, merge(serde_json::json!({"field": "wool"}))).await.unwrap();
    assert_eq!(outbox.backlog().await.unwrap().0, 4);
    let shards: Vec<i64> = (0..bus::outbox::SHARDS).collect();
    let mut topics = Vec::new();
    loop {
        let waiting = outbox.pending(&shards, 3).await.unwrap();
        if waiting.is_empty() {
            break;
        }
        for waiting in &waiting {
            let event: serde_json::Value = serde_json::from_str(&waiting.message.payload).unwrap();
            assert_eq!(event["subject"], waiting.message.key.as_str());
            topics.push((waiting.message.topic.clone(), event["sequence"].as_i64().unwrap()));
        }
        outbox.mark_published(&waiting.into_iter().map(|waiting| waiting.id).collect::<Vec<_>>()).await.unwrap();
    }
    topics.sort();
    let events: Vec<(&str, i64)> = topics.iter().map(|(topic, sequence)| (topic.as_str(), *sequence)).collect();
    assert_eq!(events, [("customers", 1), ("customers", 1), ("prospect-events", 1), ("prospect-events", 2)]);
    assert_eq!(outbox.backlog().await.unwrap(), (0, None));
    assert!(store.outbox_dump().await.unwrap().events.iter().all(|event| event.published));
}
