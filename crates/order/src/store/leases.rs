//! Leases of orders with pending work.

use std::ops::RangeInclusive;

use commerce::{OrderId, Timestamp};
use db::{Result, Tx, query};

use super::{StoredOrder, order_row};

/// Which orders with pending work are taken over.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Takeover {
    /// Those whose lease has expired.
    ExpiredLeases,
    /// All but the owner's own. Only for a store that no other replica uses.
    EveryOpenOrder,
}

impl Takeover {
    fn ignores_leases(self) -> bool {
        self == Self::EveryOpenOrder
    }
}

/// Takes over orders with pending work: `owner` gets their leases until `until`, under the next epoch. A lease is live if its end is in
/// `live`.
pub(crate) async fn take_over(
    tx: &mut Tx,
    owner: &str,
    live: RangeInclusive<Timestamp>,
    until: Timestamp,
    takeover: Takeover,
    limit: i64,
) -> Result<Vec<StoredOrder>> {
    let rows = query(format!(
        "update orders set lease_owner = $1, lease_epoch = lease_epoch + 1, lease_until = $2
         where id in (select id from orders where work is not null and (lease_until < $3 or lease_until > $6 or $4 = 1)
                        and not (lease_owner = $1 and lease_until >= $3)
                      order by lease_until limit $5 {{skip locked}})
         returning {}",
        order_row::select_list()
    ))
    .bind(owner)
    .bind(until.micros())
    .bind(live.start().micros())
    .bind(takeover.ignores_leases())
    .bind(limit)
    .bind(live.end().micros())
    .fetch_all(tx)
    .await?;
    order_row::read_readable_orders(tx, &rows).await
}

/// Whether there is an order to take over, so that an idle replica does not write.
pub(crate) async fn has_takeover(tx: &mut Tx, live: RangeInclusive<Timestamp>, takeover: Takeover) -> Result<bool> {
    let found = query(
        "select 1 as one from orders where work is not null and (lease_until < $1 or lease_until > $3 or $2 = 1) limit 1",
    )
    .bind(live.start().micros())
    .bind(takeover.ignores_leases())
    .bind(live.end().micros())
    .fetch_optional(tx)
    .await?;
    Ok(found.is_some())
}

/// Counts orders with pending work by the time of their last change: after the first of `since`, between the first and the
/// second, between the second and the third, and before. Reads only the index of open orders.
pub(crate) async fn count_open_by_age(tx: &mut Tx, since: [Timestamp; 3]) -> Result<[i64; 4]> {
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

/// Renews the leases of these orders whose epoch is still valid; returns how many. Rows that are locked are skipped until
/// the next time: waiting for them while holding others could deadlock with a batch of updates.
pub(crate) async fn renew(tx: &mut Tx, leased: &[(OrderId, i64)], until: Timestamp) -> Result<u64> {
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

/// Expires all leases of a replica that stops, so that others take its orders over at once.
pub(crate) async fn release_leases(tx: &mut Tx, owner: &str) -> Result<u64> {
    query("update orders set lease_until = 0 where lease_owner = $1 and work is not null").bind(owner).execute(tx).await
}
