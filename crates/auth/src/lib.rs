//! Authentication and authorisation: tokens, keys, roles, and guards of routes.
//!
//! Every service verifies the tokens of its callers itself. The issuer (the service that stores the users) signs users'
//! tokens. A call between services has a token that is valid for a minute and signed with the fleet's internal key; only that
//! key can grant the role `service`. Issuers outside of the fleet may be trusted too ([`oidc`]).

mod caller;
mod claims;
mod config;
mod extract;
pub mod grpc;
mod internal;
mod issuer;
mod jwks;
mod key;
pub mod oidc;
mod verifier;

pub use caller::{Caller, Role};
pub use claims::AUDIENCE;
pub use config::{AuthConfig, AuthError};
pub use extract::{
    AdminOnly, Allow, AnyUser, Anyone, Guard, ManagerOrAdmin, MaybeCaller, Open, ServiceOnly, ServiceOrAdmin,
    ServiceOrStaff, Staff,
};
pub use grpc::grpc_caller;
pub use internal::InternalKey;
pub use issuer::{Issued, Issuer, NewToken};
pub use jwks::{FetchKeys, IsRevoked, LocalKeys};
pub use oidc::TrustedIssuer;
pub use verifier::Verifier;
