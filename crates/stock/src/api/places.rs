//! `/api/places`: stores and logistics centres.

use auth::{AdminOnly, Allow};
use axum::{
    extract::State,
    http::{HeaderMap, StatusCode, header},
    response::{IntoResponse, Response},
};
use chassis::{FieldError, Json, Path, Problem, Query};
use commerce::{
    PlaceId, Timestamp,
    page::{Page, PageQuery},
};
use serde::{Deserialize, Serialize};
use service::bad_page;
use utoipa::ToSchema;

use super::Api;
use idempotency::KeyedRequest;

use crate::{
    error::Error,
    store::{
        idempotency_keys,
        places::{self, Place},
    },
};

/// Most characters of a name or a line of an address.
const MAX_CHARS: usize = 200;

/// A place that has stock: a store or a logistics centre.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Place)]
pub(crate) struct PlaceBody {
    id: PlaceId,
    /// The number that people use, from 1.
    number: i64,
    name: String,
    /// `store` or `logistics`.
    kind: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    address: Option<Address>,
}

/// A postal address. Each part has 1 to 200 characters.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Address {
    line1: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    line2: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    city: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    state: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    postal_code: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    country: Option<String>,
}

/// A place to create.
#[derive(Debug, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(example = json!({"id": "store-1", "name": "Harbour Street", "kind": "store"}))]
pub(crate) struct NewPlace {
    /// Chosen by the caller, 1 to 64 characters; generated if absent.
    #[serde(default)]
    id: Option<String>,
    /// 1 to 200 characters.
    name: String,
    /// `store` or `logistics`.
    kind: String,
    #[serde(default)]
    address: Option<Address>,
}

impl From<Place> for PlaceBody {
    fn from(place: Place) -> Self {
        Self {
            id: place.id,
            number: place.number,
            name: place.name,
            kind: place.kind,
            // Stored from the same type, by this version or an earlier one.
            address: place.address.and_then(|text| serde_json::from_str(&text).ok()),
        }
    }
}

/// List places
///
/// Sorted by number. No token is needed.
#[utoipa::path(get, path = "/api/places", operation_id = "listPlaces", params(PageQuery), responses((status = 200, body = Page<PlaceBody>)), tag = "places")]
pub(crate) async fn list_places(
    State(api): State<Api>,
    Query(query): Query<PageQuery>,
) -> Result<Json<Page<PlaceBody>>, Problem> {
    let paging = query.page_request::<i64>(&api.cursors.places).map_err(bad_page)?;
    let (rows, total) = async {
        let mut tx = api.db.snapshot().await?;
        let total = if paging.include_total { Some(places::count(&mut tx).await?) } else { None };
        Ok::<_, Error>((places::list(&mut tx, &paging).await?, total))
    }
    .await?;
    let total = total.and_then(|total| u64::try_from(total).ok());
    let rows: Vec<PlaceBody> = rows.into_iter().map(Into::into).collect();
    Ok(Json(paging.page(&api.cursors.places, rows, total, |place| place.number)))
}

/// Get a place
///
/// No token is needed.
#[utoipa::path(get, path = "/api/places/{id}", operation_id = "getPlace", params(("id" = PlaceId, Path)), responses((status = 200, body = PlaceBody)), tag = "places")]
pub(crate) async fn get_place(State(api): State<Api>, Path(id): Path<PlaceId>) -> Result<Json<PlaceBody>, Problem> {
    let place = async {
        let mut tx = api.db.read().await?;
        places::get(&mut tx, &id).await
    }
    .await?;
    place.map(|place| Json(place.into())).ok_or_else(|| Problem::not_found("place"))
}

/// Create a place
///
/// A repeat with the same id and content gets 200 and the existing place. For admins.
#[utoipa::path(post, path = "/api/places", operation_id = "createPlace", request_body = NewPlace,
    params(("Idempotency-Key" = Option<String>, Header)),
    responses((status = 201, body = PlaceBody), (status = 200, body = PlaceBody, description = "The place exists already"),
        (status = 409, description = "A different place has this id"), (status = 422, description = "A field breaks a rule")),
    tag = "places")]
pub(crate) async fn create_place(
    State(api): State<Api>,
    caller: Allow<AdminOnly>,
    headers: HeaderMap,
    Json(new): Json<NewPlace>,
) -> Result<Response, Problem> {
    let keyed = KeyedRequest::from_headers(&headers, &caller.subject, "POST /api/places", &new)?;
    let place = parse_place(new)?;
    let Saved { body, status } = save(&api, &place, keyed.as_ref()).await?;
    let id = place.id.as_str();
    let headers =
        [(header::CONTENT_TYPE, "application/json".to_owned()), (header::LOCATION, format!("/api/places/{id}"))];
    Ok((status, headers, body).into_response())
}

/// The response of a create.
struct Saved {
    /// The place, as JSON.
    body: String,
    /// Created, also for a repeat under the same idempotency key; or OK if the place existed before.
    status: StatusCode,
}

async fn save(api: &Api, place: &Place, keyed: Option<&KeyedRequest>) -> Result<Saved, Error> {
    let mut tx = api.db.write().await?;
    if let Some(body) = idempotency_keys::find(&mut tx, keyed).await? {
        return Ok(Saved { body, status: StatusCode::CREATED });
    }
    tx.lock([format!("place/{}", place.id)]).await?;
    let now = Timestamp::now();
    let before = places::get(&mut tx, &place.id).await?;
    let after = places::get_or_insert(&mut tx, place, now).await?;
    let same = Place { number: place.number, ..after.clone() } == *place;
    if !same {
        return Err(Error::PlaceExists(place.id.to_string()));
    }
    let body = serde_json::to_string(&PlaceBody::from(after)).unwrap_or_default();
    idempotency_keys::store(&mut tx, keyed, &body, now).await?;
    tx.commit().await?;
    let status = if before.is_none() { StatusCode::CREATED } else { StatusCode::OK };
    Ok(Saved { body, status })
}

fn parse_place(new: NewPlace) -> Result<Place, Problem> {
    let mut errors = Vec::new();
    let mut length = |field: &str, text: Option<&String>| {
        if text.is_some_and(|text| text.trim().is_empty() || text.chars().count() > MAX_CHARS) {
            errors.push(FieldError::new(field, "length", format!("1 to {MAX_CHARS} characters")));
        } else if text.is_some_and(|text| text.contains(char::is_control)) {
            errors.push(FieldError::new(field, "characters", "no control characters"));
        }
    };
    length("name", Some(&new.name));
    if let Some(address) = &new.address {
        length("address.line1", Some(&address.line1));
        length("address.line2", address.line2.as_ref());
        length("address.city", address.city.as_ref());
        length("address.state", address.state.as_ref());
        length("address.postal_code", address.postal_code.as_ref());
        length("address.country", address.country.as_ref());
    }
    if !["store", "logistics"].contains(&new.kind.as_str()) {
        errors.push(FieldError::new("kind", "one_of", "store or logistics"));
    }
    let id = match new.id.as_deref().map(PlaceId::parse) {
        None => PlaceId::new(),
        Some(Ok(id)) => id,
        Some(Err(err)) => {
            errors.push(FieldError::new("id", "id", err.to_string()));
            PlaceId::new()
        }
    };
    if !errors.is_empty() {
        return Err(Problem::fields(errors));
    }
    Ok(Place {
        id,
        number: 0,
        name: new.name,
        kind: new.kind,
        address: new.address.and_then(|address| serde_json::to_string(&address).ok()),
    })
}
