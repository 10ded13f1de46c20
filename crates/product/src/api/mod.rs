//! The edge: one GraphQL endpoint, and the page to try it on.

mod mutation;
mod nesting;
mod query;
mod types;

use async_graphql::http::GraphiQLSource;
use async_graphql::{EmptySubscription, ErrorExtensionValues, Request, Response, Schema, Value, Variables};
use auth::{MaybeCaller, Verifier};
use axum::Router;
use axum::extract::{FromRef, State};
use axum::response::Html;
use axum::routing::get;
use bus::Relay;
use chassis::{Json, Kind, Problem};
use commerce::Currency;
use commerce::page::CursorKey;
use serde::Deserialize;

use crate::error::Error;
use crate::metrics::Meters;
use crate::store::Store;
use mutation::Mutation;
use query::Query;

/// Deeper queries are refused. The introspection that tools send is 15 deep.
const MAX_DEPTH: usize = 15;
/// Fields that a query may come to, lists counted by their length.
const MAX_COMPLEXITY: usize = 20_000;

type Catalogue = Schema<Query, Mutation, EmptySubscription>;

/// State of the resolvers. Cheap to clone.
#[derive(Clone, Debug)]
pub(crate) struct Api {
    pub(crate) store: Store,
    pub(crate) relay: Relay,
    pub(crate) cursors: CursorKey,
    pub(crate) currency: Currency,
    pub(crate) meters: Meters,
}

#[derive(Clone)]
struct Edge {
    schema: Catalogue,
    meters: Meters,
    verifier: Verifier,
}

impl FromRef<Edge> for Verifier {
    fn from_ref(edge: &Edge) -> Self {
        edge.verifier.clone()
    }
}

fn schema(api: Option<Api>) -> Catalogue {
    // Prices have the scalar name Float, as clients expect, and stay exact: this scalar replaces the built-in one.
    let builder = Schema::build_with_ignore_name_conflicts(Query, Mutation, EmptySubscription, ["Float"])
        .limit_depth(MAX_DEPTH)
        .limit_complexity(MAX_COMPLEXITY);
    match api {
        Some(api) => builder.data(api).finish(),
        None => builder.finish(),
    }
}

pub(crate) fn sdl() -> String {
    schema(None).sdl()
}

pub(crate) fn routes(api: Api, verifier: Verifier) -> Router {
    let meters = api.meters.clone();
    let edge = Edge { schema: schema(Some(api)), meters, verifier };
    Router::new().route("/", get(page).post(execute)).route("/graphql", get(page).post(execute)).with_state(edge)
}

async fn page() -> Html<String> {
    Html(GraphiQLSource::build().endpoint("/graphql").title("Souk: products").finish())
}

/// A request as it comes over HTTP.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Body {
    query: String,
    operation_name: Option<String>,
    variables: Option<Variables>,
}

async fn execute(State(edge): State<Edge>, MaybeCaller(caller): MaybeCaller, Json(body): Json<Body>) -> Json<Response> {
    let mut response = match nesting::check(&body.query) {
        Ok(()) => {
            let mut request = Request::new(body.query).variables(body.variables.unwrap_or_default()).data(caller);
            request.operation_name = body.operation_name;
            edge.schema.execute(request).await
        }
        Err(message) => Response::from_errors(vec![async_graphql::ServerError::new(message, None)]),
    };
    let mut refused = false;
    for error in &mut response.errors {
        let extensions = error.extensions.get_or_insert_with(ErrorExtensionValues::default);
        if extensions.get("code").is_none() {
            // Refused by the schema itself: syntax, unknown fields, depth, complexity, wrong types.
            extensions.set("code", Kind::Unreadable.graphql());
            refused = true;
        }
    }
    if refused {
        edge.meters.refused.inc();
    }
    Json(response)
}

/// A failure as a GraphQL error: `extensions.code` is its kind, `extensions.problem` the code of the problem.
fn graphql_error(error: Error) -> async_graphql::Error {
    let problem = Problem::from(error);
    problem.log();
    let mut graphql_error = async_graphql::Error::new(problem.detail());
    let mut extensions = ErrorExtensionValues::default();
    extensions.set("code", problem.kind().graphql());
    extensions.set("problem", problem.code());
    if !problem.errors().is_empty()
        && let Ok(fields) = Value::from_json(serde_json::json!(problem.errors()))
    {
        extensions.set("errors", fields);
    }
    for (name, value) in problem.extra() {
        if let Ok(value) = Value::from_json(value.clone()) {
            extensions.set(name, value);
        }
    }
    graphql_error.extensions = Some(extensions);
    graphql_error
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::metrics::FIELDS;

    #[test]
    fn every_field_of_the_root_has_its_metrics() {
        let sdl = sdl();
        for (operation, known) in FIELDS {
            let name = if operation == "query" { "type Query {" } else { "type Mutation {" };
            let body = sdl.split_once(name).and_then(|(_, rest)| rest.split_once("\n}")).map(|(body, _)| body);
            let mut fields: Vec<&str> = body
                .unwrap_or_default()
                .lines()
                .filter_map(|line| line.strip_prefix('\t')?.split(['(', ':']).next())
                .filter(|word| !word.is_empty() && word.chars().all(char::is_alphanumeric))
                .collect();
            fields.sort_unstable();
            let mut known = known.to_vec();
            known.sort_unstable();
            assert_eq!(fields, known, "of {operation}");
        }
    }
}
