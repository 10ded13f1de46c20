//! Requests that meet: other people's ids, refunds from two sides, cancels that overtake a checkout.

use anyhow::Result;
use fleet_tests::{Client, Fleet, drained, eventually};
use futures::future::try_join_all;
use serde_json::{Value, json};

const TEA: &str = "TEA-ASSAM-250";

#[tokio::test(flavor = "multi_thread")]
async fn somebody_elses_order_is_not_to_be_had_by_its_id() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let fleet = Fleet::start(folder.path()).await?;
    let (owner, _) = fleet.nobody().register("owner").await?;
    let (eve, _) = fleet.nobody().register("eve").await?;
    let order = json!({"id": "shop-1", "lines": [{"product_id": TEA, "quantity": 1}], "shipping_address": {"line1": "Secret Street 1"}});
    owner.post("/api/orders", &order).await?.expect(201)?;
    for other in [&eve, &fleet.client("admin")] {
        let refused = other.post("/api/orders", &order).await?;
        assert!(!refused.text().contains("Secret"), "{}", refused.text());
        refused.problem(409)?;
    }
    owner.post("/api/orders", &order).await?.expect(200)?;
    let reserved = json!({"id": "legacy:INV1", "lines": [{"product_id": TEA, "quantity": 1}]});
    assert_eq!(owner.post("/api/orders", &reserved).await?.problem(422)?["errors"][0]["field"], "id");
    drained(fleet).await?;
    Ok(())
}

async fn settled(client: &Client, order: &str, count: usize) -> Result<Vec<Value>> {
    eventually("the refunds are settled", || async {
        let returns = client.get(&format!("/api/orders/{order}/returns")).await?.expect(200)?;
        let returns = returns["data"].as_array().cloned().unwrap_or_default();
        let done = returns.len() == count && returns.iter().all(|made| made["refund"]["status"] != "pending");
        Ok(done.then_some(returns))
    })
    .await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_refund_by_hand_and_a_return_give_back_together_what_was_paid_and_no_more() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let fleet = Fleet::start(folder.path()).await?;
    let admin = fleet.client("admin");
    let order = json!({"id": "both", "lines": [{"product_id": TEA, "quantity": 2}]});
    admin.post("/api/orders", &order).await?.expect(201)?;
    let by_hand = json!({"id": "goodwill", "amount": 8.9, "reason": "scratched"});
    admin.post("/api/payments/both/refunds", &by_hand).await?.expect(201)?;
    eventually("the order shows the refund by hand", || async {
        let order = admin.get("/api/orders/both").await?.expect(200)?;
        Ok((order["payment"]["status"] == "partly_refunded").then_some(()))
    })
    .await?;
    // The same name on the other side is another refund, and only what is left is given back.
    let back = json!({"id": "goodwill", "lines": [{"line_id": "1", "quantity": 2}]});
    admin.post("/api/orders/both/returns", &back).await?.expect(201)?;
    let returns = settled(&admin, "both", 1).await?;
    assert_eq!(returns[0]["refund"], json!({"amount": 8.9, "status": "done"}));
    let payment = admin.get("/api/payments/both").await?.expect(200)?;
    assert_eq!(payment["status"], "refunded", "{payment}");
    admin
        .post("/api/orders/both/returns", &json!({"id": "hand:x", "lines": [{"line_id": "1", "quantity": 1}]}))
        .await?
        .problem(422)?;
    drained(fleet).await?;
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn many_copies_of_one_return_at_once_are_one_return() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let fleet = Fleet::start(folder.path()).await?;
    let admin = fleet.client("admin");
    admin.post("/api/orders", &json!({"id": "o", "lines": [{"product_id": TEA, "quantity": 3}]})).await?.expect(201)?;
    let all = json!({"lines": [{"line_id": "1", "quantity": 3}]});
    let answers = try_join_all((0..20).map(|_| admin.post_once("/api/orders/o/returns", "one", &all))).await?;
    for answer in &answers {
        assert_eq!((answer.status, answer.text()), (201, answers[0].text()));
    }
    let named = json!({"id": "r", "lines": [{"line_id": "1", "quantity": 1}]});
    admin.post("/api/orders", &json!({"id": "p", "lines": [{"product_id": TEA, "quantity": 1}]})).await?.expect(201)?;
    let answers = try_join_all((0..20).map(|_| admin.post("/api/orders/p/returns", &named))).await?;
    let made = answers.iter().filter(|answer| answer.status == 201).count();
    assert!(made == 1 && answers.iter().all(|answer| [200, 201].contains(&answer.status)), "{made} made");
    drained(fleet).await?;
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn cancels_that_overtake_their_checkout_leave_one_outcome() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let fleet = Fleet::start(folder.path()).await?;
    let admin = fleet.client("admin");
    let storm = (0..24).map(|client| {
        let admin = admin.clone();
        async move {
            for n in 0..8 {
                let id = format!("c{client}-{n}");
                let order = json!({
                    "id": id, "payment": {"method": "on_account"},
                    "lines": [{"name": "Odd job", "quantity": 1, "unit_price": 1}],
                });
                let answer = admin
                    .send(
                        admin
                            .request(reqwest::Method::POST, "/api/orders")
                            .header("prefer", "respond-async")
                            .json(&order),
                    )
                    .await?;
                assert!([201, 202, 409].contains(&answer.status), "{}", answer.text());
                let cancelled = admin.post(&format!("/api/orders/{id}/cancel"), &json!({})).await?;
                assert!([200, 202].contains(&cancelled.status), "{}", cancelled.text());
            }
            Ok::<_, anyhow::Error>(())
        }
    });
    try_join_all(storm).await?;
    let data = fleet.data().to_owned();
    drained(fleet).await?;
    let fleet = Fleet::start(&data).await?;
    let orders = fleet.client("admin").all("/api/orders").await?;
    assert_eq!(orders.len(), 24 * 8);
    assert!(orders.iter().all(|order| order["status"] == "cancelled"), "all were cancelled");
    Ok(())
}
