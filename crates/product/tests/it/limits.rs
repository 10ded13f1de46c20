//! What the endpoint refuses, and that it stays open to tools.

use reqwest::Response;
use serde_json::{Value, json};

use crate::test_service::{INTROSPECTION, TestService};

#[test]
fn the_schema_is_the_one_that_clients_know() {
    insta::assert_snapshot!(product::sdl());
}

#[tokio::test]
async fn tools_can_look_at_the_schema() {
    let service = TestService::start().await;
    let schema = service.data("", INTROSPECTION).await;
    assert!(schema["__schema"]["types"].to_string().contains("ProductConnection"));
}

#[tokio::test]
async fn what_would_cost_too_much_is_refused() {
    let service = TestService::start().await;
    let deep = |levels: usize| {
        let wrapped = "ofType { ".repeat(levels) + "name" + &" }".repeat(levels);
        format!("{{ __type(name: \"Product\") {{ {wrapped} }} }}")
    };
    for query in [
        deep(20),
        deep(50),
        deep(50_000),
        "[".repeat(1_000_000),
        "{ a: products { id name price } b: products { id name price currency active version category number description } c: products { id name price currency active version category number description } }".into(),
        "{ products { colour } }".into(),
        "{ products".into(),
        String::new(),
    ] {
        let (code, message) = service.error("", &query).await;
        assert_eq!(code, "BAD_REQUEST", "{message}");
        assert!(message.len() < 1_000, "{message}");
    }
    for bad in ["first: 0", "first: 101", "after: \"abc\"", "first: -1"] {
        assert_eq!(service.error("", &format!("{{ catalog({bad}) {{ totalCount }} }}")).await.0, "INVALID", "{bad}");
    }
    let ids: Vec<String> = (0..1001).map(|n| n.to_string()).collect();
    let query = "query($ids: [ID!]!) { productsByIds(ids: $ids) { id name price active currency } }";
    let many: Value = service.post("", query, json!({"ids": ids})).await.json().await.unwrap();
    assert_eq!(many["errors"][0]["extensions"]["code"], "INVALID", "{many}");
    let most: Value = service.post("", query, json!({"ids": ids[1..]})).await.json().await.unwrap();
    assert_eq!(most["data"]["productsByIds"].as_array().unwrap().len(), 1000);
}

#[tokio::test]
async fn a_body_that_is_no_request_is_a_problem() {
    let service = TestService::start().await;
    let post = |content_type: &'static str, body: Vec<u8>| {
        let request = service.client.post(format!("{}/graphql", service.url)).header("content-type", content_type);
        async move { request.body(body).send().await.unwrap() }
    };
    let is_problem = |answer: &Response, status: u16| {
        assert_eq!(answer.status(), status);
        assert_eq!(answer.headers()["content-type"], "application/problem+json");
    };
    let json = "application/json";
    is_problem(&post(json, b"{\"query\": ".to_vec()).await, 400);
    is_problem(&post(json, b"{\"query\": \"\xff\"}".to_vec()).await, 400);
    is_problem(&post(json, b"[]".to_vec()).await, 400);
    is_problem(&post(json, b"{\"query\": 5}".to_vec()).await, 400);
    is_problem(&post("text/plain", b"{ products { id } }".to_vec()).await, 415);
    is_problem(&post(json, vec![b' '; 10 << 20]).await, 413);
}
