//! What the order service consumes: refunds and voids of payments, which the order shows; and orders of other programs on
//! `new-order`.

use bus::{Event, Failure, Handler};
use chassis::{Kind, Problem};
use commerce::{Id, OrderId, ProductId, Quantity};
use serde::Deserialize;
use serde_json::Value;
use tokio::time::Instant;

use crate::{
    app::{
        App, payment_status,
        place_order::{LineRequest, OrderRequest, place_order},
        queries, withdraw,
    },
    domain::Channel,
    error::Error,
    events::{EXTERNAL_USER, NEW_ORDER_TOPIC, ORIGIN},
};

/// The prefix of ids that are payments of an older fleet and never orders.
const LEGACY_PREFIX: &str = "legacy:";

/// The event consumer.
pub(crate) struct Consumer {
    pub(crate) app: App,
}

/// An order on `new-order` as the programs of an older fleet write it; ids are strings or numbers.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct ExternalOrder {
    id: Value,
    #[serde(default)]
    user_id: Value,
    #[serde(default)]
    product_id: Value,
    #[serde(default)]
    quantity: Value,
    #[serde(default)]
    products: Vec<ExternalLine>,
    #[serde(default)]
    status: Option<String>,
    /// Which program the order is of, if it says so.
    #[serde(default)]
    origin: Option<String>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct ExternalLine {
    product_id: Value,
    quantity: Value,
}

impl Handler for Consumer {
    async fn handle(&self, events: &[Event]) -> Result<(), Failure> {
        for event in events.iter().filter(|event| event.topic == NEW_ORDER_TOPIC) {
            self.import(event).await?;
        }
        let refunds: Vec<Event> = events
            .iter()
            .filter(|event| matches!(event.kind.as_str(), "souk.payment.refunded" | "souk.payment.voided"))
            .cloned()
            .collect();
        payment_status::record(&self.app, &refunds).await
    }

    fn takes_plain(&self, topic: &str) -> bool {
        topic == NEW_ORDER_TOPIC
    }
}

impl Consumer {
    /// Places the order of another program, once by its id. Messages about this service's own orders are marked; those of earlier
    /// versions are not, and find the order, since they are published after it is stored.
    async fn import(&self, event: &Event) -> Result<(), Failure> {
        let external: ExternalOrder = event.data()?;
        // Other statuses report what became of an order elsewhere.
        if !matches!(external.status.as_deref(), None | Some("pending")) || external.origin.as_deref() == Some(ORIGIN) {
            return Ok(());
        }
        let id = OrderId::parse(&text(&external.id)).map_err(|why| Failure::Bad(anyhow::anyhow!("id: {why}")))?;
        if id.as_str().starts_with(LEGACY_PREFIX) {
            return Err(Failure::Bad(anyhow::anyhow!("id: the prefix `{LEGACY_PREFIX}` is reserved")));
        }
        if queries::find_order(&self.app, id.as_str()).await.map_err(failure)?.is_some() {
            return Ok(());
        }
        let mut request = external.into_request(id)?;
        if let Some(customer) = &request.customer_id
            && !queries::customer_exists(&self.app, customer).await.map_err(failure)?
        {
            request.metadata.insert(EXTERNAL_USER.into(), customer.to_string());
            request.customer_id = None;
        }
        // Without waiting: the saga runs in a task of its own.
        match place_order(&self.app, request, Instant::now()).await {
            // Withdrawn before it came: nothing is left to do.
            Err(Error::Refused(problem)) if problem.code() == withdraw::CODE => Ok(()),
            placed => placed.map(drop).map_err(failure),
        }
    }
}

impl ExternalOrder {
    fn into_request(self, id: OrderId) -> Result<OrderRequest, Failure> {
        let single = [ExternalLine { product_id: self.product_id, quantity: self.quantity }];
        let products = if self.products.is_empty() { &single[..] } else { &self.products };
        let lines = products.iter().map(ExternalLine::to_request).collect::<Result<Vec<LineRequest>, Failure>>()?;
        let user = text(&self.user_id);
        let customer_id = Id::parse(&user).ok();
        // A user id that cannot be a customer id is kept in the metadata.
        let external_user =
            Some(user.clone()).filter(|user| customer_id.is_none() && (1..=500).contains(&user.chars().count()));
        Ok(OrderRequest {
            id: Some(id),
            customer_id,
            place_id: None,
            placed_at: None,
            currency: None,
            method: Default::default(),
            lines,
            adjustments: Vec::new(),
            shipping_address: None,
            notes: None,
            metadata: external_user.map(|user| (EXTERNAL_USER.to_owned(), user)).into_iter().collect(),
            channel: Channel::Web,
            cart: None,
            payload_hash: format!("{NEW_ORDER_TOPIC}:{user}"),
            key: None,
            acknowledge_by: None,
            actor: NEW_ORDER_TOPIC.into(),
        })
    }
}

impl ExternalLine {
    fn to_request(&self) -> Result<LineRequest, Failure> {
        let bad = |why: String| Failure::Bad(anyhow::anyhow!(why));
        let pieces = self.quantity.as_i64().or_else(|| self.quantity.as_str()?.parse().ok());
        let quantity = Quantity::new(pieces.unwrap_or_default()).map_err(|why| bad(format!("quantity: {why}")))?;
        let id = ProductId::parse(&text(&self.product_id)).map_err(|why| bad(format!("productId: {why}")))?;
        Ok(LineRequest::Product { id, quantity, unit_price: None })
    }
}

/// A string, or a number as string; empty for null.
fn text(value: &Value) -> String {
    match value {
        Value::Null => String::new(),
        Value::String(text) => text.clone(),
        other => other.to_string(),
    }
}

/// A store or peer that fails is retried; a refused order is not.
fn failure(error: Error) -> Failure {
    if let Error::Store(store) = &error
        && store.is_of_data()
    {
        return Failure::Bad(error.into());
    }
    let problem = Problem::from(error);
    let why = anyhow::anyhow!("{problem}");
    if matches!(problem.kind(), Kind::Unavailable | Kind::Timeout | Kind::Internal | Kind::BadGateway) {
        Failure::Later(why)
    } else {
        Failure::Bad(why)
    }
}
