//! Changes of the catalogue: each is one transaction with its event.

use commerce::{ProductId, Timestamp};
use db::{Tx, insert, query};

use super::rows::{COLUMNS, values};
use idempotency::KeyedRequest;

use super::{Store, idempotency_keys, reads};
use crate::domain::{Change, NewProduct, Product, search_text};
use crate::error::Error;
use crate::events;

impl Store {
    /// Creates a product; a repeat (by key, or by id with the same payload) changes nothing.
    pub(crate) async fn add(
        &self,
        new: NewProduct,
        created_from: &str,
        key: Option<KeyedRequest>,
    ) -> Result<Product, Error> {
        let mut tx = self.db.write().await?;
        if let Some(product) = idempotency_keys::find(&mut tx, key.as_ref()).await? {
            return Ok(product);
        }
        lock(&mut tx, new.id.iter().map(ProductId::as_str)).await?;
        let known = match &new.id {
            Some(id) => reads::taken(&mut tx, id).await?.map(|known| (id.as_str().to_owned(), known)),
            None => None,
        };
        let product = match known {
            Some((_, (from, Some(product)))) if from == created_from => product,
            Some((id, _)) => return Err(Error::IdTaken(id)),
            None => {
                let number = next_numbers(&mut tx, 1).await?;
                let product = make(new, number);
                insert("products", COLUMNS, [values(&product, created_from)]).execute(&mut tx).await?;
                events::created(&mut tx, std::slice::from_ref(&product)).await?;
                product
            }
        };
        idempotency_keys::store(&mut tx, key.as_ref(), &product).await?;
        tx.commit().await?;
        Ok(product)
    }

    /// Inserts the products whose ids are free, in one transaction; returns how many.
    pub(crate) async fn add_missing(&self, new: Vec<NewProduct>) -> Result<usize, Error> {
        let mut tx = self.db.write().await?;
        lock(&mut tx, new.iter().filter_map(|new| new.id.as_ref()).map(ProductId::as_str)).await?;
        let mut missing = Vec::new();
        for new in new {
            let taken = match &new.id {
                Some(id) => reads::taken(&mut tx, id).await?.is_some(),
                None => false,
            };
            if !taken {
                missing.push(new);
            }
        }
        let count = i64::try_from(missing.len()).map_err(|_| Error::Defect("too many products"))?;
        let first = next_numbers(&mut tx, count).await?;
        let products: Vec<Product> = missing.into_iter().zip(first..).map(|(new, number)| make(new, number)).collect();
        insert("products", COLUMNS, products.iter().map(|product| values(product, ""))).execute(&mut tx).await?;
        events::created(&mut tx, &products).await?;
        tx.commit().await?;
        Ok(products.len())
    }

    /// Changes a product; a change that changes nothing leaves no trace.
    pub(crate) async fn change(&self, id: &str, change: Change, key: Option<KeyedRequest>) -> Result<Product, Error> {
        let mut tx = self.db.write().await?;
        if let Some(product) = idempotency_keys::find(&mut tx, key.as_ref()).await? {
            return Ok(product);
        }
        lock(&mut tx, [id]).await?;
        let before = reads::load(&mut tx, id).await?.ok_or_else(|| Error::NotFound(id.to_owned()))?;
        let product = match before.changed(change, Timestamp::now())? {
            None => before,
            Some(after) => {
                save(&mut tx, &after).await?;
                events::updated(&mut tx, after.clone()).await?;
                after
            }
        };
        idempotency_keys::store(&mut tx, key.as_ref(), &product).await?;
        tx.commit().await?;
        Ok(product)
    }

    /// Deletes a product. Its id is not used again.
    pub(crate) async fn delete(
        &self,
        id: &str,
        seen: Option<i64>,
        key: Option<KeyedRequest>,
    ) -> Result<Product, Error> {
        let mut tx = self.db.write().await?;
        if let Some(product) = idempotency_keys::find(&mut tx, key.as_ref()).await? {
            return Ok(product);
        }
        lock(&mut tx, [id]).await?;
        let mut product = reads::load(&mut tx, id).await?.ok_or_else(|| Error::NotFound(id.to_owned()))?;
        if seen.is_some_and(|seen| seen != product.version) {
            return Err(Error::Stale { version: product.version });
        }
        let now = Timestamp::now();
        (product.active, product.updated_at) = (false, now);
        (product.version, product.sequence) = (product.version + 1, product.sequence + 1);
        save(&mut tx, &product).await?;
        query("update products set deleted_at = $2 where id = $1").bind(id).bind(now.micros()).execute(&mut tx).await?;
        events::deleted(&mut tx, product.clone()).await?;
        idempotency_keys::store(&mut tx, key.as_ref(), &product).await?;
        tx.commit().await?;
        Ok(product)
    }
}

/// Locks these products until the transaction ends.
async fn lock(tx: &mut Tx, ids: impl IntoIterator<Item = &str>) -> Result<(), Error> {
    Ok(tx.lock(ids.into_iter().map(|id| format!("product/{id}"))).await?)
}

fn make(new: NewProduct, number: i64) -> Product {
    let now = Timestamp::now();
    Product {
        id: new.id.unwrap_or_else(ProductId::new),
        number,
        name: new.name,
        description: new.description,
        category: new.category,
        price: new.price,
        currency: new.currency,
        active: new.active,
        created_at: now,
        updated_at: now,
        version: 1,
        sequence: 1,
    }
}

async fn save(tx: &mut Tx, product: &Product) -> Result<(), Error> {
    query(
        "update products set name = $2, description = $3, category = $4, price = $5, active = $6, updated_at = $7, \
         version = $8, sequence = $9, search = $10 where id = $1",
    )
    .bind(product.id.as_str())
    .bind(product.name.as_str())
    .bind(product.description.clone())
    .bind(product.category.clone())
    .bind(product.price.minor())
    .bind(product.active)
    .bind(product.updated_at.micros())
    .bind(product.version)
    .bind(product.sequence)
    .bind(search_text(product))
    .execute(tx)
    .await?;
    Ok(())
}

/// Allocates `count` numbers; returns the first.
async fn next_numbers(tx: &mut Tx, count: i64) -> Result<i64, Error> {
    let row = query(
        "insert into counters (kind, last) values ('product', $1) \
         on conflict (kind) do update set last = counters.last + excluded.last returning last",
    )
    .bind(count)
    .fetch_one(tx)
    .await?;
    Ok(row.get::<i64>("last")? - count + 1)
}
