//! Translates between the bus and the old topics: publishes plain texts to `prospect-topic` and reads `event-topic`.

use bus::{Bus, Event, Failure, Handler, Message, Topology};
use chassis::Context;
use serde_json::Value;

use super::events::api_body;
use crate::dialects::{api_client::ApiClient, model::Prospect};

const GROUP: &str = "event-prospect";
const PUBLISHED: &str = "prospect-topic";
const CONSUMED: &str = "event-topic";
const TOPOLOGY: Topology =
    Topology { topics: &[PUBLISHED, CONSUMED, "prospect-events"], groups: &[(GROUP, &["prospect-events", CONSUMED])] };

/// Starts the translation in both directions; it runs until the process stops.
pub(super) async fn start(api: &ApiClient, ctx: &Context) -> anyhow::Result<()> {
    let bus = api.bus(ctx, TOPOLOGY).await?;
    bus.subscribe(ctx, GROUP, Consumer { api: api.clone(), bus: bus.clone() })?;
    Ok(())
}

struct Consumer {
    api: ApiClient,
    bus: Bus,
}

impl Handler for Consumer {
    async fn handle(&self, events: &[Event]) -> Result<(), Failure> {
        let mut messages = Vec::new();
        for event in events {
            if event.topic == CONSUMED {
                self.create_activity(event).await?;
                continue;
            }
            let prefix = match event.kind.as_str() {
                "souk.prospect.created" => "PROSPECT_CREATED: ",
                "souk.prospect.deleted" => "PROSPECT_DELETED:",
                _ => continue,
            };
            let prospect: Prospect = event.data()?;
            messages.push(Message {
                topic: PUBLISHED.into(),
                key: prospect.number.to_string(),
                payload: format!("{prefix}{}", prospect.number),
            });
        }
        self.bus.publish(messages).await.map_err(|error| Failure::Later(error.into()))
    }

    fn takes_plain(&self, _topic: &str) -> bool {
        true
    }
}

impl Consumer {
    /// Creates an activity from another program's event, once for each message id. A plain text is no event.
    async fn create_activity(&self, message: &Event) -> Result<(), Failure> {
        let Ok(body @ Value::Object(_)) = message.data::<Value>() else { return Ok(()) };
        let created =
            self.api.post(&["api", "activities"]).idempotency_key(&message.id).json(api_body(&body)).send().await;
        if created.status.is_server_error() {
            return Err(Failure::Later(anyhow::anyhow!("{}: {}", created.status, created.detail())));
        }
        match created.check() {
            Ok(_) => Ok(()),
            Err(refusal) => Err(Failure::Bad(anyhow::anyhow!("{}: {}", refusal.status, refusal.detail()))),
        }
    }
}
