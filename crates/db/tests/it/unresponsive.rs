//! Callers that give up, and a server whose host failed: its connections stay open without a response, as in a failover.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use db::{Db, Options, insert, query};
use tokio::{
    io::copy_bidirectional,
    net::{TcpListener, TcpStream},
    sync::watch,
};

use crate::{COLUMNS, SCHEMA, good};

/// The host and port of a Postgres URL; none on SQLite.
fn server(url: &str) -> Option<&str> {
    url.strip_prefix("postgres://")?.split('/').next()?.rsplit('@').next()
}

/// A proxy before a server. Connections of past epochs stay open and transfer nothing any more.
async fn proxy(server: String) -> (String, Arc<watch::Sender<u64>>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("listens");
    let address = listener.local_addr().expect("listens").to_string();
    let epoch = Arc::new(watch::Sender::new(0));
    let epochs = Arc::clone(&epoch);
    tokio::spawn(async move {
        while let Ok((mut client, _)) = listener.accept().await {
            let (server, mut epoch) = (server.clone(), epochs.subscribe());
            tokio::spawn(async move {
                let mut server = TcpStream::connect(server).await.expect("connects");
                let _ = epoch.borrow_and_update();
                tokio::select! {
                    // Otherwise a query that comes at the same time may be transferred.
                    biased;
                    _ = epoch.changed() => std::future::pending().await,
                    _ = copy_bidirectional(&mut client, &mut server) => {}
                }
            });
        }
    });
    (address, epoch)
}

#[tokio::test(flavor = "multi_thread")]
async fn calls_to_a_failed_server_time_out_and_the_pool_recovers() {
    let store = testkit::store().await.expect("a database");
    let Some(server) = server(&store.url) else { return };
    let (address, epoch) = proxy(server.to_owned()).await;
    let url = store.url.replace(server, &address).replace("pool=6", "pool=3&statement_timeout_ms=300");
    let db = Db::open(&url, &Options::default(), None).await.expect("opens");
    let mut ready = Vec::new();
    for _ in 0..3 {
        ready.push(db.write().await.expect("begins"));
    }
    let [mut reading, committing, mut later] = <[_; 3]>::try_from(ready).expect("three");
    query("select 1 as one").fetch_one(&mut reading).await.expect("responds");
    epoch.send_modify(|epoch| *epoch += 1);
    let begun = Instant::now();
    let ask = async {
        let error = query("select 1 as one").fetch_one(&mut reading).await.expect_err("does not respond");
        assert!(error.is_unavailable() && !error.is_transient(), "{error:?}");
        assert!(committing.commit().await.expect_err("does not respond").is_unavailable());
        assert!(query("select 1 as one").execute(&mut later).await.expect_err("does not respond").is_unavailable());
    };
    tokio::time::timeout(Duration::from_secs(8), ask).await.expect("no call waits for ever");
    drop((reading, later));
    // The old connections free their slots in the pool.
    let again = async {
        let mut all = Vec::new();
        while all.len() < 3 {
            match db.read().await {
                Ok(tx) => all.push(tx),
                Err(error) => assert!(error.is_unavailable(), "{error:?}"),
            }
        }
        for tx in &mut all {
            query("select 1 as one").fetch_one(tx).await.expect("responds");
        }
    };
    tokio::time::timeout(Duration::from_secs(8), again).await.expect("the new server is found");
    assert!(begun.elapsed() < Duration::from_secs(15));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_begin_that_is_cancelled_leaves_no_open_transaction() {
    let store = testkit::store().await.expect("a database");
    let url = store.url.replace("pool=6", "pool=1");
    let db = Db::open(&url, &Options::default(), None).await.expect("opens");
    let sql = SCHEMA[0].sql.replace("{no such placeholder}", "").leak();
    db.migrate(&[db::Migration { sql, ..SCHEMA[0] }]).await.expect("migrates");
    db.ping().await.expect("responds");
    for n in 0..60 {
        let _ = tokio::time::timeout(Duration::from_micros(20 * n), db.snapshot()).await;
        let n = i64::try_from(n).expect("few");
        let mut tx = db.write().await.expect("begins");
        insert("goods", COLUMNS, [good(&format!("g{n}"), n, n)]).execute(&mut tx).await.expect("may write");
        tx.commit().await.expect("commits");
    }
}
