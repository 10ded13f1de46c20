//! `crm`: customers on 8085, orders on 8087, notifications on 5001.

use std::path::Path;

use anyhow::{Context, Result, ensure};
use fleet_tests::{Client, Fleet, Response, Rows, eventually, run_curls};
use serde_json::{Value, json};

use crate::{has_members, port};

const CUSTOMER: &[&str] = &["id", "customer_id", "name", "email", "phone", "address", "created_at", "updated_at"];
const ORDER: &[&str] = &[
    "id",
    "_id",
    "customer_id",
    "items",
    "total_price",
    "total_amount",
    "status",
    "shipping_address",
    "payment_method",
    "notes",
    "created_at",
    "updated_at",
];

async fn add(customers: &Client, name: &str) -> Result<Value> {
    let body = json!({"name": name, "email": format!("{name}@crm.example"), "phone": "+33 1 23 45 67 89", "address": "1 rue A"});
    let added = customers.post("/api/customers", &body).await?.expect(201)?;
    ensure!(added["status"] == "success" && added["message"] == "Customer added successfully", "{added}");
    Ok(added["data"].clone())
}

async fn wait_for_outcome(orders: &Client, id: &str) -> Result<Value> {
    let path = format!("/api/orders/{id}");
    eventually("the order is no longer pending", || async {
        let order = orders.get(&path).await?.expect(200)?;
        Ok((order["status"] != "pending").then_some(order))
    })
    .await
}

fn id(of: &Value) -> Result<&str> {
    of["id"].as_str().context("an id")
}

fn fields(response: &Response) -> Result<Vec<String>> {
    let body = response.expect(400)?;
    let errors = body["errors"].as_array().context("errors")?;
    errors
        .iter()
        .map(|error| {
            ensure!(error["type"] == "field" && error["location"] == "body" && error["msg"].is_string(), "{error}");
            Ok(error["path"].as_str().context("path")?.to_owned())
        })
        .collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn every_row() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let fleet = Fleet::dialect(folder.path(), "crm", &[]).await?;
    let (customers, orders, notifications) = (port(8085), port(8087), port(5001));
    let admin = fleet.client("admin");
    let mut rows = Rows::new("crm");

    rows.row("POST /api/customers", async {
        let customer = add(&customers, "ada").await?;
        has_members(&customer, CUSTOMER)?;
        ensure!(customer["customer_id"] == customer["id"] && customer["address"] == "1 rue A", "{customer}");
        let bad = json!({"name": "", "email": "nobody", "phone": "1", "address": "x"});
        let wrong = fields(&customers.post("/api/customers", &bad).await?)?;
        ensure!(wrong == ["name", "email", "phone"], "not one error per field: {wrong:?}");
        let bad = customers.post("/api/customers", &json!({"name": "Bob", "email": "nobody"})).await?;
        ensure!(fields(&bad)? == ["email"] && bad.json()?["errors"][0]["value"] == "nobody", "{}", bad.text());
        ensure!(fields(&customers.post("/api/customers", &json!({})).await?)? == ["name", "email"]);
        let again = json!({"name": "Ada", "email": "ADA@crm.example"});
        ensure!(
            fields(&customers.post("/api/customers", &again).await?)? == ["email"],
            "a second customer with the same e-mail address"
        );
        Ok(())
    })
    .await;
    rows.row("GET /api/customers", async {
        for n in 0..12 {
            add(&customers, &format!("c{n}")).await?;
        }
        let page = customers.get("/api/customers?page=1&limit=10").await?.expect(200)?;
        ensure!(page["status"] == "success" && page["page"] == 1 && page["limit"] == 10, "{page}");
        let total = page["total"].as_u64().context("total")?;
        let data = page["data"].as_array().context("data")?;
        ensure!(data.len() == 10 && total >= 13 && data[0]["name"] == "c11" && data[1]["name"] == "c10", "{page}");
        let rest = customers.get("/api/customers?page=2&limit=10").await?.expect(200)?;
        ensure!(rest["data"].as_array().map(|rows| rows.len() as u64) == Some(total - 10), "{rest}");
        let all = customers.get("/api/customers?limit=250").await?.expect(200)?;
        ensure!(all["data"].as_array().map(|rows| rows.len() as u64) == Some(total), "{all}");
        let odd = customers.get("/api/customers?page=3&limit=5").await?.expect(200)?;
        ensure!(odd["data"][0]["name"] == "c1", "{odd}");
        Ok(())
    })
    .await;
    rows.row("GET /api/customers, pages beyond the last", async {
        for page in ["200", "1000000", "18446744073709551615"] {
            let far = customers.get(&format!("/api/customers?page={page}&limit=100")).await?.expect(200)?;
            ensure!(far["data"] == json!([]) && far["total"].as_u64().is_some_and(|total| total > 12), "{far}");
        }
        orders.get("/api/orders?page=101&limit=100").await?.is(200, &json!([]))
    })
    .await;
    rows.row("GET, PUT, DELETE /api/customers/{id}", async {
        let customer = add(&customers, "grace").await?;
        let path = format!("/api/customers/{}", id(&customer)?);
        customers.get(&path).await?.is(200, &json!({"status": "success", "data": customer}))?;
        let changed = customers.put(&path, &json!({"phone": "5550100"})).await?.expect(200)?;
        ensure!(changed["status"] == "success" && changed["data"]["phone"] == "5550100", "{changed}");
        ensure!(changed["data"]["email"] == customer["email"], "other fields must not change: {changed}");
        ensure!(fields(&customers.put(&path, &json!({"email": "x"})).await?)? == ["email"]);
        let deleted = json!({"status": "success", "message": "Customer deleted successfully"});
        customers.delete(&path).await?.is(200, &deleted)?;
        let missing = json!({"error": "Customer not found"});
        for response in [
            customers.get(&path).await?,
            customers.delete(&path).await?,
            customers.put(&path, &json!({"phone": "1"})).await?,
            customers.get("/api/customers/nobody").await?,
            customers.delete("/api/customers/nobody").await?,
        ] {
            response.is(404, &missing)?;
        }
        Ok(())
    })
    .await;

    let buyer = add(&customers, "buyer").await?;
    let buyer = id(&buyer)?.to_owned();
    rows.row("POST /api/orders, by name", async {
        let items = json!([{"product_name": "Ad-hoc thing", "quantity": 2, "price": 9.99}]);
        let order = orders.post("/api/orders", &json!({"customer_id": buyer, "items": items})).await?.expect(200)?;
        has_members(&order, ORDER)?;
        ensure!(
            order["status"] == "pending" && order["total_price"] == 19.98 && order["id"] == order["_id"],
            "{order}"
        );
        let item = &order["items"][0];
        has_members(item, &["product_id", "product_name", "quantity", "price", "unit_price", "subtotal"])?;
        ensure!(item["product_id"].is_null() && item["product_name"] == "Ad-hoc thing", "{item}");
        ensure!(item["subtotal"] == 19.98 && item["price"] == item["unit_price"], "{item}");
        ensure!(wait_for_outcome(&orders, id(&order)?).await?["status"] == "confirmed");
        Ok(())
    })
    .await;
    rows.row("POST /api/orders, by product, with address", async {
        let before = admin.level("MUG-BLUE", "logistics").await?.0;
        let order = json!({
            "customer_id": buyer,
            "items": [{"product_id": "MUG-BLUE", "product_name": "Mug", "quantity": 3, "unit_price": 17.5}],
            "shipping_address": {"street": "1 rue A", "city": "Paris", "state": "IDF", "postal_code": "75001", "country": "FR"},
            "payment_method": "credit_card",
            "notes": "ring twice",
        });
        let placed = orders.post("/api/orders", &order).await?.expect(200)?;
        ensure!(placed["total_amount"] == 52.5 && placed["payment_method"] == "credit_card", "{placed}");
        ensure!(placed["shipping_address"] == order["shipping_address"] && placed["notes"] == "ring twice", "{placed}");
        let outcome = wait_for_outcome(&orders, id(&placed)?).await?;
        ensure!(outcome["status"] == "confirmed", "{outcome}");
        eventually("the pieces are sold", || async {
            Ok((admin.level("MUG-BLUE", "logistics").await?.0 == before - 3).then_some(()))
        })
        .await?;
        // A product id that the catalogue does not have is kept; the product may still be found by name.
        let items = json!([
            {"product_id": "GONE-1", "product_name": "Unknown thing", "quantity": 1, "unit_price": "2.50", "price": 9},
            {"product_id": "GONE-2", "product_name": "Unknown thing", "quantity": 1, "unit_price": null, "price": 1.5},
        ]);
        let adhoc = orders.post("/api/orders", &json!({"customer_id": buyer, "items": items})).await?.expect(200)?;
        let shown = orders.get(&format!("/api/orders/{}", id(&adhoc)?)).await?.expect(200)?;
        ensure!(shown["items"][0]["product_id"] == "GONE-1" && shown["items"][1]["product_id"] == "GONE-2", "{shown}");
        ensure!(shown["total_price"] == 4, "{shown}");
        // Without a payment the order is on account.
        let native = admin.get(&format!("/api/orders/{}", id(&placed)?)).await?.expect(200)?;
        ensure!(native["payment"]["method"] == "on_account", "{native}");
        Ok(())
    })
    .await;
    rows.row("POST /api/orders, by a name among many", async {
        for n in 0..25 {
            admin.add_product(&format!("vase-{n}"), 5.0, 10).await?;
        }
        let name = json!({"id": "vase", "name": "vase", "price": 7});
        admin.post("/api/products", &name).await?.expect(201)?;
        let one = json!({"product_id": "vase", "place_id": "logistics", "delta": 1, "reason": "opening"});
        admin.post("/api/stock/adjustments", &one).await?.expect(201)?;
        let mut items = json!([{"product_name": "vase", "quantity": 1, "price": 7.004999}]);
        let mut outcomes = Vec::new();
        for _ in 0..2 {
            let placed =
                orders.post("/api/orders", &json!({"customer_id": buyer, "items": items})).await?.expect(200)?;
            ensure!(placed["items"][0]["product_id"] == "vase" && placed["total_price"] == 7, "{placed}");
            items[0]["product_id"] = "no id of the catalogue".into();
            outcomes.push(wait_for_outcome(&orders, id(&placed)?).await?["status"].clone());
        }
        ensure!(outcomes == ["confirmed", "cancelled"], "the single piece must be sold once: {outcomes:?}");
        Ok(())
    })
    .await;
    rows.row("POST /api/orders, refused", async {
        let items = json!([{"product_name": "Tea", "quantity": 1, "price": 1}]);
        let unknown_customer = json!({"customer_id": "nobody", "items": items});
        orders.post("/api/orders", &unknown_customer).await?.is(400, &json!({"detail": "Invalid customer ID"}))?;
        let bad = json!({"customer_id": buyer, "items": [{"product_name": "Tea", "quantity": 0, "price": 1}]});
        let wrong = orders.post("/api/orders", &bad).await?.expect(422)?;
        let first = &wrong["detail"][0];
        ensure!(first["loc"] == json!(["body", "items", 0, "quantity"]), "{wrong}");
        ensure!(first["msg"].is_string() && first["type"].is_string(), "{wrong}");
        let wrong = orders.post("/api/orders", &json!({"items": []})).await?.expect(422)?;
        ensure!(wrong["detail"].as_array().map(Vec::len) == Some(2), "{wrong}");
        Ok(())
    })
    .await;
    rows.row("GET /api/orders", async {
        let mine = orders.get(&format!("/api/orders?customer_id={buyer}")).await?.expect(200)?;
        let mine = mine.as_array().context("a bare array")?;
        ensure!(mine.len() == 5 && mine[3]["payment_method"] == "credit_card", "not the newest first: {mine:?}");
        let page = orders.get(&format!("/api/orders?customer_id={buyer}&page=2&limit=1")).await?.expect(200)?;
        ensure!(page[0]["id"] == mine[1]["id"] && page.as_array().map(Vec::len) == Some(1), "{page}");
        let routed = orders.get(&format!("/orders?customer_id={buyer}")).await?.expect(200)?;
        ensure!(routed.as_array().map(Vec::len) == Some(5), "the path that the virtual service routes: {routed}");
        let none = orders.get(&format!("/api/orders?customer_id={buyer}&status=shipped")).await?.expect(200)?;
        ensure!(none == json!([]), "{none}");
        Ok(())
    })
    .await;
    rows.row("GET /api/orders/{id}", async {
        orders.get("/api/orders/nothing").await?.is(404, &json!({"detail": "Order not found"}))
    })
    .await;
    rows.row("PUT /api/orders/{id}/status", async {
        let items = json!([{"product_name": "Thing", "quantity": 1, "price": 5}]);
        let order = orders.post("/api/orders", &json!({"customer_id": buyer, "items": items})).await?.expect(200)?;
        let path = format!("/api/orders/{}/status", id(&order)?);
        let done = json!({"status": "success", "message": "Order status updated successfully"});
        for status in ["confirmed", "processing", "shipped", "delivered"] {
            orders.put(&path, &json!({ "status": status })).await?.is(200, &done)?;
        }
        let late = json!({"detail": "Cannot go from delivered to cancelled"});
        orders.put(&path, &json!({"status": "cancelled"})).await?.is(409, &late)?;
        let odd = json!({"detail": "Invalid order status"});
        orders.put(&path, &json!({"status": "lost"})).await?.is(400, &odd)?;
        let missing = orders.put("/api/orders/nothing/status", &json!({"status": "shipped"})).await?;
        missing.is(404, &json!({"detail": "Order not found"}))
    })
    .await;
    rows.row("DELETE /api/orders/{id}", async {
        let before = admin.level("LAMP-BRASS", "logistics").await?.0;
        let items = json!([{"product_id": "LAMP-BRASS", "product_name": "Lamp", "quantity": 4, "unit_price": 145}]);
        let order = orders.post("/api/orders", &json!({"customer_id": buyer, "items": items})).await?.expect(200)?;
        let path = format!("/api/orders/{}", id(&order)?);
        let deleted = json!({"status": "success", "message": "Order deleted successfully"});
        orders.delete(&path).await?.is(200, &deleted)?;
        let missing = json!({"detail": "Order not found"});
        orders.get(&path).await?.is(404, &missing)?;
        orders.delete(&path).await?.is(404, &missing)?;
        eventually("the pieces are back in stock", || async {
            Ok((admin.level("LAMP-BRASS", "logistics").await? == (before, 0)).then_some(()))
        })
        .await
    })
    .await;
    rows.row("POST :5001/orders", async {
        let order = json!({"order_id": "o-77", "customer_id": "c", "items": [], "total_price": 5, "status": "pending",
            "created_at": "2026-01-01T00:00:00Z"});
        let raw = notifications.post("/orders", &order).await?;
        ensure!(raw.status == 200 && raw.body.is_empty(), "{}: {}", raw.status, raw.text());
        let event = json!({"specversion": "1.0", "id": "e-77", "source": "order", "type": "t", "data": order});
        notifications.post("/orders", &event).await?.is(200, &json!({"status": "SUCCESS"}))?;
        let bad = notifications.post("/orders", &json!({"hello": 1})).await?;
        ensure!(bad.status == 400 && bad.text() == "Invalid order data", "{}: {}", bad.status, bad.text());
        let page = admin.get("/api/notifications?order_id=o-77").await?.expect(200)?;
        ensure!(page["data"].as_array().is_some_and(|rows| !rows.is_empty()), "there is no notification: {page}");
        Ok(())
    })
    .await;
    rows.row("GET /health on all three", async {
        for port in [&customers, &orders, &notifications] {
            port.get("/health").await?.is(200, &json!({"status": "healthy"}))?;
        }
        Ok(())
    })
    .await;
    rows.row("GET /metrics on all three", async {
        for (port, names) in [
            (
                &customers,
                &[
                    "customer_service_requests_total{endpoint=\"/api/customers\",method=\"GET\",status=\"200\"}",
                    "customer_service_latency_seconds",
                ][..],
            ),
            (
                &orders,
                &[
                    "order_service_requests_total",
                    "order_service_latency_seconds",
                    "active_orders_total",
                    "order_status_updates_total{from_status=\"confirmed\",to_status=\"processing\"}",
                ],
            ),
            (&notifications, &["# TYPE"]),
        ] {
            let text = port.get("/metrics").await?.text();
            for name in names {
                ensure!(text.contains(name), "no {name}");
            }
        }
        Ok(())
    })
    .await;
    rows.row("GET :8085/api-docs, :8087/docs", async {
        for (port, path) in [(&customers, "/api-docs"), (&orders, "/docs")] {
            let page = port.get(&format!("{path}/")).await?;
            ensure!(page.status == 200 && page.text().contains("swagger-ui"), "{path}: {}", page.status);
            let description = port.get(&format!("{path}/openapi.json")).await?.expect(200)?;
            ensure!(description["paths"].as_object().is_some_and(|paths| !paths.is_empty()), "{description}");
        }
        Ok(())
    })
    .await;
    rows.row("CORS, and no authentication", async {
        let request = orders.request(reqwest::Method::GET, "/api/orders").header("origin", "http://app.example");
        let response = orders.send(request).await?;
        ensure!(response.header("access-control-allow-origin") == "*", "{:?}", response.headers);
        Ok(())
    })
    .await;
    rows.row("the documented curls", async {
        let outputs = run_curls(Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/dialects/crm/curls.sh"))).await?;
        let output = |name: &str| outputs.iter().find(|(named, _)| named == name).map_or("", |(_, text)| text);
        ensure!(output("add a customer").contains("Customer added successfully"), "{outputs:?}");
        ensure!(output("list customers").contains("John Doe"), "{outputs:?}");
        let placed: Value = serde_json::from_str(output("place an order"))?;
        ensure!(placed["status"] == "pending" && placed["total_price"] == 999.99, "{placed}");
        ensure!(output("list orders").starts_with('[') && output("report an order") == "200", "{outputs:?}");
        Ok(())
    })
    .await;
    rows.row("the same under /compat", async {
        fleet.anonymous().get("/compat/crm/8085/api/customers").await?.expect(200)?;
        fleet.anonymous().get("/compat/crm/8087/api/orders").await?.expect(200)?;
        Ok(())
    })
    .await;
    rows.finish(fleet).await.map(drop)
}
