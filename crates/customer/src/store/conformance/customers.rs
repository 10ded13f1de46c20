//! Customers.

use super::*;
use crate::store::Filter;

pub(super) async fn an_id_makes_one_customer_and_clashes_with_another_payload(test_store: &TestStore) {
    let store = test_store.store();
    let seven = |payload: &str| NewCustomer {
        id: Some(CustomerId::trusted("crm-7".into())),
        profile: with_email("Seven", "seven@example.org"),
        created_from: payload.into(),
    };
    let first = store.create_customer(seven("a"), None, render).await.unwrap();
    let again = store.create_customer(seven("a"), None, render).await.unwrap();
    assert_eq!((first.status, again.status, first.location), (201, 200, again.location));
    assert!(matches!(store.create_customer(seven("b"), None, render).await, Err(Error::IdTaken)));
    let replicas = test_store.replicas().await;
    let (done, failed) = at_once(&replicas, 16, |store, n| async move {
        let new = NewCustomer {
            id: Some(CustomerId::trusted("crm-8".into())),
            profile: named("Eight"),
            created_from: if n < 8 { "a" } else { "b" }.into(),
        };
        store.create_customer(new, None, render).await
    })
    .await;
    assert_eq!(done.iter().filter(|reply| reply.status == 201).count(), 1);
    assert_eq!((done.len(), failed.len()), (8, 8), "{failed:?}");
    assert!(failed.iter().all(|error| matches!(error, Error::IdTaken)), "{failed:?}");
}

pub(super) async fn one_of_many_who_want_an_address_gets_it(test_store: &TestStore) {
    let replicas = test_store.replicas().await;
    let (done, failed) = at_once(&replicas, 32, |store, n| async move {
        let email = if n % 2 == 0 { "Ada@Example.org" } else { "ADA@example.ORG" };
        make(store.as_ref(), with_email(&format!("Ada {n}"), email)).await
    })
    .await;
    assert_eq!((done.len(), failed.len()), (1, 31));
    assert!(failed.iter().all(|error| matches!(error, Error::EmailTaken)), "{failed:?}");
    assert_eq!(test_store.store().customers(Filter::default(), window(None, 50)).await.unwrap().1, Some(1));
}

pub(super) async fn numbers_count_up_from_one_without_gaps(test_store: &TestStore) {
    let replicas = test_store.replicas().await;
    // Every third one is refused.
    let (done, failed) = at_once(&replicas, 30, |store, n| async move {
        let profile = if n % 3 == 0 { with_email("x", "one@example.org") } else { named("x") };
        make(store.as_ref(), profile).await
    })
    .await;
    assert_eq!((done.len(), failed.len()), (21, 9), "{failed:?}");
    let (rows, _) = test_store.store().customers(Filter::default(), window(None, 50)).await.unwrap();
    assert_eq!(rows.iter().map(|row| row.number).collect::<Vec<_>>(), (1..=21).collect::<Vec<_>>());
}

pub(super) async fn an_address_belongs_to_one_person(test_store: &TestStore) {
    let store = test_store.store();
    user(store.as_ref(), staff("clerk", "Clerk@souk.example", &[Role::Clerk])).await.unwrap();
    let taken = make(store.as_ref(), with_email("Customer", "clerk@SOUK.example")).await;
    assert!(matches!(taken, Err(Error::EmailTaken)));
    let carol = make(store.as_ref(), with_email("Carol", "carol@example.org")).await.unwrap();
    let taken = user(store.as_ref(), registering("carol", "Carol@example.org")).await;
    assert!(matches!(taken, Err(Error::EmailTaken)));
    assert!(store.user_by_login("carol").await.unwrap().is_none(), "nothing is left of a refused registration");
    // An admin may give a customer's address to a user without a customer.
    user(store.as_ref(), staff("carol", "carol@example.org", &[Role::Clerk])).await.unwrap();

    let other = make(store.as_ref(), with_email("Other", "other@example.org")).await.unwrap();
    let change = |email: &str| Change::Merge(serde_json::json!({"email": email}));
    let taken = store.change_customer(&other, None, change("CAROL@example.org")).await;
    assert!(matches!(taken, Err(Error::EmailTaken)));
    store.change_customer(&carol, None, Change::Merge(serde_json::json!({"email": null}))).await.unwrap();
    let moved = store.change_customer(&other, None, change("CAROL@example.org")).await.unwrap();
    assert_eq!(moved.profile.email.as_deref(), Some("CAROL@example.org"));
    let by_email = Filter { email: Some("carol@EXAMPLE.org".into()), ..Filter::default() };
    let (rows, total) = store.customers(by_email, window(None, 5)).await.unwrap();
    assert_eq!((rows.len(), total, rows[0].id.as_str()), (1, Some(1), other.as_str()));
}

pub(super) async fn numbers_find_and_sort(test_store: &TestStore) {
    let store = test_store.store();
    for name in ["Ada", "Bob", "Cleo"] {
        make(store.as_ref(), named(name)).await.unwrap();
    }
    let numbers = |rows: &[crate::domain::Customer]| rows.iter().map(|one| one.number).collect::<Vec<_>>();
    let newest = Filter { newest_first: true, ..Filter::default() };
    let (first, total) = store.customers(newest.clone(), window(None, 2)).await.unwrap();
    assert_eq!((numbers(&first[..2]), total), (vec![3, 2], Some(3)));
    let (rest, _) = store.customers(newest, window(Some(2), 2)).await.unwrap();
    assert_eq!(numbers(&rest), [1]);
    for (number, found) in [(2, vec![2]), (9, vec![]), (0, vec![])] {
        let one = Filter { number: Some(number), ..Filter::default() };
        let (rows, _) = store.customers(one, window(None, 5)).await.unwrap();
        assert_eq!(numbers(&rows), found, "{number}");
    }
}

pub(super) async fn a_change_wants_the_version_that_was_seen(test_store: &TestStore) {
    let store = test_store.store();
    let id = make(store.as_ref(), named("Ada")).await.unwrap();
    let changed = store.change_customer(&id, Some(1), phone(1)).await.unwrap();
    assert_eq!((changed.version, changed.sequence), (2, 2));
    let stale = store.change_customer(&id, Some(1), phone(2)).await;
    assert!(matches!(stale, Err(Error::Stale { version: 2 })));
    let kept = store.customer(&id).await.unwrap().unwrap();
    assert_eq!((kept.profile, kept.version, kept.number), (changed.profile, 2, 1));
    let whole = serde_json::json!({"name": "Ada", "address": {"line1": "1 Main St", "country": "GB"}});
    let replace = Change::Replace(Box::new(serde_json::from_value(whole).unwrap()));
    store.change_customer(&id, Some(2), replace).await.unwrap();
    let kept = store.customer(&id).await.unwrap().unwrap();
    assert_eq!((kept.profile.phone, kept.profile.address.unwrap().country.as_deref()), (None, Some("GB")));
    let nobody = CustomerId::new();
    assert!(matches!(store.change_customer(&nobody, None, phone(1)).await, Err(Error::NotFound(_))));
    assert!(matches!(store.anonymise_customer(&nobody, None).await, Err(Error::NotFound(_))));
    assert!(store.customer(&nobody).await.unwrap().is_none());
}

pub(super) async fn a_change_that_changes_nothing_leaves_no_trace(test_store: &TestStore) {
    let store = test_store.store();
    let id = make(store.as_ref(), named("Ada")).await.unwrap();
    store.change_customer(&id, None, phone(1)).await.unwrap();
    let same = store.change_customer(&id, Some(2), phone(1)).await.unwrap();
    assert_eq!((same.version, same.sequence), (2, 2));
    assert_eq!(store.outbox_dump().await.unwrap().events.len(), 2);
}

pub(super) async fn changes_at_once_neither_lose_nor_double_an_event(test_store: &TestStore) {
    let id = make(test_store.store().as_ref(), named("Ada")).await.unwrap();
    let replicas = test_store.replicas().await;
    let (done, failed) = at_once(&replicas, 16, |store, n| {
        let id = id.clone();
        async move { store.change_customer(&id, None, phone(n)).await }
    })
    .await;
    assert!(failed.is_empty(), "{failed:?}");
    let mut versions: Vec<i64> = done.iter().map(|customer| customer.version).collect();
    versions.sort_unstable();
    assert_eq!(versions, (2..=17).collect::<Vec<_>>());
    let events = test_store.store().outbox_dump().await.unwrap().events;
    assert_eq!(events.iter().map(|event| event.sequence).collect::<Vec<_>>(), (1..=17).collect::<Vec<_>>());
    let last = test_store.store().customer(&id).await.unwrap().unwrap();
    assert_eq!(last.sequence, 17);
    assert!(events[16].payload.contains(last.profile.phone.as_deref().unwrap()), "the last event shows the last state");
}

pub(super) async fn lists_go_by_number_and_count(test_store: &TestStore) {
    let store = test_store.store();
    let mut ids = Vec::new();
    for n in 0..7 {
        ids.push(make(store.as_ref(), named(&format!("Customer {n}"))).await.unwrap());
    }
    store.anonymise_customer(&ids[2], None).await.unwrap();
    let numbers = |rows: &[Customer]| rows.iter().map(|row| row.number).collect::<Vec<_>>();
    let (rows, total) = store.customers(Filter::default(), window(None, 2)).await.unwrap();
    assert_eq!((numbers(&rows), total), (vec![1, 2, 4], Some(6)), "one more than wanted, without who is forgotten");
    let (rows, total) = store.customers(Filter::default(), window(Some(4), 5)).await.unwrap();
    assert_eq!((numbers(&rows), total), (vec![5, 6, 7], Some(6)));
    let page = PageRequest { offset: 4, include_total: false, ..window(None, 2) };
    let (rows, total) = store.customers(Filter::default(), page).await.unwrap();
    assert_eq!((numbers(&rows), total), (vec![6, 7], None));
    let some =
        Filter { ids: vec![ids[2].as_str().into(), ids[5].as_str().into(), "nobody".into()], ..Filter::default() };
    let (rows, total) = store.customers(some, window(None, 5)).await.unwrap();
    assert_eq!((numbers(&rows), total), (vec![3, 6], Some(2)), "by his id he is found");
}

pub(super) async fn a_search_takes_every_sign_for_itself(test_store: &TestStore) {
    let store = test_store.store();
    for name in
        ["100% Wool", "snake_case", "back\\slash", "a.b", "a*b", "$name", "(round) [square] {curly} ^+?|", "Übergröße"]
    {
        make(store.as_ref(), named(name)).await.unwrap();
    }
    make(store.as_ref(), with_email("axb", "found@Example.org")).await.unwrap();
    for (search, found) in [
        ("%", vec!["100% Wool"]),
        ("_", vec!["snake_case"]),
        ("\\", vec!["back\\slash"]),
        ("a.b", vec!["a.b"]),
        ("A*B", vec!["a*b"]),
        ("$name", vec!["$name"]),
        (") [", vec!["(round) [square] {curly} ^+?|"]),
        ("^+?|", vec!["(round) [square] {curly} ^+?|"]),
        ("ÜBERGR", vec!["Übergröße"]),
        ("@EXAMPLE", vec!["axb"]),
        ("wool%", vec![]),
        ("a\0", vec![]),
    ] {
        let filter = Filter { search: Some(search.into()), ..Filter::default() };
        let (rows, total) = store.customers(filter, window(None, 20)).await.unwrap();
        assert_eq!(rows.iter().map(Customer::name).collect::<Vec<_>>(), found, "{search:?}");
        assert_eq!(total, Some(found.len() as u64), "{search:?}");
    }
}

pub(super) async fn anonymising_leaves_nothing_personal(test_store: &TestStore) {
    let store = test_store.store();
    let made = user(store.as_ref(), registering("bob", "bob@example.org")).await.unwrap();
    let id = made.customer_id.clone().unwrap();
    let bobby =
        Change::Merge(serde_json::json!({"name": "Bobby", "phone": "+1 (555) 0100", "address": {"line1": "1 Bob St"}}));
    store.change_customer(&id, None, bobby).await.unwrap();
    for jti in ["one", "two"] {
        store.record_token(jti, &made.id, 4_000_000_000).await.unwrap();
    }
    // The first event is out, the second is not.
    let waiting = test_store.opened.outbox.pending(&(0..bus::outbox::SHARDS).collect::<Vec<_>>(), 10).await.unwrap();
    test_store.opened.outbox.mark_published(&[waiting[0].id.clone()]).await.unwrap();

    assert!(matches!(store.anonymise_customer(&id, Some(1)).await, Err(Error::Stale { version: 2 })));
    let mut ended = store.anonymise_customer(&id, Some(2)).await.unwrap();
    ended.sort_unstable();
    assert_eq!(ended, ["one", "two"]);
    let events = store.outbox_dump().await.unwrap().events;
    assert_eq!(events.iter().map(|event| event.sequence).collect::<Vec<_>>(), [1, 2, 3]);
    for event in &events {
        let text = event.payload.to_lowercase();
        assert!(!text.contains("bob") && !text.contains("(555)"), "{text}");
    }
    let left = store.customer(&id).await.unwrap().unwrap();
    assert_eq!((left.profile, left.version, left.created_from), (named("Anonymised"), 3, None));
    assert!(left.anonymised_at.is_some());
    assert!(store.user(&made.id).await.unwrap().is_none());
    assert!(store.user_by_login("bob").await.unwrap().is_none());
    let found = Filter { search: Some("bob".into()), ids: vec![id.as_str().into()], ..Filter::default() };
    assert!(store.customers(found, window(None, 5)).await.unwrap().0.is_empty());
    let revoked: Vec<String> = store.revoked_tokens().await.unwrap().into_iter().map(|(jti, _)| jti).collect();
    assert_eq!(revoked.len(), 2);
    // Name and address are free again.
    user(store.as_ref(), registering("bob", "bob@example.org")).await.unwrap();
}

pub(super) async fn an_anonymised_customer_stays_as_he_is(test_store: &TestStore) {
    let id = make(test_store.store().as_ref(), with_email("Ada", "ada@example.org")).await.unwrap();
    let replicas = test_store.replicas().await;
    let (done, failed) = at_once(&replicas, 8, |store, n| {
        let id = id.clone();
        async move {
            match store.change_customer(&id, None, phone(n)).await {
                Ok(_) | Err(Error::Anonymised) => {}
                Err(error) => return Err(error),
            }
            store.anonymise_customer(&id, None).await
        }
    })
    .await;
    assert!(failed.is_empty() && done.iter().all(Vec::is_empty), "{failed:?}");
    let store = test_store.store();
    let left = store.customer(&id).await.unwrap().unwrap();
    assert_eq!(left.profile, named("Anonymised"));
    let events = store.outbox_dump().await.unwrap().events;
    assert_eq!(events.iter().map(|event| event.sequence).collect::<Vec<_>>(), (1..=left.sequence).collect::<Vec<_>>());
    assert_eq!(events.iter().filter(|event| event.payload.contains("souk.customer.anonymised")).count(), 1);
    assert!(events.iter().all(|event| !event.payload.contains("+49") && !event.payload.contains("ada@")));
    assert!(matches!(store.change_customer(&id, None, phone(1)).await, Err(Error::Anonymised)));
    assert!(store.anonymise_customer(&id, None).await.unwrap().is_empty());
}

pub(super) async fn all_customers_are_read_once(test_store: &TestStore) {
    let store = test_store.store();
    let mut ids = Vec::new();
    for n in 0..5 {
        ids.push(make(store.as_ref(), named(&n.to_string())).await.unwrap().as_str().to_owned());
    }
    store.change_customer(&CustomerId::trusted(ids[1].clone()), None, phone(1)).await.unwrap();
    store.anonymise_customer(&CustomerId::trusted(ids[3].clone()), None).await.unwrap();
    ids.sort_unstable();
    let all = store.all_customers("").await.unwrap();
    assert_eq!(all.iter().map(|customer| customer.id.to_string()).collect::<Vec<_>>(), ids);
    assert_eq!(all.iter().filter(|customer| customer.anonymised_at.is_some() && customer.sequence == 2).count(), 1);
    assert_eq!(all.iter().map(|customer| customer.sequence).sum::<i64>(), 7);
    assert_eq!(store.all_customers(&ids[2]).await.unwrap().len(), 2);
    assert!(store.all_customers(&ids[4]).await.unwrap().is_empty());
}
