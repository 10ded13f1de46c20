//! GraphQL over HTTP: queries by GET and POST, mutations by POST alone; without a query a browser gets GraphiQL.

use async_graphql::{ErrorExtensionValues, Request, Response as Answer, ServerError, Variables};
use auth::{Caller, MaybeCaller};
use axum::extract::State;
use axum::response::{IntoResponse, Response};
use chassis::{Json, Kind, Problem, Query};
use http::header::{ACCEPT, ALLOW, VARY};
use http::{HeaderMap, HeaderValue};
use serde::Deserialize;

use super::document::{self, Checked};
use super::query::Turns;
use super::{Edge, accept, graphiql};

/// A longer query is parsed aside.
const SMALL_BYTES: usize = 4_096;
/// A query that costs more is validated aside. The largest that services send each other names a thousand ids of 64 bytes.
pub(super) const SMALL_COST: usize = 2_500;
/// Most errors of a query that the schema refuses; each repeats a part of the query.
const MAX_ERRORS: usize = 20;
/// Bytes of the message of such an error. That of the parser has the line, which may be the whole query.
const MAX_MESSAGE: usize = 1_000;

/// A request as it comes by POST.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Body {
    query: String,
    operation_name: Option<String>,
    variables: Option<Variables>,
}

/// The same by GET, where the variables are JSON in a parameter.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Params {
    query: Option<String>,
    operation_name: Option<String>,
    variables: Option<String>,
}

pub(super) async fn post(
    State(edge): State<Edge>,
    MaybeCaller(caller): MaybeCaller,
    Json(body): Json<Body>,
) -> Result<Response, Problem> {
    let (checked, body) = check(&edge, body).await?;
    answer(&edge, caller, checked, body).await
}

pub(super) async fn get(
    State(edge): State<Edge>,
    MaybeCaller(caller): MaybeCaller,
    headers: HeaderMap,
    Query(params): Query<Params>,
) -> Result<Response, Problem> {
    let mut response = match params.query {
        Some(_) if edge.graphiql && wants_page(&headers) => graphiql::page(),
        None if edge.graphiql && !wants_json(&headers) => graphiql::page(),
        Some(query) => {
            let variables = params.variables.filter(|text| !text.is_empty()).map(|text| serde_json::from_str(&text));
            let variables = variables.transpose().map_err(|error| {
                Problem::new(Kind::Unreadable, format!("variables: {error}")).with("field", "variables")
            })?;
            let operation_name = params.operation_name.filter(|name| !name.is_empty());
            read(&edge, caller, Body { query, operation_name, variables }).await?
        }
        None => {
            let detail = "The parameter `query` is missing; send a query by GET or POST.";
            return Err(Problem::new(Kind::Unreadable, detail).with("field", "query"));
        }
    };
    response.headers_mut().append(VARY, HeaderValue::from_static("accept"));
    Ok(response)
}

/// Answers a query, and nothing that changes something: a GET may be repeated, prefetched and followed from any page.
async fn read(edge: &Edge, caller: Option<Caller>, body: Body) -> Result<Response, Problem> {
    let (checked, body) = check(edge, body).await?;
    if let Ok(checked) = &checked
        && !document::is_query(&checked.document, body.operation_name.as_deref())
    {
        let mut response = Problem::new(Kind::MethodNotAllowed, "Mutations go by POST.").into_response();
        response.headers_mut().insert(ALLOW, HeaderValue::from_static("POST"));
        return Ok(response);
    }
    answer(edge, caller, checked, body).await
}

/// Whether a client prefers a page to JSON, as a browser does.
fn wants_page(headers: &HeaderMap) -> bool {
    let page = accept::quality(headers, &ACCEPT, "text/html");
    page > 0.0 && page >= json_quality(headers)
}

fn wants_json(headers: &HeaderMap) -> bool {
    json_quality(headers) > accept::quality(headers, &ACCEPT, "text/html")
}

fn json_quality(headers: &HeaderMap) -> f32 {
    let types = ["application/json", "application/graphql-response+json"];
    types.map(|name| accept::quality(headers, &ACCEPT, name)).into_iter().fold(0.0, f32::max)
}

/// Parses a query and bounds what it costs.
async fn check(edge: &Edge, body: Body) -> Result<(Result<Checked, ServerError>, Body), Problem> {
    let introspection = edge.introspection;
    let small = body.query.len() <= SMALL_BYTES;
    let work = move || {
        let none = Variables::default();
        let checked = document::check(&body.query, body.variables.as_ref().unwrap_or(&none), introspection);
        (checked, body)
    };
    if small { Ok(work()) } else { edge.aside.run(work).await }
}

/// Validates and executes a query.
async fn answer(
    edge: &Edge,
    caller: Option<Caller>,
    checked: Result<Checked, ServerError>,
    body: Body,
) -> Result<Response, Problem> {
    let mut answer = match checked {
        Ok(Checked { document, cost }) => {
            let mut request = Request::new("").variables(body.variables.unwrap_or_default());
            request = request.data(caller).data(Turns::new());
            request.operation_name = body.operation_name;
            request.set_parsed_query(document);
            let schema = edge.schema.clone();
            let execution = async move { schema.execute(request).await };
            // The first step validates, and answers what needs no store.
            if cost <= SMALL_COST { execution.await } else { edge.aside.begin(execution).await? }
        }
        Err(error) => Answer::from_errors(vec![error]),
    };
    if complete(&mut answer) {
        edge.meters.refused.inc();
    }
    Ok(Json(answer).into_response())
}

/// Gives a kind to the errors of the schema itself: syntax, unknown fields, cost, wrong types. Returns whether there are any.
fn complete(answer: &mut Answer) -> bool {
    let mut refused = false;
    for error in &mut answer.errors {
        let extensions = error.extensions.get_or_insert_with(ErrorExtensionValues::default);
        if extensions.get("code").is_none() {
            extensions.set("code", Kind::Unreadable.graphql());
            let end = error.message.floor_char_boundary(MAX_MESSAGE);
            error.message.truncate(end);
            refused = true;
        }
    }
    if refused {
        answer.errors.truncate(MAX_ERRORS);
    }
    refused
}
