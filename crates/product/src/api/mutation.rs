//! Changes, for admins.

use async_graphql::{Context, ID, MaybeUndefined, Object, Result};
use auth::Caller;
use commerce::ProductId;
use idempotency::{Fingerprint, Key, KeyedRequest};
use serde::Serialize;

use super::query::{api, measured};
use super::types::{Price, ProductView};
use super::{graphql_error, price};
use crate::domain::{Change, NewProduct};
use crate::error::Error;

/// Writes to the catalogue. With an `idempotencyKey`, a repeat with the same arguments gets the first response for 24 hours.
pub(super) struct Mutation;

#[Object]
impl Mutation {
    /// Adds a product to the catalogue. For admins. A repeat with the same `id` and arguments changes nothing.
    #[graphql(complexity = "price::WRITE + child_complexity")]
    #[expect(clippy::too_many_arguments, reason = "the arguments of the field in the schema")]
    async fn add_product(
        &self,
        ctx: &Context<'_>,
        name: String,
        price: Price,
        description: Option<String>,
        id: Option<ID>,
        category: Option<String>,
        currency: Option<String>,
        #[graphql(default = true)] active: bool,
        idempotency_key: Option<String>,
    ) -> Result<ProductView> {
        measured(
            "mutation",
            ctx,
            Box::pin(async {
                let api = api(ctx)?;
                let admin = admin(ctx)?;
                let id = id.map(|id| ProductId::parse(&id)).transpose();
                let currency = currency.map_or(Ok(api.currency), |currency| currency.parse());
                let new = NewProduct {
                    id: id.map_err(|err| graphql_error(Error::invalid("id", "id", &err.to_string())))?,
                    name,
                    description,
                    category,
                    price: price.0,
                    currency: currency
                        .map_err(|err| graphql_error(Error::invalid("currency", "currency", &err.to_string())))?,
                    active,
                };
                let created_from = Fingerprint::of(&new).to_base64();
                let key = key(admin, "addProduct", idempotency_key, &new)?;
                let new = new.checked().map_err(|error| graphql_error(error.into()))?;
                let product = api.store.add(new, &created_from, key).await.map_err(graphql_error)?;
                api.relay.wake();
                Ok(product.into())
            }),
        )
        .await
    }

    /// Changes the given fields of a product; null removes description or category. For admins. With
    /// `version`, refused if the product has another version.
    #[graphql(complexity = "price::WRITE + child_complexity")]
    #[expect(clippy::too_many_arguments, reason = "the arguments of the field in the schema")]
    async fn update_product(
        &self,
        ctx: &Context<'_>,
        id: ID,
        name: Option<String>,
        price: Option<Price>,
        description: MaybeUndefined<String>,
        category: MaybeUndefined<String>,
        active: Option<bool>,
        version: Option<i64>,
        idempotency_key: Option<String>,
    ) -> Result<ProductView> {
        measured(
            "mutation",
            ctx,
            Box::pin(async {
                let api = api(ctx)?;
                let admin = admin(ctx)?;
                let change = Change {
                    name,
                    price: price.map(|price| price.0),
                    description: given(description),
                    category: given(category),
                    active,
                    seen: version,
                };
                let key = key(admin, "updateProduct", idempotency_key, &(id.as_str(), &change))?;
                let product = api.store.change(&id, change, key).await.map_err(graphql_error)?;
                api.relay.wake();
                Ok(product.into())
            }),
        )
        .await
    }

    /// Deletes a product and returns its last state. For admins. The id cannot be used again.
    #[graphql(complexity = "price::WRITE + child_complexity")]
    async fn delete_product(
        &self,
        ctx: &Context<'_>,
        id: ID,
        version: Option<i64>,
        idempotency_key: Option<String>,
    ) -> Result<ProductView> {
        measured(
            "mutation",
            ctx,
            Box::pin(async {
                let api = api(ctx)?;
                let admin = admin(ctx)?;
                let key = key(admin, "deleteProduct", idempotency_key, &(id.as_str(), version))?;
                let product = api.store.delete(&id, version, key).await.map_err(graphql_error)?;
                api.relay.wake();
                Ok(product.into())
            }),
        )
        .await
    }
}

fn admin<'a>(ctx: &Context<'a>) -> Result<&'a Caller> {
    match ctx.data_opt::<Option<Caller>>() {
        Some(Some(caller)) if caller.is_admin() => Ok(caller),
        Some(Some(_)) => Err(graphql_error(Error::Forbidden)),
        _ => Err(graphql_error(Error::Unauthenticated)),
    }
}

fn given(value: MaybeUndefined<String>) -> Option<Option<String>> {
    match value {
        MaybeUndefined::Undefined => None,
        MaybeUndefined::Null => Some(None),
        MaybeUndefined::Value(value) => Some(Some(value)),
    }
}

fn key(
    admin: &Caller,
    route: &'static str,
    key: Option<String>,
    request: &impl Serialize,
) -> Result<Option<KeyedRequest>> {
    let Some(key) = key else { return Ok(None) };
    let invalid = |_| graphql_error(Error::invalid("idempotencyKey", "length", "1 to 255 printable ASCII characters"));
    let key = Key::parse(&key, &admin.subject, route).map_err(invalid)?;
    Ok(Some(KeyedRequest { key, fingerprint: Fingerprint::of(request) }))
}
