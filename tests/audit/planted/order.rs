//! Faults in orders, returns, carts, reports and withdrawals, and in what every store has for its events.

use super::{Planted, faults};
use crate::stores::Change::Sql;

pub(super) const FAULTS: &[Planted] = &[
    faults(
        "the payment of another order",
        "order.orders.payment_id",
        &[("order", Sql("update orders set payment_id = 'other' where id = 'shipped'"))],
        "payments have the payer",
    ),
    faults(
        "an order on account that shows a payment",
        "order.orders.payment_status",
        &[("order", Sql("update orders set payment_status = 'captured' where id = 'on-account'"))],
        "payments have the payer",
    ),
    faults(
        "an order without its address",
        "order.orders.shipping",
        &[("order", Sql("update orders set shipping = null where id = 'cash'"))],
        "what is stored is what its last event says",
    ),
    faults(
        "a total altered",
        "order.orders.total",
        &[("order", Sql("update orders set total = total + 100 where id = 'card'"))],
        "an order's total",
    ),
    faults(
        "total, lines and payment altered together",
        "order.order_lines.unit_price",
        &[
            (
                "order",
                Sql("update order_lines set unit_price = unit_price - 100 where order_id = 'cash' and position = 1"),
            ),
            ("order", Sql("update orders set total = total - 200 where id = 'cash'")),
            ("payment", Sql("update operations set amount = amount - 200, said = said - 200 where order_id = 'cash'")),
            (
                "payment",
                Sql("update payments set amount = amount - 200, captured = captured - 200 where order_id = 'cash'"),
            ),
        ],
        "what is stored is what its last event says",
    ),
    faults(
        "a line of more pieces",
        "order.order_lines.quantity",
        &[("order", Sql("update order_lines set quantity = quantity + 1 where order_id = 'card' and position = 1"))],
        "confirmed orders have their goods",
    ),
    faults(
        "a line of another product",
        "order.order_lines.product_id",
        &[("order", Sql("update order_lines set product_id = 'POT' where order_id = 'card' and position = 1"))],
        "confirmed orders have their goods",
    ),
    faults(
        "a line under another name",
        "order.order_lines.name",
        &[("order", Sql("update order_lines set name = 'GOLD' where order_id = 'card' and position = 1"))],
        "what is stored is what its last event says",
    ),
    faults(
        "a price altered",
        "order.order_lines.unit_price",
        &[(
            "order",
            Sql("update order_lines set unit_price = unit_price - 1 where order_id = 'card' and position = 1"),
        )],
        "an order's total",
    ),
    faults(
        "a line that is gone",
        "order.order_lines",
        &[("order", Sql("delete from order_lines where order_id = 'on-account' and position = 2"))],
        "an order's total",
    ),
    faults(
        "a line moved to another order",
        "order.order_lines.order_id",
        &[(
            "order",
            Sql("update order_lines set order_id = 'shipped', position = 9 where order_id = 'card' and position = 2"),
        )],
        "an order's total",
    ),
    faults(
        "pieces returned that were not",
        "order.order_lines.returned",
        &[("order", Sql("update order_lines set returned = returned + 1 where order_id = 'card' and position = 1"))],
        "what is stored is what its last event says",
    ),
    faults(
        "a discount altered",
        "order.orders.adjustments",
        &[("order", Sql("update orders set adjustments = replace(adjustments, '-5', '-6') where id = 'cash'"))],
        "an order's total",
    ),
    faults(
        "shipped by hand",
        "order.orders.status",
        &[("order", Sql("update orders set status = 'shipped' where id = 'card'"))],
        "what is stored is what its last event says",
    ),
    faults(
        "a cancelled order confirmed by hand",
        "order.orders.state",
        &[("order", Sql("update orders set state = 'CONFIRMED' where id = 'cancelled'"))],
        "what is stored is what its last event says",
    ),
    faults(
        "a state struck from the record",
        "order.orders.states",
        &[("order", Sql("update orders set states = replace(states, 'PAID', 'CREATED') where id = 'card'"))],
        "what is stored is what its last event says",
    ),
    faults(
        "an actor changed in the history",
        "order.orders.history",
        &[("order", Sql("update orders set history = replace(history, 'shipped', 'delivered') where id = 'shipped'"))],
        "what is stored is what its last event says",
    ),
    faults(
        "an order of nobody",
        "order.orders.customer_id",
        &[("order", Sql("update orders set customer_id = null where id = 'card'"))],
        "payments have the payer",
    ),
    faults(
        "an order of another place",
        "order.orders.place_id",
        &[("order", Sql("update orders set place_id = 'north' where id = 'card'"))],
        "an order's total",
    ),
    faults(
        "an order sold at a till that was not",
        "order.orders.channel",
        &[("order", Sql("update orders set channel = 'store' where id = 'card'"))],
        "what is stored is what its last event says",
    ),
    faults(
        "a card order made on account",
        "order.orders.payment_method",
        &[("order", Sql("update orders set payment_method = 'on_account' where id = 'card'"))],
        "confirmed orders have one captured payment",
    ),
    faults(
        "a card order made a cash order",
        "order.orders.payment_method",
        &[("order", Sql("update orders set payment_method = 'cash' where id = 'card'"))],
        "payments have the payer",
    ),
    faults(
        "a payment status by hand",
        "order.orders.payment_status",
        &[("order", Sql("update orders set payment_status = 'refunded' where id = 'card'"))],
        "payments have the payer",
    ),
    faults(
        "another currency",
        "order.orders.currency",
        &[("order", Sql("update orders set currency = 'JPY' where id = 'card'"))],
        "payments have the payer",
    ),
    faults(
        "another time of sale",
        "order.orders.placed_at",
        &[("order", Sql("update orders set placed_at = placed_at + 86400000000 where id = 'card'"))],
        "reports equal the orders",
    ),
    faults(
        "another time of storing",
        "order.orders.created_at",
        &[("order", Sql("update orders set created_at = created_at - 1 where id = 'card'"))],
        "what is stored is what its last event says",
    ),
    faults(
        "another reason of a cancellation",
        "order.orders.reason",
        &[("order", Sql("update orders set reason = 'stolen' where id = 'cancelled'"))],
        "what is stored is what its last event says",
    ),
    faults(
        "another address",
        "order.orders.shipping",
        &[("order", Sql("update orders set shipping = replace(shipping, 'Main', 'Back') where id = 'cash'"))],
        "what is stored is what its last event says",
    ),
    faults(
        "another number of an order",
        "order.orders.number",
        &[("order", Sql("update orders set number = 9999 where id = 'card'"))],
        "no number of anything is given twice",
    ),
    faults(
        "another id of an order",
        "order.orders.id",
        &[
            ("order", Sql("delete from withdrawals where order_id = 'withdrawn'")),
            ("order", Sql("update order_lines set position = position where order_id = 'short'")),
            ("order", Sql("delete from order_lines where order_id = 'short'")),
            ("order", Sql("update orders set id = 'long' where id = 'short'")),
        ],
        "every change is published by one event",
    ),
    faults(
        "a change without an event",
        "order.orders.sequence",
        &[("order", Sql("update orders set sequence = sequence + 1 where id = 'card'"))],
        "every change is published by one event",
    ),
    faults(
        "an order that is gone",
        "order.orders",
        &[
            ("order", Sql("delete from order_lines where order_id = 'cash'")),
            ("order", Sql("delete from orders where id = 'cash'")),
        ],
        "payments belong to orders",
    ),
    faults(
        "a refund called refused, in the row",
        "order.returns.refund_status",
        &[("order", Sql("update returns set refund_status = 'refused' where id = 'return-1'"))],
        "no store contradicts itself",
    ),
    faults(
        "a refund called refused, while the money was given back",
        "order.returns.body",
        &[(
            "order",
            Sql(
                "update returns set refund_status = 'refused', body = replace(body, 'done', 'refused') where id = 'return-1'",
            ),
        )],
        "refunds of returns are",
    ),
    faults(
        "a smaller refund",
        "order.returns.refund_amount",
        &[("order", Sql("update returns set refund_amount = refund_amount - 1 where id = 'return-1'"))],
        "no store contradicts itself",
    ),
    faults(
        "a return of another order",
        "order.returns.order_id",
        &[("order", Sql("update returns set order_id = 'shipped' where id = 'return-1'"))],
        "no store contradicts itself",
    ),
    faults(
        "a return that is gone",
        "order.returns",
        &[("order", Sql("delete from returns where id = 'return-1'"))],
        "no store contradicts itself",
    ),
    faults(
        "a return under another id",
        "order.returns.id",
        &[("order", Sql("update returns set id = 'return-2' where id = 'return-1'"))],
        "no store contradicts itself",
    ),
    faults(
        "orders counted anew",
        "order.counters.last",
        &[("order", Sql("update counters set last = 0 where kind = 'order'"))],
        "no number of anything is given twice",
    ),
    faults(
        "items of carts counted anew",
        "order.cart_items.number",
        &[("order", Sql("update counters set last = 0 where kind = 'cart_item'"))],
        "no number of anything is given twice",
    ),
    faults(
        "a cart stuck in its checkout",
        "order.carts.checking_out",
        &[("order", Sql("update carts set checking_out = 1"))],
        "no store contradicts itself",
    ),
    faults(
        "more revenue in the reports",
        "order.sales_summary.revenue",
        &[("order", Sql("update sales_summary set revenue = revenue + 1 where what = 'orders' and grain = 'day'"))],
        "reports equal the orders",
    ),
    faults(
        "fewer pieces in the reports",
        "order.sales_summary.quantity",
        &[(
            "order",
            Sql("update sales_summary set quantity = quantity - 1 where what = 'products' and grain = 'month'"),
        )],
        "reports equal the orders",
    ),
    faults(
        "more orders in the reports",
        "order.sales_summary.orders",
        &[("order", Sql("update sales_summary set orders = orders + 1 where what = 'orders' and grain = 'year'"))],
        "reports equal the orders",
    ),
    faults(
        "a report that is gone",
        "order.sales_summary",
        &[("order", Sql("delete from sales_summary where grain = 'day' and what = 'products'"))],
        "reports equal the orders",
    ),
    faults(
        "an order that the reports count again",
        "order.orders.summed",
        &[("order", Sql("update orders set summed = 0 where id = 'card'"))],
        "reports equal the orders",
    ),
    faults(
        "a withdrawal of an order that stands",
        "order.withdrawals.done",
        &[(
            "order",
            Sql("insert into withdrawals (order_id, due_at, decided, done, actor) values ('shipped', 0, 1, 1, 'ada')"),
        )],
        "withdrawn orders are cancelled",
    ),
    faults(
        "an order's event altered in the outbox",
        "order.outbox.payload",
        &[(
            "order",
            Sql(
                r#"update outbox set payload = replace(payload, '"total":', '"total":1') where topic = 'orders' and key = 'card'"#,
            ),
        )],
        "events are on the bus in order",
    ),
    faults(
        "an event that is gone from the outbox",
        "order.outbox",
        &[("order", Sql("delete from outbox where topic = 'orders' and key = 'card' and sequence = 2"))],
        "every change is published by one event",
    ),
    faults(
        "an event of another order",
        "order.outbox.key",
        &[("order", Sql("update outbox set key = 'shipped' where topic = 'orders' and key = 'card' and sequence = 2"))],
        "every change is published by one event",
    ),
    faults(
        "an event on another topic",
        "order.outbox.topic",
        &[("order", Sql("update outbox set topic = 'stock' where topic = 'orders' and key = 'card' and sequence = 2"))],
        "every change is published by one event",
    ),
    faults(
        "an event under another number",
        "order.outbox.sequence",
        &[(
            "order",
            Sql("update outbox set sequence = sequence + 10 where topic = 'orders' and key = 'card' and sequence = 3"),
        )],
        "every change is published by one event",
    ),
    faults(
        "an inbox of the order service set ahead",
        "order.inbox.sequence",
        &[("order", Sql("update inbox set sequence = sequence + 5 where subject = 'card'"))],
        "services have consumed only what was published",
    ),
    faults(
        "another order's event consumed",
        "order.inbox.subject",
        &[("order", Sql("update inbox set subject = 'no-order' where subject = 'card'"))],
        "services have consumed only what was published",
    ),
    faults(
        "an event of another topic consumed",
        "order.inbox.topic",
        &[("order", Sql("update inbox set topic = 'products' where subject = 'card'"))],
        "services have consumed only what was published",
    ),
    faults(
        "old events deleted that are still to come",
        "order.pruned.before",
        &[("order", Sql("insert into pruned (name, before) values ('outbox', 9999999999999999)"))],
        "only what is old was deleted",
    ),
];
