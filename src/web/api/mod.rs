//! `/api/v1`: what the pages do, for programs. Routes, parameters and the `OpenAPI` document come from one list.

mod asked;
mod configuration;
mod deliveries;
mod digests;
mod figures;
mod messages;
mod mutes;
mod openapi;
mod playground;
mod problem;
mod schemas;
mod targets;

use std::collections::BTreeMap;

use axum::Router;
use axum::http::Method;
use axum::response::{IntoResponse, Response};
use axum::routing::{MethodRouter, get};
use serde::Serialize;
use serde_json::Value;

use super::Console;
use problem::Problem;
pub(super) use problem::as_problem;

/// Where the document is.
const DOCUMENT: &str = "/api/openapi.json";

/// What can be asked, as the router and the document need it.
struct Operation {
    method: Method,
    path: &'static str,
    /// What programs call it.
    id: &'static str,
    summary: &'static str,
    query: Vec<Parameter>,
    /// The schema of what is sent along.
    body: Option<Value>,
    /// The status and the schema of the answer.
    answer: (u16, Value),
    handler: MethodRouter<Console>,
}

/// A field of a query.
struct Parameter {
    name: &'static str,
    about: &'static str,
    /// May be there several times.
    several: bool,
    schema: Value,
}

impl Parameter {
    fn new(name: &'static str, about: &'static str, schema: Value) -> Self {
        Self { name, about, several: false, schema }
    }

    fn several(self) -> Self {
        Self { several: true, ..self }
    }
}

impl Operation {
    fn new(
        (method, path): (Method, &'static str),
        (id, summary): (&'static str, &'static str),
        answer: Value,
        handler: MethodRouter<Console>,
    ) -> Self {
        Self { method, path, id, summary, query: Vec::new(), body: None, answer: (200, answer), handler }
    }

    fn query(self, query: Vec<Parameter>) -> Self {
        Self { query, ..self }
    }

    fn body(self, body: Value) -> Self {
        Self { body: Some(body), ..self }
    }

    fn created(self) -> Self {
        Self { answer: (201, self.answer.1), ..self }
    }
}

/// All that can be asked.
fn operations() -> Vec<Operation> {
    [
        deliveries::operations(),
        digests::operations(),
        targets::operations(),
        mutes::operations(),
        messages::operations(),
        figures::operations(),
        playground::operations(),
        configuration::operations(),
    ]
    .into_iter()
    .flatten()
    .collect()
}

/// The routes, and the document that describes them.
pub(super) fn routes() -> Router<Console> {
    let mut paths: BTreeMap<&'static str, MethodRouter<Console>> = BTreeMap::new();
    for operation in operations() {
        let known = paths.remove(operation.path).unwrap_or_default();
        paths.insert(operation.path, known.merge(operation.handler));
    }
    let router = Router::new().route(DOCUMENT, get(openapi::show));
    paths.into_iter().fold(router, |router, (path, handler)| router.route(path, handler))
}

/// A document, or why there is none.
type Answer = Result<Response, Problem>;

fn json(document: &impl Serialize) -> Answer {
    Ok(axum::Json(serde_json::to_value(document)?).into_response())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_operation_has_a_name_of_its_own_and_every_reference_leads_somewhere() {
        let mut names: Vec<&str> = operations().iter().map(|operation| operation.id).collect();
        names.sort_unstable();
        let all = names.len();
        names.dedup();
        assert_eq!((names.len(), all > 15), (all, true));
        let document = openapi::document(true);
        let text = document.to_string();
        let known = document["components"]["schemas"].as_object().unwrap();
        for mention in text.split("#/components/schemas/").skip(1) {
            let name = mention.split('"').next().unwrap();
            assert!(known.contains_key(name), "{name}");
        }
        for name in known.keys() {
            assert!(text.contains(&format!("#/components/schemas/{name}\"")), "{name} is used nowhere");
        }
    }
}
