//! Lists of products in requests, in both shapes of the old fleet.

use serde_json::{Value, json};

use super::{Refusal, Shop, numbers::Kind};
use crate::dialects::{api_client::ApiResponse, values::text};

/// Most pieces of a line, as in the API.
const MAX_PIECES: i64 = 1_000_000;

/// A line of a request.
#[derive(Debug, Clone)]
pub(super) struct Line {
    /// The product as the request names it.
    pub(super) named: String,
    /// Pieces.
    pub(super) quantity: i64,
}

/// A line with a product of the catalogue.
#[derive(Debug)]
pub(super) struct CatalogueLine {
    /// The product as the request names it.
    pub(super) named: String,
    /// The product's id.
    pub(super) product_id: String,
    /// Pieces.
    pub(super) quantity: i64,
}

/// The list `produits`: `{produit_id|id, quantite|qte}` each, at least one unless `may_be_empty`.
pub(super) fn read(body: &Value, may_be_empty: bool) -> Result<Vec<Line>, Refusal> {
    let none = Vec::new();
    let items = match &body["produits"] {
        Value::Array(items) => items,
        Value::Null if may_be_empty => &none,
        _ => return Err(Refusal::field(json!(["body", "produits"]), "field required")),
    };
    if items.is_empty() && !may_be_empty {
        return Err(Refusal::field(json!(["body", "produits"]), "at least one item is required"));
    }
    let mut lines = Vec::with_capacity(items.len());
    for (index, item) in items.iter().enumerate() {
        let (id, product) = either(item, "produit_id", "id");
        let named = text(product).ok_or_else(|| Refusal::field(json!(["body", "produits", index, id]), "required"))?;
        let (field, quantity) = either(item, "quantite", "qte");
        let quantity = quantity.as_i64().filter(|pieces| (1..=MAX_PIECES).contains(pieces)).ok_or_else(|| {
            Refusal::field(json!(["body", "produits", index, field]), &format!("a whole number from 1 to {MAX_PIECES}"))
        })?;
        lines.push(Line { named, quantity });
    }
    Ok(lines)
}

/// The member of the first name, or else that of the second.
fn either<'a>(item: &'a Value, first: &'static str, second: &'static str) -> (&'static str, &'a Value) {
    if item[first].is_null() { (second, &item[second]) } else { (first, &item[first]) }
}

/// The number of `7`, `"7"` and `"produit_7"`.
pub(super) fn number(named: &str) -> Option<i64> {
    named.strip_prefix("produit_").unwrap_or(named).parse().ok()
}

/// An unknown product, as the request names it.
pub(super) struct Unknown(pub(super) String);

impl From<Unknown> for Refusal {
    fn from(Unknown(named): Unknown) -> Self {
        Self::bad(format!("Produit inconnu: {named}"))
    }
}

/// The lines with product ids, or the first unknown product.
pub(super) async fn resolve(shop: &Shop, lines: Vec<Line>) -> Result<Result<Vec<CatalogueLine>, Unknown>, ApiResponse> {
    let mut resolved = Vec::with_capacity(lines.len());
    for Line { named, quantity } in lines {
        match product(shop, &named).await? {
            Some(product_id) => resolved.push(CatalogueLine { named, product_id, quantity }),
            None => return Ok(Err(Unknown(named))),
        }
    }
    Ok(Ok(resolved))
}

/// The id of a product that is named by its number or id.
pub(super) async fn product(shop: &Shop, named: &str) -> Result<Option<String>, ApiResponse> {
    if let Some(number) = number(named) {
        return shop.numbers.id(&shop.api, Kind::Products, number).await;
    }
    let known = shop.numbers.number(&shop.api, Kind::Products, named).await?;
    Ok(known.map(|_| named.to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_shapes_are_read() {
        for body in [
            json!({"produits": [{"produit_id": 1, "quantite": 3}]}),
            json!({"produits": [{"id": 1, "qte": 3}]}),
            json!({"produits": [{"id": "produit_1", "quantite": 3}]}),
        ] {
            let lines = read(&body, false).expect("lines");
            assert_eq!((number(&lines[0].named), lines[0].quantity), (Some(1), 3), "{body}");
        }
        for body in [json!({}), json!({"produits": []}), json!({"produits": [{"id": 1}]})] {
            assert!(read(&body, false).is_err(), "{body}");
        }
        assert_eq!(read(&json!({}), true).ok().map(|lines| lines.len()), Some(0));
        assert!(read(&json!({"produits": [{"id": 1, "qte": 0}]}), true).is_err());
    }

    #[test]
    fn a_product_is_named_by_its_number_in_three_ways() {
        assert_eq!([number("7"), number("produit_7"), number("TEA")], [Some(7), Some(7), None]);
    }
}
