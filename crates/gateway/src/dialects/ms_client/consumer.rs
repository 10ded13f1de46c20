//! Translates between the bus and the fleet's three exchanges on RabbitMQ, in both directions, if `ms_client_amqp` names a broker.

use bus::{Event, Failure, Handler, Topology};
use chassis::Context;
use serde_json::{Map, Value, json};

use super::{
    amqp::{Amqp, DELETION, IncomingMessage, ORDERS, OutgoingMessage, STOCK},
    clients,
    commandes::NumbersById,
    find, notifications, produits,
};
use crate::dialects::{
    api_client::{ApiClient, ApiResponse},
    model::{Customer, Order, Product},
    values::whole,
};

const GROUP: &str = "ms-client";
const TOPOLOGY: Topology = Topology { topics: &["orders", "customers"], groups: &[(GROUP, &["orders", "customers"])] };

/// Starts the translation in both directions; it runs until the process stops.
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

/// Publishes events to the exchanges.
struct Publisher {
    api: ApiClient,
    amqp: Amqp,
}

impl Handler for Publisher {
    async fn handle(&self, events: &[Event]) -> Result<(), Failure> {
        let mut messages = Vec::new();
        for event in events {
            match event.kind.as_str() {
                "souk.order.confirmed" => {
                    let order: Order = event.data()?;
                    let numbers = NumbersById::of(&self.api, std::slice::from_ref(&order)).await.map_err(later)?;
                    let members = notifications::body(&order, &numbers).map(|(name, value)| (name.to_owned(), value));
                    let mut body: Map<String, Value> = members.into_iter().collect();
                    // In a message the total is a number.
                    body.insert("montant_total".into(), json!(order.total));
                    messages.push(OutgoingMessage { exchange: ORDERS, id: event.id.clone(), body: body.into() });
                    let numbers = NumbersById::of_lines(&self.api, &order.lines).await.map_err(later)?;
                    for (nth, line) in order.lines.iter().enumerate() {
                        if let Some(product) = line.product_id.as_deref().and_then(|id| numbers.product(id)) {
                            let body = json!({"produit_id": product, "quantite": line.quantity});
                            messages.push(OutgoingMessage { exchange: STOCK, id: format!("{}/{nth}", event.id), body });
                        }
                    }
                }
                "souk.customer.anonymised" => {
                    let customer: Customer = event.data()?;
                    let body = json!({"client_id": customer.number});
                    messages.push(OutgoingMessage { exchange: DELETION, id: event.id.clone(), body });
                }
                _ => {}
            }
        }
        self.amqp.publish(&messages).await.map_err(Failure::Later)
    }
}

fn later(response: ApiResponse) -> Failure {
    Failure::Later(anyhow::anyhow!("{}: {}", response.status, response.detail()))
}

/// Handles a message of another program. An error leads to another delivery; a refused message is logged and acknowledged.
async fn handle_message(api: &ApiClient, message: &IncomingMessage) -> anyhow::Result<()> {
    let handled = match message.exchange {
        STOCK => apply_sale(api, message).await,
        _ => erase_client(api, message).await,
    };
    match handled {
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

/// The reason of the stock adjustment for a `stock_update`.
pub(super) const EXTERNAL_SALE: &str = "stock_update of another program";

/// `stock_update`: another program sold pieces. Applied once for each message id.
async fn apply_sale(api: &ApiClient, message: &IncomingMessage) -> Result<(), ApiResponse> {
    let (Some(product), Some(pieces)) = (whole(&message.body["produit_id"]), whole(&message.body["quantite"])) else {
        tracing::warn!(body = %message.body, "a stock_update has no produit_id or quantite");
        return Ok(());
    };
    let Some(product) = find::<Product>(api, "products", &product.to_string()).await? else {
        tracing::warn!(product, "a stock_update names an unknown product");
        return Ok(());
    };
    if pieces == 0 {
        return Ok(());
    }
    let once = message.id.as_deref().map(|id| format!("ms-client:{}", short(id)));
    produits::adjust(api, &product.id, -pieces, EXTERNAL_SALE, once.as_deref()).await
}

/// A hash of a message id, since ids of adjustments have at most 64 characters from a small set.
fn short(id: &str) -> String {
    use aws_lc_rs::digest::{SHA256, digest};
    digest(&SHA256, id.as_bytes()).as_ref().iter().take(16).map(|byte| format!("{byte:02x}")).collect()
}

/// `client_deletion_exchange`: another program removed a client. A repeat changes nothing.
async fn erase_client(api: &ApiClient, message: &IncomingMessage) -> Result<(), ApiResponse> {
    let Some(client) = whole(&message.body["client_id"]) else {
        tracing::warn!(body = %message.body, "a client deletion has no client_id");
        return Ok(());
    };
    clients::erase(api, &client.to_string()).await.map(drop)
}
