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

/// The calls beside the operations that made them, for people: what moved money and no operation knows of, what was asked for another
/// amount or payer, and what was refused and is called done. What earlier versions called is left out: those calls have no request. Operations
/// of theirs that were resolved later have the key that they were asked under.
pub(crate) async fn contradicting_calls(tx: &mut Tx) -> Result<Vec<String>, Error> {
    let text = "select c.key, c.done, c.request, o.order_id, o.op, o.op_id
         from sandbox_calls c
           left join operations o on coalesce(o.provider_key, o.order_id || ':' || o.op || ':' || o.op_id) = c.key
           left join payments p on p.order_id = o.order_id
         where c.request is not null and case
           when o.op is null or o.outcome = 'refused' then c.done = 1
           when o.outcome = 'in_doubt' then 1 = 0
           when c.done = 0 then 1 = 1
           when o.op in ('authorize', 'refund') then c.request <>
             case o.op when 'authorize' then 'charge ' else 'refund ' end || o.amount || ' 0 ' || coalesce(p.customer_id, '')
           else 1 = 0 end";
    let rows = db::query(text).fetch_all(tx).await?;
    let tell = |row: &db::Row| {
        let (key, request): (String, String) = (row.get("key")?, row.get("request")?);
        let outcome = if row.get::<i64>("done")? == 0 { "refused" } else { "done" };
        let asked = match row.get::<Option<String>>("op")? {
            Some(op) => {
                let (order, op_id): (String, String) = (row.get("order_id")?, row.get("op_id")?);
                format!("which is not what {op} {op_id} of order {order} says")
            }
            None => "of which no operation knows".to_owned(),
        };
        Ok(format!("the provider has {outcome} {request:?} under the key {key}, {asked}"))
    };
    rows.iter().map(tell).collect()
}
