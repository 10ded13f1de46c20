//! Divides work in shards evenly among the live replicas, by leases.

use std::time::{Duration, Instant};

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
    /// The origin of the times below. They do not follow a clock that is set.
    started: Instant,
    /// When the leases expire.
    until: Duration,
    /// When to renew them.
    renew_at: Duration,
}

impl ShardLease {
    /// Owns no shards yet, of `shards` in total.
    pub fn new(work: &'static str, shards: i64, replica: impl Into<String>) -> Self {
        let (started, now) = (Instant::now(), Duration::ZERO);
        Self { work, shards, replica: replica.into(), owned: Vec::new(), started, until: now, renew_at: now }
    }

    /// The shards that this replica owns now. Accesses the store only when the leases are due for renewal.
    pub async fn owned(&mut self, leases: &dyn Leases) -> anyhow::Result<&[i64]> {
        let elapsed = self.started.elapsed();
        if elapsed >= self.renew_at {
            let now = leases.now().await?;
            self.renew(leases, elapsed, now).await?;
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

    /// Renews the leases, `elapsed` after the start and `now` by the clock of the store.
    async fn renew(&mut self, leases: &dyn Leases, elapsed: Duration, now: Timestamp) -> anyhow::Result<()> {
        if elapsed >= self.until {
            self.owned.clear();
        }
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
        self.until = elapsed + LEASE_DURATION;
        self.renew_at = elapsed + RENEW_INTERVAL;
        Ok(())
    }

    fn plan(&self, held: &[Lease], now: Timestamp) -> Plan {
        let live = now..=now.latest_deadline(LEASE_DURATION);
        let alive: Vec<&Lease> = held.iter().filter(|lease| live.contains(&lease.until)).collect();
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
    use futures::future::BoxFuture;

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
        one.renew_at = Duration::ZERO;
        two.renew_at = Duration::ZERO;
        assert_eq!(one.owned(&leases).await.expect("leases").len(), 4);
        assert_eq!(two.owned(&leases).await.expect("leases").len(), 4);
        let both: std::collections::BTreeSet<i64> = one.owned.iter().chain(&two.owned).copied().collect();
        assert_eq!(both.len(), 8);
        one.release(&leases).await.expect("releases");
        two.renew_at = Duration::ZERO;
        assert_eq!(two.owned(&leases).await.expect("leases").len(), 8);
    }

    /// The leases as a replica sees them that has read them before another one took them.
    struct Outdated(SqlLeases);

    impl Leases for Outdated {
        fn now(&self) -> BoxFuture<'_, anyhow::Result<Timestamp>> {
            self.0.now()
        }

        fn held(&self) -> BoxFuture<'_, anyhow::Result<Vec<Lease>>> {
            Box::pin(async { Ok(Vec::new()) })
        }

        fn take<'a>(
            &'a self,
            name: &'a str,
            owner: &'a str,
            now: Timestamp,
            until: Timestamp,
        ) -> BoxFuture<'a, anyhow::Result<bool>> {
            self.0.take(name, owner, now, until)
        }

        fn release<'a>(&'a self, name: &'a str, owner: &'a str) -> BoxFuture<'a, anyhow::Result<()>> {
            self.0.release(name, owner)
        }
    }

    #[tokio::test]
    async fn a_shard_that_another_replica_has_just_taken_is_not_owned() {
        let (_dir, leases) = leases().await;
        let mut one = ShardLease::new("relay", 8, "one");
        assert_eq!(one.owned(&leases).await.expect("leases").len(), 8);
        let mut two = ShardLease::new("relay", 8, "two");
        assert_eq!(two.owned(&Outdated(leases)).await.expect("leases").len(), 0);
    }

    /// What [`ShardLease::owned`] does at this time.
    async fn owned_at(lease: &mut ShardLease, leases: &SqlLeases, elapsed: Duration, now: Timestamp) -> usize {
        if elapsed >= lease.renew_at {
            lease.renew(leases, elapsed, now).await.expect("leases");
        }
        lease.owned.len()
    }

    #[tokio::test]
    async fn a_dead_replicas_shards_are_taken_over_within_ten_seconds() {
        for late in [1, 249, 250, 251, 500, 999] {
            let (_dir, leases) = leases().await;
            let died = Timestamp::now();
            let after = Duration::from_millis;
            let mut one = ShardLease::new("relay", 8, "one");
            let mut two = ShardLease::new("relay", 8, "two");
            assert_eq!(owned_at(&mut one, &leases, Duration::ZERO, died).await, 8);
            // As an idle relay does.
            for second in 0..9 {
                assert!(second > 5 || two.owned.is_empty(), "too early: the first replica may only be late");
                let elapsed = after(second * 1_000 + late);
                owned_at(&mut two, &leases, elapsed, died.plus(elapsed)).await;
            }
            let elapsed = after(9_000 + late);
            owned_at(&mut two, &leases, elapsed, died.plus(elapsed)).await;
            assert!(two.has_all(), "{late}");
        }
    }

    #[tokio::test]
    async fn a_clock_that_is_set_neither_frees_nor_blocks_shards_for_longer_than_a_lease() {
        let hours = |count: i64| count * 3_600 * 1_000_000;
        for step in [hours(2), hours(-2), hours(24 * 400), hours(-24 * 400)] {
            let (_dir, leases) = leases().await;
            let before = Timestamp::now();
            let set = Timestamp::from_micros(before.micros() + step);
            let mut one = ShardLease::new("relay", 8, "one");
            assert_eq!(owned_at(&mut one, &leases, Duration::ZERO, before).await, 8);
            // While it runs: it renews as if nothing had happened.
            let elapsed = Duration::from_secs(2);
            assert_eq!(owned_at(&mut one, &leases, elapsed, set.plus(elapsed)).await, 8, "{step}");
            // Killed; the clock is set right, and the next process starts.
            let mut two = ShardLease::new("relay", 8, "two");
            let mut owned = owned_at(&mut two, &leases, Duration::ZERO, before).await;
            for second in 1..=10 {
                let elapsed = Duration::from_secs(second);
                owned = owned_at(&mut two, &leases, elapsed, before.plus(elapsed)).await;
            }
            assert_eq!(owned, 8, "{step}");
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
        // Taken by a clock that was hours ahead: void beyond twice its length.
        assert!(leases.take("far", "one", at(7_000), at(7_010)).await.expect("takes"));
        assert!(!leases.take("far", "two", at(6_990), at(7_000)).await.expect("takes"));
        assert!(leases.take("far", "two", at(6_989), at(6_999)).await.expect("takes"));
        assert!(!leases.take("job", "one", at(21), at(31)).await.expect("takes"));
        leases.release("job", "one").await.expect("is not its own");
        assert_eq!(leases.held().await.expect("reads")[0].owner, "two");
    }
}
