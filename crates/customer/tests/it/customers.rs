//! `/api/customers`.

use std::sync::Arc;

use serde_json::{Value, json};

use crate::test_service::{TestService, problem};

pub(crate) fn ada() -> Value {
    json!({"name": "Ada Lovelace", "first_name": "Ada", "email": "Ada@Example.org", "phone": "+44 20 1234",
           "address": {"line1": "12 St James's Square", "city": "London", "country": "GB"}})
}

#[tokio::test]
async fn a_customer_is_made_read_changed_and_found() {
    let service = TestService::start().await;
    let answer = service.send("POST", "/api/customers", &service.clerk, &ada()).await;
    assert_eq!((answer.status().as_u16(), &answer.headers()["etag"]), (201, &"\"1\"".parse().unwrap()));
    let location = answer.headers()["location"].to_str().unwrap().to_owned();
    let made: Value = answer.json().await.unwrap();
    assert_eq!((&made["number"], &made["version"], &made["email"]), (&json!(1), &json!(1), &json!("Ada@Example.org")));
    assert_eq!(location, format!("/api/customers/{}", made["id"].as_str().unwrap()));
    assert_eq!(service.get(&location, &service.service).await.json::<Value>().await.unwrap(), made);

    let patch = json!({"phone": null, "address": {"city": "Paris"}});
    let answer = service
        .request("PATCH", &location, &service.clerk)
        .header("if-match", "\"1\"")
        .json(&patch)
        .send()
        .await
        .unwrap();
    assert_eq!(answer.headers()["etag"], "\"2\"");
    let patched: Value = answer.json().await.unwrap();
    assert!(patched.get("phone").is_none());
    assert_eq!((&patched["address"]["city"], &patched["address"]["country"]), (&json!("Paris"), &json!("GB")));
    let stale = service
        .request("PATCH", &location, &service.clerk)
        .header("if-match", "\"1\"")
        .json(&patch)
        .send()
        .await
        .unwrap();
    assert_eq!(problem(stale, 412).await["version"], 2);
    let same: Value = service.send("PATCH", &location, &service.clerk, &patch).await.json().await.unwrap();
    assert_eq!(same["version"], 2, "a change that changes nothing is none");

    let put: Value =
        service.send("PUT", &location, &service.clerk, &json!({"name": "Ada King"})).await.json().await.unwrap();
    assert_eq!((&put["name"], put.get("email"), put.get("address")), (&json!("Ada King"), None, None));
}

#[tokio::test]
async fn customers_are_found_and_paged_through() {
    let service = TestService::start().await;
    let made = service.make(&json!({"name": "Ada King"})).await;
    service.make(&json!({"first_name": "Grace", "last_name": "Hopper", "email": "grace@navy.example"})).await;
    for (query, names) in [
        ("", vec!["Ada King", "Grace Hopper"]),
        ("?search=HOP", vec!["Grace Hopper"]),
        ("?search=%25", vec![]),
        ("?email=GRACE@navy.example", vec!["Grace Hopper"]),
        ("?limit=1", vec!["Ada King"]),
        ("?page=2&limit=1&include_total=true", vec!["Grace Hopper"]),
        (&format!("?id={}&id=unknown", made["id"].as_str().unwrap()), vec!["Ada King"]),
    ] {
        let page: Value = service.get(&format!("/api/customers{query}"), &service.admin).await.json().await.unwrap();
        let found: Vec<&str> =
            page["data"].as_array().unwrap().iter().map(|row| row["name"].as_str().unwrap()).collect();
        assert_eq!(found, names, "{query}: {page}");
    }
    let first: Value = service.get("/api/customers?limit=1", &service.admin).await.json().await.unwrap();
    let cursor = first["next_cursor"].as_str().unwrap();
    let next: Value =
        service.get(&format!("/api/customers?limit=1&cursor={cursor}"), &service.admin).await.json().await.unwrap();
    assert_eq!((&next["data"][0]["name"], &next["next_cursor"]), (&json!("Grace Hopper"), &Value::Null));
}

#[tokio::test]
async fn every_field_has_rules_and_nothing_bad_is_written() {
    let service = TestService::start().await;
    service.make(&ada()).await;
    for (body, status, field) in [
        (json!({}), 422, "name"),
        (json!({"name": " "}), 422, "name"),
        (json!({"name": "x".repeat(1 << 20)}), 422, "name"),
        (json!({"name": "a\u{0}b"}), 422, "name"),
        (json!({"name": "x", "email": "nobody"}), 422, "email"),
        (json!({"name": "x", "phone": "call me"}), 422, "phone"),
        (json!({"name": "x", "address": {"city": "Rome"}}), 422, "address.line1"),
        (json!({"name": "x", "address": {"line1": "y", "postal_code": "1".repeat(21)}}), 422, "address.postal_code"),
        (json!({"name": 5}), 400, "name"),
        (json!({"name": "x", "colour": "red"}), 400, "colour"),
        (json!({"name": "x", "address": {"line1": "y", "planet": "z"}}), 400, "planet"),
        (json!({"name": "x", "id": "a b"}), 400, "id"),
        (json!([]), 400, ""),
    ] {
        let told =
            problem(service.send("POST", "/api/customers", &service.clerk, &body).await, status).await.to_string();
        assert!(told.contains(field) && told.len() < 1_000, "{field}: {told}");
    }
    assert_eq!(total(&service).await, 1);
}

async fn total(service: &TestService) -> Value {
    let path = "/api/customers?include_total=true";
    service.get(path, &service.admin).await.json::<Value>().await.unwrap()["total"].take()
}

#[tokio::test]
async fn an_address_that_is_taken_and_a_query_out_of_range_are_refused() {
    let service = TestService::start().await;
    service.make(&ada()).await;
    let taken = json!({"name": "Other", "email": "ADA@example.ORG"});
    problem(service.send("POST", "/api/customers", &service.clerk, &taken).await, 409).await;
    let other = service.make(&json!({"name": "Other"})).await;
    let path = format!("/api/customers/{}", other["id"].as_str().unwrap());
    problem(service.send("PATCH", &path, &service.clerk, &json!({"email": "ada@example.org"})).await, 409).await;
    for bad in ["limit=0", "limit=101", "cursor=abc", "page=0", "page=1&cursor=abc"] {
        problem(service.get(&format!("/api/customers?{bad}"), &service.admin).await, 422).await;
    }
    problem(service.get("/api/customers?limit=x", &service.admin).await, 400).await;
    let many: Vec<String> = (0..101).map(|n| format!("id={n}")).collect();
    problem(service.get(&format!("/api/customers?{}", many.join("&")), &service.admin).await, 422).await;
    assert_eq!(total(&service).await, 2);
}

#[tokio::test]
async fn repeats_are_answered_and_change_nothing() {
    let service = Arc::new(TestService::start().await);
    let post = |key: &'static str, body: Value| {
        let service = service.clone();
        async move {
            let request = service.request("POST", "/api/customers", &service.clerk).header("idempotency-key", key);
            let answer = request.json(&body).send().await.unwrap();
            (answer.status().as_u16(), answer.headers().get("location").cloned(), answer.text().await.unwrap())
        }
    };
    let copies: Vec<_> = (0..20).map(|_| tokio::spawn(post("k-1", ada()))).collect();
    let mut answers = Vec::new();
    for copy in copies {
        answers.push(copy.await.unwrap());
    }
    assert_eq!(answers[0].0, 201);
    assert!(answers.iter().all(|answer| *answer == answers[0]), "{answers:?}");
    assert_eq!(post("k-1", json!({"name": "Somebody else"})).await.0, 422);
    assert_eq!(post("", ada()).await.0, 400);

    let chosen = json!({"id": "crm-7", "name": "Seven"});
    assert_eq!(service.send("POST", "/api/customers", &service.clerk, &chosen).await.status(), 201);
    let again = service.send("POST", "/api/customers", &service.clerk, &chosen).await;
    assert_eq!((again.status().as_u16(), &again.json::<Value>().await.unwrap()["number"]), (200, &json!(2)));
    let clash = json!({"id": "crm-7", "name": "Eight"});
    problem(service.send("POST", "/api/customers", &service.clerk, &clash).await, 409).await;
}

#[tokio::test]
async fn a_customer_sees_and_changes_himself_alone() {
    let service = TestService::start().await;
    let other = service.make(&ada()).await["id"].as_str().unwrap().to_owned();
    let me = service.register("bob").await;
    let (token, mine) = (me["token"].as_str().unwrap(), me["user"]["customer_id"].as_str().unwrap());
    assert_eq!(service.get(&format!("/api/customers/{mine}"), token).await.status(), 200);
    let changed = service.send("PATCH", &format!("/api/customers/{mine}"), token, &json!({"name": "Bob B."})).await;
    assert_eq!(changed.status(), 200);
    for method in ["GET", "PUT", "PATCH"] {
        let answer =
            service.send(method, &format!("/api/customers/{other}"), token, &json!({"name": "mine now"})).await;
        problem(answer, 404).await;
    }
    for query in ["", "?search=ada", &format!("?id={other}")] {
        let page: Value = service.get(&format!("/api/customers{query}"), token).await.json().await.unwrap();
        assert!(!page.to_string().contains("Ada"), "{page}");
    }
}

#[tokio::test]
async fn what_a_role_never_may_is_forbidden() {
    let service = TestService::start().await;
    let other = service.make(&ada()).await["id"].as_str().unwrap().to_owned();
    let me = service.register("bob").await;
    let token = me["token"].as_str().unwrap();
    problem(service.send("POST", "/api/customers", token, &json!({"name": "x"})).await, 403).await;
    for (token, status) in
        [(token, 403), (service.clerk.as_str(), 403), (service.service.as_str(), 403), ("", 401), ("nonsense", 401)]
    {
        problem(service.send("DELETE", &format!("/api/customers/{other}"), token, &json!({})).await, status).await;
    }
    problem(service.send("PATCH", &format!("/api/customers/{other}"), &service.service, &json!({})).await, 403).await;
    problem(service.get("/api/customers", "").await, 401).await;
    problem(service.get("/api/customers/unknown", &service.admin).await, 404).await;
}
