//! `souk audit --explain ORDER`: what all stores know of one order, in the order of time.

use anyhow::{Context, bail};
use commerce::Timestamp;
use serde_json::json;

use super::facts::StoreUrls;
use crate::out::say;

/// Prints the history of an order. Fails if no store knows it.
pub(super) async fn explain(urls: &StoreUrls, order: &str, as_json: bool) -> anyhow::Result<()> {
    let mut history: Vec<(Timestamp, &str, String)> = Vec::new();
    let mut add = |service: &'static str, found: Vec<(Timestamp, String)>| {
        history.extend(found.into_iter().map(|(at, what)| (at, service, what)));
    };
    add("order", order::audit::history(urls.of("order"), order).await.context("the order store")?);
    add("stock", stock::history(urls.of("stock"), order).await.context("the stock store")?);
    add("payment", payment::history(urls.of("payment"), order).await.context("the payment store")?);
    add("notification", notification::history(urls.of("notification"), order).await.context("the notification store")?);
    match bus::Bus::read_all(urls.of("bus")).await {
        Ok(log) => {
            let letters = log.dead_letters.into_iter().filter(|letter| letter.key == order);
            add("bus", letters.map(|letter| (Timestamp::now(), dead_letter(&letter))).collect());
        }
        Err(bus::Error::Unsupported(_)) => {}
        Err(error) => return Err(error).context("the bus"),
    }
    if history.is_empty() {
        bail!("no store knows an order {order}");
    }
    history.sort_by_key(|(at, ..)| *at);
    if as_json {
        let moments = history.iter().map(|(at, service, what)| json!({"at": at, "service": service, "what": what}));
        say!("{}", serde_json::Value::from_iter(moments));
        return Ok(());
    }
    for (at, service, what) in history {
        say!("{at}  {service:<12}  {what}");
    }
    Ok(())
}

fn dead_letter(letter: &bus::DeadLetter) -> String {
    let event = letter.sequence.map_or_else(|| "a message".into(), |sequence| format!("event {sequence}"));
    format!("{event} on {} is in the dead letters of {}: {}", letter.topic, letter.group, letter.reason)
}
