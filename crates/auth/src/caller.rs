//! Who is calling, and what he may do.

use serde::{Deserialize, Serialize};

/// What a caller is to the house.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Role {
    /// Head office: everything.
    Admin,
    /// Runs the stores that his token names.
    Manager,
    /// Works in the stores that his token names.
    Clerk,
    /// Buys.
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
    /// What he is.
    pub roles: Vec<Role>,
    /// The places that a manager or clerk works in.
    pub stores: Vec<String>,
    /// The customer that a user is.
    pub customer_id: Option<String>,
    /// On whose behalf a service calls.
    pub act: Option<String>,
    /// The token's own id.
    pub jti: String,
    /// When the token ends, in seconds since 1970.
    pub expires_at: i64,
}

impl Caller {
    /// Whether he has the role.
    pub fn is(&self, role: Role) -> bool {
        self.roles.contains(&role)
    }

    /// Whether he is head office.
    pub fn is_admin(&self) -> bool {
        self.is(Role::Admin)
    }

    /// Whether it is another service of the fleet.
    pub fn is_service(&self) -> bool {
        self.is(Role::Service)
    }

    /// Whether an issuer outside the house vouches for him, see [`crate::oidc`]. The house's own ids have no such sign.
    pub fn is_foreign(&self) -> bool {
        self.subject.contains('|')
    }

    /// Whether he works for the house: admin, manager or clerk.
    pub fn is_staff(&self) -> bool {
        self.is_admin() || self.is(Role::Manager) || self.is(Role::Clerk)
    }

    /// Whether he may act in a place: an admin anywhere, staff where they work.
    pub fn may_act_in(&self, place_id: &str) -> bool {
        self.is_admin() || (self.is_staff() && self.stores.iter().any(|store| store == place_id))
    }

    /// Whether he is that customer.
    pub fn is_customer(&self, customer_id: &str) -> bool {
        self.customer_id.as_deref() == Some(customer_id)
    }

    /// The person behind the call, also when a service carries it on.
    pub fn actor(&self) -> String {
        self.act.clone().unwrap_or_else(|| self.subject.clone())
    }
}
