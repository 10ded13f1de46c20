//! Holds every event and plain message that a run publishes against `docs/asyncapi.yaml`: each message must be as the file
//! says, each kind in the file must be published, and no other.

use std::{
    collections::{BTreeMap, BTreeSet},
    process::Stdio,
    time::Duration,
};

use anyhow::{Context as _, ensure};
use boon::{Compiler, Draft, Format, SchemaIndex, Schemas};
use reqwest::Method;
use serde_json::{Value, json};
use tokio::{
    io::{AsyncBufReadExt, BufReader},
    process::{Child, Command},
    time::{Instant, sleep},
};

/// How long events may take to be published.
const PATIENCE: Duration = Duration::from_secs(30);

/// Topic and kind of a message.
type Told = (String, String);

#[tokio::test]
async fn every_event_of_a_run_is_as_the_file_says() -> anyhow::Result<()> {
    let contract = Contract::read()?;
    let wanted: BTreeSet<&Told> = contract.kinds.keys().collect();
    let fleet = Fleet::start().await?;
    journey(&fleet).await?;

    let mut messages = fleet.published().await?;
    let begun = Instant::now();
    let missing = |messages: &[Message]| -> Vec<Told> {
        let produced: BTreeSet<&Told> = messages.iter().map(|message| &message.told).collect();
        wanted.difference(&produced).map(|told| (*told).clone()).collect()
    };
    while !missing(&messages).is_empty() && begun.elapsed() < PATIENCE {
        sleep(Duration::from_millis(100)).await;
        messages = fleet.published().await?;
    }
    assert_eq!(missing(&messages), [], "in the file, but never published");

    // Listeners that know no CloudEvents hear of the same orders as the others.
    for (plain, kind) in [("new-order", "souk.order.placed"), ("order-processed", "souk.order.confirmed")] {
        let keys = |kind: &str| -> Vec<&str> {
            messages.iter().filter(|message| message.told.1 == kind).map(|message| message.key.as_str()).collect()
        };
        assert_eq!(keys(plain), keys(kind), "{plain}");
    }
    let wrong: Vec<String> = messages.iter().flat_map(|message| contract.check(message)).collect();
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    Ok(())
}

/// What the file says of each kind of event.
struct Contract {
    schemas: Schemas,
    kinds: BTreeMap<Told, SchemaIndex>,
}

impl Contract {
    fn read() -> anyhow::Result<Self> {
        const URL: &str = "https://souk.example/asyncapi";
        let file: Value = serde_yaml_ng::from_str(include_str!("../../../docs/asyncapi.yaml"))?;
        let mut compiler = Compiler::new();
        compiler.set_default_draft(Draft::V7);
        compiler.enable_format_assertions();
        compiler.register_format(Format { name: "amount", func: is_amount });
        let compile = |error: boon::CompileError| anyhow::anyhow!("docs/asyncapi.yaml: {error}");
        compiler.add_resource(URL, file.clone()).map_err(compile)?;
        let mut contract = Self { schemas: Schemas::new(), kinds: BTreeMap::new() };
        for channel in file["channels"].as_object().context("channels")?.values() {
            let topic = channel["address"].as_str().context("an address")?;
            if topic.ends_with(".dlq") {
                continue;
            }
            for message in channel["messages"].as_object().context("messages")?.values() {
                let place = message["$ref"].as_str().context("a reference")?;
                let name = file.pointer(&format!("{}/name", place.trim_start_matches('#')));
                let name = name.and_then(Value::as_str).with_context(|| format!("{place} has no name"))?;
                let schema =
                    compiler.compile(&format!("{URL}{place}/payload"), &mut contract.schemas).map_err(compile)?;
                let twice = contract.kinds.insert((topic.to_owned(), name.to_owned()), schema);
                ensure!(twice.is_none(), "{name} stands twice on {topic}");
            }
        }
        Ok(contract)
    }

    /// Everything that is wrong with a message.
    fn check(&self, message: &Message) -> Vec<String> {
        let Message { told, key, body } = message;
        let Some(schema) = self.kinds.get(told) else {
            return vec![format!("{told:?} is not in the file: {body}")];
        };
        let mut wrong = Vec::new();
        if let Err(error) = self.schemas.validate(body, *schema) {
            wrong.push(format!("{told:?}: {error:#}"));
        }
        let (about, inside) = if is_plain(&told.0) { ("/id", "") } else { ("/subject", "/data") };
        if body.pointer(about) != Some(&json!(key)) {
            wrong.push(format!("{told:?}: its key {key} is not its {about}"));
        }
        let mut more = body.clone();
        if let Some(Value::Object(members)) = more.pointer_mut(inside) {
            members.insert("nobody_knows".into(), json!(1));
        }
        if self.schemas.validate(&more, *schema).is_ok() {
            wrong.push(format!("{told:?}: the file lets through any field"));
        }
        wrong
    }
}

/// Whether a topic carries plain JSON, for listeners that know no CloudEvents.
fn is_plain(topic: &str) -> bool {
    ["new-order", "order-processed"].contains(&topic)
}

fn is_amount(value: &Value) -> Result<(), Box<dyn std::error::Error>> {
    value.to_string().parse::<commerce::Amount>()?;
    Ok(())
}

/// A message of the bus.
struct Message {
    told: Told,
    key: String,
    body: Value,
}

/// A fleet of its own, gone with this value.
struct Fleet {
    ready: Value,
    http: reqwest::Client,
    _process: Child,
    _data: tempfile::TempDir,
}

impl Fleet {
    async fn start() -> anyhow::Result<Self> {
        let data = tempfile::tempdir()?;
        let mut process = Command::new(env!("CARGO_BIN_EXE_souk"))
            .args(["up", "--ephemeral", "--json"])
            .env("TMPDIR", data.path())
            .env("SOUK_PAYMENT_SANDBOX_LIMIT", "500")
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .kill_on_drop(true)
            .spawn()?;
        let stdout = process.stdout.take().context("its stdout")?;
        let line = tokio::time::timeout(PATIENCE, BufReader::new(stdout).lines().next_line()).await??;
        let ready = serde_json::from_str(&line.context("the fleet did not start")?)?;
        Ok(Self { ready, http: reqwest::Client::new(), _process: process, _data: data })
    }

    /// Calls the gateway as head office; the answer must have that status.
    async fn call(&self, status: u16, method: Method, path: &str, body: Value) -> anyhow::Result<Value> {
        let url = format!("{}{path}", self.ready["gateway"].as_str().context("a gateway")?);
        let token = self.ready["tokens"]["admin"].as_str().context("a token")?;
        let mut request = self.http.request(method.clone(), url).bearer_auth(token);
        if !body.is_null() {
            request = request.json(&body);
        }
        let answer = request.send().await?;
        let (got, text) = (answer.status().as_u16(), answer.text().await?);
        ensure!(got == status, "{method} {path}: {got} instead of {status}: {text}");
        Ok(serde_json::from_str(&text).unwrap_or_default())
    }

    /// Everything on the bus.
    async fn published(&self) -> anyhow::Result<Vec<Message>> {
        let folder = self.ready["data"].as_str().context("a data folder")?;
        let log = bus::Embedded::all(&format!("{folder}/bus.db")).await?;
        log.into_iter()
            .map(|logged| {
                let body: Value = serde_json::from_str(&logged.message.payload)?;
                let topic = logged.message.topic;
                // The one kind of message on a plain topic is called as the topic is.
                let kind = if is_plain(&topic) { &topic } else { body["type"].as_str().unwrap_or("no CloudEvent") };
                Ok(Message { told: (topic.clone(), kind.to_owned()), key: logged.message.key, body })
            })
            .collect()
    }
}

/// Makes the services tell everything that they can.
async fn journey(fleet: &Fleet) -> anyhow::Result<()> {
    let customer = json!({"name": "Ada Example", "first_name": "Ada", "last_name": "Example", "email": "ada@shop.example",
        "address": {"line1": "1 Market Street", "city": "Town", "postal_code": "10000", "country": "DE"}});
    let customer = fleet.call(201, Method::POST, "/api/customers", customer).await?;
    let id = customer["id"].as_str().context("an id")?;
    let path = format!("/api/customers/{id}");
    fleet.call(200, Method::PATCH, &path, json!({"phone": "+49 40 123456"})).await?;

    let prospect = json!({"first_name": "Bo", "last_name": "Example", "field": "retail", "email": "bo@shop.example"});
    let prospect = fleet.call(201, Method::POST, "/api/prospects", prospect).await?;
    let at = format!("/api/prospects/{}", prospect["id"].as_str().context("an id")?);
    fleet.call(200, Method::PATCH, &at, json!({"company": "Example Ltd", "stage": "contacted"})).await?;
    fleet.call(200, Method::POST, &format!("{at}/convert"), Value::Null).await?;
    fleet.call(204, Method::DELETE, &at, Value::Null).await?;
    fleet.call(201, Method::POST, "/api/activities", json!({"name": "Fair", "date": "2026-05-04"})).await?;
    goods(fleet).await?;
    orders(fleet, id).await?;
    transfers(fleet).await?;

    let path = format!("/api/customers/{id}?cancel_open=true");
    fleet.call(204, Method::DELETE, &path, Value::Null).await?;
    Ok(())
}

async fn goods(fleet: &Fleet) -> anyhow::Result<()> {
    let product =
        json!({"id": "LANTERN", "name": "Lantern", "description": "Tin and glass", "category": "home", "price": 12.35});
    fleet.call(201, Method::POST, "/api/products", product).await?;
    fleet.call(200, Method::PATCH, "/api/products/LANTERN", json!({"price": 9.99})).await?;
    let short_lived = json!({"id": "MISTAKE", "name": "Mistake", "price": 1});
    fleet.call(201, Method::POST, "/api/products", short_lived).await?;
    fleet.call(204, Method::DELETE, "/api/products/MISTAKE", Value::Null).await?;

    let received = json!({"product_id": "LANTERN", "place_id": "logistics", "delta": 20, "reason": "delivery"});
    fleet.call(201, Method::POST, "/api/stock/adjustments", received).await?;
    let path = "/api/stock/levels/LANTERN/logistics/threshold";
    fleet.call(200, Method::PUT, path, json!({"threshold": 15})).await?;
    Ok(())
}

async fn orders(fleet: &Fleet, customer: &str) -> anyhow::Result<()> {
    let lanterns = |quantity: u32| json!({"product_id": "LANTERN", "quantity": quantity});
    let full = json!({
        "customer_id": customer, "lines": [lanterns(8), {"name": "Gift wrap", "quantity": 1, "unit_price": 2.5}],
        "adjustments": [{"label": "Spring", "amount": -1.05}], "notes": "Ring twice",
        "shipping_address": {"line1": "1 Market Street", "city": "Town"},
    });
    let order = fleet.call(201, Method::POST, "/api/orders", full).await?;
    let path = format!("/api/orders/{}", order["id"].as_str().context("an id")?);
    for status in ["processing", "shipped", "delivered"] {
        fleet.call(200, Method::PUT, &format!("{path}/status"), json!({"status": status})).await?;
    }
    let back = json!({"lines": [{"line_id": order["lines"][0]["line_id"], "quantity": 1}], "reason": "broken"});
    fleet.call(201, Method::POST, &format!("{path}/returns"), back).await?;

    let order = json!({"customer_id": customer, "lines": [lanterns(1)]});
    let order = fleet.call(201, Method::POST, "/api/orders", order).await?;
    let path = format!("/api/orders/{}/cancel", order["id"].as_str().context("an id")?);
    fleet.call(200, Method::POST, &path, json!({"reason": "changed my mind"})).await?;

    let dear = json!({"lines": [lanterns(1), {"name": "Chandelier", "quantity": 1, "unit_price": 900}]});
    fleet.call(402, Method::POST, "/api/orders", dear).await?;
    fleet.call(409, Method::POST, "/api/orders", json!({"lines": [lanterns(1_000)]})).await?;
    for method in ["cash", "on_account"] {
        let walk_in = json!({"payment": {"method": method}, "lines": [lanterns(1)]});
        let order = fleet.call(201, Method::POST, "/api/orders", walk_in).await?;
        // Only what nobody has paid yet can become cheaper.
        if method == "on_account" {
            let path = format!("/api/orders/{}", order["id"].as_str().context("an id")?);
            let rebate = json!({"adjustments": [{"label": "Rebate", "amount": -0.99}]});
            fleet.call(200, Method::PATCH, &path, rebate).await?;
        }
    }

    let shop = json!({"id": "corner", "name": "Corner shop", "kind": "store"});
    fleet.call(201, Method::POST, "/api/places", shop).await?;
    let received = json!({"product_id": "LANTERN", "place_id": "corner", "delta": 2, "reason": "delivery"});
    fleet.call(201, Method::POST, "/api/stock/adjustments", received).await?;
    let sale = json!({"lines": [lanterns(1)], "payment": {"method": "cash"}});
    fleet.call(201, Method::POST, "/api/stores/corner/sales", sale).await?;
    fleet.call(201, Method::POST, &format!("/api/carts/{customer}/items"), lanterns(1)).await?;
    fleet.call(201, Method::POST, &format!("/api/carts/{customer}/checkout"), json!({})).await?;
    Ok(())
}

/// Goods on their way to the shop that `orders` opens: one request comes whole in two boxes, one comes short, one is refused,
/// and one is made by a low level.
async fn transfers(fleet: &Fleet) -> anyhow::Result<()> {
    const PATH: &str = "/api/stock/replenishments";
    let (mut ids, wanted) = (Vec::new(), json!({"product_id": "LANTERN", "place_id": "corner", "quantity": 3}));
    for reason in [None, Some("for the window"), Some("just in case")] {
        let mut wanted = wanted.clone();
        if let Some(reason) = reason {
            wanted["reason"] = json!(reason);
        }
        let made = fleet.call(201, Method::POST, PATH, wanted).await?;
        ids.push(made["id"].as_str().context("an id")?.to_owned());
    }
    let [whole, short, refused] = &ids[..] else { anyhow::bail!("three were asked for") };
    let refusal = json!({"reason": "not before Christmas"});
    fleet.call(200, Method::POST, &format!("{PATH}/{refused}/refuse"), refusal).await?;
    for id in [whole, short] {
        fleet.call(200, Method::POST, &format!("{PATH}/{id}/approve"), Value::Null).await?;
        fleet.call(200, Method::POST, &format!("{PATH}/{id}/dispatch"), Value::Null).await?;
    }
    for (id, receipt) in [
        (whole, json!({"quantity": 2})),
        (whole, json!({"quantity": 1})),
        (short, json!({"quantity": 2, "last": true})),
    ] {
        fleet.call(200, Method::POST, &format!("{PATH}/{id}/receive"), receipt).await?;
    }
    let path = "/api/stock/levels/LANTERN/corner/threshold";
    fleet.call(200, Method::PUT, path, json!({"threshold": 50})).await?;
    Ok(())
}
