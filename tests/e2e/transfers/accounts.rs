//! The stock movements in the lists of the API, added up independently of the audit.

use std::collections::{BTreeMap, BTreeSet};

use anyhow::{Context, Result};
use fleet_tests::Client;
use serde_json::Value;

use super::{OPENING, Observed, PATH, PRODUCTS, STORES, text};

/// The pieces of a product by what happened to them.
#[derive(Debug, Default)]
struct Product {
    on_hand: i64,
    in_transit: i64,
    /// Pieces received more than sent (negative: fewer).
    differences: i64,
    /// Pieces in orders that are not cancelled.
    sold: i64,
}

/// The lists of the API, and their sums.
pub(super) struct Accounts {
    levels: Vec<Value>,
    ledger: Vec<Value>,
    replenishments: Vec<Value>,
    orders: Vec<Value>,
    products: BTreeMap<String, Product>,
    /// Sum of the movements by kind and product.
    moved: BTreeMap<(String, String), i64>,
    /// Sum of the movements by cause and place.
    caused: BTreeMap<(String, String), i64>,
    /// Sum of the movements by place and product.
    booked: BTreeMap<(String, String), i64>,
}

fn number(row: &Value, name: &str) -> Result<i64> {
    row[name].as_i64().with_context(|| format!("{row} has no {name}"))
}

fn string(row: &Value, name: &str) -> Result<String> {
    Ok(text(&row[name])?.to_owned())
}

impl Accounts {
    /// Reads the lists. The caller ensures that no new requests are sent meanwhile.
    pub(super) async fn read(admin: &Client) -> Result<Self> {
        let is_test_product = |row: &Value| row["product_id"].as_str().is_some_and(|id| PRODUCTS.contains(&id));
        let mut lists = Vec::new();
        for path in ["/api/stock/levels", "/api/stock/ledger", PATH, "/api/orders"] {
            lists.push(admin.all(path).await?);
        }
        let [levels, ledger, replenishments, orders] = <[Vec<Value>; 4]>::try_from(lists).ok().context("four lists")?;
        let only_test_products = |rows: Vec<Value>| rows.into_iter().filter(is_test_product).collect::<Vec<Value>>();
        let mut accounts = Self {
            levels: only_test_products(levels),
            ledger: only_test_products(ledger),
            replenishments: only_test_products(replenishments),
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
            self.products.entry(string(level, "product_id")?).or_default().on_hand += number(level, "on_hand")?;
        }
        for replenishment in &self.replenishments {
            let product = self.products.entry(string(replenishment, "product_id")?).or_default();
            // Computed from the shipped and received pieces, not taken from the service's own field.
            let open = number(replenishment, "shipped")? - number(replenishment, "received")?;
            match text(&replenishment["stage"])? {
                "in_transit" => product.in_transit += open,
                "received" => product.differences -= open,
                _ => {}
            }
        }
        for order in self.orders.iter().filter(|order| order["status"] != "cancelled") {
            for line in order["lines"].as_array().context("lines")? {
                self.products.entry(string(line, "product_id")?).or_default().sold += number(line, "quantity")?;
            }
        }
        for entry in &self.ledger {
            let (product, quantity) = (string(entry, "product_id")?, number(entry, "quantity")?);
            *self.moved.entry((string(entry, "kind")?, product.clone())).or_default() += quantity;
            *self.caused.entry((string(entry, "cause")?, string(entry, "place_id")?)).or_default() += quantity;
            *self.booked.entry((string(entry, "place_id")?, product)).or_default() += quantity;
        }
        Ok(())
    }

    fn moved(&self, product: &str, kinds: &[&str]) -> i64 {
        kinds.iter().filter_map(|kind| self.moved.get(&((*kind).to_owned(), product.to_owned()))).sum()
    }

    /// All differences between the lists and what the workers observed.
    pub(super) fn differences(&self, observed: &Observed) -> Vec<String> {
        let mut differences = Vec::new();
        let mut compare = |what: String, found: i64, expected: i64| {
            if found != expected {
                differences.push(format!("{what}: {found} instead of {expected}"));
            }
        };
        let stores = i64::try_from(STORES.len()).unwrap_or_default();
        for id in PRODUCTS {
            let none = Product::default();
            let product = self.products.get(id).unwrap_or(&none);
            let of = |pieces: &BTreeMap<String, i64>| pieces.get(id).copied().unwrap_or_default();
            let adjusted = OPENING.0 + stores * OPENING.1 + of(&observed.adjusted) + product.differences;
            let expected = adjusted - product.sold + of(&observed.restocked);
            compare(format!("{id}, on hand and in transit"), product.on_hand + product.in_transit, expected);
            compare(format!("{id}, adjusted in the ledger"), self.moved(id, &["adjusted"]), adjusted);
            let net = of(&observed.restocked) - product.sold;
            compare(format!("{id}, sold and restocked in the ledger"), self.moved(id, &["sold", "restocked"]), net);
            let between = self.moved(id, &["sent", "received"]);
            compare(format!("{id}, sent and received in the ledger"), between, -product.in_transit);
        }
        for level in &self.levels {
            let slot = (string_or_empty(level, "place_id"), string_or_empty(level, "product_id"));
            let booked = self.booked.get(&slot).copied().unwrap_or_default();
            compare(format!("{slot:?}, on hand"), level["on_hand"].as_i64().unwrap_or(-1), booked);
            compare(format!("{slot:?}, reserved"), level["reserved"].as_i64().unwrap_or(-1), 0);
        }
        for replenishment in &self.replenishments {
            let (id, count) =
                (string_or_empty(replenishment, "id"), |name: &str| replenishment[name].as_i64().unwrap_or(-1));
            let caused = |place: &str| {
                self.caused.get(&(id.clone(), string_or_empty(replenishment, place))).copied().unwrap_or_default()
            };
            let received = observed.received.get(&id).copied().unwrap_or_default();
            let shipped = if ["in_transit", "received"].contains(&&*string_or_empty(replenishment, "stage")) {
                count("quantity")
            } else {
                0
            };
            compare(format!("{id}, received"), count("received"), received);
            compare(format!("{id}, shipped"), count("shipped"), shipped);
            compare(format!("{id}, booked at the origin"), caused("from_place_id"), -shipped);
            compare(format!("{id}, booked at the destination"), caused("place_id"), received);
        }
        differences.extend(self.negative_balances());
        differences.extend(self.duplicate_requests());
        differences.extend(self.unexpected_orders(observed));
        differences
    }

    /// Ledger entries with a negative balance: pieces were sold or sent that were not in stock.
    fn negative_balances(&self) -> impl Iterator<Item = String> {
        let negative = self.ledger.iter().filter(|entry| entry["balance"].as_i64().is_none_or(|balance| balance < 0));
        negative.map(|entry| format!("negative balance: {entry}"))
    }

    /// Automatic replenishments of a level that already has an open one.
    fn duplicate_requests(&self) -> Vec<String> {
        let mut open = BTreeSet::new();
        let unfinished = self
            .automatic()
            .filter(|replenishment| replenishment["stage"] != "received" && replenishment["stage"] != "refused");
        let duplicates = unfinished.filter(|replenishment| {
            !open.insert((string_or_empty(replenishment, "place_id"), string_or_empty(replenishment, "product_id")))
        });
        duplicates.map(|replenishment| format!("requested although another request is open: {replenishment}")).collect()
    }

    /// Orders that are missing although they were accepted, that exist although they were not, and that are still pending.
    fn unexpected_orders(&self, observed: &Observed) -> Vec<String> {
        let existing: BTreeSet<String> = self.orders.iter().map(|order| string_or_empty(order, "id")).collect();
        let lost = observed.accepted.difference(&existing).map(|id| format!("{id} was accepted but does not exist"));
        let unexpected = |order: &&Value| {
            order["status"] != "cancelled" && !observed.accepted.contains(&string_or_empty(order, "id"))
        };
        let unaccepted =
            self.orders.iter().filter(unexpected).map(|order| format!("exists but was not accepted: {order}"));
        let pending = self.orders.iter().filter(|order| order["status"] == "pending");
        lost.chain(unaccepted).chain(pending.map(|order| format!("still pending: {order}"))).collect()
    }

    fn automatic(&self) -> impl Iterator<Item = &Value> {
        self.replenishments.iter().filter(|replenishment| replenishment["automatic"] == true)
    }

    /// The numbers of the checked rows.
    pub(super) fn summary(&self) -> String {
        let with_difference = self
            .replenishments
            .iter()
            .filter(|replenishment| replenishment["difference"].as_i64().is_some_and(|pieces| pieces != 0));
        format!(
            "{} movements, {} replenishments ({} automatic, {} with differences), {} orders: {:?}",
            self.ledger.len(),
            self.replenishments.len(),
            self.automatic().count(),
            with_difference.count(),
            self.orders.len(),
            self.products
        )
    }
}

fn string_or_empty(row: &Value, name: &str) -> String {
    row[name].as_str().unwrap_or_default().to_owned()
}
