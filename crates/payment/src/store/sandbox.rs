//! The data of the sandbox provider: balances of its customers, and the answered calls.

use std::collections::HashMap;

use commerce::{Amount, Timestamp};
use db::Tx;

use crate::{domain::Resolution, error::Error};

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

/// The answer to the call with this idempotency key.
pub(crate) async fn find_answer(tx: &mut Tx, key: &str) -> Result<Option<Resolution>, Error> {
    let row = db::query("select done, reason from sandbox_calls where key = $1").bind(key).fetch_optional(tx).await?;
    row.map(|row| match row.get::<i64>("done")? {
        0 => Ok(Resolution::Refused(row.get("reason")?)),
        _ => Ok(Resolution::Done),
    })
    .transpose()
}

/// Stores the answer to a call.
pub(crate) async fn store_answer(tx: &mut Tx, key: &str, resolution: &Resolution, at: Timestamp) -> Result<(), Error> {
    let (done, reason) = match resolution {
        Resolution::Done => (true, ""),
        Resolution::Refused(reason) => (false, reason.as_str()),
    };
    db::query("insert into sandbox_calls (key, done, reason, at) values ($1, $2, $3, $4)")
        .bind(key)
        .bind(done)
        .bind(reason)
        .bind(at.micros())
        .execute(tx)
        .await?;
    Ok(())
}
