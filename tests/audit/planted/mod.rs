//! The faults, each of them found by the check that is about it; and on a clean fleet none is found.

mod bus;
mod customer;
mod documents;
mod notification;
mod order;
mod payment;
mod product;
mod stock;

use std::{collections::BTreeSet, io::Write as _};

use anyhow::{Context, Result, ensure};
use fleet_tests::{Fleet, audit, drain_and_audit, on_servers};
use futures::{StreamExt, TryStreamExt, stream};
use serde_json::Value;

use crate::{
    day,
    stores::{self, Change, Copy},
    unchecked,
};

/// Copies of the stores, in which faults are planted at the same time: an audit of servers mostly waits for them.
const COPIES: usize = 3;

/// A fault.
struct Planted {
    /// What somebody has done.
    name: &'static str,
    /// The column that it is about, or the table of rows that are gone: `service.table.column`.
    column: &'static str,
    /// The changes of the services' stores.
    changes: &'static [(&'static str, Change)],
    /// How the name of the check begins that must find it.
    found_by: &'static str,
}

const fn faults(
    name: &'static str,
    column: &'static str,
    changes: &'static [(&'static str, Change)],
    found_by: &'static str,
) -> Planted {
    Planted { name, column, changes, found_by }
}

const SQL: [&[Planted]; 7] = [
    order::FAULTS,
    payment::FAULTS,
    stock::FAULTS,
    product::FAULTS,
    customer::FAULTS,
    notification::FAULTS,
    bus::FAULTS,
];

/// Whether this run has a store of this kind for it.
fn applies(fault: &Planted) -> bool {
    match fault.changes[0] {
        // The messages on Kafka cannot be altered.
        ("bus", _) => !on_servers(),
        ("customer", Change::Sql(_)) => !on_servers(),
        (_, Change::Mongo(..)) => on_servers(),
        (_, Change::Sql(_)) => true,
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn every_planted_fault_is_found_and_none_on_a_clean_fleet() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let data = folder.path().join("data");
    let fleet = Fleet::start_with(&data, &day::SETTINGS).await?;
    day::live(&fleet).await?;
    let clean = drain_and_audit(fleet).await?;
    let checks = clean.report["checks"].as_array().context("checks")?;
    // Nothing was given up or deleted in one day.
    let never = ["dead letters were replayed", "only what is old was deleted"];
    for check in checks.iter().filter(|check| never.iter().all(|name| check["name"] != *name)) {
        ensure!(check["count"] != 0 || check["left_out"].is_string(), "nothing was checked: {check}");
    }
    let all: Vec<&Planted> =
        SQL.into_iter().flatten().chain(documents::FAULTS).filter(|fault| applies(fault)).collect();
    // Each copy of the stores has every so many-th fault, one after the other.
    let copies = stream::iter(0..COPIES).map(|number| {
        let (all, data, folder) = (&all, &data, folder.path().join(number.to_string()));
        async move {
            let copy = Copy::of(data, folder).await?;
            let mut found = Vec::new();
            for fault in all.iter().skip(number).step_by(COPIES) {
                found.push(plant(&copy, fault).await.with_context(|| fault.name)?);
            }
            anyhow::Ok(found)
        }
    });
    let found: Vec<Vec<Vec<String>>> = copies.buffered(COPIES).try_collect().await?;
    let mut missed = Vec::new();
    let mut table = String::new();
    for (number, fault) in all.iter().enumerate() {
        let found = &found[number % COPIES][number / COPIES];
        let right = found.iter().any(|name| fault.found_by.split('|').any(|check| name.starts_with(check)));
        let mark = if right { "found " } else { "MISSED" };
        let by = found.iter().find(|name| name.starts_with(fault.found_by)).or(found.first());
        table += &format!("{mark}  {:<44} {:<60} {}\n", fault.column, fault.name, by.map_or("-", String::as_str));
        if !right {
            missed.push((fault.name, found));
        }
    }
    writeln!(std::io::stdout(), "{table}{} faults, {} missed", all.len(), missed.len())?;
    ensure!(missed.is_empty(), "missed, with what failed instead: {missed:#?}");
    ensure!(all.len() >= 60, "only {} faults", all.len());
    Ok(())
}

/// Plants a fault in a copy of the stores, and returns the names of the checks that fail.
async fn plant(copy: &Copy, fault: &Planted) -> Result<Vec<String>> {
    for (service, change) in fault.changes {
        stores::change(&copy.folder, service, *change).await?;
    }
    let found = audit(&copy.folder).await?;
    let services: BTreeSet<&str> = fault.changes.iter().map(|(service, _)| *service).collect();
    for service in services {
        copy.restore(service).await?;
    }
    let checks = found.report["checks"].as_array().into_iter().flatten();
    Ok(checks
        .filter(|check| check["ok"] == false)
        .filter_map(|check| Some(check["name"].as_str()?.to_owned()))
        .collect())
}

#[tokio::test]
async fn every_column_has_a_fault_or_a_reason_why_it_is_not_checked() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let fleet = Fleet::embedded(folder.path(), &[]).await?;
    fleet.terminate().await?;
    let planted: BTreeSet<&str> = SQL.into_iter().flatten().map(|fault| fault.column).collect();
    let mut without = Vec::new();
    let mut known = BTreeSet::new();
    for service in ["order", "payment", "stock", "product", "customer", "notification", "bus"] {
        for column in stores::columns(folder.path(), service).await? {
            let column = format!("{service}.{column}");
            if !planted.contains(column.as_str()) && unchecked::reason(&column).is_none() {
                without.push(column.clone());
            }
            let table = column.rsplit_once('.').map(|(table, _)| table.to_owned()).unwrap_or_default();
            known.extend([table, column]);
        }
    }
    ensure!(without.is_empty(), "neither a fault nor a reason: {without:#?}");
    let unknown: Vec<&&str> = planted.iter().filter(|column| !known.contains(**column)).collect();
    ensure!(unknown.is_empty(), "no such column: {unknown:?}");
    let stale: Vec<&str> =
        unchecked::patterns().filter(|one| !known.iter().any(|it| unchecked::matches(one, it))).collect();
    ensure!(stale.is_empty(), "a reason for no column: {stale:?}");
    Ok(())
}

/// Only so that the table of JSON faults is read as JSON before a server is needed.
#[test]
fn the_changes_of_documents_are_json() {
    for fault in documents::FAULTS {
        for (_, change) in fault.changes {
            let Change::Mongo(_, filter, update) = change else { continue };
            assert!(serde_json::from_str::<Value>(filter).is_ok(), "{filter}");
            assert!(*update == "delete" || serde_json::from_str::<Value>(update).is_ok(), "{update}");
        }
    }
}
