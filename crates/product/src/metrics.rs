//! The metrics of this service. GraphQL answers every request on one route with status 200, so requests are counted by field of the
//! schema.

use std::time::Instant;

use async_graphql::{Context, Result, Value};
use chassis::{Kind, Metrics};
use prometheus::{HistogramVec, IntCounter, IntCounterVec};

/// Fields of the schema's root that were answered: labels `operation`, `field` and `outcome`.
const REQUESTS: &str = "graphql_requests_total";
/// How long that took: labels `operation` and `field`.
const DURATION: &str = "graphql_request_duration_seconds";
/// Requests that the schema refuses before any field is asked.
const REFUSED: &str = "graphql_refused_total";

/// All fields of the root, by operation. A test holds them against the schema.
pub(crate) const FIELDS: [(&str, &[&str]); 2] = [
    ("query", &["products", "product", "productsByIds", "catalog", "categories"]),
    ("mutation", &["addProduct", "updateProduct", "deleteProduct"]),
];
/// The result of a field: success, refused, failed.
const OUTCOMES: [&str; 3] = ["ok", "refused", "failed"];

/// Counts GraphQL requests. Cheap to clone.
#[derive(Clone, Debug)]
pub(crate) struct Meters {
    requests: IntCounterVec,
    seconds: HistogramVec,
    pub(crate) refused: IntCounter,
}

impl Meters {
    pub(crate) fn new(metrics: &Metrics) -> Self {
        let meters = Self {
            requests: metrics.counter(REQUESTS, "Fields of the root answered.", &["operation", "field", "outcome"]),
            seconds: metrics.histogram(DURATION, "Time to answer a field of the root.", &["operation", "field"]),
            refused: metrics
                .counter(REFUSED, "Requests that the schema refuses as a whole.", &[])
                .with_label_values::<&str>(&[]),
        };
        // Exported as zero from the start, so that the first increase is visible.
        for (operation, fields) in FIELDS {
            for field in fields {
                meters.seconds.with_label_values(&[operation, *field]);
                for outcome in OUTCOMES {
                    meters.requests.with_label_values(&[operation, *field, outcome]).reset();
                }
            }
        }
        meters
    }

    /// Resolves a field of the root type and counts it.
    pub(crate) async fn measure<T>(
        &self,
        operation: &'static str,
        ctx: &Context<'_>,
        answer: impl Future<Output = Result<T>>,
    ) -> Result<T> {
        let begun = Instant::now();
        let answer = answer.await;
        // The name in the schema, whatever the caller calls it: there are as many as the schema has.
        let field = ctx.item.node.name.node.as_str();
        self.seconds.with_label_values(&[operation, field]).observe(begun.elapsed().as_secs_f64());
        self.requests.with_label_values(&[operation, field, outcome(&answer)]).inc();
        answer
    }
}

fn outcome<T>(answer: &Result<T>) -> &'static str {
    let Err(error) = answer else { return "ok" };
    let code = error.extensions.as_ref().and_then(|extensions| extensions.get("code"));
    let ours = [Kind::Internal, Kind::BadGateway, Kind::Unavailable, Kind::Timeout].map(Kind::graphql);
    match code {
        Some(Value::String(code)) if !ours.contains(&code.as_str()) => "refused",
        _ => "failed",
    }
}
