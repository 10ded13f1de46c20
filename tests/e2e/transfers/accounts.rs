//! What the lists of the API tell of goods, added up without the audit.

use std::collections::{BTreeMap, BTreeSet};

use anyhow::{Context, Result};
use fleet_tests::Client;
use serde_json::Value;

use super::{OPENING, PATH, PRODUCTS, STORES, Told, text};

/// What there is of a product, and what became of it.
#[derive(Debug, Default)]
struct Product {
    on_hand: i64,
    in_transit: i64,
    /// Counted more on arrival (below zero: less) than had left.
    differences: i64,
    /// Pieces of orders that were not cancelled.
    sold: i64,
}

/// The lists.
pub(super) struct Accounts {
    levels: Vec<Value>,
    ledger: Vec<Value>,
    replenishments: Vec<Value>,
    orders: Vec<Value>,
    products: BTreeMap<String, Product>,
    /// Movements by kind, by cause, and all, each with its product.
    moved: BTreeMap<(String, String), i64>,
    caused: BTreeMap<(String, String), i64>,
    /// Movements by place and product.
    booked: BTreeMap<(String, String), i64>,
}

fn number(row: &Value, name: &str) -> Result<i64> {
    row[name].as_i64().with_context(|| format!("{row} has no {name}"))
}

fn word(row: &Value, name: &str) -> Result<String> {
    Ok(text(&row[name])?.to_owned())
}

impl Accounts {
    /// Reads them; whoever reads sees to it that nothing new begins meanwhile.
    pub(super) async fn read(admin: &Client) -> Result<Self> {
        let ours = |row: &Value| row["product_id"].as_str().is_some_and(|id| PRODUCTS.contains(&id));
        let mut lists = Vec::new();
        for path in ["/api/stock/levels", "/api/stock/ledger", PATH, "/api/orders"] {
            lists.push(admin.all(path).await?);
        }
        let [levels, ledger, replenishments, orders] = <[Vec<Value>; 4]>::try_from(lists).ok().context("four lists")?;
        let only_ours = |rows: Vec<Value>| rows.into_iter().filter(ours).collect::<Vec<Value>>();
        let mut accounts = Self {
            levels: only_ours(levels),
            ledger: only_ours(ledger),
            replenishments: only_ours(replenishments),
            orders,
            products: BTreeMap::new(),
            moved: BTreeMap::new(),
            caused: BTreeMap::new(),
            booked: BTreeMap::new(),
        };
        accounts.add_up()?;
        Ok(accounts)
    }

    fn add_up(&mut self) -> Result<()> {
        for level in &self.levels {
            self.products.entry(word(level, "product_id")?).or_default().on_hand += number(level, "on_hand")?;
        }
        for one in &self.replenishments {
            let product = self.products.entry(word(one, "product_id")?).or_default();
            // Not what the service calls it, but what follows from what left and what came.
            let open = number(one, "shipped")? - number(one, "received")?;
            match text(&one["stage"])? {
                "in_transit" => product.in_transit += open,
                "received" => product.differences -= open,
                _ => {}
            }
        }
        for order in self.orders.iter().filter(|order| order["status"] != "cancelled") {
            for line in order["lines"].as_array().context("lines")? {
                self.products.entry(word(line, "product_id")?).or_default().sold += number(line, "quantity")?;
            }
        }
        for entry in &self.ledger {
            let (product, quantity) = (word(entry, "product_id")?, number(entry, "quantity")?);
            *self.moved.entry((word(entry, "kind")?, product.clone())).or_default() += quantity;
            *self.caused.entry((word(entry, "cause")?, word(entry, "place_id")?)).or_default() += quantity;
            *self.booked.entry((word(entry, "place_id")?, product)).or_default() += quantity;
        }
        Ok(())
    }

    fn moved(&self, product: &str, kinds: &[&str]) -> i64 {
        kinds.iter().filter_map(|kind| self.moved.get(&((*kind).to_owned(), product.to_owned()))).sum()
    }

    /// Everything that does not agree.
    pub(super) fn wrong(&self, told: &Told) -> Vec<String> {
        let mut wrong = Vec::new();
        let mut same = |what: String, found: i64, expected: i64| {
            if found != expected {
                wrong.push(format!("{what}: {found} instead of {expected}"));
            }
        };
        let stores = i64::try_from(STORES.len()).unwrap_or_default();
        for id in PRODUCTS {
            let none = Product::default();
            let product = self.products.get(id).unwrap_or(&none);
            let of = |pieces: &BTreeMap<String, i64>| pieces.get(id).copied().unwrap_or_default();
            let by_hand = OPENING.0 + stores * OPENING.1 + of(&told.adjusted) + product.differences;
            let there = by_hand - product.sold + of(&told.back);
            same(format!("{id}, on hand and in transit"), product.on_hand + product.in_transit, there);
            same(format!("{id}, adjusted in the ledger"), self.moved(id, &["adjusted"]), by_hand);
            let left = of(&told.back) - product.sold;
            same(format!("{id}, sold and restocked in the ledger"), self.moved(id, &["sold", "restocked"]), left);
            let between = self.moved(id, &["sent", "received"]);
            same(format!("{id}, sent and received in the ledger"), between, -product.in_transit);
        }
        for level in &self.levels {
            let slot = (plain(level, "place_id"), plain(level, "product_id"));
            let booked = self.booked.get(&slot).copied().unwrap_or_default();
            same(format!("{slot:?}, on hand"), level["on_hand"].as_i64().unwrap_or(-1), booked);
            same(format!("{slot:?}, reserved"), level["reserved"].as_i64().unwrap_or(-1), 0);
        }
        for one in &self.replenishments {
            let (id, count) = (plain(one, "id"), |name: &str| one[name].as_i64().unwrap_or(-1));
            let caused = |place: &str| self.caused.get(&(id.clone(), plain(one, place))).copied().unwrap_or_default();
            let counted = told.received.get(&id).copied().unwrap_or_default();
            let left = if ["in_transit", "received"].contains(&&*plain(one, "stage")) { count("quantity") } else { 0 };
            same(format!("{id}, received"), count("received"), counted);
            same(format!("{id}, shipped"), count("shipped"), left);
            same(format!("{id}, booked where it came from"), caused("from_place_id"), -left);
            same(format!("{id}, booked where it went"), caused("place_id"), counted);
        }
        wrong.extend(self.negative());
        wrong.extend(self.asked_twice());
        wrong.extend(self.strange_orders(told));
        wrong
    }

    /// Nothing that is not there was sold or sent, also not in between.
    fn negative(&self) -> impl Iterator<Item = String> {
        let below = self.ledger.iter().filter(|entry| entry["balance"].as_i64().is_none_or(|balance| balance < 0));
        below.map(|entry| format!("below zero: {entry}"))
    }

    /// A level that is low asks by itself once, until its goods have come.
    fn asked_twice(&self) -> Vec<String> {
        let mut open = BTreeSet::new();
        let waiting = self.automatic().filter(|one| one["stage"] != "received" && one["stage"] != "refused");
        let twice = waiting.filter(|one| !open.insert((plain(one, "place_id"), plain(one, "product_id"))));
        twice.map(|one| format!("asked for while it is asked for: {one}")).collect()
    }

    /// Who was told that he bought something did, and nobody else.
    fn strange_orders(&self, told: &Told) -> Vec<String> {
        let kept: BTreeSet<String> = self.orders.iter().map(|order| plain(order, "id")).collect();
        let lost = told.accepted.difference(&kept).map(|id| format!("{id} was accepted, and is not there"));
        let strange = |order: &&Value| order["status"] != "cancelled" && !told.accepted.contains(&plain(order, "id"));
        let untold = self.orders.iter().filter(strange).map(|order| format!("nobody was told of {order}"));
        let pending = self.orders.iter().filter(|order| order["status"] == "pending");
        lost.chain(untold).chain(pending.map(|order| format!("it is not over: {order}"))).collect()
    }

    fn automatic(&self) -> impl Iterator<Item = &Value> {
        self.replenishments.iter().filter(|one| one["automatic"] == true)
    }

    /// How much was looked at.
    pub(super) fn summary(&self) -> String {
        let differences =
            self.replenishments.iter().filter(|one| one["difference"].as_i64().is_some_and(|pieces| pieces != 0));
        format!(
            "{} movements, {} replenishments ({} made by low levels, {} with differences), {} orders: {:?}",
            self.ledger.len(),
            self.replenishments.len(),
            self.automatic().count(),
            differences.count(),
            self.orders.len(),
            self.products
        )
    }
}

fn plain(row: &Value, name: &str) -> String {
    row[name].as_str().unwrap_or_default().to_owned()
}
