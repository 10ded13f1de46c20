//! Products: what they are and what holds of them. No I/O, no clock.

mod product;

pub(crate) use product::{Change, NewProduct, Product, search_text};
