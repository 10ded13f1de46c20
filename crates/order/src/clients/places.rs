//! The REST API of the stock service: places and stock levels.

use std::{
    collections::HashMap,
    sync::{Arc, RwLock},
};

use serde::Deserialize;

use service::RestPeer;

use super::Error;

/// Most products or places in one request for levels, and most levels in one answer.
const MAX_LEVELS: usize = 100;
/// Most answers that a report reads.
const MAX_ANSWERS: usize = 100;

/// The places. Places are few and never deleted, so known ones are cached; unknown ones are requested each time.
#[derive(Clone)]
pub(super) struct Places {
    peer: RestPeer,
    /// The kind of each known place.
    kinds: Arc<RwLock<HashMap<String, String>>>,
}

impl Places {
    pub(super) fn new(peer: RestPeer) -> Self {
        Self { peer, kinds: Arc::default() }
    }

    /// The kind of a place; `None` when it does not exist.
    pub(super) async fn kind(&self, id: &str) -> Result<Option<String>, Error> {
        #[derive(Deserialize)]
        struct Place {
            #[serde(default)]
            kind: String,
        }
        if let Some(kind) = self.kinds.read().ok().and_then(|kinds| kinds.get(id).cloned()) {
            return Ok(Some(kind));
        }
        let request = self.peer.get(&format!("/api/places/{id}"));
        let Some(Place { kind }) = self.peer.find(request, "place.not_found").await? else { return Ok(None) };
        if let Ok(mut kinds) = self.kinds.write() {
            kinds.insert(id.to_owned(), kind.clone());
        }
        Ok(Some(kind))
    }
}

/// The stock levels.
#[derive(Clone)]
pub(super) struct Levels {
    peer: RestPeer,
}

/// The stock level of a product at a place.
#[derive(Debug, Clone, Deserialize)]
pub(crate) struct Level {
    pub(crate) product_id: String,
    pub(crate) place_id: String,
    pub(crate) on_hand: i64,
    pub(crate) available: i64,
}

#[derive(Deserialize)]
struct LevelList {
    data: Vec<Level>,
    next_cursor: Option<String>,
}

/// Which levels, by their available pieces.
#[derive(Debug, Clone, Copy)]
pub(crate) enum AvailabilityBound {
    AtLeast(i64),
    AtMost(i64),
}

impl Levels {
    pub(super) fn new(peer: RestPeer) -> Self {
        Self { peer }
    }

    /// The levels within a bound, in these places or in all; and whether there are more than were read.
    pub(super) async fn list(
        &self,
        bound: AvailabilityBound,
        places: Option<&[String]>,
    ) -> Result<(Vec<Level>, bool), Error> {
        let (name, number) = match bound {
            AvailabilityBound::AtLeast(number) => ("min_available", number.to_string()),
            AvailabilityBound::AtMost(number) => ("max_available", number.to_string()),
        };
        // Without places one request has no `place_id`, which means all.
        let groups: Vec<&[String]> = places.map_or_else(|| vec![&[][..]], |places| places.chunks(MAX_LEVELS).collect());
        let mut found = Vec::new();
        let mut answers = 0;
        for group in groups {
            let mut cursor: Option<String> = None;
            loop {
                if answers == MAX_ANSWERS {
                    return Ok((found, true));
                }
                let mut query: Vec<(&str, &str)> = vec![(name, &number), ("limit", "100")];
                query.extend(group.iter().map(|place| ("place_id", place.as_str())));
                query.extend(cursor.as_deref().map(|cursor| ("cursor", cursor)));
                let list: LevelList = self.peer.json(self.peer.get("/api/stock/levels").query(&query)).await?;
                answers += 1;
                found.extend(list.data);
                cursor = list.next_cursor;
                if cursor.is_none() {
                    break;
                }
            }
        }
        Ok((found, false))
    }

    /// Available pieces of products at a place; products that it never had are missing.
    pub(super) async fn available(&self, place_id: &str, ids: &[String]) -> Result<HashMap<String, i64>, Error> {
        let mut found = HashMap::with_capacity(ids.len());
        for ids in ids.chunks(MAX_LEVELS) {
            let products = ids.iter().map(|id| ("product_id", id.as_str()));
            let query: Vec<(&str, &str)> = products.chain([("place_id", place_id), ("limit", "100")]).collect();
            let list: LevelList = self.peer.json(self.peer.get("/api/stock/levels").query(&query)).await?;
            found.extend(list.data.into_iter().map(|level| (level.product_id, level.available)));
        }
        Ok(found)
    }
}
