//! Faults in customers, prospects and activities, in SQL.

use super::{Planted, faults};
use crate::stores::Change::Sql;

pub(super) const FAULTS: &[Planted] = &[
    faults(
        "another name of a customer",
        "customer.customers.name",
        &[("customer", Sql("update customers set name = 'Eve' where email = 'ada@example.org'"))],
        "what is stored is what its last event says",
    ),
    faults(
        "another address of a customer's letters",
        "customer.customers.email",
        &[("customer", Sql("update customers set email = 'eve@example.org' where email = 'ada@example.org'"))],
        "what is stored is what its last event says",
    ),
    faults(
        "a customer under another number",
        "customer.customers.number",
        &[("customer", Sql("update customers set number = 9999 where email = 'ada@example.org'"))],
        "no number of anything is given twice",
    ),
    faults(
        "a customer's change without an event",
        "customer.customers.sequence",
        &[("customer", Sql("update customers set sequence = sequence + 1 where email = 'ada@example.org'"))],
        "every change is published by one event",
    ),
    faults(
        "a customer that is gone",
        "customer.customers",
        &[("customer", Sql("delete from customers where email = 'ada@example.org'"))],
        "every change is published by one event",
    ),
    faults(
        "a prospect won by hand",
        "customer.prospects.stage",
        &[("customer", Sql("update prospects set stage = 'won'"))],
        "what is stored is what its last event says",
    ),
    faults(
        "another prospect",
        "customer.prospects.first_name",
        &[("customer", Sql("update prospects set first_name = 'Eve'"))],
        "what is stored is what its last event says",
    ),
    faults(
        "a prospect's change without an event",
        "customer.prospects.sequence",
        &[("customer", Sql("update prospects set sequence = sequence + 1"))],
        "every change is published by one event",
    ),
    faults(
        "a prospect that is gone",
        "customer.prospects",
        &[("customer", Sql("delete from prospects"))],
        "every change is published by one event",
    ),
    faults(
        "an activity from another time",
        "customer.activities.created_at",
        &[("customer", Sql("update activities set created_at = created_at - 1"))],
        "what is stored is what its last event says",
    ),
    faults(
        "a customer without an address for letters",
        "customer.customers.email",
        &[("customer", Sql("update customers set email = null where email = 'ada@example.org'"))],
        "what is stored is what its last event says",
    ),
    faults(
        "an activity that is gone",
        "customer.activities",
        &[("customer", Sql("delete from activities where number = 1"))],
        "every change is published by one event",
    ),
    faults(
        "an event altered in the outbox",
        "customer.outbox.payload",
        &[(
            "customer",
            Sql(
                "update outbox set payload = replace(payload, 'ada@example.org', 'eve@example.org') where topic = 'customers'",
            ),
        )],
        "what is stored is what its last event says",
    ),
    faults(
        "an event that is gone from the outbox",
        "customer.outbox",
        &[("customer", Sql("delete from outbox where id = (select min(id) from outbox where topic = 'customers')"))],
        "every change is published by one event",
    ),
    faults(
        "an event of another resource",
        "customer.outbox.key",
        &[(
            "customer",
            Sql("update outbox set key = 'other' where id = (select min(id) from outbox where topic = 'customers')"),
        )],
        "every change is published by one event",
    ),
    faults(
        "an event on another topic",
        "customer.outbox.topic",
        &[(
            "customer",
            Sql("update outbox set topic = 'orders' where id = (select min(id) from outbox where topic = 'customers')"),
        )],
        "every change is published by one event",
    ),
    faults(
        "an event under another number",
        "customer.outbox.sequence",
        &[(
            "customer",
            Sql(
                "update outbox set sequence = sequence + 10 where id = (select min(id) from outbox where topic = 'customers')",
            ),
        )],
        "every change is published by one event",
    ),
    faults(
        "old events deleted that are still to come",
        "customer.pruned.before",
        &[("customer", Sql("insert into pruned (name, before) values ('outbox', 9999999999999999)"))],
        "only what is old was deleted",
    ),
];
