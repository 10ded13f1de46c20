//! The provider for trying things out: it decides by an amount limit, a list of declined customers and balances.

use std::collections::BTreeSet;

use commerce::{Amount, CustomerId};

use super::rules::{ProviderRequest, Resolution};

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
    request: ProviderRequest,
    balance: Option<&mut Amount>,
) -> Resolution {
    match request {
        ProviderRequest::Charge(amount) => charge(rules, customer, amount, balance),
        ProviderRequest::Capture { rest, .. } => give(rest, balance),
        ProviderRequest::ReleaseHold(amount) | ProviderRequest::Refund(amount) => give(amount, balance),
    }
}

fn charge(rules: &Rules, customer: Option<&CustomerId>, amount: Amount, balance: Option<&mut Amount>) -> Resolution {
    if let Some(customer) = customer.filter(|c| rules.declined.contains(c.as_str())) {
        return Resolution::Refused(format!("customer {customer} is declined"));
    }
    if let Some(limit) = rules.limit.filter(|limit| amount > *limit) {
        return Resolution::Refused(format!("amount {amount} is over the limit of {limit}"));
    }
    if let Some(balance) = balance {
        if amount > *balance {
            return Resolution::Refused(format!("amount {amount} is over the balance of {balance}"));
        }
        *balance = Amount::from_minor(balance.minor() - amount.minor());
    }
    Resolution::Done
}

fn give(amount: Amount, balance: Option<&mut Amount>) -> Resolution {
    if let Some(balance) = balance {
        *balance = Amount::from_minor(balance.minor().saturating_add(amount.minor()));
    }
    Resolution::Done
}
