//! Questions, open to everybody.

use async_graphql::{Context, ID, Object, Result};
use commerce::page::{PageQuery, PageRequest};
use tokio::sync::Semaphore;

use super::types::{PageInfo, ProductConnection, ProductEdge, ProductView};
use super::{Api, graphql_error, price};
use crate::domain::Product;
use crate::error::Error;
use crate::store::Filter;

/// Most ids of one query.
const MAX_IDS: usize = 1_000;
/// Fields of one request that ask the store at a time. The connections of the store are shared by all requests.
const AT_ONCE: usize = 2;

/// The turns in which the fields of one request ask the store.
#[derive(Debug)]
pub(super) struct Turns(Semaphore);

impl Turns {
    pub(super) fn new() -> Self {
        Self(Semaphore::new(AT_ONCE))
    }
}

/// Reads of the catalogue.
pub(super) struct Query;

#[Object]
impl Query {
    /// The first 1,000 active products.
    #[graphql(complexity = "price::rows(1_000, child_complexity)")]
    async fn products(&self, ctx: &Context<'_>) -> Result<Vec<Option<ProductView>>> {
        measured("query", ctx, async {
            let products = api(ctx)?.store.plain().await.map_err(graphql_error)?;
            Ok(products.into_iter().map(|product| Some(product.into())).collect())
        })
        .await
    }

    /// The product with this id; null if there is none.
    #[graphql(complexity = "price::READ + child_complexity")]
    async fn product(&self, ctx: &Context<'_>, id: ID) -> Result<Option<ProductView>> {
        measured("query", ctx, async { Ok(api(ctx)?.store.product(&id).await.map_err(graphql_error)?.map(Into::into)) })
            .await
    }

    /// The products with these ids, at most 1,000, in the same order; null for an id without a product.
    #[graphql(complexity = "price::rows(ids.len(), child_complexity)")]
    async fn products_by_ids(&self, ctx: &Context<'_>, ids: Vec<ID>) -> Result<Vec<Option<ProductView>>> {
        measured("query", ctx, async {
            if ids.len() > MAX_IDS {
                return Err(graphql_error(Error::invalid("ids", "count", "at most 1000")));
            }
            let ids: Vec<String> = ids.into_iter().map(|id| id.0).collect();
            let products = api(ctx)?.store.by_ids(&ids).await.map_err(graphql_error)?;
            Ok(products.into_iter().map(|product| product.map(Into::into)).collect())
        })
        .await
    }

    /// The catalogue page by page: `search` matches id, name, category and description; `active: null`
    /// includes inactive products; `number` finds one product; `first` is 1 to 100.
    #[graphql(complexity = "price::page(first, child_complexity)")]
    #[expect(clippy::too_many_arguments, reason = "the arguments of the field in the schema")]
    async fn catalog(
        &self,
        ctx: &Context<'_>,
        search: Option<String>,
        category: Option<String>,
        #[graphql(default_with = "Some(true)")] active: Option<bool>,
        #[graphql(default = 20)] first: i32,
        after: Option<String>,
        number: Option<i64>,
    ) -> Result<ProductConnection> {
        measured("query", ctx, async {
            let api = api(ctx)?;
            if search.as_ref().is_some_and(|search| search.chars().count() > 200) {
                return Err(graphql_error(Error::invalid("search", "length", "at most 200 characters")));
            }
            let page = PageQuery {
                limit: Some(u32::try_from(first).unwrap_or(0)),
                cursor: after,
                page: None,
                include_total: Some(ctx.look_ahead().field("totalCount").exists()),
            };
            let window = page.page_request::<i64>(&api.cursors).map_err(|bad| graphql_error(bad.into()))?;
            let filter = Filter { search, category, active, number };
            let (products, total) = api.store.catalog(filter, &window).await.map_err(graphql_error)?;
            Ok(connection(api, &window, products, total))
        })
        .await
    }

    /// The categories of active products.
    #[graphql(complexity = "price::SCAN")]
    async fn categories(&self, ctx: &Context<'_>) -> Result<Vec<String>> {
        measured("query", ctx, async { api(ctx)?.store.categories().await.map_err(graphql_error) }).await
    }
}

fn connection(api: &Api, window: &PageRequest<i64>, products: Vec<Product>, total: Option<u64>) -> ProductConnection {
    let page = window.page(&api.cursors, products, total, |product| product.number);
    let edges: Vec<ProductEdge> = page
        .data
        .into_iter()
        .map(|product| ProductEdge { cursor: api.cursors.encode(&product.number), node: product.into() })
        .collect();
    ProductConnection {
        page_info: PageInfo {
            has_next_page: page.next_cursor.is_some(),
            has_previous_page: window.after.is_some(),
            start_cursor: edges.first().map(|edge| edge.cursor.clone()),
            end_cursor: edges.last().map(|edge| edge.cursor.clone()),
        },
        total_count: page.total.unwrap_or(0),
        edges,
    }
}

pub(super) fn api<'a>(ctx: &Context<'a>) -> Result<&'a Api> {
    ctx.data_opt::<Api>().ok_or_else(|| graphql_error(Error::Defect("a schema without a store")))
}

/// Resolves a field of the root type when it is its turn, and measures it. A schema without a store resolves nothing.
pub(super) async fn measured<T>(
    operation: &'static str,
    ctx: &Context<'_>,
    answer: impl Future<Output = Result<T>>,
) -> Result<T> {
    let defect = |_| graphql_error(Error::Defect("turns that are over"));
    let _turn = match ctx.data_opt::<Turns>() {
        Some(turns) => Some(turns.0.acquire().await.map_err(defect)?),
        None => None,
    };
    api(ctx)?.meters.measure(operation, ctx, answer).await
}
