//! Payments and their operations.

use std::collections::{BTreeSet, HashMap};

use commerce::{Amount, CustomerId, OrderId, PaymentId, Timestamp};
use db::{Row, Tx, Value};

use crate::{
    domain::{
        Method, Op, Operation, OperationOutcome, Payment, PaymentKind, PaymentStatus, RequestedAmount,
        earlier_provider_key,
    },
    error::Error,
};

const COLUMNS: &[&str] = &[
    "id",
    "number",
    "kind",
    "order_id",
    "customer_id",
    "amount",
    "currency",
    "method",
    "capture",
    "status",
    "captured",
    "refunded",
    "sequence",
    "claimed_until",
    "created_at",
    "updated_at",
];
const OPERATION_COLUMNS: &[&str] = &[
    "order_id",
    "op",
    "op_id",
    "position",
    "said",
    "up_to",
    "amount",
    "outcome",
    "reason",
    "note",
    "at",
    "provider_key",
];

/// By name, never `*`: a statement that a replica has prepared fails on Postgres once the next version has added a column.
fn columns() -> String {
    COLUMNS.join(", ")
}

/// The filter of a list.
#[derive(Debug, Clone, Default)]
pub(crate) struct Filter {
    /// The payment of this order.
    pub order_id: Option<String>,
    /// Payments in this status.
    pub status: Option<PaymentStatus>,
    /// Payments with a lower number: the next page.
    pub before: Option<i64>,
}

/// The payments of these orders, tombstones included.
pub(crate) async fn of_orders(tx: &mut Tx, orders: &BTreeSet<&str>) -> Result<HashMap<String, Payment>, Error> {
    // Ordered, so that every replica locks the rows in the same order.
    let rows = db::query(format!("select {} from payments where order_id in {{list $1}} order by order_id", columns()))
        .list(orders)
        .fetch_all(tx)
        .await?;
    let found = with_operations(tx, &rows).await?;
    Ok(found.into_iter().map(|payment| (payment.order_id.as_str().to_owned(), payment)).collect())
}

/// Payments by their own ids or those of their orders, without tombstones.
pub(crate) async fn find(tx: &mut Tx, ids: &[String]) -> Result<Vec<Payment>, Error> {
    let rows = db::query(format!(
        "select {} from payments where (id in {{list $1}} or order_id in {{list $2}})
         and status <> 'tombstone' order by number",
        columns()
    ))
    .list(ids)
    .list(ids)
    .fetch_all(tx)
    .await?;
    with_operations(tx, &rows).await
}

/// Payments, newest first, without tombstones.
pub(crate) async fn list(tx: &mut Tx, filter: &Filter, limit: i64) -> Result<Vec<Payment>, Error> {
    // Tombstones have no number.
    let mut conditions = db::Filter::new("number is not null");
    if let Some(before) = filter.before {
        conditions.and("number < ?", before);
    }
    if let Some(order_id) = &filter.order_id {
        conditions.and("order_id = ?", order_id);
    }
    if let Some(status) = filter.status {
        conditions.and("status = ?", status.as_str());
    }
    let text = format!("select {} from payments where {{where}} order by number desc limit ?", columns());
    let rows = conditions.query(&text, [limit.into()]).fetch_all(tx).await?;
    with_operations(tx, &rows).await
}

/// Orders whose payment is in doubt and not claimed; a claim beyond `latest` is void.
pub(crate) async fn unclaimed(
    tx: &mut Tx,
    now: Timestamp,
    latest: Timestamp,
    limit: i64,
) -> Result<Vec<OrderId>, Error> {
    let rows = db::query(
        "select order_id from payments where status = 'in_doubt' and (claimed_until <= $1 or claimed_until > $3)
         order by claimed_until limit $2",
    )
    .bind(now.micros())
    .bind(limit)
    .bind(latest.micros())
    .fetch_all(tx)
    .await?;
    rows.iter().map(|row| Ok(OrderId::trusted(row.get("order_id")?))).collect()
}

/// Takes `count` numbers, and returns the first.
pub(crate) async fn take_numbers(tx: &mut Tx, count: i64) -> Result<i64, Error> {
    let row = db::query("update counters set value = value + $1 where name = 'payment' returning value")
        .bind(count)
        .fetch_one(tx)
        .await?;
    Ok(row.get::<i64>("value")? - count + 1)
}

/// Saves payments, and those of their operations that are new or changed.
pub(crate) async fn save(tx: &mut Tx, payments: &[&Payment], operations: &[(&Payment, usize)]) -> Result<(), Error> {
    db::insert("payments", COLUMNS, payments.iter().map(|payment| values(payment)))
        .suffix(
            "on conflict (order_id) do update set status = excluded.status,
             captured = excluded.captured, refunded = excluded.refunded,
             sequence = excluded.sequence, claimed_until = excluded.claimed_until,
             updated_at = excluded.updated_at",
        )
        .execute(tx)
        .await?;
    let rows = operations.iter().map(|(payment, index)| operation_values(payment, *index));
    db::insert("operations", OPERATION_COLUMNS, rows)
        .suffix(
            "on conflict (order_id, op, op_id) do update set amount = excluded.amount,
             outcome = excluded.outcome, reason = excluded.reason",
        )
        .execute(tx)
        .await?;
    Ok(())
}

/// A page of payments for the audit, past `after` by order id.
pub(crate) async fn audit_page(tx: &mut Tx, after: &str, limit: i64) -> Result<Vec<Payment>, Error> {
    let rows = db::query(format!("select {} from payments where order_id > $1 order by order_id limit $2", columns()))
        .bind(after)
        .bind(limit)
        .fetch_all(tx)
        .await?;
    with_operations(tx, &rows).await
}

/// The highest number of a payment, and the last number that was given.
pub(crate) async fn numbers(tx: &mut Tx) -> Result<(i64, i64), Error> {
    let row = db::query(
        "select coalesce((select max(number) from payments), 0) as highest, value from counters where name = 'payment'",
    );
    let row = row.fetch_one(tx).await?;
    Ok((row.get("highest")?, row.get("value")?))
}

async fn with_operations(tx: &mut Tx, rows: &[Row]) -> Result<Vec<Payment>, Error> {
    let mut payments = rows.iter().map(payment).collect::<Result<Vec<_>, _>>()?;
    if payments.is_empty() {
        return Ok(payments);
    }
    let rows = db::query(format!(
        "select {} from operations where order_id in {{list $1}} order by order_id, position",
        OPERATION_COLUMNS.join(", ")
    ))
    .list(payments.iter().map(|payment| payment.order_id.as_str()))
    .fetch_all(tx)
    .await?;
    let mut operations: HashMap<String, Vec<Operation>> = HashMap::new();
    for row in &rows {
        operations.entry(row.get("order_id")?).or_default().push(operation(row)?);
    }
    for payment in &mut payments {
        payment.operations = operations.remove(payment.order_id.as_str()).unwrap_or_default();
    }
    Ok(payments)
}

fn values(payment: &Payment) -> Vec<Value> {
    vec![
        payment.id.as_str().into(),
        payment.number.into(),
        payment.kind.as_str().into(),
        payment.order_id.as_str().into(),
        payment.customer_id.as_ref().map(|id| id.as_str()).into(),
        payment.amount.minor().into(),
        payment.currency.as_str().into(),
        payment.method.as_str().into(),
        payment.capture.into(),
        payment.status.as_str().into(),
        payment.captured.minor().into(),
        payment.refunded.minor().into(),
        payment.sequence.into(),
        payment.claimed_until.micros().into(),
        payment.created_at.micros().into(),
        payment.updated_at.micros().into(),
    ]
}

fn operation_values(payment: &Payment, index: usize) -> Vec<Value> {
    let operation = &payment.operations[index];
    vec![
        payment.order_id.as_str().into(),
        operation.op.as_str().into(),
        operation.op_id.as_str().into(),
        i64::try_from(index).unwrap_or(i64::MAX).into(),
        operation.requested.amount.minor().into(),
        operation.requested.up_to.into(),
        operation.amount.minor().into(),
        operation.outcome.as_str().into(),
        operation.reason.as_str().into(),
        operation.note.as_str().into(),
        operation.at.micros().into(),
        operation.provider_key.as_str().into(),
    ]
}

fn payment(row: &Row) -> Result<Payment, Error> {
    Ok(Payment {
        id: PaymentId::trusted(row.get("id")?),
        number: row.get("number")?,
        kind: PaymentKind::parse(&row.get::<String>("kind")?).ok_or(Error::Corrupt("kind"))?,
        order_id: OrderId::trusted(row.get("order_id")?),
        customer_id: row.get::<Option<String>>("customer_id")?.map(CustomerId::trusted),
        amount: Amount::from_minor(row.get("amount")?),
        currency: row.get::<String>("currency")?.parse().map_err(|_| Error::Corrupt("currency"))?,
        method: Method::parse(&row.get::<String>("method")?).ok_or(Error::Corrupt("method"))?,
        capture: row.get::<i64>("capture")? != 0,
        status: PaymentStatus::parse(&row.get::<String>("status")?).ok_or(Error::Corrupt("status"))?,
        captured: Amount::from_minor(row.get("captured")?),
        refunded: Amount::from_minor(row.get("refunded")?),
        sequence: row.get("sequence")?,
        claimed_until: Timestamp::from_micros(row.get("claimed_until")?),
        created_at: Timestamp::from_micros(row.get("created_at")?),
        updated_at: Timestamp::from_micros(row.get("updated_at")?),
        operations: Vec::new(),
    })
}

fn operation(row: &Row) -> Result<Operation, Error> {
    let op = Op::parse(&row.get::<String>("op")?).ok_or(Error::Corrupt("operation"))?;
    let op_id: String = row.get("op_id")?;
    // Earlier versions store none.
    let provider_key = match row.get::<Option<String>>("provider_key")? {
        Some(key) => key,
        None => earlier_provider_key(&OrderId::trusted(row.get("order_id")?), op, &op_id),
    };
    Ok(Operation {
        op,
        op_id,
        provider_key,
        requested: RequestedAmount {
            amount: Amount::from_minor(row.get("said")?),
            up_to: row.get::<i64>("up_to")? != 0,
        },
        amount: Amount::from_minor(row.get("amount")?),
        outcome: OperationOutcome::parse(&row.get::<String>("outcome")?).ok_or(Error::Corrupt("outcome"))?,
        reason: row.get("reason")?,
        note: row.get("note")?,
        at: Timestamp::from_micros(row.get("at")?),
    })
}
