//! Stock transfers between a logistics centre and three stores, concurrent with sales, orders, returns and adjustments. In the end
//! every piece is accounted for, by the lists of the API and by the audit. A seed determines the random choices:
//! `SOUK_TRANSFERS_SEED=7 cargo test -p fleet-tests --test e2e transfers` repeats them.

mod accounts;

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use anyhow::{Context, Result, bail, ensure};
use fleet_tests::{Client, Fleet, Response, TIMEOUT, drain_and_audit};
use futures::future::try_join_all;
use rand::{Rng, SeedableRng, rngs::StdRng, seq::IndexedRandom};
use serde_json::{Value, json};

use crate::chaos::print_result;

/// How long the workers run.
const DURATION: Duration = Duration::from_secs(30);
/// The number of concurrent workers.
const WORKERS: u64 = 8;
/// The minimum number of successes of each kind of action, without which the run proves nothing.
const MIN_SUCCESSES: u64 = 5;

const CENTRE: &str = "logistics";
const STORES: [&str; 3] = ["north", "east", "south"];
const PRODUCTS: [&str; 4] = ["PORT_OFFSET-1", "PORT_OFFSET-2", "PORT_OFFSET-3", "PORT_OFFSET-4"];
/// The initial stock of each product in the centre, and in each store.
const OPENING: (i64, i64) = (100, 12);
const PATH: &str = "/api/stock/replenishments";

/// A kind of action.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Action {
    Request,
    Approve,
    Refuse,
    Dispatch,
    ReceiveSome,
    ReceiveAll,
    /// Fewer pieces than were sent, as the last receipt.
    ReceiveLess,
    ReceiveMore,
    Sell,
    Order,
    Return,
    Cancel,
    Adjust,
    Threshold,
}

/// All actions, with their weights.
const ACTIONS: [(Action, u32); 14] = [
    (Action::Request, 6),
    (Action::Approve, 7),
    (Action::Refuse, 2),
    (Action::Dispatch, 7),
    (Action::ReceiveSome, 3),
    (Action::ReceiveAll, 3),
    (Action::ReceiveLess, 2),
    (Action::ReceiveMore, 2),
    (Action::Sell, 6),
    (Action::Order, 4),
    (Action::Return, 3),
    (Action::Cancel, 3),
    (Action::Adjust, 4),
    (Action::Threshold, 2),
];

/// What the responses of the services add up to.
#[derive(Debug, Default)]
struct Observed {
    /// The numbers of successes and refusals by action.
    counts: BTreeMap<Action, (u64, u64)>,
    /// The sum of the stock adjustments by product.
    adjusted: BTreeMap<String, i64>,
    /// The received pieces by replenishment.
    received: BTreeMap<String, i64>,
    /// The ids of the accepted orders.
    accepted: BTreeSet<String>,
    /// The orders among them that were confirmed at once, as in the response.
    confirmed: Vec<Value>,
    /// The returned and restocked pieces by product.
    restocked: BTreeMap<String, i64>,
}

/// The clients of the workers, and what they have observed.
struct Simulation {
    admin: Client,
    customer: Client,
    observed: Mutex<Observed>,
}

#[tokio::test(flavor = "multi_thread")]
async fn every_piece_is_accounted_for_while_stock_is_transferred_and_sold() -> Result<()> {
    let seed = std::env::var("SOUK_TRANSFERS_SEED").ok().and_then(|seed| seed.parse().ok()).unwrap_or(1);
    let folder = tempfile::tempdir()?;
    let fleet = Fleet::start(folder.path()).await?;
    let simulation =
        Simulation { admin: fleet.client("admin"), customer: fleet.client("customer"), observed: Mutex::default() };
    simulation.create_stock().await?;
    let until = Instant::now() + DURATION;
    print_result(&format!("transfers, seed {seed}"));
    try_join_all((0..WORKERS).map(|worker| simulation.run_worker(seed, worker, until))).await?;
    simulation.leave_some_in_transit().await?;

    let summary = simulation.wait_for_balanced_accounts().await?;
    let found = drain_and_audit(fleet).await?;
    let counts = simulation.observed().counts.clone();
    let checked = found.count("goods in transit");
    print_result(&format!(
        "transfers, succeeded and refused: {counts:?}\n{summary}; the audit checked {checked} products"
    ));
    ensure!(checked >= PRODUCTS.len() as u64, "the audit checked only {checked} products: {:#}", found.report);
    for (action, _) in ACTIONS {
        let (done, _) = counts.get(&action).copied().unwrap_or_default();
        ensure!(done >= MIN_SUCCESSES, "{action:?} succeeded only {done} times: {counts:?}");
    }
    Ok(())
}

impl Simulation {
    fn observed(&self) -> MutexGuard<'_, Observed> {
        self.observed.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Creates the stores and products with their initial stock.
    async fn create_stock(&self) -> Result<()> {
        for store in STORES {
            let place = json!({"id": store, "name": store, "kind": "store"});
            self.admin.post("/api/places", &place).await?.expect(201)?;
        }
        for product in PRODUCTS {
            self.admin.add_product(product, 4.5, OPENING.0).await?;
            for store in STORES {
                let adjustment =
                    json!({"product_id": product, "place_id": store, "delta": OPENING.1, "reason": "opening"});
                self.admin.post("/api/stock/adjustments", &adjustment).await?.expect(201)?;
            }
        }
        Ok(())
    }

    /// Performs random actions one after the other, until the deadline.
    async fn run_worker(&self, seed: u64, worker: u64, until: Instant) -> Result<()> {
        let mut random = StdRng::seed_from_u64(seed * 1_000 + worker);
        for n in 0_u64.. {
            if Instant::now() >= until {
                break;
            }
            let (action, _) = *ACTIONS.choose_weighted(&mut random, |(_, weight)| *weight)?;
            let name = format!("worker-{worker}-{n}");
            let outcome =
                self.perform(action, &name, &mut random).await.with_context(|| format!("{action:?}, {name}"))?;
            if let Some(done) = outcome {
                let mut observed = self.observed();
                let (succeeded, refused) = observed.counts.entry(action).or_default();
                *if done { succeeded } else { refused } += 1;
            }
            tokio::time::sleep(Duration::from_millis(random.random_range(0..20))).await;
        }
        Ok(())
    }

    /// Performs an action. Returns whether it succeeded or was refused; `None` if there was nothing to perform it on.
    async fn perform(&self, action: Action, name: &str, random: &mut StdRng) -> Result<Option<bool>> {
        let (product, store) = (choose(&PRODUCTS, random)?, choose(&STORES, random)?);
        match action {
            Action::Request => {
                let mut from = CENTRE;
                if random.random_bool(0.3) {
                    from = choose(&STORES, random)?;
                }
                let to = if from == store { CENTRE } else { store };
                let request = json!({"id": name, "product_id": product, "place_id": to, "from_place_id": from,
                    "quantity": random.random_range(1..12)});
                let response = self.admin.post(PATH, &request).await?;
                succeeded(&response, &[]).map(Some)
            }
            Action::Approve => self.advance("requested", "approve", None, random).await,
            Action::Refuse => self.advance("requested", "refuse", Some(json!({"reason": "not now"})), random).await,
            Action::Dispatch => self.advance("approved", "dispatch", None, random).await,
            Action::ReceiveSome | Action::ReceiveAll | Action::ReceiveLess | Action::ReceiveMore => {
                let Some(one) = self.choose_replenishment("in_transit", random).await? else { return Ok(None) };
                let open = one["in_transit"].as_i64().context("in_transit")?;
                let (quantity, last) = match action {
                    Action::ReceiveSome if open < 2 => return Ok(None),
                    Action::ReceiveSome => (random.random_range(1..open), false),
                    Action::ReceiveLess => (random.random_range(0..open), true),
                    Action::ReceiveMore => (open + random.random_range(1..4), random.random_bool(0.5)),
                    _ => (open, false),
                };
                self.receive(text(&one["id"])?, quantity, last, name).await.map(Some)
            }
            Action::Sell => {
                let sale = json!({"lines": order_lines(random)?, "payment": {"method": "cash"}});
                let response = self.admin.post(&format!("/api/stores/{store}/sales"), &sale).await?;
                self.record_order(&response).map(Some)
            }
            Action::Order => {
                let response = self.customer.post("/api/orders", &json!({"lines": order_lines(random)?})).await?;
                self.record_order(&response).map(Some)
            }
            Action::Return => self.return_some(random).await,
            Action::Cancel => {
                let Some(order) = self.choose_order(random) else { return Ok(None) };
                let path = format!("/api/orders/{}/cancel", text(&order["id"])?);
                let response = self.admin.post(&path, &json!({"reason": "changed my mind"})).await?;
                succeeded(&response, &[409]).map(Some)
            }
            Action::Adjust => {
                let place = if random.random_bool(0.5) { CENTRE } else { store };
                let delta =
                    if random.random_bool(0.7) { random.random_range(1..16) } else { random.random_range(-6..0) };
                self.adjust(name, product, place, delta).await.map(Some)
            }
            Action::Threshold => {
                let threshold = random.random_bool(0.9).then(|| random.random_range(0..20));
                let path = format!("/api/stock/levels/{product}/{store}/threshold");
                let response = self.admin.put(&path, &json!({ "threshold": threshold })).await?;
                succeeded(&response, &[]).map(Some)
            }
        }
    }

    /// Chooses one of the newest replenishments in a stage. Another worker may advance it meanwhile.
    async fn choose_replenishment(&self, stage: &str, random: &mut StdRng) -> Result<Option<Value>> {
        let page = self.admin.get(&format!("{PATH}?stage={stage}&limit=30")).await?.expect(200)?;
        Ok(page["data"].as_array().context("data")?.choose(random).cloned())
    }

    async fn advance(&self, stage: &str, what: &str, body: Option<Value>, random: &mut StdRng) -> Result<Option<bool>> {
        let Some(one) = self.choose_replenishment(stage, random).await? else { return Ok(None) };
        let request = self.admin.request(reqwest::Method::POST, &format!("{PATH}/{}/{what}", text(&one["id"])?));
        let response = self.admin.send(if let Some(body) = body { request.json(&body) } else { request }).await?;
        succeeded(&response, &[409]).map(Some)
    }

    /// Receives pieces. The request is sent twice concurrently with one key, as after a lost response, and must count once.
    async fn receive(&self, id: &str, quantity: i64, last: bool, key: &str) -> Result<bool> {
        let (path, receipt) = (format!("{PATH}/{id}/receive"), json!({"quantity": quantity, "last": last}));
        let responses = try_join_all((0..2).map(|_| self.admin.post_once(&path, key, &receipt))).await?;
        let outcomes = responses.iter().map(|response| succeeded(response, &[409])).collect::<Result<Vec<bool>>>()?;
        ensure!(
            outcomes[0] == outcomes[1],
            "different outcomes with one key: {} and {}",
            responses[0].text(),
            responses[1].text()
        );
        if outcomes[0] {
            *self.observed().received.entry(id.to_owned()).or_default() += quantity;
        }
        Ok(outcomes[0])
    }

    async fn adjust(&self, id: &str, product: &str, place: &str, delta: i64) -> Result<bool> {
        let adjustment =
            json!({"id": id, "product_id": product, "place_id": place, "delta": delta, "reason": "counted"});
        let done = succeeded(&self.admin.post("/api/stock/adjustments", &adjustment).await?, &[409])?;
        if done {
            *self.observed().adjusted.entry(product.to_owned()).or_default() += delta;
        }
        Ok(done)
    }

    fn record_order(&self, response: &Response) -> Result<bool> {
        let done = succeeded(response, &[409])?;
        if done {
            let order = response.json()?;
            let mut observed = self.observed();
            observed.accepted.insert(text(&order["id"])?.to_owned());
            if response.status == 201 {
                observed.confirmed.push(order);
            }
        }
        Ok(done)
    }

    fn choose_order(&self, random: &mut StdRng) -> Option<Value> {
        self.observed().confirmed.choose(random).cloned()
    }

    async fn return_some(&self, random: &mut StdRng) -> Result<Option<bool>> {
        let Some(order) = self.choose_order(random) else { return Ok(None) };
        let line = order["lines"].as_array().and_then(|lines| lines.choose(random)).context("a line")?;
        let quantity = random.random_range(1..=line["quantity"].as_i64().context("a quantity")?);
        let restock = random.random_bool(0.8);
        let request = json!({"lines": [{"line_id": line["line_id"], "quantity": quantity}], "restock": restock});
        let response = self.admin.post(&format!("/api/orders/{}/returns", text(&order["id"])?), &request).await?;
        // A quantity above the returnable rest is a validation error.
        let done = succeeded(&response, &[409, 422])?;
        if done && restock {
            *self.observed().restocked.entry(text(&line["product_id"])?.to_owned()).or_default() += quantity;
        }
        Ok(Some(done))
    }

    /// Receives every second replenishment in transit, and sends one more of each product, of which only a part is received. So
    /// some pieces are certainly in transit when the accounts are checked.
    async fn leave_some_in_transit(&self) -> Result<()> {
        let in_transit = self.admin.all(&format!("{PATH}?stage=in_transit")).await?;
        for (n, one) in in_transit.iter().enumerate().step_by(2) {
            let open = one["in_transit"].as_i64().context("in_transit")?;
            let received = self.receive(text(&one["id"])?, open, false, &format!("late-{n}")).await?;
            ensure!(received, "the replenishment was refused although no worker is running: {one}");
        }
        for product in PRODUCTS {
            let id = format!("left-{product}");
            ensure!(
                self.adjust(&format!("more-{product}"), product, CENTRE, 9).await?,
                "an increase of the stock was refused"
            );
            let request = json!({"id": id, "product_id": product, "place_id": "north", "quantity": 5});
            self.admin.post(PATH, &request).await?.expect(201)?;
            for what in ["approve", "dispatch"] {
                self.admin.post(&format!("{PATH}/{id}/{what}"), &Value::Null).await?.expect(200)?;
            }
            ensure!(self.receive(&id, 2, false, &id).await?, "the receipt of two of five pieces was refused");
        }
        Ok(())
    }

    /// Waits until all orders and returns are booked and all accounts agree. Returns a summary.
    async fn wait_for_balanced_accounts(&self) -> Result<String> {
        let started = Instant::now();
        loop {
            let accounts = accounts::Accounts::read(&self.admin).await?;
            let differences = accounts.differences(&self.observed());
            if differences.is_empty() {
                return Ok(accounts.summary());
            }
            ensure!(started.elapsed() < TIMEOUT, "{}\n{}", differences.join("\n"), accounts.summary());
            tokio::time::sleep(Duration::from_millis(500)).await;
        }
    }
}

fn choose<'a>(of: &[&'a str], random: &mut StdRng) -> Result<&'a str> {
    of.choose(random).copied().context("nothing to choose from")
}

/// The lines of an order: one product, or two.
fn order_lines(random: &mut StdRng) -> Result<Vec<Value>> {
    let products: Vec<&str> = PRODUCTS.choose_multiple(random, 2).copied().collect();
    let count = random.random_range(1..=products.len());
    Ok(products[..count].iter().map(|id| json!({"product_id": id, "quantity": random.random_range(1..4)})).collect())
}

fn text(value: &Value) -> Result<&str> {
    value.as_str().with_context(|| format!("{value} is not a string"))
}

/// Whether a request succeeded. A refusal must have one of these statuses.
fn succeeded(response: &Response, refusals: &[u16]) -> Result<bool> {
    match response.status {
        200..=202 => Ok(true),
        status if refusals.contains(&status) => response.problem(status).map(|_| false),
        status => bail!("{status}: {}", response.text()),
    }
}
