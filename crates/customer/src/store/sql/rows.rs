//! Converts rows into customers and users, and back.

use auth::Role;
use commerce::{CustomerId, Timestamp, UserId};
use db::{Row, Value};

use crate::domain::{Address, Customer, Profile, User, search_text};
use crate::error::Error;

pub(super) const CUSTOMER: &str = "id, number, name, first_name, last_name, email, phone, address, created_from, created_at, updated_at, version, sequence, anonymised_at";
pub(super) const USER: &str =
    "id, username, email, name, password_hash, roles, stores, customer_id, created_at, version";

pub(super) const CUSTOMER_COLUMNS: &[&str] = &[
    "id",
    "number",
    "name",
    "first_name",
    "last_name",
    "email",
    "email_lower",
    "phone",
    "address",
    "search",
    "created_from",
    "created_at",
    "updated_at",
    "version",
    "sequence",
    "anonymised_at",
];
pub(super) const USER_COLUMNS: &[&str] = &[
    "id",
    "username",
    "username_lower",
    "email",
    "email_lower",
    "name",
    "password_hash",
    "roles",
    "stores",
    "customer_id",
    "created_at",
    "version",
];

pub(super) fn customer(row: &Row) -> Result<Customer, Error> {
    let address: Option<String> = row.get("address")?;
    let address = address.map(|text| serde_json::from_str::<Address>(&text)).transpose();
    Ok(Customer {
        id: CustomerId::trusted(row.get("id")?),
        number: row.get("number")?,
        profile: Profile {
            name: Some(row.get("name")?),
            first_name: row.get("first_name")?,
            last_name: row.get("last_name")?,
            email: row.get("email")?,
            phone: row.get("phone")?,
            address: address.map_err(|_| db::Error::Unreadable("customers.address"))?,
        },
        created_from: row.get("created_from")?,
        created_at: Timestamp::from_micros(row.get("created_at")?),
        updated_at: Timestamp::from_micros(row.get("updated_at")?),
        version: row.get("version")?,
        sequence: row.get("sequence")?,
        anonymised_at: row.get::<Option<i64>>("anonymised_at")?.map(Timestamp::from_micros),
    })
}

pub(super) fn address_text(profile: &Profile) -> Option<String> {
    // A struct of strings always serialises.
    profile.address.as_ref().and_then(|address| serde_json::to_string(address).ok())
}

pub(super) fn email_lower(profile: &Profile) -> Option<String> {
    profile.email.as_ref().map(|email| email.to_lowercase())
}

pub(super) fn customer_row(customer: &Customer) -> Vec<Value> {
    let profile = &customer.profile;
    vec![
        customer.id.as_str().into(),
        customer.number.into(),
        customer.name().into(),
        profile.first_name.clone().into(),
        profile.last_name.clone().into(),
        profile.email.clone().into(),
        email_lower(profile).into(),
        profile.phone.clone().into(),
        address_text(profile).into(),
        search_text(profile).into(),
        customer.created_from.clone().into(),
        customer.created_at.micros().into(),
        customer.updated_at.micros().into(),
        customer.version.into(),
        customer.sequence.into(),
        customer.anonymised_at.map(Timestamp::micros).into(),
    ]
}

pub(super) fn user(row: &Row) -> Result<User, Error> {
    let list = |column: &'static str| -> Result<Vec<String>, Error> {
        let text: String = row.get(column)?;
        Ok(serde_json::from_str(&text).map_err(|_| db::Error::Unreadable(column))?)
    };
    Ok(User {
        id: UserId::trusted(row.get("id")?),
        username: row.get("username")?,
        email: row.get("email")?,
        name: row.get("name")?,
        password_hash: row.get("password_hash")?,
        roles: list("roles")?.iter().filter_map(|role| Role::parse(role)).collect(),
        stores: list("stores")?,
        customer_id: row.get::<Option<String>>("customer_id")?.map(CustomerId::trusted),
        created_at: Timestamp::from_micros(row.get("created_at")?),
        version: row.get("version")?,
    })
}

pub(super) fn role_names(roles: &[Role]) -> String {
    serde_json::Value::from(roles.iter().map(|role| role.as_str()).collect::<Vec<_>>()).to_string()
}

pub(super) fn store_ids(stores: &[String]) -> String {
    serde_json::Value::from(stores.to_vec()).to_string()
}

pub(super) fn user_row(user: &User) -> Vec<Value> {
    vec![
        user.id.as_str().into(),
        user.username.as_str().into(),
        user.username.to_lowercase().into(),
        user.email.as_str().into(),
        user.email.to_lowercase().into(),
        user.name.as_str().into(),
        user.password_hash.as_str().into(),
        role_names(&user.roles).into(),
        store_ids(&user.stores).into(),
        user.customer_id.as_ref().map(CustomerId::as_str).into(),
        user.created_at.micros().into(),
        user.version.into(),
    ]
}
