//! Products that a fleet is to have from its first start, made directly in the store.

use commerce::{Amount, Currency, ProductId};
use db::{Db, Options};

use crate::config::Config;
use crate::domain::NewProduct;
use crate::store::{MIGRATIONS, Store};

/// A product to be made.
#[derive(Clone, Debug)]
pub struct SeedProduct {
    /// Its id, the SKU.
    pub id: ProductId,
    /// What it is called.
    pub name: String,
    /// What it is.
    pub description: Option<String>,
    /// What it belongs to.
    pub category: Option<String>,
    /// What it costs.
    pub price: Amount,
    /// In which currency.
    pub currency: Currency,
}

/// Makes the products whose ids are not taken yet, in one transaction; tells how many. Safe to repeat, also
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
