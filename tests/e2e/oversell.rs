//! Concurrent orders for the last pieces of a product.

use anyhow::Result;
use fleet_tests::{Fleet, drain_and_audit, eventually};
use futures::future::join_all;
use serde_json::{Value, json};

#[tokio::test(flavor = "multi_thread")]
async fn of_64_concurrent_orders_for_the_last_10_pieces_10_are_confirmed() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let fleet = Fleet::start(folder.path()).await?;
    let (admin, customer) = (fleet.client("admin"), fleet.client("customer"));
    admin.add_product("LAST-TEN", 12.34, 10).await?;
    let body = json!({"lines": [{"product_id": "LAST-TEN", "quantity": 1}]});
    let responses = join_all((0..64).map(|_| customer.post("/api/orders", &body))).await;
    let (mut sold, mut refused) = (0, 0);
    for response in responses {
        let response = response?;
        if response.status == 201 {
            sold += 1;
            assert_eq!(response.json()?["state"], "CONFIRMED");
        } else {
            let problem = response.problem(409)?;
            assert_eq!(problem["shortages"], json!([{"product_id": "LAST-TEN", "requested": 1, "available": 0}]));
            assert!(problem["order_id"].is_string(), "{problem}");
            refused += 1;
        }
    }
    assert_eq!((sold, refused), (10, 54));
    eventually("all ten pieces are sold and none is reserved", || async {
        Ok((admin.level("LAST-TEN", "logistics").await? == (0, 0)).then_some(()))
    })
    .await?;
    let payments = admin.all("/api/payments").await?;
    let captured: Vec<&Value> = payments.iter().filter(|payment| payment["status"] == "captured").collect();
    assert_eq!(captured.len(), 10, "not exactly ten payments");
    assert!(captured.iter().all(|payment| payment["amount"] == json!(12.34)), "{captured:?}");
    let found = drain_and_audit(fleet).await?;
    assert_eq!(found.count("orders are terminal"), 64);
    assert_eq!(found.count("confirmed orders have one"), 10);
    Ok(())
}
