//! What contradicts within the store, for the audit: the ledger beside what caused its entries.

use db::{Row, Tx};

use crate::error::Error;

/// All contradictions, for people.
pub(crate) async fn find(tx: &mut Tx) -> Result<Vec<String>, Error> {
    let mut found = sales(tx).await?;
    found.extend(adjustments(tx).await?);
    found.extend(replenishments(tx).await?);
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

/// Adjustments, and the differences that replenishments had, beside their entries in the ledger.
async fn adjustments(tx: &mut Tx) -> Result<Vec<String>, Error> {
    let text = "select cause, product_id, place_id, cast(sum(delta) as bigint) as delta from (
           select cause, product_id, place_id, quantity as delta from ledger
           where kind = 'adjusted' and not exists (select 1 from replenishments r where r.id = ledger.cause)
           union all
           select id, product_id, place_id, -delta from adjustments
         ) moves
         group by cause, product_id, place_id having sum(delta) <> 0";
    read(tx, text, |row| {
        let (id, delta): (String, i64) = (row.get("cause")?, row.get("delta")?);
        Ok(format!("adjustment {id}: the ledger has {delta:+} of {}, compared with the adjustment", place(row)?))
    })
    .await
}

/// Replenishments beside what left and arrived by the ledger.
async fn replenishments(tx: &mut Tx) -> Result<Vec<String>, Error> {
    let text = "select id, cast(sum(sent) as bigint) as sent, cast(sum(received) as bigint) as received from (
           select cause as id, case kind when 'sent' then -quantity else 0 end as sent,
             case kind when 'sent' then 0 else quantity end as received
           from ledger
           where kind in ('sent', 'received')
             or (kind = 'adjusted' and exists (select 1 from replenishments r where r.id = ledger.cause))
           union all
           select id, -shipped, -received from replenishments
         ) moves
         group by id having sum(sent) <> 0 or sum(received) <> 0";
    read(tx, text, |row| {
        let (id, sent, received): (String, i64, i64) = (row.get("id")?, row.get("sent")?, row.get("received")?);
        Ok(format!(
            "replenishment {id}: the ledger has {sent:+} pieces sent and {received:+} received, compared with it"
        ))
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
