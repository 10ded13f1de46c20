//! Authentication of gRPC calls: a layer that verifies tokens, and a guard for handlers.

use axum::extract::{Request, State};
use axum::middleware::{self, Next};
use axum::response::Response;
use tonic::Status;
use tonic::service::Routes;

use crate::extract::bearer;
use crate::{Caller, Role, Verifier};

/// Requires a valid token for all services added so far: a call without one is UNAUTHENTICATED. Services added afterwards
/// (health, reflection) stay open.
pub fn protect(routes: Routes, verifier: Verifier) -> Routes {
    let router = routes.into_axum_router();
    router.route_layer(middleware::from_fn_with_state(verifier, verify)).into()
}

async fn verify(State(verifier): State<Verifier>, mut request: Request, next: Next) -> Response {
    let verified = match bearer(request.headers()) {
        Ok(Some(token)) => verifier.verify(token).await.map_err(Status::from),
        Ok(None) => Err(Status::unauthenticated("metadata `authorization: Bearer TOKEN` is required")),
        Err(problem) => Err(Status::from(problem)),
    };
    match verified {
        Ok(caller) => {
            request.extensions_mut().insert(caller);
            next.run(request).await
        }
        Err(status) => status.into_http(),
    }
}

/// The caller of a gRPC method, if it has one of the allowed roles.
pub fn grpc_caller<T>(request: &tonic::Request<T>, allowed: &[Role]) -> Result<Caller, Status> {
    let caller =
        request.extensions().get::<Caller>().ok_or_else(|| Status::unauthenticated("the call is not authenticated"))?;
    if allowed.iter().any(|role| caller.is(*role)) {
        Ok(caller.clone())
    } else {
        let names: Vec<&str> = allowed.iter().map(|role| role.as_str()).collect();
        Err(Status::permission_denied(format!("this is for: {}", names.join(", "))))
    }
}
