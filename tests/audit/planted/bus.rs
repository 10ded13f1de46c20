//! Faults in the embedded bus.

use super::{Planted, faults};
use crate::stores::Change::Sql;

pub(super) const FAULTS: &[Planted] = &[
    faults(
        "an event repeated with other contents",
        "bus.log.payload",
        &[(
            "bus",
            Sql(
                "insert into log (topic, key, payload, at) select topic, key, replace(payload, '\"total\":', '\"total\":1'), at from log where topic = 'orders' and key = 'shipped'",
            ),
        )],
        "events are on the bus in order",
    ),
    faults(
        "a message altered on the bus",
        "bus.log.payload",
        &[(
            "bus",
            Sql("update log set payload = replace(payload, 'TEA', 'POT') where topic = 'orders' and key = 'card'"),
        )],
        "events are on the bus in order",
    ),
    faults(
        "a message that is gone from the bus",
        "bus.log",
        &[("bus", Sql("delete from log where topic = 'orders' and key = 'card' and payload like '%order.confirmed%'"))],
        "events are on the bus in order",
    ),
    faults(
        "a message of another order",
        "bus.log.key",
        &[(
            "bus",
            Sql(
                "update log set key = 'shipped' where topic = 'orders' and key = 'card' and payload like '%order.confirmed%'",
            ),
        )],
        "events are on the bus in order",
    ),
    faults(
        "a message on another topic",
        "bus.log.topic",
        &[(
            "bus",
            Sql(
                "update log set topic = 'stock' where topic = 'orders' and key = 'card' and payload like '%order.confirmed%'",
            ),
        )],
        "events are on the bus in order",
    ),
    faults(
        "a message that nobody will read",
        "bus.offsets.position",
        &[("bus", Sql("update offsets set position = position + 1000 where grp = 'stock'"))],
        "events that a service has handled",
    ),
    faults(
        "a dead letter that nobody replayed",
        "bus.log",
        &[(
            "bus",
            Sql(
                r#"insert into log (topic, key, payload, at) select 'orders.dlq', key, '{"reason":"x","group":"stock","in_order":true,"payload":' || json_quote(payload) || '}', at from log where topic = 'orders' and key = 'card' and payload like '%order.confirmed%'"#,
            ),
        )],
        "dead letters were replayed",
    ),
    faults(
        "a log whose beginning is still to come",
        "bus.pruned.before",
        &[("bus", Sql("insert into pruned (name, before) values ('log', 9999999999999999)"))],
        "only what is old was deleted",
    ),
];
