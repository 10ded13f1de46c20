//! A disk that takes no more: SQLite then rolls the transaction back by itself.

use std::process::Command;

use db::{Error, query};
use tokio::signal::unix::{SignalKind, signal};

use crate::{COLUMNS, fresh, good};

/// Limits the size of the files that this process writes, in bytes. Nextest runs each test in a process of its own.
fn limit_file_size(bytes: &str) {
    let pid = std::process::id().to_string();
    let limited = Command::new("prlimit").args(["--pid", &pid, &format!("--fsize={bytes}:unlimited")]).status();
    assert!(limited.expect("prlimit of util-linux").success());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_full_disk_costs_the_connection_and_not_the_store() {
    let (store, db) = fresh().await;
    if !store.url.starts_with("sqlite:") || std::env::var_os("NEXTEST").is_none() {
        return;
    }
    // Without a handler, the signal of a write beyond the limit (SIGXFSZ) would end the process.
    let _handled = signal(SignalKind::from_raw(25)).expect("handled");
    let write = async |place: i64, rows: i64| {
        let mut tx = db.write().await?;
        let rows = (place..place + rows).map(|n| good(&format!("{n:0>200}"), n, n));
        db::insert("goods", COLUMNS, rows).execute(&mut tx).await?;
        tx.commit().await
    };
    write(0, 500).await.expect("has room");
    // Open, so that the log, which is past the limit, stays; the shared memory beside it is smaller than the limit.
    let mut reader = db.read().await.expect("reads");
    limit_file_size("40000");
    for place in [10_000, 20_000, 30_000] {
        let error = write(place, 50).await.expect_err("no room");
        assert!(matches!(error, Error::Unavailable(_)) && !error.is_of_data(), "{error:?}");
    }
    db.write().await.expect("begins").commit().await.expect("nothing to write");
    let reason = db.ping().await.expect_err("cannot be written");
    assert!(matches!(reason, Error::Unavailable(_)), "{reason:?}");
    let row = query("select count(*) as n from goods").fetch_one(&mut reader).await.expect("reads");
    assert_eq!(row.get::<i64>("n").expect("a number"), 500, "nothing of the failed transactions");
    limit_file_size("unlimited");
    db.ping().await.expect("can be written");
    write(40_000, 5_000).await.expect("has room again");
}

#[tokio::test]
async fn a_transaction_that_is_given_up_while_it_begins_or_writes_leaves_a_usable_connection() {
    let (_store, db) = fresh().await;
    for n in 0..50 {
        let work = async {
            let mut tx = db.write().await?;
            db::insert("goods", COLUMNS, [good(&format!("g{n}"), n, n)]).execute(&mut tx).await?;
            tx.commit().await
        };
        let _ = tokio::time::timeout(std::time::Duration::from_micros(n.unsigned_abs() * 20), work).await;
    }
    let mut tx = db.write().await.expect("begins");
    db::insert("goods", COLUMNS, [good("last", 99, 1)]).execute(&mut tx).await.expect("inserts");
    tx.commit().await.expect("commits");
}
