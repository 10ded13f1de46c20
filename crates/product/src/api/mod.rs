//! The edge: one GraphQL endpoint, and the page to try it on.
//!
//! The catalogue is open to everybody, so a query is bounded before it is worked on: its text (`scan`), what it comes to (`document`),
//! its depth and what it costs (the schema, by `price`), how many of its fields ask the store at once (`Turns`).

mod accept;
mod aside;
mod document;
mod endpoint;
mod graphiql;
mod mutation;
mod price;
mod query;
mod scan;
mod types;

use async_graphql::{EmptySubscription, ErrorExtensionValues, Schema, Value};
use auth::Verifier;
use axum::Router;
use axum::extract::FromRef;
use axum::routing::get;
use bus::Relay;
use chassis::Problem;
use commerce::Currency;
use commerce::page::CursorKey;

use crate::Config;
use crate::error::Error;
use crate::metrics::Meters;
use crate::store::Store;
use aside::Aside;
use mutation::Mutation;
use query::Query;

/// Deeper queries are refused. The introspection that tools send is 15 deep.
const MAX_DEPTH: usize = 15;
/// What a query may cost. A field of a product costs 1, and a list its fields as often as it is long; `price` has the rest.
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
    aside: Aside,
    introspection: bool,
    graphiql: bool,
}

impl FromRef<Edge> for Verifier {
    fn from_ref(edge: &Edge) -> Self {
        edge.verifier.clone()
    }
}

fn schema(api: Option<Api>, introspection: bool) -> Catalogue {
    // Prices have the scalar name Float, as clients expect, and stay exact: this scalar replaces the built-in one.
    let mut builder = Schema::build_with_ignore_name_conflicts(Query, Mutation, EmptySubscription, ["Float"])
        .limit_depth(MAX_DEPTH)
        .limit_complexity(MAX_COMPLEXITY);
    if !introspection {
        // A suggestion in an error names what the schema has.
        builder = builder.disable_introspection().disable_suggestions();
    }
    match api {
        Some(api) => builder.data(api).finish(),
        None => builder.finish(),
    }
}

pub(crate) fn sdl() -> String {
    schema(None, true).sdl()
}

pub(crate) fn routes(api: Api, verifier: Verifier, config: &Config) -> Router {
    let edge = Edge {
        meters: api.meters.clone(),
        schema: schema(Some(api), config.graphql_introspection),
        verifier,
        aside: Aside::new(),
        introspection: config.graphql_introspection,
        graphiql: config.graphiql,
    };
    let endpoint = get(endpoint::get).post(endpoint::post);
    let mut routes = Router::new().route("/", endpoint.clone()).route("/graphql", endpoint);
    if config.graphiql {
        routes = routes.route("/graphql/assets/{file}", get(graphiql::file));
    }
    routes.with_state(edge)
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
