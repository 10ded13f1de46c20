//! The settings of this service.

use std::{collections::BTreeMap, fmt, time::Duration};

use chassis::config::ConfigError;
use commerce::{Amount, Currency};
use serde::{Deserialize, Deserializer, Serialize, Serializer, de};
use service::Common;

use crate::domain::sandbox;

/// The settings. Each field is `SOUK_<FIELD>` in the environment.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(default)]
pub struct Config {
    /// Address, port, store, bus and tokens.
    #[serde(flatten)]
    pub common: Common,
    /// Port of gRPC.
    pub grpc_port: u16,
    /// URL of the order service, which is asked whether an id of the old proto is an order.
    pub order_url: String,
    /// Currency of payments by the old proto, which names none.
    pub currency: Currency,
    /// Largest single charge; no limit by default.
    pub sandbox_limit: Option<Money>,
    /// Ids of customers whose charges are declined; none.
    pub sandbox_decline: Vec<String>,
    /// Initial balance of each customer; unlimited by default.
    pub sandbox_balance: Option<Money>,
    /// Initial balances of single customers, by their ids.
    pub sandbox_balances: BTreeMap<String, Money>,
    /// Latency of the sandbox in milliseconds; 0. Above 0 it behaves like a remote provider.
    pub sandbox_latency_ms: u64,
    /// Share of calls to the sandbox that fail without an effect, from 0 to 1; 0.
    pub sandbox_failure_rate: f64,
    /// Share of calls to the sandbox that take effect and whose answer is lost, from 0 to 1; 0.
    pub sandbox_lost_answer_rate: f64,
    /// Time-out of one call to the provider, in milliseconds; 2,000.
    pub provider_timeout_ms: u64,
    /// How long a caller waits for the provider before the reply is "in doubt", in milliseconds; 1,500.
    pub provider_patience_ms: u64,
    /// Pause between two rounds that resolve payments in doubt, in milliseconds; 1,000.
    pub resolve_every_ms: u64,
    /// Days that published events are kept in the outbox, for the auditor; 7.
    pub outbox_days: u64,
    /// Days that tombstones, which refuse late calls, are kept; 30.
    pub tombstone_days: u64,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            common: Common::of(crate::NAME, 8089),
            grpc_port: 50051,
            order_url: "http://127.0.0.1:8087".into(),
            currency: Currency::EUR,
            sandbox_limit: None,
            sandbox_decline: Vec::new(),
            sandbox_balance: None,
            sandbox_balances: BTreeMap::new(),
            sandbox_latency_ms: 0,
            sandbox_failure_rate: 0.0,
            sandbox_lost_answer_rate: 0.0,
            provider_timeout_ms: 2_000,
            provider_patience_ms: 1_500,
            resolve_every_ms: 1_000,
            outbox_days: 7,
            tombstone_days: 30,
        }
    }
}

impl Config {
    /// Refuses a setting that is out of range.
    pub(crate) fn check(&self) -> Result<(), ConfigError> {
        for (name, rate) in [
            ("sandbox_failure_rate", self.sandbox_failure_rate),
            ("sandbox_lost_answer_rate", self.sandbox_lost_answer_rate),
        ] {
            if !(0.0..=1.0).contains(&rate) {
                return Err(ConfigError::new(format!("{name} is {rate}, but must be from 0 to 1")));
            }
        }
        Ok(())
    }

    /// Whether the sandbox behaves like a remote provider.
    pub(crate) fn sandbox_is_remote(&self) -> bool {
        self.sandbox_latency_ms > 0 || self.sandbox_failure_rate > 0.0 || self.sandbox_lost_answer_rate > 0.0
    }

    /// The rules of the sandbox.
    pub(crate) fn sandbox_rules(&self) -> sandbox::Rules {
        sandbox::Rules {
            limit: self.sandbox_limit.map(|money| money.0),
            declined: self.sandbox_decline.iter().cloned().collect(),
        }
    }

    /// Time-out of one call to the provider.
    pub(crate) fn provider_timeout(&self) -> Duration {
        Duration::from_millis(self.provider_timeout_ms.max(1))
    }

    /// How long a caller waits for the provider.
    pub(crate) fn provider_patience(&self) -> Duration {
        Duration::from_millis(self.provider_patience_ms)
    }

    /// The pause between two rounds of the resolver.
    pub(crate) fn resolve_every(&self) -> Duration {
        Duration::from_millis(self.resolve_every_ms.max(10))
    }
}

/// An amount in a setting: a number or a text with at most two decimals.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Money(pub Amount);

impl Serialize for Money {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(&self.0)
    }
}

impl<'de> Deserialize<'de> for Money {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        // Settings come from TOML and the environment, whose numbers are parsed already.
        struct Digits;
        impl de::Visitor<'_> for Digits {
            type Value = Money;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an amount with at most two decimals")
            }
            fn visit_str<E: de::Error>(self, text: &str) -> Result<Money, E> {
                let amount: Amount = text.parse().map_err(E::custom)?;
                if amount.is_negative() {
                    return Err(E::custom("an amount from 0"));
                }
                Ok(Money(amount))
            }
            fn visit_i64<E: de::Error>(self, number: i64) -> Result<Money, E> {
                self.visit_str(&number.to_string())
            }
            fn visit_u64<E: de::Error>(self, number: u64) -> Result<Money, E> {
                self.visit_str(&number.to_string())
            }
            fn visit_f64<E: de::Error>(self, number: f64) -> Result<Money, E> {
                self.visit_str(&number.to_string())
            }
        }
        deserializer.deserialize_any(Digits)
    }
}

service::settings!(Config, grpc_port);
