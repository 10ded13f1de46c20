//! Tests of foreign tokens, against an issuer that the test serves.

use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use aws_lc_rs::encoding::AsDer;
use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::rsa::KeySize;
use aws_lc_rs::signature::{Ed25519KeyPair, KeyPair, RsaKeyPair};
use axum::http::StatusCode;
use axum::routing::get;
use axum::{Json, Router};
use jsonwebtoken::{Algorithm, EncodingKey, Header, encode};
use serde_json::{Value, json};

use super::*;
use crate::{AuthConfig, Caller, InternalKey, Role, Verifier};

/// A key of the fake issuer.
struct Signer {
    kid: &'static str,
    alg: Algorithm,
    key: EncodingKey,
    jwk: Value,
}

fn encoded(bytes: &[u8]) -> String {
    BASE64_URL_SAFE_NO_PAD.encode(bytes)
}

/// Offset of the PKCS#1 key, which the signer requires, in a PKCS#8 document of a 2048-bit key.
const PKCS1_OFFSET: usize = 26;

impl Signer {
    fn rsa(kid: &'static str) -> Self {
        let pair = RsaKeyPair::generate(KeySize::Rsa2048).unwrap();
        let der = pair.as_der().unwrap();
        let public = pair.public_key();
        let (n, e) = (public.modulus(), public.exponent());
        let (n, e) = (encoded(n.big_endian_without_leading_zero()), encoded(e.big_endian_without_leading_zero()));
        let jwk = json!({"kty": "RSA", "use": "sig", "alg": "RS256", "kid": kid, "n": n, "e": e});
        let key = EncodingKey::from_rsa_der(&der.as_ref()[PKCS1_OFFSET..]);
        Self { kid, alg: Algorithm::RS256, key, jwk }
    }

    fn p256(kid: &'static str) -> Self {
        let issuer = crate::Issuer::generate("x").unwrap();
        let mut jwk = issuer.jwk();
        jwk["kid"] = json!(kid);
        Self { kid, alg: Algorithm::ES256, key: EncodingKey::from_ec_der(issuer.pkcs8()), jwk }
    }

    fn ed25519(kid: &'static str) -> Self {
        let document = Ed25519KeyPair::generate_pkcs8(&SystemRandom::new()).unwrap();
        let pair = Ed25519KeyPair::from_pkcs8(document.as_ref()).unwrap();
        let jwk = json!({"kty": "OKP", "crv": "Ed25519", "kid": kid, "x": encoded(pair.public_key().as_ref())});
        Self { kid, alg: Algorithm::EdDSA, key: EncodingKey::from_ed_der(document.as_ref()), jwk }
    }

    fn header(&self) -> Header {
        let mut header = Header::new(self.alg);
        header.kid = Some(self.kid.into());
        header
    }

    fn sign(&self, claims: &Value) -> String {
        encode(&self.header(), claims, &self.key).unwrap()
    }
}

#[derive(Default)]
struct Served {
    keys: Mutex<Vec<Value>>,
    /// The issuer in its discovery document; its own URL if empty.
    issuer_name: Mutex<String>,
    is_unreachable: Mutex<bool>,
    discoveries: AtomicUsize,
    key_requests: AtomicUsize,
}

/// A fake of Keycloak on a local port.
struct FakeIssuer {
    url: String,
    served: Arc<Served>,
}

impl FakeIssuer {
    async fn start(keys: &[&Signer]) -> Self {
        let served = Arc::new(Served::default());
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}/realms/EventProspect", listener.local_addr().unwrap());
        let (name, describing, giving) = (url.clone(), served.clone(), served.clone());
        let described = move || {
            describing.discoveries.fetch_add(1, Ordering::SeqCst);
            let own = describing.issuer_name.lock().unwrap().clone();
            let issuer = if own.is_empty() { name.clone() } else { own };
            let body = json!({"issuer": issuer, "jwks_uri": format!("{name}/certs"), "token_endpoint": "x"});
            let unreachable = *describing.is_unreachable.lock().unwrap();
            async move { if unreachable { Err(StatusCode::BAD_GATEWAY) } else { Ok(Json(body)) } }
        };
        let certs = move || {
            giving.key_requests.fetch_add(1, Ordering::SeqCst);
            let body = json!({"keys": *giving.keys.lock().unwrap()});
            let unreachable = *giving.is_unreachable.lock().unwrap();
            async move { if unreachable { Err(StatusCode::BAD_GATEWAY) } else { Ok(Json(body)) } }
        };
        let app = Router::new()
            .route("/realms/EventProspect/.well-known/openid-configuration", get(described))
            .route("/realms/EventProspect/certs", get(certs));
        tokio::spawn(async move { axum::serve(listener, app).await });
        let fake = Self { url, served };
        fake.publish(keys);
        fake
    }

    fn publish(&self, keys: &[&Signer]) {
        *self.served.keys.lock().unwrap() = keys.iter().map(|key| key.jwk.clone()).collect();
    }

    fn set_unreachable(&self, unreachable: bool) {
        *self.served.is_unreachable.lock().unwrap() = unreachable;
    }

    fn key_requests(&self) -> usize {
        self.served.key_requests.load(Ordering::SeqCst)
    }

    fn settings(&self) -> TrustedIssuer {
        let map = [("boss".to_owned(), Role::Admin), ("seller".to_owned(), Role::Clerk)];
        TrustedIssuer {
            alias: Some("keycloak".into()),
            audience: Some("event-prospect".into()),
            role_map: map.into_iter().collect(),
            ..TrustedIssuer::named(&self.url)
        }
    }

    fn issuers(&self) -> ForeignIssuers {
        self.issuers_with(self.settings())
    }

    fn issuers_with(&self, settings: TrustedIssuer) -> ForeignIssuers {
        let policy = RefreshPolicy { min_interval: Duration::from_millis(80), ..RefreshPolicy::DEFAULT };
        ForeignIssuers::with_policy(&[settings], None, policy).unwrap()
    }

    /// The claims that Keycloak issues by default: the client is in `azp`, not in `aud`.
    fn claims(&self) -> Value {
        json!({"iss": self.url, "aud": "account", "azp": "event-prospect", "sub": "f3b1", "typ": "Bearer",
               "exp": now() + 300, "iat": now(), "jti": "t-1", "email": "eve@example.org",
               "preferred_username": "eve", "realm_access": {"roles": ["seller", "offline_access"]}})
    }

    fn with(&self, claim: &str, value: Value) -> Value {
        let mut claims = self.claims();
        claims[claim] = value;
        claims
    }
}

async fn refused(issuers: &ForeignIssuers, what: &str, token: &str) {
    match issuers.verify(token).await {
        Err(ForeignError::Refused(_)) => {}
        other => panic!("{what}: {other:?}"),
    }
}

#[tokio::test]
async fn a_valid_token_gives_a_caller_with_a_prefixed_subject() {
    let signers = [Signer::rsa("r"), Signer::p256("e"), Signer::ed25519("d")];
    let fake = FakeIssuer::start(&[&signers[0], &signers[1], &signers[2]]).await;
    let issuers = fake.issuers();
    for signer in &signers {
        let foreign = issuers.verify(&signer.sign(&fake.claims())).await.unwrap();
        let Caller { subject, roles, stores, customer_id, act, .. } = foreign.caller;
        assert_eq!((subject.as_str(), roles.as_slice(), stores.len()), ("keycloak|f3b1", &[Role::Clerk][..], 0));
        assert_eq!((customer_id, act, foreign.sub.as_str()), (None, None, "f3b1"));
        assert_eq!(foreign.email.as_deref(), Some("eve@example.org"));
        assert_eq!(foreign.preferred_username.as_deref(), Some("eve"));
        assert_eq!(foreign.claims["realm_access"]["roles"][1], "offline_access");
    }
    assert_eq!((fake.served.discoveries.load(Ordering::SeqCst), fake.key_requests()), (1, 1), "fetched once");

    let mut ps256 = Signer::rsa("p");
    (ps256.alg, ps256.jwk["alg"]) = (Algorithm::PS256, json!("PS256"));
    fake.publish(&[&ps256]);
    let issuers = fake.issuers_with(TrustedIssuer { alias: None, ..fake.settings() });
    let foreign = issuers.verify(&ps256.sign(&fake.claims())).await.unwrap();
    let host = fake.url.trim_start_matches("http://").split('/').next().unwrap();
    assert_eq!(foreign.caller.subject, format!("{host}|f3b1"));
    let mut no_kid = ps256.header();
    no_kid.kid = None;
    let token = encode(&no_kid, &fake.claims(), &ps256.key).unwrap();
    assert!(issuers.verify(&token).await.is_ok(), "only one key fits");
}

#[tokio::test]
async fn claims_that_do_not_fit_are_refused_although_well_signed() {
    let signer = Signer::rsa("r");
    let fake = FakeIssuer::start(&[&signer]).await;
    let issuers = fake.issuers();
    assert!(issuers.verify(&signer.sign(&fake.with("aud", json!(["x", "event-prospect"])))).await.is_ok());
    for (what, claim, value) in [
        ("wrong audience", "azp", json!("another-client")),
        ("expired", "exp", json!(now() - 60)),
        ("no end that can be read", "exp", json!("soon")),
        ("not yet valid", "nbf", json!(now() + 60)),
        ("from the future", "iat", json!(now() + 60)),
        ("no subject", "sub", json!("")),
        ("a subject of two lines", "sub", json!("a\nb")),
        ("a subject that is too long", "sub", json!("a".repeat(256))),
        ("an ID token of Keycloak", "typ", json!("ID")),
        ("an ID token", "at_hash", json!("x")),
        ("bound to a key", "cnf", json!({"jkt": "x"})),
    ] {
        refused(&issuers, what, &signer.sign(&fake.with(claim, value))).await;
    }
    for missing in ["exp", "sub"] {
        let mut claims = fake.claims();
        claims.as_object_mut().unwrap().remove(missing);
        refused(&issuers, missing, &signer.sign(&claims)).await;
    }
    let unasked = fake.issuers_with(TrustedIssuer { audience: None, ..fake.settings() });
    assert!(unasked.verify(&signer.sign(&fake.with("azp", json!("another")))).await.is_ok());
}

#[tokio::test]
async fn forged_signatures_and_headers_are_refused() {
    let (rsa, p256) = (Signer::rsa("r"), Signer::p256("e"));
    let fake = FakeIssuer::start(&[&rsa, &p256]).await;
    let issuers = fake.issuers();
    let claims = fake.claims();
    let part = |value: &Value| encoded(value.to_string().as_bytes());
    let none = format!("{}.{}.", part(&json!({"alg": "none"})), part(&claims));
    refused(&issuers, "alg none", &none).await;
    let none = format!("{}.{}.", part(&json!({"alg": "None", "kid": "r"})), part(&claims));
    refused(&issuers, "alg None", &none).await;

    let mut hs256 = Header::new(Algorithm::HS256);
    hs256.kid = Some("r".into());
    for public in [rsa.jwk.to_string(), rsa.jwk["n"].as_str().unwrap().to_owned()] {
        let token = encode(&hs256, &claims, &EncodingKey::from_secret(public.as_bytes())).unwrap();
        refused(&issuers, "HS256 with the public key", &token).await;
    }
    let mut crossed = p256.header();
    crossed.kid = Some("r".into());
    refused(&issuers, "ES256 under the RSA key's id", &encode(&crossed, &claims, &p256.key).unwrap()).await;
    let mut other = rsa.header();
    other.alg = Algorithm::PS256;
    refused(&issuers, "PS256 by a key for RS256", &encode(&other, &claims, &rsa.key).unwrap()).await;
    other.alg = Algorithm::RS512;
    refused(&issuers, "an algorithm that is not taken", &encode(&other, &claims, &rsa.key).unwrap()).await;
    let mut logout = rsa.header();
    logout.typ = Some("logout+jwt".into());
    refused(&issuers, "a logout token", &encode(&logout, &claims, &rsa.key).unwrap()).await;
    let mut critical = rsa.header();
    critical.crit = Some(vec!["x".into()]);
    refused(&issuers, "a critical extension", &encode(&critical, &claims, &rsa.key).unwrap()).await;
    let stolen = Signer { jwk: Value::Null, ..Signer::rsa("r") };
    refused(&issuers, "another key under the known id", &stolen.sign(&claims)).await;

    for (what, token) in [
        ("another issuer", rsa.sign(&fake.with("iss", json!("http://evil.test")))),
        ("nearly the issuer", rsa.sign(&fake.with("iss", json!(format!("{}/", fake.url))))),
        ("nonsense", "a.b.c".to_owned()),
        ("nothing", String::new()),
    ] {
        assert_eq!(issuers.verify(&token).await, Err(ForeignError::UnknownIssuer), "{what}");
    }
    refused(&issuers, "a megabyte", &rsa.sign(&fake.with("x", json!("a".repeat(1 << 20))))).await;
}

#[tokio::test]
async fn changed_keys_are_fetched_and_invalid_tokens_do_not_flood_the_issuer() {
    let (old, new) = (Signer::rsa("old"), Signer::rsa("new"));
    let fake = FakeIssuer::start(&[&old]).await;
    let issuers = fake.issuers();
    assert!(issuers.verify(&old.sign(&fake.claims())).await.is_ok());
    for n in 0..50 {
        let mut header = new.header();
        header.kid = Some(format!("garbage-{n}"));
        let garbage = encode(&header, &fake.claims(), &new.key).unwrap();
        refused(&issuers, "garbage", &garbage).await;
    }
    assert!(fake.key_requests() <= 3, "{} requests", fake.key_requests());

    fake.publish(&[&new]);
    tokio::time::sleep(Duration::from_millis(100)).await;
    assert!(issuers.verify(&new.sign(&fake.claims())).await.is_ok(), "fetched without a restart");
    refused(&issuers, "a removed key", &old.sign(&fake.claims())).await;

    let policy =
        RefreshPolicy { max_age: Duration::from_millis(50), min_interval: Duration::ZERO, ..RefreshPolicy::DEFAULT };
    let aging = ForeignIssuers::with_policy(&[fake.settings()], None, policy).unwrap();
    assert!(aging.verify(&new.sign(&fake.claims())).await.is_ok());
    fake.publish(&[&old]);
    tokio::time::sleep(Duration::from_millis(60)).await;
    refused(&aging, "a known key that was removed", &new.sign(&fake.claims())).await;
}

#[tokio::test]
async fn while_the_issuer_is_unreachable_known_keys_stay_valid_and_others_are_unavailable() {
    let (known, other) = (Signer::rsa("known"), Signer::rsa("other"));
    let fake = FakeIssuer::start(&[&known, &other]).await;
    fake.set_unreachable(true);
    let policy = RefreshPolicy {
        max_age: Duration::from_millis(50),
        min_interval: Duration::from_millis(20),
        ..RefreshPolicy::DEFAULT
    };
    let issuers = ForeignIssuers::with_policy(&[fake.settings()], None, policy).unwrap();
    let token = known.sign(&fake.claims());
    assert_eq!(issuers.verify(&token).await, Err(ForeignError::Away));
    let problem = Problem::from(ForeignError::Away);
    assert_eq!(problem.kind(), Kind::Unavailable);
    fake.set_unreachable(false);
    fake.publish(&[&known]);
    tokio::time::sleep(Duration::from_millis(30)).await;
    assert!(issuers.verify(&token).await.is_ok());
    fake.set_unreachable(true);
    tokio::time::sleep(Duration::from_millis(60)).await;
    assert!(issuers.verify(&token).await.is_ok(), "known keys stay valid, however old");
    assert_eq!(issuers.verify(&other.sign(&fake.claims())).await, Err(ForeignError::Away));

    let nowhere = TrustedIssuer { alias: Some("nowhere".into()), ..TrustedIssuer::named("http://127.0.0.1:9") };
    let issuers = fake.issuers_with(nowhere);
    let token = known.sign(&fake.with("iss", json!("http://127.0.0.1:9")));
    assert_eq!(issuers.verify(&token).await, Err(ForeignError::Away));
}

#[tokio::test]
async fn a_discovery_document_of_another_issuer_gives_no_keys() {
    let signer = Signer::rsa("r");
    let fake = FakeIssuer::start(&[&signer]).await;
    *fake.served.issuer_name.lock().unwrap() = "http://another.example".into();
    assert_eq!(fake.issuers().verify(&signer.sign(&fake.claims())).await, Err(ForeignError::Away));
    assert_eq!(fake.key_requests(), 0);
    // Reached at another address than its name, which its discovery document confirms.
    let settings = TrustedIssuer {
        issuer: "http://another.example".into(),
        discovery_url: Some(format!("{}/.well-known/openid-configuration", fake.url)),
        ..fake.settings()
    };
    let issuers = fake.issuers_with(settings);
    assert!(issuers.verify(&signer.sign(&fake.with("iss", json!("http://another.example")))).await.is_ok());
}

#[tokio::test]
async fn a_service_accepts_both_and_confuses_no_callers() {
    let signer = Signer::rsa("r");
    let fake = FakeIssuer::start(&[&signer]).await;
    let internal = InternalKey::generate().unwrap();
    let config = AuthConfig {
        issuer: "souk".into(),
        internal_key: internal.to_secret(),
        jwks_url: "http://127.0.0.1:9/".into(),
        trusted_issuers: vec![fake.settings()],
    };
    let verifier = Verifier::new(&config).unwrap();
    let caller = verifier.verify(&signer.sign(&fake.claims())).await.unwrap();
    assert_eq!((caller.subject.as_str(), caller.is_staff(), caller.is_foreign()), ("keycloak|f3b1", true, true));
    assert!(verifier.verify(&internal.mint("keycloak|f3b1").unwrap()).await.unwrap().is_service());
    let own_name = TrustedIssuer { issuer: "souk".into(), ..fake.settings() };
    assert!(Verifier::new(&AuthConfig { trusted_issuers: vec![own_name], ..config.clone() }).is_err());
    let service = signer.sign(&fake.with("realm_access", json!({"roles": ["service", "admin"]})));
    assert!(verifier.verify(&service).await.unwrap().roles.is_empty(), "unmapped roles are ignored");
    let without = Verifier::new(&AuthConfig { trusted_issuers: Vec::new(), ..config }).unwrap();
    assert_eq!(without.verify(&signer.sign(&fake.claims())).await.unwrap_err().kind(), Kind::Unauthenticated);
}

#[test]
fn invalid_settings_are_refused() {
    let read = |value: Value| serde_json::from_value::<Vec<TrustedIssuer>>(value);
    let least = read(json!([{"issuer": "https://kc.example/realms/a", "role_map": {"boss": "admin"}}])).unwrap();
    assert_eq!(serde_json::from_value::<Vec<TrustedIssuer>>(serde_json::to_value(&least).unwrap()).unwrap(), least);
    assert!(ForeignIssuers::new(&least, None).is_ok());
    for bad in [
        json!([{"issuer": "https://kc.example", "algorithms": ["HS256"]}]),
        json!([{"issuer": "https://kc.example", "algorithms": ["none"]}]),
        json!([{"issuer": "https://kc.example", "role_map": {"x": "king"}}]),
        json!([{"issuer": "https://kc.example", "rolemap": {}}]),
        json!([{}]),
    ] {
        assert!(read(bad.clone()).is_err(), "{bad}");
    }
    for (bad, why) in [
        (json!([{"issuer": "kc.example"}]), "URL"),
        (json!([{"issuer": "https://kc.example", "alias": "a|b"}]), "alias"),
        (json!([{"issuer": "https://kc.example", "algorithms": []}]), "algorithms"),
        (json!([{"issuer": "https://kc.example", "role_map": {"x": "service"}}]), "service"),
        (json!([{"issuer": "https://kc.example", "leeway": 3600}]), "leeway"),
        (json!([{"issuer": "https://kc.example"}, {"issuer": "https://kc.example"}]), "twice"),
        (json!([{"issuer": "https://kc.example/a"}, {"issuer": "https://kc.example/b"}]), "alias"),
    ] {
        let error = ForeignIssuers::new(&read(bad).unwrap(), None).unwrap_err().to_string();
        assert!(error.contains(why) && error.contains("SOUK_TRUSTED_ISSUERS"), "{error}");
    }
}
