//! The seven services as processes of their own, on embedded stores: only their URLs tie them together.

use std::{
    collections::BTreeMap,
    net::{Ipv4Addr, TcpListener},
    path::{Path, PathBuf},
};

use anyhow::{Context, Result, ensure};
use fleet_tests::{Client, eventually, souk};
use serde_json::json;
use tokio::process::{Child, Command};

const SERVICES: [&str; 7] = ["customer", "product", "order", "stock", "payment", "notification", "gateway"];
const PASSWORD: &str = "a long enough password";

struct Seven {
    folder: PathBuf,
    key: String,
    ports: BTreeMap<&'static str, u16>,
    children: BTreeMap<&'static str, Child>,
}

/// Ports that were free a moment ago.
fn free_ports() -> Result<BTreeMap<&'static str, u16>> {
    let names = SERVICES.into_iter().chain(["stock grpc", "payment grpc"]);
    let listeners: Vec<(&'static str, TcpListener)> =
        names.map(|name| Ok((name, TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?))).collect::<Result<_>>()?;
    listeners.iter().map(|(name, listener)| Ok((*name, listener.local_addr()?.port()))).collect()
}

impl Seven {
    async fn start(folder: &Path) -> Result<Self> {
        let key = auth::InternalKey::generate()?.to_secret().expose().to_owned();
        let mut seven = Self { folder: folder.to_owned(), key, ports: free_ports()?, children: BTreeMap::new() };
        // Any order will do: the gateway and the order service come up before those that they ask.
        for service in ["gateway", "order", "notification", "payment", "stock", "product", "customer"] {
            seven.run(service)?;
        }
        for service in SERVICES {
            seven.ready(service).await?;
        }
        Ok(seven)
    }

    fn url(&self, name: &str) -> String {
        format!("http://127.0.0.1:{}", self.ports.get(name).copied().unwrap_or_default())
    }

    fn run(&mut self, service: &'static str) -> Result<()> {
        let own = std::env::current_exe()?;
        let path = own.ancestors().nth(2).context("the test runs outside target/<profile>/deps")?.join(service);
        ensure!(path.exists(), "{} is not there; build it with `cargo build --workspace --bins`", path.display());
        let port = |name: &str| self.ports.get(name).copied().unwrap_or_default().to_string();
        let mut command = Command::new(path);
        command
            .env("PORT", port(service))
            .env("DATABASE_URL", format!("sqlite:{}", self.folder.join(format!("{service}.db")).display()))
            .env("SOUK_BUS_URL", format!("embedded:{}", self.folder.join("bus.db").display()))
            .env("SOUK_INTERNAL_KEY", &self.key)
            .env("SOUK_ADMIN_PASSWORD", PASSWORD)
            .env("SOUK_ISSUER", "souk-test")
            .env("SOUK_JWKS_URL", format!("{}/.well-known/jwks.json", self.url("customer")))
            .env("SOUK_LEASE_SECONDS", "2")
            .env("RUST_LOG", "warn");
        for name in ["customer", "product", "order", "stock", "payment", "notification"] {
            command.env(format!("SOUK_{}_URL", name.to_uppercase()), self.url(name));
        }
        for name in ["stock", "payment"] {
            command.env(format!("SOUK_{}_GRPC_URL", name.to_uppercase()), self.url(&format!("{name} grpc")));
        }
        if service == "stock" || service == "payment" {
            command.env("SOUK_GRPC_PORT", port(&format!("{service} grpc")));
        }
        command.kill_on_drop(true).stdin(std::process::Stdio::null());
        self.children.insert(service, command.spawn()?);
        Ok(())
    }

    async fn ready(&self, service: &str) -> Result<()> {
        let client = Client::new(&self.url(service), None);
        eventually(&format!("{service} is ready"), || async {
            Ok(client.get("/ready").await.ok().filter(|answer| answer.status == 200).map(|_| ()))
        })
        .await
    }

    async fn kill(&mut self, service: &str) -> Result<()> {
        let mut child = self.children.remove(service).context("it runs")?;
        child.kill().await?;
        Ok(())
    }

    async fn admin(&self) -> Result<Client> {
        let nobody = Client::new(&self.url("gateway"), None);
        let who = json!({"username": "admin", "password": PASSWORD});
        // The gateway came up first, and looks every second for those who were away.
        let login = eventually("the gateway finds the customer service", || async {
            let answer = nobody.post("/api/users/login", &who).await?;
            Ok(if answer.status == 200 { Some(answer.json()?) } else { None })
        })
        .await?;
        Ok(nobody.with_token(login["token"].as_str().context("a token")?))
    }
}

async fn status(admin: &Client, id: &str, wanted: &str) -> Result<()> {
    eventually(&format!("order {id} is {wanted}"), || async {
        let order = admin.get(&format!("/api/orders/{id}")).await?.expect(200)?;
        Ok((order["status"] == wanted).then_some(()))
    })
    .await
}

#[tokio::test(flavor = "multi_thread")]
async fn an_order_survives_the_death_of_each_service_that_it_needs() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let mut seven = Seven::start(folder.path()).await?;
    let admin = seven.admin().await?;
    admin.add_product("LAMP", 12.5, 100).await?;
    let order = |id: &str| json!({"id": id, "lines": [{"product_id": "LAMP", "quantity": 2}]});
    let placed = admin.post("/api/orders", &order("first")).await?.expect(201)?;
    assert_eq!(placed["state"], "CONFIRMED");

    // Stock is away: the order is taken, waits, and is confirmed when stock is back.
    seven.kill("stock").await?;
    let waiting = admin.post("/api/orders", &order("no-stock")).await?.expect(202)?;
    assert_eq!(
        (waiting["state"].as_str(), waiting["status_url"].as_str()),
        (Some("CREATED"), Some("/api/orders/no-stock"))
    );
    seven.run("stock")?;
    status(&admin, "no-stock", "confirmed").await?;

    // Payment is away while the order service dies with the order in hand; another process takes it over.
    seven.kill("payment").await?;
    let waiting = admin.post("/api/orders", &order("no-payment")).await?.expect(202)?;
    assert_eq!(waiting["status"], "pending");
    seven.kill("order").await?;
    seven.run("order")?;
    seven.ready("order").await?;
    seven.run("payment")?;
    status(&admin, "no-payment", "confirmed").await?;

    // Somebody cancels an order that waits: nothing is charged, nothing is held.
    seven.kill("payment").await?;
    admin.post("/api/orders", &order("cancelled")).await?.expect(202)?;
    let cancel = admin.post("/api/orders/cancelled/cancel", &json!({"reason": "changed my mind"})).await?;
    assert_eq!(cancel.status, 202, "{}", cancel.text());
    seven.run("payment")?;
    status(&admin, "cancelled", "cancelled").await?;
    let again = admin.post("/api/orders", &order("cancelled")).await?.problem(409)?;
    assert_eq!(again["reason"], "changed my mind");

    eventually("the stock follows the events", || async {
        Ok((admin.level("LAMP", "logistics").await? == (94, 0)).then_some(()))
    })
    .await?;
    let mut args = vec!["audit".to_owned(), "--json".to_owned()];
    for name in ["customer", "product", "order", "stock", "payment", "notification", "bus"] {
        args.extend([
            "--store".to_owned(),
            format!("{name}=sqlite:{}", folder.path().join(format!("{name}.db")).display()),
        ]);
    }
    let (clean, report) = souk(&args).await?;
    assert!(clean, "{report:#}");
    Ok(())
}
