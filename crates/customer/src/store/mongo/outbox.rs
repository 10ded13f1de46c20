//! The ports of the relay and of periodic jobs.

use std::sync::Arc;

use anyhow::Result;
use bus::outbox::{Outbox, PendingMessage};
use commerce::Timestamp;
use futures::future::BoxFuture;
use upkeep::{Lease, Leases};

use super::{MongoStore, relay};

impl Leases for MongoStore {
    fn now(&self) -> BoxFuture<'_, Result<Timestamp>> {
        Box::pin(async move { Ok(relay::server_time(self).await?) })
    }

    fn held(&self) -> BoxFuture<'_, Result<Vec<Lease>>> {
        Box::pin(async move { Ok(relay::held(self).await?) })
    }

    fn take<'a>(
        &'a self,
        name: &'a str,
        owner: &'a str,
        now: Timestamp,
        until: Timestamp,
    ) -> BoxFuture<'a, Result<bool>> {
        Box::pin(async move { Ok(relay::take(self, name, owner, now, until).await?) })
    }

    fn release<'a>(&'a self, name: &'a str, owner: &'a str) -> BoxFuture<'a, Result<()>> {
        Box::pin(async move { Ok(relay::release(self, name, owner).await?) })
    }
}

impl Outbox for MongoStore {
    fn leases(&self) -> Arc<dyn Leases> {
        Arc::new(self.clone())
    }

    fn pending<'a>(&'a self, shards: &'a [i64], limit: i64) -> BoxFuture<'a, Result<Vec<PendingMessage>>> {
        Box::pin(async move { Ok(relay::pending(self, shards, limit).await?) })
    }

    fn mark_published<'a>(&'a self, ids: &'a [String]) -> BoxFuture<'a, Result<()>> {
        Box::pin(async move { Ok(relay::mark(self, ids).await?) })
    }

    fn backlog(&self) -> BoxFuture<'_, Result<(i64, Option<Timestamp>)>> {
        Box::pin(async move { Ok(relay::backlog(self).await?) })
    }
}
