//! The sandbox provider: at no cost inside the payment's own transaction, or, when it is given latency or
//! failures, like a foreign provider with books and transactions of its own.

use std::{
    collections::{BTreeMap, HashMap},
    sync::Arc,
    time::Duration,
};

use commerce::{Amount, CustomerId, Timestamp};
use db::{Db, Tx};

use super::{Call, NoAnswer, Remote};
use crate::{
    config::Config,
    domain::{Demand, Verdict, sandbox},
    error::Error,
    store,
};

/// The sandbox provider. Cheap to clone.
#[derive(Clone)]
pub(crate) struct Sandbox(Arc<Inner>);

struct Inner {
    db: Db,
    rules: sandbox::Rules,
    balance: Option<Amount>,
    balances: BTreeMap<String, Amount>,
    latency: Duration,
    failure_rate: f64,
    lost_answer_rate: f64,
}

/// What the customers of one transaction have.
#[derive(Debug, Default)]
pub(crate) struct Purses {
    held: HashMap<String, Purse>,
}

#[derive(Debug)]
struct Purse {
    amount: Amount,
    changed: bool,
}

impl Sandbox {
    /// The sandbox with its books in `db`.
    pub(crate) fn new(config: &Config, db: Db) -> Self {
        let balances = &config.sandbox_balances;
        Self(Arc::new(Inner {
            db,
            rules: config.sandbox_rules(),
            balance: config.sandbox_balance.map(|money| money.0),
            balances: balances.iter().map(|(id, money)| (id.clone(), money.0)).collect(),
            latency: Duration::from_millis(config.sandbox_latency_ms),
            failure_rate: config.sandbox_failure_rate,
            lost_answer_rate: config.sandbox_lost_answer_rate,
        }))
    }

    /// Opens the purses of those customers who have a limited balance. Costs nothing where nobody has.
    pub(crate) async fn purses<'a>(
        &self,
        tx: &mut Tx,
        customers: impl Iterator<Item = &'a CustomerId>,
    ) -> Result<Purses, Error> {
        let first = |id: &str| self.0.balances.get(id).copied().or(self.0.balance);
        let limited: HashMap<String, Amount> =
            customers.filter_map(|id| Some((id.as_str().to_owned(), first(id.as_str())?))).collect();
        if limited.is_empty() {
            return Ok(Purses::default());
        }
        let ids: Vec<String> = limited.keys().cloned().collect();
        tx.lock(ids.iter().map(|id| format!("purse/{id}"))).await?;
        let known = store::sandbox::balances(tx, &ids).await?;
        let held = limited
            .into_iter()
            .map(|(id, first)| {
                let amount = known.get(&id).copied().unwrap_or(first);
                (id, Purse { amount, changed: false })
            })
            .collect();
        Ok(Purses { held })
    }

    /// Decides a demand by rules and purse.
    pub(crate) fn decide(&self, purses: &mut Purses, customer: Option<&CustomerId>, demand: Demand) -> Verdict {
        let purse = customer.and_then(|id| purses.held.get_mut(id.as_str()));
        match purse {
            None => sandbox::decide(&self.0.rules, customer, demand, None),
            Some(purse) => {
                let before = purse.amount;
                let verdict = sandbox::decide(&self.0.rules, customer, demand, Some(&mut purse.amount));
                purse.changed |= purse.amount != before;
                verdict
            }
        }
    }

    async fn happen(&self, key: &str, call: Option<&Call>) -> Result<Verdict, Error> {
        let mut tx = self.0.db.write().await?;
        tx.lock([format!("call/{key}")]).await?;
        if let Some(verdict) = store::sandbox::answered(&mut tx, key).await? {
            return Ok(verdict);
        }
        let verdict = match call {
            None => Verdict::Refused("voided before it was charged".into()),
            Some(call) => {
                let mut purses = self.purses(&mut tx, call.customer_id.iter()).await?;
                let verdict = self.decide(&mut purses, call.customer_id.as_ref(), call.demand);
                purses.save(&mut tx).await?;
                verdict
            }
        };
        store::sandbox::remember(&mut tx, key, &verdict, Timestamp::now()).await?;
        tx.commit().await?;
        Ok(verdict)
    }

    async fn travel(&self) -> Result<(), NoAnswer> {
        tokio::time::sleep(self.0.latency).await;
        if by_chance(self.0.failure_rate) {
            return Err(NoAnswer("connection refused".into()));
        }
        Ok(())
    }
}

#[tonic::async_trait]
impl Remote for Sandbox {
    async fn send(&self, call: &Call) -> Result<Verdict, NoAnswer> {
        self.travel().await?;
        let verdict = self.happen(&call.key, Some(call)).await.map_err(away)?;
        if by_chance(self.0.lost_answer_rate) {
            return Err(NoAnswer("connection reset".into()));
        }
        Ok(verdict)
    }

    async fn lookup(&self, key: &str) -> Result<Option<Verdict>, NoAnswer> {
        self.travel().await?;
        let mut tx = self.0.db.read().await.map_err(|err| away(err.into()))?;
        store::sandbox::answered(&mut tx, key).await.map_err(away)
    }

    async fn abandon(&self, key: &str) -> Result<Verdict, NoAnswer> {
        self.travel().await?;
        self.happen(key, None).await.map_err(away)
    }
}

impl Purses {
    /// Writes down what changed.
    pub(crate) async fn save(&self, tx: &mut Tx) -> Result<(), Error> {
        let changed: Vec<(&str, Amount)> = self
            .held
            .iter()
            .filter(|(_, purse)| purse.changed)
            .map(|(id, purse)| (id.as_str(), purse.amount))
            .collect();
        store::sandbox::save_balances(tx, &changed).await
    }
}

fn by_chance(rate: f64) -> bool {
    rate > 0.0 && rand::random::<f64>() < rate
}

fn away(err: Error) -> NoAnswer {
    NoAnswer(err.to_string())
}
