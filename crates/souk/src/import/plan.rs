//! What a file means, from the file alone: products, customers, orders, returns, and what cannot be taken.

use std::{
    collections::{BTreeMap, HashMap},
    io::Read,
    path::Path,
};

use anyhow::Context;
use commerce::{Amount, ProductId, Quantity, Timestamp};
use serde::Deserialize;

/// Codes that are no goods: postage, carriage, manual entries, discounts, fees, samples, vouchers.
const NO_GOODS: &[&str] = &[
    "POST",
    "DOT",
    "M",
    "m",
    "D",
    "C2",
    "C3",
    "S",
    "B",
    "CRUK",
    "AMAZONFEE",
    "BANK CHARGES",
    "ADJUST",
    "ADJUST2",
    "TEST001",
    "TEST002",
];

/// A line of the file.
#[derive(Debug, Clone, Deserialize)]
struct Record {
    #[serde(rename = "InvoiceNo")]
    invoice: String,
    #[serde(rename = "StockCode")]
    code: String,
    #[serde(rename = "Description")]
    description: String,
    #[serde(rename = "Quantity")]
    quantity: String,
    #[serde(rename = "InvoiceDate")]
    date: String,
    #[serde(rename = "UnitPrice")]
    price: String,
    #[serde(rename = "CustomerID")]
    customer: String,
    #[serde(rename = "Country")]
    country: String,
}

/// A line that cannot be taken, and why.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Refused {
    /// Line of the file; the header is line 1.
    pub(crate) line: u64,
    pub(crate) invoice: String,
    pub(crate) code: String,
    pub(crate) reason: String,
}

/// A product that the file sells.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Product {
    pub(crate) id: ProductId,
    pub(crate) name: String,
    pub(crate) price: Amount,
    /// Pieces that the file sells in all.
    pub(crate) sold: u64,
}

/// A line of an order.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Line {
    pub(crate) product: ProductId,
    pub(crate) quantity: Quantity,
    pub(crate) price: Amount,
    returned: u32,
}

/// An invoice as one order.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Order {
    pub(crate) id: String,
    invoice: String,
    pub(crate) customer: Option<String>,
    pub(crate) placed_at: Timestamp,
    pub(crate) lines: Vec<Line>,
    /// Lines of the file, for the report if the fleet refuses the order.
    pub(crate) file_lines: Vec<u64>,
}

/// Returns of one `C` invoice against one order.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Return {
    pub(crate) id: String,
    pub(crate) order_id: String,
    /// Line ids of the order (its position, from 1) with pieces.
    pub(crate) lines: BTreeMap<usize, u32>,
    pub(crate) file_lines: Vec<u64>,
}

/// All that a file means.
#[derive(Debug, Default)]
pub(crate) struct Plan {
    pub(crate) lines: u64,
    /// Identifies the file, for ids that belong to the file and not to an invoice.
    pub(crate) fingerprint: String,
    pub(crate) products: Vec<Product>,
    /// Customer number and country.
    pub(crate) customers: BTreeMap<String, String>,
    pub(crate) orders: Vec<Order>,
    pub(crate) returns: Vec<Return>,
    pub(crate) refused: Vec<Refused>,
}

/// The file's bytes, unzipped.
pub(crate) fn load(path: &Path) -> anyhow::Result<Vec<u8>> {
    let bytes = std::fs::read(path).with_context(|| format!("cannot read {}", path.display()))?;
    if !bytes.starts_with(&[0x1f, 0x8b]) {
        return Ok(bytes);
    }
    let mut plain = Vec::new();
    flate2::read::GzDecoder::new(bytes.as_slice())
        .read_to_end(&mut plain)
        .with_context(|| format!("{} is not a complete gzip file", path.display()))?;
    Ok(plain)
}

/// What is gathered of a product while the file is read.
#[derive(Default)]
struct Seen {
    names: HashMap<String, usize>,
    prices: HashMap<Amount, usize>,
    sold: u64,
}

/// A line that is a sale or a return of goods.
struct Good {
    line: u64,
    product: ProductId,
    pieces: Quantity,
    price: Amount,
}

impl Plan {
    /// Reads a whole file.
    pub(crate) fn read(bytes: &[u8]) -> anyhow::Result<Self> {
        let mut reader = csv::ReaderBuilder::new().flexible(true).from_reader(bytes);
        let mut plan = Self { fingerprint: fingerprint(bytes), ..Self::default() };
        let mut products: BTreeMap<ProductId, Seen> = BTreeMap::new();
        let mut invoices: Vec<(String, Vec<(u64, Record)>)> = Vec::new();
        let mut index: HashMap<String, usize> = HashMap::new();
        reader.headers().context("the file has no header line")?;
        for record in reader.records() {
            plan.lines += 1;
            let raw = match record {
                Ok(raw) => raw,
                Err(error) => {
                    let line = error.position().map_or(plan.lines + 1, csv::Position::line);
                    plan.refused.push(Refused {
                        line,
                        invoice: String::new(),
                        code: String::new(),
                        reason: format!("cannot be read: {error}"),
                    });
                    continue;
                }
            };
            let line = raw.position().map_or(plan.lines + 1, csv::Position::line);
            match raw.deserialize::<Record>(reader_headers()) {
                Ok(record) => {
                    let at = *index.entry(record.invoice.clone()).or_insert_with(|| {
                        invoices.push((record.invoice.clone(), Vec::new()));
                        invoices.len() - 1
                    });
                    invoices[at].1.push((line, record));
                }
                Err(error) => plan.refuse(line, "", "", format!("cannot be read: {error}")),
            }
        }
        for (invoice, records) in &invoices {
            if invoice.starts_with('C') {
                plan.give_back(invoice, records);
            } else {
                plan.sell(invoice, records, &mut products);
            }
        }
        plan.products = products.into_iter().map(|(id, seen)| product(id, seen)).collect();
        plan.refused.sort_by_key(|refused| refused.line);
        Ok(plan)
    }

    fn refuse(&mut self, line: u64, invoice: &str, code: &str, reason: String) {
        self.refused.push(Refused { line, invoice: invoice.into(), code: code.into(), reason });
    }

    /// An invoice becomes one order of the lines that are goods.
    fn sell(&mut self, invoice: &str, records: &[(u64, Record)], products: &mut BTreeMap<ProductId, Seen>) {
        let Some((_, first)) = records.first() else { return };
        let (first_customer, placed_at) = (first.customer.clone(), time(&first.date));
        let mut lines = Vec::new();
        let mut file_lines = Vec::new();
        for (number, record) in records {
            match good(*number, record, 1).and_then(|good| {
                let placed = placed_at.as_ref().map_err(Clone::clone)?;
                if record.customer == first_customer {
                    Ok((good, *placed))
                } else {
                    Err("the invoice names another customer before".into())
                }
            }) {
                Ok((good, _)) => {
                    let seen = products.entry(good.product.clone()).or_default();
                    seen.sold += u64::from(good.pieces.get());
                    *seen.prices.entry(good.price).or_default() += 1;
                    let name = record.description.trim();
                    if !name.is_empty() {
                        *seen.names.entry(name.to_owned()).or_default() += 1;
                    }
                    file_lines.push(good.line);
                    lines.push(Line { product: good.product, quantity: good.pieces, price: good.price, returned: 0 });
                }
                Err(reason) => self.refuse(*number, invoice, &record.code, reason),
            }
        }
        let (false, Ok(placed_at)) = (lines.is_empty(), placed_at) else { return };
        let customer = Some(first_customer.trim().to_owned()).filter(|number| !number.is_empty());
        if let Some(number) = &customer {
            self.customers.entry(number.clone()).or_insert_with(|| first.country.clone());
        }
        self.orders.push(Order {
            id: format!("online-retail-{invoice}"),
            invoice: invoice.to_owned(),
            customer,
            placed_at,
            lines,
            file_lines,
        });
    }

    /// A `C` invoice becomes returns, each line against the latest order of that customer, not later than
    /// itself, that holds the product and still has as many unreturned.
    fn give_back(&mut self, invoice: &str, records: &[(u64, Record)]) {
        let mut returns: BTreeMap<usize, Return> = BTreeMap::new();
        for (number, record) in records {
            let target = good(*number, record, -1).and_then(|good| {
                let at = time(&record.date)?;
                if record.customer.trim().is_empty() {
                    return Err("a return without a customer, so without a sale".into());
                }
                let order = self.target(record.customer.trim(), at, &good).ok_or("a return without a matching sale")?;
                Ok((order, good))
            });
            match target {
                Ok((at, good)) => {
                    let order = &mut self.orders[at];
                    let entry = returns.entry(at).or_insert_with(|| Return {
                        id: format!("online-retail-{invoice}-{}", order.invoice),
                        order_id: order.id.clone(),
                        lines: BTreeMap::new(),
                        file_lines: Vec::new(),
                    });
                    entry.file_lines.push(good.line);
                    for (line, pieces) in take_back(order, &good) {
                        *entry.lines.entry(line).or_default() += pieces;
                    }
                }
                Err(reason) => self.refuse(*number, invoice, &record.code, reason),
            }
        }
        self.returns.extend(returns.into_values());
    }

    fn target(&self, customer: &str, at: Timestamp, good: &Good) -> Option<usize> {
        let unreturned = |order: &Order| -> u32 {
            order
                .lines
                .iter()
                .filter(|line| line.product == good.product)
                .map(|line| line.quantity.get() - line.returned)
                .sum()
        };
        // Later in the file wins among orders of the same minute.
        self.orders
            .iter()
            .enumerate()
            .filter(|(_, order)| order.customer.as_deref() == Some(customer) && order.placed_at <= at)
            .filter(|(_, order)| unreturned(order) >= good.pieces.get())
            .max_by_key(|(position, order)| (order.placed_at, *position))
            .map(|(position, _)| position)
    }
}

/// Takes pieces from the order's lines of the product: first those of the same price, then the others.
fn take_back(order: &mut Order, good: &Good) -> Vec<(usize, u32)> {
    let mut left = good.pieces.get();
    let mut taken = Vec::new();
    for same_price in [true, false] {
        for (position, line) in order.lines.iter_mut().enumerate() {
            if line.product != good.product || (line.price == good.price) != same_price {
                continue;
            }
            let pieces = left.min(line.quantity.get() - line.returned);
            if pieces > 0 {
                line.returned += pieces;
                left -= pieces;
                taken.push((position + 1, pieces));
            }
        }
    }
    taken
}

/// The goods of a line, if it sells some (`sign` 1) or brings some back (-1); else why not.
fn good(line: u64, record: &Record, sign: i64) -> Result<Good, String> {
    let code = record.code.trim();
    if NO_GOODS.contains(&code) || code.starts_with("gift_") {
        return Err("the code is no goods".into());
    }
    let product = ProductId::parse(code).map_err(|invalid| invalid.to_string())?;
    let price: Amount = record.price.trim().parse().map_err(|invalid: commerce::Invalid| invalid.to_string())?;
    if price <= Amount::ZERO {
        return Err("the price is zero or less".into());
    }
    let pieces: i64 = record.quantity.trim().parse().map_err(|_| format!("`{}` is no quantity", record.quantity))?;
    if pieces * sign <= 0 {
        let reason = if sign > 0 {
            "a negative quantity outside a cancellation"
        } else {
            "a positive quantity in a cancellation"
        };
        return Err(reason.into());
    }
    let pieces = Quantity::new(pieces * sign).map_err(|invalid| invalid.to_string())?;
    Ok(Good { line, product, pieces, price })
}

/// `dd/mm/yyyy HH:MM`, taken as UTC.
fn time(text: &str) -> Result<Timestamp, String> {
    chrono::NaiveDateTime::parse_from_str(text.trim(), "%d/%m/%Y %H:%M")
        .map(|time| Timestamp::from_micros(time.and_utc().timestamp_micros()))
        .map_err(|_| format!("`{text}` is no time: dd/mm/yyyy HH:MM"))
}

/// The name and price most often given; of equals the smallest, so that every run finds the same.
fn product(id: ProductId, seen: Seen) -> Product {
    let most = |count: usize| std::cmp::Reverse(count);
    let name = seen.names.into_iter().min_by_key(|(name, count)| (most(*count), name.clone()));
    let price = seen.prices.into_iter().min_by_key(|(price, count)| (most(*count), *price));
    Product {
        name: name.map_or_else(|| id.to_string(), |(name, _)| name),
        price: price.map_or(Amount::ZERO, |(price, _)| price),
        sold: seen.sold,
        id,
    }
}

fn reader_headers() -> Option<&'static csv::StringRecord> {
    None
}

/// FNV-1a (64 bit) of the bytes: it distinguishes files and protects nothing.
fn fingerprint(bytes: &[u8]) -> String {
    let hash = bytes
        .iter()
        .fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| (hash ^ u64::from(*byte)).wrapping_mul(0x100_0000_01b3));
    format!("{hash:016x}")
}

#[cfg(test)]
mod tests {
    use super::*;

    const HEAD: &str = "InvoiceNo,StockCode,Description,Quantity,InvoiceDate,UnitPrice,CustomerID,Country\n";

    fn plan(lines: &str) -> Plan {
        Plan::read(format!("{HEAD}{lines}").as_bytes()).expect("a file")
    }

    #[test]
    fn a_return_goes_to_the_latest_invoice_that_still_has_as_many() {
        let plan = plan(
            "1,A1,LAMP,5,01/12/2010 08:00,2.50,7,UK\n\
             2,A1,LAMP,3,02/12/2010 08:00,2.60,7,UK\n\
             3,A1,LAMP,9,03/12/2010 08:00,2.60,8,UK\n\
             C4,A1,LAMP,-4,04/12/2010 08:00,2.60,7,UK\n\
             C5,A1,LAMP,-3,04/12/2010 09:00,2.60,7,UK\n\
             C6,A1,LAMP,-2,04/12/2010 09:00,2.60,7,UK\n\
             9,A1,LAMP,50,05/12/2010 08:00,2.60,7,UK\n",
        );
        let targets: Vec<_> = plan.returns.iter().map(|r| (r.id.as_str(), r.order_id.as_str())).collect();
        assert_eq!(targets, [("online-retail-C4-1", "online-retail-1"), ("online-retail-C5-2", "online-retail-2")]);
        assert_eq!(plan.refused.len(), 1, "{:?}", plan.refused);
        assert_eq!(plan.refused[0].reason, "a return without a matching sale");
        assert_eq!(plan.products[0].sold, 67);
    }

    #[test]
    fn pieces_come_back_from_the_lines_of_their_price_first() {
        let plan = plan(
            "1,A1,LAMP,2,01/12/2010 08:00,2.50,7,UK\n\
             1,A1,LAMP,2,01/12/2010 08:00,3.00,7,UK\n\
             C4,A1,LAMP,-3,04/12/2010 08:00,3.00,7,UK\n",
        );
        assert_eq!(plan.returns[0].lines, BTreeMap::from([(1, 1), (2, 2)]));
    }

    #[test]
    fn what_cannot_be_taken_is_told_with_its_line_and_every_line_is_counted() {
        let plan = plan(
            "1,a1,lamp,1,01/12/2010 08:00,1,,UK\n\
             1,A1,LAMP,1,01/12/2010 08:00,1,,UK\n\
             1,POST,POSTAGE,1,01/12/2010 08:00,18,,UK\n\
             2,A1,,-5,01/12/2010 08:00,0,,UK\n\
             3,A1,LAMP,x,01/12/2010 08:00,1,,UK\n\
             4,A1,LAMP,1,2010-12-01,1,,UK\n\
             5,A1,LAMP,1,01/12/2010 08:00,1.005,,UK\n\
             C6,A1,LAMP,-1,02/12/2010 08:00,1,,UK\n",
        );
        assert_eq!(plan.products.len(), 2, "codes are case-sensitive");
        assert_eq!(plan.orders.len(), 1);
        assert_eq!(plan.orders[0].customer, None);
        let refused: Vec<u64> = plan.refused.iter().map(|refused| refused.line).collect();
        assert_eq!(refused, [4, 5, 6, 7, 8, 9]);
        let taken: usize = plan.orders.iter().map(|order| order.file_lines.len()).sum();
        assert_eq!(plan.lines, taken as u64 + refused.len() as u64);
    }
}
