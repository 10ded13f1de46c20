//! Settings, layered: defaults, then a file, then environment variables. Only this module reads the environment.
//!
//! `SOUK_CONFIG` names a TOML file with one table per service. A variable `SOUK_<SERVICE>_<FIELD>` sets a field of one
//! service. In a process that runs a single service, `SOUK_<FIELD>` sets its field too, and the conventional `PORT` and
//! `DATABASE_URL` set `port` and `database_url`. An invalid value prevents the start; the error lists all mistakes at once,
//! each with the place, the value and what is allowed.

use std::collections::BTreeMap;
use std::fmt;

use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::{Map, Value};

/// All mistakes in the settings.
#[derive(Debug)]
pub struct ConfigError {
    /// One sentence per mistake.
    pub mistakes: Vec<String>,
}

impl ConfigError {
    /// A mistake that shows only after the settings were read, such as a value that parses but makes no sense.
    pub fn new(mistake: impl Into<String>) -> Self {
        Self { mistakes: vec![mistake.into()] }
    }
}

impl fmt::Display for ConfigError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.mistakes.join("\n"))
    }
}

impl std::error::Error for ConfigError {}

/// The value of an environment variable that is set and not empty.
pub fn var(name: &str) -> Option<String> {
    std::env::var(name).ok().filter(|value| !value.is_empty())
}

/// The settings of the only service in a process: defaults, file, `SOUK_<FIELD>`, `SOUK_<SERVICE>_<FIELD>`; the last one
/// that is set wins.
pub fn load<C: DeserializeOwned + Serialize + Default>(service: &str) -> Result<C, ConfigError> {
    let names = |field: &str| {
        let conventional = match field {
            "port" => Some("PORT"),
            "database_url" => Some("DATABASE_URL"),
            _ => None,
        };
        let own = [service_variable(service, field), format!("SOUK_{}", field.to_ascii_uppercase())];
        own.into_iter().chain(conventional.map(str::to_owned)).collect()
    };
    layer(C::default(), service, file_table(service)?, &names, &var)
}

/// The settings of one service among several: `base`, file, `SOUK_<SERVICE>_<FIELD>`.
pub fn load_with_prefix<C: DeserializeOwned + Serialize>(service: &str, base: C) -> Result<C, ConfigError> {
    layer(base, service, file_table(service)?, &|field| vec![service_variable(service, field)], &var)
}

fn service_variable(service: &str, field: &str) -> String {
    format!("SOUK_{}_{}", service.to_ascii_uppercase(), field.to_ascii_uppercase())
}

fn file_table(service: &str) -> Result<Map<String, Value>, ConfigError> {
    let Some(path) = var("SOUK_CONFIG") else {
        return Ok(Map::new());
    };
    let text = std::fs::read_to_string(&path)
        .map_err(|err| ConfigError::new(format!("SOUK_CONFIG is {path:?}, which cannot be read: {err}")))?;
    let mut tables: BTreeMap<String, Value> = toml::from_str(&text)
        .map_err(|err| ConfigError::new(format!("SOUK_CONFIG is {path:?}, which is not valid TOML: {err}")))?;
    match tables.remove(service) {
        None => Ok(Map::new()),
        Some(Value::Object(table)) => Ok(table),
        Some(other) => Err(ConfigError::new(format!("{service} in {path:?} is {other}, but must be a table"))),
    }
}

type Names<'a> = &'a dyn Fn(&str) -> Vec<String>;
type Environment<'a> = &'a dyn Fn(&str) -> Option<String>;

fn layer<C: DeserializeOwned + Serialize>(
    base: C,
    service: &str,
    file: Map<String, Value>,
    names: Names<'_>,
    environment: Environment<'_>,
) -> Result<C, ConfigError> {
    let mut mistakes = Vec::new();
    let Ok(Value::Object(mut fields)) = serde_json::to_value(base) else {
        return Err(ConfigError::new(format!("the settings of {service} are not a table")));
    };
    for (field, value) in file {
        if !fields.contains_key(&field) {
            let known: Vec<&str> = fields.keys().map(String::as_str).collect();
            mistakes
                .push(format!("{service}.{field} in the file is unknown; the known fields are: {}", known.join(", ")));
        } else if let Err(why) = set::<C>(&mut fields, &field, vec![value.clone()]) {
            mistakes.push(format!("{service}.{field} in the file is {}: {why}", redacted(&field, &value.to_string())));
        }
    }
    for field in fields.keys().cloned().collect::<Vec<_>>() {
        let Some((name, text)) = names(&field).into_iter().find_map(|name| environment(&name).map(|text| (name, text)))
        else {
            continue;
        };
        let candidates = candidates(&text, &fields[&field]);
        if let Err(why) = set::<C>(&mut fields, &field, candidates) {
            mistakes.push(format!("{name} is {}: {why}", redacted(&field, &format!("{text:?}"))));
        }
    }
    if !mistakes.is_empty() {
        return Err(ConfigError { mistakes });
    }
    serde_json::from_value(Value::Object(fields))
        .map_err(|err| ConfigError::new(format!("settings of {service}: {err}")))
}

/// The candidate values of a variable's text, most likely first; the type of the current value decides the order.
fn candidates(text: &str, current: &Value) -> Vec<Value> {
    let plain = Value::String(text.to_owned());
    let json = serde_json::from_str::<Value>(text).ok();
    let list = Value::Array(text.split(',').map(|item| Value::String(item.trim().to_owned())).collect());
    let mut candidates = match current {
        Value::String(_) => vec![plain],
        Value::Array(_) => json.into_iter().chain([list]).collect(),
        _ => json.into_iter().chain([plain]).collect(),
    };
    if text == "none" && current.is_null() {
        candidates.insert(0, Value::Null);
    }
    candidates
}

/// Sets a field to the first candidate that deserialises; returns the reason if none does.
fn set<C: DeserializeOwned>(
    fields: &mut Map<String, Value>,
    field: &str,
    candidates: Vec<Value>,
) -> Result<(), String> {
    let mut why = String::new();
    for candidate in candidates {
        let mut tried = fields.clone();
        tried.insert(field.to_owned(), candidate);
        match serde_json::from_value::<C>(Value::Object(tried.clone())) {
            Ok(_) => {
                *fields = tried;
                return Ok(());
            }
            // The most likely candidate comes first, so its reason is the most useful one.
            Err(err) if why.is_empty() => why = err.to_string(),
            Err(_) => {}
        }
    }
    Err(why)
}

/// A value as error messages may contain it: secrets are hidden, URLs lose user and password.
fn redacted(field: &str, value: &str) -> String {
    let secret = ["key", "secret", "password", "token"].iter().any(|word| field.contains(word));
    if secret {
        return "(hidden)".into();
    }
    match (value.find("://"), value.rfind('@')) {
        (Some(scheme), Some(at)) if scheme < at => {
            format!("{}***{}", &value[..scheme + 3], &value[at..])
        }
        _ => value.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use std::net::IpAddr;

    use serde::Deserialize;

    use super::*;
    use crate::Secret;

    #[derive(Debug, Serialize, Deserialize)]
    struct Config {
        bind: IpAddr,
        port: u16,
        limit: Option<u32>,
        name: Option<String>,
        database_url: String,
        upstreams: Vec<String>,
        internal_key: Secret,
        verbose: bool,
    }

    fn base() -> Config {
        Config {
            bind: IpAddr::from([127, 0, 0, 1]),
            port: 8080,
            limit: None,
            name: None,
            database_url: "sqlite:x".into(),
            upstreams: vec![],
            internal_key: Secret::new("base"),
            verbose: false,
        }
    }

    fn read(file: &str, env: &[(&str, &str)]) -> Result<Config, ConfigError> {
        let file = serde_json::from_str(file).unwrap();
        let names = |field: &str| vec![format!("SOUK_{}", field.to_ascii_uppercase())];
        let environment = |name: &str| env.iter().find(|(known, _)| *known == name).map(|(_, text)| (*text).to_owned());
        layer(base(), "order", file, &names, &environment)
    }

    #[test]
    fn the_environment_wins_over_the_file_which_wins_over_the_defaults() {
        let env = [
            ("SOUK_PORT", "9000"),
            ("SOUK_NAME", "123"),
            ("SOUK_UPSTREAMS", "http://a, http://b"),
            ("SOUK_LIMIT", "7"),
        ];
        let config = read(r#"{"port": 8999, "verbose": true, "bind": "0.0.0.0"}"#, &env).unwrap();
        assert_eq!((config.port, config.verbose, config.limit), (9000, true, Some(7)));
        assert_eq!((config.bind.to_string().as_str(), config.name.as_deref()), ("0.0.0.0", Some("123")));
        assert_eq!(config.upstreams, ["http://a", "http://b"]);
        assert_eq!((config.database_url.as_str(), config.internal_key.expose()), ("sqlite:x", "base"));
    }

    #[test]
    fn all_mistakes_are_reported_at_once_with_name_and_value_and_without_secrets() {
        let env =
            [("SOUK_PORT", "70000"), ("SOUK_BIND", "localhost"), ("SOUK_VERBOSE", "maybe"), ("SOUK_UPSTREAMS", "[1]")];
        let err = read(r#"{"prot": 1, "internal_key": 5, "database_url": "x"}"#, &env).unwrap_err();
        let text = err.to_string();
        assert_eq!(err.mistakes.len(), 5, "{text}");
        for part in [
            "SOUK_PORT is \"70000\"",
            "u16",
            "SOUK_BIND is \"localhost\"",
            "SOUK_VERBOSE",
            "order.prot",
            "database_url, internal_key",
        ] {
            assert!(text.contains(part), "{part} is not in {text}");
        }
        assert!(text.contains("order.internal_key in the file is (hidden)"), "{text}");
        assert_eq!(redacted("database_url", "\"postgres://u:p@h/x\""), "\"postgres://***@h/x\"");
    }
}
