//! Repeated requests: with the same key or id, concurrently and later.

use anyhow::{Context, Result};
use fleet_tests::{Fleet, Response, drain_and_audit, eventually};
use futures::future::try_join_all;
use serde_json::{Value, json};

const TEA: &str = "TEA-ASSAM-250";

fn order(quantity: u32) -> Value {
    json!({"lines": [{"product_id": TEA, "quantity": quantity}]})
}

#[tokio::test(flavor = "multi_thread")]
async fn fifty_copies_at_once_of_a_request_with_one_key_make_one_order_and_fifty_equal_answers() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let fleet = Fleet::start(folder.path()).await?;
    let customer = fleet.client("customer");
    let body = order(3);
    let responses = try_join_all((0..50).map(|_| customer.post_once("/api/orders", "one", &body))).await?;
    let first = &responses[0];
    assert_eq!(first.expect(201)?["state"], "CONFIRMED");
    for response in &responses {
        assert_eq!(response.status, 201);
        assert_eq!(response.body, first.body);
        assert_eq!(response.header("location"), first.header("location"));
        assert_eq!(response.header("content-type"), first.header("content-type"));
    }
    let later = customer.post_once("/api/orders", "one", &body).await?;
    assert_eq!((later.status, &later.body), (201, &first.body));
    assert_eq!(customer.total("/api/orders").await?, 1);
    let admin = fleet.client("admin");
    eventually("three pieces are sold once", || async {
        Ok((admin.level(TEA, "logistics").await? == (997, 0)).then_some(()))
    })
    .await?;
    // Keys are scoped to the subject: another user's request with the same key is another request.
    let (other, _) = fleet.anonymous().register("other").await?;
    assert_ne!(other.post_once("/api/orders", "one", &body).await?.expect(201)?["id"], first.json()?["id"]);
    let found = drain_and_audit(fleet).await?;
    assert_eq!(found.count("orders are terminal"), 2);
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn fifty_copies_at_once_of_a_request_with_one_id_make_one_order() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let fleet = Fleet::start(folder.path()).await?;
    let customer = fleet.client("customer");
    let body = json!({"id": "my-order", "lines": [{"product_id": TEA, "quantity": 1}]});
    let responses = try_join_all((0..50).map(|_| customer.post("/api/orders", &body))).await?;
    let created = responses.iter().filter(|response| response.status == 201).count();
    assert_eq!(created, 1, "{:?}", responses.iter().map(|response| response.status).collect::<Vec<_>>());
    for response in &responses {
        assert!([200, 201].contains(&response.status), "{}", response.text());
        let order = response.json()?;
        assert_eq!((order["id"].as_str(), order["state"].as_str()), (Some("my-order"), Some("CONFIRMED")));
    }
    customer.post("/api/orders", &body).await?.expect(200)?;
    let other = json!({"id": "my-order", "lines": [{"product_id": TEA, "quantity": 2}]});
    assert_eq!(customer.post("/api/orders", &other).await?.problem(409)?["order_id"], "my-order");
    assert_eq!(drain_and_audit(fleet).await?.count("orders are terminal"), 1);
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_key_or_id_with_another_body_is_refused_and_json_formatting_does_not_matter() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let fleet = Fleet::start(folder.path()).await?;
    let customer = fleet.client("customer");
    let first = customer.post_once("/api/orders", "key", &order(1)).await?;
    first.expect(201)?;
    let refused = customer.post_once("/api/orders", "key", &order(2)).await?.problem(422)?;
    assert_eq!(refused["errors"][0]["field"], "Idempotency-Key");
    let reformatted = customer
        .request(reqwest::Method::POST, "/api/orders")
        .header("idempotency-key", "key")
        .header("content-type", "application/json")
        .body(format!("{{ \"lines\" : [ {{\"quantity\": 1, \"product_id\": \"{TEA}\"}} ] }}"));
    let reformatted = customer.send(reformatted).await?;
    assert_eq!((reformatted.status, &reformatted.body), (201, &first.body));
    for key in ["", &"k".repeat(256)] {
        let response = customer.post_once("/api/orders", key, &order(1)).await?;
        assert_eq!(response.problem(400)?["code"], "idempotency_key.malformed");
    }
    assert_eq!(customer.total("/api/orders").await?, 1);
    drain_and_audit(fleet).await?;
    Ok(())
}

fn assert_same(first: &Response, again: &Response) {
    assert_eq!(first.status, again.status);
    assert_eq!(first.text(), again.text());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_refused_order_is_refused_again_with_the_same_response() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let fleet = Fleet::start_with(folder.path(), &[("SOUK_PAYMENT_SANDBOX_LIMIT", "500")]).await?;
    let customer = fleet.client("customer");
    let too_many = json!({"id": "short", "lines": [{"product_id": TEA, "quantity": 5_000}]});
    let too_expensive = json!({"id": "dear", "lines": [{"product_id": "1", "quantity": 1}]});
    for (body, status) in [(&too_many, 409), (&too_expensive, 402)] {
        let key = format!("key-{status}");
        let first = customer.post_once("/api/orders", &key, body).await?;
        assert_eq!(first.problem(status)?["order_id"], body["id"]);
        assert_same(&first, &customer.post_once("/api/orders", &key, body).await?);
        // By id alone, too.
        assert_same(&first, &customer.post("/api/orders", body).await?);
    }
    // The order stays refused after a restock.
    let more = json!({"product_id": TEA, "place_id": "logistics", "delta": 9_000, "reason": "more"});
    fleet.client("admin").post("/api/stock/adjustments", &more).await?.expect(201)?;
    customer.post_once("/api/orders", "key-409", &too_many).await?.problem(409)?;
    assert_eq!(customer.total("/api/orders").await?, 2);
    drain_and_audit(fleet).await?;
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn repeated_returns_and_refunds_are_refunded_once() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let fleet = Fleet::start(folder.path()).await?;
    let (admin, customer) = (fleet.client("admin"), fleet.client("customer"));
    let order = customer.post("/api/orders", &order(4)).await?.expect(201)?;
    let id = order["id"].as_str().context("an id")?;
    let path = format!("/api/orders/{id}/returns");
    let by_key = json!({"lines": [{"line_id": "1", "quantity": 1}]});
    let responses = try_join_all((0..20).map(|_| customer.post_once(&path, "return", &by_key))).await?;
    let later = customer.post_once(&path, "return", &by_key).await?;
    for response in responses.iter().chain([&later]) {
        assert_same(&responses[0], response);
        assert_eq!(response.header("location"), path);
    }
    responses[0].expect(201)?;
    let other = json!({"lines": [{"line_id": "1", "quantity": 2}]});
    customer.post_once(&path, "return", &other).await?.problem(422)?;

    let by_id = json!({"id": "return-by-id", "lines": [{"line_id": "1", "quantity": 1}], "restock": false});
    let responses = try_join_all((0..20).map(|_| customer.post(&path, &by_id))).await?;
    assert_eq!(responses.iter().filter(|response| response.status == 201).count(), 1);
    assert!(responses.iter().all(|response| [200, 201].contains(&response.status)), "{:?}", responses[0]);
    let other = json!({"id": "return-by-id", "lines": [{"line_id": "1", "quantity": 2}]});
    customer.post(&path, &other).await?.problem(409)?;
    let returns = customer.get(&path).await?.expect(200)?;
    assert_eq!(returns["data"].as_array().map(Vec::len), Some(2));

    let refunds = format!("/api/payments/{id}/refunds");
    let manual = json!({"id": "by-hand", "amount": 1.5});
    let responses = try_join_all((0..20).map(|_| admin.post(&refunds, &manual))).await?;
    for response in responses {
        response.expect(201)?;
    }
    // A key may also be longer than an id, and have characters that an id may not have.
    for key in ["by-key", &"by/key ".repeat(20)] {
        for _ in 0..3 {
            admin.post_once(&refunds, key, &json!({"amount": 0.25})).await?.expect(201)?;
        }
        let other = admin.post_once(&refunds, key, &json!({"amount": 0.5})).await?.problem(422)?;
        assert_eq!(other["code"], "idempotency_key.reused");
    }
    admin.post(&refunds, &json!({"id": "by-hand", "amount": 2.5})).await?.problem(422)?;
    let payment = admin.get(&format!("/api/payments/{id}")).await?.expect(200)?;
    let refunded: Vec<f64> = payment["operations"]
        .as_array()
        .into_iter()
        .flatten()
        .filter(|operation| operation["op"] == "refund")
        .filter_map(|operation| operation["amount"].as_f64())
        .collect();
    assert_eq!(refunded, [8.9, 8.9, 1.5, 0.25, 0.25], "{payment}");
    assert_eq!(payment["status"], "partly_refunded");
    // The refundable rest is 35.60 - 19.80.
    admin.post(&refunds, &json!({"amount": 15.81})).await?.problem(409)?;
    drain_and_audit(fleet).await?;
    Ok(())
}
