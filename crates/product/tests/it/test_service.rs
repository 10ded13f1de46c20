//! A running product service with tokens of an admin and of a clerk.

use auth::Role;
use product::{Config, Product};
use reqwest::{Client, Method, Response};
use serde_json::{Value, json};

/// The query by which tools ask for the schema: a type within nine wrappers.
pub(crate) const INTROSPECTION: &str = include_str!("introspection.graphql");

pub(crate) struct TestService {
    pub(crate) url: String,
    pub(crate) config: Config,
    pub(crate) admin: String,
    pub(crate) clerk: String,
    pub(crate) client: Client,
    running: testkit::TestService<Product>,
}

impl TestService {
    pub(crate) async fn start() -> Self {
        Self::start_with(|_| {}).await
    }

    pub(crate) async fn start_with(change: impl FnOnce(&mut Config)) -> Self {
        let running = testkit::TestService::<Product>::start(change).await.unwrap();
        Self {
            url: running.url.clone(),
            config: running.config.clone(),
            admin: running.identity.of_role(Role::Admin).unwrap(),
            clerk: running.identity.of_role(Role::Clerk).unwrap(),
            client: Client::new(),
            running,
        }
    }

    pub(crate) async fn post(&self, token: &str, query: &str, variables: Value) -> Response {
        let request = self.running.request(Method::POST, "/graphql", token);
        request.json(&json!({"query": query, "variables": variables})).send().await.unwrap()
    }

    /// Data of an answer without errors.
    pub(crate) async fn data(&self, token: &str, query: &str) -> Value {
        let mut answer: Value = self.post(token, query, json!({})).await.json().await.unwrap();
        assert!(answer.get("errors").is_none(), "{query}: {answer}");
        answer["data"].take()
    }

    /// Code and message of the first error.
    pub(crate) async fn error(&self, token: &str, query: &str) -> (String, String) {
        let answer = self.post(token, query, json!({})).await;
        assert_eq!(answer.status(), 200);
        let answer: Value = answer.json().await.unwrap();
        let error = &answer["errors"][0];
        let text = |value: &Value| value.as_str().map(str::to_owned).unwrap_or_else(|| panic!("{query}: {answer}"));
        (text(&error["extensions"]["code"]), text(&error["message"]))
    }
}
