//! Work cut into shards, shared fairly among the replicas that are there.

use std::time::Duration;

use commerce::Timestamp;

use crate::{Lease, Leases};

/// How often everybody looks, and renews: every two seconds where he is asked for his shards every second.
const LOOK: Duration = Duration::from_millis(1_900);
/// How long a lease lasts: one late renewal, and clocks a second apart, lose nothing; and the others notice early enough that
/// a dead replica's shards are theirs within ten seconds.
const LEASE: Duration = Duration::from_secs(7);

/// A replica's part of some shards. Every replica tells that it is there by a lease of its own; whoever has more
/// than his part lets go, whoever has less takes what is free.
#[derive(Debug)]
pub struct ShardLease {
    work: &'static str,
    shards: i64,
    me: String,
    mine: Vec<i64>,
    /// Until when they are, and when to look again.
    until: Timestamp,
    look: Timestamp,
}

impl ShardLease {
    /// Nothing yet, of so many shards of some work.
    pub fn new(work: &'static str, shards: i64, me: impl Into<String>) -> Self {
        let never = Timestamp::from_micros(0);
        Self { work, shards, me: me.into(), mine: Vec::new(), until: never, look: never }
    }

    /// The shards that are this replica's now. Asks the store now and then only.
    pub async fn mine(&mut self, leases: &dyn Leases) -> anyhow::Result<&[i64]> {
        self.at(leases, Timestamp::now()).await
    }

    async fn at(&mut self, leases: &dyn Leases, now: Timestamp) -> anyhow::Result<&[i64]> {
        if now >= self.look {
            if now >= self.until {
                self.mine.clear();
            }
            self.renew(leases, now).await?;
        }
        Ok(&self.mine)
    }

    /// Whether all shards are this replica's.
    pub fn has_all(&self) -> bool {
        i64::try_from(self.mine.len()) == Ok(self.shards)
    }

    /// Lets go of everything, so that nobody has to wait for it to run out.
    pub async fn release(&mut self, leases: &dyn Leases) -> anyhow::Result<()> {
        for shard in std::mem::take(&mut self.mine) {
            leases.release(&self.shard(shard), &self.me).await?;
        }
        leases.release(&self.presence(), &self.me).await
    }

    async fn renew(&mut self, leases: &dyn Leases, now: Timestamp) -> anyhow::Result<()> {
        let until = now.plus(LEASE);
        let plan = self.plan(&leases.held().await?, now);
        for shard in plan.drop {
            leases.release(&self.shard(shard), &self.me).await?;
        }
        // Sorted, so that two replicas that want the same rows do not wait for each other in a ring.
        let mut wanted: Vec<String> = plan.take.iter().map(|shard| self.shard(*shard)).collect();
        wanted.push(self.presence());
        wanted.sort_unstable();
        let taken = leases.take_some(&wanted, &self.me, now, until).await?;
        self.mine = plan.take.into_iter().filter(|shard| taken.contains(&self.shard(*shard))).collect();
        self.until = until;
        self.look = now.plus(LOOK);
        Ok(())
    }

    fn plan(&self, held: &[Lease], now: Timestamp) -> Plan {
        let alive: Vec<&Lease> = held.iter().filter(|lease| lease.until >= now).collect();
        let prefix = format!("{}-replica/", self.work);
        let others = alive.iter().filter(|lease| lease.name.starts_with(&prefix) && lease.owner != self.me).count();
        let replicas = others + 1;
        let fair = usize::try_from(self.shards).unwrap_or(1).div_ceil(replicas);
        let owner = |shard: i64| {
            let name = self.shard(shard);
            alive.iter().find(|lease| lease.name == name).map(|lease| lease.owner.as_str())
        };
        let (mine, others): (Vec<i64>, Vec<i64>) = (0..self.shards).partition(|n| owner(*n) == Some(self.me.as_str()));
        let (keep, drop) = mine.split_at(fair.min(mine.len()));
        let free = others.into_iter().filter(|shard| owner(*shard).is_none());
        Plan { take: keep.iter().copied().chain(free.take(fair - keep.len())).collect(), drop: drop.to_vec() }
    }

    fn shard(&self, shard: i64) -> String {
        format!("{}/{shard}", self.work)
    }

    fn presence(&self) -> String {
        format!("{}-replica/{}", self.work, self.me)
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
    async fn shards_are_shared_and_found_again_when_a_replica_goes() {
        let (_dir, leases) = leases().await;
        let mut one = ShardLease::new("relay", 8, "one");
        let mut two = ShardLease::new("relay", 8, "two");
        assert_eq!(one.mine(&leases).await.expect("leases").len(), 8);
        assert!(one.has_all());
        assert_eq!(two.mine(&leases).await.expect("leases").len(), 0);
        // The first notices the second at its next look, and lets go of half.
        one.look = Timestamp::from_micros(0);
        two.look = Timestamp::from_micros(0);
        assert_eq!(one.mine(&leases).await.expect("leases").len(), 4);
        assert_eq!(two.mine(&leases).await.expect("leases").len(), 4);
        let both: std::collections::BTreeSet<i64> = one.mine.iter().chain(&two.mine).copied().collect();
        assert_eq!(both.len(), 8);
        one.release(&leases).await.expect("releases");
        two.look = Timestamp::from_micros(0);
        assert_eq!(two.mine(&leases).await.expect("leases").len(), 8);
    }

    #[tokio::test]
    async fn a_dead_replicas_shards_are_anothers_within_ten_seconds() {
        for late in [1, 249, 250, 251, 500, 999] {
            let (_dir, leases) = leases().await;
            let died = Timestamp::now();
            let after = |millis: u64| died.plus(Duration::from_millis(millis));
            let mut one = ShardLease::new("relay", 8, "one");
            let mut two = ShardLease::new("relay", 8, "two");
            assert_eq!(one.at(&leases, died).await.expect("leases").len(), 8);
            // As a relay that has nothing to do.
            for second in 0..9 {
                assert!(second > 5 || two.mine.is_empty(), "too early: the first one may only be late");
                two.at(&leases, after(second * 1_000 + late)).await.expect("leases");
            }
            two.at(&leases, after(9_000 + late)).await.expect("leases");
            assert!(two.has_all(), "{late}");
        }
    }

    #[tokio::test]
    async fn a_lease_that_ran_out_is_anybodys() {
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
