//! The REST API: every route on one screen.

mod activities;
mod customers;
mod prospects;
mod users;
mod wellknown;

use std::sync::Arc;

use auth::Verifier;
use axum::Router;
use axum::extract::FromRef;
use bus::Relay;
use chassis::openapi_docs;
use commerce::page::CursorKey;
use utoipa::OpenApi;
use utoipa::openapi::security::{Http, HttpAuthScheme, SecurityScheme};
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use crate::clients::{Orders, Places};
use crate::passwords::Passwords;
use crate::store::Store;
use crate::tokens::Tokens;

/// State of the handlers. Cheap to clone.
#[derive(Clone)]
pub(crate) struct Api {
    pub(crate) store: Arc<Store>,
    pub(crate) verifier: Verifier,
    pub(crate) tokens: Tokens,
    pub(crate) relay: Relay,
    pub(crate) passwords: Passwords,
    pub(crate) orders: Arc<Orders>,
    pub(crate) places: Arc<Places>,
    pub(crate) customer_cursors: CursorKey,
    pub(crate) user_cursors: CursorKey,
    pub(crate) prospect_cursors: CursorKey,
    pub(crate) activity_cursors: CursorKey,
}

impl FromRef<Api> for Verifier {
    fn from_ref(api: &Api) -> Self {
        api.verifier.clone()
    }
}

#[derive(OpenApi)]
#[openapi(info(
    title = "Souk: customers",
    description = "Customers, users and their tokens; prospects and activities.",
    license(name = "Apache-2.0", identifier = "Apache-2.0")
))]
struct Described;

fn described() -> OpenApiRouter<Api> {
    let mut description = Described::openapi();
    let bearer = SecurityScheme::Http(Http::builder().scheme(HttpAuthScheme::Bearer).bearer_format("JWT").build());
    description.components.get_or_insert_default().add_security_scheme("bearer", bearer);
    OpenApiRouter::with_openapi(description)
        .routes(routes!(customers::list_customers, customers::create_customer))
        .routes(routes!(
            customers::get_customer,
            customers::replace_customer,
            customers::change_customer,
            customers::delete_customer
        ))
        .routes(routes!(prospects::list_prospects, prospects::create_prospect))
        .routes(routes!(
            prospects::get_prospect,
            prospects::replace_prospect,
            prospects::change_prospect,
            prospects::delete_prospect
        ))
        .routes(routes!(prospects::convert_prospect))
        .routes(routes!(activities::list_activities, activities::create_activity))
        .routes(routes!(activities::get_activity, activities::change_activity, activities::delete_activity))
        .routes(routes!(users::list_users, users::create_user))
        .routes(routes!(users::register))
        .routes(routes!(users::login))
        .routes(routes!(users::logout))
        .routes(routes!(users::me))
        .routes(routes!(users::set_roles))
        .routes(routes!(wellknown::jwks))
        .routes(routes!(wellknown::revoked))
}

pub(crate) fn routes(api: Api) -> Router {
    openapi_docs(described().with_state(api))
}

pub(crate) fn openapi() -> utoipa::openapi::OpenApi {
    described().into_openapi()
}
