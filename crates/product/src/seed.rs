//! Products that a new fleet starts with, inserted directly into the store.

use commerce::{Amount, Currency, ProductId};
use db::{Db, Options};

use crate::config::Config;
use crate::domain::NewProduct;
use crate::store::{MIGRATIONS, Store};

/// A new product.
#[derive(Clone, Debug)]
pub struct SeedProduct {
    /// Its id, the SKU.
    pub id: ProductId,
    /// Name.
    pub name: String,
    /// Description.
    pub description: Option<String>,
    /// Category.
    pub category: Option<String>,
    /// Price.
    pub price: Amount,
    /// In which currency.
    pub currency: Currency,
}

/// Inserts the products whose ids are free, in one transaction; returns how many. Idempotent, also
/// beside a running service.
pub async fn seed(config: &Config, products: &[SeedProduct]) -> anyhow::Result<usize> {
    let db = Db::open(&config.common.database_url, &Options::of(crate::NAME), None).await?;
    db.migrate(&[bus::MIGRATIONS, MIGRATIONS].concat()).await?;
    let new = products.iter().map(|product| {
        NewProduct {
            id: Some(product.id.clone()),
            name: product.name.clone(),
            description: product.description.clone(),
            category: product.category.clone(),
            price: product.price,
            currency: product.currency,
            active: true,
        }
        .checked()
    });
    let made = Store::new(db.clone()).add_missing(new.collect::<Result<_, _>>()?).await?;
    db.close().await;
    Ok(made)
}
