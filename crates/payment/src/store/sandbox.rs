//! The data of the sandbox provider: balances of its customers, and the answered calls.

use std::collections::HashMap;

use commerce::{Amount, Timestamp};
use db::Tx;

use crate::{
    domain::{ProviderCall, Resolution},
    error::Error,
};

/// The balances of these customers, as far as they have ever changed.
pub(crate) async fn balances(tx: &mut Tx, customers: &[String]) -> Result<HashMap<String, Amount>, Error> {
    let rows = db::query("select customer_id, balance from sandbox_balances where customer_id in {list $1}")
        .list(customers)
        .fetch_all(tx)
        .await?;
    rows.iter().map(|row| Ok((row.get("customer_id")?, Amount::from_minor(row.get("balance")?)))).collect()
}

/// Saves balances.
pub(crate) async fn save_balances(tx: &mut Tx, balances: &[(&str, Amount)]) -> Result<(), Error> {
    let rows = balances.iter().map(|(customer, balance)| vec![(*customer).into(), balance.minor().into()]);
    db::insert("sandbox_balances", &["customer_id", "balance"], rows)
        .suffix("on conflict (customer_id) do update set balance = excluded.balance")
        .execute(tx)
        .await?;
    Ok(())
}

/// The answer to this call, or to any other one with its idempotency key: a refusal if that asked for something else.
pub(crate) async fn find_answer(tx: &mut Tx, call: &ProviderCall) -> Result<Option<Resolution>, Error> {
    let row = db::query("select done, reason, request from sandbox_calls where key = $1");
    let Some(row) = row.bind(call.key.as_str()).fetch_optional(tx).await? else { return Ok(None) };
    let request: Option<String> = row.get("request")?;
    if request.is_some_and(|request| request != call.parameters()) {
        tracing::error!(key = call.key, "a call was refused, since its idempotency key belongs to another call");
        return Ok(Some(Resolution::Refused("the idempotency key belongs to another call".into())));
    }
    Ok(Some(match row.get::<i64>("done")? {
        0 => Resolution::Refused(row.get("reason")?),
        _ => Resolution::Done,
    }))
}

/// Stores the answer to a call; `performed` unless its key was only invalidated.
pub(crate) async fn store_answer(
    tx: &mut Tx,
    call: &ProviderCall,
    performed: bool,
    resolution: &Resolution,
    at: Timestamp,
) -> Result<(), Error> {
    let (done, reason) = match resolution {
        Resolution::Done => (true, ""),
        Resolution::Refused(reason) => (false, reason.as_str()),
    };
    db::query("insert into sandbox_calls (key, done, reason, at, request) values ($1, $2, $3, $4, $5)")
        .bind(call.key.as_str())
        .bind(done)
        .bind(reason)
        .bind(at.micros())
        .bind(performed.then(|| call.parameters()))
        .execute(tx)
        .await?;
    Ok(())
}

/// The calls that moved money, and of which no operation knows, for people. What earlier versions called is left out: their
/// operations have no key.
pub(crate) async fn unknown_calls(tx: &mut Tx) -> Result<Vec<String>, Error> {
    let text = "select key, request from sandbox_calls where done = 1 and request is not null and not exists (
           select 1 from operations where provider_key = sandbox_calls.key and outcome in ('done', 'in_doubt')
         )";
    let rows = db::query(text).fetch_all(tx).await?;
    let tell = |row: &db::Row| {
        let (key, request): (String, String) = (row.get("key")?, row.get("request")?);
        Ok(format!("the provider has done {request:?} under the key {key}, of which no operation knows"))
    };
    rows.iter().map(tell).collect()
}
