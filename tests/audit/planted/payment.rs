//! Faults in payments and their operations.

use super::{Planted, faults};
use crate::stores::Change::Sql;

/// A charge that the sandbox has done.
const CALL: &str =
    "insert into sandbox_calls (key, done, reason, at, request) values ('k', 1, '', 0, 'charge 1000 0 ada')";

pub(super) const FAULTS: &[Planted] = &[
    faults(
        "a smaller payment",
        "payment.payments.amount",
        &[(
            "payment",
            Sql("update payments set amount = amount - 1, captured = captured - 1 where order_id = 'shipped'"),
        )],
        "a payment's amounts",
    ),
    faults(
        "less captured",
        "payment.payments.captured",
        &[("payment", Sql("update payments set captured = captured - 1 where order_id = 'shipped'"))],
        "a payment's amounts",
    ),
    faults(
        "more refunded",
        "payment.payments.refunded",
        &[("payment", Sql("update payments set refunded = refunded + 1 where order_id = 'card'"))],
        "a payment's amounts",
    ),
    faults(
        "a payment's status by hand",
        "payment.payments.status",
        &[("payment", Sql("update payments set status = 'voided' where order_id = 'shipped'"))],
        "a payment's amounts",
    ),
    faults(
        "a payment in cash",
        "payment.payments.method",
        &[("payment", Sql("update payments set method = 'cash' where order_id = 'card'"))],
        "payments have the payer",
    ),
    faults(
        "a payment in another currency",
        "payment.payments.currency",
        &[("payment", Sql("update payments set currency = 'JPY' where order_id = 'card'"))],
        "payments have the payer",
    ),
    faults(
        "a payment of somebody else",
        "payment.payments.customer_id",
        &[("payment", Sql("update payments set customer_id = 'eve' where order_id = 'card'"))],
        "payments have the payer",
    ),
    faults(
        "a payment that was only authorised",
        "payment.payments.capture",
        &[("payment", Sql("update payments set capture = 0 where order_id = 'shipped'"))],
        "a payment's amounts",
    ),
    faults(
        "a payment of an order made one of an older fleet",
        "payment.payments.kind",
        &[("payment", Sql("update payments set kind = 'legacy' where order_id = 'card'"))],
        "payments from outside",
    ),
    faults(
        "a payment under another number",
        "payment.payments.number",
        &[("payment", Sql("update payments set number = 9999 where order_id = 'card'"))],
        "no number of anything is given twice",
    ),
    faults(
        "a payment under another id",
        "payment.payments.id",
        &[("payment", Sql("update payments set id = 'p' where order_id = 'card'"))],
        "what is stored is what its last event says",
    ),
    faults(
        "a payment from another time",
        "payment.payments.created_at",
        &[("payment", Sql("update payments set created_at = created_at - 1 where order_id = 'card'"))],
        "what is stored is what its last event says",
    ),
    faults(
        "a payment's change without an event",
        "payment.payments.sequence",
        &[("payment", Sql("update payments set sequence = sequence + 1 where order_id = 'card'"))],
        "every change is published by one event",
    ),
    faults(
        "a payment of another order",
        "payment.payments.order_id",
        &[(
            "payment",
            Sql(
                "insert into payments (id, number, kind, order_id, customer_id, amount, currency, method, capture, status, captured, refunded, sequence, claimed_until, created_at, updated_at) select 'q', 9998, kind, 'no-order', customer_id, amount, currency, method, capture, status, captured, refunded, sequence, claimed_until, created_at, updated_at from payments where order_id = 'shipped'",
            ),
        )],
        "payments belong to orders",
    ),
    faults(
        "a payment that is gone",
        "payment.payments",
        &[
            ("payment", Sql("delete from operations where order_id = 'shipped'")),
            ("payment", Sql("delete from payments where order_id = 'shipped'")),
        ],
        "confirmed orders have one captured payment",
    ),
    faults(
        "charged twice",
        "payment.operations.op_id",
        &[(
            "payment",
            Sql(
                "insert into operations (order_id, op, op_id, position, said, amount, outcome, reason, note, at) select order_id, op, 'again', 9, said, amount, outcome, reason, note, at from operations where order_id = 'shipped'",
            ),
        )],
        "a payment's amounts",
    ),
    faults(
        "an operation of another amount",
        "payment.operations.amount",
        &[("payment", Sql("update operations set amount = amount - 1 where order_id = 'shipped'"))],
        "a payment's amounts",
    ),
    faults(
        "an operation that was asked for another amount",
        "payment.operations.said",
        &[("payment", Sql("update operations set said = said + 1 where order_id = 'shipped'"))],
        "a payment's amounts",
    ),
    faults(
        "a refund of exactly, not up to, an amount",
        "payment.operations.up_to",
        &[(
            "payment",
            Sql("update operations set said = said + 1, up_to = 0 where order_id = 'card' and op = 'refund'"),
        )],
        "a payment's amounts",
    ),
    faults(
        "an operation called refused",
        "payment.operations.outcome",
        &[("payment", Sql("update operations set outcome = 'refused' where order_id = 'card' and op = 'refund'"))],
        "a payment's amounts",
    ),
    faults(
        "a refund turned into a void",
        "payment.operations.op",
        &[("payment", Sql("update operations set op = 'void' where order_id = 'card' and op = 'refund'"))],
        "a payment's amounts",
    ),
    faults(
        "a reason of a refusal altered",
        "payment.operations.reason",
        &[("payment", Sql("update operations set reason = 'because' where order_id = 'refused' and op = 'authorize'"))],
        "what is stored is what its last event says",
    ),
    faults(
        "an operation at another time",
        "payment.operations.at",
        &[("payment", Sql("update operations set at = at + 1 where order_id = 'card' and op = 'authorize'"))],
        "what is stored is what its last event says",
    ),
    faults(
        "an operation that is gone",
        "payment.operations",
        &[("payment", Sql("delete from operations where order_id = 'card' and op = 'refund'"))],
        "a payment's amounts",
    ),
    faults(
        "an operation of another order",
        "payment.operations.order_id",
        &[(
            "payment",
            Sql("update operations set order_id = 'shipped', position = 8 where order_id = 'card' and op = 'refund'"),
        )],
        "a payment's amounts",
    ),
    faults(
        "operations in another order",
        "payment.operations.position",
        &[("payment", Sql("update operations set position = 9 where order_id = 'cancelled' and op = 'authorize'"))],
        "a payment's amounts|what is stored",
    ),
    faults(
        "charged by the provider without an operation",
        "payment.sandbox_calls",
        &[("payment", Sql(CALL))],
        "no store contradicts itself",
    ),
    faults(
        "charged ten times as much by the provider",
        "payment.sandbox_calls.request",
        &[
            ("payment", Sql(CALL)),
            ("payment", Sql("update operations set provider_key = 'k' where order_id = 'card' and op = 'authorize'")),
        ],
        "no store contradicts itself",
    ),
    faults(
        "refused by the provider, the operation says done",
        "payment.sandbox_calls.done",
        &[
            ("payment", Sql(CALL)),
            ("payment", Sql("update sandbox_calls set done = 0")),
            ("payment", Sql("update operations set provider_key = 'k' where order_id = 'card' and op = 'authorize'")),
        ],
        "no store contradicts itself",
    ),
    faults(
        "charged by the provider, the operation says refused",
        "payment.sandbox_calls.done",
        &[
            ("payment", Sql(CALL)),
            (
                "payment",
                Sql("update operations set provider_key = 'k' where order_id = 'refused' and op = 'authorize'"),
            ),
        ],
        "no store contradicts itself",
    ),
    faults(
        "a call of the provider under another key",
        "payment.sandbox_calls.key",
        &[
            ("payment", Sql(CALL)),
            ("payment", Sql("update operations set provider_key = 'k' where order_id = 'card' and op = 'authorize'")),
            ("payment", Sql("update sandbox_calls set key = 'j'")),
        ],
        "no store contradicts itself",
    ),
    faults(
        "an operation under another key of the provider",
        "payment.operations.provider_key",
        &[
            ("payment", Sql(CALL)),
            ("payment", Sql("update operations set provider_key = 'k' where order_id = 'card' and op = 'authorize'")),
            ("payment", Sql("update operations set provider_key = 'j' where order_id = 'card' and op = 'authorize'")),
        ],
        "no store contradicts itself",
    ),
    faults(
        "payments counted anew",
        "payment.counters.value",
        &[("payment", Sql("update counters set value = 0 where name = 'payment'"))],
        "no number of anything is given twice",
    ),
    faults(
        "an event altered in the outbox",
        "payment.outbox.payload",
        &[(
            "payment",
            Sql(
                r#"update outbox set payload = replace(payload, '"data":{', '"data":{"x":1,') where id = (select min(id) from outbox where topic = 'payments')"#,
            ),
        )],
        "events are on the bus in order",
    ),
    faults(
        "an event that is gone from the outbox",
        "payment.outbox",
        &[("payment", Sql("delete from outbox where id = (select min(id) from outbox where topic = 'payments')"))],
        "every change is published by one event",
    ),
    faults(
        "an event of another resource",
        "payment.outbox.key",
        &[(
            "payment",
            Sql("update outbox set key = 'other' where id = (select min(id) from outbox where topic = 'payments')"),
        )],
        "every change is published by one event",
    ),
    faults(
        "an event on another topic",
        "payment.outbox.topic",
        &[(
            "payment",
            Sql("update outbox set topic = 'orders' where id = (select min(id) from outbox where topic = 'payments')"),
        )],
        "every change is published by one event",
    ),
    faults(
        "an event under another number",
        "payment.outbox.sequence",
        &[(
            "payment",
            Sql(
                "update outbox set sequence = sequence + 10 where id = (select min(id) from outbox where topic = 'payments')",
            ),
        )],
        "every change is published by one event",
    ),
    faults(
        "old events deleted that are still to come",
        "payment.pruned.before",
        &[("payment", Sql("insert into pruned (name, before) values ('outbox', 9999999999999999)"))],
        "only what is old was deleted",
    ),
];
