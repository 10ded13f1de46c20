//! GET and POST, the page to try queries on, and what production leaves out.

use reqwest::{RequestBuilder, Response};
use serde_json::{Value, json};

use crate::test_service::{INTROSPECTION, TestService};

const BROWSER: &str = "text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8";

fn get(service: &TestService, path: &str, accept: &str) -> RequestBuilder {
    service.client.get(format!("{}{path}", service.url)).header("accept", accept)
}

fn media_type(response: &Response) -> &str {
    response.headers()["content-type"].to_str().unwrap().split(';').next().unwrap()
}

#[tokio::test]
async fn a_query_by_get_is_answered_with_json() {
    let service = TestService::start().await;
    let add = "mutation{addProduct(id:\"TEA\",name:\"Tea\",price:8.9){id}}";
    service.data(&service.admin, add).await;
    for accept in [
        "application/json",
        "*/*",
        "application/graphql-response+json, application/json;q=0.9",
        "application/json, text/html;q=0.5",
    ] {
        for path in ["/graphql", "/"] {
            let query = [("query", "{product(id:\"TEA\"){name}}")];
            let answer = get(&service, path, accept).query(&query).send().await.unwrap();
            assert_eq!((answer.status().as_u16(), media_type(&answer)), (200, "application/json"), "{accept}");
            assert_eq!(answer.headers()["vary"], "accept");
            assert_eq!(answer.json::<Value>().await.unwrap(), json!({"data": {"product": {"name": "Tea"}}}));
        }
    }
    let query = "query a($id:ID!){product(id:$id){name}} query b{categories} mutation c{deleteProduct(id:\"TEA\"){id}}";
    let ask = async |operation: &str| {
        let query = [("query", query), ("operationName", operation), ("variables", r#"{"id":"TEA"}"#)];
        get(&service, "/graphql", "application/json").query(&query).send().await.unwrap()
    };
    assert_eq!(ask("a").await.json::<Value>().await.unwrap()["data"]["product"]["name"], "Tea");
    assert_eq!(ask("b").await.json::<Value>().await.unwrap()["data"]["categories"], json!([]));
    let refused = ask("c").await;
    assert_eq!((refused.status().as_u16(), media_type(&refused)), (405, "application/problem+json"));
    assert_eq!(refused.headers()["allow"], "POST");
    let answer: Value = ask("d").await.json().await.unwrap();
    assert_eq!(answer["errors"][0]["extensions"]["code"], "BAD_REQUEST", "{answer}");
}

#[tokio::test]
async fn nothing_is_changed_by_get() {
    let service = TestService::start().await;
    for query in ["mutation{addProduct(id:\"TEA\",name:\"Tea\",price:8.9){id}}", "subscription{products{id}}"] {
        let request = get(&service, "/graphql", "*/*").query(&[("query", query)]).bearer_auth(&service.admin);
        let answer = request.send().await.unwrap();
        assert_eq!(answer.status(), 405);
        assert_eq!(answer.json::<Value>().await.unwrap()["code"], "method_not_allowed");
    }
    assert_eq!(service.data("", "{product(id:\"TEA\"){id}}").await["product"], Value::Null);
}

#[tokio::test]
async fn a_get_that_is_no_query_is_a_problem() {
    let service = TestService::start().await;
    for (path, field) in [
        ("/graphql", "query"),
        ("/graphql?operationName=a", "query"),
        ("/graphql?query=%7Bcategories%7D&variables=%7B", "variables"),
        ("/graphql?query=%7Bcategories%7D&variables=5", "variables"),
    ] {
        let answer = get(&service, path, "application/json").send().await.unwrap();
        assert_eq!((answer.status().as_u16(), media_type(&answer)), (400, "application/problem+json"), "{path}");
        let answer: Value = answer.json().await.unwrap();
        assert_eq!((&answer["code"], &answer["field"]), (&json!("bad_request"), &json!(field)), "{answer}");
    }
    let answer = get(&service, "/graphql?query=%7B", "application/json").send().await.unwrap();
    assert_eq!(answer.json::<Value>().await.unwrap()["errors"][0]["extensions"]["code"], "BAD_REQUEST");
}

#[tokio::test]
async fn the_page_and_all_it_loads_come_from_here() {
    let service = TestService::start().await;
    for (path, accept) in
        [("/graphql", BROWSER), ("/", BROWSER), ("/graphql?query=%7Bcategories%7D", BROWSER), ("/graphql", "*/*")]
    {
        let page = get(&service, path, accept).send().await.unwrap();
        assert_eq!((page.status().as_u16(), media_type(&page)), (200, "text/html"), "{path}");
        assert_eq!(page.headers()["vary"], "accept");
        let policy = page.headers()["content-security-policy"].to_str().unwrap().to_owned();
        assert!(policy.starts_with("default-src 'none'; script-src 'self'; style-src 'self';"), "{policy}");
        assert!(!policy.contains("unsafe") && !policy.contains("http"), "{policy}");
        assert_eq!(page.headers()["x-content-type-options"], "nosniff");
        let page = page.text().await.unwrap();
        assert!(page.contains("GraphiQL") && !page.contains("//"), "nothing from elsewhere: {page}");
        assert!(
            !page.contains("style=") && !page.contains("<style"),
            "the policy forbids what stands in the page: {page}"
        );
        let links: Vec<&str> = page.split('"').filter(|text| text.starts_with("graphql/assets/")).collect();
        assert_eq!(links.len(), 6);
        for link in links {
            let file = get(&service, &format!("/{link}"), "*/*").send().await.unwrap();
            assert_eq!(file.status(), 200, "{link}");
            let kind = if link.ends_with(".css") { "text/css" } else { "text/javascript" };
            assert_eq!(media_type(&file), kind);
            assert!(file.headers()["cache-control"].to_str().unwrap().starts_with("public"));
            assert!(file.headers().get("content-encoding").is_none(), "this client takes nothing packed");
            let plain = file.bytes().await.unwrap();
            let packed =
                get(&service, &format!("/{link}"), "*/*").header("accept-encoding", "br, gzip").send().await.unwrap();
            let packed_length = packed.bytes().await.unwrap().len();
            assert!(packed_length == plain.len() || packed_length * 5 < plain.len() * 4, "{link}: {packed_length}");
        }
    }
    for path in ["/graphql/assets/README.md", "/graphql/assets/..%2Fpage.js", "/graphql/assets/"] {
        assert_eq!(get(&service, path, "*/*").send().await.unwrap().status(), 404, "{path}");
    }
}

#[tokio::test]
async fn production_tells_no_schema_and_has_no_page() {
    let service =
        TestService::start_with(|config| (config.graphiql, config.graphql_introspection) = (false, false)).await;
    for query in [INTROSPECTION, "{__type(name:\"Product\"){name}}"] {
        let (code, message) = service.error("", query).await;
        assert_eq!((code.as_str(), message.as_str()), ("BAD_REQUEST", "Introspection is off here."));
    }
    let (_, message) = service.error("", "{produkts{id}}").await;
    assert_eq!(message, "Unknown field \"produkts\" on type \"Query\".", "no suggestion");
    assert_eq!(service.data("", "{__typename categories}").await, json!({"__typename": "Query", "categories": []}));
    for accept in [BROWSER, "*/*", "application/json"] {
        assert_eq!(get(&service, "/graphql", accept).send().await.unwrap().status(), 400);
        let answer = get(&service, "/graphql?query=%7Bcategories%7D", accept).send().await.unwrap();
        assert_eq!((answer.status().as_u16(), media_type(&answer)), (200, "application/json"));
    }
    assert_eq!(get(&service, "/graphql/assets/page.js", "*/*").send().await.unwrap().status(), 404);
}
