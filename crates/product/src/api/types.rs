//! The shapes of the schema.

use async_graphql::{ID, InputValueError, InputValueResult, Number, Scalar, ScalarType, SimpleObject, Value};
use commerce::Amount;

use crate::domain::Product;

/// A price: a number with at most two decimals, exact on the way in and out.
#[derive(Clone, Copy, Debug)]
pub(super) struct Price(pub(super) Amount);

/// A number; prices have at most two decimals.
#[Scalar(name = "Float")]
impl ScalarType for Price {
    fn parse(value: Value) -> InputValueResult<Self> {
        match value {
            // The shortest text of a number with up to 15 digits is the text that was sent, digit by digit.
            Value::Number(number) => number.to_string().parse().map(Self).map_err(InputValueError::custom),
            other => Err(InputValueError::expected_type(other)),
        }
    }

    fn is_valid(value: &Value) -> bool {
        matches!(value, Value::Number(_))
    }

    fn to_value(&self) -> Value {
        let minor = self.0.minor();
        if minor % 100 == 0 {
            return Value::Number((minor / 100).into());
        }
        let nearest = self.0.to_string().parse().ok().and_then(Number::from_f64);
        nearest.map_or(Value::Null, Value::Number)
    }
}

/// A product of the catalogue.
#[derive(Clone, Debug, SimpleObject)]
#[graphql(name = "Product")]
pub(super) struct ProductView {
    /// The SKU, 1 to 64 characters, case-sensitive.
    id: ID,
    /// The number that people use, from 1.
    number: i64,
    name: String,
    // Up to 4,000 characters, where most fields are short.
    #[graphql(complexity = 5)]
    description: Option<String>,
    category: Option<String>,
    price: Price,
    /// Currency of the price (ISO 4217).
    currency: String,
    /// Whether it is on sale.
    active: bool,
    /// The number of changes, from 1.
    version: i64,
}

impl From<Product> for ProductView {
    fn from(product: Product) -> Self {
        Self {
            id: ID(product.id.into()),
            number: product.number,
            name: product.name,
            description: product.description,
            category: product.category,
            price: Price(product.price),
            currency: product.currency.as_str().to_owned(),
            active: product.active,
            version: product.version,
        }
    }
}

/// A page of the catalogue.
#[derive(Debug, SimpleObject)]
pub(super) struct ProductConnection {
    pub(super) edges: Vec<ProductEdge>,
    pub(super) page_info: PageInfo,
    /// Number of products that match the filter, on all pages.
    pub(super) total_count: u64,
}

/// A product and its cursor.
#[derive(Debug, SimpleObject)]
pub(super) struct ProductEdge {
    pub(super) cursor: String,
    pub(super) node: ProductView,
}

/// First and last cursor of a page, and whether there are more pages.
#[derive(Debug, SimpleObject)]
pub(super) struct PageInfo {
    pub(super) has_next_page: bool,
    pub(super) has_previous_page: bool,
    pub(super) start_cursor: Option<String>,
    pub(super) end_cursor: Option<String>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_price_is_exact_in_and_out() {
        for (text, graphql_error) in [
            ("899.99", "899.99"),
            ("0.1", "0.1"),
            ("5", "5"),
            ("5.00", "5"),
            ("9999999999999.99", "9999999999999.99"),
            ("1e2", "100"),
            ("0.29", "0.29"),
        ] {
            let value: Value = serde_json::from_str(text).unwrap();
            let price = Price::parse(value).unwrap();
            assert_eq!(serde_json::to_string(&price.to_value()).unwrap(), graphql_error);
        }
        for bad in ["12.345", "1e20", "\"5\"", "true", "0.001"] {
            assert!(Price::parse(serde_json::from_str(bad).unwrap()).is_err(), "{bad}");
        }
    }
}
