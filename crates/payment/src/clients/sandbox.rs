//! The sandbox provider: at no cost inside the payment's own transaction, or, when it is given latency or
//! failures, like a foreign provider with books and transactions of its own.

use std::{
    collections::{BTreeMap, HashMap},
    sync::Arc,
    time::Duration,
};

use commerce::{Amount, CustomerId, Timestamp};
use db::{Db, Tx};

use super::{NoAnswer, ProviderCall, RemoteProvider};
use crate::{
    config::Config,
    domain::{ProviderRequest, Resolution, sandbox},
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
pub(crate) struct SandboxBalances {
    held: HashMap<String, SandboxBalance>,
}

#[derive(Debug)]
struct SandboxBalance {
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

    /// Opens the balances of those customers who have a limited balance. Costs nothing where nobody has.
    pub(crate) async fn balances<'a>(
        &self,
        tx: &mut Tx,
        customers: impl Iterator<Item = &'a CustomerId>,
    ) -> Result<SandboxBalances, Error> {
        let first = |id: &str| self.0.balances.get(id).copied().or(self.0.balance);
        let limited: HashMap<String, Amount> =
            customers.filter_map(|id| Some((id.as_str().to_owned(), first(id.as_str())?))).collect();
        if limited.is_empty() {
            return Ok(SandboxBalances::default());
        }
        let ids: Vec<String> = limited.keys().cloned().collect();
        tx.lock(ids.iter().map(|id| format!("purse/{id}"))).await?;
        let known = store::sandbox::balances(tx, &ids).await?;
        let held = limited
            .into_iter()
            .map(|(id, first)| {
                let amount = known.get(&id).copied().unwrap_or(first);
                (id, SandboxBalance { amount, changed: false })
            })
            .collect();
        Ok(SandboxBalances { held })
    }

    /// Decides a demand by rules and balance.
    pub(crate) fn decide(
        &self,
        balances: &mut SandboxBalances,
        customer: Option<&CustomerId>,
        request: ProviderRequest,
    ) -> Resolution {
        let balance = customer.and_then(|id| balances.held.get_mut(id.as_str()));
        match balance {
            None => sandbox::decide(&self.0.rules, customer, request, None),
            Some(balance) => {
                let before = balance.amount;
                let resolution = sandbox::decide(&self.0.rules, customer, request, Some(&mut balance.amount));
                balance.changed |= balance.amount != before;
                resolution
            }
        }
    }

    async fn happen(&self, key: &str, call: Option<&ProviderCall>) -> Result<Resolution, Error> {
        let mut tx = self.0.db.write().await?;
        tx.lock([format!("call/{key}")]).await?;
        if let Some(resolution) = store::sandbox::answered(&mut tx, key).await? {
            return Ok(resolution);
        }
        let resolution = match call {
            None => Resolution::Refused("voided before it was charged".into()),
            Some(call) => {
                let mut balances = self.balances(&mut tx, call.customer_id.iter()).await?;
                let resolution = self.decide(&mut balances, call.customer_id.as_ref(), call.request);
                balances.save(&mut tx).await?;
                resolution
            }
        };
        store::sandbox::remember(&mut tx, key, &resolution, Timestamp::now()).await?;
        tx.commit().await?;
        Ok(resolution)
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
impl RemoteProvider for Sandbox {
    async fn send(&self, call: &ProviderCall) -> Result<Resolution, NoAnswer> {
        self.travel().await?;
        let resolution = self.happen(&call.key, Some(call)).await.map_err(away)?;
        if by_chance(self.0.lost_answer_rate) {
            return Err(NoAnswer("connection reset".into()));
        }
        Ok(resolution)
    }

    async fn lookup(&self, key: &str) -> Result<Option<Resolution>, NoAnswer> {
        self.travel().await?;
        let mut tx = self.0.db.read().await.map_err(|err| away(err.into()))?;
        store::sandbox::answered(&mut tx, key).await.map_err(away)
    }

    async fn abandon(&self, key: &str) -> Result<Resolution, NoAnswer> {
        self.travel().await?;
        self.happen(key, None).await.map_err(away)
    }
}

impl SandboxBalances {
    /// Writes down what changed.
    pub(crate) async fn save(&self, tx: &mut Tx) -> Result<(), Error> {
        let changed: Vec<(&str, Amount)> = self
            .held
            .iter()
            .filter(|(_, balance)| balance.changed)
            .map(|(id, balance)| (id.as_str(), balance.amount))
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
