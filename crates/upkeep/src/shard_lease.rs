//! Divides work in shards evenly among the live replicas, by leases.

use std::time::Duration;

use commerce::Timestamp;

use crate::{Lease, Leases};

/// How often a replica rebalances and renews: every two seconds if [`ShardLease::owned`] is called every second.
const RENEW_INTERVAL: Duration = Duration::from_millis(1_900);
/// How long a lease lasts: long enough for one late renewal and clocks that differ by a second, short enough that other
/// replicas take over the shards of a dead one within ten seconds.
const LEASE_DURATION: Duration = Duration::from_secs(7);

/// The shards of some work that a replica owns. Every replica announces itself by a presence lease. A replica with more than
/// its fair part releases shards; one with less takes free ones.
#[derive(Debug)]
pub struct ShardLease {
    work: &'static str,
    shards: i64,
    replica: String,
    owned: Vec<i64>,
    /// When the leases expire.
    until: Timestamp,
    /// When to renew them.
    renew_at: Timestamp,
}

impl ShardLease {
    /// Owns no shards yet, of `shards` in total.
    pub fn new(work: &'static str, shards: i64, replica: impl Into<String>) -> Self {
        let never = Timestamp::from_micros(0);
        Self { work, shards, replica: replica.into(), owned: Vec::new(), until: never, renew_at: never }
    }

    /// The shards that this replica owns now. Accesses the store only when the leases are due for renewal.
    pub async fn owned(&mut self, leases: &dyn Leases) -> anyhow::Result<&[i64]> {
        self.owned_at(leases, Timestamp::now()).await
    }

    async fn owned_at(&mut self, leases: &dyn Leases, now: Timestamp) -> anyhow::Result<&[i64]> {
        if now >= self.renew_at {
            if now >= self.until {
                self.owned.clear();
            }
            self.renew(leases, now).await?;
        }
        Ok(&self.owned)
    }

    /// Whether this replica owns all shards.
    pub fn has_all(&self) -> bool {
        i64::try_from(self.owned.len()) == Ok(self.shards)
    }

    /// Releases all leases, so that other replicas need not wait for their expiry.
    pub async fn release(&mut self, leases: &dyn Leases) -> anyhow::Result<()> {
        for shard in std::mem::take(&mut self.owned) {
            leases.release(&self.lease_name(shard), &self.replica).await?;
        }
        leases.release(&self.presence_name(), &self.replica).await
    }

    async fn renew(&mut self, leases: &dyn Leases, now: Timestamp) -> anyhow::Result<()> {
        let until = now.plus(LEASE_DURATION);
        let plan = self.plan(&leases.held().await?, now);
        for shard in plan.drop {
            leases.release(&self.lease_name(shard), &self.replica).await?;
        }
        // Sorted, so that two replicas that update the same rows do not deadlock.
        let mut wanted: Vec<String> = plan.take.iter().map(|shard| self.lease_name(*shard)).collect();
        wanted.push(self.presence_name());
        wanted.sort_unstable();
        let taken = leases.take_some(&wanted, &self.replica, now, until).await?;
        self.owned = plan.take.into_iter().filter(|shard| taken.contains(&self.lease_name(*shard))).collect();
        self.until = until;
        self.renew_at = now.plus(RENEW_INTERVAL);
        Ok(())
    }

    fn plan(&self, held: &[Lease], now: Timestamp) -> Plan {
        let alive: Vec<&Lease> = held.iter().filter(|lease| lease.until >= now).collect();
        let prefix = format!("{}-replica/", self.work);
        let others =
            alive.iter().filter(|lease| lease.name.starts_with(&prefix) && lease.owner != self.replica).count();
        let replicas = others + 1;
        let fair = usize::try_from(self.shards).unwrap_or(1).div_ceil(replicas);
        let owner = |shard: i64| {
            let name = self.lease_name(shard);
            alive.iter().find(|lease| lease.name == name).map(|lease| lease.owner.as_str())
        };
        let (owned, others): (Vec<i64>, Vec<i64>) =
            (0..self.shards).partition(|n| owner(*n) == Some(self.replica.as_str()));
        let (keep, drop) = owned.split_at(fair.min(owned.len()));
        let free = others.into_iter().filter(|shard| owner(*shard).is_none());
        Plan { take: keep.iter().copied().chain(free.take(fair - keep.len())).collect(), drop: drop.to_vec() }
    }

    fn lease_name(&self, shard: i64) -> String {
        format!("{}/{shard}", self.work)
    }

    fn presence_name(&self) -> String {
        format!("{}-replica/{}", self.work, self.replica)
    }
}

struct Plan {
    take: Vec<i64>,
    drop: Vec<i64>,
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::SqlLeases;

    async fn leases() -> (testkit::Store, SqlLeases) {
        let store = testkit::store().await.expect("a database");
        let db = store.open(crate::MIGRATIONS).await.expect("migrates");
        (store, SqlLeases(db))
    }

    #[tokio::test]
    async fn shards_are_divided_and_taken_over_when_a_replica_leaves() {
        let (_dir, leases) = leases().await;
        let mut one = ShardLease::new("relay", 8, "one");
        let mut two = ShardLease::new("relay", 8, "two");
        assert_eq!(one.owned(&leases).await.expect("leases").len(), 8);
        assert!(one.has_all());
        assert_eq!(two.owned(&leases).await.expect("leases").len(), 0);
        // At its next renewal the first replica sees the second, and releases half.
        one.renew_at = Timestamp::from_micros(0);
        two.renew_at = Timestamp::from_micros(0);
        assert_eq!(one.owned(&leases).await.expect("leases").len(), 4);
        assert_eq!(two.owned(&leases).await.expect("leases").len(), 4);
        let both: std::collections::BTreeSet<i64> = one.owned.iter().chain(&two.owned).copied().collect();
        assert_eq!(both.len(), 8);
        one.release(&leases).await.expect("releases");
        two.renew_at = Timestamp::from_micros(0);
        assert_eq!(two.owned(&leases).await.expect("leases").len(), 8);
    }

    #[tokio::test]
    async fn a_dead_replicas_shards_are_taken_over_within_ten_seconds() {
        for late in [1, 249, 250, 251, 500, 999] {
            let (_dir, leases) = leases().await;
            let died = Timestamp::now();
            let after = |millis: u64| died.plus(Duration::from_millis(millis));
            let mut one = ShardLease::new("relay", 8, "one");
            let mut two = ShardLease::new("relay", 8, "two");
            assert_eq!(one.owned_at(&leases, died).await.expect("leases").len(), 8);
            // As an idle relay does.
            for second in 0..9 {
                assert!(second > 5 || two.owned.is_empty(), "too early: the first replica may only be late");
                two.owned_at(&leases, after(second * 1_000 + late)).await.expect("leases");
            }
            two.owned_at(&leases, after(9_000 + late)).await.expect("leases");
            assert!(two.has_all(), "{late}");
        }
    }

    #[tokio::test]
    async fn an_expired_lease_can_be_taken_by_any_replica() {
        let (_dir, leases) = leases().await;
        let at = |seconds: i64| Timestamp::from_micros(seconds * 1_000_000);
        assert!(leases.take("job", "one", at(0), at(10)).await.expect("takes"));
        assert!(!leases.take("job", "two", at(5), at(15)).await.expect("takes"));
        assert!(leases.take("job", "one", at(9), at(19)).await.expect("renews"));
        assert!(leases.take("job", "two", at(20), at(30)).await.expect("takes"));
        assert!(!leases.take("job", "one", at(21), at(31)).await.expect("takes"));
        leases.release("job", "one").await.expect("is not its own");
        assert_eq!(leases.held().await.expect("reads")[0].owner, "two");
    }
}
