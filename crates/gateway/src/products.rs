//! REST `/api/products`, bridged onto the product service's GraphQL.

use axum::{
    body::{Body, Bytes},
    extract::{Request, State},
    response::{IntoResponse, Response},
};
use chassis::{FieldError, Json, Kind, Path, Problem, Query};
use commerce::{
    Amount, Currency, ProductId,
    page::{DEFAULT_LIMIT, MAX_LIMIT, Page},
};
use http::{HeaderMap, HeaderValue, StatusCode, header};
use http_body_util::BodyExt;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use utoipa::{IntoParams, ToSchema};

use crate::{proxy, state::Gateway};

const FIELDS: &str = "id number name description category price currency active version";

/// A product of the catalogue.
#[derive(Debug, Serialize, Deserialize, ToSchema)]
pub(crate) struct Product {
    /// The SKU.
    id: ProductId,
    /// Counts products from 1.
    number: i64,
    /// What it is called.
    name: String,
    /// What it is.
    #[serde(skip_serializing_if = "Option::is_none")]
    description: Option<String>,
    /// Where it stands.
    #[serde(skip_serializing_if = "Option::is_none")]
    category: Option<String>,
    /// Of one piece.
    price: Amount,
    /// Of the price.
    currency: Currency,
    /// Whether it is sold.
    active: bool,
    /// Counts changes; the `ETag`.
    version: i64,
}

/// A product to be made.
#[derive(Debug, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct NewProduct {
    /// The SKU; made if not said.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    id: Option<ProductId>,
    /// What it is called.
    name: String,
    /// What it is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    description: Option<String>,
    /// Where it stands.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    category: Option<String>,
    /// Of one piece.
    price: Amount,
    /// Of the price.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    currency: Option<Currency>,
    /// Whether it is sold; yes if not said.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    active: Option<bool>,
}

/// What is to be changed of a product; what is left out stays.
#[derive(Debug, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct ProductPatch {
    /// What it is called.
    #[serde(default, deserialize_with = "given", skip_serializing_if = "Option::is_none")]
    #[schema(value_type = String, required = false)]
    name: Option<Option<String>>,
    /// What it is; null takes it away.
    #[serde(default, deserialize_with = "given", skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>)]
    description: Option<Option<String>>,
    /// Where it stands; null takes it away.
    #[serde(default, deserialize_with = "given", skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>)]
    category: Option<Option<String>>,
    /// Of one piece.
    #[serde(default, deserialize_with = "given", skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Amount, required = false)]
    price: Option<Option<Amount>>,
    /// Whether it is sold.
    #[serde(default, deserialize_with = "given", skip_serializing_if = "Option::is_none")]
    #[schema(value_type = bool, required = false)]
    active: Option<Option<bool>>,
}

impl ProductPatch {
    /// Refuses null where a product cannot be without.
    fn checked(self) -> Result<Self, Problem> {
        let nulls = [
            ("name", self.name == Some(None)),
            ("price", self.price == Some(None)),
            ("active", self.active == Some(None)),
        ];
        let errors: Vec<FieldError> = nulls
            .into_iter()
            .filter(|(_, null)| *null)
            .map(|(field, _)| FieldError::new(field, "required", "is wanted, null is not"))
            .collect();
        if errors.is_empty() { Ok(self) } else { Err(Problem::fields(errors)) }
    }
}

/// Tells a field that is null from one that is left out (leave it).
fn given<'de, D: serde::Deserializer<'de>, T: Deserialize<'de>>(
    deserializer: D,
) -> Result<Option<Option<T>>, D::Error> {
    Option::<T>::deserialize(deserializer).map(Some)
}

/// Which products.
#[derive(Debug, Default, Deserialize, IntoParams)]
#[serde(default, deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(crate) struct ProductQuery {
    /// In name, description or id.
    search: Option<String>,
    /// Of this category.
    category: Option<String>,
    /// Sold (true, if not said) or no longer sold.
    active: Option<bool>,
    /// The one of this number.
    number: Option<i64>,
    /// Rows wanted, 1 to 100; 20 if not said.
    limit: Option<u32>,
    /// Where the page before ended.
    cursor: Option<String>,
    /// Whether the answer tells the `total`.
    include_total: Option<bool>,
}

/// Products of the catalogue.
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

/// In a query string a cursor that no list gave out is unreadable, as in every other list.
fn unreadable_cursor(problem: Problem) -> Problem {
    if problem.kind() == Kind::Invalid && problem.errors().iter().any(|error| error.field == "cursor") {
        return Problem::new(Kind::Unreadable, problem.detail());
    }
    problem
}

/// A product by its SKU.
#[utoipa::path(get, operation_id = "getProduct", path = "/api/products/{id}", tag = "products", params(("id" = String, Path)),
    responses((status = 200, body = Product), (status = 404)))]
pub(crate) async fn get(
    State(gateway): State<Gateway>,
    headers: HeaderMap,
    Path(id): Path<String>,
) -> Result<Response, Problem> {
    let text = format!("query($id:ID!){{product(id:$id){{{FIELDS}}}}}");
    let mut data = query_graphql(&gateway, &headers, &text, json!({"id": id})).await?;
    match data["product"].take() {
        Value::Null => Err(Problem::not_found("product")),
        product => response(StatusCode::OK, product),
    }
}

/// Makes a product; admins.
#[utoipa::path(post, operation_id = "createProduct", path = "/api/products", tag = "products", request_body = NewProduct,
    params(("Idempotency-Key" = Option<String>, Header)),
    responses((status = 201, body = Product), (status = 409), (status = 422)))]
pub(crate) async fn create(
    State(gateway): State<Gateway>,
    headers: HeaderMap,
    Json(new): Json<NewProduct>,
) -> Result<Response, Problem> {
    let variables = with_key(&headers, variables(&new)?)?;
    let product = mutate(&gateway, &headers, "addProduct", variables).await?;
    let location = format!("/api/products/{}", product["id"].as_str().unwrap_or_default());
    let mut response = response(StatusCode::CREATED, product)?;
    if let Ok(location) = HeaderValue::from_str(&location) {
        response.headers_mut().insert(header::LOCATION, location);
    }
    Ok(response)
}

/// Changes a product; what is left out stays. Admins.
#[utoipa::path(patch, operation_id = "changeProduct", path = "/api/products/{id}", tag = "products", request_body = ProductPatch,
    params(("id" = String, Path), ("If-Match" = Option<String>, Header)),
    responses((status = 200, body = Product), (status = 404), (status = 412), (status = 422)))]
pub(crate) async fn update(
    State(gateway): State<Gateway>,
    headers: HeaderMap,
    Path(id): Path<String>,
    Json(patch): Json<ProductPatch>,
) -> Result<Response, Problem> {
    change(&gateway, &headers, id, variables(&patch.checked()?)?).await
}

/// Replaces a product; admins.
#[utoipa::path(put, operation_id = "replaceProduct", path = "/api/products/{id}", tag = "products", request_body = NewProduct,
    params(("id" = String, Path), ("If-Match" = Option<String>, Header)),
    responses((status = 200, body = Product), (status = 404), (status = 412), (status = 422)))]
pub(crate) async fn replace(
    State(gateway): State<Gateway>,
    headers: HeaderMap,
    Path(id): Path<String>,
    Json(new): Json<NewProduct>,
) -> Result<Response, Problem> {
    if new.id.as_ref().is_some_and(|given| given.as_str() != id) {
        return Err(Problem::invalid("id", "immutable", "the id in the body is not the one in the path"));
    }
    let mut variables = variables(&new)?;
    // What is left out of a replacement is taken away.
    for (field, empty) in [("description", Value::Null), ("category", Value::Null), ("active", json!(true))] {
        if variables[field].is_null() {
            variables[field] = empty;
        }
    }
    // A product's currency is for ever; saying the present one is no change.
    if let Some(currency) = new.currency {
        let now =
            query_graphql(&gateway, &headers, "query($id:ID!){product(id:$id){currency}}", json!({"id": id})).await?;
        if now["product"]["currency"].as_str().is_some_and(|now| now != currency.as_str()) {
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
    response(StatusCode::OK, mutate(gateway, headers, "updateProduct", variables).await?)
}

/// `If-Match` as the version that the caller has seen.
fn with_version(headers: &HeaderMap, mut variables: Value) -> Result<Value, Problem> {
    if let Some(tag) = headers.get(header::IF_MATCH).filter(|tag| *tag != "*") {
        let version = tag.to_str().ok().and_then(|tag| tag.trim_matches('"').parse::<i64>().ok());
        variables["version"] =
            json!(version.ok_or_else(|| Problem::new(Kind::Stale, "If-Match is no version of this product."))?);
    }
    Ok(variables)
}

/// Runs a mutation with the arguments that are given, since null is not the same as left out.
async fn mutate(gateway: &Gateway, headers: &HeaderMap, name: &str, variables: Value) -> Result<Value, Problem> {
    const TYPES: [(&str, &str); 9] = [
        ("id", "ID!"),
        ("name", "String!"),
        ("description", "String"),
        ("category", "String"),
        ("price", "Float!"),
        ("currency", "String"),
        ("active", "Boolean!"),
        ("version", "Int"),
        ("idempotencyKey", "String"),
    ];
    let given: Vec<_> = TYPES.into_iter().filter(|(field, _)| variables.get(field).is_some()).collect();
    let declared: Vec<String> = given.iter().map(|(field, kind)| format!("${field}:{kind}")).collect();
    let passed: Vec<String> = given.iter().map(|(field, _)| format!("{field}:${field}")).collect();
    let text = format!("mutation({}){{{name}({}){{{FIELDS}}}}}", declared.join(","), passed.join(","));
    let mut data = query_graphql(gateway, headers, &text, variables).await?;
    Ok(data[name].take())
}

/// Takes a product out of the catalogue; admins.
#[utoipa::path(delete, operation_id = "deleteProduct", path = "/api/products/{id}", tag = "products",
    params(("id" = String, Path), ("If-Match" = Option<String>, Header), ("Idempotency-Key" = Option<String>, Header)),
    responses((status = 204), (status = 404), (status = 409), (status = 412)))]
pub(crate) async fn delete(
    State(gateway): State<Gateway>,
    headers: HeaderMap,
    Path(id): Path<String>,
) -> Result<StatusCode, Problem> {
    let variables = with_key(&headers, with_version(&headers, json!({"id": id}))?)?;
    mutate(&gateway, &headers, "deleteProduct", variables).await?;
    Ok(StatusCode::NO_CONTENT)
}

fn variables(of: &impl Serialize) -> Result<Value, Problem> {
    serde_json::to_value(of).map_err(Problem::internal)
}

fn with_key(headers: &HeaderMap, mut variables: Value) -> Result<Value, Problem> {
    if let Some(key) = headers.get("idempotency-key") {
        let key = key
            .to_str()
            .map_err(|_| Problem::invalid("Idempotency-Key", "characters", "1 to 255 visible ASCII characters"))?;
        variables["idempotencyKey"] = json!(key);
    }
    Ok(variables)
}

fn read<T: serde::de::DeserializeOwned>(value: Value) -> Result<T, Problem> {
    serde_json::from_value(value).map_err(|error| {
        Problem::new(Kind::BadGateway, "The product service answered in an unknown shape.").because(error)
    })
}

fn response(status: StatusCode, product: Value) -> Result<Response, Problem> {
    let product: Product = read(product)?;
    let tag = HeaderValue::from_str(&format!("\"{}\"", product.version));
    let mut response = (status, Json(product)).into_response();
    if let Ok(tag) = tag {
        response.headers_mut().insert(header::ETAG, tag);
    }
    Ok(response)
}

/// Asks the product service in the caller's name.
async fn query_graphql(gateway: &Gateway, headers: &HeaderMap, text: &str, variables: Value) -> Result<Value, Problem> {
    let body = json!({"query": text, "variables": variables}).to_string();
    let mut request = Request::post("/graphql")
        .header(header::CONTENT_TYPE, "application/json")
        .body(Body::from(body))
        .map_err(Problem::internal)?;
    if let Some(token) = headers.get(header::AUTHORIZATION) {
        request.headers_mut().insert(header::AUTHORIZATION, token.clone());
    }
    let timeout = gateway.config.timeout("product");
    let response = proxy::pass(&gateway.http, &gateway.product, timeout, request).await;
    let status = response.status();
    let bytes: Bytes = response
        .into_body()
        .collect()
        .await
        .map_err(|error| Problem::new(Kind::BadGateway, "The product service broke off its answer.").because(error))?
        .to_bytes();
    let mut response: Value = serde_json::from_slice(&bytes).unwrap_or_default();
    if let Some(error) = response["errors"].as_array().and_then(|errors| errors.first()) {
        return Err(problem(error));
    }
    if !status.is_success() {
        let detail = response["detail"].as_str().unwrap_or("The product service refused.");
        return Err(Problem::new(Kind::from_status(status), detail));
    }
    Ok(response["data"].take())
}

/// A GraphQL error as a problem, by its `extensions.code`.
fn problem(error: &Value) -> Problem {
    let code = error["extensions"]["code"].as_str().unwrap_or_default();
    let message = error["message"].as_str().unwrap_or("The product service refused.");
    let kind = Kind::ALL.into_iter().find(|kind| kind.graphql() == code).unwrap_or(Kind::Unreadable);
    let fields: Vec<FieldError> = serde_json::from_value(error["extensions"]["errors"].clone()).unwrap_or_default();
    if kind == Kind::Invalid && !fields.is_empty() {
        return Problem::fields(fields);
    }
    // The words of GraphQL's message are that API's own.
    if kind == Kind::NotFound {
        return Problem::not_found("product");
    }
    Problem::new(kind, message)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn null_is_told_from_left_out_and_refused_where_a_product_cannot_be_without() {
        let read = |text: &str| chassis::parse_json::<ProductPatch>(text.as_bytes()).and_then(ProductPatch::checked);
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

    #[test]
    fn what_is_not_there_is_told_as_everywhere_in_rest() {
        let told = problem(&json!({"message": "Produit non trouvé", "extensions": {"code": "NOT_FOUND"}}));
        assert_eq!((told.kind(), told.detail()), (Kind::NotFound, "There is no such product."));
    }
}
