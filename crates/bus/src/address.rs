//! Parses bus URLs.

use std::{collections::BTreeMap, str::FromStr};

use lapin::uri::AMQPUri;
use reqwest::Url;

use crate::{Error, dapr, kafka};

/// A parsed bus URL.
pub(crate) enum Address {
    Embedded(String),
    Kafka(kafka::Settings),
    Rabbit { uri: Box<AMQPUri>, prefix: String },
    Dapr(dapr::Settings),
}

impl Address {
    pub(crate) fn parse(url: &str) -> Result<Self, Error> {
        let invalid = || Error::Url(redacted(url));
        let (scheme, rest) = url.split_once(':').ok_or_else(invalid)?;
        match scheme {
            "embedded" if !rest.is_empty() => Ok(Self::Embedded(rest.to_owned())),
            "kafka" => {
                let (servers, mut query) = hosts_and_query(rest).ok_or_else(invalid)?;
                if servers.split(',').any(|server| !is_host_and_port(server)) {
                    return Err(invalid());
                }
                let mut number = |name: &str, default: i32| match query.remove(name) {
                    None => Ok(default),
                    Some(text) => text.parse().ok().filter(|n| *n > 0).ok_or_else(|| {
                        Error::Setting(format!("{name}={text} in the bus URL must be a number from 1 on"))
                    }),
                };
                let (partitions, replication) = (number("partitions", 6)?, number("replication", 1)?);
                let prefix = query.remove("topic_prefix").unwrap_or_default();
                let settings = kafka::Settings { servers, prefix, partitions, replication, properties: query };
                settings.check()?;
                Ok(Self::Kafka(settings))
            }
            "amqp" | "amqps" => {
                let uri = AMQPUri::from_str(url).map_err(|_| invalid())?;
                let prefix = Url::parse(url).ok().and_then(|url| {
                    url.query_pairs().find(|(name, _)| name == "topic_prefix").map(|(_, value)| value.into_owned())
                });
                Ok(Self::Rabbit { uri: Box::new(uri), prefix: prefix.unwrap_or_default() })
            }
            "dapr" => {
                let (host, mut query) = hosts_and_query(rest).ok_or_else(invalid)?;
                if !is_host_and_port(&host) {
                    return Err(invalid());
                }
                let base = Url::parse(&format!("http://{host}/")).map_err(|_| invalid())?;
                let pubsub = query.remove("pubsub").unwrap_or_else(|| "pubsub".into());
                let prefix = query.remove("topic_prefix").unwrap_or_default();
                match query.keys().next() {
                    Some(name) => Err(Error::Setting(format!(
                        "{name} in the bus URL is unknown; a dapr URL has pubsub and topic_prefix"
                    ))),
                    None => Ok(Self::Dapr(dapr::Settings { base, pubsub, prefix })),
                }
            }
            _ => Err(invalid()),
        }
    }
}

/// Splits `//HOSTS?a=b`.
fn hosts_and_query(rest: &str) -> Option<(String, BTreeMap<String, String>)> {
    let rest = rest.strip_prefix("//")?;
    let (hosts, query) = rest.split_once('?').unwrap_or((rest, ""));
    // The parser accepts only one host, so it gets the query string alone.
    let query = Url::parse(&format!("query:?{query}")).ok()?;
    Some((hosts.trim_end_matches('/').to_owned(), query.query_pairs().into_owned().collect()))
}

fn is_host_and_port(text: &str) -> bool {
    text.rsplit_once(':')
        .is_some_and(|(host, port)| !host.is_empty() && !host.contains(['@', '/', ' ']) && port.parse::<u16>().is_ok())
}

/// The URL without user, password and query, any of which may contain secrets.
fn redacted(url: &str) -> String {
    let url = url.split('?').next().unwrap_or_default();
    match (url.find("://"), url.rfind('@')) {
        (Some(scheme), Some(at)) if scheme < at => format!("{}***{}", &url[..scheme + 3], &url[at..]),
        _ => url.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_url_selects_the_broker_and_its_settings() {
        let url = "kafka://a:9092,b:9093?partitions=12&topic_prefix=x-&sasl.password=p%26w";
        let Ok(Address::Kafka(kafka)) = Address::parse(url) else { panic!("no Kafka") };
        assert_eq!((kafka.servers.as_str(), kafka.partitions, kafka.replication), ("a:9092,b:9093", 12, 1));
        assert_eq!((kafka.prefix.as_str(), kafka.properties["sasl.password"].as_str()), ("x-", "p&w"));
        let Ok(Address::Rabbit { uri, prefix }) = Address::parse("amqp://u:p@h:5673/shop?topic_prefix=y-") else {
            panic!("no RabbitMQ")
        };
        assert_eq!((uri.vhost.as_str(), uri.authority.port, prefix.as_str()), ("shop", 5673, "y-"));
        let Ok(Address::Dapr(dapr)) = Address::parse("dapr://localhost:3500?pubsub=p") else { panic!("no Dapr") };
        assert_eq!((dapr.base.as_str(), dapr.pubsub.as_str()), ("http://localhost:3500/", "p"));
        assert!(matches!(Address::parse("embedded:x.db"), Ok(Address::Embedded(path)) if path == "x.db"));
    }

    #[test]
    fn an_invalid_url_is_refused_without_revealing_its_secrets() {
        for url in [
            "redis://u:secret@h:1",
            "kafka://u:secret@h:1?sasl.password=secret",
            "kafka://h",
            "kafka://",
            "amqp:secret",
            "dapr://h:x?a=secret",
            "embedded:",
            "nothing",
        ] {
            let Err(error) = Address::parse(url) else { panic!("{url} is accepted") };
            assert!(!error.to_string().contains("secret@") && !error.to_string().contains("=secret"), "{error}");
        }
        for (url, why) in [
            ("kafka://h:1?partitions=0", "partitions=0"),
            ("kafka://h:1?no.such.property=1", "no.such.property"),
            ("dapr://h:1?pubsubb=x", "pubsubb"),
        ] {
            let Err(error) = Address::parse(url) else { panic!("{url} is accepted") };
            assert!(error.to_string().contains(why), "{error}");
        }
    }

    #[cfg(not(feature = "kafka-tls"))]
    #[test]
    fn tls_to_kafka_needs_a_build_with_the_feature() {
        let Err(error) = Address::parse("kafka://h:1?security.protocol=sasl_ssl") else { panic!("accepted") };
        assert!(error.to_string().contains("kafka-tls"), "{error}");
    }
}
