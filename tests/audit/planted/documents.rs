//! Faults in customers, prospects and activities, in MongoDB.

use super::{Planted, faults};
use crate::stores::Change::Mongo;

const ADA: &str = r#"{"email": "ada@example.org"}"#;
const STORED: &str = "what is stored is what its last event says";
/// Their events are in the same document, so they are gone from the outbox as well.
const ON_THE_BUS: &str = "events are on the bus in order";
const PUBLISHED: &str = "every change is published by one event";

pub(super) const FAULTS: &[Planted] = &[
    faults(
        "another name of a customer",
        "customer.customers.name",
        &[("customer", Mongo("customers", ADA, r#"{"$set": {"name": "Eve"}}"#))],
        STORED,
    ),
    faults(
        "another address of a customer's letters",
        "customer.customers.email",
        &[("customer", Mongo("customers", ADA, r#"{"$set": {"email": "eve@example.org"}}"#))],
        STORED,
    ),
    faults(
        "a customer under another number",
        "customer.customers.number",
        &[("customer", Mongo("customers", ADA, r#"{"$set": {"number": 9999}}"#))],
        "no number of anything is given twice",
    ),
    faults(
        "a customer's change without an event",
        "customer.customers.sequence",
        &[("customer", Mongo("customers", ADA, r#"{"$inc": {"sequence": 1}}"#))],
        PUBLISHED,
    ),
    faults(
        "a customer that is gone",
        "customer.customers",
        &[("customer", Mongo("customers", ADA, "delete"))],
        ON_THE_BUS,
    ),
    faults(
        "a customer's events that are gone",
        "customer.customers.outbox",
        &[("customer", Mongo("customers", ADA, r#"{"$unset": {"outbox": 1}}"#))],
        PUBLISHED,
    ),
    faults(
        "a prospect won by hand",
        "customer.prospects.stage",
        &[("customer", Mongo("prospects", "{}", r#"{"$set": {"stage": "won"}}"#))],
        STORED,
    ),
    faults(
        "a prospect that is gone",
        "customer.prospects",
        &[("customer", Mongo("prospects", "{}", "delete"))],
        ON_THE_BUS,
    ),
    faults(
        "an activity from another time",
        "customer.activities.created_at",
        &[("customer", Mongo("activities", "{}", r#"{"$inc": {"created_at": -1}}"#))],
        STORED,
    ),
    faults(
        "an activity that is gone",
        "customer.activities",
        &[("customer", Mongo("activities", r#"{"number": 1}"#, "delete"))],
        ON_THE_BUS,
    ),
];
