//! What contradicts within the store, for the audit: the ledger beside what caused its entries.

use db::{Row, Tx};

use crate::error::Error;

/// All contradictions, for people.
pub(crate) async fn find(tx: &mut Tx) -> Result<Vec<String>, Error> {
    let mut found = sales(tx).await?;
    found.extend(movements(tx).await?);
    found.extend(adjusted_balances(tx).await?);
    found.extend(balances(tx).await?);
    Ok(found)
}

/// Of every order, product and place: what the ledger says was sold and returned, less what the order's reservation says.
async fn sales(tx: &mut Tx) -> Result<Vec<String>, Error> {
    let text = "select order_id, product_id, place_id, cast(sum(sold) as bigint) as sold, cast(sum(restocked) as bigint) as restocked
         from (
           select cause as order_id, product_id, place_id, case kind when 'sold' then -quantity else 0 end as sold,
             case kind when 'restocked' then quantity else 0 end as restocked
           from ledger where kind in ('sold', 'restocked')
           union all
           select l.order_id, l.product_id, r.place_id, -l.quantity, -l.restocked
           from reservation_lines l join reservations r on r.order_id = l.order_id where r.state = 'committed'
         ) moves
         group by order_id, product_id, place_id having sum(sold) <> 0 or sum(restocked) <> 0";
    read(tx, text, |row| {
        let (order, at) = (row.get::<String>("order_id")?, place(row)?);
        let (sold, restocked): (i64, i64) = (row.get("sold")?, row.get("restocked")?);
        Ok(format!(
            "order {order}: of {at} the ledger has {sold:+} pieces sold and {restocked:+} returned, compared with its reservation"
        ))
    })
    .await
}

/// Of every id, product and place: what left, arrived and was adjusted by the ledger, less what the adjustment and the replenishment
/// of this id say. Clients choose both ids, so one may be that of both.
async fn movements(tx: &mut Tx) -> Result<Vec<String>, Error> {
    let text = "select cause, product_id, place_id, cast(sum(sent) as bigint) as sent, cast(sum(added) as bigint) as added from (
           select cause, product_id, place_id, case kind when 'sent' then -quantity else 0 end as sent,
             case kind when 'sent' then 0 else quantity end as added
           from ledger where kind in ('sent', 'received', 'adjusted')
           union all
           select id, product_id, place_id, 0, -delta from adjustments
           union all
           select id, product_id, from_place_id, -shipped, 0 from replenishments
           union all
           select id, product_id, place_id, 0, -received from replenishments
         ) moves
         group by cause, product_id, place_id having sum(sent) <> 0 or sum(added) <> 0";
    read(tx, text, |row| {
        let (id, at) = (row.get::<String>("cause")?, place(row)?);
        let (sent, added): (i64, i64) = (row.get("sent")?, row.get("added")?);
        Ok(format!(
            "adjustment or replenishment {id}: of {at} the ledger has {sent:+} pieces sent and {added:+} received or adjusted, \
             compared with it"
        ))
    })
    .await
}

/// What an adjustment says was on hand after it, beside the ledger.
async fn adjusted_balances(tx: &mut Tx) -> Result<Vec<String>, Error> {
    let text = "select cause as id, product_id, place_id, balance from (
           select cause, product_id, place_id, balance, 1 as n from ledger where kind = 'adjusted'
           union all
           select id, product_id, place_id, balance, -1 from adjustments
         ) moves
         group by cause, product_id, place_id, balance having sum(n) < 0";
    read(tx, text, |row| {
        let (id, balance): (String, i64) = (row.get("id")?, row.get("balance")?);
        Ok(format!("adjustment {id}: the ledger does not say that {balance} of {} were on hand after it", place(row)?))
    })
    .await
}

/// The balances of each level's entries are a chain from 0 to what is on hand: each balance before an entry is that after another
/// one, but for the first and the last. So it needs no order of the entries, which clocks of replicas make.
async fn balances(tx: &mut Tx) -> Result<Vec<String>, Error> {
    let text = "select product_id, place_id, value from (
           select product_id, place_id, balance as value, 1 as n from ledger
           union all
           select product_id, place_id, balance - quantity, -1 from ledger
           union all
           select product_id, place_id, on_hand, -1 from levels
           union all
           select product_id, place_id, 0, 1 from levels
         ) chain
         group by product_id, place_id, value having sum(n) <> 0";
    read(tx, text, |row| {
        let value: i64 = row.get("value")?;
        Ok(format!("{}: the balances of the ledger have a break at {value}", place(row)?))
    })
    .await
}

fn place(row: &Row) -> Result<String, Error> {
    Ok(format!("{} at {}", row.get::<String>("product_id")?, row.get::<String>("place_id")?))
}

async fn read(
    tx: &mut Tx,
    text: &'static str,
    tell: impl Fn(&Row) -> Result<String, Error>,
) -> Result<Vec<String>, Error> {
    db::query(text).fetch_all(tx).await?.iter().map(tell).collect()
}
