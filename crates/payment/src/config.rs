//! What is special to this service's configuration.

use std::{collections::BTreeMap, fmt, net::IpAddr, time::Duration};

use chassis::config::ConfigError;
use commerce::{Amount, Currency};
use serde::{Deserialize, Deserializer, Serialize, Serializer, de};
use service::Common;

use crate::domain::sandbox;

/// The configuration. Each field is `SOUK_<FIELD>` in the environment.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(default)]
pub struct Config {
    /// Address, port, store, bus and tokens.
    #[serde(flatten)]
    pub common: Common,
    /// Port of gRPC.
    pub grpc_port: u16,
    /// Where the order service is: it knows which ids are orders of this house.
    pub order_url: String,
    /// The currency of payments from the older fleet, which names none.
    pub currency: Currency,
    /// No single charge above this; no limit by default.
    pub sandbox_limit: Option<Money>,
    /// Ids of customers whose cards are declined.
    pub sandbox_decline: Vec<String>,
    /// What each customer has to begin with; without end by default.
    pub sandbox_balance: Option<Money>,
    /// What single customers have to begin with, by their ids.
    pub sandbox_balances: BTreeMap<String, Money>,
    /// How long the provider takes, in milliseconds. Above 0 the sandbox behaves like a foreign provider.
    pub sandbox_latency_ms: u64,
    /// How often a call to the provider fails before anything happened, from 0 to 1.
    pub sandbox_failure_rate: f64,
    /// How often the provider does what it is asked and its answer is lost, from 0 to 1.
    pub sandbox_lost_answer_rate: f64,
    /// How long one call to the provider may take, in milliseconds.
    pub provider_timeout_ms: u64,
    /// How long a caller waits for the provider before he hears that the outcome is in doubt, in milliseconds.
    pub provider_patience_ms: u64,
    /// How often payments in doubt are taken up again, in milliseconds.
    pub resolve_every_ms: u64,
    /// Days that a published event is kept in the outbox, for the auditor; 7.
    pub outbox_days: u64,
    /// Days that a tombstone, which refuses late calls, is kept; 30.
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

impl chassis::Settings for Config {
    fn bind(&self) -> (IpAddr, u16, Option<u16>) {
        (self.common.bind, self.common.port, Some(self.grpc_port))
    }
}

impl Config {
    /// Says which field is out of range.
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

    /// Whether the sandbox is to behave like a foreign provider.
    pub fn sandbox_is_remote(&self) -> bool {
        self.sandbox_latency_ms > 0 || self.sandbox_failure_rate > 0.0 || self.sandbox_lost_answer_rate > 0.0
    }

    /// By what the sandbox decides.
    pub fn sandbox_rules(&self) -> sandbox::Rules {
        sandbox::Rules {
            limit: self.sandbox_limit.map(|money| money.0),
            declined: self.sandbox_decline.iter().cloned().collect(),
        }
    }

    /// How long one call to the provider may take.
    pub fn provider_timeout(&self) -> Duration {
        Duration::from_millis(self.provider_timeout_ms.max(1))
    }
}

/// An amount in a configuration: a number or a text with at most two decimals.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Money(pub Amount);

impl Serialize for Money {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(&self.0)
    }
}

impl<'de> Deserialize<'de> for Money {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        // Configuration comes from TOML and variables, whose numbers arrive parsed already.
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

impl service::Settings for Config {
    fn common(&mut self) -> &mut Common {
        &mut self.common
    }
}
