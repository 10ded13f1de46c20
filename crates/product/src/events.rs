//! The events of this service: `product.created`, `product.updated`, `product.deleted`.

use bus::{NewEvent, outbox};
use db::Tx;

use crate::domain::Product;
use crate::error::Error;

/// The topic that this service publishes to.
pub(crate) const TOPIC: &str = "products";

pub(crate) async fn created(tx: &mut Tx, products: &[Product]) -> Result<(), Error> {
    tell(tx, "souk.product.created", products).await
}

pub(crate) async fn updated(tx: &mut Tx, product: Product) -> Result<(), Error> {
    tell(tx, "souk.product.updated", &[product]).await
}

pub(crate) async fn deleted(tx: &mut Tx, product: Product) -> Result<(), Error> {
    tell(tx, "souk.product.deleted", &[product]).await
}

async fn tell(tx: &mut Tx, kind: &'static str, products: &[Product]) -> Result<(), Error> {
    let event = |product: &Product| NewEvent::new(TOPIC, kind, product.id.as_str(), product.sequence, product);
    Ok(outbox::append(tx, crate::NAME, products.iter().map(event).collect()).await?)
}
