//! Copies of the stores of a stopped fleet, in which a fault is planted: files, or databases on servers.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use db::{Db, Options, Tx, query};
use fleet_tests::{Stores, copy_folder};
use futures::TryStreamExt;
use mongodb::bson::{Document, doc};

/// A change of one store.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Change {
    /// A statement of SQL.
    Sql(&'static str),
    /// An update of all documents of a collection that match: collection, filter and update in JSON.
    Mongo(&'static str, &'static str, &'static str),
}

/// A copy of all stores of a stopped fleet, which can be put back to what they were.
pub(crate) struct Copy {
    data: PathBuf,
    /// The folder of the copy.
    pub(crate) folder: PathBuf,
}

impl Copy {
    /// Copies the stores of a data folder. The bus is shared where it is on a server.
    pub(crate) async fn of(data: &Path, folder: PathBuf) -> Result<Self> {
        copy_folder(data, &folder)?;
        let mut stores = Stores::load(data)?;
        for url in stores.0.values_mut() {
            if url.starts_with("postgres") {
                *url = copy_postgres(url).await?;
            } else if url.starts_with("mongodb") {
                *url = copy_mongo(url).await?;
            }
        }
        if !stores.0.is_empty() {
            std::fs::write(folder.join("stores.json"), serde_json::to_vec(&stores.0)?)?;
        }
        Ok(Self { data: data.to_owned(), folder })
    }

    /// Puts the store of a service back to what it was.
    pub(crate) async fn restore(&self, service: &str) -> Result<()> {
        let url = Stores::load(&self.folder)?.url(&self.folder, service);
        if url.starts_with("postgres") {
            return restore_postgres(&url).await;
        }
        if url.starts_with("mongodb") {
            return fill_mongo(&mongo(&Stores::load(&self.data)?.url(&self.data, service)).await?, &mongo(&url).await?)
                .await;
        }
        for suffix in ["", "-wal", "-shm"] {
            let file = format!("{service}.db{suffix}");
            let (from, to) = (self.data.join(&file), self.folder.join(&file));
            if from.exists() {
                std::fs::copy(from, to)?;
            } else if to.exists() {
                std::fs::remove_file(to)?;
            }
        }
        Ok(())
    }
}

/// Changes a store. Fails if nothing was changed: a fault that is not there is not found.
pub(crate) async fn change(data: &Path, service: &str, change: Change) -> Result<()> {
    let url = Stores::load(data)?.url(data, service);
    let changed = match change {
        Change::Sql(text) => {
            let db = Db::open(&url.replacen("embedded:", "sqlite:", 1), &Options::default(), None).await?;
            let mut tx = db.write().await?;
            let changed = query(text).execute(&mut tx).await.with_context(|| text)?;
            tx.commit().await?;
            db.close().await;
            changed
        }
        Change::Mongo(collection, filter, update) => {
            let parse = |text| Ok::<Document, anyhow::Error>(serde_json::from_str(text)?);
            let documents = mongo(&url).await?.collection::<Document>(collection);
            if update == "delete" {
                documents.delete_one(parse(filter)?).await?.deleted_count
            } else {
                documents.update_many(parse(filter)?, parse(update)?).await?.modified_count
            }
        }
    };
    if changed == 0 {
        bail!("{change:?} changed nothing");
    }
    Ok(())
}

/// The columns of a service's store as `table.column`; those of a document store are not listed.
pub(crate) async fn columns(data: &Path, service: &str) -> Result<Vec<String>> {
    let url = Stores::load(data)?.url(data, service).replacen("embedded:", "sqlite:", 1);
    let text = if url.starts_with("sqlite:") {
        "select t.name || '.' || c.name as name from sqlite_master t join pragma_table_info(t.name) c
         where t.type = 'table' and t.name not like 'sqlite_%'"
    } else if url.starts_with("postgres") {
        "select table_name || '.' || column_name as name from information_schema.columns
         where table_schema = current_schema()"
    } else {
        return Ok(Vec::new());
    };
    let db = Db::open(&url, &Options::default(), None).await?;
    let rows = query(text).fetch_all(&mut db.read().await?).await?;
    db.close().await;
    Ok(rows.iter().map(|row| row.get("name")).collect::<Result<_, db::Error>>()?)
}

/// Copies a database, with what it holds beside it in another schema: to copy it again for every fault takes the server a second.
async fn copy_postgres(url: &str) -> Result<String> {
    let (server, name) = url.rsplit_once('/').context("a database")?;
    let name = name.split('?').next().unwrap_or_default();
    let copy = format!("planted_{}", uuid::Uuid::now_v7().simple());
    let admin = Db::open(&format!("{server}/postgres"), &Options::default(), None).await?;
    let text = format!("create database {copy} template {name}");
    query(text).execute(&mut admin.read().await?).await.context("cannot copy a database")?;
    admin.close().await;
    let url = format!("{server}/{copy}?pool=2");
    let db = Db::open(&url, &Options::default(), None).await?;
    let mut tx = db.write().await?;
    query("create schema kept").execute(&mut tx).await?;
    for table in tables(&mut tx).await? {
        query(format!("create table kept.{table} as table public.{table}")).execute(&mut tx).await?;
    }
    tx.commit().await?;
    db.close().await;
    Ok(url)
}

async fn tables(tx: &mut Tx) -> Result<Vec<String>> {
    let rows = query("select table_name as name from information_schema.tables where table_schema = 'public'");
    let rows = rows.fetch_all(tx).await?;
    Ok(rows.iter().map(|row| row.get("name")).collect::<Result<_, db::Error>>()?)
}

async fn restore_postgres(url: &str) -> Result<()> {
    let db = Db::open(url, &Options::default(), None).await?;
    let mut tx = db.write().await?;
    // Without checks of foreign keys, so that the order of tables does not matter.
    query("set local session_replication_role = replica").execute(&mut tx).await?;
    for table in tables(&mut tx).await? {
        query(format!("delete from public.{table}")).execute(&mut tx).await?;
        let text = format!("insert into public.{table} overriding system value select * from kept.{table}");
        query(text).execute(&mut tx).await?;
    }
    tx.commit().await?;
    db.close().await;
    Ok(())
}

async fn mongo(url: &str) -> Result<mongodb::Database> {
    let client = mongodb::Client::with_uri_str(url).await?;
    client.default_database().context("the URL of MongoDB names a database")
}

async fn copy_mongo(url: &str) -> Result<String> {
    let from = mongo(url).await?;
    let copy = format!("planted_{}", uuid::Uuid::now_v7().simple());
    fill_mongo(&from, &from.client().database(&copy)).await?;
    Ok(url.replacen(from.name(), &copy, 1))
}

async fn fill_mongo(from: &mongodb::Database, to: &mongodb::Database) -> Result<()> {
    to.drop().await?;
    for name in from.list_collection_names().await? {
        let documents: Vec<Document> = from.collection::<Document>(&name).find(doc! {}).await?.try_collect().await?;
        if !documents.is_empty() {
            to.collection::<Document>(&name).insert_many(documents).await?;
        }
    }
    Ok(())
}
