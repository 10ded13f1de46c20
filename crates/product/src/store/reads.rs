//! Questions to the catalogue. Deleted products are in none of the answers.

use std::collections::HashMap;

use commerce::ProductId;
use commerce::page::PageRequest;
use db::{Tx, query};

use super::Store;
use super::rows::{PRODUCT, product};
use crate::domain::Product;
use crate::error::Error;

/// Most products of the plain list.
const PLAIN: i64 = 1_000;
const FACTS_PAGE: i64 = 1_000;

/// Which products are asked for.
#[derive(Clone, Debug, Default)]
pub(crate) struct Filter {
    pub(crate) search: Option<String>,
    pub(crate) category: Option<String>,
    pub(crate) active: Option<bool>,
    pub(crate) number: Option<i64>,
}

pub(super) async fn load(tx: &mut Tx, id: &str) -> Result<Option<Product>, Error> {
    let row = query(format!("select {PRODUCT} from products where id = $1 and deleted_at is null"))
        .bind(id)
        .fetch_optional(tx)
        .await?;
    row.as_ref().map(product).transpose()
}

impl Store {
    /// One product.
    pub(crate) async fn product(&self, id: &str) -> Result<Option<Product>, Error> {
        load(&mut self.db.read().await?, id).await
    }

    /// The products of these ids, in their order; none where there is none. One statement: checkouts wait for it.
    pub(crate) async fn by_ids(&self, ids: &[String]) -> Result<Vec<Option<Product>>, Error> {
        let mut tx = self.db.read().await?;
        let rows = query(format!("select {PRODUCT} from products where deleted_at is null and id in {{list $1}}"))
            .list(ids)
            .fetch_all(&mut tx)
            .await?;
        let mut found = HashMap::with_capacity(rows.len());
        for row in &rows {
            let product = product(row)?;
            found.insert(product.id.as_str().to_owned(), product);
        }
        Ok(ids.iter().map(|id| found.get(id).cloned()).collect())
    }

    /// The first active products, for the plain list.
    pub(crate) async fn plain(&self) -> Result<Vec<Product>, Error> {
        let mut tx = self.db.read().await?;
        let rows = query(format!(
            "select {PRODUCT} from products where active = 1 and deleted_at is null order by number limit $1"
        ))
        .bind(PLAIN)
        .fetch_all(&mut tx)
        .await?;
        rows.iter().map(product).collect()
    }

    /// A window of the catalogue in the order of numbers, and how many there are if that was asked.
    pub(crate) async fn catalog(
        &self,
        filter: Filter,
        window: &PageRequest<i64>,
    ) -> Result<(Vec<Product>, Option<u64>), Error> {
        let mut conditions = db::Filter::new("deleted_at is null");
        if let Some(active) = filter.active {
            conditions.and("active = ?", active);
        }
        if let Some(category) = filter.category {
            conditions.and("category = ?", category);
        }
        if let Some(number) = filter.number {
            conditions.and("number = ?", number);
        }
        if let Some(search) = filter.search {
            conditions.and_contains("search", &search);
        }
        let mut tx = self.db.snapshot().await?;
        let total = if window.include_total { Some(conditions.count("products", &mut tx).await?) } else { None };
        if let Some(after) = window.after {
            conditions.and("number > ?", after);
        }
        let text = format!("select {PRODUCT} from products where {{where}} order by number limit ?");
        let rows = conditions.query(&text, [window.fetch().into()]).fetch_all(&mut tx).await?;
        Ok((rows.iter().map(product).collect::<Result<_, _>>()?, total))
    }

    /// The categories of active products, by name.
    pub(crate) async fn categories(&self) -> Result<Vec<String>, Error> {
        let mut tx = self.db.read().await?;
        let text = "select distinct category from products where category is not null and active = 1 and deleted_at is null order by category limit 1000";
        let rows = query(text).fetch_all(&mut tx).await?;
        rows.iter().map(|row| Ok(row.get("category")?)).collect()
    }

    /// A page of all products, deleted ones too, with ids after `after`. For the audit.
    pub(crate) async fn all(&self, after: &str) -> Result<Vec<Product>, Error> {
        let mut tx = self.db.read().await?;
        let text = format!("select {PRODUCT} from products where id > $1 order by id limit $2");
        query(text).bind(after).bind(FACTS_PAGE).fetch_all(&mut tx).await?.iter().map(product).collect()
    }

    /// The highest number of a product, and the last number that was given. For the audit.
    pub(crate) async fn numbers(&self) -> Result<(i64, i64), Error> {
        let text = "select (select coalesce(max(number), 0) from products) as highest,
               coalesce((select last from counters where kind = 'product'), 0) as last";
        let row = query(text).fetch_one(&mut self.db.read().await?).await?;
        Ok((row.get("highest")?, row.get("last")?))
    }
}

/// A used id: the fingerprint of the request that created it, and the product unless deleted.
pub(super) async fn taken(tx: &mut Tx, id: &ProductId) -> Result<Option<(String, Option<Product>)>, Error> {
    let row = query(format!("select {PRODUCT}, created_from, deleted_at from products where id = $1"))
        .bind(id.as_str())
        .fetch_optional(tx)
        .await?;
    let Some(row) = row else { return Ok(None) };
    let living = row.get::<Option<i64>>("deleted_at")?.is_none();
    Ok(Some((row.get("created_from")?, if living { Some(product(&row)?) } else { None })))
}
