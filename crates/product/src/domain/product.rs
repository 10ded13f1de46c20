//! A product.

use chassis::{FieldError, check_line, check_text};
use commerce::{Amount, Currency, ProductId, Timestamp};
use serde::{Deserialize, Serialize};

use super::Error;

const NAME_CHARS: usize = 200;
const DESCRIPTION_CHARS: usize = 4_000;
const CATEGORY_CHARS: usize = 100;

/// A product as it is stored and published.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Product {
    pub(crate) id: ProductId,
    pub(crate) number: i64,
    pub(crate) name: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) description: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) category: Option<String>,
    pub(crate) price: Amount,
    pub(crate) currency: Currency,
    pub(crate) active: bool,
    pub(crate) created_at: Timestamp,
    pub(crate) updated_at: Timestamp,
    pub(crate) version: i64,
    /// Number of events published so far.
    #[serde(skip)]
    pub(crate) sequence: i64,
}

/// A new product.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct NewProduct {
    /// Id chosen by the client: the SKU.
    pub(crate) id: Option<ProductId>,
    pub(crate) name: String,
    pub(crate) description: Option<String>,
    pub(crate) category: Option<String>,
    pub(crate) price: Amount,
    pub(crate) currency: Currency,
    pub(crate) active: bool,
}

/// A change of a product; `None` keeps a field.
#[derive(Clone, Debug, Default, Serialize)]
pub(crate) struct Change {
    pub(crate) name: Option<String>,
    pub(crate) price: Option<Amount>,
    /// `Some(None)` removes it.
    pub(crate) description: Option<Option<String>>,
    /// `Some(None)` removes it.
    pub(crate) category: Option<Option<String>>,
    pub(crate) active: Option<bool>,
    /// Only if it still has this version.
    pub(crate) seen: Option<i64>,
}

impl NewProduct {
    /// Checks all fields; the error lists every broken rule.
    pub(crate) fn checked(mut self) -> Result<Self, Error> {
        let mut broken = Vec::new();
        self.name = line(&mut broken, "name", &self.name, NAME_CHARS);
        self.category = self.category.map(|category| line(&mut broken, "category", &category, CATEGORY_CHARS));
        self.description = self.description.map(|text| paragraph(&mut broken, &text));
        check_price(&mut broken, self.price);
        if broken.is_empty() { Ok(self) } else { Err(Error::Invalid(broken)) }
    }
}

impl Product {
    /// The same product after a change, or nothing when nothing changes.
    pub(crate) fn changed(&self, change: Change, now: Timestamp) -> Result<Option<Self>, Error> {
        if change.seen.is_some_and(|seen| seen != self.version) {
            return Err(Error::Stale { version: self.version });
        }
        let mut broken = Vec::new();
        let mut after = self.clone();
        if let Some(name) = change.name {
            after.name = line(&mut broken, "name", &name, NAME_CHARS);
        }
        if let Some(price) = change.price {
            check_price(&mut broken, price);
            after.price = price;
        }
        if let Some(description) = change.description {
            after.description = description.map(|text| paragraph(&mut broken, &text));
        }
        if let Some(category) = change.category {
            after.category = category.map(|category| line(&mut broken, "category", &category, CATEGORY_CHARS));
        }
        after.active = change.active.unwrap_or(after.active);
        if !broken.is_empty() {
            return Err(Error::Invalid(broken));
        }
        if after == *self {
            return Ok(None);
        }
        (after.updated_at, after.version, after.sequence) = (now, self.version + 1, self.sequence + 1);
        Ok(Some(after))
    }
}

fn check_price(broken: &mut Vec<FieldError>, price: Amount) {
    if price.is_negative() {
        broken.push(FieldError::new("price", "range", "0 or more"));
    }
}

/// A text of one line, without surrounding white space.
fn line(broken: &mut Vec<FieldError>, field: &str, text: &str, max: usize) -> String {
    let text = text.trim();
    broken.extend(check_line(field, text, 1..=max));
    text.to_owned()
}

fn paragraph(broken: &mut Vec<FieldError>, text: &str) -> String {
    broken.extend(check_text("description", text, 1..=DESCRIPTION_CHARS));
    text.to_owned()
}

/// The text that a search matches, in lower case.
pub(crate) fn search_text(product: &Product) -> String {
    let parts =
        [Some(product.id.as_str()), Some(&product.name), product.category.as_deref(), product.description.as_deref()];
    parts.into_iter().flatten().map(str::to_lowercase).collect::<Vec<_>>().join("\n")
}
