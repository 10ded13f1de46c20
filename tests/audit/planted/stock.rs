//! Faults in levels, the ledger, reservations, adjustments and replenishments.

use super::{Planted, faults};
use crate::stores::Change::Sql;

pub(super) const FAULTS: &[Planted] = &[
    faults(
        "more on hand",
        "stock.levels.on_hand",
        &[(
            "stock",
            Sql("update levels set on_hand = on_hand + 1 where product_id = 'TEA' and place_id = 'logistics'"),
        )],
        "stock on hand",
    ),
    faults(
        "reserved by nobody",
        "stock.levels.reserved",
        &[(
            "stock",
            Sql("update levels set reserved = reserved + 1 where product_id = 'TEA' and place_id = 'logistics'"),
        )],
        "reserved = open reservations",
    ),
    faults(
        "a level's change without an event",
        "stock.levels.sequence",
        &[(
            "stock",
            Sql("update levels set sequence = sequence + 1 where product_id = 'TEA' and place_id = 'logistics'"),
        )],
        "every change is published by one event",
    ),
    faults(
        "a level that is gone",
        "stock.levels",
        &[("stock", Sql("delete from levels where product_id = 'POT' and place_id = 'logistics'"))],
        "sold and returned in the ledger|what is stored",
    ),
    faults(
        "sold twice, with the goods gone",
        "stock.ledger.id",
        &[
            (
                "stock",
                Sql(
                    "insert into ledger (id, product_id, place_id, kind, quantity, balance, cause, reason, actor, at) select id || 'x', product_id, place_id, kind, quantity, balance + quantity, cause, reason, actor, at from ledger where kind = 'sold' and cause = 'card' and product_id = 'TEA'",
                ),
            ),
            (
                "stock",
                Sql("update levels set on_hand = on_hand - 3 where product_id = 'TEA' and place_id = 'logistics'"),
            ),
        ],
        "sold and returned in the ledger",
    ),
    faults(
        "a sale to nobody: theft",
        "stock.ledger.cause",
        &[
            (
                "stock",
                Sql(
                    "insert into ledger (id, product_id, place_id, kind, quantity, balance, cause, reason, actor, at) select id || 'x', product_id, place_id, 'sold', -2, balance - 2, 'no-order', '', actor, at from ledger where kind = 'sold' and cause = 'card' and product_id = 'TEA'",
                ),
            ),
            (
                "stock",
                Sql("update levels set on_hand = on_hand - 2 where product_id = 'TEA' and place_id = 'logistics'"),
            ),
        ],
        "sold and returned in the ledger",
    ),
    faults(
        "the ledger's cause altered",
        "stock.ledger.cause",
        &[(
            "stock",
            Sql("update ledger set cause = 'shipped' where cause = 'card' and product_id = 'TEA' and kind = 'sold'"),
        )],
        "no store contradicts itself",
    ),
    faults(
        "the ledger's quantity altered",
        "stock.ledger.quantity",
        &[(
            "stock",
            Sql(
                "update ledger set quantity = quantity - 1 where cause = 'card' and product_id = 'TEA' and kind = 'sold'",
            ),
        )],
        "stock on hand",
    ),
    faults(
        "the ledger's balance altered",
        "stock.ledger.balance",
        &[(
            "stock",
            Sql(
                "update ledger set balance = balance + 1000 where cause = 'card' and product_id = 'TEA' and kind = 'sold'",
            ),
        )],
        "no store contradicts itself",
    ),
    faults(
        "the ledger's kind altered",
        "stock.ledger.kind",
        &[(
            "stock",
            Sql("update ledger set kind = 'adjusted' where cause = 'card' and product_id = 'TEA' and kind = 'sold'"),
        )],
        "sold and returned in the ledger",
    ),
    faults(
        "the ledger's place altered",
        "stock.ledger.place_id",
        &[(
            "stock",
            Sql("update ledger set place_id = 'north' where cause = 'card' and product_id = 'TEA' and kind = 'sold'"),
        )],
        "stock on hand",
    ),
    faults(
        "the ledger's product altered",
        "stock.ledger.product_id",
        &[(
            "stock",
            Sql("update ledger set product_id = 'POT' where cause = 'card' and product_id = 'TEA' and kind = 'sold'"),
        )],
        "stock on hand",
    ),
    faults(
        "an entry of the ledger that is gone",
        "stock.ledger",
        &[("stock", Sql("delete from ledger where cause = 'card' and product_id = 'TEA' and kind = 'sold'"))],
        "stock on hand",
    ),
    faults(
        "an adjustment altered",
        "stock.adjustments.delta",
        &[("stock", Sql("update adjustments set delta = delta + 1 where product_id = 'TEA' and place_id = 'north'"))],
        "what is stored is what its last event says",
    ),
    faults(
        "an adjustment, its entry and the goods altered together",
        "stock.adjustments.delta",
        &[
            ("stock", Sql("update adjustments set delta = delta - 5 where product_id = 'TEA' and place_id = 'north'")),
            (
                "stock",
                Sql(
                    "update ledger set quantity = quantity - 5, balance = balance - 5 where product_id = 'TEA' and place_id = 'north' and kind = 'adjusted'",
                ),
            ),
            (
                "stock",
                Sql(
                    "update ledger set balance = balance - 5 where product_id = 'TEA' and place_id = 'north' and kind = 'sold'",
                ),
            ),
            ("stock", Sql("update levels set on_hand = on_hand - 5 where product_id = 'TEA' and place_id = 'north'")),
        ],
        "what is stored is what its last event says",
    ),
    faults(
        "an adjustment after which something else was on hand",
        "stock.adjustments.balance",
        &[(
            "stock",
            Sql("update adjustments set balance = balance + 1 where product_id = 'TEA' and place_id = 'north'"),
        )],
        "no store contradicts itself",
    ),
    faults(
        "an adjustment of another product",
        "stock.adjustments.product_id",
        &[("stock", Sql("update adjustments set product_id = 'POT' where product_id = 'TEA' and place_id = 'north'"))],
        "no store contradicts itself",
    ),
    faults(
        "an adjustment at another place",
        "stock.adjustments.place_id",
        &[(
            "stock",
            Sql("update adjustments set place_id = 'north' where product_id = 'POT' and place_id = 'logistics'"),
        )],
        "no store contradicts itself",
    ),
    faults(
        "an adjustment under another id",
        "stock.adjustments.id",
        &[("stock", Sql("update adjustments set id = 'other' where product_id = 'TEA' and place_id = 'north'"))],
        "what is stored is what its last event says",
    ),
    faults(
        "an adjustment that is gone",
        "stock.adjustments",
        &[("stock", Sql("delete from adjustments where product_id = 'TEA' and place_id = 'north'"))],
        "what is stored is what its last event says",
    ),
    faults(
        "a reservation released, while the order is confirmed",
        "stock.reservations.state",
        &[("stock", Sql("update reservations set state = 'released' where order_id = 'shipped'"))],
        "confirmed orders have their goods",
    ),
    faults(
        "a reservation at another place",
        "stock.reservations.place_id",
        &[("stock", Sql("update reservations set place_id = 'north' where order_id = 'shipped'"))],
        "an order's total",
    ),
    faults(
        "a reservation's change without an event",
        "stock.reservations.sequence",
        &[("stock", Sql("update reservations set sequence = sequence + 1 where order_id = 'shipped'"))],
        "every change is published by one event",
    ),
    faults(
        "a reservation of another order",
        "stock.reservations.order_id",
        &[(
            "stock",
            Sql(
                "insert into reservations (order_id, place_id, state, sequence, expires_at, created_at, updated_at) select 'no-order', place_id, 'held', 0, expires_at, created_at, updated_at from reservations where order_id = 'shipped'",
            ),
        )],
        "reservations belong to orders",
    ),
    faults(
        "a reservation that is gone",
        "stock.reservations",
        &[
            ("stock", Sql("delete from reservation_lines where order_id = 'shipped'")),
            ("stock", Sql("delete from reservations where order_id = 'shipped'")),
        ],
        "confirmed orders have their goods",
    ),
    faults(
        "more reserved than bought",
        "stock.reservation_lines.quantity",
        &[(
            "stock",
            Sql(
                "update reservation_lines set quantity = quantity + 1 where order_id = 'shipped' and product_id = 'TEA'",
            ),
        )],
        "confirmed orders have their goods",
    ),
    faults(
        "put back without a return",
        "stock.reservation_lines.restocked",
        &[(
            "stock",
            Sql("update reservation_lines set restocked = 1 where order_id = 'shipped' and product_id = 'TEA'"),
        )],
        "confirmed orders have their goods",
    ),
    faults(
        "another product reserved",
        "stock.reservation_lines.product_id",
        &[(
            "stock",
            Sql("update reservation_lines set product_id = 'CUP' where order_id = 'shipped' and product_id = 'TEA'"),
        )],
        "confirmed orders have their goods",
    ),
    faults(
        "a line of a reservation that is gone",
        "stock.reservation_lines",
        &[("stock", Sql("delete from reservation_lines where order_id = 'shipped' and product_id = 'TEA'"))],
        "confirmed orders have their goods",
    ),
    faults(
        "a reserved line of another order",
        "stock.reservation_lines.order_id",
        &[(
            "stock",
            Sql("update reservation_lines set order_id = 'short' where order_id = 'shipped' and product_id = 'TEA'"),
        )],
        "confirmed orders have their goods",
    ),
    faults(
        "more sent than left",
        "stock.replenishments.shipped",
        &[("stock", Sql("update replenishments set shipped = shipped + 1 where id = 'on-its-way'"))],
        "goods in transit",
    ),
    faults(
        "less received than came",
        "stock.replenishments.received",
        &[("stock", Sql("update replenishments set received = received - 1 where id = 'arrived'"))],
        "what is stored is what its last event says",
    ),
    faults(
        "more asked for",
        "stock.replenishments.quantity",
        &[("stock", Sql("update replenishments set quantity = quantity + 1 where id = 'arrived'"))],
        "what is stored is what its last event says",
    ),
    faults(
        "goods that never arrive",
        "stock.replenishments.stage",
        &[("stock", Sql("update replenishments set stage = 'received' where id = 'on-its-way'"))],
        "goods in transit",
    ),
    faults(
        "another product on its way",
        "stock.replenishments.product_id",
        &[("stock", Sql("update replenishments set product_id = 'TEA' where id = 'on-its-way'"))],
        "goods in transit",
    ),
    faults(
        "goods from elsewhere",
        "stock.replenishments.from_place_id",
        &[(
            "stock",
            Sql("update replenishments set place_id = 'logistics', from_place_id = 'north' where id = 'arrived'"),
        )],
        "what is stored is what its last event says",
    ),
    faults(
        "goods to elsewhere",
        "stock.replenishments.place_id",
        &[(
            "stock",
            Sql("update replenishments set place_id = 'logistics', from_place_id = 'north' where id = 'on-its-way'"),
        )],
        "what is stored is what its last event says",
    ),
    faults(
        "a replenishment under another number",
        "stock.replenishments.number",
        &[("stock", Sql("update replenishments set number = 999 where id = 'arrived'"))],
        "no number of anything is given twice",
    ),
    faults(
        "a replenishment that asked by itself",
        "stock.replenishments.automatic",
        &[("stock", Sql("update replenishments set automatic = 1 - automatic where id = 'arrived'"))],
        "what is stored is what its last event says",
    ),
    faults(
        "another actor of a replenishment",
        "stock.replenishments.history",
        &[(
            "stock",
            Sql(
                r#"update replenishments set history = replace(history, '"actor":"', '"actor":"x') where id = 'arrived'"#,
            ),
        )],
        "what is stored is what its last event says",
    ),
    faults(
        "a replenishment at another time",
        "stock.replenishments.updated_at",
        &[("stock", Sql("update replenishments set updated_at = updated_at + 1 where id = 'arrived'"))],
        "what is stored is what its last event says",
    ),
    faults(
        "a replenishment's change without an event",
        "stock.replenishments.sequence",
        &[("stock", Sql("update replenishments set sequence = sequence + 1 where id = 'arrived'"))],
        "every change is published by one event",
    ),
    faults(
        "a replenishment that is gone",
        "stock.replenishments",
        &[("stock", Sql("delete from replenishments where id = 'on-its-way'"))],
        "goods in transit",
    ),
    faults(
        "a replenishment under another id",
        "stock.replenishments.id",
        &[("stock", Sql("update replenishments set id = 'elsewhere' where id = 'arrived'"))],
        "no store contradicts itself",
    ),
    faults(
        "a place under another number",
        "stock.places.number",
        &[("stock", Sql("update places set number = 999 where id = 'north'"))],
        "no number of anything is given twice",
    ),
    faults(
        "replenishments counted anew",
        "stock.counters.value",
        &[("stock", Sql("update counters set value = 0 where name = 'replenishment'"))],
        "no number of anything is given twice",
    ),
    faults(
        "an inbox of stock set ahead",
        "stock.inbox.sequence",
        &[("stock", Sql("update inbox set sequence = sequence + 5 where subject = 'card'"))],
        "services have consumed only what was published",
    ),
    faults(
        "another order's event consumed",
        "stock.inbox.subject",
        &[("stock", Sql("update inbox set subject = 'no-order' where topic = 'orders' and subject = 'card'"))],
        "services have consumed only what was published",
    ),
    faults(
        "an event of another topic consumed",
        "stock.inbox.topic",
        &[("stock", Sql("update inbox set topic = 'products' where topic = 'orders' and subject = 'card'"))],
        "services have consumed only what was published",
    ),
    faults(
        "an event altered in the outbox",
        "stock.outbox.payload",
        &[(
            "stock",
            Sql(
                r#"update outbox set payload = replace(payload, '"data":{', '"data":{"x":1,') where id = (select min(id) from outbox where topic = 'stock')"#,
            ),
        )],
        "events are on the bus in order",
    ),
    faults(
        "an event that is gone from the outbox",
        "stock.outbox",
        &[("stock", Sql("delete from outbox where id = (select min(id) from outbox where topic = 'stock')"))],
        "every change is published by one event",
    ),
    faults(
        "an event of another resource",
        "stock.outbox.key",
        &[(
            "stock",
            Sql("update outbox set key = 'other' where id = (select min(id) from outbox where topic = 'stock')"),
        )],
        "every change is published by one event",
    ),
    faults(
        "an event on another topic",
        "stock.outbox.topic",
        &[(
            "stock",
            Sql("update outbox set topic = 'orders' where id = (select min(id) from outbox where topic = 'stock')"),
        )],
        "every change is published by one event",
    ),
    faults(
        "an event under another number",
        "stock.outbox.sequence",
        &[(
            "stock",
            Sql(
                "update outbox set sequence = sequence + 10 where id = (select min(id) from outbox where topic = 'stock')",
            ),
        )],
        "every change is published by one event",
    ),
    faults(
        "old events deleted that are still to come",
        "stock.pruned.before",
        &[("stock", Sql("insert into pruned (name, before) values ('outbox', 9999999999999999)"))],
        "only what is old was deleted",
    ),
];
