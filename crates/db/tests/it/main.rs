//! The store's promises on the real engine.

use crate::{Db, Migration, Options, Value, insert, query};

const SCHEMA: &[Migration] = &[Migration {
    version: 1,
    name: "test",
    sql: "create table goods (id text primary key, shelf text not null, place bigint not null, n bigint not null,
          constraint goods_n_check check (n >= 0), unique (shelf, place));",
}];

async fn fresh() -> (tempfile::TempDir, Db) {
    let dir = tempfile::tempdir().expect("a folder");
    let url = format!("sqlite:{}", dir.path().join("t.db").display());
    let db = Db::open(&url, &Options::default(), None).await.expect("opens");
    db.migrate(SCHEMA).await.expect("migrates");
    (dir, db)
}

fn good(id: &str, place: i64, n: i64) -> Vec<Value> {
    vec![id.into(), "a".into(), place.into(), n.into()]
}

const COLUMNS: &[&str] = &["id", "shelf", "place", "n"];

#[tokio::test]
async fn many_rows_go_in_and_come_back_by_list_and_rows() {
    let (_dir, db) = fresh().await;
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
    let found = query("select n from goods where id in {list $1} and place in {list $2} order by n")
        .list(["g'7\"é", "g'0\"é", "none"])
        .list(["7", "0"])
        .fetch_all(&mut tx)
        .await
        .expect("reads");
    // A BIGINT is no TEXT: lists are of texts, and SQLite's affinity turns them into the column's type.
    let n: Vec<i64> = found.iter().map(|row| row.get("n").expect("a number")).collect();
    assert_eq!(n, [0, 10]);
    tx.commit().await.expect("commits");
    assert_eq!(db.commits(), 1);
}

#[tokio::test]
async fn constraints_are_told_by_the_names_that_postgres_gives() {
    let (_dir, db) = fresh().await;
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
    let (_dir, db) = fresh().await;
    let mut tx = db.write().await.expect("begins");
    insert("goods", COLUMNS, [good("x", 1, 1)]).execute(&mut tx).await.expect("inserts");
    drop(tx);
    let mut tx = db.read().await.expect("reads");
    assert!(query("select id from goods").fetch_optional(&mut tx).await.expect("reads").is_none());
}

#[tokio::test(flavor = "multi_thread")]
async fn processes_that_start_at_once_share_one_migration() {
    let dir = tempfile::tempdir().expect("a folder");
    let url = format!("sqlite:{}", dir.path().join("t.db").display());
    let starts: Vec<_> = (0..7)
        .map(|_| {
            let url = url.clone();
            tokio::spawn(async move {
                let db = Db::open(&url, &Options::default(), None).await?;
                db.migrate(SCHEMA).await
            })
        })
        .collect();
    for start in starts {
        start.await.expect("no panic").expect("migrates");
    }
}
