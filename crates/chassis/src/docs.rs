//! Serves the OpenAPI description of an API beside the API.

use axum::Router;
use axum::routing::get;
use serde_json::{Map, Value, json};
use utoipa::PartialSchema;
use utoipa_axum::router::OpenApiRouter;
use utoipa_swagger_ui::{Config, SwaggerUi};

use crate::{FieldError, Json, Kind};

/// Takes the routes out of a documented router and adds `/openapi.json` and Swagger UI at `/docs`.
pub fn openapi_docs(router: OpenApiRouter) -> Router {
    let (router, api) = router.split_for_parts();
    let ui = SwaggerUi::new("/docs").config(swagger_config("/openapi.json"));
    let json = with_problems(serde_json::to_value(&api).unwrap_or_default());
    router.route("/openapi.json", get(move || async move { Json(json) })).merge(ui)
}

/// The settings of a page of Swagger UI for the description at `url`. Without them the page asks a validator on the internet about every
/// description that is not on localhost.
pub fn swagger_config(url: &str) -> Config<'_> {
    Config::from(url).validator_url("none")
}

/// Adds to every operation the problems that it can return, as references to shared responses, and describes the common request
/// headers; a merge patch requires no field of the resource. Which problems apply follows from its method, parameters and body. What an operation describes itself is kept.
pub fn with_problems(mut api: Value) -> Value {
    let schemas = api["components"]["schemas"].clone();
    let Some(paths) = api["paths"].as_object_mut() else { return api };
    for (path, item) in paths {
        for (method, operation) in item.as_object_mut().into_iter().flatten() {
            if let ("patch", Some(schema)) = (method.as_str(), operation.pointer_mut(JSON_BODY)) {
                *schema = as_merge_patch(schema, &schemas);
            }
            describe_headers(operation);
            describe_problems(path, method, operation);
        }
    }
    api["components"]["schemas"]["Problem"] = problem_schema();
    for kind in Kind::ALL {
        api["components"]["responses"][kind.code()] = response(shared_description(kind));
    }
    api
}

const JSON_BODY: &str = "/requestBody/content/application~1json/schema";

/// The schema of a merge patch (RFC 7386) for a resource with this schema: the same fields, none of them required.
fn as_merge_patch(schema: &Value, schemas: &Value) -> Value {
    let name = schema["$ref"].as_str().and_then(|reference| reference.strip_prefix("#/components/schemas/"));
    let mut patch = name.map_or(schema, |name| &schemas[name]).clone();
    if let Some(members) = patch.as_object_mut() {
        members.remove("required");
    }
    for part in patch.get_mut("allOf").and_then(Value::as_array_mut).into_iter().flatten() {
        *part = as_merge_patch(part, schemas);
    }
    patch
}

/// The request headers that mean the same for every operation.
const HEADERS: [(&str, &str); 3] = [
    (
        "Idempotency-Key",
        "1 to 255 printable ASCII characters. A repeat of the request with the same key gets the first response, for 24 hours by \
         default; another request with it is refused with 422.",
    ),
    (
        "If-Match",
        "The version as an entity tag, such as `\"3\"`: the request is refused with 412 if the resource has another one.",
    ),
    ("Prefer", "`respond-async` (RFC 7240): the response is 202 without waiting for the outcome."),
];

fn describe_headers(operation: &mut Value) {
    for parameter in operation.get_mut("parameters").and_then(Value::as_array_mut).into_iter().flatten() {
        let common = HEADERS.iter().find(|(name, _)| parameter["name"] == *name);
        if let (Some((_, description)), None) = (common, parameter.get("description")) {
            parameter["description"] = json!(description);
        }
    }
}

fn describe_problems(path: &str, method: &str, operation: &mut Value) {
    let has_body = operation.get("requestBody").is_some();
    let conditional =
        operation["parameters"].as_array().is_some_and(|all| all.iter().any(|one| one["name"] == "If-Match"));
    let writes = method != "get";
    let Some(responses) = operation["responses"].as_object_mut() else { return };
    for kind in Kind::ALL {
        let possible = match kind {
            Kind::NotFound => path.contains('{') || writes,
            Kind::Conflict => writes,
            Kind::Stale => conditional,
            Kind::TooLarge | Kind::UnsupportedMedia => has_body,
            Kind::MethodNotAllowed | Kind::Internal | Kind::PaymentRequired => false,
            _ => true,
        };
        if possible {
            responses.entry(kind.status().as_str()).or_insert_with(|| reference(kind));
        }
    }
    for (status, described) in responses {
        let kind = status.parse().ok().and_then(|status| http::StatusCode::from_u16(status).ok());
        match kind.filter(|status| status.is_client_error() || status.is_server_error()) {
            // An error status without content is a problem document, with the operation's own description.
            Some(status) if described.get("$ref").is_none() && described.get("content").is_none() => {
                let own = described["description"].as_str().filter(|text| !text.is_empty());
                *described = response(own.unwrap_or_else(|| shared_description(Kind::from_status(status))));
            }
            // An event stream has no end, so no schema describes the whole of it.
            None => {
                if let Some(Value::Object(content)) = described.pointer_mut("/content/text~1event-stream") {
                    content.remove("schema");
                }
            }
            Some(_) => {}
        }
    }
}

/// The description of a problem that an operation does not describe itself.
fn shared_description(kind: Kind) -> &'static str {
    match kind {
        Kind::Forbidden => "The caller's role or stores do not allow it",
        Kind::NotFound => "Not found, or not visible to the caller",
        Kind::Stale => "`If-Match` names another version",
        _ => kind.title(),
    }
}

fn reference(kind: Kind) -> Value {
    json!({"$ref": format!("#/components/responses/{}", kind.code())})
}

fn response(description: &str) -> Value {
    json!({
        "description": description,
        "content": {"application/problem+json": {"schema": {"$ref": "#/components/schemas/Problem"}}},
    })
}

/// The members of a problem document (RFC 9457) and our extensions; some problems have more.
fn problem_schema() -> Value {
    let text =
        |description: &str, example: &str| json!({"type": "string", "description": description, "example": example});
    let mut properties = Map::new();
    properties
        .insert("type".into(), text("Always `about:blank`; use the code to distinguish problems.", "about:blank"));
    properties.insert("title".into(), text("The same for all problems with this status.", "Not found"));
    properties.insert("status".into(), json!({"type": "integer", "description": "The HTTP status.", "example": 404}));
    properties.insert("code".into(), text("A stable code for programs; see docs/problems.md.", "thing.not_found"));
    properties.insert("detail".into(), text("An explanation for people.", "There is no such thing."));
    properties.insert("instance".into(), text("The path of the request.", "/api/things/1"));
    properties.insert("field".into(), text("The field of a JSON body that cannot be read (400).", "lines[0].quantity"));
    properties.insert(
        "trace_id".into(),
        json!({"type": ["string", "null"], "description": "The trace id under which the request is logged."}),
    );
    let errors =
        json!({"type": "array", "items": FieldError::schema(), "description": "The fields that violate a rule."});
    properties.insert("errors".into(), errors);
    json!({"type": "object", "required": ["type", "title", "status", "code", "detail"], "properties": properties})
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_merge_patch_requires_no_field() {
        let body = json!({"content": {"application/json": {"schema": {"$ref": "#/components/schemas/Change"}}}});
        let api = with_problems(json!({
            "paths": {"/api/things": {"patch": {"requestBody": body, "responses": {}}, "put": {"requestBody": body, "responses": {}}}},
            "components": {"schemas": {
                "Change": {"allOf": [{"$ref": "#/components/schemas/Thing"}, {"type": "object"}]},
                "Thing": {"type": "object", "required": ["name"], "properties": {"name": {"type": "string"}}},
            }},
        }));
        let schema = |method: &str| api["paths"]["/api/things"][method].pointer(JSON_BODY).cloned().unwrap_or_default();
        let thing = json!({"type": "object", "properties": {"name": {"type": "string"}}});
        assert_eq!(schema("patch"), json!({"allOf": [thing, {"type": "object"}]}));
        assert_eq!(schema("put")["$ref"], "#/components/schemas/Change");
    }

    #[test]
    fn every_operation_describes_the_problems_that_it_can_return() {
        let api = with_problems(json!({"paths": {"/api/things/{id}": {
            "get": {"responses": {"200": {"description": "x", "content": {"text/event-stream": {"schema": {"type": "string"}}}}}},
            "put": {"requestBody": {}, "parameters": [{"name": "If-Match"}, {"name": "Prefer", "description": "Own."}], "responses": {"409": {"description": "Own."}}},
        }}}));
        let operations = &api["paths"]["/api/things/{id}"];
        let get = &operations["get"]["responses"];
        assert_eq!(operations["get"].get("parameters"), None);
        assert_eq!(get["401"]["$ref"], "#/components/responses/unauthenticated");
        assert!(get.get("413").is_none() && get.get("409").is_none() && get.get("404").is_some());
        assert_eq!(get["200"]["content"]["text/event-stream"], json!({}));
        let put = &operations["put"]["responses"];
        assert_eq!(put["409"]["description"], "Own.");
        assert!(put["409"]["content"]["application/problem+json"].is_object());
        assert!(operations["put"]["parameters"][0]["description"].as_str().is_some_and(|text| text.contains("412")));
        assert_eq!(operations["put"]["parameters"][1]["description"], "Own.");
        assert!(["412", "413", "415", "422", "429", "503"].iter().all(|status| put.get(status).is_some()));
        assert_eq!(api["components"]["responses"]["too_many_requests"]["description"], "Too many requests");
        assert_eq!(api["components"]["schemas"]["Problem"]["properties"]["errors"]["items"]["type"], "object");
    }
}
