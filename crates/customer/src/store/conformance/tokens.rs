//! Tokens and the keys that sign them.

use auth::{AuthConfig, Verifier};
use commerce::{Timestamp, UserId};

use super::*;
use crate::tokens::Tokens;

const LATER: i64 = 4_000_000_000;

pub(super) async fn tokens_end_one_by_one_or_all_of_a_user(test_store: &TestStore) {
    let store = test_store.store();
    let made = user(store.as_ref(), registering("bob", "bob@example.org")).await.unwrap();
    for jti in ["a", "b", "c"] {
        store.record_token(jti, &made.id, LATER).await.unwrap();
    }
    assert!(store.revoked_tokens().await.unwrap().is_empty());
    let other = user(store.as_ref(), registering("eve", "eve@example.org")).await.unwrap();
    store.record_token("e", &other.id, LATER).await.unwrap();
    assert_eq!(store.end_tokens(&other.id).await.unwrap(), ["e"]);
    assert!(store.end_tokens(&other.id).await.unwrap().is_empty());
    store.revoke_token("a", made.id.as_str(), LATER).await.unwrap();
    // One that this store never saw, as of another issuer before.
    store.revoke_token("x", "somebody", LATER).await.unwrap();
    store.revoke_token("a", made.id.as_str(), LATER).await.unwrap();
    let mut revoked = store.revoked_tokens().await.unwrap();
    revoked.sort_unstable();
    assert_eq!(revoked, ["a", "e", "x"].map(|jti| (jti.to_owned(), LATER)));
    let mut ended = store.anonymise_customer(made.customer_id.as_ref().unwrap(), None).await.unwrap();
    ended.sort_unstable();
    assert_eq!(ended, ["b", "c"], "those that had not ended yet");
    assert_eq!(store.revoked_tokens().await.unwrap().len(), 5);
}

pub(super) async fn an_expired_token_is_no_news(test_store: &TestStore) {
    let store = test_store.store();
    let now = Timestamp::now().micros() / 1_000_000;
    store.revoke_token("old", "u", now - 10).await.unwrap();
    store.revoke_token("new", "u", now + 100).await.unwrap();
    assert_eq!(store.revoked_tokens().await.unwrap(), [("new".to_owned(), now + 100)]);
}

pub(super) async fn keys_come_newest_first(test_store: &TestStore) {
    let store = test_store.store();
    assert!(store.signing_keys().await.unwrap().is_empty());
    for n in 1..=3 {
        store.add_signing_key(&format!("kid{n}"), &format!("key{n}")).await.unwrap();
    }
    assert_eq!(store.signing_keys().await.unwrap(), ["key3", "key2", "key1"]);
    assert!(store.add_signing_key("kid1", "another").await.is_err());
}

fn verifier(tokens: &Tokens) -> Verifier {
    let config = AuthConfig { issuer: "here".into(), ..AuthConfig::default() };
    Verifier::with_local_keys(&config, &tokens.local_keys()).unwrap()
}

pub(super) async fn replicas_that_start_at_once_take_each_others_tokens(test_store: &TestStore) {
    let [one, two] = test_store.replicas().await;
    let (one, two) = tokio::join!(Tokens::open(one, "here", 60), Tokens::open(two, "here", 60));
    let (one, two) = (one.unwrap(), two.unwrap());
    let verifiers = [verifier(&one), verifier(&two)];
    // A third one that made a key of its own, seen by the two only when they meet it.
    let issuer = auth::Issuer::generate("here").unwrap();
    let pkcs8 = base64::Engine::encode(&base64::prelude::BASE64_STANDARD, issuer.pkcs8());
    test_store.store().add_signing_key(issuer.kid(), &pkcs8).await.unwrap();
    let three = Tokens::open(test_store.store(), "here", 60).await.unwrap();
    let made = user(test_store.store().as_ref(), staff("anna", "a@souk.example", &[Role::Admin])).await.unwrap();
    for tokens in [&one, &two, &three] {
        let token = tokens.issue(made.clone()).await.unwrap().0.token;
        for verifier in &verifiers {
            assert_eq!(verifier.verify(&token).await.unwrap().subject, made.id.as_str());
        }
    }
    tokio::time::sleep(std::time::Duration::from_millis(300)).await;
    let kids = |jwks: Vec<serde_json::Value>| jwks.iter().map(|key| key["kid"].to_string()).collect::<Vec<_>>();
    assert_eq!(kids(one.jwks().await), kids(three.jwks().await));
    assert_eq!(kids(two.jwks().await), kids(three.jwks().await));
}

pub(super) async fn a_token_that_is_given_out_says_what_he_is_now(test_store: &TestStore) {
    let store = test_store.store();
    let tokens = Tokens::open(test_store.store(), "here", 60).await.unwrap();
    let before = user(store.as_ref(), registering("bob", "bob@example.org")).await.unwrap();
    store.set_roles(&before.id, vec![Role::Clerk], vec!["berlin".into()]).await.unwrap();
    let (issued, now) = tokens.issue(before.clone()).await.unwrap();
    let caller = verifier(&tokens).verify(&issued.token).await.unwrap();
    assert_eq!((caller.roles, now.roles.as_slice()), (vec![Role::Clerk], [Role::Clerk].as_slice()));
    store.anonymise_customer(before.customer_id.as_ref().unwrap(), None).await.unwrap();
    assert!(matches!(tokens.issue(now).await, Err(Error::BadLogin)));
}

pub(super) async fn a_token_ended_by_one_replica_is_heard_of_by_the_other(test_store: &TestStore) {
    let [one, two] = test_store.replicas().await;
    let (one, two) = (Tokens::open(one, "here", 60).await.unwrap(), Tokens::open(two, "here", 60).await.unwrap());
    let somebody = UserId::new();
    let new = auth::NewToken {
        subject: somebody.as_str().into(),
        roles: vec![Role::Clerk],
        stores: vec![],
        customer_id: None,
        ttl_seconds: 60,
    };
    let pkcs8 = &test_store.store().signing_keys().await.unwrap()[0];
    let pkcs8 = base64::Engine::decode(&base64::prelude::BASE64_STANDARD, pkcs8).unwrap();
    let token = auth::Issuer::from_pkcs8("here", &pkcs8).unwrap().issue(new).unwrap().token;
    let verifier = verifier(&two);
    let caller = verifier.verify(&token).await.unwrap();
    one.revoke(&caller).await.unwrap();
    two.follow_revoked().await.unwrap();
    assert!(verifier.verify(&token).await.is_err());
    assert_eq!(two.revoked(), [caller.jti]);
}
