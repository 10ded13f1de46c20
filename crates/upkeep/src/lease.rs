//! Leases in a store.

use commerce::Timestamp;
use db::{Db, insert, query};
use futures::future::BoxFuture;

/// A lease as the store keeps it, run out or not.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Lease {
    /// Of what.
    pub name: String,
    /// Whose.
    pub owner: String,
    /// Until when. Replicas' clocks are taken to agree to within a second or so.
    pub until: Timestamp,
}

/// A store that keeps leases.
pub trait Leases: Send + Sync + 'static {
    /// All of them.
    fn held(&self) -> BoxFuture<'_, anyhow::Result<Vec<Lease>>>;
    /// Takes a lease that nobody has, that ran out before `now`, or that is the owner's already; false if it is
    /// somebody else's.
    fn take<'a>(
        &'a self,
        name: &'a str,
        owner: &'a str,
        now: Timestamp,
        until: Timestamp,
    ) -> BoxFuture<'a, anyhow::Result<bool>>;
    /// Takes what it can get of several; gives which.
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
    /// Lets go of a lease that is the owner's.
    fn release<'a>(&'a self, name: &'a str, owner: &'a str) -> BoxFuture<'a, anyhow::Result<()>>;
}

/// Leases in SQL.
#[derive(Debug, Clone)]
pub struct SqlLeases(pub Db);

impl Leases for SqlLeases {
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

    /// In one transaction, so that it is one commit every few seconds and not one a lease.
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
