//! What only this adapter can get wrong: dying between two steps, and what its server is asked for.

use std::time::{Duration, Instant};

use auth::Role;
use commerce::{CustomerId, Timestamp};
use futures::future::join_all;
use mongodb::bson::{Bson, Document, doc};

use super::docs::{Pending, UserDoc, document};
use super::prune::{Old, batch};
use super::{MongoStore, customers, roles, users};
use crate::domain::{Profile, User};
use crate::error::Error;
use crate::store::conformance::{TestStore, key, registering, staff, user};
use crate::store::{Filter, Store};

const LATER: i64 = 4_000_000_000;

/// A fresh store, and the same as the service sees it.
async fn mongodb() -> (MongoStore, Store) {
    let test_store = TestStore::mongodb().await;
    let mongo = MongoStore::new(test_store.url()).await.unwrap();
    (mongo.clone(), Store::Mongo(mongo))
}

/// Writes the first document of a registration, long ago, and dies.
async fn half_registered(store: &MongoStore, name: &str) -> UserDoc {
    let new = registering(name, &format!("{name}@example.org"));
    let (mut whole, _) =
        users::begin(store, &new, Some(&key("admin", name, "x")), crate::views::user_response).await.unwrap();
    assert_eq!(whole.pending, Some(Pending::Customer));
    whole.created_at -= 60_000_000;
    store.users.insert_one(document(&whole).unwrap()).await.unwrap();
    whole
}

fn profile(user: &UserDoc) -> Profile {
    Profile { name: Some(user.name.clone()), email: Some(user.email.clone()), ..Profile::default() }
}

fn customer_id(user: &UserDoc) -> CustomerId {
    CustomerId::trusted(user.customer_id.clone().unwrap())
}

async fn all(store: &Store) -> (usize, usize) {
    let everything = || crate::store::conformance::window(None, 50);
    let customers = store.customers(Filter::default(), everything()).await.unwrap().0.len();
    (customers, store.users(crate::store::conformance::window(None, 50)).await.unwrap().0.len())
}

#[tokio::test]
#[ignore = "needs SOUK_TEST_MONGODB_URL: ./test starts it"]
async fn a_registration_that_died_over_its_first_step_is_finished_by_whoever_meets_it() {
    let (mongo, store) = mongodb().await;
    for name in ["login", "id", "key", "wanted", "resumed"] {
        half_registered(&mongo, name).await;
    }
    assert_eq!(all(&store).await, (0, 0), "nobody sees it yet");
    let settled: User = store.user_by_login("login").await.unwrap().unwrap();
    assert!(store.customer(settled.customer_id.as_ref().unwrap()).await.unwrap().is_some());
    assert!(store.user_response(&key("admin", "key", "x")).await.unwrap().is_some());
    let taken = user(&store, registering("wanted", "else@example.org")).await;
    assert!(matches!(taken, Err(Error::UsernameTaken)), "{taken:?}");
    assert_eq!(store.resume().await.unwrap(), 2);
    assert_eq!(store.resume().await.unwrap(), 0);
    assert_eq!(all(&store).await, (5, 5));
    assert_eq!(store.outbox_dump().await.unwrap().events.len(), 5);
}

#[tokio::test]
#[ignore = "needs SOUK_TEST_MONGODB_URL: ./test starts it"]
async fn a_registration_that_died_over_its_second_step_makes_no_second_customer() {
    let (mongo, store) = mongodb().await;
    let half = half_registered(&mongo, "bob").await;
    customers::add(&mongo, customers::draft(customer_id(&half), profile(&half), None), None).await.unwrap();
    let settlers = (0..8).map(|_| users::settle(&mongo, half.clone()));
    assert!(join_all(settlers).await.into_iter().all(|settled| settled.unwrap().is_some()));
    assert_eq!(all(&store).await, (1, 1));
    assert_eq!(store.outbox_dump().await.unwrap().events.len(), 1);
}

#[tokio::test]
#[ignore = "needs SOUK_TEST_MONGODB_URL: ./test starts it"]
async fn a_registration_whose_address_is_taken_comes_to_one_end_however_late_somebody_is() {
    let (mongo, store) = mongodb().await;
    let half = half_registered(&mongo, "bob").await;
    // Another registration took the address before the second step.
    let other = customers::draft(CustomerId::new(), profile(&half), None);
    customers::add(&mongo, other.clone(), None).await.unwrap();
    let settlers = (0..8).map(|_| users::settle(&mongo, half.clone()));
    assert!(join_all(settlers).await.into_iter().all(|settled| settled.unwrap().is_none()));
    // He goes, and one who has slept since before the refusal wants to make the customer after all.
    store.anonymise_customer(&other.id, None).await.unwrap();
    assert!(users::settle(&mongo, half.clone()).await.unwrap().is_none());
    let late = customers::add(&mongo, customers::draft(customer_id(&half), profile(&half), None), None).await;
    assert_eq!(late.unwrap_err().duplicate(), Some("_id_"));
    assert_eq!(all(&store).await, (0, 0));
    assert!(store.customer(&customer_id(&half)).await.unwrap().is_none());
    assert_eq!(store.all_customers("").await.unwrap().len(), 1);
    user(&store, registering("bob", "bob@example.org")).await.unwrap();
    assert_eq!(all(&store).await, (1, 1));
}

#[tokio::test]
#[ignore = "needs SOUK_TEST_MONGODB_URL: ./test starts it"]
async fn an_anonymisation_that_died_is_finished() {
    let (mongo, store) = mongodb().await;
    let bob = user(&store, registering("bob", "bob@example.org")).await.unwrap();
    store.record_token("t", &bob.id, LATER).await.unwrap();
    let id = bob.customer_id.clone().unwrap();
    let whole = mongo.customers.clone_with_type().find_one(doc! { "_id": id.as_str() }).await.unwrap().unwrap();
    assert!(customers::mark_leaving(&mongo, whole, None).await.unwrap());
    // And again one step later: the user is gone, his tokens are not.
    mongo.customers.update_one(doc! {}, doc! { "$addToSet": { "leaving_users": bob.id.as_str() } }).await.unwrap();
    mongo.users.delete_one(doc! { "_id": bob.id.as_str() }).await.unwrap();
    assert!(store.revoked_tokens().await.unwrap().is_empty());
    assert_eq!(store.resume().await.unwrap(), 1);
    assert_eq!(store.revoked_tokens().await.unwrap(), [("t".to_owned(), LATER)]);
    assert_eq!(store.resume().await.unwrap(), 0);
    let kept: Document = mongo.customers.find_one(doc! {}).await.unwrap().unwrap();
    for gone in ["leaving", "leaving_users", "replies", "user_id", "email", "email_lower"] {
        assert!(!kept.contains_key(gone), "{gone}: {kept}");
    }
    assert!(!kept.to_string().contains("bob"), "{kept}");
}

#[tokio::test]
#[ignore = "needs SOUK_TEST_MONGODB_URL: ./test starts it"]
async fn a_user_who_names_a_customer_that_goes_meanwhile_is_not_left_behind() {
    let (mongo, store) = mongodb().await;
    let other = customers::draft(CustomerId::new(), Profile { name: Some("Carol".into()), ..Profile::default() }, None);
    customers::add(&mongo, other.clone(), None).await.unwrap();
    let mut new = staff("carol", "carol@example.org", &[Role::Customer]);
    new.customer_id = Some(other.id.clone());
    let (whole, _) = users::begin(&mongo, &new, None, crate::views::user_response).await.unwrap();
    store.anonymise_customer(&other.id, None).await.unwrap();
    mongo.users.insert_one(document(&whole).unwrap()).await.unwrap();
    assert!(users::settle(&mongo, whole).await.unwrap().is_none());
    assert_eq!(mongo.users.count_documents(doc! {}).await.unwrap(), 0);
}

#[tokio::test]
#[ignore = "needs SOUK_TEST_MONGODB_URL: ./test starts it"]
async fn tokens_end_after_other_roles_even_if_somebody_died_between() {
    let (mongo, store) = mongodb().await;
    let anna = user(&store, staff("anna", "anna@souk.example", &[Role::Clerk])).await.unwrap();
    store.record_token("t", &anna.id, LATER).await.unwrap();
    mongo.users.update_one(doc! {}, doc! { "$set": { "tokens_ending": true } }).await.unwrap();
    assert_eq!(store.resume().await.unwrap(), 1);
    assert_eq!(store.revoked_tokens().await.unwrap().len(), 1);
    assert_eq!(store.resume().await.unwrap(), 0);
}

#[tokio::test]
#[ignore = "needs SOUK_TEST_MONGODB_URL: ./test starts it"]
async fn a_mark_left_behind_does_not_keep_others_admin_for_ever_and_its_slow_maker_notices() {
    let (mongo, store) = mongodb().await;
    let anna = user(&store, staff("anna", "anna@souk.example", &[Role::Admin])).await.unwrap();
    let bert = user(&store, staff("bert", "bert@souk.example", &[Role::Admin])).await.unwrap();
    let mark = roles::mark(&mongo, &anna).await.unwrap().unwrap();
    let refused = store.set_roles(&bert.id, vec![Role::Clerk], vec![]).await;
    assert!(matches!(refused, Err(Error::LastAdmin)), "{refused:?}");
    let long_ago = Timestamp::now().minus(Duration::from_secs(60)).micros();
    let it = doc! { "_id": anna.id.as_str() };
    mongo.users.update_one(it.clone(), doc! { "$set": { "stepping_down.at": long_ago } }).await.unwrap();
    store.set_roles(&bert.id, vec![Role::Clerk], vec![]).await.unwrap();
    let marked = mongo.users.count_documents(doc! { "stepping_down.mark": mark }).await.unwrap();
    assert_eq!(marked, 0, "his last step finds nothing");
    assert!(matches!(store.set_roles(&anna.id, vec![Role::Clerk], vec![]).await, Err(Error::LastAdmin)));
}

#[tokio::test]
#[ignore = "needs SOUK_TEST_MONGODB_URL: ./test starts it"]
async fn what_is_old_is_forgotten_and_what_waits_is_not() {
    let (mongo, store) = mongodb().await;
    for name in ["bob", "eve"] {
        let new = registering(name, &format!("{name}@example.org"));
        store.create_user(new, Some(key("admin", name, "x")), crate::views::user_response).await.unwrap();
    }
    let waiting = super::relay::pending(&mongo, &(0..bus::outbox::SHARDS).collect::<Vec<_>>(), 9).await.unwrap();
    super::relay::mark(&mongo, &[waiting[0].id.clone()]).await.unwrap();
    store.record_token("old", &commerce::UserId::new(), 1_000).await.unwrap();
    store.record_token("new", &commerce::UserId::new(), LATER).await.unwrap();
    let (past, now) = (Timestamp::from_micros(2_000_000), Timestamp::now());
    for what in [Old::Events, Old::Replies] {
        assert_eq!(batch(&mongo, what, past).await.unwrap(), 0);
    }
    let soon = now.plus(Duration::from_secs(1));
    assert_eq!(batch(&mongo, Old::Events, soon).await.unwrap(), 1);
    assert_eq!(batch(&mongo, Old::Replies, soon).await.unwrap(), 2);
    assert!(batch(&mongo, Old::Tokens, soon).await.unwrap() <= 1, "the server's own index may have been quicker");
    assert_eq!(store.outbox_dump().await.unwrap().events.len(), 1);
    assert_eq!(mongo.tokens.count_documents(doc! {}).await.unwrap(), 1);
    let note = mongo.pruned.find_one(doc! { "_id": "outbox" }).await.unwrap().unwrap();
    assert_eq!(note.get_i64("before").unwrap(), soon.micros());
    // Arrays that have become empty are no keys that clash.
    assert_eq!(mongo.users.count_documents(doc! { "replies": { "$size": 0 } }).await.unwrap(), 2);
    let new = registering("bob2", "bob2@example.org");
    let again = store.create_user(new, Some(key("admin", "bob", "y")), crate::views::user_response).await.unwrap();
    assert!(again.0.is_some(), "a forgotten key is a new one");
}

#[tokio::test]
#[ignore = "needs SOUK_TEST_MONGODB_URL: ./test starts it"]
async fn the_schema_is_made_by_all_at_once_and_refuses_what_is_no_customer() {
    let (mongo, store) = mongodb().await;
    for prepared in join_all((0..4).map(|_| mongo.prepare())).await {
        prepared.unwrap();
    }
    for bad in [
        doc! { "_id": "a" },
        doc! { "_id": "a", "number": "1", "name": "x" },
        doc! { "_id": "a", "number": 0_i64, "name": "x", "search": "", "created_at": 1_i64, "updated_at": 1_i64, "version": 1_i64, "sequence": 1_i64, "shard": 0_i64 },
    ] {
        assert!(mongo.customers.insert_one(bad).await.is_err());
    }
    user(&store, staff("anna", "anna@souk.example", &[Role::Admin])).await.unwrap();
    for bad in [doc! { "roles": ["king"] }, doc! { "roles": Bson::Null }, doc! { "version": "2" }] {
        assert!(mongo.users.update_one(doc! {}, doc! { "$set": bad }).await.is_err());
    }
}

#[tokio::test]
#[ignore = "needs SOUK_TEST_MONGODB_URL: ./test starts it"]
async fn a_server_that_is_away_is_told_as_such_in_time() {
    let store = MongoStore::new("mongodb://127.0.0.1:9/?directConnection=true").await.unwrap();
    let begun = Instant::now();
    let failed = store.ping().await.unwrap_err();
    assert!(matches!(&failed, failure if failure.is_unavailable()), "{failed:?}");
    assert!(begun.elapsed() < Duration::from_secs(6), "{:?}", begun.elapsed());
}
