//! Levels exist only for products of the catalogue.

use auth::Role;
use serde_json::{Value, json};

use crate::service::{FakePeers, TestService};

const ONE: &str = "/api/stock/adjustments";
const MANY: &str = "/api/stock/adjustments/batch";
const THRESHOLD: &str = "/api/stock/levels/g/logistics/threshold";

fn one(id: &str, product_id: &str) -> Value {
    json!({ "id": id, "product_id": product_id, "place_id": "logistics", "delta": 1, "reason": "r" })
}

fn fields(problem: &Value) -> Vec<(&str, &str)> {
    let errors = problem["errors"].as_array().expect("errors");
    errors.iter().filter_map(|error| Some((error["field"].as_str()?, error["rule"].as_str()?))).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_product_that_the_catalogue_does_not_hold_is_named() {
    let service = TestService::open(|_| {}).await;
    let admin = service.user_token(Role::Admin, &[]);
    service.peers().missing_products = vec!["g", "h"];
    let (status, problem) = service.call("POST", ONE, &admin, Some(one("a", "g"))).await;
    assert_eq!((status, fields(&problem)), (422, vec![("product_id", "exists")]));
    let (status, problem) = service.call("PUT", THRESHOLD, &admin, Some(json!({ "threshold": 1 }))).await;
    assert_eq!((status, fields(&problem)), (422, vec![("product_id", "exists")]));
    let batch = json!({ "adjustments": [one("a", "x"), one("b", "g"), one("c", "x"), one("d", "h")] });
    let (status, problem) = service.call("POST", MANY, &admin, Some(batch)).await;
    let wrong = vec![("adjustments[1].product_id", "exists"), ("adjustments[3].product_id", "exists")];
    assert_eq!((status, fields(&problem)), (422, wrong));
    let most: Vec<Value> = (0..1_000).map(|n| one(&format!("m{n}"), &format!("p{n}"))).collect();
    assert_eq!(service.call("POST", MANY, &admin, Some(json!({ "adjustments": most }))).await.0, 201);
    // One call for a whole batch.
    assert_eq!(service.peers().product_questions, [1, 1, 3, 1_000]);
}

#[tokio::test(flavor = "multi_thread")]
async fn without_the_product_service_only_repeats_are_answered() {
    let service = TestService::open(|_| {}).await;
    let admin = service.user_token(Role::Admin, &[]);
    let mut unnamed = one("", "g");
    unnamed.as_object_mut().expect("an object").remove("id");
    let batch = json!({ "adjustments": [one("b", "g"), one("c", "h")] });
    let first = service.call("POST", ONE, &admin, Some(one("a", "g"))).await;
    let keyed = service.keyed("POST", ONE, &admin, Some(unnamed.clone()), Some("k")).await;
    let many = service.call("POST", MANY, &admin, Some(batch.clone())).await;
    assert_eq!((first.0, keyed.0, many.0), (201, 201, 201));
    let changes: [fn(&mut FakePeers); 2] =
        [|peers| peers.missing_products = vec!["g", "h"], |peers| peers.products_unreachable = true];
    for change in changes {
        change(&mut service.peers());
        assert_eq!(service.call("POST", ONE, &admin, Some(one("a", "g"))).await, first);
        assert_eq!(service.keyed("POST", ONE, &admin, Some(unnamed.clone()), Some("k")).await, keyed);
        assert_eq!(service.call("POST", MANY, &admin, Some(batch.clone())).await, many);
    }
    for (method, path, body) in [
        ("POST", ONE, one("new", "g")),
        ("POST", MANY, json!({ "adjustments": [one("b", "g"), one("new", "g")] })),
        ("PUT", THRESHOLD, json!({ "threshold": 1 })),
    ] {
        let (status, problem) = service.call(method, path, &admin, Some(body)).await;
        let detail = json!("The product service did not answer; try again.");
        assert_eq!((status, &problem["detail"]), (503, &detail), "{path}");
        assert_eq!((&problem["code"], &problem["peer"]), (&json!("peer.unavailable"), &json!("product")));
    }
    assert_eq!(service.level("g").await, (3, 0));
}
