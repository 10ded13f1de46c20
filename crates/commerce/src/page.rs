//! Pagination of lists: by `limit` and an opaque signed `cursor`, or by page number.

use aws_lc_rs::hmac;
use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use serde::{Deserialize, Serialize, de::DeserializeOwned};
use utoipa::{IntoParams, ToSchema};

/// Rows per page if the request sets no `limit`.
pub const DEFAULT_LIMIT: u32 = 20;
/// Maximum number of rows per page.
pub const MAX_LIMIT: u32 = 100;
/// The last row that numbered pages reach: an offset beyond it would be slow, a cursor is not.
pub const MAX_NUMBERED_ROWS: u32 = 10_000;

/// The pagination parameters of a list.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, IntoParams, ToSchema)]
#[into_params(parameter_in = Query)]
pub struct PageQuery {
    /// Maximum number of rows in the page, 1 to 100; 20 by default.
    pub limit: Option<u32>,
    /// Continues after the previous page: its `next_cursor`. Cannot be combined with `page`.
    pub cursor: Option<String>,
    /// Page number, from 1 on. Numbered pages reach the first 10,000 rows.
    pub page: Option<u32>,
    /// Whether the response contains `total`; false by default.
    pub include_total: Option<bool>,
}

/// A page of a list.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Page<T> {
    /// The rows.
    pub data: Vec<T>,
    /// The `cursor` of the next page; null on the last page.
    pub next_cursor: Option<String>,
    /// The number of this page, if the request had `page`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub page: Option<u32>,
    /// Number of rows in all pages, if the request had `include_total=true`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub total: Option<u64>,
}

/// The rows to fetch from a store: `limit` rows after `after`, or after `offset` rows.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PageRequest<P> {
    /// Maximum number of rows.
    pub limit: u32,
    /// The position of the last row of the previous page.
    pub after: Option<P>,
    /// Number of rows to skip, for numbered pages.
    pub offset: u32,
    /// The number of the page, for numbered pages.
    pub page: Option<u32>,
    /// Whether to count all rows.
    pub include_total: bool,
}

/// An invalid pagination parameter, and what is allowed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{field}: {message}")]
pub struct BadPage {
    /// `limit`, `cursor` or `page`.
    pub field: &'static str,
    /// What is allowed.
    pub message: String,
}

/// Signs cursors, so that a list accepts only cursors that it issued.
#[derive(Clone)]
pub struct CursorKey(hmac::Key);

impl std::fmt::Debug for CursorKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("CursorKey")
    }
}

const TAG_LEN: usize = 16;

impl CursorKey {
    /// The key of a list (`purpose`), the same on every replica with the secret.
    pub fn derive(secret: &[u8], purpose: &str) -> Self {
        let root = hmac::Key::new(hmac::HMAC_SHA256, secret);
        let tag = hmac::sign(&root, format!("souk cursor: {purpose}").as_bytes());
        Self(hmac::Key::new(hmac::HMAC_SHA256, tag.as_ref()))
    }

    /// The cursor that continues after `position`.
    pub fn encode(&self, position: &impl Serialize) -> String {
        // Positions are plain tuples and structs, which always serialise.
        let body = serde_json::to_vec(position).unwrap_or_default();
        let tag = hmac::sign(&self.0, &body);
        let mut bytes = tag.as_ref()[..TAG_LEN].to_vec();
        bytes.extend_from_slice(&body);
        URL_SAFE_NO_PAD.encode(bytes)
    }

    /// The position in a cursor that this key signed.
    pub fn decode<P: DeserializeOwned>(&self, cursor: &str) -> Result<P, BadPage> {
        let bad = || BadPage {
            field: "cursor",
            message: "not a cursor of this list; use next_cursor of the previous page, or omit it".into(),
        };
        let bytes = URL_SAFE_NO_PAD.decode(cursor).map_err(|_| bad())?;
        let (tag, body) = bytes.split_at_checked(TAG_LEN).ok_or_else(bad)?;
        let expected = hmac::sign(&self.0, body);
        // No constant-time comparison: the tag only prevents forged positions, and a cursor is not a secret.
        if tag != &expected.as_ref()[..TAG_LEN] {
            return Err(bad());
        }
        serde_json::from_slice(body).map_err(|_| bad())
    }
}

impl PageQuery {
    /// Validates the parameters.
    pub fn page_request<P: DeserializeOwned>(&self, key: &CursorKey) -> Result<PageRequest<P>, BadPage> {
        let limit = self.limit.unwrap_or(DEFAULT_LIMIT);
        if !(1..=MAX_LIMIT).contains(&limit) {
            return Err(BadPage { field: "limit", message: format!("{limit} is not from 1 to {MAX_LIMIT}") });
        }
        let offset = match self.page {
            None => 0,
            Some(page) => page
                .checked_sub(1)
                .and_then(|before| before.checked_mul(limit))
                .filter(|offset| offset.saturating_add(limit) <= MAX_NUMBERED_ROWS)
                .ok_or_else(|| BadPage {
                    field: "page",
                    message: format!("pages are numbered from 1 and reach {MAX_NUMBERED_ROWS} rows; use cursor beyond"),
                })?,
        };
        if self.page.is_some() && self.cursor.is_some() {
            return Err(BadPage { field: "page", message: "either page or cursor, not both".into() });
        }
        Ok(PageRequest {
            limit,
            after: self.cursor.as_deref().map(|c| key.decode(c)).transpose()?,
            offset,
            page: self.page,
            include_total: self.include_total.unwrap_or(false),
        })
    }
}

impl<P: Serialize> PageRequest<P> {
    /// The number of rows to fetch: one more than `limit` shows whether there is a next page.
    pub fn fetch(&self) -> i64 {
        i64::from(self.limit) + 1
    }

    /// Builds the page from the fetched rows; `position` returns the position of a row, for the cursor.
    pub fn page<T>(
        &self,
        key: &CursorKey,
        mut rows: Vec<T>,
        total: Option<u64>,
        position: impl Fn(&T) -> P,
    ) -> Page<T> {
        let limit = self.limit as usize;
        let more = rows.len() > limit;
        rows.truncate(limit);
        let next_cursor = rows.last().filter(|_| more).map(|last| key.encode(&position(last)));
        Page { data: rows, next_cursor, page: self.page, total }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cursor_is_accepted_only_by_the_list_that_issued_it() {
        let orders = CursorKey::derive(b"secret", "orders");
        let others = CursorKey::derive(b"secret", "customers");
        let cursor = orders.encode(&(7, "x"));
        assert_eq!(orders.decode::<(i64, String)>(&cursor), Ok((7, "x".to_owned())));
        assert!(others.decode::<(i64, String)>(&cursor).is_err());
        for forged in ["", "AAAA", &cursor[1..], &format!("{cursor}A")] {
            assert!(orders.decode::<(i64, String)>(forged).is_err(), "{forged}");
        }
    }

    #[test]
    fn limits_and_pages_out_of_range_are_refused_with_the_field() {
        let key = CursorKey::derive(b"secret", "orders");
        let field = |query: PageQuery| query.page_request::<i64>(&key).map_err(|e| e.field);
        assert_eq!(field(PageQuery { limit: Some(0), ..Default::default() }), Err("limit"));
        assert_eq!(field(PageQuery { limit: Some(101), ..Default::default() }), Err("limit"));
        assert_eq!(field(PageQuery { page: Some(0), ..Default::default() }), Err("page"));
        assert_eq!(field(PageQuery { page: Some(501), ..Default::default() }), Err("page"));
        assert_eq!(field(PageQuery { page: Some(500), ..Default::default() }).map(|w| w.offset), Ok(9980));
    }
}
