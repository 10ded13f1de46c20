//! `/api/customers`.

use std::sync::Arc;

use serde_json::{Value, json};

use crate::house::{House, problem};

pub(crate) fn ada() -> Value {
    json!({"name": "Ada Lovelace", "first_name": "Ada", "email": "Ada@Example.org", "phone": "+44 20 1234",
           "address": {"line1": "12 St James's Square", "city": "London", "country": "GB"}})
}

#[tokio::test]
async fn a_customer_is_made_read_changed_and_found() {
    let house = House::start().await;
    let answer = house.send("POST", "/api/customers", &house.clerk, &ada()).await;
    assert_eq!((answer.status().as_u16(), &answer.headers()["etag"]), (201, &"\"1\"".parse().unwrap()));
    let location = answer.headers()["location"].to_str().unwrap().to_owned();
    let made: Value = answer.json().await.unwrap();
    assert_eq!((&made["number"], &made["version"], &made["email"]), (&json!(1), &json!(1), &json!("Ada@Example.org")));
    assert_eq!(location, format!("/api/customers/{}", made["id"].as_str().unwrap()));
    assert_eq!(house.get(&location, &house.service).await.json::<Value>().await.unwrap(), made);

    let patch = json!({"phone": null, "address": {"city": "Paris"}});
    let answer =
        house.request("PATCH", &location, &house.clerk).header("if-match", "\"1\"").json(&patch).send().await.unwrap();
    assert_eq!(answer.headers()["etag"], "\"2\"");
    let patched: Value = answer.json().await.unwrap();
    assert!(patched.get("phone").is_none());
    assert_eq!((&patched["address"]["city"], &patched["address"]["country"]), (&json!("Paris"), &json!("GB")));
    let stale =
        house.request("PATCH", &location, &house.clerk).header("if-match", "\"1\"").json(&patch).send().await.unwrap();
    assert_eq!(problem(stale, 412).await["version"], 2);
    let same: Value = house.send("PATCH", &location, &house.clerk, &patch).await.json().await.unwrap();
    assert_eq!(same["version"], 2, "a change that changes nothing is none");

    let put: Value =
        house.send("PUT", &location, &house.clerk, &json!({"name": "Ada King"})).await.json().await.unwrap();
    assert_eq!((&put["name"], put.get("email"), put.get("address")), (&json!("Ada King"), None, None));
}

#[tokio::test]
async fn customers_are_found_and_paged_through() {
    let house = House::start().await;
    let made = house.make(&json!({"name": "Ada King"})).await;
    house.make(&json!({"first_name": "Grace", "last_name": "Hopper", "email": "grace@navy.example"})).await;
    for (query, names) in [
        ("", vec!["Ada King", "Grace Hopper"]),
        ("?search=HOP", vec!["Grace Hopper"]),
        ("?search=%25", vec![]),
        ("?email=GRACE@navy.example", vec!["Grace Hopper"]),
        ("?limit=1", vec!["Ada King"]),
        ("?page=2&limit=1&include_total=true", vec!["Grace Hopper"]),
        (&format!("?id={}&id=unknown", made["id"].as_str().unwrap()), vec!["Ada King"]),
    ] {
        let page: Value = house.get(&format!("/api/customers{query}"), &house.admin).await.json().await.unwrap();
        let found: Vec<&str> =
            page["data"].as_array().unwrap().iter().map(|row| row["name"].as_str().unwrap()).collect();
        assert_eq!(found, names, "{query}: {page}");
    }
    let first: Value = house.get("/api/customers?limit=1", &house.admin).await.json().await.unwrap();
    let cursor = first["next_cursor"].as_str().unwrap();
    let next: Value =
        house.get(&format!("/api/customers?limit=1&cursor={cursor}"), &house.admin).await.json().await.unwrap();
    assert_eq!((&next["data"][0]["name"], &next["next_cursor"]), (&json!("Grace Hopper"), &Value::Null));
}

#[tokio::test]
async fn every_field_has_rules_and_nothing_bad_is_written() {
    let house = House::start().await;
    house.make(&ada()).await;
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
        let told = problem(house.send("POST", "/api/customers", &house.clerk, &body).await, status).await.to_string();
        assert!(told.contains(field) && told.len() < 1_000, "{field}: {told}");
    }
    assert_eq!(total(&house).await, 1);
}

async fn total(house: &House) -> Value {
    let path = "/api/customers?include_total=true";
    house.get(path, &house.admin).await.json::<Value>().await.unwrap()["total"].take()
}

#[tokio::test]
async fn an_address_that_is_taken_and_a_query_out_of_range_are_refused() {
    let house = House::start().await;
    house.make(&ada()).await;
    let taken = json!({"name": "Other", "email": "ADA@example.ORG"});
    problem(house.send("POST", "/api/customers", &house.clerk, &taken).await, 409).await;
    let other = house.make(&json!({"name": "Other"})).await;
    let path = format!("/api/customers/{}", other["id"].as_str().unwrap());
    problem(house.send("PATCH", &path, &house.clerk, &json!({"email": "ada@example.org"})).await, 409).await;
    for bad in ["limit=0", "limit=101", "cursor=abc", "page=0", "page=1&cursor=abc"] {
        problem(house.get(&format!("/api/customers?{bad}"), &house.admin).await, 422).await;
    }
    problem(house.get("/api/customers?limit=x", &house.admin).await, 400).await;
    let many: Vec<String> = (0..101).map(|n| format!("id={n}")).collect();
    problem(house.get(&format!("/api/customers?{}", many.join("&")), &house.admin).await, 422).await;
    assert_eq!(total(&house).await, 2);
}

#[tokio::test]
async fn repeats_are_answered_and_change_nothing() {
    let house = Arc::new(House::start().await);
    let post = |key: &'static str, body: Value| {
        let house = house.clone();
        async move {
            let request = house.request("POST", "/api/customers", &house.clerk).header("idempotency-key", key);
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
    assert_eq!(house.send("POST", "/api/customers", &house.clerk, &chosen).await.status(), 201);
    let again = house.send("POST", "/api/customers", &house.clerk, &chosen).await;
    assert_eq!((again.status().as_u16(), &again.json::<Value>().await.unwrap()["number"]), (200, &json!(2)));
    let clash = json!({"id": "crm-7", "name": "Eight"});
    problem(house.send("POST", "/api/customers", &house.clerk, &clash).await, 409).await;
}

#[tokio::test]
async fn a_customer_sees_and_changes_himself_alone() {
    let house = House::start().await;
    let other = house.make(&ada()).await["id"].as_str().unwrap().to_owned();
    let me = house.register("bob").await;
    let (token, mine) = (me["token"].as_str().unwrap(), me["user"]["customer_id"].as_str().unwrap());
    assert_eq!(house.get(&format!("/api/customers/{mine}"), token).await.status(), 200);
    let changed = house.send("PATCH", &format!("/api/customers/{mine}"), token, &json!({"name": "Bob B."})).await;
    assert_eq!(changed.status(), 200);
    for method in ["GET", "PUT", "PATCH"] {
        let answer = house.send(method, &format!("/api/customers/{other}"), token, &json!({"name": "mine now"})).await;
        problem(answer, 404).await;
    }
    for query in ["", "?search=ada", &format!("?id={other}")] {
        let page: Value = house.get(&format!("/api/customers{query}"), token).await.json().await.unwrap();
        assert!(!page.to_string().contains("Ada"), "{page}");
    }
}

#[tokio::test]
async fn what_a_role_never_may_is_forbidden() {
    let house = House::start().await;
    let other = house.make(&ada()).await["id"].as_str().unwrap().to_owned();
    let me = house.register("bob").await;
    let token = me["token"].as_str().unwrap();
    problem(house.send("POST", "/api/customers", token, &json!({"name": "x"})).await, 403).await;
    for (token, status) in
        [(token, 403), (house.clerk.as_str(), 403), (house.service.as_str(), 403), ("", 401), ("nonsense", 401)]
    {
        problem(house.send("DELETE", &format!("/api/customers/{other}"), token, &json!({})).await, status).await;
    }
    problem(house.send("PATCH", &format!("/api/customers/{other}"), &house.service, &json!({})).await, 403).await;
    problem(house.get("/api/customers", "").await, 401).await;
    problem(house.get("/api/customers/unknown", &house.admin).await, 404).await;
}
