//! Places: stores and logistics centres.

use commerce::{PlaceId, Timestamp, page::PageRequest};
use db::{Row, Tx};

use crate::error::Error;

/// A stored place.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Place {
    pub(crate) id: PlaceId,
    pub(crate) number: i64,
    pub(crate) name: String,
    /// `store` or `logistics`.
    pub(crate) kind: String,
    /// JSON, as it is returned.
    pub(crate) address: Option<String>,
}

/// Inserts a place, unless its id is taken. Returns the place that has the id now.
pub(crate) async fn get_or_insert(tx: &mut Tx, new: &Place, now: Timestamp) -> Result<Place, Error> {
    // Replicas that start at the same time each create the logistics centre.
    tx.lock([format!("place/{}", new.id)]).await?;
    if let Some(known) = get(tx, &new.id).await? {
        return Ok(known);
    }
    let row =
        db::query("update counters set value = value + 1 where name = 'place' returning value").fetch_one(tx).await?;
    let place = Place { number: row.get("value")?, ..new.clone() };
    db::query("insert into places (id, number, name, kind, address, created_at) values ($1, $2, $3, $4, $5, $6)")
        .bind(place.id.as_str())
        .bind(place.number)
        .bind(&place.name)
        .bind(&place.kind)
        .bind(place.address.clone())
        .bind(now.micros())
        .execute(tx)
        .await?;
    Ok(place)
}

/// One place.
pub(crate) async fn get(tx: &mut Tx, id: &PlaceId) -> Result<Option<Place>, Error> {
    let row = db::query("select id, number, name, kind, address from places where id = $1")
        .bind(id.as_str())
        .fetch_optional(tx)
        .await?;
    row.map(|row| place(&row)).transpose()
}

/// A page of places, by number.
pub(crate) async fn list(tx: &mut Tx, paging: &PageRequest<i64>) -> Result<Vec<Place>, Error> {
    let rows = db::query(
        "select id, number, name, kind, address from places where number > $1 order by number limit $2 offset $3",
    )
    .bind(paging.after.unwrap_or(0))
    .bind(paging.fetch())
    .bind(paging.offset)
    .fetch_all(tx)
    .await?;
    rows.iter().map(place).collect()
}

/// How many places there are.
pub(crate) async fn count(tx: &mut Tx) -> Result<i64, Error> {
    Ok(db::query("select count(*) as n from places").fetch_one(tx).await?.get("n")?)
}

fn place(row: &Row) -> Result<Place, Error> {
    Ok(Place {
        id: PlaceId::trusted(row.get("id")?),
        number: row.get("number")?,
        name: row.get("name")?,
        kind: row.get("kind")?,
        address: row.get("address")?,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(flavor = "multi_thread")]
    async fn replicas_that_start_at_once_create_a_place_once() {
        let store = testkit::store().await.expect("a database");
        let db = store.open(&[bus::MIGRATIONS, crate::store::MIGRATIONS].concat()).await.expect("migrates");
        let place = Place {
            id: PlaceId::trusted("logistics".into()),
            number: 0,
            name: "Logistics centre".into(),
            kind: "logistics".into(),
            address: None,
        };
        let starts: Vec<_> = (0..6)
            .map(|_| {
                let (db, place) = (db.clone(), place.clone());
                tokio::spawn(async move {
                    let mut tx = db.write().await?;
                    get_or_insert(&mut tx, &place, Timestamp::now()).await?;
                    Ok::<_, Error>(tx.commit().await?)
                })
            })
            .collect();
        for start in starts {
            start.await.expect("no panic").expect("is created");
        }
        let mut tx = db.read().await.expect("reads");
        assert_eq!(count(&mut tx).await.expect("counts"), 1);
    }
}
