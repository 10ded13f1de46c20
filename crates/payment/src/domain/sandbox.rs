//! The provider for trying things out: it decides by an amount limit, a list of declined customers and balances.

use std::collections::BTreeSet;

use commerce::{Amount, CustomerId};

use super::rules::{Demand, Verdict};

/// By what the sandbox decides.
#[derive(Debug, Clone, Default)]
pub struct Rules {
    /// No single charge above it.
    pub limit: Option<Amount>,
    /// Customers who are always declined.
    pub declined: BTreeSet<String>,
}

/// Decides a demand. `balance` is what the customer has, where he has a limited balance; it is changed by what happens.
pub(crate) fn decide(
    rules: &Rules,
    customer: Option<&CustomerId>,
    demand: Demand,
    balance: Option<&mut Amount>,
) -> Verdict {
    match demand {
        Demand::Charge(amount) => charge(rules, customer, amount, balance),
        Demand::Capture { rest, .. } => give(rest, balance),
        Demand::LetGo(amount) | Demand::GiveBack(amount) => give(amount, balance),
    }
}

fn charge(rules: &Rules, customer: Option<&CustomerId>, amount: Amount, balance: Option<&mut Amount>) -> Verdict {
    if let Some(customer) = customer.filter(|c| rules.declined.contains(c.as_str())) {
        return Verdict::Refused(format!("customer {customer} is declined"));
    }
    if let Some(limit) = rules.limit.filter(|limit| amount > *limit) {
        return Verdict::Refused(format!("amount {amount} is over the limit of {limit}"));
    }
    if let Some(balance) = balance {
        if amount > *balance {
            return Verdict::Refused(format!("amount {amount} is over the balance of {balance}"));
        }
        *balance = Amount::from_minor(balance.minor() - amount.minor());
    }
    Verdict::Done
}

fn give(amount: Amount, balance: Option<&mut Amount>) -> Verdict {
    if let Some(balance) = balance {
        *balance = Amount::from_minor(balance.minor().saturating_add(amount.minor()));
    }
    Verdict::Done
}
