//! The authenticated caller and its roles.

use serde::{Deserialize, Serialize};

/// The role of a caller.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Role {
    /// Head office; may do everything.
    Admin,
    /// Manages the stores in the token.
    Manager,
    /// Works in the stores in the token.
    Clerk,
    /// A customer.
    Customer,
    /// Another service of the fleet.
    Service,
}

impl Role {
    /// The name in tokens and in the API.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Admin => "admin",
            Self::Manager => "manager",
            Self::Clerk => "clerk",
            Self::Customer => "customer",
            Self::Service => "service",
        }
    }

    /// The role of that name, if there is one.
    pub fn parse(name: &str) -> Option<Self> {
        [Self::Admin, Self::Manager, Self::Clerk, Self::Customer, Self::Service]
            .into_iter()
            .find(|role| role.as_str() == name)
    }
}

/// A caller whose token was verified.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Caller {
    /// The user's id, or the name of the service.
    pub subject: String,
    /// The roles of the caller.
    pub roles: Vec<Role>,
    /// The places that a manager or clerk works in.
    pub stores: Vec<String>,
    /// The customer record of a user who is a customer.
    pub customer_id: Option<String>,
    /// The user on whose behalf a service calls.
    pub act: Option<String>,
    /// The token's own id.
    pub jti: String,
    /// When the token expires, in seconds since 1970.
    pub expires_at: i64,
}

impl Caller {
    /// Whether the caller has the role.
    pub fn is(&self, role: Role) -> bool {
        self.roles.contains(&role)
    }

    /// Whether the caller is an admin.
    pub fn is_admin(&self) -> bool {
        self.is(Role::Admin)
    }

    /// Whether the caller is another service of the fleet.
    pub fn is_service(&self) -> bool {
        self.is(Role::Service)
    }

    /// Whether the token is of a foreign issuer, see [`crate::oidc`]: only the subjects of those contain a `|`.
    pub fn is_foreign(&self) -> bool {
        self.subject.contains('|')
    }

    /// Whether the caller is an employee: admin, manager or clerk.
    pub fn is_staff(&self) -> bool {
        self.is_admin() || self.is(Role::Manager) || self.is(Role::Clerk)
    }

    /// Whether the caller may act in a place: an admin in any, other staff in the stores of their token.
    pub fn may_act_in(&self, place_id: &str) -> bool {
        self.is_admin() || (self.is_staff() && self.stores.iter().any(|store| store == place_id))
    }

    /// Whether the caller is this customer.
    pub fn is_customer(&self, customer_id: &str) -> bool {
        self.customer_id.as_deref() == Some(customer_id)
    }

    /// The id of the user behind the call, also if a service makes it on the user's behalf.
    pub fn actor(&self) -> String {
        self.act.clone().unwrap_or_else(|| self.subject.clone())
    }
}
