//! Users in SQL.

use auth::Role;
use commerce::page::PageRequest;
use commerce::{Timestamp, UserId};
use db::{Tx, insert, query};

use super::rows::{USER, USER_COLUMNS, role_names, store_ids, user, user_row};
use super::{Lock, SqlStore, customers, idempotency_keys, keys};
use crate::domain::{NewUser, Profile, User};
use crate::error::Error;
use crate::store::Render;
use idempotency::{KeyedRequest, StoredResponse};

pub(crate) async fn create(
    store: &SqlStore,
    new: NewUser,
    key: Option<KeyedRequest>,
    render: Render<User>,
) -> Result<(Option<User>, StoredResponse), Error> {
    let mut tx = store.db.write().await?;
    if let Some(key) = &key {
        Lock::Key(&key.key).take(&mut tx).await?;
    }
    if let Some(reply) = idempotency_keys::find(&mut tx, key.as_ref()).await? {
        return Ok((None, reply));
    }
    if let Some(id) = &new.customer_id {
        Lock::Customer(id.as_str()).take(&mut tx).await?;
    }
    Lock::Email(&new.credentials.email.to_lowercase()).take(&mut tx).await?;
    let customer_id = match new.customer_id {
        Some(id) => Some(
            customers::load(&mut tx, &id)
                .await?
                .filter(|customer| customer.anonymised_at.is_none())
                .map(|_| id)
                .ok_or_else(|| Error::invalid("customer_id", "exists", "there is no such customer"))?,
        ),
        None => None,
    };
    let mut made = User {
        id: UserId::new(),
        username: new.credentials.username.clone(),
        email: new.credentials.email.clone(),
        name: new.credentials.name.clone(),
        password_hash: new.password_hash,
        roles: new.roles,
        stores: new.stores,
        customer_id,
        created_at: Timestamp::now(),
        version: 1,
    };
    if new.with_customer {
        let profile = Profile { name: Some(made.name.clone()), email: Some(made.email.clone()), ..Profile::default() };
        let customer = customers::add(&mut tx, None, profile, None).await?;
        made.customer_id = Some(customer.id);
    }
    insert("users", USER_COLUMNS, [user_row(&made)]).execute(&mut tx).await?;
    let reply = render(&made, true);
    idempotency_keys::store(&mut tx, key.as_ref(), made.id.as_str(), &reply).await?;
    tx.commit().await?;
    Ok((Some(made), reply))
}

/// The response stored under this key.
pub(crate) async fn response(store: &SqlStore, key: &KeyedRequest) -> Result<Option<StoredResponse>, Error> {
    idempotency_keys::find(&mut store.db.read().await?, Some(key)).await
}

pub(crate) async fn find(store: &SqlStore, id: &UserId) -> Result<Option<User>, Error> {
    load(&mut store.db.read().await?, id.as_str()).await
}

pub(super) async fn load(tx: &mut Tx, id: &str) -> Result<Option<User>, Error> {
    let row = query(format!("select {USER} from users where id = $1")).bind(id).fetch_optional(tx).await?;
    row.as_ref().map(user).transpose()
}

pub(crate) async fn by_login(store: &SqlStore, login: &str) -> Result<Option<User>, Error> {
    if login.contains('\0') {
        return Ok(None);
    }
    let mut tx = store.db.read().await?;
    // A username has no @, an address has one.
    let column = if login.contains('@') { "email_lower" } else { "username_lower" };
    let row = query(format!("select {USER} from users where {column} = $1"))
        .bind(login.trim().to_lowercase())
        .fetch_optional(&mut tx)
        .await?;
    row.as_ref().map(user).transpose()
}

pub(crate) async fn list(store: &SqlStore, window: PageRequest<String>) -> Result<(Vec<User>, Option<u64>), Error> {
    let mut tx = store.db.snapshot().await?;
    let total = if window.include_total {
        let row = query("select count(*) as n from users").fetch_one(&mut tx).await?;
        Some(u64::try_from(row.get::<i64>("n")?).unwrap_or(0))
    } else {
        None
    };
    let rows = query(format!("select {USER} from users where id > $1 order by id limit $2 offset $3"))
        .bind(window.after.clone().unwrap_or_default())
        .bind(window.fetch())
        .bind(window.offset)
        .fetch_all(&mut tx)
        .await?;
    Ok((rows.iter().map(user).collect::<Result<_, _>>()?, total))
}

pub(crate) async fn set_roles(
    store: &SqlStore,
    id: &UserId,
    roles: Vec<Role>,
    stores: Vec<String>,
) -> Result<(User, Vec<String>), Error> {
    let mut tx = store.db.write().await?;
    Lock::Roles.take(&mut tx).await?;
    Lock::User(id.as_str()).take(&mut tx).await?;
    let mut user = load(&mut tx, id.as_str()).await?.ok_or(Error::NotFound("user"))?;
    if user.roles == roles && user.stores == stores {
        return Ok((user, Vec::new()));
    }
    if user.roles.contains(&Role::Admin) && !roles.contains(&Role::Admin) {
        let row = query("select count(*) as n from users where id <> $1 and roles like '%\"admin\"%'")
            .bind(id.as_str())
            .fetch_one(&mut tx)
            .await?;
        if row.get::<i64>("n")? == 0 {
            return Err(Error::LastAdmin);
        }
    }
    (user.roles, user.stores, user.version) = (roles, stores, user.version + 1);
    query("update users set roles = $2, stores = $3, version = $4 where id = $1")
        .bind(id.as_str())
        .bind(role_names(&user.roles))
        .bind(store_ids(&user.stores))
        .bind(user.version)
        .execute(&mut tx)
        .await?;
    let ended = keys::end_tokens_in(&mut tx, id.as_str()).await?;
    tx.commit().await?;
    Ok((user, ended))
}
