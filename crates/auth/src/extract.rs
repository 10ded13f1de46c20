//! What an HTTP handler names to demand a caller, or a caller of a certain role.

use std::convert::Infallible;
use std::marker::PhantomData;
use std::ops::Deref;

use axum::extract::{FromRef, FromRequestParts};
use chassis::Problem;
use http::HeaderMap;
use http::header::AUTHORIZATION;
use http::request::Parts;

use crate::{Caller, Role, Verifier};

/// The caller, if there is one. A token that is there but bad is refused all the same.
#[derive(Clone, Debug)]
pub struct MaybeCaller(pub Option<Caller>);

/// A caller that the guard `G` lets through: 401 without a token, 403 for the wrong role.
#[derive(Clone, Debug)]
pub struct Allow<G>(pub Caller, pub PhantomData<G>);

impl<G> Deref for Allow<G> {
    type Target = Caller;

    fn deref(&self) -> &Caller {
        &self.0
    }
}

/// Says who may call a route.
pub trait Guard {
    /// Who that is, for the refusal and for lists of routes.
    const WHO: &'static str;

    /// Whether the caller is one of them.
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
    /// Whoever has a token, services too.
    Anyone, "anyone who is signed in", |_| true;
    /// A person: customer or staff.
    AnyUser, "users", |caller| caller.is_staff() || caller.is(Role::Customer);
    /// Head office.
    AdminOnly, "admins", Caller::is_admin;
    /// Admin, manager or clerk.
    Staff, "staff", Caller::is_staff;
    /// Admin or manager.
    ManagerOrAdmin, "managers and admins", |caller| caller.is_admin() || caller.is(Role::Manager);
    /// Another service of the fleet.
    ServiceOnly, "services", Caller::is_service;
    /// Another service, or head office looking in.
    ServiceOrAdmin, "services and admins", |caller| caller.is_service() || caller.is_admin();
    /// Another service, or staff.
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
            .ok_or_else(|| Problem::unauthenticated("A token is wanted: Authorization: Bearer TOKEN."))
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

/// A handler that takes this tells, in its signature, that it is open to everybody.
#[derive(Clone, Copy, Debug)]
pub struct Open;

impl<S: Sync> FromRequestParts<S> for Open {
    type Rejection = Infallible;

    async fn from_request_parts(_: &mut Parts, _: &S) -> Result<Self, Infallible> {
        Ok(Self)
    }
}
