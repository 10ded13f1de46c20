//! Imports a retailer's invoices with `souk import`: every line is counted, and none is imported twice.

use std::{ffi::OsString, fmt::Write as _, path::Path};

use anyhow::{Context, Result, ensure};
use fleet_tests::{Fleet, drain_and_audit, eventually, path_from_env, souk};
use serde_json::{Value, json};

use crate::chaos::print_result;

const HEAD: &str = "InvoiceNo,StockCode,Description,Quantity,InvoiceDate,UnitPrice,CustomerID,Country\n";

fn arguments(file: &Path, data: &Path) -> Vec<OsString> {
    let mut all: Vec<OsString> = ["import", "online-retail", "--json", "--data"].map(OsString::from).into();
    all.extend([data.into(), file.into()]);
    all
}

async fn import(file: &Path, data: &Path) -> Result<Value> {
    let (succeeded, summary) = souk(arguments(file, data)).await?;
    ensure!(succeeded, "{summary}");
    let count = |name: &str| summary[name].as_u64().with_context(|| format!("{name} in {summary}"));
    let counted = count("sold_lines")? + count("returned_lines")? + count("refused_lines")?;
    ensure!(counted == count("lines")?, "the counts do not add up: {summary}");
    Ok(summary)
}

#[tokio::test(flavor = "multi_thread")]
async fn every_line_of_a_file_is_sold_returned_or_reported_and_a_second_run_changes_nothing() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let file = folder.path().join("invoices.csv");
    let lines = "536365,85123A,WHITE LANTERN,6,01/12/2010 08:26,2.55,17850,United Kingdom\n\
                 536365,85123A,WHITE LANTERN,2,01/12/2010 08:26,2.10,17850,United Kingdom\n\
                 536365,85123a,white lantern,1,01/12/2010 08:26,2.55,17850,United Kingdom\n\
                 536365,POST,POSTAGE,1,01/12/2010 08:26,18.00,17850,United Kingdom\n\
                 536366,71053,METAL LANTERN,6,01/12/2010 08:28,3.39,,United Kingdom\n\
                 536367,71053,METAL LANTERN,3,02/12/2010 09:00,3.39,17850,United Kingdom\n\
                 536368,71053,,-9,02/12/2010 10:00,0,,United Kingdom\n\
                 C536369,71053,METAL LANTERN,-2,03/12/2010 09:00,3.39,17850,United Kingdom\n\
                 C536370,85123A,WHITE LANTERN,-7,03/12/2010 09:30,2.55,17850,United Kingdom\n\
                 C536371,71053,METAL LANTERN,-1,03/12/2010 09:30,3.39,13047,United Kingdom\n\
                 536372,22752,NESTING BOXES,two,03/12/2010 11:00,7.65,13047,France\n";
    std::fs::write(&file, format!("{HEAD}{lines}"))?;
    let data = folder.path().join("data");
    let fleet = Fleet::start(&data).await?;
    let first = import(&file, &data).await?;
    let counts = |summary: &Value| {
        ["lines", "sold_lines", "returned_lines", "refused_lines", "orders", "returns"]
            .map(|name| summary[name].as_u64())
    };
    assert_eq!(counts(&first), [11, 5, 2, 4, 3, 2].map(Some), "{first}");
    assert_eq!((&first["orders_new"], &first["returns_new"]), (&json!(3), &json!(2)), "{first}");
    let report = std::fs::read_to_string(first["report"].as_str().context("a report")?)?;
    for (line, reason) in
        [(5, "the code is no goods"), (8, "price"), (11, "without a matching sale"), (12, "no quantity")]
    {
        let entry =
            report.lines().find(|entry| entry.starts_with(&format!("{line},"))).with_context(|| report.clone())?;
        assert!(entry.contains(reason), "{entry}");
    }
    let admin = fleet.client("admin");
    let order = admin.get("/api/orders/online-retail-536365").await?.expect(200)?;
    assert_eq!((&order["total"], &order["currency"]), (&json!(22.05), &json!("GBP")));
    assert_eq!(order["placed_at"], "2010-12-01T08:26:00.000000Z");
    assert_eq!(order["lines"].as_array().map(Vec::len), Some(3), "lines are not merged");
    assert_eq!((&order["lines"][0]["returned"], &order["lines"][1]["returned"]), (&json!(6), &json!(1)));
    assert!(admin.get("/api/orders/online-retail-536366").await?.expect(200)?["customer_id"].is_null());
    let products = admin.get("/api/products?search=lantern").await?.expect(200)?;
    assert_eq!(products["data"].as_array().map(Vec::len), Some(3), "codes are case-sensitive: {products}");

    let second = import(&file, &data).await?;
    assert_eq!(counts(&second), counts(&first));
    assert_eq!((&second["orders_new"], &second["returns_new"]), (&json!(0), &json!(0)), "{second}");
    eventually("the stock is what was sold less what was returned", || async {
        let found = (admin.level("71053", "logistics").await?, admin.level("85123A", "logistics").await?);
        Ok((found == ((2, 0), (7, 0))).then_some(()))
    })
    .await?;
    assert_eq!(admin.total("/api/orders").await?, 3);
    drain_and_audit(fleet).await?;
    Ok(())
}

/// Generates invoices of 20 products and 25 customers, a tenth of them with a partial return.
fn generate_invoices(invoices: usize) -> String {
    let mut text = HEAD.to_owned();
    for n in 0..invoices {
        let (customer, day, minute) = (12_000 + n % 25, 1 + n / 60 % 28, n % 60);
        for line in 0..3 {
            let (code, quantity) = (22_000 + (n * 7 + line * 5) % 20, 1 + (n + line) % 4);
            let _ = writeln!(
                text,
                "{},{code},THING {code},{quantity},{day:02}/12/2010 09:{minute:02},{}.95,{customer},UK",
                500_000 + n,
                1 + line
            );
        }
        if n % 10 == 0 {
            let code = 22_000 + n * 7 % 20;
            let _ = writeln!(
                text,
                "C{},{code},THING {code},-1,{day:02}/12/2010 10:{minute:02},1.95,{customer},UK",
                600_000 + n
            );
        }
    }
    text
}

#[tokio::test(flavor = "multi_thread")]
async fn a_kill_during_an_import_loses_no_invoice_and_imports_none_twice() -> Result<()> {
    const INVOICES: usize = 300;
    let folder = tempfile::tempdir()?;
    let (file, data) = (folder.path().join("invoices.csv"), folder.path().join("data"));
    std::fs::write(&file, generate_invoices(INVOICES))?;
    let fleet = Fleet::start(&data).await?;
    let admin = fleet.client("admin");
    let interrupted = tokio::spawn({
        let (file, data) = (file.clone(), data.clone());
        async move { import(&file, &data).await }
    });
    let before = eventually("some invoices", || async {
        let imported = admin.total("/api/orders").await?;
        Ok((imported >= 50).then_some(imported))
    })
    .await?;
    fleet.kill().await?;
    ensure!(!interrupted.is_finished(), "the import ended before the kill, after {before} orders");
    // Dropping the task kills the command, which otherwise would keep calling the stopped fleet.
    interrupted.abort();

    let fleet = Fleet::start(&data).await?;
    let second = import(&file, &data).await?;
    assert_eq!((&second["orders"], &second["returns"]), (&json!(INVOICES), &json!(INVOICES / 10)), "{second}");
    assert_eq!(second["refused_lines"], 0, "{second}");
    let new = second["orders_new"].as_u64().context("orders_new")?;
    assert!(new <= INVOICES as u64 - 50, "{new} of {INVOICES} are new, though {before} had been imported");
    let orders = fleet.client("admin").all("/api/orders").await?;
    assert_eq!(orders.len(), INVOICES);
    assert!(orders.iter().all(|order| order["state"] == "CONFIRMED"));
    let third = import(&file, &data).await?;
    assert_eq!((&third["orders_new"], &third["returns_new"]), (&json!(0), &json!(0)), "{third}");
    let found = drain_and_audit(fleet).await?;
    assert_eq!(found.count("confirmed orders have one"), INVOICES as u64);
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs servers, and a file of invoices by SOUK_TEST_INVOICES"]
async fn a_real_file_comes_to_the_same_on_servers_and_on_embedded_stores() -> Result<()> {
    let file = path_from_env("SOUK_TEST_INVOICES")?;
    let file = file.as_path();
    let folder = tempfile::tempdir()?;
    let (embedded, servers) = (folder.path().join("embedded"), folder.path().join("servers"));
    let mut results = Vec::new();
    for (data, fleet) in
        [(&embedded, Fleet::embedded(&embedded, &[]).await?), (&servers, Fleet::start(&servers).await?)]
    {
        let started = std::time::Instant::now();
        let mut summary = import(file, data).await?;
        let seconds = started.elapsed().as_secs_f64();
        for member in ["report", "seconds", "orders_per_second"] {
            summary.as_object_mut().context("a summary")?.remove(member);
        }
        let found = drain_and_audit(fleet).await?;
        print_result(&format!("import: {} orders in {seconds:.0} s, audit clean: {summary}", summary["orders"]));
        let checks = found.report["checks"].as_array().context("checks")?.clone();
        // Only the embedded bus says what was handled.
        let made =
            checks.iter().filter(|check| check["name"] != "events that a service has handled took effect in its store");
        let counts: Vec<Value> = made.map(|check| json!([check["name"], check["count"]])).collect();
        results.push((summary, counts));
    }
    ensure!(results[0].0 == results[1].0, "{} and {}", results[0].0, results[1].0);
    // Notifications are identified by topic and subject, independent of the store, so the audits have the same counts.
    ensure!(results[0].1 == results[1].1, "{:?} and {:?}", results[0].1, results[1].1);
    Ok(())
}
