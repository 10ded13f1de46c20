//! Rows into products, and back.

use commerce::{Amount, ProductId, Timestamp};
use db::{Row, Value};

use crate::domain::{Product, search_text};
use crate::error::Error;

pub(super) const PRODUCT: &str =
    "id, number, name, description, category, price, currency, active, created_at, updated_at, version, sequence";

pub(super) const COLUMNS: &[&str] = &[
    "id",
    "number",
    "name",
    "description",
    "category",
    "price",
    "currency",
    "active",
    "created_at",
    "updated_at",
    "version",
    "sequence",
    "search",
    "created_from",
];

pub(super) fn product(row: &Row) -> Result<Product, Error> {
    let currency: String = row.get("currency")?;
    Ok(Product {
        id: ProductId::trusted(row.get("id")?),
        number: row.get("number")?,
        name: row.get("name")?,
        description: row.get("description")?,
        category: row.get("category")?,
        price: Amount::from_minor(row.get("price")?),
        currency: currency.parse().map_err(|_| db::Error::Unreadable("products.currency"))?,
        active: row.get::<i64>("active")? != 0,
        created_at: Timestamp::from_micros(row.get("created_at")?),
        updated_at: Timestamp::from_micros(row.get("updated_at")?),
        version: row.get("version")?,
        sequence: row.get("sequence")?,
    })
}

pub(super) fn values(product: &Product, created_from: &str) -> Vec<Value> {
    vec![
        product.id.as_str().into(),
        product.number.into(),
        product.name.as_str().into(),
        product.description.clone().into(),
        product.category.clone().into(),
        product.price.minor().into(),
        product.currency.as_str().into(),
        product.active.into(),
        product.created_at.micros().into(),
        product.updated_at.micros().into(),
        product.version.into(),
        product.sequence.into(),
        search_text(product).into(),
        created_from.into(),
    ]
}
