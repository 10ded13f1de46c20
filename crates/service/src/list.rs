//! The query of a list: a filter of its own, and the paging that all lists share.

use axum::extract::FromRequestParts;
use chassis::{Kind, Problem, from_query};
use commerce::page::{BadPage, PageQuery};
use http::request::Parts;
use serde::de::DeserializeOwned;

/// The paging parameters, named as in [`PageQuery`].
const PAGING: [&str; 4] = ["limit", "cursor", "page", "include_total"];

/// Extracts the query of a list. `F` denies unknown fields and holds only the list's own.
#[derive(Clone, Debug, Default)]
pub struct List<F> {
    /// Which rows.
    pub filter: F,
    /// Which part of them.
    pub paging: PageQuery,
}

impl<F: DeserializeOwned> List<F> {
    fn parse(query: &str) -> Result<Self, Problem> {
        let (paging, filter): (Vec<&str>, Vec<&str>) =
            query.split('&').partition(|pair| PAGING.contains(&pair.split('=').next().unwrap_or_default()));
        Ok(Self { filter: from_query(&filter.join("&"))?, paging: from_query(&paging.join("&"))? })
    }
}

impl<F: DeserializeOwned, S: Send + Sync> FromRequestParts<S> for List<F> {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Problem> {
        Self::parse(parts.uri.query().unwrap_or_default())
    }
}

/// The problem (400) for paging parameters that cannot be used.
pub fn bad_page(bad: BadPage) -> Problem {
    Problem::new(Kind::Unreadable, bad.to_string())
}

#[cfg(test)]
mod tests {
    use serde::Deserialize;

    use super::*;

    #[derive(Debug, Default, PartialEq, Deserialize)]
    #[serde(deny_unknown_fields, default)]
    struct Filter {
        status: Vec<String>,
    }

    #[test]
    fn paging_and_filter_are_told_apart_by_name() {
        let list = List::<Filter>::parse("status=a&limit=5&status=b&include_total=true").expect("parses");
        assert_eq!(list.filter.status, ["a", "b"]);
        assert_eq!((list.paging.limit, list.paging.include_total), (Some(5), Some(true)));
        assert_eq!(List::<Filter>::parse("").expect("parses").filter, Filter::default());
    }

    #[test]
    fn an_unknown_name_a_repeated_limit_and_a_bad_number_are_refused() {
        for query in ["colour=red", "limit=1&limit=2", "limit=x", "limits=1"] {
            assert_eq!(List::<Filter>::parse(query).expect_err(query).kind(), Kind::Unreadable, "{query}");
        }
    }
}
