//! A cart that many buy at once.

use std::collections::BTreeSet;

use anyhow::{Context, Result, ensure};
use fleet_tests::{Client, Fleet, drained, eventually};
use futures::future::try_join_all;
use serde_json::{Value, json};

const PRESSES: usize = 50;

#[tokio::test(flavor = "multi_thread")]
async fn fifty_clients_that_buy_one_cart_at_once_buy_it_once_and_all_hear_of_that_order() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let fleet = Fleet::start(folder.path()).await?;
    let admin = fleet.client("admin");
    admin.add_product("WANTED", 12.5, 1_000).await?;
    let (customer, id) = fleet.nobody().register("hasty").await?;
    let items = format!("/api/carts/{id}/items");
    customer.post(&items, &json!({"product_id": "WANTED", "quantity": 3})).await?.expect(201)?;

    let path = format!("/api/carts/{id}/checkout");
    // Each has a connection of its own, as fifty browsers do; every second one also sends a key, each another.
    let presses = (0..PRESSES).map(|n| {
        let (client, path) = (Client::new(fleet.gateway(), Some(customer.token())), &path);
        async move {
            match n % 2 {
                0 => client.post(path, &json!({})).await,
                _ => client.post_once(path, &format!("press {n}"), &json!({})).await,
            }
        }
    });
    let answers = try_join_all(presses).await?;
    let (mut named, mut in_time) = (BTreeSet::new(), 0);
    for answer in &answers {
        let body = answer.json()?;
        // Who comes when the cart is empty again is refused, and still hears which order it became.
        let order = match answer.status {
            201 => {
                ensure!(body["state"] == "CONFIRMED", "{body}");
                in_time += 1;
                &body["id"]
            }
            409 => &answer.problem(409)?["order_id"],
            status => anyhow::bail!("{status}: {}", answer.text()),
        };
        named.insert(order.as_str().with_context(|| format!("it names no order: {body}"))?.to_owned());
    }
    ensure!(in_time > 1, "only {in_time} came in time, so that nothing met");
    let order = named.first().context("an order")?;
    ensure!(named.len() == 1, "one cart became {named:?}");

    let orders = customer.all("/api/orders").await?;
    ensure!(orders.len() == 1 && orders[0]["id"] == json!(order), "{orders:?}");
    ensure!(orders[0]["total"] == json!(37.5) && orders[0]["lines"][0]["quantity"] == 3, "{orders:?}");
    eventually("three are sold, once", || async {
        Ok((admin.level("WANTED", "logistics").await? == (997, 0)).then_some(()))
    })
    .await?;
    let payments = admin.all("/api/payments").await?;
    let of_order: Vec<&Value> = payments.iter().filter(|payment| payment["order_id"] == json!(order)).collect();
    ensure!(of_order.len() == 1 && payments.len() == 1, "charged more than once: {payments:?}");
    ensure!(of_order[0]["status"] == "captured" && of_order[0]["amount"] == json!(37.5), "{of_order:?}");
    ensure!(of_order[0]["operations"].as_array().is_some_and(|done| done.len() == 1), "{of_order:?}");
    let cart = customer.get(&format!("/api/carts/{id}")).await?.expect(200)?;
    ensure!(cart["items"] == json!([]), "it was bought, and is still in the cart: {cart}");

    let found = drained(fleet).await?;
    assert_eq!(found.count("orders are terminal"), 1);
    assert_eq!(found.count("confirmed orders have one"), 1);
    Ok(())
}
