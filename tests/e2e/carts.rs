//! Concurrent checkouts of one cart.

use std::collections::BTreeSet;

use anyhow::{Context, Result, ensure};
use fleet_tests::{Client, Fleet, drain_and_audit, eventually};
use futures::future::try_join_all;
use serde_json::{Value, json};

const CHECKOUTS: usize = 50;

#[tokio::test(flavor = "multi_thread")]
async fn fifty_concurrent_checkouts_of_one_cart_make_one_order_and_all_return_its_id() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let fleet = Fleet::start(folder.path()).await?;
    let admin = fleet.client("admin");
    admin.add_product("WANTED", 12.5, 1_000).await?;
    let (customer, id) = fleet.anonymous().register("hasty").await?;
    let items = format!("/api/carts/{id}/items");
    customer.post(&items, &json!({"product_id": "WANTED", "quantity": 3})).await?.expect(201)?;

    let path = format!("/api/carts/{id}/checkout");
    // Each client has its own connection, like a browser; every second one also sends a key, each a different one.
    let checkouts = (0..CHECKOUTS).map(|n| {
        let (client, path) = (Client::new(fleet.gateway(), Some(customer.token())), &path);
        async move {
            match n % 2 {
                0 => client.post(path, &json!({})).await,
                _ => client.post_once(path, &format!("press {n}"), &json!({})).await,
            }
        }
    });
    let responses = try_join_all(checkouts).await?;
    let (mut order_ids, mut confirmed) = (BTreeSet::new(), 0);
    for response in &responses {
        let body = response.json()?;
        // A checkout of the already empty cart is refused; the problem contains the id of the order.
        let order = match response.status {
            201 => {
                ensure!(body["state"] == "CONFIRMED", "{body}");
                confirmed += 1;
                &body["id"]
            }
            409 => &response.problem(409)?["order_id"],
            status => anyhow::bail!("{status}: {}", response.text()),
        };
        order_ids.insert(order.as_str().with_context(|| format!("the response has no order id: {body}"))?.to_owned());
    }
    ensure!(confirmed > 1, "only {confirmed} succeeded, so the checkouts were not concurrent");
    let order = order_ids.first().context("an order")?;
    ensure!(order_ids.len() == 1, "one cart became {order_ids:?}");

    let orders = customer.all("/api/orders").await?;
    ensure!(orders.len() == 1 && orders[0]["id"] == json!(order), "{orders:?}");
    ensure!(orders[0]["total"] == json!(37.5) && orders[0]["lines"][0]["quantity"] == 3, "{orders:?}");
    eventually("three pieces are sold once", || async {
        Ok((admin.level("WANTED", "logistics").await? == (997, 0)).then_some(()))
    })
    .await?;
    let payments = admin.all("/api/payments").await?;
    let of_order: Vec<&Value> = payments.iter().filter(|payment| payment["order_id"] == json!(order)).collect();
    ensure!(of_order.len() == 1 && payments.len() == 1, "charged more than once: {payments:?}");
    ensure!(of_order[0]["status"] == "captured" && of_order[0]["amount"] == json!(37.5), "{of_order:?}");
    ensure!(of_order[0]["operations"].as_array().is_some_and(|operations| operations.len() == 1), "{of_order:?}");
    let cart = customer.get(&format!("/api/carts/{id}")).await?.expect(200)?;
    ensure!(cart["items"] == json!([]), "the cart is not empty after its checkout: {cart}");

    let found = drain_and_audit(fleet).await?;
    assert_eq!(found.count("orders are terminal"), 1);
    assert_eq!(found.count("confirmed orders have one"), 1);
    Ok(())
}
