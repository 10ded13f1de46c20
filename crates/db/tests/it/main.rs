//! Tests of the guarantees of this crate, on the real engines.

use std::time::Duration;

use db::{Db, Error, Filter, Migration, Options, Tx, Value, insert, query, retry};
use testkit::Store;

mod disk_full;
mod unresponsive;

const SCHEMA: &[Migration] = &[Migration {
    version: 1,
    name: "test",
    sql: "create table goods (id text primary key, shelf text not null, place bigint not null, n bigint not null,
          note text, counted bigint, constraint goods_n_check check (n >= 0), unique (shelf, place));
          create table numbered (number {serial}, what text not null) {no such placeholder};",
}];

async fn fresh() -> (Store, Db) {
    let store = testkit::store().await.expect("a database");
    let steps = [Migration { sql: SCHEMA[0].sql.replace("{no such placeholder}", "").leak(), ..SCHEMA[0] }];
    let db = store.open(&steps).await.expect("migrates");
    (store, db)
}

fn good(id: &str, place: i64, n: i64) -> Vec<Value> {
    vec![id.into(), "a".into(), place.into(), n.into()]
}

const COLUMNS: &[&str] = &["id", "shelf", "place", "n"];

#[tokio::test]
async fn many_rows_go_in_and_come_back_by_list_and_rows() {
    let (_store, db) = fresh().await;
    let mut tx = db.write().await.expect("begins");
    let rows = (0..500).map(|n| good(&format!("g'{n}\"é"), n, n));
    assert_eq!(insert("goods", COLUMNS, rows).execute(&mut tx).await.expect("inserts"), 500);
    let changed = query(
        "update goods set n = n + cast(r.value->>1 as bigint) from {rows $1} r where goods.id = r.value->>0 and n > $2",
    )
    .rows([vec!["g'7\"é".into(), 3.into()], vec!["g'0\"é".into(), 3.into()]])
    .bind(0)
    .execute(&mut tx)
    .await
    .expect("updates");
    assert_eq!(changed, 1);
    let found = query("select n from goods where id in {list $1} and place in {ints $2} order by n")
        .list(["g'7\"é", "g'0\"é", "none"])
        .ints([7, 0])
        .fetch_all(&mut tx)
        .await
        .expect("reads");
    let n: Vec<i64> = found.iter().map(|row| row.get("n").expect("a number")).collect();
    assert_eq!(n, [0, 10]);
    tx.commit().await.expect("commits");
    assert_eq!(db.commits(), 1);
}

#[tokio::test]
async fn nulls_are_of_any_type_also_where_a_whole_column_is_null() {
    let (_store, db) = fresh().await;
    let mut tx = db.write().await.expect("begins");
    let nothing = || (Value::Null, Value::Null);
    let some = || (Value::from("note"), Value::from(7));
    for (place, (first, second)) in [(0, (nothing(), nothing())), (2, (nothing(), some())), (4, (some(), nothing()))] {
        let rows = [(place, first), (place + 1, second)].map(|(place, (note, counted))| {
            vec![format!("g{place}").into(), "a".into(), place.into(), 1.into(), note, counted]
        });
        insert("goods", &["id", "shelf", "place", "n", "note", "counted"], rows)
            .execute(&mut tx)
            .await
            .expect("inserts");
    }
    for (note, counted) in [(Some("x"), None), (None, Some(3_i64)), (None, None)] {
        query("update goods set note = $1, counted = $2 where id = $3")
            .bind(note)
            .bind(counted)
            .bind("g0")
            .execute(&mut tx)
            .await
            .expect("updates");
        let row =
            query("select note, counted from goods where id = $1").bind("g0").fetch_one(&mut tx).await.expect("reads");
        assert_eq!(row.get::<Option<String>>("note").expect("a text").as_deref(), note);
        assert_eq!(row.get::<Option<i64>>("counted").expect("a number"), counted);
    }
    let row = query("select count(*) as n from goods where counted = 7").fetch_one(&mut tx).await.expect("counts");
    assert_eq!(row.get::<i64>("n").expect("a number"), 2);
}

#[tokio::test]
async fn numbers_count_up_in_the_order_of_the_rows() {
    let (_store, db) = fresh().await;
    let mut tx = db.write().await.expect("begins");
    insert("numbered", &["what"], (0..100).map(|n| vec![format!("{n}").into()]))
        .execute(&mut tx)
        .await
        .expect("inserts");
    let rows = query("select what from numbered order by number").fetch_all(&mut tx).await.expect("reads");
    let what: Vec<String> = rows.iter().map(|row| row.get("what").expect("a text")).collect();
    assert_eq!(what, (0..100).map(|n| n.to_string()).collect::<Vec<_>>());
}

#[tokio::test]
async fn a_filter_finds_what_it_says() {
    let (_store, db) = fresh().await;
    let mut tx = db.write().await.expect("begins");
    let rows = [("a%b", 1), ("a_b", 2), ("axb", 3), ("é\\", 4)].map(|(id, n)| good(id, n, n));
    insert("goods", COLUMNS, rows).execute(&mut tx).await.expect("inserts");
    for (search, wanted) in [("%", vec!["a%b"]), ("_", vec!["a_b"]), ("A", vec!["a%b", "a_b"]), ("\\", vec!["é\\"])] {
        let mut filter = Filter::new("n > 0");
        filter.and_contains("id", search);
        filter.and("place in {ints ?}", Value::Ints(vec![Some(1), Some(2), Some(4)]));
        let text = "select id from goods where {where} order by n limit ? offset ?";
        let rows = filter.query(text, [10.into(), 0.into()]).fetch_all(&mut tx).await.expect("reads");
        let found: Vec<String> = rows.iter().map(|row| row.get("id").expect("a text")).collect();
        assert_eq!(found, wanted, "{search}");
    }
}

#[tokio::test]
async fn constraints_have_the_names_that_postgres_gives() {
    let (_store, db) = fresh().await;
    for (row, name) in [
        (good("x", 2, 1), "goods_pkey"),
        (good("y", 1, 1), "goods_shelf_place_key"),
        (good("z", 3, -1), "goods_n_check"),
    ] {
        let mut tx = db.write().await.expect("begins");
        insert("goods", COLUMNS, [good("x", 1, 1)]).execute(&mut tx).await.expect("inserts");
        let refused = insert("goods", COLUMNS, [row]).execute(&mut tx).await.expect_err("refuses");
        assert_eq!(refused.constraint(), Some(name));
    }
}

#[tokio::test]
async fn what_is_not_committed_leaves_no_trace() {
    let (_store, db) = fresh().await;
    let mut tx = db.write().await.expect("begins");
    insert("goods", COLUMNS, [good("x", 1, 1)]).execute(&mut tx).await.expect("inserts");
    drop(tx);
    let mut tx = db.read().await.expect("reads");
    assert!(query("select id from goods").fetch_optional(&mut tx).await.expect("reads").is_none());
}

#[tokio::test]
async fn a_nul_finds_nothing_and_fails_no_statement() {
    let (_store, db) = fresh().await;
    let mut tx = db.write().await.expect("begins");
    insert("goods", &["id", "shelf", "place", "n", "note"], [[good("x", 1, 1), vec!["a\0b".into()]].concat()])
        .execute(&mut tx)
        .await
        .expect("inserts");
    let one = query("select id from goods where id = $1").bind("x\0").fetch_all(&mut tx).await.expect("reads");
    let listed = query("select id from goods where id in {list $1}").list(["x\0"]).fetch_all(&mut tx).await;
    let rows =
        query("select goods.id from goods join {rows $1} r on goods.id = r.value->>0").rows([vec!["x\0".into()]]);
    assert!(one.is_empty() && listed.expect("reads").is_empty());
    assert!(rows.fetch_all(&mut tx).await.expect("reads").is_empty());
}

/// Adds one to a count in two steps, as replicas do whose write depends on a read.
async fn count_up(db: &Db, id: &str) -> db::Result<()> {
    let mut tx = db.write().await?;
    tx.lock([format!("goods/{id}"), "goods/another".into()]).await?;
    let n = counted(&mut tx, id).await?;
    tokio::time::sleep(Duration::from_millis(5)).await;
    insert("goods", COLUMNS, [good(id, 1, n.unwrap_or(0) + 1)])
        .suffix("on conflict (id) do update set n = excluded.n")
        .execute(&mut tx)
        .await?;
    tx.commit().await
}

async fn counted(tx: &mut Tx, id: &str) -> db::Result<Option<i64>> {
    query("select n from goods where id = $1").bind(id).fetch_optional(tx).await?.map(|row| row.get("n")).transpose()
}

#[tokio::test(flavor = "multi_thread")]
async fn transactions_with_the_same_lock_run_one_after_the_other_even_without_a_row() {
    let (_store, db) = fresh().await;
    let writers: Vec<_> = (0..20)
        .map(|_| {
            let db = db.clone();
            tokio::spawn(async move { count_up(&db, "x").await })
        })
        .collect();
    for writer in writers {
        writer.await.expect("no panic").expect("counts up");
    }
    let mut tx = db.read().await.expect("reads");
    assert_eq!(counted(&mut tx, "x").await.expect("reads"), Some(20));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_deadlock_is_retried() {
    let (_store, db) = fresh().await;
    let mut tx = db.write().await.expect("begins");
    insert("goods", COLUMNS, [good("x", 1, 0), good("y", 2, 0)]).execute(&mut tx).await.expect("inserts");
    tx.commit().await.expect("commits");
    let both = |first: &'static str, second: &'static str, db: Db| async move {
        retry(|| async {
            let mut tx = db.write().await?;
            for id in [first, second] {
                query("update goods set n = n + 1 where id = $1").bind(id).execute(&mut tx).await?;
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
            tx.commit().await
        })
        .await
    };
    let (one, two) = tokio::join!(tokio::spawn(both("x", "y", db.clone())), tokio::spawn(both("y", "x", db.clone())));
    one.expect("no panic").expect("gets through");
    two.expect("no panic").expect("gets through");
    let mut tx = db.read().await.expect("reads");
    assert_eq!(counted(&mut tx, "x").await.expect("reads"), Some(2));
}

#[tokio::test(flavor = "multi_thread")]
async fn processes_that_start_at_once_share_one_migration() {
    let store = testkit::store().await.expect("a database");
    let sql = "create table goods (id text primary key);";
    let starts: Vec<_> = (0..7)
        .map(|_| {
            let url = store.url.clone();
            tokio::spawn(async move {
                let db = Db::open(&url, &Options::default(), None).await?;
                db.migrate(&[Migration { version: 1, name: "goods", sql }]).await
            })
        })
        .collect();
    for start in starts {
        start.await.expect("no panic").expect("migrates");
    }
}

#[tokio::test]
async fn an_older_version_starts_on_the_schema_of_a_newer_one() {
    let store = testkit::store().await.expect("a database");
    let steps = [
        Migration { version: 1, name: "goods", sql: "create table goods (id text primary key);" },
        Migration { version: 3, name: "shelves", sql: "create table shelves (id text primary key);" },
        Migration { version: 2, name: "notes", sql: "create table notes (id text primary key);" },
    ];
    store.open(&steps).await.expect("the newer one migrates");
    let db = store.open(&steps[..1]).await.expect("the older one starts");
    let mut tx = db.write().await.expect("begins");
    insert("goods", &["id"], [vec!["g".into()]]).execute(&mut tx).await.expect("inserts");
    tx.commit().await.expect("commits");
    // A changed migration is still refused; only unknown ones are ignored.
    let changed = [Migration { sql: "create table goods (id bigint primary key);", ..steps[0] }];
    assert!(matches!(store.open(&changed).await.expect_err("refuses").downcast_ref(), Some(Error::Migrate(_))));
}

#[tokio::test]
async fn notifications_arrive_if_the_engine_has_them() {
    let (_store, db) = fresh().await;
    let Some(mut listener) = db.listen("news").await.expect("listens") else { return };
    db.notify("news").await.expect("notifies");
    tokio::time::timeout(Duration::from_secs(5), listener.notified()).await.expect("in time").expect("receives");
}

#[tokio::test]
async fn a_url_that_names_no_database_is_refused_without_its_password() {
    let error =
        Db::open("mysql://me:secret@host/db", &Options::default(), None).await.expect_err("refuses").to_string();
    assert!(error.contains("mysql://***@host/db") && !error.contains("secret"), "{error}");
}

#[tokio::test]
async fn an_unreachable_server_is_unavailable() {
    // Nothing listens on port 1.
    let options = Options { timeout: Duration::from_millis(300), ..Options::default() };
    let db = Db::open("postgres://souk@127.0.0.1:1/none", &options, None).await.expect("need not be reachable yet");
    let error = db.ping().await.expect_err("is unreachable");
    assert!(matches!(error, Error::Unavailable(_)), "{error:?}");
}

#[tokio::test]
async fn a_commit_is_durable_although_the_database_says_otherwise() {
    let (store, db) = fresh().await;
    if !store.url.starts_with("postgres:") {
        return;
    }
    let name = store.url.rsplit('/').next().and_then(|rest| rest.split('?').next()).expect("a name");
    let mut tx = db.write().await.expect("begins");
    query(format!("alter database {name} set synchronous_commit = off")).execute(&mut tx).await.expect("sets");
    tx.commit().await.expect("commits");
    let db = Db::open(&store.url, &Options::default(), None).await.expect("opens");
    let row = query("select current_setting('synchronous_commit') as level");
    let row = row.fetch_one(&mut db.read().await.expect("reads")).await.expect("reads");
    assert_eq!(row.get::<String>("level").expect("a text"), "on");
}
