//! The rules of the sandbox provider: an amount limit, a list of declined customers, and balances.

use std::collections::BTreeSet;

use commerce::{Amount, CustomerId};

use super::rules::{ProviderRequest, Resolution};

/// The rules of the sandbox.
#[derive(Debug, Clone, Default)]
pub(crate) struct Rules {
    /// Largest single charge; none: no limit.
    pub limit: Option<Amount>,
    /// Ids of customers whose charges are declined.
    pub declined: BTreeSet<String>,
}

/// Decides a request. `balance` is the payer's balance if that is limited; the decision updates it.
pub(crate) fn decide(
    rules: &Rules,
    customer: Option<&CustomerId>,
    request: ProviderRequest,
    balance: Option<&mut Amount>,
) -> Resolution {
    match request {
        ProviderRequest::Charge(amount) => charge(rules, customer, amount, balance),
        ProviderRequest::Capture { rest, .. } => credit(rest, balance),
        ProviderRequest::ReleaseHold(amount) | ProviderRequest::Refund(amount) => credit(amount, balance),
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

fn credit(amount: Amount, balance: Option<&mut Amount>) -> Resolution {
    if let Some(balance) = balance {
        *balance = Amount::from_minor(balance.minor().saturating_add(amount.minor()));
    }
    Resolution::Done
}
