//! Leases, and what is still to be done under them.

use commerce::{Amount, OrderId, Timestamp};
use db::{Result, Tx, query};

use super::{Held, Leased, rows};
use crate::domain::{RefundStatus, Return};

/// Takes over open orders whose lease has run out (or, with `all`, every open order: on a store that
/// no other replica uses, every lease found is dead).
pub(crate) async fn take_over(
    tx: &mut Tx,
    me: &str,
    now: Timestamp,
    until: Timestamp,
    all: bool,
    limit: i64,
) -> Result<Vec<Held>> {
    let taken = query(format!(
        "update orders set lease_owner = $1, lease_epoch = lease_epoch + 1, lease_until = $2
         where id in (select id from orders where work is not null and (lease_until < $3 or $4 = 1)
                        and not (lease_owner = $1 and lease_until >= $3)
                      order by lease_until limit $5 {{skip locked}})
         returning {}",
        rows::COLUMNS
    ))
    .bind(me)
    .bind(until.micros())
    .bind(now.micros())
    .bind(all)
    .bind(limit)
    .fetch_all(tx)
    .await?;
    rows::readable(tx, &taken).await
}

/// Whether there is something to take over, so that an idle replica does not write.
pub(crate) async fn expired(tx: &mut Tx, now: Timestamp, all: bool) -> Result<bool> {
    let found = query("select 1 as one from orders where work is not null and (lease_until < $1 or $2 = 1) limit 1")
        .bind(now.micros())
        .bind(all)
        .fetch_optional(tx)
        .await?;
    Ok(found.is_some())
}

/// How many orders have something still to be done: those changed after the first of these times, those changed after the
/// second and not the first, and so on; the last number is of all older ones. Reads the index of open orders only.
pub(crate) async fn open_since(tx: &mut Tx, since: [Timestamp; 3]) -> Result<[i64; 4]> {
    let [first, second, third] = since.map(Timestamp::micros);
    let row = query(
        "select count(*) as total, count(case when updated_at > $1 then 1 end) as first,
                count(case when updated_at > $2 then 1 end) as second, count(case when updated_at > $3 then 1 end) as third
         from orders where work is not null",
    )
    .bind(first)
    .bind(second)
    .bind(third)
    .fetch_one(tx)
    .await?;
    let (first, second, third): (i64, i64, i64) = (row.get("first")?, row.get("second")?, row.get("third")?);
    Ok([first, second - first, third - second, row.get::<i64>("total")? - third])
}

/// Prolongs leases that are still the caller's; tells how many. What somebody is writing at this moment is left for the
/// next time: whoever waited for it while he holds others would meet a batch of settlements in a deadlock.
pub(crate) async fn renew(tx: &mut Tx, leased: &[Leased], until: Timestamp) -> Result<u64> {
    let rows = leased.iter().map(|(id, epoch)| vec![id.as_str().into(), (*epoch).into()]);
    query(
        "update orders set lease_until = $1
         where id in (select o.id from {rows $2} r join orders o
                        on o.id = r.value->>0 and o.lease_epoch = cast(r.value->>1 as bigint)
                      where o.work is not null {skip locked})",
    )
    .bind(until.micros())
    .rows(rows)
    .execute(tx)
    .await
}

/// Lets go of all leases of a replica that stops, so that nobody has to wait for them to run out.
pub(crate) async fn release_leases(tx: &mut Tx, me: &str) -> Result<u64> {
    query("update orders set lease_until = 0 where lease_owner = $1 and work is not null").bind(me).execute(tx).await
}

/// Writes a return with its refund.
pub(crate) async fn insert_return(tx: &mut Tx, made: &Return, payload_hash: &str) -> Result<()> {
    query(
        "insert into returns (id, order_id, payload_hash, body, refund_amount, refund_status, created_at)
         values ($1, $2, $3, $4, $5, $6, $7)",
    )
    .bind(made.id.as_str())
    .bind(made.order_id.as_str())
    .bind(payload_hash)
    .bind(rows::to_json(made))
    .bind(made.refund.amount.minor())
    .bind(made.refund.status.as_str())
    .bind(made.created_at.micros())
    .execute(tx)
    .await?;
    Ok(())
}

/// Notes where the refund of a return stands.
pub(crate) async fn set_refund(tx: &mut Tx, made: &Return) -> Result<()> {
    query("update returns set refund_status = $1, body = $2, refund_amount = $4 where id = $3")
        .bind(made.refund.status.as_str())
        .bind(rows::to_json(made))
        .bind(made.id.as_str())
        .bind(made.refund.amount.minor())
        .execute(tx)
        .await?;
    Ok(())
}

/// A return with what its client sent.
pub(crate) async fn find_return(tx: &mut Tx, id: &str) -> Result<Option<(Return, String)>> {
    let row = query("select body, payload_hash from returns where id = $1").bind(id).fetch_optional(tx).await?;
    row.map(|row| Ok((super::read::parse_return(&row)?, row.get("payload_hash")?))).transpose()
}

/// What all returns of an order refund, whether it is done or only decided.
pub(crate) async fn refunded(tx: &mut Tx, order: &OrderId) -> Result<Amount> {
    let row = query(
        "select cast(coalesce(sum(refund_amount), 0) as bigint) as refunded from returns where order_id = $1 and refund_status <> $2",
    )
    .bind(order.as_str())
    .bind(RefundStatus::Refused.as_str())
    .fetch_one(tx)
    .await?;
    row.get("refunded").map(Amount::from_minor)
}
