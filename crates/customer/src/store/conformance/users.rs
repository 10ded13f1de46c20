//! Users and their roles.

use commerce::UserId;

use super::*;
use crate::store::Filter;

pub(super) async fn of_many_who_register_under_one_name_or_address_one_does(test_store: &TestStore) {
    let replicas = test_store.replicas().await;
    let (done, failed) = at_once(&replicas, 16, |store, n| async move {
        user(store.as_ref(), registering("Bob", &format!("bob{n}@example.org"))).await
    })
    .await;
    assert_eq!((done.len(), failed.len()), (1, 15));
    assert!(failed.iter().all(|error| matches!(error, Error::UsernameTaken)), "{failed:?}");
    let (done, failed) = at_once(&replicas, 16, |store, n| async move {
        user(store.as_ref(), registering(&format!("eve{n}"), "EVE@example.org")).await
    })
    .await;
    assert_eq!((done.len(), failed.len()), (1, 15));
    assert!(failed.iter().all(|error| matches!(error, Error::EmailTaken)), "{failed:?}");
    // Customers and users who want the same address.
    let (done, failed) = at_once(&replicas, 24, |store, n| async move {
        if n % 2 == 0 {
            make(store.as_ref(), with_email("Zoe", "zoe@example.org")).await
        } else {
            let made = user(store.as_ref(), registering(&format!("zoe{n}"), "zoe@example.org")).await?;
            Ok(made.customer_id.unwrap())
        }
    })
    .await;
    assert_eq!((done.len(), failed.len()), (1, 23));
    assert!(failed.iter().all(|error| matches!(error, Error::EmailTaken)), "{failed:?}");
    let (rows, total) = test_store.store().customers(Filter::default(), window(None, 50)).await.unwrap();
    assert_eq!(total, Some(3), "{rows:?}");
    assert_eq!(rows.iter().map(|row| row.number).collect::<Vec<_>>(), [1, 2, 3]);
    let (users, _) = test_store.store().users(window(None, 50)).await.unwrap();
    for user in &users {
        let id = user.customer_id.as_ref().unwrap();
        assert!(rows.iter().any(|row| row.id == *id), "{user:?} has no customer");
    }
    assert!((2..=3).contains(&users.len()));
}

pub(super) async fn who_registers_is_a_customer(test_store: &TestStore) {
    let store = test_store.store();
    let made = user(store.as_ref(), registering("bob", "Bob@example.org")).await.unwrap();
    let customer = store.customer(made.customer_id.as_ref().unwrap()).await.unwrap().unwrap();
    assert_eq!(customer.profile, with_email("bob", "Bob@example.org"));
    assert_eq!((customer.number, customer.version, customer.sequence), (1, 1, 1));
    let events = store.outbox_dump().await.unwrap().events;
    assert_eq!((events.len(), events[0].subject.as_str(), events[0].sequence), (1, customer.id.as_str(), 1));
    let kept = store.user(&made.id).await.unwrap().unwrap();
    assert_eq!((kept.customer_id, kept.roles, kept.version), (made.customer_id, vec![Role::Customer], 1));
}

pub(super) async fn a_user_may_be_a_customer_who_is_there(test_store: &TestStore) {
    let store = test_store.store();
    let id = make(store.as_ref(), with_email("Carol", "carol@example.org")).await.unwrap();
    let linked = |name: &str, id: &CustomerId| NewUser {
        customer_id: Some(id.clone()),
        ..staff(name, &format!("{name}@example.org"), &[Role::Customer])
    };
    let made = user(store.as_ref(), linked("carol", &id)).await.unwrap();
    assert_eq!(made.customer_id.as_ref(), Some(&id));
    assert!(matches!(user(store.as_ref(), linked("dora", &id)).await, Err(Error::CustomerTaken)));
    let nobody = user(store.as_ref(), linked("dora", &CustomerId::new())).await;
    assert!(matches!(nobody, Err(Error::Invalid(_))), "{nobody:?}");
    store.anonymise_customer(&id, None).await.unwrap();
    assert!(store.user(&made.id).await.unwrap().is_none());
    let gone = user(store.as_ref(), linked("carol", &id)).await;
    assert!(matches!(gone, Err(Error::Invalid(_))), "{gone:?}");
    assert_eq!(store.users(window(None, 5)).await.unwrap().1, Some(0));
}

pub(super) async fn users_are_found_by_name_and_address_in_any_case(test_store: &TestStore) {
    let store = test_store.store();
    let made = user(store.as_ref(), staff("Anna.B", "Anna@Souk.example", &[Role::Admin])).await.unwrap();
    for login in ["anna.b", " ANNA.B ", "anna@souk.EXAMPLE"] {
        assert_eq!(store.user_by_login(login).await.unwrap().map(|user| user.id), Some(made.id.clone()), "{login}");
    }
    for login in ["anna", "annaxb", "anna@souk", "", "anna.b\0", "anna@souk.example\0"] {
        assert!(store.user_by_login(login).await.unwrap().is_none(), "{login}");
    }
    assert!(store.user(&UserId::new()).await.unwrap().is_none());
}

pub(super) async fn users_are_listed_by_id(test_store: &TestStore) {
    let store = test_store.store();
    for n in 0..5 {
        user(store.as_ref(), staff(&format!("user{n}"), &format!("{n}@example.org"), &[Role::Clerk])).await.unwrap();
    }
    let (first, total) = store.users(window(None, 2)).await.unwrap();
    assert_eq!((first.len(), total), (3, Some(5)));
    let after = first[1].id.as_str().to_owned();
    let (rest, _) = store.users(window(Some(after), 10)).await.unwrap();
    let names: Vec<&str> = first[..2].iter().chain(&rest).map(|user| user.username.as_str()).collect();
    assert_eq!(names, ["user0", "user1", "user2", "user3", "user4"]);
    let page = PageRequest { offset: 4, include_total: false, ..window(None, 2) };
    let (last, total) = store.users(page).await.unwrap();
    assert_eq!((last.len(), last[0].username.as_str(), total), (1, "user4", None));
}

pub(super) async fn other_roles_end_the_tokens(test_store: &TestStore) {
    let store = test_store.store();
    let made = user(store.as_ref(), staff("anna", "anna@souk.example", &[Role::Clerk])).await.unwrap();
    store.record_token("t", &made.id, 4_000_000_000).await.unwrap();
    let (same, ended) = store.set_roles(&made.id, vec![Role::Clerk], vec![]).await.unwrap();
    assert_eq!((same.version, ended), (1, vec![]));
    let (changed, ended) = store.set_roles(&made.id, vec![Role::Manager], vec!["berlin".into()]).await.unwrap();
    assert_eq!((changed.version, ended), (2, vec!["t".to_owned()]));
    let kept = store.user(&made.id).await.unwrap().unwrap();
    assert_eq!((kept.roles, kept.stores, kept.version), (vec![Role::Manager], vec!["berlin".to_owned()], 2));
    let nobody = store.set_roles(&UserId::new(), vec![Role::Clerk], vec![]).await;
    assert!(matches!(nobody, Err(Error::NotFound(_))));
}

pub(super) async fn the_last_admin_stays(test_store: &TestStore) {
    let store = test_store.store();
    let anna = user(store.as_ref(), staff("anna", "anna@souk.example", &[Role::Admin])).await.unwrap();
    let demote = async |id: &UserId| store.set_roles(id, vec![Role::Clerk], vec![]).await;
    assert!(matches!(demote(&anna.id).await, Err(Error::LastAdmin)));
    let more = store.set_roles(&anna.id, vec![Role::Clerk, Role::Admin], vec![]).await.unwrap();
    assert_eq!(more.0.version, 2);
    let bert = user(store.as_ref(), staff("bert", "bert@souk.example", &[Role::Clerk])).await.unwrap();
    assert!(matches!(demote(&anna.id).await, Err(Error::LastAdmin)));
    store.set_roles(&bert.id, vec![Role::Admin], vec![]).await.unwrap();
    demote(&anna.id).await.unwrap();
    assert!(matches!(demote(&bert.id).await, Err(Error::LastAdmin)));
}

pub(super) async fn admins_who_demote_each_other_leave_one(test_store: &TestStore) {
    let replicas = test_store.replicas().await;
    let mut admins = Vec::new();
    for n in 0..4 {
        let new = staff(&format!("admin{n}"), &format!("{n}@souk.example"), &[Role::Admin]);
        admins.push(user(test_store.store().as_ref(), new).await.unwrap().id);
    }
    for round in 0..3 {
        let ids = admins.clone();
        let (done, failed) = at_once(&replicas, 4, |store, n| {
            let id = ids[n].clone();
            async move { store.set_roles(&id, vec![Role::Clerk], vec![]).await }
        })
        .await;
        assert!(failed.iter().all(|error| matches!(error, Error::LastAdmin)), "{failed:?}");
        assert!(done.len() < 4, "round {round}: nobody is left");
        for id in &admins {
            test_store.store().set_roles(id, vec![Role::Admin], vec![]).await.unwrap();
        }
    }
}
