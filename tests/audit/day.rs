//! A day in the shop that leaves something in every table of every store.

use anyhow::{Context, Result};
use fleet_tests::{Client, Fleet, eventually};
use proto::legacy::{PaymentRequest, payment_service_client::PaymentServiceClient};
use reqwest::Method;
use serde_json::{Value, json};

/// Settings: cards pay at most 500.
pub(crate) const SETTINGS: [(&str, &str); 1] = [("SOUK_PAYMENT_SANDBOX_LIMIT", "500")];

/// Sells, returns, cancels and moves goods. The ids of orders tell what became of them.
pub(crate) async fn live(fleet: &Fleet) -> Result<()> {
    let admin = fleet.client("admin");
    admin.add_product("TEA", 10.0, 100).await?;
    let pot = json!({"id": "POT", "name": "Pot", "price": 25, "category": "kitchen", "description": "whole"});
    admin.post("/api/products", &pot).await?.expect(201)?;
    let opening = json!({"product_id": "POT", "place_id": "logistics", "delta": 50, "reason": "opening"});
    admin.post("/api/stock/adjustments", &opening).await?.expect(201)?;
    admin.post("/api/places", &json!({"id": "north", "name": "North", "kind": "store"})).await?.expect(201)?;
    let (customer, customer_id) = fleet.anonymous().register("ada").await?;
    orders(&admin, &customer).await?;
    sales(&admin, &customer_id).await?;
    carts(&customer, &customer_id).await?;
    transfers(&admin).await?;
    leads(&admin).await?;
    // An order that another program reports: no event of a service.
    let report = json!({"order_id": "1001", "customer_id": "42", "items": [], "total_price": 9.0, "status": "pending",
        "created_at": "2026-01-02T03:04:05Z"});
    let notification = fleet.ready["services"]["notification"].as_str().context("its URL")?;
    let reported = admin.at(notification).post("/orders", &report).await?;
    anyhow::ensure!(reported.status == 200, "{}", reported.text());
    legacy_payment(fleet.grpc("payment")).await
}

/// What a program of an older fleet pays, under an id that is no order's.
async fn legacy_payment(payment: String) -> Result<()> {
    let mut client = PaymentServiceClient::connect(payment).await?;
    client.pay(PaymentRequest { order_id: "INV-7".into(), amount: 12.5 }).await?;
    Ok(())
}

fn order(id: &str, tea: i64, pots: i64) -> Value {
    json!({"id": id, "lines": [{"product_id": "TEA", "quantity": tea}, {"product_id": "POT", "quantity": pots}]})
}

async fn orders(admin: &Client, customer: &Client) -> Result<()> {
    customer.post_once("/api/orders", "a key", &order("card", 3, 1)).await?.expect(201)?;
    let back = json!({"id": "return-1", "restock": true, "lines": [{"line_id": "1", "quantity": 1}]});
    customer.post_once("/api/orders/card/returns", "another key", &back).await?.expect(201)?;
    customer.post("/api/orders", &order("shipped", 1, 1)).await?.expect(201)?;
    for status in ["processing", "shipped"] {
        admin.put("/api/orders/shipped/status", &json!({"status": status})).await?.expect(200)?;
    }
    customer.post("/api/orders", &order("cancelled", 1, 2)).await?.expect(201)?;
    customer.post("/api/orders/cancelled/cancel", &json!({"reason": "changed my mind"})).await?.expect(200)?;
    customer.post("/api/orders", &order("short", 200, 1)).await?.problem(409)?;
    customer.post("/api/orders", &order("refused", 1, 30)).await?.problem(402)?;
    customer.post("/api/orders", &order("withdrawn", 1, 1)).await?.expect(201)?;
    let withdrawal = admin.post("/api/orders/withdrawn/withdrawal", &json!({})).await?;
    anyhow::ensure!(withdrawal.status == 204, "{}", withdrawal.text());
    eventually("the withdrawn order's goods are back", || async {
        let found = admin.get("/api/orders/withdrawn").await?.expect(200)?;
        Ok((found["status"] == "cancelled" || found["payment"]["status"] == "refunded").then_some(()))
    })
    .await
}

async fn sales(admin: &Client, customer_id: &str) -> Result<()> {
    let mut cash = order("cash", 2, 1);
    cash["payment"] = json!({"method": "cash"});
    cash["notes"] = json!("to the front door");
    cash["shipping_address"] = json!({"line1": "1 Main Street"});
    cash["metadata"] = json!({"from": "till 3"});
    cash["adjustments"] = json!([{"label": "regular", "amount": -5}]);
    admin.post("/api/orders", &cash).await?.expect(201)?;
    let mut account = order("on-account", 1, 1);
    (account["payment"], account["customer_id"]) = (json!({"method": "on_account"}), json!(customer_id));
    admin.post("/api/orders", &account).await?.expect(201)?;
    // Notes and metadata change without an event, a discount with one, also if the total stays.
    for amendment in [
        json!({"notes": "to the back door", "metadata": {"from": "till 4"}}),
        json!({"adjustments": [{"label": "regular", "amount": -5}]}),
        json!({"adjustments": [{"label": "regular customer", "amount": -5}]}),
        json!({"notes": null, "metadata": {"from": null}}),
    ] {
        admin.send(admin.request(Method::PATCH, "/api/orders/on-account").json(&amendment)).await?.expect(200)?;
    }
    let opening = json!({"product_id": "TEA", "place_id": "north", "delta": 20, "reason": "opening"});
    admin.post("/api/stock/adjustments", &opening).await?.expect(201)?;
    let sale = json!({"lines": [{"product_id": "TEA", "quantity": 2}], "payment": {"method": "cash"}});
    admin.post("/api/stores/north/sales", &sale).await?.expect(201)?;
    Ok(())
}

async fn carts(customer: &Client, customer_id: &str) -> Result<()> {
    let items = format!("/api/carts/{customer_id}/items");
    customer.post(&items, &json!({"product_id": "TEA", "quantity": 1})).await?.expect(201)?;
    customer.post(&format!("/api/carts/{customer_id}/checkout"), &json!({})).await?.expect(201)?;
    customer.post(&items, &json!({"product_id": "POT", "quantity": 2})).await?.expect(201)?;
    Ok(())
}

async fn transfers(admin: &Client) -> Result<()> {
    for (id, received) in [("on-its-way", None), ("arrived", Some(3))] {
        let request = json!({"id": id, "product_id": "POT", "place_id": "north", "from_place_id": "logistics",
            "quantity": 4});
        admin.post("/api/stock/replenishments", &request).await?.expect(201)?;
        let step = |step: &str| format!("/api/stock/replenishments/{id}/{step}");
        admin.post(&step("approve"), &json!({})).await?.expect(200)?;
        admin.post(&step("dispatch"), &json!({})).await?.expect(200)?;
        if let Some(quantity) = received {
            admin.post(&step("receive"), &json!({"quantity": quantity, "last": true})).await?.expect(200)?;
        }
    }
    // Clients choose the ids of both, so an adjustment may have that of a replenishment.
    let found = json!({"id": "arrived", "product_id": "POT", "place_id": "north", "delta": 1, "reason": "found"});
    admin.post("/api/stock/adjustments", &found).await?.expect(201)?;
    let threshold = json!({"product_id": "TEA", "place_id": "north", "threshold": 50});
    admin.put("/api/stock/levels/north/TEA/threshold", &threshold).await.map(drop)
}

async fn leads(admin: &Client) -> Result<()> {
    let lead = json!({"first_name": "Grace", "last_name": "Hopper", "field": "it"});
    let made = admin.post("/api/prospects", &lead).await?.expect(201)?;
    let path = format!("/api/prospects/{}", made["id"].as_str().context("an id")?);
    let moved = admin.request(Method::PATCH, &path).json(&json!({"stage": "contacted"}));
    admin.send(moved).await?.expect(200)?;
    eventually("the prospect's activities", || async {
        let activities = admin.all("/api/activities").await?;
        Ok((activities.len() >= 2).then_some(()))
    })
    .await?;
    // Changed without an event.
    let activity = admin.all("/api/activities").await?.remove(0);
    let path = format!("/api/activities/{}", activity["id"].as_str().context("an id")?);
    let other = admin.post("/api/prospects", &lead).await?.expect(201)?;
    let changed = json!({"name": "Call her", "date": "2026-02-03", "prospect_id": other["id"]});
    admin.send(admin.request(Method::PATCH, &path).json(&changed)).await?.expect(200)?;
    Ok(())
}
