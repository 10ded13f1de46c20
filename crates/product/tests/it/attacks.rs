//! Queries that are made to cost much. Each is refused soon, with a short answer, while the service answers others.

use std::time::{Duration, Instant};

use reqwest::Response;
use serde_json::{Value, json};

use crate::test_service::TestService;

/// Generous for a debug build on a busy machine. The attacks took from seconds to hours.
const SOON: Duration = Duration::from_secs(2);

fn times(count: usize, text: impl Fn(usize) -> String) -> String {
    (0..count).map(text).collect()
}

/// Fragments that each spread the next one so many times.
fn fragments(deep: usize, spreads: usize) -> String {
    let each = |n: usize| format!("fragment f{n} on Query{{{}}}", format!("...f{} ", n + 1).repeat(spreads));
    times(deep, each) + &format!("fragment f{deep} on Query{{__typename}}")
}

/// Sends a query, which must be refused soon.
async fn refused(service: &TestService, what: &str, query: &str, variables: Value) {
    let begun = Instant::now();
    let answer = service.post("", query, variables).await;
    let status = answer.status();
    let text = answer.text().await.unwrap();
    assert!(begun.elapsed() < SOON, "{what}: {:?}", begun.elapsed());
    assert!(text.len() < 50_000, "{what}: {} bytes", text.len());
    assert_eq!(status, 200, "{what}: {text}");
    let answer: Value = serde_json::from_str(&text).unwrap();
    assert_eq!(answer["errors"][0]["extensions"]["code"], "BAD_REQUEST", "{what}: {answer}");
    assert!(answer["data"].is_null(), "{what}: {answer}");
}

#[tokio::test]
async fn a_query_whose_fragments_double_is_refused_while_others_are_answered() {
    let service = TestService::start().await;
    let query = "{...f0}".to_owned() + &fragments(25, 2);
    assert!(query.len() < 1_200);
    let health = async {
        let begun = Instant::now();
        let health = service.client.get(format!("{}/health", service.url)).send().await.unwrap();
        assert_eq!(health.status(), 200);
        assert!(begun.elapsed() < SOON);
    };
    tokio::join!(
        refused(&service, "one", &query, json!({})),
        refused(&service, "two", &query, json!({})),
        refused(&service, "three", &query, json!({})),
        health
    );
}

#[tokio::test]
async fn thousands_of_searches_in_one_request_are_refused() {
    let service = TestService::start().await;
    for count in [20, 400, 3_000] {
        let search = |n: usize| format!("s{n}:catalog(search:\"e\",first:1){{totalCount}}");
        refused(&service, "searches", &format!("{{{}}}", times(count, search)), json!({})).await;
    }
    let cheap = |field: &str| format!("{{{}}}", times(400, |n| format!("a{n}:{field} ")));
    for field in ["categories", "catalog{__typename}", "products{__typename}", "productsByIds(ids:$ids){__typename}"] {
        let query = cheap(field);
        let query = if query.contains("$ids") { format!("query($ids:[ID!]!){query}") } else { query };
        refused(&service, field, &query, json!({"ids": vec!["a"; 100]})).await;
    }
    let mutation = |n: usize| format!("a{n}:deleteProduct(id:\"a\"){{id}}");
    refused(&service, "mutations", &format!("mutation{{{}}}", times(400, mutation)), json!({})).await;
}

#[tokio::test]
async fn other_ways_to_make_a_query_expensive_are_refused() {
    let service = TestService::start().await;
    let product = "{products{id}}".to_owned();
    let long = "a".repeat(100_000);
    let uses = |count| times(count, |n| format!("a{n}:productsByIds(ids:$ids){{id}}"));
    for (what, query, variables) in [
        ("fragments in a circle", "{...a}fragment a on Query{...b}fragment b on Query{...a ...b}".into(), json!({})),
        ("unused fragments that double", product.clone() + &fragments(25, 2), json!({})),
        ("a chain of unused fragments", product.clone() + &fragments(1_500, 1), json!({})),
        ("a long chain of fragments", product + &fragments(90, 1), json!({})),
        ("a name that each error repeats", format!("{{x:{long} {}}}", "x:b ".repeat(3_000)), json!({})),
        ("an operation that each error repeats", format!("query {long}{{products(a:$b){{id}}}}"), json!({})),
        ("many unknown fields", format!("{{products{{{}}}}}", times(4_000, |n| format!("unknown{n} "))), json!({})),
        ("many conflicts", format!("{{products{{x:id {}}}}}", "x:name ".repeat(3_000)), json!({})),
        ("directives of one field", format!("{{products{}{{id}}}}", "@skip(if:false)".repeat(2_000)), json!({})),
        ("many arguments", format!("{{products({}){{id}}}}", times(3_000, |n| format!("a{n}:1 "))), json!({})),
        ("a large list literal", format!("{{productsByIds(ids:[{}]){{id}}}}", "1 ".repeat(14_900)), json!({})),
        (
            "a variable that is used often",
            format!("query($ids:[ID!]!){{{}}}", uses(400)),
            json!({"ids": vec!["a"; 1_000]}),
        ),
        ("a variable that is not declared", format!("{{{}}}", uses(400)), json!({"ids": vec![[1]; 50_000]})),
        ("a long text that is used often", format!("query($ids:[ID!]!){{{}}}", uses(400)), json!({"ids": [long]})),
        (
            "lists of the schema",
            format!("{{__schema{{types{{fields{{{}}}}}}}}}", times(3_000, |n| format!("a{n}:name "))),
            json!({}),
        ),
        ("a type that is not there", "query($a:[Bogus]=[1]){products{id}}".into(), json!({})),
        ("a syntax error in a long line", format!("{{products{{{}", "id ".repeat(10_000)), json!({})),
        (
            "many operations",
            times(1_000, |n| format!("query a{n}{{...f}}"))
                + &format!("fragment f on Query{{products{{{}}}}}", "id ".repeat(1_000)),
            json!({}),
        ),
    ] {
        refused(&service, what, &query, variables).await;
    }
    let mut deep = json!("a");
    for _ in 0..100 {
        deep = json!([deep]);
    }
    let answer = service.post("", "query($ids:[ID!]!){productsByIds(ids:$ids){id}}", json!({"ids": deep})).await;
    let answer: Value = answer.json().await.unwrap();
    assert!(!answer["errors"].as_array().unwrap().is_empty(), "{answer}");
    let body =
        format!(r#"{{"query":"{{products{{id}}}}","variables":{{"a":{}{}}}}}"#, "[".repeat(10_000), "]".repeat(10_000));
    let post = service.client.post(format!("{}/graphql", service.url)).header("content-type", "application/json");
    assert_eq!(post.body(body).send().await.unwrap().status(), 400);
}

#[tokio::test]
async fn a_large_query_is_validated_while_others_are_answered() {
    let service = TestService::start().await;
    let fields = "id number name description category price currency active version";
    let product = |n: usize| format!("a{n}:product(id:\"{n}\"){{{fields}}}");
    let large = format!("{{{} products{{colour}}}}", times(490, product));
    let asked = service.post("", &large, json!({}));
    let mut asked = std::pin::pin!(asked);
    let mut answered = 0;
    let response: Response = loop {
        tokio::select! {
            response = &mut asked => break response,
            health = service.client.get(format!("{}/health", service.url)).send() => {
                assert_eq!(health.unwrap().status(), 200);
                answered += 1;
            }
        }
    };
    let response: Value = response.json().await.unwrap();
    assert!(response["errors"][0]["message"].as_str().unwrap().contains("colour"), "{response}");
    // Service and test share one thread: none would be answered while it validates.
    assert!(answered >= 3, "{answered}");
}

#[tokio::test]
async fn large_queries_that_make_sense_are_answered() {
    let service = TestService::start().await;
    let add = "mutation{addProduct(id:\"TEA\",name:\"Tea\",price:8.9,description:\"green\",category:\"tea\"){id}}";
    service.data(&service.admin, add).await;
    let fields = "id number name description category price currency active version";
    let aliases = times(400, |n| format!("a{n}:product(id:\"TEA\"){{{fields}}}"));
    assert_eq!(service.data("", &format!("{{{aliases}}}")).await["a399"]["name"], "Tea");
    let ids = "\"TEA\",".repeat(1_000);
    let found = service.data("", &format!("{{productsByIds(ids:[{ids}]){{{fields}}}}}")).await;
    assert_eq!(found["productsByIds"].as_array().unwrap().len(), 1_000);
    let page = format!("first:100){{edges{{cursor node{{{fields}}}}} pageInfo{{hasNextPage endCursor}} totalCount}}");
    let searches = times(4, |n| format!("s{n}:catalog(search:\"tea\",{page}"));
    let found = service.data("", &format!("{{{searches} products{{id name price}} categories}}")).await;
    assert_eq!(found["s3"]["totalCount"], 1);
    assert_eq!(found["categories"], json!(["tea"]));
}
