//! Products: what they are and what holds of them. No I/O, no clock.

mod error;
mod product;

pub(crate) use error::Error;

pub(crate) use product::{Change, NewProduct, Product, search_text};
