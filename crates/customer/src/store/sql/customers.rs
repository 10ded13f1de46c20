//! Customers in SQL.

use bus::outbox;
use commerce::page::PageRequest;
use commerce::{CustomerId, Timestamp};
use db::{Tx, insert, query};

use super::rows::{CUSTOMER, CUSTOMER_COLUMNS, address_text, customer, customer_row, email_lower};
use super::{Lock, SqlStore, idempotency_keys, keys, next_number};
use crate::domain::{Change, Customer, NewCustomer, Profile, search_text};
use crate::error::Error;
use crate::events;
use crate::store::{Filter, Render};
use idempotency::{KeyedRequest, StoredResponse};

const FACTS_PAGE: i64 = 1_000;

pub(crate) async fn create(
    store: &SqlStore,
    new: NewCustomer,
    key: Option<KeyedRequest>,
    render: Render<Customer>,
) -> Result<StoredResponse, Error> {
    let mut tx = store.db.write().await?;
    if let Some(key) = &key {
        Lock::Key(&key.key).take(&mut tx).await?;
    }
    if let Some(reply) = idempotency_keys::find(&mut tx, key.as_ref()).await? {
        return Ok(reply);
    }
    if let Some(id) = &new.id {
        Lock::Customer(id.as_str()).take(&mut tx).await?;
    }
    if let Some(email) = email_lower(&new.profile) {
        Lock::Email(&email).take(&mut tx).await?;
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
    idempotency_keys::store(&mut tx, key.as_ref(), customer.id.as_str(), &reply).await?;
    tx.commit().await?;
    Ok(reply)
}

/// Inserts a customer with its first event.
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
        // A user without a customer has this address; two people must not share one.
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
    outbox::append(tx, crate::NAME, vec![events::created(&customer)]).await?;
    Ok(customer)
}

pub(crate) async fn find(store: &SqlStore, id: &CustomerId) -> Result<Option<Customer>, Error> {
    load(&mut store.db.read().await?, id).await
}

pub(super) async fn load(tx: &mut Tx, id: &CustomerId) -> Result<Option<Customer>, Error> {
    let row =
        query(format!("select {CUSTOMER} from customers where id = $1")).bind(id.as_str()).fetch_optional(tx).await?;
    row.as_ref().map(customer).transpose()
}

pub(crate) async fn list(
    store: &SqlStore,
    filter: Filter,
    window: PageRequest<i64>,
) -> Result<(Vec<Customer>, Option<u64>), Error> {
    if filter.is_futile() {
        return Ok((Vec::new(), window.include_total.then_some(0)));
    }
    let mut conditions = db::Filter::new("number > 0");
    if filter.ids.is_empty() {
        // An anonymised customer is found by its id only, from its orders.
        conditions.and_plain("anonymised_at is null");
    } else {
        conditions.and("id in {list ?}", filter.ids);
    }
    if let Some(email) = filter.email {
        conditions.and("email_lower = ?", email.to_lowercase());
    }
    if let Some(search) = filter.search {
        conditions.and_contains("search", &search);
    }
    if let Some(number) = filter.number {
        conditions.and("number = ?", number);
    }
    let mut tx = store.db.snapshot().await?;
    let total = if window.include_total { Some(conditions.count("customers", &mut tx).await?) } else { None };
    let (past, order) = if filter.newest_first { ("number < ?", "desc") } else { ("number > ?", "asc") };
    if let Some(after) = window.after {
        conditions.and(past, after);
    }
    let text = format!("select {CUSTOMER} from customers where {{where}} order by number {order} limit ? offset ?");
    let rows = conditions.query(&text, [window.fetch().into(), window.offset.into()]).fetch_all(&mut tx).await?;
    Ok((rows.iter().map(customer).collect::<Result<_, _>>()?, total))
}

pub(crate) async fn change(
    store: &SqlStore,
    id: &CustomerId,
    seen: Option<i64>,
    change: Change,
) -> Result<Customer, Error> {
    let mut tx = store.db.write().await?;
    Lock::Customer(id.as_str()).take(&mut tx).await?;
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
    outbox::append(&mut tx, crate::NAME, vec![events::updated(&after)]).await?;
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

pub(crate) async fn anonymise(store: &SqlStore, id: &CustomerId, seen: Option<i64>) -> Result<Vec<String>, Error> {
    let mut tx = store.db.write().await?;
    Lock::Customer(id.as_str()).take(&mut tx).await?;
    let before = load(&mut tx, id).await?.ok_or(Error::NotFound("customer"))?;
    if before.anonymised_at.is_some() {
        return Ok(Vec::new());
    }
    check_seen(&before, seen)?;
    let after = before.anonymised(Timestamp::now());
    save(&mut tx, &after).await?;
    let user = query("select id from users where customer_id = $1").bind(id.as_str()).fetch_optional(&mut tx).await?;
    if let Some(row) = user {
        Lock::User(&row.get::<String>("id")?).take(&mut tx).await?;
    }
    let user = query("delete from users where customer_id = $1 returning id")
        .bind(id.as_str())
        .fetch_optional(&mut tx)
        .await?;
    let ended = match user {
        Some(row) => {
            let user_id: String = row.get("id")?;
            idempotency_keys::forget(&mut tx, &user_id).await?;
            keys::end_tokens_in(&mut tx, &user_id).await?
        }
        None => Vec::new(),
    };
    idempotency_keys::forget(&mut tx, id.as_str()).await?;
    outbox::redact(&mut tx, events::TOPIC, id.as_str(), &events::data(&after)).await?;
    outbox::append(&mut tx, crate::NAME, vec![events::anonymised(&after)]).await?;
    tx.commit().await?;
    Ok(ended)
}

pub(crate) async fn all(store: &SqlStore, after: &str) -> Result<Vec<Customer>, Error> {
    let mut tx = store.db.read().await?;
    let text = format!("select {CUSTOMER} from customers where id > $1 order by id limit $2");
    query(text).bind(after).bind(FACTS_PAGE).fetch_all(&mut tx).await?.iter().map(customer).collect()
}
