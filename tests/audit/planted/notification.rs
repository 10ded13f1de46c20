//! Faults in notifications.

use super::{Planted, faults};
use crate::stores::Change::Sql;

pub(super) const FAULTS: &[Planted] = &[
    faults(
        "a notification that is gone",
        "notification.notifications",
        &[("notification", Sql("delete from notifications where order_id = 'card' and kind = 'order.confirmed'"))],
        "events that were consumed have made their notifications",
    ),
    faults(
        "a notification shown to another customer",
        "notification.notifications.customer_id",
        &[("notification", Sql("update notifications set customer_id = 'eve' where order_id = 'card'"))],
        "events that were consumed have made their notifications",
    ),
    faults(
        "a notification about another order",
        "notification.notifications.order_id",
        &[("notification", Sql("update notifications set order_id = 'shipped' where order_id = 'card'"))],
        "events that were consumed have made their notifications",
    ),
    faults(
        "a notification shown in another place",
        "notification.notifications.place_id",
        &[("notification", Sql("update notifications set place_id = 'north' where order_id = 'card'"))],
        "events that were consumed have made their notifications",
    ),
    faults(
        "a notification of another kind",
        "notification.notifications.kind",
        &[(
            "notification",
            Sql(
                "update notifications set kind = 'order.cancelled' where order_id = 'card' and kind = 'order.confirmed'",
            ),
        )],
        "events that were consumed have made their notifications",
    ),
    faults(
        "a notification about something else",
        "notification.notifications.subject",
        &[("notification", Sql("update notifications set subject = 'shipped' where order_id = 'card'"))],
        "events that were consumed have made their notifications",
    ),
    faults(
        "a notification under another id",
        "notification.notifications.id",
        &[(
            "notification",
            Sql("update notifications set id = 'x' where order_id = 'card' and kind = 'order.confirmed'"),
        )],
        "events that were consumed have made their notifications",
    ),
    faults(
        "an inbox of notifications set ahead",
        "notification.inbox.sequence",
        &[("notification", Sql("update inbox set sequence = sequence + 5 where subject = 'card'"))],
        "services have consumed only what was published",
    ),
    faults(
        "another order's event consumed",
        "notification.inbox.subject",
        &[("notification", Sql("update inbox set subject = 'no-order' where topic = 'orders' and subject = 'card'"))],
        "services have consumed only what was published",
    ),
    faults(
        "an event of another topic consumed",
        "notification.inbox.topic",
        &[("notification", Sql("update inbox set topic = 'products' where topic = 'orders' and subject = 'card'"))],
        "services have consumed only what was published",
    ),
    faults(
        "notifications deleted that are still to come",
        "notification.pruned.before",
        &[("notification", Sql("insert into pruned (name, before) values ('notifications', 9999999999999999)"))],
        "only what is old was deleted",
    ),
];
