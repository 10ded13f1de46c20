//! Orders that are withdrawn unless they are acknowledged, and orders that are withdrawn.

use std::{
    collections::{HashMap, HashSet},
    ops::RangeInclusive,
};

use commerce::{OrderId, Timestamp};
use db::{Result, Tx, insert, query};

use super::OrderInsert;

const COLUMNS: &[&str] = &["order_id", "due_at", "decided", "done", "actor"];

/// The name to lock before an order is placed under a chosen id, or withdrawn.
pub(super) fn lock_name(id: &OrderId) -> String {
    format!("order/{id}")
}

/// Those of these orders whose withdrawal was decided.
pub(super) async fn withdrawn<'a>(tx: &mut Tx, ids: impl Iterator<Item = &'a OrderId>) -> Result<HashSet<OrderId>> {
    query("select order_id from withdrawals where decided = 1 and order_id in {list $1}")
        .list(ids.map(OrderId::as_str))
        .fetch_all(tx)
        .await?
        .iter()
        .map(|row| Ok(OrderId::trusted(row.get("order_id")?)))
        .collect()
}

/// Stores until when new orders are to be acknowledged.
pub(super) async fn put_deadlines(tx: &mut Tx, inserts: &[&OrderInsert]) -> Result<()> {
    let rows = inserts.iter().filter_map(|new| {
        let due_at = new.acknowledge_by?.micros();
        Some(vec![new.order.id.as_str().into(), due_at.into(), false.into(), false.into(), "".into()])
    });
    insert("withdrawals", COLUMNS, rows).execute(tx).await?;
    Ok(())
}

/// Decides that an order is withdrawn, whether it exists or not. Locks its id until the transaction ends, so that it is placed before
/// or never.
pub(crate) async fn decide(tx: &mut Tx, id: &OrderId, actor: &str, now: Timestamp) -> Result<()> {
    tx.lock([lock_name(id)]).await?;
    let row = vec![id.as_str().into(), now.micros().into(), true.into(), false.into(), actor.into()];
    insert("withdrawals", COLUMNS, [row])
        .suffix(
            "on conflict (order_id) do update set decided = 1, actor = excluded.actor, due_at = excluded.due_at
             where withdrawals.decided = 0",
        )
        .execute(tx)
        .await?;
    Ok(())
}

/// Whether something is left to do about an order, whose id is locked until the transaction ends.
pub(crate) async fn is_open(tx: &mut Tx, id: &OrderId) -> Result<bool> {
    tx.lock([lock_name(id)]).await?;
    let open = query("select 1 as one from withdrawals where order_id = $1 and done = 0").bind(id.as_str());
    Ok(open.fetch_optional(tx).await?.is_some())
}

/// Notes that nothing is left to do about a decided withdrawal.
pub(crate) async fn finish(tx: &mut Tx, id: &OrderId) -> Result<()> {
    query("update withdrawals set done = 1 where order_id = $1 and decided = 1").bind(id.as_str()).execute(tx).await?;
    Ok(())
}

/// Removes the deadline of an order, unless its withdrawal was decided. Returns false in that case.
pub(crate) async fn acknowledge(tx: &mut Tx, id: &OrderId) -> Result<bool> {
    tx.lock([lock_name(id)]).await?;
    query("delete from withdrawals where order_id = $1 and decided = 0").bind(id.as_str()).execute(tx).await?;
    let left = query("select 1 as one from withdrawals where order_id = $1").bind(id.as_str());
    Ok(left.fetch_optional(tx).await?.is_none())
}

/// Postpones what is left to do about a withdrawal that failed, so that others are not held up.
pub(crate) async fn postpone(tx: &mut Tx, id: &OrderId, until: Timestamp) -> Result<()> {
    let text = "update withdrawals set due_at = $2 where order_id = $1 and done = 0";
    query(text).bind(id.as_str()).bind(until.micros()).execute(tx).await?;
    Ok(())
}

/// Orders that are to be withdrawn now, past their deadline or with one that is not in `open` at all; and who decided it, if somebody
/// did.
pub(crate) async fn due(
    tx: &mut Tx,
    open: RangeInclusive<Timestamp>,
    limit: i64,
) -> Result<Vec<(OrderId, Option<String>)>> {
    query(
        "select order_id, decided, actor from withdrawals where done = 0 and (due_at < $1 or due_at > $2)
         order by due_at limit $3",
    )
    .bind(open.start().micros())
    .bind(open.end().micros())
    .bind(limit)
    .fetch_all(tx)
    .await?
    .iter()
    .map(|row| {
        let actor: Option<String> = if row.get::<i64>("decided")? != 0 { Some(row.get("actor")?) } else { None };
        Ok((OrderId::trusted(row.get("order_id")?), actor))
    })
    .collect()
}

/// All orders whose withdrawal was decided, and whether it is done.
pub(crate) async fn decided(tx: &mut Tx) -> Result<HashMap<String, bool>> {
    query("select order_id, done from withdrawals where decided = 1")
        .fetch_all(tx)
        .await?
        .iter()
        .map(|row| Ok((row.get("order_id")?, row.get::<i64>("done")? != 0)))
        .collect()
}

/// What is known of the withdrawal of an order, for people.
pub(crate) async fn history(tx: &mut Tx, id: &str) -> Result<Option<(Timestamp, String)>> {
    let row = query("select due_at, decided, done, actor from withdrawals where order_id = $1").bind(id);
    let Some(row) = row.fetch_optional(tx).await? else { return Ok(None) };
    let text = match (row.get::<i64>("decided")? != 0, row.get::<i64>("done")? != 0) {
        (false, _) => "withdrawn then unless it is acknowledged".to_owned(),
        (true, false) => format!("withdrawal decided by {}, not yet done", row.get::<String>("actor")?),
        (true, true) => format!("withdrawn by {}", row.get::<String>("actor")?),
    };
    Ok(Some((Timestamp::from_micros(row.get("due_at")?), text)))
}

/// Deletes what is done after that time; longer than a request can be on its way.
pub(crate) fn prune(keep: std::time::Duration) -> upkeep::Prune {
    upkeep::Prune { table: "withdrawals", key: "order_id", old: "done = 1 and due_at < $1", keep }
}
