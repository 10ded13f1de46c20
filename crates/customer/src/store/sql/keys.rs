//! Issued tokens and signing keys in SQL.

use commerce::Timestamp;
use db::{Tx, query};

use super::{Lock, SqlStore};
use crate::error::Error;

fn now_seconds() -> i64 {
    Timestamp::now().micros() / 1_000_000
}

pub(crate) async fn record_token(
    store: &SqlStore,
    jti: &str,
    user: &str,
    expires_at: i64,
    revoked: bool,
) -> Result<(), Error> {
    let mut tx = store.db.write().await?;
    // Serialises this with a revocation of all tokens of the user.
    Lock::User(user).take(&mut tx).await?;
    query(
        "insert into tokens (jti, user_id, expires_at, revoked) values ($1, $2, $3, $4) \
         on conflict (jti) do update set revoked = excluded.revoked",
    )
    .bind(jti)
    .bind(user)
    .bind(expires_at)
    .bind(revoked)
    .execute(&mut tx)
    .await?;
    tx.commit().await?;
    Ok(())
}

/// Revokes all tokens of a user and returns their ids.
pub(crate) async fn end_tokens(store: &SqlStore, user: &str) -> Result<Vec<String>, Error> {
    let mut tx = store.db.write().await?;
    let ended = end_tokens_in(&mut tx, user).await?;
    tx.commit().await?;
    Ok(ended)
}

pub(super) async fn end_tokens_in(tx: &mut Tx, user: &str) -> Result<Vec<String>, Error> {
    let rows = query("update tokens set revoked = 1 where user_id = $1 and revoked = 0 returning jti")
        .bind(user)
        .fetch_all(tx)
        .await?;
    rows.iter().map(|row| Ok(row.get("jti")?)).collect()
}

pub(crate) async fn revoked(store: &SqlStore) -> Result<Vec<(String, i64)>, Error> {
    let mut tx = store.db.read().await?;
    let rows = query("select jti, expires_at from tokens where revoked = 1 and expires_at >= $1")
        .bind(now_seconds())
        .fetch_all(&mut tx)
        .await?;
    rows.iter().map(|row| Ok((row.get("jti")?, row.get("expires_at")?))).collect()
}

pub(crate) async fn signing_keys(store: &SqlStore) -> Result<Vec<String>, Error> {
    let mut tx = store.db.read().await?;
    let rows = query("select pkcs8 from signing_keys order by created_at desc, kid").fetch_all(&mut tx).await?;
    rows.iter().map(|row| Ok(row.get("pkcs8")?)).collect()
}

pub(crate) async fn add_signing_key(store: &SqlStore, kid: &str, pkcs8: &str) -> Result<(), Error> {
    let mut tx = store.db.write().await?;
    query("insert into signing_keys (kid, pkcs8, created_at) values ($1, $2, $3)")
        .bind(kid)
        .bind(pkcs8)
        .bind(Timestamp::now().micros())
        .execute(&mut tx)
        .await?;
    tx.commit().await?;
    Ok(())
}
