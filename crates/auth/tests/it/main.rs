//! Which tokens are accepted, and which are refused.

#![expect(clippy::unwrap_used, reason = "tests may panic")]

use std::sync::{Arc, Mutex};

use auth::{AdminOnly, Allow, AuthConfig, Caller, InternalKey, Issuer, LocalKeys, NewToken, Role, Verifier};
use axum::Router;
use axum::body::Body;
use axum::extract::FromRef;
use axum::routing::get;
use base64::Engine;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use chassis::{Json, Kind};
use jsonwebtoken::{Algorithm, EncodingKey, Header, encode};
use serde_json::{Value, json};
use tower::ServiceExt;

const ISSUER: &str = "http://customer.test";

fn now() -> i64 {
    chrono::Utc::now().timestamp()
}

fn good_claims() -> Value {
    json!({"iss": ISSUER, "aud": "souk", "sub": "u-1", "exp": now() + 600, "nbf": now(), "iat": now(), "jti": "j-1",
           "roles": ["manager"], "stores": ["berlin"]})
}

/// Always fetches the same key.
fn same_key(jwk: Value) -> auth::FetchKeys {
    Arc::new(move || {
        let jwks = vec![jwk.clone()];
        Box::pin(async move { Some(jwks) })
    })
}

struct TestIssuer {
    issuer: Issuer,
    internal: InternalKey,
    config: AuthConfig,
    revoked: Arc<Mutex<Vec<String>>>,
    verifier: Verifier,
}

impl TestIssuer {
    fn new() -> Self {
        let issuer = Issuer::generate(ISSUER).unwrap();
        let internal = InternalKey::generate().unwrap();
        let config = AuthConfig {
            issuer: ISSUER.into(),
            jwks_url: String::new(),
            internal_key: internal.to_secret(),
            trusted_issuers: Vec::new(),
        };
        let revoked: Arc<Mutex<Vec<String>>> = Arc::default();
        let seen = revoked.clone();
        let is_revoked = Arc::new(move |jti: &str| seen.lock().unwrap().iter().any(|known| known == jti));
        let local = LocalKeys { jwks: vec![issuer.jwk()], fetch: same_key(issuer.jwk()), is_revoked };
        let verifier = Verifier::with_local_keys(&config, &local).unwrap();
        Self { issuer, internal, config, revoked, verifier }
    }

    fn header(&self) -> Header {
        let mut header = Header::new(Algorithm::ES256);
        header.typ = Some("at+jwt".into());
        header.kid = Some(self.issuer.kid().into());
        header
    }

    /// Signs any claims with the issuer's key.
    fn sign(&self, header: &Header, claims: &Value) -> String {
        encode(header, claims, &EncodingKey::from_ec_der(self.issuer.pkcs8())).unwrap()
    }

    fn token(&self, roles: &[Role]) -> auth::Issued {
        let new = NewToken {
            subject: "u-1".into(),
            roles: roles.to_vec(),
            stores: vec!["berlin".into()],
            customer_id: Some("c-1".into()),
            ttl_seconds: 3600,
        };
        self.issuer.issue(new).unwrap()
    }

    async fn refuses(&self, what: &str, token: &str) {
        match self.verifier.verify(token).await {
            Ok(caller) => panic!("{what} is accepted: {caller:?}"),
            Err(problem) => assert_eq!(problem.kind(), Kind::Unauthenticated, "{what}: {problem}"),
        }
    }
}

#[tokio::test]
async fn a_valid_token_identifies_the_caller_until_it_is_revoked() {
    let test = TestIssuer::new();
    let issued = test.token(&[Role::Manager, Role::Customer]);
    let caller = test.verifier.verify(&issued.token).await.unwrap();
    assert_eq!((caller.subject.as_str(), caller.customer_id.as_deref()), ("u-1", Some("c-1")));
    assert!(caller.is_staff() && !caller.is_admin() && caller.may_act_in("berlin") && !caller.may_act_in("paris"));
    assert_eq!(caller.expires_at, issued.expires_at);

    test.revoked.lock().unwrap().push(issued.jti);
    test.refuses("a revoked token", &issued.token).await;
}

/// The valid token with a change.
fn forge(test: &TestIssuer, change: impl Fn(&mut Header, &mut Value)) -> String {
    let (mut header, mut claims) = (test.header(), good_claims());
    change(&mut header, &mut claims);
    test.sign(&header, &claims)
}

#[tokio::test]
async fn forged_signatures_and_headers_are_refused() {
    let test = TestIssuer::new();
    let (good, claims) = (test.header(), good_claims());
    let unchanged = forge(&test, |_, _| {});
    assert!(test.verifier.verify(&unchanged).await.is_ok(), "the unchanged token is valid");

    let part = |value: &Value| BASE64_URL_SAFE_NO_PAD.encode(value.to_string());
    let none = format!("{}.{}.", part(&json!({"alg": "none", "typ": "at+jwt"})), part(&claims));
    test.refuses("alg none", &none).await;

    let mut hs256 = Header::new(Algorithm::HS256);
    (hs256.typ, hs256.kid) = (good.typ.clone(), good.kid.clone());
    let jwk = test.issuer.jwk();
    for secret in [jwk["x"].as_str().unwrap().to_owned(), jwk.to_string()] {
        let token = encode(&hs256, &claims, &EncodingKey::from_secret(secret.as_bytes())).unwrap();
        test.refuses("HS256 with the public key", &token).await;
    }

    let other = Issuer::generate(ISSUER).unwrap();
    let stolen_kid = encode(&good, &claims, &EncodingKey::from_ec_der(other.pkcs8())).unwrap();
    test.refuses("another key under the known kid", &stolen_kid).await;
    let unknown_kid = forge(&test, |header, _| header.kid = Some(other.kid().into()));
    test.refuses("an unknown kid", &unknown_kid).await;

    test.refuses("wrong typ", &forge(&test, |header, _| header.typ = Some("JWT".into()))).await;
    test.refuses("no typ", &forge(&test, |header, _| header.typ = None)).await;
    test.refuses("no kid", &forge(&test, |header, _| header.kid = None)).await;
    test.refuses("critical extension", &forge(&test, |header, _| header.crit = Some(vec!["x".into()]))).await;
    for nonsense in ["", "a.b.c", "x", &"a".repeat(1 << 20), "ü.ü.ü"] {
        test.refuses("nonsense", nonsense).await;
    }
    let mut broken = unchanged.into_bytes();
    let middle = broken.len() / 2;
    broken[middle] ^= 1;
    test.refuses("a flipped bit", &String::from_utf8_lossy(&broken)).await;
}

#[tokio::test]
async fn claims_that_do_not_fit_are_refused_although_well_signed() {
    let test = TestIssuer::new();
    for (what, claim, value) in [
        ("wrong audience", "aud", json!("elsewhere")),
        ("other issuer", "iss", json!("http://evil.test")),
        ("internal issuer", "iss", json!("souk:internal")),
        ("expired", "exp", json!(now() - 60)),
        ("not yet valid", "nbf", json!(now() + 60)),
        ("from the future", "iat", json!(now() + 60)),
        ("no subject", "sub", json!("")),
        ("no id", "jti", json!("")),
        ("role service from the users' key", "roles", json!(["service"])),
        ("role service among others", "roles", json!(["admin", "service"])),
        ("acting for somebody", "act", json!({"sub": "u-2"})),
    ] {
        test.refuses(what, &forge(&test, |_, claims| claims[claim] = value.clone())).await;
    }
    for missing in ["exp", "nbf", "iat", "aud", "iss", "sub", "jti"] {
        let token = forge(&test, |_, claims| drop(claims.as_object_mut().unwrap().remove(missing)));
        test.refuses(missing, &token).await;
    }
}

#[tokio::test]
async fn only_the_fleets_key_grants_the_role_service() {
    let test = TestIssuer::new();
    let token = test.internal.clone().for_service("order").mint("u-7").unwrap();
    let caller = test.verifier.verify(&token).await.unwrap();
    assert!(caller.is_service() && !caller.is_staff());
    assert_eq!((caller.subject.as_str(), caller.actor().as_str()), ("order", "u-7"));
    assert_eq!(test.internal.mint("u-8").unwrap(), test.internal.mint("u-8").unwrap(), "the token is reused");

    test.refuses("another fleet's key", &InternalKey::generate().unwrap().mint("u-7").unwrap()).await;
    let without_key = Verifier::new(&AuthConfig {
        internal_key: chassis::Secret::default(),
        jwks_url: "http://127.0.0.1:9/".into(),
        ..test.config.clone()
    });
    assert_eq!(without_key.unwrap().verify(&token).await.unwrap_err().kind(), Kind::Unavailable);
    let bad = AuthConfig { internal_key: chassis::Secret::new("c2VjcmV0"), ..test.config };
    let err = Verifier::new(&bad).unwrap_err().to_string();
    assert!(err.contains("SOUK_INTERNAL_KEY") && !err.contains("c2VjcmV0"), "{err}");
}

#[tokio::test]
async fn changed_keys_of_the_issuer_are_fetched() {
    let (old, new) = (Issuer::generate(ISSUER).unwrap(), Issuer::generate(ISSUER).unwrap());
    let published = Arc::new(Mutex::new(vec![old.jwk()]));
    let (keys, requests) = (published.clone(), Arc::new(Mutex::new(0)));
    let counted = requests.clone();
    let app = Router::new()
        .route(
            "/.well-known/jwks.json",
            get(move || {
                *counted.lock().unwrap() += 1;
                let body = Json(json!({"keys": *keys.lock().unwrap()}));
                async move { body }
            }),
        )
        .route("/.well-known/revoked", get(|| async { Json(json!({"revoked": ["j-revoked"]})) }));
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}/.well-known/jwks.json", listener.local_addr().unwrap());
    tokio::spawn(async move { axum::serve(listener, app).await });
    let verifier =
        Verifier::new(&AuthConfig { issuer: ISSUER.into(), jwks_url: url, ..AuthConfig::default() }).unwrap();
    let token = |issuer: &Issuer, jti: &str| {
        let mut header = Header::new(Algorithm::ES256);
        (header.typ, header.kid) = (Some("at+jwt".into()), Some(issuer.kid().into()));
        let mut claims = good_claims();
        claims["jti"] = json!(jti);
        encode(&header, &claims, &EncodingKey::from_ec_der(issuer.pkcs8())).unwrap()
    };

    assert!(verifier.verify(&token(&old, "j-1")).await.is_ok());
    let refused = verifier.verify(&token(&old, "j-revoked")).await.unwrap_err();
    assert!(refused.detail().contains("revoked"), "{refused}");
    assert!(verifier.verify(&token(&new, "j-2")).await.is_err());
    assert_eq!(*requests.lock().unwrap(), 1, "unknown keys do not cause a request each");

    *published.lock().unwrap() = vec![new.jwk()];
    tokio::time::sleep(std::time::Duration::from_millis(2100)).await;
    assert!(verifier.verify(&token(&new, "j-2")).await.is_ok());
    let refused = verifier.verify(&token(&old, "j-3")).await.unwrap_err();
    assert_eq!(refused.kind(), Kind::Unauthenticated);
}

#[derive(Clone)]
struct State(Verifier);

impl FromRef<State> for Verifier {
    fn from_ref(state: &State) -> Self {
        state.0.clone()
    }
}

#[tokio::test]
async fn a_handler_declares_who_may_call_it() {
    let test = TestIssuer::new();
    let app = Router::new()
        .route("/me", get(|caller: Caller| async move { caller.subject }))
        .route("/admin", get(|caller: Allow<AdminOnly>| async move { caller.subject.clone() }))
        .with_state(State(test.verifier.clone()));
    let ask = |path: &str, header: Option<String>| {
        let mut request = http::Request::get(path);
        if let Some(header) = header {
            request = request.header("authorization", header);
        }
        let app = app.clone();
        let request = request.body(Body::empty()).unwrap();
        async move { app.oneshot(request).await.unwrap() }
    };
    let clerk = test.token(&[Role::Clerk]).token;
    let anonymous = ask("/me", None).await;
    assert_eq!(
        (anonymous.status().as_u16(), &anonymous.headers()["www-authenticate"]),
        (401, &"Bearer".parse().unwrap())
    );
    assert_eq!(ask("/me", Some(format!("Basic {clerk}"))).await.status(), 401);
    assert_eq!(ask("/me", Some(format!("bearer {clerk}"))).await.status(), 200);
    assert_eq!(ask("/admin", Some(format!("Bearer {clerk}"))).await.status(), 403);
    let admin = test.token(&[Role::Admin]).token;
    assert_eq!(ask("/admin", Some(format!("Bearer {admin}"))).await.status(), 200);
}
