//! Tokens that are not to be believed.

use anyhow::{Context, Result};
use auth::{Issuer, NewToken, Role};
use base64::{Engine, prelude::BASE64_URL_SAFE_NO_PAD as BASE64};
use fleet_tests::{Fleet, eventually};
use jsonwebtoken::{Algorithm, EncodingKey, Header, encode};
use serde_json::{Value, json};

fn part(text: &str) -> Result<Value> {
    Ok(serde_json::from_slice(&BASE64.decode(text)?)?)
}

fn unpart(value: &Value) -> String {
    BASE64.encode(value.to_string())
}

/// Tokens made of a true one, each wrong in one way.
fn forgeries(good: &str) -> Result<Vec<(&'static str, String)>> {
    let parts: Vec<&str> = good.split('.').collect();
    let &[head, body, signature] = parts.as_slice() else { anyhow::bail!("{good} is no JWS") };
    let (header, claims) = (part(head)?, part(body)?);
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
    let stranger = Issuer::generate("souk")?;
    let own_key = EncodingKey::from_ec_der(stranger.pkcs8());
    let new = NewToken {
        subject: "me".into(),
        roles: vec![Role::Admin],
        stores: Vec::new(),
        customer_id: None,
        ttl_seconds: 600,
    };
    let mut bent = BASE64.decode(signature)?;
    bent[10] ^= 1;
    Ok(vec![
        ("no algorithm, no signature", format!("{}.{}.", unpart(&none), unpart(&admin))),
        ("no algorithm, old signature", format!("{}.{}.{signature}", unpart(&none), unpart(&admin))),
        ("other claims under the old signature", format!("{head}.{}.{signature}", unpart(&admin))),
        ("other header under the old signature", format!("{}.{body}.{signature}", unpart(&plain))),
        ("a critical extension", format!("{}.{body}.{signature}", unpart(&crit))),
        ("a bent signature", format!("{head}.{body}.{}", BASE64.encode(&bent))),
        ("no signature", format!("{head}.{body}.")),
        ("two parts", format!("{head}.{body}")),
        (
            "HS256 with the key's id as secret",
            encode(&headers(Algorithm::HS256), &admin, &EncodingKey::from_secret(kid.as_bytes()))?,
        ),
        ("a stranger's key", stranger.issue(new)?.token),
        ("a stranger's key under the true key's id", encode(&headers(Algorithm::ES256), &admin, &own_key)?),
        ("no token at all", "abc".into()),
        ("a very long one", "a".repeat(20_000)),
        ("dots", "...".into()),
    ])
}

#[tokio::test(flavor = "multi_thread")]
async fn a_forged_token_opens_nothing_on_any_service() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let fleet = Fleet::start(folder.path()).await?;
    let good = fleet.client("customer");
    good.get("/api/orders").await?.expect(200)?;
    for (what, token) in forgeries(good.token())? {
        let forger = fleet.nobody().with_token(&token);
        for path in ["/api/orders", "/api/users/me", "/api/stock/levels", "/api/notifications", "/api/payments"] {
            let answer = forger.get(path).await?;
            // A header of that size may be refused as such.
            if token.len() > 10_000 && answer.status == 431 {
                continue;
            }
            answer.problem(401).with_context(|| format!("{what} at {path}"))?;
            assert!(answer.header("www-authenticate").starts_with("Bearer"), "{what} at {path}");
        }
        let body = json!({"id": "forged", "name": "Forged", "price": 1});
        forger.post("/api/products", &body).await?.problem(401).with_context(|| what.to_owned())?;
    }
    fleet.nobody().get("/api/products/forged").await?.problem(404)?;
    // Other schemes are no tokens either.
    let basic = fleet.nobody().request(reqwest::Method::GET, "/api/orders").basic_auth("admin", Some("admin"));
    fleet.nobody().send(basic).await?.problem(401)?;
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_token_ends_with_its_time_and_with_logout() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let fleet = Fleet::start_with(folder.path(), &[("SOUK_CUSTOMER_TOKEN_TTL_SECONDS", "1")]).await?;
    let (short, _) = fleet.nobody().register("short-lived").await?;
    short.get("/api/users/me").await?.expect(200)?;
    eventually("the token has expired everywhere", || async {
        for path in ["/api/users/me", "/api/orders", "/api/notifications"] {
            let answer = short.get(path).await?;
            if answer.status == 200 {
                return Ok(None);
            }
            answer.problem(401)?;
        }
        Ok(Some(()))
    })
    .await?;
    let leaver = fleet.client("manager");
    leaver.get("/api/orders").await?.expect(200)?;
    let logout = leaver.request(reqwest::Method::POST, "/api/users/logout");
    assert_eq!(leaver.send(logout).await?.status, 204);
    leaver.get("/api/users/me").await?.problem(401)?;
    eventually("the token is revoked everywhere", || async {
        let answer = leaver.get("/api/orders").await?;
        Ok((answer.status == 401).then_some(()))
    })
    .await?;
    let wrong = json!({"username": "admin", "password": "not this one"});
    fleet.nobody().post("/api/users/login", &wrong).await?.problem(401)?;
    Ok(())
}
