//! The bodies and queries of `/api/products`.

use chassis::{FieldError, Problem};
use commerce::{Amount, Currency, ProductId};
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

/// A product of the catalogue.
#[derive(Debug, Serialize, Deserialize, ToSchema)]
pub(crate) struct Product {
    /// The SKU, such as TEA-1.
    pub(super) id: ProductId,
    /// The number that people use, from 1.
    pub(super) number: i64,
    /// The name, 1 to 200 characters.
    pub(super) name: String,
    /// The description.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) description: Option<String>,
    /// The category.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) category: Option<String>,
    /// The price of one piece, with at most two decimals.
    pub(super) price: Amount,
    /// The currency of the price, such as EUR.
    pub(super) currency: Currency,
    /// Whether the product is sold.
    pub(super) active: bool,
    /// The version, which grows with each change; also the `ETag`.
    pub(super) version: i64,
}

/// A new product.
#[derive(Debug, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct NewProduct {
    /// The SKU; generated if missing.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) id: Option<ProductId>,
    /// The name, 1 to 200 characters.
    pub(super) name: String,
    /// The description.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) description: Option<String>,
    /// The category.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) category: Option<String>,
    /// The price of one piece, with at most two decimals.
    pub(super) price: Amount,
    /// The currency of the price, such as EUR.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) currency: Option<Currency>,
    /// Whether the product is sold; true by default.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) active: Option<bool>,
}

/// A change of a product. Missing fields keep their values.
#[derive(Debug, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct ProductPatch {
    /// The name, 1 to 200 characters.
    #[serde(default, deserialize_with = "present_or_null", skip_serializing_if = "Option::is_none")]
    #[schema(value_type = String, required = false)]
    pub(super) name: Option<Option<String>>,
    /// The description; null removes it.
    #[serde(default, deserialize_with = "present_or_null", skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>)]
    pub(super) description: Option<Option<String>>,
    /// The category; null removes it.
    #[serde(default, deserialize_with = "present_or_null", skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>)]
    pub(super) category: Option<Option<String>>,
    /// The price of one piece, with at most two decimals.
    #[serde(default, deserialize_with = "present_or_null", skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Amount, required = false)]
    pub(super) price: Option<Option<Amount>>,
    /// Whether the product is sold.
    #[serde(default, deserialize_with = "present_or_null", skip_serializing_if = "Option::is_none")]
    #[schema(value_type = bool, required = false)]
    pub(super) active: Option<Option<bool>>,
}

impl ProductPatch {
    /// Refuses null for required fields.
    pub(super) fn check(self) -> Result<Self, Problem> {
        let nulls = [
            ("name", self.name == Some(None)),
            ("price", self.price == Some(None)),
            ("active", self.active == Some(None)),
        ];
        let errors: Vec<FieldError> = nulls
            .into_iter()
            .filter(|(_, null)| *null)
            .map(|(field, _)| FieldError::new(field, "required", "must not be null"))
            .collect();
        if errors.is_empty() { Ok(self) } else { Err(Problem::fields(errors)) }
    }
}

/// Distinguishes null from a missing field.
fn present_or_null<'de, D: serde::Deserializer<'de>, T: Deserialize<'de>>(
    deserializer: D,
) -> Result<Option<Option<T>>, D::Error> {
    Option::<T>::deserialize(deserializer).map(Some)
}

/// The filter of the list.
#[derive(Debug, Default, Deserialize, IntoParams)]
#[serde(default, deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(crate) struct ProductQuery {
    /// A text in the name, description or id.
    pub(super) search: Option<String>,
    /// Only products of this category.
    pub(super) category: Option<String>,
    /// Products that are sold (true, the default) or no longer sold (false).
    pub(super) active: Option<bool>,
    /// The product with this number.
    pub(super) number: Option<i64>,
    /// Rows of the page, 1 to 100; 20 by default.
    pub(super) limit: Option<u32>,
    /// The `next_cursor` of the previous page.
    pub(super) cursor: Option<String>,
    /// Whether the response has the `total`.
    pub(super) include_total: Option<bool>,
}
