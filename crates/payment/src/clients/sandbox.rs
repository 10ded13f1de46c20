//! The sandbox provider. It decides in the transaction of the payment; with latency or failures it behaves like a remote
//! provider with its own data and transactions.

use std::{
    collections::{BTreeMap, HashMap},
    sync::Arc,
    time::Duration,
};

use commerce::{Amount, CustomerId, Timestamp};
use db::{Db, Tx};

use super::{NoAnswer, RemoteProvider};
use crate::{
    config::Config,
    domain::{ProviderCall, ProviderRequest, Resolution, sandbox},
    error::Error,
    store,
};

/// The sandbox provider. Cheap to clone.
#[derive(Clone)]
pub(crate) struct Sandbox(Arc<Inner>);

struct Inner {
    db: Db,
    rules: sandbox::Rules,
    initial_balance: Option<Amount>,
    initial_balances: BTreeMap<String, Amount>,
    latency: Duration,
    failure_rate: f64,
    lost_answer_rate: f64,
}

/// The limited balances of the customers of one transaction.
#[derive(Debug, Default)]
pub(crate) struct SandboxBalances {
    limited: HashMap<String, SandboxBalance>,
}

#[derive(Debug)]
struct SandboxBalance {
    amount: Amount,
    changed: bool,
}

impl Sandbox {
    /// The sandbox with its data in `db`.
    pub(crate) fn new(config: &Config, db: Db) -> Self {
        let balances = &config.sandbox_balances;
        Self(Arc::new(Inner {
            db,
            rules: config.sandbox_rules(),
            initial_balance: config.sandbox_balance.map(|money| money.0),
            initial_balances: balances.iter().map(|(id, money)| (id.clone(), money.0)).collect(),
            latency: Duration::from_millis(config.sandbox_latency_ms),
            failure_rate: config.sandbox_failure_rate,
            lost_answer_rate: config.sandbox_lost_answer_rate,
        }))
    }

    /// Loads the balances of those customers whose balance is limited. Runs no statement if there are none.
    pub(crate) async fn balances<'a>(
        &self,
        tx: &mut Tx,
        customers: impl Iterator<Item = &'a CustomerId>,
    ) -> Result<SandboxBalances, Error> {
        let initial = |id: &str| self.0.initial_balances.get(id).copied().or(self.0.initial_balance);
        let limited: HashMap<String, Amount> =
            customers.filter_map(|id| Some((id.as_str().to_owned(), initial(id.as_str())?))).collect();
        if limited.is_empty() {
            return Ok(SandboxBalances::default());
        }
        let ids: Vec<String> = limited.keys().cloned().collect();
        tx.lock(ids.iter().map(|id| format!("purse/{id}"))).await?;
        let known = store::sandbox::balances(tx, &ids).await?;
        let limited = limited
            .into_iter()
            .map(|(id, initial)| {
                let amount = known.get(&id).copied().unwrap_or(initial);
                (id, SandboxBalance { amount, changed: false })
            })
            .collect();
        Ok(SandboxBalances { limited })
    }

    /// Decides a request by the rules and the payer's balance.
    pub(crate) fn decide(
        &self,
        balances: &mut SandboxBalances,
        customer: Option<&CustomerId>,
        request: ProviderRequest,
    ) -> Resolution {
        let balance = customer.and_then(|id| balances.limited.get_mut(id.as_str()));
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

    /// Answers a key once: by deciding the call, or by refusing it if it is not to be performed.
    async fn answer_once(&self, call: &ProviderCall, perform: bool) -> Result<Resolution, Error> {
        let mut tx = self.0.db.write().await?;
        tx.lock([format!("call/{}", call.key)]).await?;
        if let Some(resolution) = store::sandbox::find_answer(&mut tx, call).await? {
            return Ok(resolution);
        }
        let resolution = if perform {
            let mut balances = self.balances(&mut tx, call.customer_id.iter()).await?;
            let resolution = self.decide(&mut balances, call.customer_id.as_ref(), call.request);
            balances.save(&mut tx).await?;
            resolution
        } else {
            Resolution::Refused("voided before it was charged".into())
        };
        store::sandbox::store_answer(&mut tx, call, perform, &resolution, Timestamp::now()).await?;
        tx.commit().await?;
        Ok(resolution)
    }

    async fn simulate_network(&self) -> Result<(), NoAnswer> {
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
        self.simulate_network().await?;
        let resolution = self.answer_once(call, true).await.map_err(no_answer)?;
        if by_chance(self.0.lost_answer_rate) {
            return Err(NoAnswer("connection reset".into()));
        }
        Ok(resolution)
    }

    async fn lookup(&self, call: &ProviderCall) -> Result<Option<Resolution>, NoAnswer> {
        self.simulate_network().await?;
        let mut tx = self.0.db.read().await.map_err(|err| no_answer(err.into()))?;
        store::sandbox::find_answer(&mut tx, call).await.map_err(no_answer)
    }

    async fn abandon(&self, call: &ProviderCall) -> Result<Resolution, NoAnswer> {
        self.simulate_network().await?;
        self.answer_once(call, false).await.map_err(no_answer)
    }
}

impl SandboxBalances {
    /// Saves the balances that changed.
    pub(crate) async fn save(&self, tx: &mut Tx) -> Result<(), Error> {
        let changed: Vec<(&str, Amount)> = self
            .limited
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

fn no_answer(err: Error) -> NoAnswer {
    NoAnswer(err.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_key_is_refused_with_another_payer_or_request() {
        let store = testkit::store().await.expect("a store");
        let db = store.open(store::MIGRATIONS).await.expect("opens");
        let sandbox = Sandbox::new(&Config::default(), db);
        let call = |customer: &str, amount| ProviderCall {
            key: "k".into(),
            customer_id: Some(CustomerId::trusted(customer.into())),
            request: ProviderRequest::Charge(Amount::from_minor(amount)),
        };
        for _ in 0..2 {
            assert_eq!(sandbox.send(&call("c", 100)).await.expect("answers"), Resolution::Done);
        }
        for other in [call("c", 200), call("d", 100)] {
            let refused = |resolution| matches!(resolution, Resolution::Refused(_));
            assert!(refused(sandbox.send(&other).await.expect("answers")), "{other:?}");
            assert!(refused(sandbox.lookup(&other).await.expect("answers").expect("known")), "{other:?}");
        }
    }
}
