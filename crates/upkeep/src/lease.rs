//! Leases in a store.

use commerce::Timestamp;
use db::{Db, insert, query};
use futures::future::BoxFuture;

/// A lease in the store, expired or not.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Lease {
    /// What it is for.
    pub name: String,
    /// The replica that owns it.
    pub owner: String,
    /// When it expires, by the clock of the store.
    pub until: Timestamp,
}

/// A store of leases.
pub trait Leases: Send + Sync + 'static {
    /// The time by the clock of the store: one for all replicas, if the store has one.
    fn now(&self) -> BoxFuture<'_, anyhow::Result<Timestamp>>;
    /// All leases, also expired ones.
    fn held(&self) -> BoxFuture<'_, anyhow::Result<Vec<Lease>>>;
    /// Takes or renews a lease; false if another owner has it. It can be taken if it is free, expired before `now`, ends later than
    /// [`Timestamp::latest_deadline`], or belongs to `owner` already.
    fn take<'a>(
        &'a self,
        name: &'a str,
        owner: &'a str,
        now: Timestamp,
        until: Timestamp,
    ) -> BoxFuture<'a, anyhow::Result<bool>>;
    /// Takes as many of several leases as possible; returns the names of those taken.
    fn take_some<'a>(
        &'a self,
        names: &'a [String],
        owner: &'a str,
        now: Timestamp,
        until: Timestamp,
    ) -> BoxFuture<'a, anyhow::Result<Vec<String>>> {
        Box::pin(async move {
            let mut taken = Vec::with_capacity(names.len());
            for name in names {
                if self.take(name, owner, now, until).await? {
                    taken.push(name.clone());
                }
            }
            Ok(taken)
        })
    }
    /// Releases a lease if `owner` has it.
    fn release<'a>(&'a self, name: &'a str, owner: &'a str) -> BoxFuture<'a, anyhow::Result<()>>;
}

/// Leases in SQL.
#[derive(Debug, Clone)]
pub struct SqlLeases(pub Db);

impl Leases for SqlLeases {
    fn now(&self) -> BoxFuture<'_, anyhow::Result<Timestamp>> {
        Box::pin(async move { Ok(Timestamp::from_micros(self.0.read_clock().await?)) })
    }

    fn held(&self) -> BoxFuture<'_, anyhow::Result<Vec<Lease>>> {
        Box::pin(async move {
            let mut tx = self.0.read().await?;
            query("select name, owner, until from leases")
                .fetch_all(&mut tx)
                .await?
                .iter()
                .map(|row| {
                    Ok(Lease {
                        name: row.get("name")?,
                        owner: row.get("owner")?,
                        until: Timestamp::from_micros(row.get("until")?),
                    })
                })
                .collect()
        })
    }

    fn take<'a>(
        &'a self,
        name: &'a str,
        owner: &'a str,
        now: Timestamp,
        until: Timestamp,
    ) -> BoxFuture<'a, anyhow::Result<bool>> {
        Box::pin(async move { Ok(!self.take_some(&[name.to_owned()], owner, now, until).await?.is_empty()) })
    }

    /// In one transaction, so that renewals need one commit every few seconds, not one per lease.
    fn take_some<'a>(
        &'a self,
        names: &'a [String],
        owner: &'a str,
        now: Timestamp,
        until: Timestamp,
    ) -> BoxFuture<'a, anyhow::Result<Vec<String>>> {
        Box::pin(async move {
            let mut tx = self.0.write().await?;
            let rows =
                names.iter().map(|name| vec![name.into(), owner.into(), now.micros().into(), until.micros().into()]);
            let taken = insert("leases", &["name", "owner", "since", "until"], rows)
                .suffix(
                    "on conflict (name) do update
                       set owner = excluded.owner, since = excluded.since, until = excluded.until
                     where leases.owner = excluded.owner or leases.until < excluded.since
                        or leases.until > excluded.until + excluded.until - excluded.since
                     returning name",
                )
                .fetch_all(&mut tx)
                .await?
                .iter()
                .map(|row| row.get("name"))
                .collect::<db::Result<Vec<String>>>()?;
            tx.commit().await?;
            Ok(taken)
        })
    }

    fn release<'a>(&'a self, name: &'a str, owner: &'a str) -> BoxFuture<'a, anyhow::Result<()>> {
        Box::pin(async move {
            let mut tx = self.0.write().await?;
            query("delete from leases where name = $1 and owner = $2").bind(name).bind(owner).execute(&mut tx).await?;
            tx.commit().await?;
            Ok(())
        })
    }
}
