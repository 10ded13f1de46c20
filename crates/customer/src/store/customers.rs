//! Customers in SQL.

use commerce::page::Window;
use commerce::{CustomerId, Timestamp};
use db::{Tx, Value, insert, query};

use super::rows::{CUSTOMER, CUSTOMER_COLUMNS, address_text, customer, customer_row, email_lower};
use super::{Filter, Key, Render, Reply, SqlStore, keys, repeats, sql::next_number};
use crate::audit::CustomerFact;
use crate::domain::{Change, Customer, NewCustomer, Profile, search_text};
use crate::error::Error;
use crate::events;

const FACTS_PAGE: i64 = 1_000;

pub(super) async fn create(
    store: &SqlStore,
    new: NewCustomer,
    key: Option<Key>,
    render: Render<Customer>,
) -> Result<Reply, Error> {
    let mut tx = store.db.write().await?;
    if let Some(reply) = repeats::find(&mut tx, key.as_ref()).await? {
        return Ok(reply);
    }
    let known = match &new.id {
        Some(id) => load(&mut tx, id).await?,
        None => None,
    };
    let (customer, created) = match known {
        Some(known) if known.created_from.as_ref() == Some(&new.created_from) => (known, false),
        Some(_) => return Err(Error::IdTaken),
        None => (add(&mut tx, new.id, new.profile, Some(new.created_from)).await?, true),
    };
    let reply = render(&customer, created);
    repeats::keep(&mut tx, key.as_ref(), customer.id.as_str(), &reply).await?;
    tx.commit().await?;
    Ok(reply)
}

/// Inserts a customer with his first event.
pub(super) async fn add(
    tx: &mut Tx,
    id: Option<CustomerId>,
    profile: Profile,
    created_from: Option<String>,
) -> Result<Customer, Error> {
    let now = Timestamp::now();
    if let Some(email) = email_lower(&profile)
        && query("select 1 as one from users where email_lower = $1 and customer_id is null")
            .bind(email)
            .fetch_optional(tx)
            .await?
            .is_some()
    {
        // A user without a customer has this address: two people must not be reached by one.
        return Err(Error::EmailTaken);
    }
    let customer = Customer {
        id: id.unwrap_or_else(CustomerId::new),
        number: next_number(tx, "customer").await?,
        profile,
        created_from,
        created_at: now,
        updated_at: now,
        version: 1,
        sequence: 1,
        anonymised_at: None,
    };
    insert("customers", CUSTOMER_COLUMNS, [customer_row(&customer)]).execute(tx).await?;
    events::created(tx, &customer).await?;
    Ok(customer)
}

pub(super) async fn load(tx: &mut Tx, id: &CustomerId) -> Result<Option<Customer>, Error> {
    let row =
        query(format!("select {CUSTOMER} from customers where id = $1")).bind(id.as_str()).fetch_optional(tx).await?;
    row.as_ref().map(customer).transpose()
}

pub(super) async fn list(
    store: &SqlStore,
    filter: Filter,
    window: Window<i64>,
) -> Result<(Vec<Customer>, Option<u64>), Error> {
    let mut conditions: Vec<String> = Vec::new();
    let mut values: Vec<Value> = Vec::new();
    let mut place = |value: Value| {
        values.push(value);
        values.len()
    };
    if filter.ids.is_empty() {
        // He who is forgotten is found by his id alone, from his orders.
        conditions.push("anonymised_at is null".into());
    } else {
        let ids = serde_json::Value::from(filter.ids).to_string();
        conditions.push(format!("id in {{list ${}}}", place(ids.into())));
    }
    if let Some(email) = filter.email {
        conditions.push(format!("email_lower = ${}", place(email.to_lowercase().into())));
    }
    if let Some(search) = filter.search {
        conditions.push(format!("search like ${} escape '\\'", place(contains(&search).into())));
    }
    let mut tx = store.db.snapshot().await?;
    let total = if window.include_total {
        let text = format!("select count(*) as n from customers where {}", conditions.join(" and "));
        let counted = values.iter().cloned().fold(query(text), db::Query::bind).fetch_one(&mut tx).await?;
        Some(u64::try_from(counted.get::<i64>("n")?).unwrap_or(0))
    } else {
        None
    };
    if let Some(after) = window.after {
        values.push(after.into());
        conditions.push(format!("number > ${}", values.len()));
    }
    let next = values.len() + 1;
    let text = format!(
        "select {CUSTOMER} from customers where {} order by number limit ${next} offset ${}",
        conditions.join(" and "),
        next + 1
    );
    let rows = values
        .into_iter()
        .fold(query(text), db::Query::bind)
        .bind(window.fetch())
        .bind(window.offset)
        .fetch_all(&mut tx)
        .await?;
    Ok((rows.iter().map(customer).collect::<Result<_, _>>()?, total))
}

/// A pattern for texts that contain this one, whatever signs it has.
fn contains(text: &str) -> String {
    let mut pattern = String::from("%");
    for char in text.to_lowercase().chars() {
        if matches!(char, '%' | '_' | '\\') {
            pattern.push('\\');
        }
        pattern.push(char);
    }
    pattern.push('%');
    pattern
}

pub(super) async fn change(
    store: &SqlStore,
    id: &CustomerId,
    seen: Option<i64>,
    change: Change,
) -> Result<Customer, Error> {
    let mut tx = store.db.write().await?;
    let before = load(&mut tx, id).await?.ok_or(Error::NotFound("customer"))?;
    if before.anonymised_at.is_some() {
        return Err(Error::Anonymised);
    }
    check_seen(&before, seen)?;
    let profile = change.apply(&before.profile)?;
    if profile == before.profile {
        return Ok(before);
    }
    let after = before.changed(profile, Timestamp::now());
    save(&mut tx, &after).await?;
    events::updated(&mut tx, &after).await?;
    tx.commit().await?;
    Ok(after)
}

fn check_seen(customer: &Customer, seen: Option<i64>) -> Result<(), Error> {
    match seen {
        Some(seen) if seen != customer.version => Err(Error::Stale { version: customer.version }),
        _ => Ok(()),
    }
}

async fn save(tx: &mut Tx, customer: &Customer) -> Result<(), Error> {
    let profile = &customer.profile;
    query(
        "update customers set name = $2, first_name = $3, last_name = $4, email = $5, email_lower = $6, phone = $7, \
         address = $8, search = $9, created_from = $10, updated_at = $11, version = $12, sequence = $13, \
         anonymised_at = $14 where id = $1",
    )
    .bind(customer.id.as_str())
    .bind(customer.name())
    .bind(profile.first_name.clone())
    .bind(profile.last_name.clone())
    .bind(profile.email.clone())
    .bind(email_lower(profile))
    .bind(profile.phone.clone())
    .bind(address_text(profile))
    .bind(if customer.anonymised_at.is_some() { String::new() } else { search_text(profile) })
    .bind(customer.created_from.clone())
    .bind(customer.updated_at.micros())
    .bind(customer.version)
    .bind(customer.sequence)
    .bind(customer.anonymised_at.map(Timestamp::micros))
    .execute(tx)
    .await?;
    Ok(())
}

pub(super) async fn anonymise(store: &SqlStore, id: &CustomerId, seen: Option<i64>) -> Result<Vec<String>, Error> {
    let mut tx = store.db.write().await?;
    let before = load(&mut tx, id).await?.ok_or(Error::NotFound("customer"))?;
    if before.anonymised_at.is_some() {
        return Ok(Vec::new());
    }
    check_seen(&before, seen)?;
    let after = before.anonymised(Timestamp::now());
    save(&mut tx, &after).await?;
    let user = query("delete from users where customer_id = $1 returning id")
        .bind(id.as_str())
        .fetch_optional(&mut tx)
        .await?;
    let ended = match user {
        Some(row) => {
            let user_id: String = row.get("id")?;
            repeats::forget(&mut tx, &user_id).await?;
            keys::end_tokens(&mut tx, &user_id).await?
        }
        None => Vec::new(),
    };
    repeats::forget(&mut tx, id.as_str()).await?;
    events::forget(&mut tx, &after).await?;
    events::anonymised(&mut tx, &after).await?;
    tx.commit().await?;
    Ok(ended)
}

pub(super) async fn facts(store: &SqlStore, after: &str) -> Result<Vec<CustomerFact>, Error> {
    let mut tx = store.db.read().await?;
    let rows = query("select id, sequence, anonymised_at from customers where id > $1 order by id limit $2")
        .bind(after)
        .bind(FACTS_PAGE)
        .fetch_all(&mut tx)
        .await?;
    rows.iter()
        .map(|row| {
            Ok(CustomerFact {
                id: row.get("id")?,
                last_sequence: row.get("sequence")?,
                anonymised: row.get::<Option<i64>>("anonymised_at")?.is_some(),
            })
        })
        .collect()
}
