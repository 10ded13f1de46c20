//! What every adapter of the port must do: one set of tests, run on each.
//!
//! SQLite always; PostgreSQL and MongoDB on request, on the servers of `SOUK_TEST_POSTGRES_URL` and `SOUK_TEST_MONGODB_URL`.
//! Each test has a database of its own.

mod customers;
mod idempotency_keys;
mod outbox;
mod records;
mod tokens;
mod users;

use std::sync::Arc;

use auth::Role;
use commerce::CustomerId;
use commerce::page::PageRequest;
use futures::future::join_all;
use tempfile::TempDir;

use super::{Opened, Store, open};
use crate::domain::{Change, Credentials, Customer, NewCustomer, NewUser, Profile, User};
use crate::error::Error;
use idempotency::{Fingerprint, Key, KeyedRequest, StoredResponse};

/// A store of one test.
pub(crate) struct TestStore {
    url: String,
    opened: Opened,
    _folder: Option<TempDir>,
}

impl TestStore {
    async fn at(url: String, folder: Option<TempDir>) -> Self {
        Self { opened: open(&url, None).await.unwrap(), url, _folder: folder }
    }

    async fn sqlite() -> Self {
        let folder = tempfile::tempdir().unwrap();
        Self::at(format!("sqlite:{}", folder.path().join("customer.db").display()), Some(folder)).await
    }

    async fn postgres() -> Self {
        let server = testkit::server("SOUK_TEST_POSTGRES_URL");
        Self::at(testkit::database(&server, "customer").await.unwrap(), None).await
    }

    /// A fresh database of the server that the environment names.
    pub(crate) async fn mongodb() -> Self {
        Self::at(testkit::mongodb(&testkit::server("SOUK_TEST_MONGODB_URL"), "customer"), None).await
    }

    /// The service's store.
    pub(crate) fn store(&self) -> Arc<Store> {
        Arc::clone(&self.opened.store)
    }

    /// Where it is.
    pub(crate) fn url(&self) -> &str {
        &self.url
    }

    /// The stores of two replicas on the same database.
    async fn replicas(&self) -> [Arc<Store>; 2] {
        [self.store(), open(&self.url, None).await.unwrap().store]
    }
}

macro_rules! on_every_store {
    ($($module:ident: $($test:ident),+;)+) => {
        on_every_store!(@store sqlite, []; $($module: $($test),+;)+);
        on_every_store!(@store postgres, [#[ignore = "needs SOUK_TEST_POSTGRES_URL: ./test starts it"]]; $($module: $($test),+;)+);
        on_every_store!(@store mongodb, [#[ignore = "needs SOUK_TEST_MONGODB_URL: ./test starts it"]]; $($module: $($test),+;)+);
    };
    (@store $store:ident, $skip:tt; $($module:ident: $($test:ident),+;)+) => {
        mod $store {
            $(on_every_store!(@tests $store, $skip, $module; $($test),+);)+
        }
    };
    (@tests $store:ident, $skip:tt, $module:ident; $($test:ident),+) => {
        $(on_every_store!(@test $store, $skip, $module, $test);)+
    };
    (@test $store:ident, [$($skip:tt)*], $module:ident, $test:ident) => {
        #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
        $($skip)*
        async fn $test() {
            let test_store = super::TestStore::$store().await;
            super::$module::$test(&test_store).await;
            test_store.opened.store.close().await;
        }
    };
}

on_every_store! {
    customers:
        an_id_makes_one_customer_and_clashes_with_another_payload,
        one_of_many_who_want_an_address_gets_it,
        numbers_count_up_from_one_without_gaps,
        an_address_belongs_to_one_person,
        numbers_find_and_sort,
        a_change_wants_the_version_that_was_seen,
        a_change_that_changes_nothing_leaves_no_trace,
        changes_at_once_neither_lose_nor_double_an_event,
        lists_go_by_number_and_count,
        a_search_takes_every_sign_for_itself,
        anonymising_leaves_nothing_personal,
        an_anonymised_customer_stays_as_he_is,
        all_customers_are_read_once;
    records:
        a_prospect_is_kept_as_he_is,
        prospects_at_once_are_counted_and_a_key_makes_one,
        edits_at_once_neither_lose_nor_double_an_event,
        prospects_are_found_by_what_is_asked,
        a_deleted_prospect_leaves_nothing_personal,
        a_prospect_becomes_one_customer,
        an_event_makes_one_activity_for_ever,
        activities_are_found_by_day_and_prospect,
        what_is_told_of_all_kinds_waits_and_is_marked;
    users:
        of_many_who_register_under_one_name_or_address_one_does,
        who_registers_is_a_customer,
        a_user_may_be_a_customer_who_is_there,
        users_are_found_by_name_and_address_in_any_case,
        users_are_listed_by_id,
        other_roles_end_the_tokens,
        the_last_admin_stays,
        admins_who_demote_each_other_leave_one;
    idempotency_keys:
        a_key_gives_its_first_answer,
        copies_at_once_have_one_effect,
        a_user_by_key_is_made_once,
        keys_of_others_and_other_routes_are_other_keys,
        answers_about_somebody_go_with_him;
    tokens:
        tokens_end_one_by_one_or_all_of_a_user,
        an_expired_token_is_no_news,
        a_token_that_is_given_out_says_what_he_is_now,
        keys_come_newest_first,
        replicas_that_start_at_once_take_each_others_tokens,
        a_token_ended_by_one_replica_is_heard_of_by_the_other;
    outbox:
        events_wait_in_their_order_until_they_are_marked,
        shards_share_the_events,
        the_backlog_is_counted,
        a_lease_has_one_owner_until_it_runs_out,
        everything_told_is_there_for_the_auditor;
}

fn named(name: &str) -> Profile {
    Profile { name: Some(name.into()), ..Profile::default() }
}

fn with_email(name: &str, email: &str) -> Profile {
    Profile { email: Some(email.into()), ..named(name) }
}

fn new(profile: Profile) -> NewCustomer {
    NewCustomer { id: None, profile, created_from: "hash".into() }
}

fn render(customer: &Customer, created: bool) -> StoredResponse {
    StoredResponse {
        status: if created { 201 } else { 200 },
        body: customer.name().to_owned(),
        location: customer.id.as_str().to_owned(),
        etag: customer.version.to_string(),
    }
}

async fn make(store: &Store, profile: Profile) -> Result<CustomerId, Error> {
    let reply = store.create_customer(new(profile), None, render).await?;
    Ok(CustomerId::trusted(reply.location))
}

pub(crate) fn registering(username: &str, email: &str) -> NewUser {
    NewUser { with_customer: true, ..staff(username, email, &[Role::Customer]) }
}

pub(crate) fn staff(username: &str, email: &str, roles: &[Role]) -> NewUser {
    let credentials = Credentials { username: username.into(), email: email.into(), name: username.into() };
    NewUser {
        credentials,
        password_hash: "hash".into(),
        roles: roles.to_vec(),
        stores: Vec::new(),
        customer_id: None,
        with_customer: false,
    }
}

pub(crate) async fn user(store: &Store, new: NewUser) -> Result<User, Error> {
    Ok(store.create_user(new, None, crate::views::user_response).await?.0.unwrap())
}

pub(crate) fn key(subject: &str, key: &str, payload: &str) -> KeyedRequest {
    let key = Key { subject: subject.into(), route: "POST /here", key: key.into() };
    KeyedRequest { key, fingerprint: Fingerprint::of(&payload) }
}

fn phone(number: usize) -> Change {
    Change::Merge(serde_json::json!({"phone": format!("+49 {number:05}")}))
}

pub(crate) fn window<P>(after: Option<P>, limit: u32) -> PageRequest<P> {
    PageRequest { limit, after, offset: 0, page: None, include_total: true }
}

/// Does all at once, shared between the replicas; gives what worked and what did not.
async fn at_once<T, F>(
    stores: &[Arc<Store>],
    count: usize,
    work: impl Fn(Arc<Store>, usize) -> F,
) -> (Vec<T>, Vec<Error>)
where
    F: Future<Output = Result<T, Error>> + Send + 'static,
    T: Send + 'static,
{
    let all = (0..count).map(|n| tokio::spawn(work(Arc::clone(&stores[n % stores.len()]), n)));
    let (mut done, mut failed) = (Vec::new(), Vec::new());
    for outcome in join_all(all).await {
        match outcome.unwrap() {
            Ok(value) => done.push(value),
            Err(error) => failed.push(error),
        }
    }
    (done, failed)
}
