//! Invalid tokens: forged, expired and revoked.

use anyhow::{Context, Result};
use auth::{Issuer, NewToken, Role};
use base64::{Engine, prelude::BASE64_URL_SAFE_NO_PAD as BASE64};
use fleet_tests::{Fleet, eventually};
use jsonwebtoken::{Algorithm, EncodingKey, Header, encode};
use serde_json::{Value, json};

fn decode(text: &str) -> Result<Value> {
    Ok(serde_json::from_slice(&BASE64.decode(text)?)?)
}

fn encode_part(value: &Value) -> String {
    BASE64.encode(value.to_string())
}

/// Tokens derived from a valid one, each invalid in one way.
fn forged_tokens(valid: &str) -> Result<Vec<(&'static str, String)>> {
    let parts: Vec<&str> = valid.split('.').collect();
    let &[head, body, signature] = parts.as_slice() else { anyhow::bail!("{valid} is not a JWS") };
    let (header, claims) = (decode(head)?, decode(body)?);
    let kid = header["kid"].as_str().context("a kid")?.to_owned();
    let mut admin = claims;
    admin["roles"] = json!(["admin"]);
    let mut none = header.clone();
    none["alg"] = json!("none");
    let mut plain = header.clone();
    plain["typ"] = json!("JWT");
    let mut crit = header;
    crit["crit"] = json!(["b64"]);
    let headers = |algorithm: Algorithm| {
        let mut made = Header::new(algorithm);
        (made.typ, made.kid) = (Some("at+jwt".into()), Some(kid.clone()));
        made
    };
    let foreign = Issuer::generate("souk")?;
    let foreign_key = EncodingKey::from_ec_der(foreign.pkcs8());
    let new = NewToken {
        subject: "me".into(),
        roles: vec![Role::Admin],
        stores: Vec::new(),
        customer_id: None,
        ttl_seconds: 600,
    };
    let mut changed = BASE64.decode(signature)?;
    changed[10] ^= 1;
    Ok(vec![
        ("no algorithm, no signature", format!("{}.{}.", encode_part(&none), encode_part(&admin))),
        ("no algorithm, old signature", format!("{}.{}.{signature}", encode_part(&none), encode_part(&admin))),
        ("other claims under the old signature", format!("{head}.{}.{signature}", encode_part(&admin))),
        ("other header under the old signature", format!("{}.{body}.{signature}", encode_part(&plain))),
        ("a critical extension", format!("{}.{body}.{signature}", encode_part(&crit))),
        ("a changed signature", format!("{head}.{body}.{}", BASE64.encode(&changed))),
        ("no signature", format!("{head}.{body}.")),
        ("two parts", format!("{head}.{body}")),
        (
            "HS256 with the key's id as secret",
            encode(&headers(Algorithm::HS256), &admin, &EncodingKey::from_secret(kid.as_bytes()))?,
        ),
        ("a foreign key", foreign.issue(new)?.token),
        ("a foreign key with the valid key's id", encode(&headers(Algorithm::ES256), &admin, &foreign_key)?),
        ("no token at all", "abc".into()),
        ("a very long one", "a".repeat(20_000)),
        ("dots", "...".into()),
    ])
}

#[tokio::test(flavor = "multi_thread")]
async fn every_service_refuses_forged_tokens() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let fleet = Fleet::start(folder.path()).await?;
    let valid = fleet.client("customer");
    valid.get("/api/orders").await?.expect(200)?;
    for (what, token) in forged_tokens(valid.token())? {
        let client = fleet.anonymous().with_token(&token);
        for path in ["/api/orders", "/api/users/me", "/api/stock/levels", "/api/notifications", "/api/payments"] {
            let response = client.get(path).await?;
            // A header of this size may be refused for its size.
            if token.len() > 10_000 && response.status == 431 {
                continue;
            }
            response.problem(401).with_context(|| format!("{what} at {path}"))?;
            assert!(response.header("www-authenticate").starts_with("Bearer"), "{what} at {path}");
        }
        let body = json!({"id": "forged", "name": "Forged", "price": 1});
        client.post("/api/products", &body).await?.problem(401).with_context(|| what.to_owned())?;
    }
    fleet.anonymous().get("/api/products/forged").await?.problem(404)?;
    // Other authentication schemes are refused too.
    let basic = fleet.anonymous().request(reqwest::Method::GET, "/api/orders").basic_auth("admin", Some("admin"));
    fleet.anonymous().send(basic).await?.problem(401)?;
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_token_is_invalid_after_its_expiry_and_after_logout() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let fleet = Fleet::start_with(folder.path(), &[("SOUK_CUSTOMER_TOKEN_TTL_SECONDS", "1")]).await?;
    let (short, _) = fleet.anonymous().register("short-lived").await?;
    short.get("/api/users/me").await?.expect(200)?;
    eventually("the token has expired everywhere", || async {
        for path in ["/api/users/me", "/api/orders", "/api/notifications"] {
            let response = short.get(path).await?;
            if response.status == 200 {
                return Ok(None);
            }
            response.problem(401)?;
        }
        Ok(Some(()))
    })
    .await?;
    let manager = fleet.client("manager");
    manager.get("/api/orders").await?.expect(200)?;
    let logout = manager.request(reqwest::Method::POST, "/api/users/logout");
    assert_eq!(manager.send(logout).await?.status, 204);
    manager.get("/api/users/me").await?.problem(401)?;
    eventually("the token is revoked everywhere", || async {
        let response = manager.get("/api/orders").await?;
        Ok((response.status == 401).then_some(()))
    })
    .await?;
    let wrong = json!({"username": "admin", "password": "not this one"});
    fleet.anonymous().post("/api/users/login", &wrong).await?.problem(401)?;
    Ok(())
}
