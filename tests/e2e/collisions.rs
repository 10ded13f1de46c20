//! Conflicting requests: another customer's order id, concurrent refunds, cancels before the end of a checkout.

use anyhow::Result;
use fleet_tests::{Client, Fleet, drain_and_audit, eventually};
use futures::future::try_join_all;
use serde_json::{Value, json};

const TEA: &str = "TEA-ASSAM-250";

#[tokio::test(flavor = "multi_thread")]
async fn another_customers_order_is_not_returned_for_its_id() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let fleet = Fleet::start(folder.path()).await?;
    let (owner, _) = fleet.anonymous().register("owner").await?;
    let (stranger, _) = fleet.anonymous().register("eve").await?;
    let order = json!({"id": "shop-1", "lines": [{"product_id": TEA, "quantity": 1}], "shipping_address": {"line1": "Secret Street 1"}});
    owner.post("/api/orders", &order).await?.expect(201)?;
    for other in [&stranger, &fleet.client("admin")] {
        let refused = other.post("/api/orders", &order).await?;
        assert!(!refused.text().contains("Secret"), "{}", refused.text());
        refused.problem(409)?;
    }
    owner.post("/api/orders", &order).await?.expect(200)?;
    let reserved = json!({"id": "legacy:INV1", "lines": [{"product_id": TEA, "quantity": 1}]});
    assert_eq!(owner.post("/api/orders", &reserved).await?.problem(422)?["errors"][0]["field"], "id");
    drain_and_audit(fleet).await?;
    Ok(())
}

async fn wait_for_refunds(client: &Client, order: &str, count: usize) -> Result<Vec<Value>> {
    eventually("the refunds are settled", || async {
        let returns = client.get(&format!("/api/orders/{order}/returns")).await?.expect(200)?;
        let returns = returns["data"].as_array().cloned().unwrap_or_default();
        let settled = returns.len() == count && returns.iter().all(|entry| entry["refund"]["status"] != "pending");
        Ok(settled.then_some(returns))
    })
    .await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_manual_refund_and_a_return_together_refund_no_more_than_was_paid() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let fleet = Fleet::start(folder.path()).await?;
    let admin = fleet.client("admin");
    let order = json!({"id": "both", "lines": [{"product_id": TEA, "quantity": 2}]});
    admin.post("/api/orders", &order).await?.expect(201)?;
    let manual = json!({"id": "goodwill", "amount": 8.9, "reason": "scratched"});
    admin.post("/api/payments/both/refunds", &manual).await?.expect(201)?;
    eventually("the order shows the manual refund", || async {
        let order = admin.get("/api/orders/both").await?.expect(200)?;
        Ok((order["payment"]["status"] == "partly_refunded").then_some(()))
    })
    .await?;
    // The same id for a return is another refund, limited to the amount that is left.
    let return_request = json!({"id": "goodwill", "lines": [{"line_id": "1", "quantity": 2}]});
    admin.post("/api/orders/both/returns", &return_request).await?.expect(201)?;
    let returns = wait_for_refunds(&admin, "both", 1).await?;
    assert_eq!(returns[0]["refund"], json!({"amount": 8.9, "status": "done"}));
    let payment = admin.get("/api/payments/both").await?.expect(200)?;
    assert_eq!(payment["status"], "refunded", "{payment}");
    admin
        .post("/api/orders/both/returns", &json!({"id": "hand:x", "lines": [{"line_id": "1", "quantity": 1}]}))
        .await?
        .problem(422)?;
    drain_and_audit(fleet).await?;
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn many_copies_of_one_return_at_once_are_one_return() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let fleet = Fleet::start(folder.path()).await?;
    let admin = fleet.client("admin");
    admin.post("/api/orders", &json!({"id": "o", "lines": [{"product_id": TEA, "quantity": 3}]})).await?.expect(201)?;
    let all = json!({"lines": [{"line_id": "1", "quantity": 3}]});
    let responses = try_join_all((0..20).map(|_| admin.post_once("/api/orders/o/returns", "one", &all))).await?;
    for response in &responses {
        assert_eq!((response.status, response.text()), (201, responses[0].text()));
    }
    let named = json!({"id": "r", "lines": [{"line_id": "1", "quantity": 1}]});
    admin.post("/api/orders", &json!({"id": "p", "lines": [{"product_id": TEA, "quantity": 1}]})).await?.expect(201)?;
    let responses = try_join_all((0..20).map(|_| admin.post("/api/orders/p/returns", &named))).await?;
    let made = responses.iter().filter(|response| response.status == 201).count();
    assert!(made == 1 && responses.iter().all(|response| [200, 201].contains(&response.status)), "{made} made");
    drain_and_audit(fleet).await?;
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn cancels_that_overtake_their_checkout_leave_one_outcome() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let fleet = Fleet::start(folder.path()).await?;
    let admin = fleet.client("admin");
    let clients = (0..24).map(|client| {
        let admin = admin.clone();
        async move {
            for n in 0..8 {
                let id = format!("c{client}-{n}");
                let order = json!({
                    "id": id, "payment": {"method": "on_account"},
                    "lines": [{"name": "Odd job", "quantity": 1, "unit_price": 1}],
                });
                let response = admin
                    .send(
                        admin
                            .request(reqwest::Method::POST, "/api/orders")
                            .header("prefer", "respond-async")
                            .json(&order),
                    )
                    .await?;
                assert!([201, 202, 409].contains(&response.status), "{}", response.text());
                let cancelled = admin.post(&format!("/api/orders/{id}/cancel"), &json!({})).await?;
                assert!([200, 202].contains(&cancelled.status), "{}", cancelled.text());
            }
            Ok::<_, anyhow::Error>(())
        }
    });
    try_join_all(clients).await?;
    let data = fleet.data().to_owned();
    drain_and_audit(fleet).await?;
    let fleet = Fleet::start(&data).await?;
    let orders = fleet.client("admin").all("/api/orders").await?;
    assert_eq!(orders.len(), 24 * 8);
    assert!(orders.iter().all(|order| order["status"] == "cancelled"), "an order is not cancelled");
    Ok(())
}
