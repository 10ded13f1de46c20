//! The numbers of products and customers, and the places. Numbers never change, so they are cached.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use serde::Deserialize;

use crate::dialects::{
    api_client::{ApiClient, ApiResponse},
    lists,
    model::Place,
};

/// Most entries of the cache.
const MAX_CACHED: usize = 10_000;

/// A kind of resource with numbers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) enum Kind {
    Products,
    Customers,
}

impl Kind {
    const fn as_str(self) -> &'static str {
        match self {
            Self::Products => "products",
            Self::Customers => "customers",
        }
    }
}

/// The fields that the cache needs of a product or customer.
#[derive(Default, Deserialize)]
#[serde(default)]
struct Numbered {
    id: String,
    number: i64,
}

/// A cache of numbers. Cheap to clone.
#[derive(Clone, Default)]
pub(super) struct Numbers(Arc<Mutex<Cache>>);

#[derive(Default)]
struct Cache {
    ids: HashMap<(Kind, i64), String>,
    numbers: HashMap<(Kind, String), i64>,
}

impl Numbers {
    /// The id of the resource with this number.
    pub(super) async fn id(&self, api: &ApiClient, kind: Kind, number: i64) -> Result<Option<String>, ApiResponse> {
        let known = self.cache().ids.get(&(kind, number)).cloned();
        if known.is_some() {
            return Ok(known);
        }
        let row: Option<Numbered> = lists::by_number(api.get(&["api", kind.as_str()]), number).await?;
        if let Some(row) = &row {
            self.insert(kind, &row.id, number);
        }
        Ok(row.map(|row| row.id))
    }

    /// The number of the resource with this id.
    pub(super) async fn number(&self, api: &ApiClient, kind: Kind, id: &str) -> Result<Option<i64>, ApiResponse> {
        let known = self.cache().numbers.get(&(kind, id.to_owned())).copied();
        if known.is_some() {
            return Ok(known);
        }
        let row = api.get(&["api", kind.as_str(), id]).send().await;
        if row.is_not_found() {
            return Ok(None);
        }
        let Numbered { number, .. } = row.ok()?;
        self.insert(kind, id, number);
        Ok(Some(number))
    }

    /// The same for an id that may be missing.
    pub(super) async fn number_of(
        &self,
        api: &ApiClient,
        kind: Kind,
        id: Option<&str>,
    ) -> Result<Option<i64>, ApiResponse> {
        match id {
            Some(id) => self.number(api, kind, id).await,
            None => Ok(None),
        }
    }

    fn insert(&self, kind: Kind, id: &str, number: i64) {
        let mut cache = self.cache();
        if cache.ids.len() >= MAX_CACHED || cache.numbers.len() >= MAX_CACHED {
            *cache = Cache::default();
        }
        cache.ids.insert((kind, number), id.to_owned());
        cache.numbers.insert((kind, id.to_owned()), number);
    }

    fn cache(&self) -> MutexGuard<'_, Cache> {
        // The maps stay consistent in a panic, so a poisoned lock is harmless.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// All places except the online shop, in the order of their numbers. The old fleet had no online shop among its stores.
pub(super) async fn places(api: &ApiClient) -> Result<Vec<Place>, ApiResponse> {
    let mut places: Vec<Place> = lists::all(|| api.get(&["api", "places"])).await?;
    places.retain(|place| place.id != super::ONLINE);
    Ok(places)
}
