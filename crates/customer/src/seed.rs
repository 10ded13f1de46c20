//! Users that a fleet is to have from its first start, made directly in the store.

use std::collections::BTreeMap;
use std::sync::Arc;

use auth::Role;

use crate::config::Config;
use crate::domain::{Credentials, NewUser};
use crate::error::Error;
use crate::passwords::Passwords;
use crate::store::{self, Store};
use crate::tokens::Tokens;
use crate::views::user_response;

/// A new user.
#[derive(Clone, Debug)]
pub struct SeedUser {
    /// Login name.
    pub username: String,
    /// E-mail address.
    pub email: String,
    /// Display name.
    pub name: String,
    /// Password, in clear text.
    pub password: String,
    /// Roles; [`Role::Customer`] also creates a customer.
    pub roles: Vec<Role>,
    /// Ids of the places that the user works in.
    pub stores: Vec<String>,
}

/// Creates the users that do not exist yet; returns which were created. Idempotent, also beside a running service.
pub async fn seed(config: &Config, users: &[SeedUser]) -> anyhow::Result<Vec<bool>> {
    let store = store::open(&config.common.database_url, None).await?.store;
    let made = make_all(store.as_ref(), users).await?;
    store.close().await;
    Ok(made)
}

async fn make_all(store: &Store, users: &[SeedUser]) -> Result<Vec<bool>, Error> {
    let passwords = Passwords::new();
    // One after the other: each hash takes 19 MiB, and a start should stay small.
    let mut made = Vec::with_capacity(users.len());
    for user in users {
        made.push(make(store, &passwords, user).await?);
    }
    Ok(made)
}

/// Creates the first admin of a fleet without one, if the settings hold a password.
pub(crate) async fn first_admin(config: &Config, store: &Store) -> anyhow::Result<()> {
    if config.admin_password.is_empty() {
        return Ok(());
    }
    let admin = SeedUser {
        username: "admin".into(),
        email: "admin@souk.example".into(),
        name: "Head Office".into(),
        password: config.admin_password.expose().to_owned(),
        roles: vec![Role::Admin],
        stores: Vec::new(),
    };
    make_all(store, &[admin]).await?;
    Ok(())
}

async fn make(store: &Store, passwords: &Passwords, user: &SeedUser) -> Result<bool, Error> {
    if store.user_by_login(&user.username).await?.is_some() {
        return Ok(false);
    }
    let credentials = Credentials::checked(&user.username, &user.email, Some(user.name.clone()), &user.password)
        .map_err(Error::Invalid)?;
    let new = NewUser {
        credentials,
        password_hash: passwords.hash(user.password.clone()).await?,
        with_customer: user.roles.contains(&Role::Customer),
        roles: user.roles.clone(),
        stores: user.stores.clone(),
        customer_id: None,
    };
    match store.create_user(new, None, user_response).await {
        Ok(_) => Ok(true),
        // Two replicas may start at once; it does not matter which unique name the store refuses first.
        Err(Error::UsernameTaken | Error::EmailTaken) if store.user_by_login(&user.username).await?.is_some() => {
            Ok(false)
        }
        Err(err) => Err(err),
    }
}

/// Fresh tokens for users by their names; who is not there is left out.
pub async fn tokens(config: &Config, usernames: &[&str]) -> anyhow::Result<BTreeMap<String, String>> {
    let store = store::open(&config.common.database_url, None).await?.store;
    let tokens = Tokens::open(Arc::clone(&store), &config.common.auth.issuer, config.token_ttl_seconds).await?;
    let mut issued = BTreeMap::new();
    for username in usernames {
        if let Some(user) = store.user_by_login(username).await? {
            issued.insert((*username).to_owned(), tokens.issue(user).await?.0.token);
        }
    }
    store.close().await;
    Ok(issued)
}
