//! Extractors by which an HTTP handler requires a caller, or one with a certain role.

use std::convert::Infallible;
use std::marker::PhantomData;
use std::ops::Deref;

use axum::extract::{FromRef, FromRequestParts};
use chassis::Problem;
use http::HeaderMap;
use http::header::AUTHORIZATION;
use http::request::Parts;

use crate::{Caller, Role, Verifier};

/// The caller, if the request has a token. An invalid token is still refused.
#[derive(Clone, Debug)]
pub struct MaybeCaller(pub Option<Caller>);

/// A caller that the guard `G` allows: 401 without a valid token, 403 for other roles.
#[derive(Clone, Debug)]
pub struct Allow<G>(pub Caller, pub PhantomData<G>);

impl<G> Deref for Allow<G> {
    type Target = Caller;

    fn deref(&self) -> &Caller {
        &self.0
    }
}

/// Defines who may call a route.
pub trait Guard {
    /// Description of the allowed callers, for the refusal and for lists of routes.
    const WHO: &'static str;

    /// Whether the caller is allowed.
    fn allows(caller: &Caller) -> bool;
}

macro_rules! guards {
    ($($(#[$doc:meta])* $name:ident, $who:literal, $allows:expr;)*) => {$(
        $(#[$doc])*
        #[derive(Clone, Copy, Debug)]
        pub enum $name {}

        impl Guard for $name {
            const WHO: &'static str = $who;

            fn allows(caller: &Caller) -> bool {
                let allows: fn(&Caller) -> bool = $allows;
                allows(caller)
            }
        }
    )*};
}

guards! {
    /// Every authenticated caller, services too.
    Anyone, "anyone who is signed in", |_| true;
    /// Customers and staff, but no services.
    AnyUser, "users", |caller| caller.is_staff() || caller.is(Role::Customer);
    /// Admins.
    AdminOnly, "admins", Caller::is_admin;
    /// Admins, managers and clerks.
    Staff, "staff", Caller::is_staff;
    /// Admins and managers.
    ManagerOrAdmin, "managers and admins", |caller| caller.is_admin() || caller.is(Role::Manager);
    /// Other services of the fleet.
    ServiceOnly, "services", Caller::is_service;
    /// Other services, and admins for inspection.
    ServiceOrAdmin, "services and admins", |caller| caller.is_service() || caller.is_admin();
    /// Other services, and staff.
    ServiceOrStaff, "services and staff", |caller| caller.is_service() || caller.is_staff();
}

/// The token in an `Authorization: Bearer` header; `None` without the header.
pub(crate) fn bearer(headers: &HeaderMap) -> Result<Option<&str>, Problem> {
    let Some(value) = headers.get(AUTHORIZATION) else {
        return Ok(None);
    };
    let text = value.to_str().ok().and_then(|text| text.split_once(' '));
    match text {
        Some((scheme, token)) if scheme.eq_ignore_ascii_case("bearer") && !token.trim().is_empty() => {
            Ok(Some(token.trim()))
        }
        _ => Err(Problem::unauthenticated("The Authorization header must be: Bearer TOKEN.")),
    }
}

async fn caller<S>(parts: &mut Parts, state: &S) -> Result<Option<Caller>, Problem>
where
    S: Send + Sync,
    Verifier: FromRef<S>,
{
    if let Some(caller) = parts.extensions.get::<Caller>() {
        return Ok(Some(caller.clone()));
    }
    let Some(token) = bearer(&parts.headers)? else {
        return Ok(None);
    };
    let caller = Verifier::from_ref(state).verify(token).await?;
    parts.extensions.insert(caller.clone());
    Ok(Some(caller))
}

impl<S> FromRequestParts<S> for Caller
where
    S: Send + Sync,
    Verifier: FromRef<S>,
{
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Problem> {
        caller(parts, state)
            .await?
            .ok_or_else(|| Problem::unauthenticated("A token is required: Authorization: Bearer TOKEN."))
    }
}

impl<S> FromRequestParts<S> for MaybeCaller
where
    S: Send + Sync,
    Verifier: FromRef<S>,
{
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Problem> {
        caller(parts, state).await.map(Self)
    }
}

impl<S, G> FromRequestParts<S> for Allow<G>
where
    S: Send + Sync,
    G: Guard,
    Verifier: FromRef<S>,
{
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Problem> {
        let caller = Caller::from_request_parts(parts, state).await?;
        if G::allows(&caller) {
            Ok(Self(caller, PhantomData))
        } else {
            Err(Problem::forbidden(format!("This is for {}.", G::WHO)))
        }
    }
}

/// Marks, in the signature of a handler, that it needs no authentication.
#[derive(Clone, Copy, Debug)]
pub struct Open;

impl<S: Sync> FromRequestParts<S> for Open {
    type Rejection = Infallible;

    async fn from_request_parts(_: &mut Parts, _: &S) -> Result<Self, Infallible> {
        Ok(Self)
    }
}
