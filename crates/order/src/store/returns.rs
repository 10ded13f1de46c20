//! Returns and their refunds.

use commerce::{Amount, OrderId};
use db::{Result, Row, Tx, query};

use super::order_row::to_json;
use crate::domain::{RefundStatus, Return};

/// Inserts a return.
pub(crate) async fn insert_return(tx: &mut Tx, new: &Return, payload_hash: &str) -> Result<()> {
    query(
        "insert into returns (id, order_id, payload_hash, body, refund_amount, refund_status, created_at)
         values ($1, $2, $3, $4, $5, $6, $7)",
    )
    .bind(new.id.as_str())
    .bind(new.order_id.as_str())
    .bind(payload_hash)
    .bind(to_json(new))
    .bind(new.refund.amount.minor())
    .bind(new.refund.status.as_str())
    .bind(new.created_at.micros())
    .execute(tx)
    .await?;
    Ok(())
}

/// Updates the refund of a return.
pub(crate) async fn set_refund(tx: &mut Tx, made: &Return) -> Result<()> {
    query("update returns set refund_status = $1, body = $2, refund_amount = $4 where id = $3")
        .bind(made.refund.status.as_str())
        .bind(to_json(made))
        .bind(made.id.as_str())
        .bind(made.refund.amount.minor())
        .execute(tx)
        .await?;
    Ok(())
}

/// A return with the hash of its request's payload.
pub(crate) async fn find_return(tx: &mut Tx, id: &str) -> Result<Option<(Return, String)>> {
    let row = query("select body, payload_hash from returns where id = $1").bind(id).fetch_optional(tx).await?;
    row.map(|row| Ok((read(&row)?, row.get("payload_hash")?))).transpose()
}

/// What all returns of an order refund, done or pending.
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

/// The returns of an order, oldest first.
pub(crate) async fn returns_of(tx: &mut Tx, id: &OrderId) -> Result<Vec<Return>> {
    query("select body from returns where order_id = $1 order by created_at, id")
        .bind(id.as_str())
        .fetch_all(tx)
        .await?
        .iter()
        .map(read)
        .collect()
}

/// What the row of a return says beside its body.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct ReturnRow {
    pub(crate) id: String,
    pub(crate) order_id: String,
    pub(crate) amount: Amount,
    pub(crate) status: String,
}

/// All returns with their rows, for the audit.
pub(crate) async fn all_returns(tx: &mut Tx) -> Result<Vec<(Return, ReturnRow)>> {
    let rows = query("select id, body, order_id, refund_amount, refund_status from returns").fetch_all(tx).await?;
    rows.iter()
        .map(|row| {
            let beside = ReturnRow {
                id: row.get("id")?,
                order_id: row.get("order_id")?,
                amount: Amount::from_minor(row.get("refund_amount")?),
                status: row.get("refund_status")?,
            };
            Ok((read(row)?, beside))
        })
        .collect()
}

fn read(row: &Row) -> Result<Return> {
    serde_json::from_str(&row.get::<String>("body")?).map_err(|_| db::Error::Unreadable("returns.body"))
}
