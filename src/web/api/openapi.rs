//! The `OpenAPI` document, made of the list that the router is made of.

use axum::Json;
use axum::extract::State;
use serde_json::{Map, Value, json};

use super::schemas::{self, reference};
use super::{Operation, operations};
use crate::web::Console;

/// `GET /api/openapi.json`
pub(super) async fn show(State(console): State<Console>) -> Json<Value> {
    Json(document(console.access.is_guarded()))
}

/// The document; where the console demands a token it says so.
pub(super) fn document(guarded: bool) -> Value {
    let mut paths: Map<String, Value> = Map::new();
    for operation in operations() {
        let path = paths.entry(operation.path).or_insert_with(|| json!({}));
        path[operation.method.as_str().to_lowercase()] = described(&operation);
    }
    let security = if guarded { json!([{ "token": [] }]) } else { json!([]) };
    json!({
        "openapi": "3.1.0",
        "info": {
            "title": "activity-relay",
            "version": env!("CARGO_PKG_VERSION"),
            "description": "What the console does, for programs. Keys may be added to answers; none is changed or taken away.",
        },
        "security": security,
        "paths": paths,
        "components": {
            "securitySchemes": { "token": {
                "type": "http", "scheme": "bearer", "description": "The console's token (`--console-token`)",
            } },
            "schemas": schemas::all(),
        },
    })
}

fn described(operation: &Operation) -> Value {
    let (status, answer) = &operation.answer;
    let problem = json!({
        "description": "Why it was not done (RFC 9457)",
        "content": { "application/problem+json": { "schema": reference("Problem") } },
    });
    let mut described = json!({
        "operationId": operation.id,
        "summary": operation.summary,
        "parameters": parameters(operation),
        "responses": {
            status.to_string(): {
                "description": operation.summary,
                "content": { "application/json": { "schema": answer } },
            },
            "default": problem,
        },
    });
    if let Some(body) = &operation.body {
        described["requestBody"] =
            json!({ "required": true, "content": { "application/json": { "schema": body } } });
    }
    described
}

fn parameters(operation: &Operation) -> Vec<Value> {
    let names = operation.path.split(['{', '}']).skip(1).step_by(2);
    let in_path = names.map(|name| {
        let schema = match (name, operation.id) {
            ("id", "liftMute") => json!({ "type": "integer", "minimum": 1, "format": "int64" }),
            _ => json!({ "type": "string", "minLength": 1 }),
        };
        json!({ "name": name, "in": "path", "required": true, "schema": schema })
    });
    let in_query = operation.query.iter().map(|parameter| {
        let schema = if parameter.several {
            json!({ "type": "array", "items": parameter.schema })
        } else {
            parameter.schema.clone()
        };
        json!({ "name": parameter.name, "in": "query", "required": false, "description": parameter.about, "schema": schema })
    });
    in_path.chain(in_query).collect()
}
