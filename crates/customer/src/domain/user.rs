//! A user: a login with roles.

use auth::Role;
use chassis::FieldError;
use commerce::{CustomerId, Timestamp, UserId};

use super::Rules;

/// A user as it is stored.
#[derive(Clone, Debug)]
pub(crate) struct User {
    pub(crate) id: UserId,
    pub(crate) username: String,
    pub(crate) email: String,
    pub(crate) name: String,
    pub(crate) password_hash: String,
    pub(crate) roles: Vec<Role>,
    pub(crate) stores: Vec<String>,
    pub(crate) customer_id: Option<CustomerId>,
    pub(crate) created_at: Timestamp,
    pub(crate) version: i64,
}

/// A new user.
#[derive(Clone, Debug)]
pub(crate) struct NewUser {
    pub(crate) credentials: Credentials,
    pub(crate) password_hash: String,
    pub(crate) roles: Vec<Role>,
    pub(crate) stores: Vec<String>,
    /// An existing customer that the user is.
    pub(crate) customer_id: Option<CustomerId>,
    /// Whether a new customer is created for the user.
    pub(crate) with_customer: bool,
}

/// Names by which a user is found.
#[derive(Clone, Debug)]
pub(crate) struct Credentials {
    pub(crate) username: String,
    pub(crate) email: String,
    pub(crate) name: String,
}

impl Credentials {
    /// Checks names and password. A username has no @, so a login is either a username or an e-mail address.
    pub(crate) fn checked(
        username: &str,
        email: &str,
        name: Option<String>,
        password: &str,
    ) -> Result<Self, Vec<FieldError>> {
        let mut rules = Rules::default();
        let username = username.trim().to_owned();
        let fits = |byte: u8| byte.is_ascii_alphanumeric() || b"._-".contains(&byte);
        if !(3..=64).contains(&username.len()) || !username.bytes().all(fits) {
            rules.breaks("username", "username", "3 to 64 letters, digits or . _ -");
        }
        let email = rules.email("email", email);
        if !(8..=200).contains(&password.chars().count()) {
            rules.breaks("password", "length", "8 to 200 characters");
        }
        let name = rules.required("name", name.or_else(|| Some(username.clone())), 200);
        rules.verdict(Self { username, email, name })
    }
}

/// Parses the roles that a user may have; `service` is not among them.
pub(crate) fn check_roles(roles: &[String], stores: &[String]) -> Result<Vec<Role>, Vec<FieldError>> {
    let mut rules = Rules::default();
    let mut known = Vec::new();
    for role in roles {
        match Role::parse(role) {
            Some(role) if role != Role::Service => {
                if !known.contains(&role) {
                    known.push(role);
                }
            }
            _ => rules.breaks("roles", "role", "each one of: admin, manager, clerk, customer"),
        }
    }
    if roles.is_empty() {
        rules.breaks("roles", "required", "at least one");
    }
    if stores.len() > 100 || stores.iter().any(|store| commerce::PlaceId::parse(store).is_err()) {
        rules.breaks("stores", "id", "at most 100 ids of places");
    }
    if stores.is_empty() && known.iter().any(|role| matches!(role, Role::Manager | Role::Clerk)) {
        rules.breaks("stores", "required", "at least one for a manager or clerk");
    }
    rules.verdict(known)
}
