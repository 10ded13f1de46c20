//! REST `/api/products`, over the GraphQL API of the product service.

mod body;
mod graphql;

use axum::{extract::State, response::Response};
use chassis::{Json, Kind, Path, Problem, Query, conditional};
use commerce::page::{DEFAULT_LIMIT, MAX_LIMIT, Page};
use http::{HeaderMap, HeaderValue, StatusCode, header};
use serde::Serialize;
use serde_json::{Value, json};

use self::{
    body::{NewProduct, Product, ProductPatch, ProductQuery},
    graphql::{FIELDS, mutate, query_graphql},
};
use crate::state::Gateway;

/// Lists products of the catalogue. Anyone may call it.
#[utoipa::path(get, operation_id = "listProducts", path = "/api/products", tag = "products", params(ProductQuery),
    responses((status = 200, body = Page<Product>)))]
pub(crate) async fn list(
    State(gateway): State<Gateway>,
    headers: HeaderMap,
    Query(query): Query<ProductQuery>,
) -> Result<Json<Page<Product>>, Problem> {
    let limit = query.limit.unwrap_or(DEFAULT_LIMIT);
    if !(1..=MAX_LIMIT).contains(&limit) {
        return Err(Problem::new(Kind::Unreadable, format!("limit: {limit} is not from 1 to {MAX_LIMIT}")));
    }
    let text = format!(
        "query($search:String,$category:String,$active:Boolean,$first:Int,$after:String,$number:Int){{catalog(search:$search,category:$category,active:$active,first:$first,after:$after,number:$number){{edges{{node{{{FIELDS}}}}}pageInfo{{hasNextPage endCursor}}{}}}}}",
        if query.include_total == Some(true) { " totalCount" } else { "" }
    );
    let variables = json!({
        "search": query.search, "category": query.category, "active": query.active.unwrap_or(true), "first": limit, "after": query.cursor,
        "number": query.number,
    });
    let mut data = query_graphql(&gateway, &headers, &text, variables).await.map_err(unreadable_cursor)?;
    let catalog = data["catalog"].take();
    let nodes: Vec<Value> =
        catalog["edges"].as_array().into_iter().flatten().map(|edge| edge["node"].clone()).collect();
    let more = catalog["pageInfo"]["hasNextPage"].as_bool().unwrap_or(false);
    Ok(Json(Page {
        data: read(Value::Array(nodes))?,
        next_cursor: catalog["pageInfo"]["endCursor"].as_str().filter(|_| more).map(ToOwned::to_owned),
        page: None,
        total: catalog["totalCount"].as_u64(),
    }))
}

/// An invalid cursor is a 400, as in every other list.
fn unreadable_cursor(problem: Problem) -> Problem {
    if problem.kind() == Kind::Invalid && problem.errors().iter().any(|error| error.field == "cursor") {
        return Problem::new(Kind::Unreadable, problem.detail());
    }
    problem
}

/// Returns a product by its SKU. Anyone may call it.
#[utoipa::path(get, operation_id = "getProduct", path = "/api/products/{id}", tag = "products", params(("id" = String, Path)),
    responses((status = 200, body = Product)))]
pub(crate) async fn get(
    State(gateway): State<Gateway>,
    headers: HeaderMap,
    Path(id): Path<String>,
) -> Result<Response, Problem> {
    let text = format!("query($id:ID!){{product(id:$id){{{FIELDS}}}}}");
    let mut data = query_graphql(&gateway, &headers, &text, json!({"id": id})).await?;
    match data["product"].take() {
        Value::Null => Err(Problem::not_found("product")),
        product => respond(StatusCode::OK, product),
    }
}

/// Creates a product. For admins.
///
/// 409 if there is or was another product with the id; 400 for a malformed `Idempotency-Key`.
#[utoipa::path(post, operation_id = "createProduct", path = "/api/products", tag = "products", request_body = NewProduct,
    params(("Idempotency-Key" = Option<String>, Header)),
    responses((status = 201, body = Product)))]
pub(crate) async fn create(
    State(gateway): State<Gateway>,
    headers: HeaderMap,
    Json(new): Json<NewProduct>,
) -> Result<Response, Problem> {
    let variables = with_key(&headers, variables(&new)?)?;
    let product = mutate(&gateway, &headers, "addProduct", variables).await?;
    let location = format!("/api/products/{}", product["id"].as_str().unwrap_or_default());
    let mut response = respond(StatusCode::CREATED, product)?;
    if let Ok(location) = HeaderValue::from_str(&location) {
        response.headers_mut().insert(header::LOCATION, location);
    }
    Ok(response)
}

/// Changes a product; missing fields keep their values. For admins.
///
/// 412 if `If-Match` is not the current version.
#[utoipa::path(patch, operation_id = "changeProduct", path = "/api/products/{id}", tag = "products", request_body = ProductPatch,
    params(("id" = String, Path), ("If-Match" = Option<String>, Header)),
    responses((status = 200, body = Product)))]
pub(crate) async fn update(
    State(gateway): State<Gateway>,
    headers: HeaderMap,
    Path(id): Path<String>,
    Json(patch): Json<ProductPatch>,
) -> Result<Response, Problem> {
    change(&gateway, &headers, id, variables(&patch.check()?)?).await
}

/// Replaces a product. For admins.
///
/// Missing optional fields are removed. 412 if `If-Match` is not the current version.
#[utoipa::path(put, operation_id = "replaceProduct", path = "/api/products/{id}", tag = "products", request_body = NewProduct,
    params(("id" = String, Path), ("If-Match" = Option<String>, Header)),
    responses((status = 200, body = Product)))]
pub(crate) async fn replace(
    State(gateway): State<Gateway>,
    headers: HeaderMap,
    Path(id): Path<String>,
    Json(new): Json<NewProduct>,
) -> Result<Response, Problem> {
    if new.id.as_ref().is_some_and(|own| own.as_str() != id) {
        return Err(Problem::invalid("id", "immutable", "the id in the body is not the one in the path"));
    }
    let mut variables = variables(&new)?;
    // A replacement removes the fields that it does not have.
    for (field, empty) in [("description", Value::Null), ("category", Value::Null), ("active", json!(true))] {
        if variables[field].is_null() {
            variables[field] = empty;
        }
    }
    // The currency of a product cannot change. The present one is accepted.
    if let Some(currency) = new.currency {
        let present =
            query_graphql(&gateway, &headers, "query($id:ID!){product(id:$id){currency}}", json!({"id": id})).await?;
        if present["product"]["currency"].as_str().is_some_and(|present| present != currency.as_str()) {
            return Err(Problem::invalid(
                "currency",
                "immutable",
                "a product keeps its currency; make another product",
            ));
        }
        variables.as_object_mut().map(|fields| fields.remove("currency"));
    }
    change(&gateway, &headers, id, variables).await
}

async fn change(gateway: &Gateway, headers: &HeaderMap, id: String, mut variables: Value) -> Result<Response, Problem> {
    variables["id"] = json!(id);
    let variables = with_version(headers, variables)?;
    respond(StatusCode::OK, mutate(gateway, headers, "updateProduct", variables).await?)
}

/// Adds the version in `If-Match`; 412 unless the tag is one.
fn with_version(headers: &HeaderMap, mut variables: Value) -> Result<Value, Problem> {
    match conditional::if_match(headers) {
        Some(version) if version < 0 => Err(Problem::new(Kind::Stale, "If-Match is no version of this product.")),
        Some(version) => {
            variables["version"] = json!(version);
            Ok(variables)
        }
        None => Ok(variables),
    }
}

/// Deletes a product from the catalogue. For admins.
///
/// 412 if `If-Match` is not the current version.
#[utoipa::path(delete, operation_id = "deleteProduct", path = "/api/products/{id}", tag = "products",
    params(("id" = String, Path), ("If-Match" = Option<String>, Header), ("Idempotency-Key" = Option<String>, Header)),
    responses((status = 204)))]
pub(crate) async fn delete(
    State(gateway): State<Gateway>,
    headers: HeaderMap,
    Path(id): Path<String>,
) -> Result<StatusCode, Problem> {
    let variables = with_key(&headers, with_version(&headers, json!({"id": id}))?)?;
    mutate(&gateway, &headers, "deleteProduct", variables).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// A body as GraphQL variables.
fn variables(body: &impl Serialize) -> Result<Value, Problem> {
    serde_json::to_value(body).map_err(Problem::internal)
}

/// Adds the idempotency key; 400 if it is malformed.
fn with_key(headers: &HeaderMap, mut variables: Value) -> Result<Value, Problem> {
    if let Some(key) = idempotency::header(headers)? {
        variables["idempotencyKey"] = json!(key);
    }
    Ok(variables)
}

fn read<T: serde::de::DeserializeOwned>(value: Value) -> Result<T, Problem> {
    serde_json::from_value(value).map_err(|error| {
        Problem::new(Kind::BadGateway, "The product service answered in an unknown shape.").because(error)
    })
}

/// A product, with its version as `ETag`.
fn respond(status: StatusCode, product: Value) -> Result<Response, Problem> {
    let product: Product = read(product)?;
    let mut response = conditional::versioned(product.version, product);
    *response.status_mut() = status;
    Ok(response)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn null_is_told_from_left_out_and_refused_where_a_product_cannot_be_without() {
        let read = |text: &str| chassis::parse_json::<ProductPatch>(text.as_bytes()).and_then(ProductPatch::check);
        let refused = read(r#"{"name":null,"price":null,"active":null,"category":null}"#).expect_err("refused");
        assert_eq!(refused.kind(), Kind::Invalid);
        let fields: Vec<_> = refused.errors().iter().map(|error| error.field.as_str()).collect();
        assert_eq!(fields, ["name", "price", "active"]);
        let patch = read(r#"{"name":"A","active":false,"category":null}"#).expect("a patch");
        let patch = variables(&patch).expect("variables");
        assert_eq!(patch, json!({"name": "A", "active": false, "category": null}));
    }

    #[test]
    fn an_if_match_is_a_version_or_stale() {
        let version = |tag: &[u8]| {
            let tag = HeaderValue::from_bytes(tag).expect("a value");
            let headers = HeaderMap::from_iter([(header::IF_MATCH, tag)]);
            with_version(&headers, json!({})).map_err(|problem| problem.kind())
        };
        assert_eq!(version(b"\"3\""), Ok(json!({"version": 3})));
        assert_eq!(version(b"*"), Ok(json!({})));
        assert_eq!(version(b"\"x\""), Err(Kind::Stale));
        assert_eq!(version(b"\xff"), Err(Kind::Stale));
    }
}
