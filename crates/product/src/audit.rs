//! What the audit reads of this service: plain facts, independent of the schema. Events come from the outbox.

use bus::LastEvents;
use commerce::Timestamp;
use db::{Db, Options};

use crate::{domain::Product, events, store::Store};

/// Everything that the audit asks of this service.
#[derive(Debug, Clone, Default)]
pub struct Facts {
    /// Every product, deleted ones too.
    pub products: Vec<ProductFact>,
    /// The highest number of a product, and the last number that was given.
    pub numbers: (&'static str, i64, i64),
    /// The events that the outbox keeps.
    pub outbox: bus::outbox::OutboxDump,
    /// The products compared with their events.
    pub comparison: bus::Comparison,
}

/// One product.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ProductFact {
    /// Its id.
    pub id: String,
    /// Number of events published so far.
    pub last_sequence: i64,
    /// When it was created.
    pub created_at: Timestamp,
    /// When its last event was published.
    pub updated_at: Timestamp,
}

/// Reads the facts of the store at this URL, running or not.
pub async fn audit_facts(url: &str) -> anyhow::Result<Facts> {
    let db = Db::open(url, &Options::auditor(), None).await?;
    let store = Store::new(db.clone());
    let mut products: Vec<Product> = Vec::new();
    loop {
        let page = store.all(products.last().map_or("", |last| last.id.as_str())).await?;
        if page.is_empty() {
            break;
        }
        products.extend(page);
    }
    let (highest, last) = store.numbers().await?;
    // Read last: the events of everything in the facts are published by then.
    let outbox = bus::outbox::dump(&mut db.read().await?).await?;
    let mut events = LastEvents::of(&outbox);
    for product in &products {
        events.compare(events::TOPIC, product.id.as_str(), product.sequence, product, &[]);
    }
    let comparison = events.finish();
    db.close().await;
    let fact = |product: Product| ProductFact {
        id: product.id.into(),
        last_sequence: product.sequence,
        created_at: product.created_at,
        updated_at: product.updated_at,
    };
    let products = products.into_iter().map(fact).collect();
    Ok(Facts { products, numbers: ("product", highest, last), outbox, comparison })
}
