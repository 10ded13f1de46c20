//! Goods on their way between a centre and three stores, while they are sold, ordered, returned and counted: in the end every
//! piece is accounted for, by the lists of the API and by the audit. What is chosen comes from a seed:
//! `SOUK_TRANSFERS_SEED=7 cargo test -p fleet-tests --test it transfers` chooses it again.

mod accounts;

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use anyhow::{Context, Result, bail, ensure};
use fleet_tests::{Answer, Client, Fleet, PATIENCE, drained};
use futures::future::try_join_all;
use rand::{Rng, SeedableRng, rngs::StdRng, seq::IndexedRandom};
use serde_json::{Value, json};

use crate::chaos::tell;

/// How long goods move.
const STORM: Duration = Duration::from_secs(30);
/// How many move them.
const HANDS: u64 = 8;
/// How often each kind of action has to succeed, so that the run says anything.
const LEAST: u64 = 5;

const CENTRE: &str = "logistics";
const STORES: [&str; 3] = ["north", "east", "south"];
const PRODUCTS: [&str; 4] = ["PORT_OFFSET-1", "PORT_OFFSET-2", "PORT_OFFSET-3", "PORT_OFFSET-4"];
/// Pieces of each product in the centre at first, and in each store.
const OPENING: (i64, i64) = (100, 12);
const PATH: &str = "/api/stock/replenishments";

/// What somebody does.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Act {
    Request,
    Approve,
    Refuse,
    Dispatch,
    ReceiveSome,
    ReceiveAll,
    /// Fewer than left, and no more will come.
    ReceiveLess,
    ReceiveMore,
    Sell,
    Order,
    Return,
    Cancel,
    Adjust,
    Threshold,
}

/// Everything that is done, and how often by comparison.
const ACTS: [(Act, u32); 14] = [
    (Act::Request, 6),
    (Act::Approve, 7),
    (Act::Refuse, 2),
    (Act::Dispatch, 7),
    (Act::ReceiveSome, 3),
    (Act::ReceiveAll, 3),
    (Act::ReceiveLess, 2),
    (Act::ReceiveMore, 2),
    (Act::Sell, 6),
    (Act::Order, 4),
    (Act::Return, 3),
    (Act::Cancel, 3),
    (Act::Adjust, 4),
    (Act::Threshold, 2),
];

/// What the services told those who acted.
#[derive(Debug, Default)]
struct Told {
    /// How often it succeeded, and was refused.
    counts: BTreeMap<Act, (u64, u64)>,
    /// Pieces put in and taken out by hand, by product.
    adjusted: BTreeMap<String, i64>,
    /// Pieces counted on arrival, by replenishment.
    received: BTreeMap<String, i64>,
    /// Orders that were accepted.
    accepted: BTreeSet<String>,
    /// Of these, those that were confirmed at once, as they were then.
    bought: Vec<Value>,
    /// Pieces that came back for the shelf, by product.
    back: BTreeMap<String, i64>,
}

/// Those who act, and what they were told.
struct World {
    admin: Client,
    customer: Client,
    told: Mutex<Told>,
}

#[tokio::test(flavor = "multi_thread")]
async fn whatever_moves_between_places_while_it_is_sold_every_piece_is_accounted_for() -> Result<()> {
    let seed = std::env::var("SOUK_TRANSFERS_SEED").ok().and_then(|seed| seed.parse().ok()).unwrap_or(1);
    let folder = tempfile::tempdir()?;
    let fleet = Fleet::start(folder.path()).await?;
    let world = World { admin: fleet.client("admin"), customer: fleet.client("customer"), told: Mutex::default() };
    world.open().await?;
    let until = Instant::now() + STORM;
    tell(&format!("transfers, seed {seed}"));
    try_join_all((0..HANDS).map(|hand| world.work(seed, hand, until))).await?;
    world.leave_some_on_the_way().await?;

    let summary = world.accounted().await?;
    let found = drained(fleet).await?;
    let counts = world.told().counts.clone();
    let looked_at = found.count("goods in transit");
    tell(&format!("transfers, done and refused: {counts:?}\n{summary}; the audit looked at {looked_at} products"));
    ensure!(looked_at >= PRODUCTS.len() as u64, "the audit looked at {looked_at} products: {:#}", found.report);
    for (act, _) in ACTS {
        let (done, _) = counts.get(&act).copied().unwrap_or_default();
        ensure!(done >= LEAST, "{act:?} succeeded {done} times only: {counts:?}");
    }
    Ok(())
}

impl World {
    fn told(&self) -> MutexGuard<'_, Told> {
        self.told.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Opens the stores and fills the shelves.
    async fn open(&self) -> Result<()> {
        for store in STORES {
            let place = json!({"id": store, "name": store, "kind": "store"});
            self.admin.post("/api/places", &place).await?.expect(201)?;
        }
        for product in PRODUCTS {
            self.admin.add_product(product, 4.5, OPENING.0).await?;
            for store in STORES {
                let goods = json!({"product_id": product, "place_id": store, "delta": OPENING.1, "reason": "opening"});
                self.admin.post("/api/stock/adjustments", &goods).await?.expect(201)?;
            }
        }
        Ok(())
    }

    /// One thing after the other, until time is up.
    async fn work(&self, seed: u64, hand: u64, until: Instant) -> Result<()> {
        let mut random = StdRng::seed_from_u64(seed * 1_000 + hand);
        for n in 0_u64.. {
            if Instant::now() >= until {
                break;
            }
            let (act, _) = *ACTS.choose_weighted(&mut random, |(_, weight)| *weight)?;
            let name = format!("hand-{hand}-{n}");
            let outcome = self.act(act, &name, &mut random).await.with_context(|| format!("{act:?}, {name}"))?;
            if let Some(done) = outcome {
                let mut told = self.told();
                let (succeeded, refused) = told.counts.entry(act).or_default();
                *if done { succeeded } else { refused } += 1;
            }
            tokio::time::sleep(Duration::from_millis(random.random_range(0..20))).await;
        }
        Ok(())
    }

    /// Whether it was done or refused; `None` where there was nothing to do it with.
    async fn act(&self, act: Act, name: &str, random: &mut StdRng) -> Result<Option<bool>> {
        let (product, store) = (any(&PRODUCTS, random)?, any(&STORES, random)?);
        match act {
            Act::Request => {
                let mut from = CENTRE;
                if random.random_bool(0.3) {
                    from = any(&STORES, random)?;
                }
                let to = if from == store { CENTRE } else { store };
                let wanted = json!({"id": name, "product_id": product, "place_id": to, "from_place_id": from,
                    "quantity": random.random_range(1..12)});
                let answer = self.admin.post(PATH, &wanted).await?;
                done(&answer, &[]).map(Some)
            }
            Act::Approve => self.advance("requested", "approve", None, random).await,
            Act::Refuse => self.advance("requested", "refuse", Some(json!({"reason": "not now"})), random).await,
            Act::Dispatch => self.advance("approved", "dispatch", None, random).await,
            Act::ReceiveSome | Act::ReceiveAll | Act::ReceiveLess | Act::ReceiveMore => {
                let Some(one) = self.some_replenishment("in_transit", random).await? else { return Ok(None) };
                let open = one["in_transit"].as_i64().context("in_transit")?;
                let (quantity, last) = match act {
                    Act::ReceiveSome if open < 2 => return Ok(None),
                    Act::ReceiveSome => (random.random_range(1..open), false),
                    Act::ReceiveLess => (random.random_range(0..open), true),
                    Act::ReceiveMore => (open + random.random_range(1..4), random.random_bool(0.5)),
                    _ => (open, false),
                };
                self.receive(text(&one["id"])?, quantity, last, name).await.map(Some)
            }
            Act::Sell => {
                let sale = json!({"lines": lines(random)?, "payment": {"method": "cash"}});
                let answer = self.admin.post(&format!("/api/stores/{store}/sales"), &sale).await?;
                self.bought(&answer).map(Some)
            }
            Act::Order => {
                let answer = self.customer.post("/api/orders", &json!({"lines": lines(random)?})).await?;
                self.bought(&answer).map(Some)
            }
            Act::Return => self.give_back(random).await,
            Act::Cancel => {
                let Some(order) = self.some_order(random) else { return Ok(None) };
                let path = format!("/api/orders/{}/cancel", text(&order["id"])?);
                let answer = self.admin.post(&path, &json!({"reason": "changed my mind"})).await?;
                done(&answer, &[409]).map(Some)
            }
            Act::Adjust => {
                let place = if random.random_bool(0.5) { CENTRE } else { store };
                let delta =
                    if random.random_bool(0.7) { random.random_range(1..16) } else { random.random_range(-6..0) };
                self.adjust(name, product, place, delta).await.map(Some)
            }
            Act::Threshold => {
                let threshold = random.random_bool(0.9).then(|| random.random_range(0..20));
                let path = format!("/api/stock/levels/{product}/{store}/threshold");
                let answer = self.admin.put(&path, &json!({ "threshold": threshold })).await?;
                done(&answer, &[]).map(Some)
            }
        }
    }

    /// One of the newest that stood there when it was looked; somebody else may move it meanwhile.
    async fn some_replenishment(&self, stage: &str, random: &mut StdRng) -> Result<Option<Value>> {
        let page = self.admin.get(&format!("{PATH}?stage={stage}&limit=30")).await?.expect(200)?;
        Ok(page["data"].as_array().context("data")?.choose(random).cloned())
    }

    async fn advance(&self, stage: &str, what: &str, body: Option<Value>, random: &mut StdRng) -> Result<Option<bool>> {
        let Some(one) = self.some_replenishment(stage, random).await? else { return Ok(None) };
        let request = self.admin.request(reqwest::Method::POST, &format!("{PATH}/{}/{what}", text(&one["id"])?));
        let answer = self.admin.send(if let Some(body) = body { request.json(&body) } else { request }).await?;
        done(&answer, &[409]).map(Some)
    }

    /// Counts what has come; sent twice at once under one key, as a scanner with a bad connection does, it has come once.
    async fn receive(&self, id: &str, quantity: i64, last: bool, key: &str) -> Result<bool> {
        let (path, receipt) = (format!("{PATH}/{id}/receive"), json!({"quantity": quantity, "last": last}));
        let answers = try_join_all((0..2).map(|_| self.admin.post_once(&path, key, &receipt))).await?;
        let outcomes = answers.iter().map(|answer| done(answer, &[409])).collect::<Result<Vec<bool>>>()?;
        ensure!(outcomes[0] == outcomes[1], "under one key: {} and {}", answers[0].text(), answers[1].text());
        if outcomes[0] {
            *self.told().received.entry(id.to_owned()).or_default() += quantity;
        }
        Ok(outcomes[0])
    }

    async fn adjust(&self, id: &str, product: &str, place: &str, delta: i64) -> Result<bool> {
        let wish = json!({"id": id, "product_id": product, "place_id": place, "delta": delta, "reason": "counted"});
        let done = done(&self.admin.post("/api/stock/adjustments", &wish).await?, &[409])?;
        if done {
            *self.told().adjusted.entry(product.to_owned()).or_default() += delta;
        }
        Ok(done)
    }

    fn bought(&self, answer: &Answer) -> Result<bool> {
        let done = done(answer, &[409])?;
        if done {
            let order = answer.json()?;
            let mut told = self.told();
            told.accepted.insert(text(&order["id"])?.to_owned());
            if answer.status == 201 {
                told.bought.push(order);
            }
        }
        Ok(done)
    }

    fn some_order(&self, random: &mut StdRng) -> Option<Value> {
        self.told().bought.choose(random).cloned()
    }

    async fn give_back(&self, random: &mut StdRng) -> Result<Option<bool>> {
        let Some(order) = self.some_order(random) else { return Ok(None) };
        let line = order["lines"].as_array().and_then(|lines| lines.choose(random)).context("a line")?;
        let quantity = random.random_range(1..=line["quantity"].as_i64().context("a quantity")?);
        let restock = random.random_bool(0.8);
        let back = json!({"lines": [{"line_id": line["line_id"], "quantity": quantity}], "restock": restock});
        let answer = self.admin.post(&format!("/api/orders/{}/returns", text(&order["id"])?), &back).await?;
        // More than is left to come back is a field's mistake.
        let done = done(&answer, &[409, 422])?;
        if done && restock {
            *self.told().back.entry(text(&line["product_id"])?.to_owned()).or_default() += quantity;
        }
        Ok(Some(done))
    }

    /// Takes in every second one that is on its way, and sends one more of each product, of which a part arrives. So something
    /// is surely in transit when the books are looked at.
    async fn leave_some_on_the_way(&self) -> Result<()> {
        let on_the_way = self.admin.all(&format!("{PATH}?stage=in_transit")).await?;
        for (n, one) in on_the_way.iter().enumerate().step_by(2) {
            let open = one["in_transit"].as_i64().context("in_transit")?;
            let taken = self.receive(text(&one["id"])?, open, false, &format!("late-{n}")).await?;
            ensure!(taken, "nobody else moves it now: {one}");
        }
        for product in PRODUCTS {
            let id = format!("left-{product}");
            ensure!(self.adjust(&format!("more-{product}"), product, CENTRE, 9).await?, "goods may always be put in");
            let wanted = json!({"id": id, "product_id": product, "place_id": "north", "quantity": 5});
            self.admin.post(PATH, &wanted).await?.expect(201)?;
            for what in ["approve", "dispatch"] {
                self.admin.post(&format!("{PATH}/{id}/{what}"), &Value::Null).await?.expect(200)?;
            }
            ensure!(self.receive(&id, 2, false, &id).await?, "two of five come");
        }
        Ok(())
    }

    /// Waits until what was bought and brought back has moved its goods; then everything has to agree. Gives the sums.
    async fn accounted(&self) -> Result<String> {
        let begun = Instant::now();
        loop {
            let accounts = accounts::Accounts::read(&self.admin).await?;
            let wrong = accounts.wrong(&self.told());
            if wrong.is_empty() {
                return Ok(accounts.summary());
            }
            ensure!(begun.elapsed() < PATIENCE, "{}\n{}", wrong.join("\n"), accounts.summary());
            tokio::time::sleep(Duration::from_millis(500)).await;
        }
    }
}

fn any<'a>(of: &[&'a str], random: &mut StdRng) -> Result<&'a str> {
    of.choose(random).copied().context("one of them")
}

/// What somebody buys: one product, or two.
fn lines(random: &mut StdRng) -> Result<Vec<Value>> {
    let products: Vec<&str> = PRODUCTS.choose_multiple(random, 2).copied().collect();
    let count = random.random_range(1..=products.len());
    Ok(products[..count].iter().map(|id| json!({"product_id": id, "quantity": random.random_range(1..4)})).collect())
}

fn text(value: &Value) -> Result<&str> {
    value.as_str().with_context(|| format!("{value} is no text"))
}

/// Whether it was done; what is refused must be refused for one of these reasons.
fn done(answer: &Answer, refusals: &[u16]) -> Result<bool> {
    match answer.status {
        200..=202 => Ok(true),
        status if refusals.contains(&status) => answer.problem(status).map(|_| false),
        status => bail!("{status}: {}", answer.text()),
    }
}
