//! Tokens, keys and roles, and the guards that demand them.
//!
//! Every service verifies for itself who calls. A user's token is signed by the issuer (the service that keeps
//! the users); a call between services carries a token of a minute, signed with the fleet's own key, and only
//! that key may give the role `service`. Issuers outside the house may be trusted too ([`oidc`]).

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
pub use jwks::{IsRevoked, LocalKeys, Look};
pub use oidc::TrustedIssuer;
pub use verifier::Verifier;
