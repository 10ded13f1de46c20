//! The older topics: `prospect-topic` is told in texts, `event-topic` is read.

use bus::{Bus, Event, Failure, Handler, Message, Topology};
use chassis::Context;
use serde::Deserialize;
use serde_json::Value;

use super::events::wanted;
use crate::dialects::api_client::ApiClient;

const GROUP: &str = "event-prospect";
const TOLD: &str = "prospect-topic";
const READ: &str = "event-topic";
const TOPOLOGY: Topology =
    Topology { topics: &[TOLD, READ, "prospect-events"], groups: &[(GROUP, &["prospect-events", READ])] };

/// Translates both ways until the process stops.
pub(super) async fn start(api: &ApiClient, ctx: &Context) -> anyhow::Result<()> {
    let bus = api.bus(ctx, TOPOLOGY).await?;
    bus.subscribe(ctx, GROUP, Consumer { api: api.clone(), bus: bus.clone() })?;
    Ok(())
}

struct Consumer {
    api: ApiClient,
    bus: Bus,
}

#[derive(Deserialize)]
struct Prospect {
    number: i64,
}

impl Handler for Consumer {
    async fn handle(&self, events: &[Event]) -> Result<(), Failure> {
        let mut told = Vec::new();
        for event in events {
            if event.topic == READ {
                self.take(event).await?;
                continue;
            }
            let word = match event.kind.as_str() {
                "souk.prospect.created" => "PROSPECT_CREATED: ",
                "souk.prospect.deleted" => "PROSPECT_DELETED:",
                _ => continue,
            };
            let prospect: Prospect = event.data()?;
            told.push(Message {
                topic: TOLD.into(),
                key: prospect.number.to_string(),
                payload: format!("{word}{}", prospect.number),
            });
        }
        self.bus.publish(told).await.map_err(|error| Failure::Later(error.into()))
    }

    fn takes_plain(&self, _topic: &str) -> bool {
        true
    }
}

impl Consumer {
    /// An event that another program tells of is one here too, once by the message's id. A text is no event.
    async fn take(&self, message: &Event) -> Result<(), Failure> {
        let Ok(body @ Value::Object(_)) = message.data::<Value>() else { return Ok(()) };
        let made = self.api.post(&["api", "activities"]).idempotency_key(&message.id).json(wanted(&body)).send().await;
        if made.status.is_server_error() {
            return Err(Failure::Later(anyhow::anyhow!("{}: {}", made.status, made.detail())));
        }
        match made.ok() {
            Ok(_) => Ok(()),
            Err(refusal) => Err(Failure::Bad(anyhow::anyhow!("{}: {}", refusal.status, refusal.detail()))),
        }
    }
}
