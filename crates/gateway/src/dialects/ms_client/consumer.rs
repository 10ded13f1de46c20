//! RabbitMQ in both directions: what happens in the house is told on the fleet's three exchanges, and what other programs tell
//! there is obeyed. Only where `ms_client_amqp` names a broker.

use bus::{Event, Failure, Handler, Topology};
use chassis::Context;
use serde_json::{Map, Value, json};

use super::{
    amqp::{Amqp, DELETION, IncomingMessage, ORDERS, OutgoingMessage, STOCK},
    clients,
    commandes::Names,
    find, messages, produits,
};
use crate::dialects::{
    api_client::{ApiClient, ApiResponse},
    values::{id, whole},
};

const GROUP: &str = "ms-client";
const TOPOLOGY: Topology = Topology { topics: &["orders", "customers"], groups: &[(GROUP, &["orders", "customers"])] };

/// Translates both ways until the process stops.
pub(super) async fn start(api: &ApiClient, ctx: &Context) -> anyhow::Result<()> {
    let url = api.gateway.config.ms_client_amqp.expose();
    if url.is_empty() {
        return Ok(());
    }
    let amqp = Amqp::new(url)?;
    let bus = api.bus(ctx, TOPOLOGY).await?;
    bus.subscribe(ctx, GROUP, Publisher { api: api.clone(), amqp: amqp.clone() })?;
    let api = api.clone();
    ctx.spawn(
        "exchanges",
        amqp.listen(ctx.clone(), move |message| {
            let api = api.clone();
            async move { handle_message(&api, &message).await }
        }),
    );
    Ok(())
}

/// Tells the exchanges what happened.
struct Publisher {
    api: ApiClient,
    amqp: Amqp,
}

impl Handler for Publisher {
    async fn handle(&self, events: &[Event]) -> Result<(), Failure> {
        let mut told = Vec::new();
        for event in events {
            let data: Value = event.data()?;
            match event.kind.as_str() {
                "souk.order.confirmed" => {
                    let names = Names::of(&self.api, std::slice::from_ref(&data)).await.map_err(later)?;
                    let members = messages::body(&data, &names).map(|(name, value)| (name.to_owned(), value));
                    let mut body: Map<String, Value> = members.into_iter().collect();
                    // Here the total is a number.
                    body.insert("montant_total".into(), data["total"].clone());
                    told.push(OutgoingMessage { exchange: ORDERS, id: event.id.clone(), body: body.into() });
                    for (nth, line) in data["lines"].as_array().into_iter().flatten().enumerate() {
                        let one = json!({ "lines": [line] });
                        let product =
                            Names::of(&self.api, std::slice::from_ref(&one)).await.map_err(later)?.product(&one);
                        if !product.is_null() {
                            let body = json!({"produit_id": product, "quantite": line["quantity"]});
                            told.push(OutgoingMessage { exchange: STOCK, id: format!("{}/{nth}", event.id), body });
                        }
                    }
                }
                "souk.customer.anonymised" => {
                    let body = json!({"client_id": data["number"]});
                    told.push(OutgoingMessage { exchange: DELETION, id: event.id.clone(), body });
                }
                _ => {}
            }
        }
        self.amqp.publish(&told).await.map_err(Failure::Later)
    }
}

fn later(response: ApiResponse) -> Failure {
    Failure::Later(anyhow::anyhow!("{}: {}", response.status, response.detail()))
}

/// Does what another program tells. An error is worth another try; what can never be done is told in the log, and done with.
async fn handle_message(api: &ApiClient, message: &IncomingMessage) -> anyhow::Result<()> {
    let done = match message.exchange {
        STOCK => sold_elsewhere(api, message).await,
        _ => gone_elsewhere(api, message).await,
    };
    match done {
        Ok(()) => Ok(()),
        Err(response) if response.status.is_server_error() => {
            Err(anyhow::anyhow!("{}: {}", response.status, response.detail()))
        }
        Err(response) => {
            tracing::warn!(exchange = message.exchange, body = %message.body, refusal = response.detail(), "a message was refused");
            Ok(())
        }
    }
}

/// Why stock changes by a `stock_update`.
pub(super) const SOLD_ELSEWHERE: &str = "stock_update of another program";

/// `stock_update`: another program sold so many. With a message id, once.
async fn sold_elsewhere(api: &ApiClient, message: &IncomingMessage) -> Result<(), ApiResponse> {
    let (Some(product), Some(pieces)) = (whole(&message.body["produit_id"]), whole(&message.body["quantite"])) else {
        tracing::warn!(body = %message.body, "a stock_update that names no produit_id or quantite");
        return Ok(());
    };
    let Some(product) = find(api, "products", &product.to_string()).await? else {
        tracing::warn!(product, "a stock_update of a product that there is not");
        return Ok(());
    };
    if pieces == 0 {
        return Ok(());
    }
    let once = message.id.as_deref().map(|id| format!("ms-client:{}", short(id)));
    produits::adjust(api, id(&product), -pieces, SOLD_ELSEWHERE, once.as_deref()).await.map(drop)
}

/// Ids of adjustments have at most 64 letters, and not all signs.
fn short(id: &str) -> String {
    use aws_lc_rs::digest::{SHA256, digest};
    digest(&SHA256, id.as_bytes()).as_ref().iter().take(16).map(|byte| format!("{byte:02x}")).collect()
}

/// `client_deletion_exchange`: another program removed a client. Again it changes nothing.
async fn gone_elsewhere(api: &ApiClient, message: &IncomingMessage) -> Result<(), ApiResponse> {
    let Some(client) = whole(&message.body["client_id"]) else {
        tracing::warn!(body = %message.body, "a client deletion that names no client_id");
        return Ok(());
    };
    clients::erase(api, &client.to_string()).await.map(drop)
}
