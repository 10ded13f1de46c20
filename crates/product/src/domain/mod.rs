//! Products: types and rules. No I/O, no clock.

mod error;
mod product;

pub(crate) use error::Error;

pub(crate) use product::{Change, NewProduct, Product, search_text};
