//! Answers kept for repeats.

use super::*;
use crate::store::Filter;

pub(super) async fn a_key_gives_its_first_answer(test_store: &TestStore) {
    let store = test_store.store();
    let create = async |name: &str, payload: &str| {
        store.create_customer(new(named(name)), Some(key("me", "k", payload)), render).await
    };
    let first = create("Ada", "a").await.unwrap();
    let id = CustomerId::trusted(first.location.clone());
    store.change_customer(&id, None, phone(1)).await.unwrap();
    assert_eq!(create("Ada", "a").await.unwrap(), first, "as it was, not as it is");
    assert!(matches!(create("Bob", "b").await, Err(Error::KeyReused(_))));
    // A repeat by id keeps its answer under its own key.
    let by_id = async |k: &str| {
        let new = NewCustomer { id: Some(CustomerId::trusted("crm-1".into())), ..new(named("One")) };
        store.create_customer(new, Some(key("me", k, "one")), render).await.unwrap()
    };
    let (made, again) = (by_id("k1").await, by_id("k2").await);
    assert_eq!((made.status, again.status), (201, 200));
    assert_eq!((by_id("k1").await, by_id("k2").await), (made, again));
    assert_eq!(store.customers(Filter::default(), window(None, 5)).await.unwrap().1, Some(2));
}

pub(super) async fn copies_at_once_have_one_effect(test_store: &TestStore) {
    let replicas = test_store.replicas().await;
    let (done, failed) = at_once(&replicas, 20, |store, _| async move {
        let new = new(with_email("Ada", "ada@example.org"));
        store.create_customer(new, Some(key("me", "k", "a")), render).await
    })
    .await;
    assert!(failed.is_empty(), "{failed:?}");
    assert!(done.iter().all(|reply| *reply == done[0]), "{done:?}");
    assert_eq!(test_store.store().outbox_dump().await.unwrap().events.len(), 1);
}

pub(super) async fn a_user_by_key_is_made_once(test_store: &TestStore) {
    let replicas = test_store.replicas().await;
    let (done, failed) = at_once(&replicas, 12, |store, _| async move {
        let new = registering("bob", "bob@example.org");
        store.create_user(new, Some(key("admin", "k", "bob")), crate::views::user_response).await
    })
    .await;
    assert!(failed.is_empty(), "{failed:?}");
    assert_eq!(done.iter().filter(|(made, _)| made.is_some()).count(), 1);
    assert!(done.iter().all(|(_, reply)| *reply == done[0].1), "{done:?}");
    let store = test_store.store();
    assert_eq!(store.user_response(&key("admin", "k", "bob")).await.unwrap().as_ref(), Some(&done[0].1));
    assert!(matches!(store.user_response(&key("admin", "k", "other")).await, Err(Error::KeyReused(_))));
    assert!(store.user_response(&key("admin", "new", "bob")).await.unwrap().is_none());
    assert_eq!(store.customers(Filter::default(), window(None, 5)).await.unwrap().1, Some(1));
}

pub(super) async fn keys_of_others_and_other_routes_are_other_keys(test_store: &TestStore) {
    let store = test_store.store();
    let mut elsewhere = key("me", "k", "a");
    elsewhere.key.route = "POST /there";
    for key in [key("me", "k", "a"), key("you", "k", "b"), key("me", "K", "c"), elsewhere] {
        let made = store.create_customer(new(named("x")), Some(key), render).await.unwrap();
        assert_eq!(made.status, 201);
    }
    assert_eq!(store.customers(Filter::default(), window(None, 9)).await.unwrap().1, Some(4));
}

pub(super) async fn answers_about_somebody_go_with_him(test_store: &TestStore) {
    let store = test_store.store();
    let made = store.create_customer(new(named("Ada")), Some(key("me", "k", "a")), render).await.unwrap();
    let new_user = registering("bob", "bob@example.org");
    let bob = store.create_user(new_user, Some(key("admin", "k", "bob")), crate::views::user_response).await.unwrap().0;
    store.anonymise_customer(&CustomerId::trusted(made.location.clone()), None).await.unwrap();
    store.anonymise_customer(bob.unwrap().customer_id.as_ref().unwrap(), None).await.unwrap();
    assert!(store.user_response(&key("admin", "k", "bob")).await.unwrap().is_none());
    let anew = store.create_customer(new(named("Ada")), Some(key("me", "k", "b")), render).await.unwrap();
    assert_ne!(anew.location, made.location);
}
