//! Faults in the catalogue.

use super::{Planted, faults};
use crate::stores::Change::Sql;

pub(super) const FAULTS: &[Planted] = &[
    faults(
        "another price",
        "product.products.price",
        &[("product", Sql("update products set price = price - 100 where id = 'TEA'"))],
        "what is stored is what its last event says",
    ),
    faults(
        "another name of a product",
        "product.products.name",
        &[("product", Sql("update products set name = 'COFFEE' where id = 'TEA'"))],
        "what is stored is what its last event says",
    ),
    faults(
        "a price in another currency",
        "product.products.currency",
        &[("product", Sql("update products set currency = 'JPY' where id = 'TEA'"))],
        "what is stored is what its last event says",
    ),
    faults(
        "a product taken from sale",
        "product.products.active",
        &[("product", Sql("update products set active = 0 where id = 'TEA'"))],
        "what is stored is what its last event says",
    ),
    faults(
        "another category",
        "product.products.category",
        &[("product", Sql("update products set category = 'drinks' where id = 'POT'"))],
        "what is stored is what its last event says",
    ),
    faults(
        "another description",
        "product.products.description",
        &[("product", Sql("update products set description = 'chipped' where id = 'POT'"))],
        "what is stored is what its last event says",
    ),
    faults(
        "a product under another number",
        "product.products.number",
        &[("product", Sql("update products set number = 9999 where id = 'TEA'"))],
        "no number of anything is given twice",
    ),
    faults(
        "a product's change without an event",
        "product.products.sequence",
        &[("product", Sql("update products set sequence = sequence + 1 where id = 'TEA'"))],
        "every change is published by one event",
    ),
    faults(
        "a product's version",
        "product.products.version",
        &[("product", Sql("update products set version = version + 1 where id = 'TEA'"))],
        "what is stored is what its last event says",
    ),
    faults(
        "a product made at another time",
        "product.products.created_at",
        &[("product", Sql("update products set created_at = created_at - 1 where id = 'TEA'"))],
        "what is stored is what its last event says",
    ),
    faults(
        "a product changed at another time",
        "product.products.updated_at",
        &[("product", Sql("update products set updated_at = updated_at + 1 where id = 'TEA'"))],
        "what is stored is what its last event says",
    ),
    faults(
        "a product under another id",
        "product.products.id",
        &[("product", Sql("update products set id = 'COFFEE' where id = 'TEA'"))],
        "every change is published by one event",
    ),
    faults(
        "a product that is gone",
        "product.products",
        &[("product", Sql("delete from products where id = 'TEA'"))],
        "every change is published by one event",
    ),
    faults(
        "products counted anew",
        "product.counters.last",
        &[("product", Sql("update counters set last = 0 where kind = 'product'"))],
        "no number of anything is given twice",
    ),
    faults(
        "an event altered in the outbox",
        "product.outbox.payload",
        &[(
            "product",
            Sql(
                r#"update outbox set payload = replace(payload, '"data":{', '"data":{"x":1,') where id = (select min(id) from outbox where topic = 'products')"#,
            ),
        )],
        "events are on the bus in order",
    ),
    faults(
        "an event that is gone from the outbox",
        "product.outbox",
        &[("product", Sql("delete from outbox where id = (select min(id) from outbox where topic = 'products')"))],
        "every change is published by one event",
    ),
    faults(
        "an event of another resource",
        "product.outbox.key",
        &[(
            "product",
            Sql("update outbox set key = 'other' where id = (select min(id) from outbox where topic = 'products')"),
        )],
        "every change is published by one event",
    ),
    faults(
        "an event on another topic",
        "product.outbox.topic",
        &[(
            "product",
            Sql("update outbox set topic = 'orders' where id = (select min(id) from outbox where topic = 'products')"),
        )],
        "every change is published by one event",
    ),
    faults(
        "an event under another number",
        "product.outbox.sequence",
        &[(
            "product",
            Sql(
                "update outbox set sequence = sequence + 10 where id = (select min(id) from outbox where topic = 'products')",
            ),
        )],
        "every change is published by one event",
    ),
    faults(
        "old events deleted that are still to come",
        "product.pruned.before",
        &[("product", Sql("insert into pruned (name, before) values ('outbox', 9999999999999999)"))],
        "only what is old was deleted",
    ),
];
