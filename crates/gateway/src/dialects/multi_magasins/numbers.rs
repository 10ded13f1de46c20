//! The small numbers of products and customers, and the places. Numbers never change, so they are kept.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use serde_json::Value;

use crate::dialects::{
    api_client::{ApiClient, ApiResponse},
    lists,
    values::id,
};

/// More are not kept, so that memory stays small whatever is asked for.
const MOST: usize = 10_000;

/// What has a number.
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

/// Numbers that were asked for before. Cheap to clone.
#[derive(Clone, Default)]
pub(super) struct Numbers(Arc<Mutex<Known>>);

#[derive(Default)]
struct Known {
    ids: HashMap<(Kind, i64), String>,
    numbers: HashMap<(Kind, String), i64>,
}

impl Numbers {
    /// The house's own id of what has this number.
    pub(super) async fn id(&self, api: &ApiClient, kind: Kind, number: i64) -> Result<Option<String>, ApiResponse> {
        let known = self.known().ids.get(&(kind, number)).cloned();
        if known.is_some() {
            return Ok(known);
        }
        let row = lists::numbered(api.get(&["api", kind.as_str()]), number).await?;
        let id = row.as_ref().and_then(|row| row["id"].as_str());
        if let Some(id) = id {
            self.keep(kind, id, number);
        }
        Ok(id.map(ToOwned::to_owned))
    }

    /// The number of what has this id.
    pub(super) async fn number(&self, api: &ApiClient, kind: Kind, id: &str) -> Result<Option<i64>, ApiResponse> {
        let known = self.known().numbers.get(&(kind, id.to_owned())).copied();
        if known.is_some() {
            return Ok(known);
        }
        let row = api.get(&["api", kind.as_str(), id]).send().await;
        if row.is_not_found() {
            return Ok(None);
        }
        let number = row.ok()?["number"].as_i64();
        if let Some(number) = number {
            self.keep(kind, id, number);
        }
        Ok(number)
    }

    /// The same as JSON; null where there is no such thing, or none was said.
    pub(super) async fn render(&self, api: &ApiClient, kind: Kind, id: &Value) -> Result<Value, ApiResponse> {
        match id.as_str() {
            Some(id) => Ok(self.number(api, kind, id).await?.into()),
            None => Ok(Value::Null),
        }
    }

    fn keep(&self, kind: Kind, id: &str, number: i64) {
        let mut known = self.known();
        if known.ids.len() >= MOST || known.numbers.len() >= MOST {
            *known = Known::default();
        }
        known.ids.insert((kind, number), id.to_owned());
        known.numbers.insert((kind, id.to_owned()), number);
    }

    fn known(&self) -> MutexGuard<'_, Known> {
        // A panic in here leaves the maps whole, so poison means nothing.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Where goods are.
#[derive(Debug, Clone)]
pub(super) struct Place {
    pub(super) id: String,
    pub(super) number: i64,
    pub(super) name: String,
    /// A store, or else a logistics centre.
    pub(super) is_store: bool,
}

/// All places in the order of their numbers, but for the online shop: the old fleet had none among its stores.
pub(super) async fn places(api: &ApiClient) -> Result<Vec<Place>, ApiResponse> {
    let rows = lists::whole(|| api.get(&["api", "places"])).await?;
    Ok(rows
        .iter()
        .filter(|row| row["id"] != super::ONLINE)
        .map(|row| Place {
            id: id(row).to_owned(),
            number: row["number"].as_i64().unwrap_or_default(),
            name: row["name"].as_str().unwrap_or_default().to_owned(),
            is_store: row["kind"] == "store",
        })
        .collect())
}
