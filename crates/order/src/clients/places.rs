//! What the stock service says over REST: places, and how much of what is where.

use std::{
    collections::HashMap,
    sync::{Arc, RwLock},
};

use serde::Deserialize;

use super::{Error, Web};

/// Most levels that are asked for at once.
const LEVEL_PAGE: usize = 100;
/// Most pages of levels that a report asks for.
const MOST_PAGES: usize = 100;

/// The places, which are few, never go, and are asked for again when one is not known.
#[derive(Clone)]
pub(super) struct Places {
    web: Web,
    url: String,
    /// What kind each is.
    known: Arc<RwLock<HashMap<String, String>>>,
}

impl Places {
    pub(super) fn new(web: Web, stock_url: &str) -> Self {
        Self { web, url: format!("{stock_url}/api/places"), known: Arc::default() }
    }

    /// What kind of place it is; none where there is no such place.
    pub(super) async fn kind(&self, id: &str) -> Result<Option<String>, Error> {
        #[derive(Deserialize)]
        struct Place {
            #[serde(default)]
            kind: String,
        }
        if let Some(kind) = self.known.read().ok().and_then(|known| known.get(id).cloned()) {
            return Ok(Some(kind));
        }
        match self.web.json::<Place>(self.web.http.get(format!("{}/{id}", self.url))).await {
            Ok(Place { kind }) => {
                if let Ok(mut known) = self.known.write() {
                    known.insert(id.to_owned(), kind.clone());
                }
                Ok(Some(kind))
            }
            Err(Error::Answer(_, status)) if status.starts_with("404") => Ok(None),
            Err(error) => Err(error),
        }
    }
}

/// How much of what is where.
#[derive(Clone)]
pub(super) struct Levels {
    web: Web,
    url: String,
}

/// How much of a product a place can promise.
#[derive(Debug, Clone, Deserialize)]
pub(crate) struct Level {
    pub(crate) product_id: String,
    pub(crate) place_id: String,
    pub(crate) on_hand: i64,
    pub(crate) available: i64,
}

#[derive(Deserialize)]
struct LevelPage {
    data: Vec<Level>,
    next_cursor: Option<String>,
}

/// Which levels.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Bound {
    /// Of which at least so much can be promised.
    Least(i64),
    /// Of which at most so much can be promised.
    Most(i64),
}

impl Levels {
    pub(super) fn new(web: Web, stock_url: &str) -> Self {
        Self { web, url: format!("{stock_url}/api/stock/levels") }
    }

    /// All levels within a bound; and whether there are more than are worth asking for.
    pub(super) async fn all(&self, bound: Bound, places: Option<&Vec<String>>) -> Result<(Vec<Level>, bool), Error> {
        let (name, number) = match bound {
            Bound::Least(number) => ("min_available", number.to_string()),
            Bound::Most(number) => ("max_available", number.to_string()),
        };
        let mut found = Vec::new();
        let mut cursor: Option<String> = None;
        for _ in 0..MOST_PAGES {
            let mut query: Vec<(&str, &str)> = vec![(name, &number), ("limit", "100")];
            query.extend(places.into_iter().flatten().take(LEVEL_PAGE).map(|place| ("place_id", place.as_str())));
            query.extend(cursor.as_deref().map(|cursor| ("cursor", cursor)));
            let page: LevelPage = self.web.json(self.web.http.get(&self.url).query(&query)).await?;
            found.extend(page.data);
            cursor = page.next_cursor;
            if cursor.is_none() {
                return Ok((found, false));
            }
        }
        Ok((found, true))
    }

    /// Pieces that can be promised; products that the place never had are missing.
    pub(super) async fn available(&self, place_id: &str, ids: &[String]) -> Result<HashMap<String, i64>, Error> {
        let mut found = HashMap::with_capacity(ids.len());
        for ids in ids.chunks(LEVEL_PAGE) {
            let asked = ids.iter().map(|id| ("product_id", id.as_str()));
            let query: Vec<(&str, &str)> = asked.chain([("place_id", place_id), ("limit", "100")]).collect();
            let page: LevelPage = self.web.json(self.web.http.get(&self.url).query(&query)).await?;
            found.extend(page.data.into_iter().map(|level| (level.product_id, level.available)));
        }
        Ok(found)
    }
}
