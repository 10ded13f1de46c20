//! The API's description, served beside the API.

use axum::Router;
use axum::routing::get;
use utoipa_axum::router::OpenApiRouter;
use utoipa_swagger_ui::SwaggerUi;

use crate::Json;

/// Takes the routes out of a documented router and adds `/openapi.json` and Swagger UI at `/docs`.
pub fn openapi_docs(router: OpenApiRouter) -> Router {
    let (router, api) = router.split_for_parts();
    let ui = SwaggerUi::new("/docs").config(utoipa_swagger_ui::Config::from("/openapi.json"));
    let json = serde_json::to_value(&api).unwrap_or_default();
    router.route("/openapi.json", get(move || async move { Json(json) })).merge(ui)
}
