//! Why something was not done, as RFC 9457 has it: `application/problem+json` with a `type` that never changes.

use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde_json::{Value, json};

use crate::answers::asked::Refusal;
use crate::store::StoreError;
use crate::web::pages::Said;

/// What every type begins with.
pub(super) const TYPES: &str = "urn:activity-relay:problem:";

/// A refusal.
#[derive(Debug)]
pub(in crate::web) struct Problem {
    status: StatusCode,
    kind: &'static str,
    title: &'static str,
    detail: String,
    /// What else a program may want to know.
    more: Option<Box<(String, Value)>>,
}

impl Problem {
    pub(super) fn wrong(detail: impl Into<String>) -> Self {
        Self::of(StatusCode::BAD_REQUEST, detail)
    }

    pub(super) fn missing(detail: impl Into<String>) -> Self {
        Self::of(StatusCode::NOT_FOUND, detail)
    }

    fn conflict(detail: impl Into<String>) -> Self {
        Self::of(StatusCode::CONFLICT, detail)
    }

    /// With the type and title of its status.
    pub(super) fn of(status: StatusCode, detail: impl Into<String>) -> Self {
        let (kind, title) = kind(status);
        Self { status, kind, title, detail: detail.into(), more: None }
    }

    /// The same with a further member.
    pub(super) fn with(mut self, name: &str, value: Value) -> Self {
        self.more = Some(Box::new((name.to_owned(), value)));
        self
    }
}

/// The type and the title of a status.
fn kind(status: StatusCode) -> (&'static str, &'static str) {
    match status.as_u16() {
        401 => ("unauthorized", "A token is needed"),
        403 => ("forbidden", "This must not be done"),
        404 => ("not-found", "There is no such thing"),
        405 => ("method-not-allowed", "The address knows no such method"),
        408 => ("timeout", "The request took too long to arrive"),
        409 => ("conflict", "It is not in a state for this"),
        413 => ("too-large", "The request is too large"),
        415 => ("unsupported-media-type", "JSON is expected"),
        421 => ("unknown-host", "The relay does not know itself by this name"),
        422 => ("config-refused", "The configuration cannot be used"),
        429 => ("slow-down", "Too many wrong tokens"),
        503 => ("store-unavailable", "The store does not answer"),
        500..=599 => ("internal", "A fault of the relay"),
        _ => ("bad-request", "The request makes no sense"),
    }
}

impl From<Refusal> for Problem {
    fn from(refusal: Refusal) -> Self {
        match refusal {
            Refusal::Missing(detail) => Self::missing(detail),
            Refusal::Conflict(detail) => Self::conflict(detail),
            Refusal::Wrong(detail) => Self::wrong(detail),
            Refusal::Store(error) => error.into(),
        }
    }
}

impl From<StoreError> for Problem {
    fn from(error: StoreError) -> Self {
        tracing::warn!(%error, "a question to the API cannot be answered");
        Self::of(StatusCode::SERVICE_UNAVAILABLE, format!("{error}; the relay goes on by itself when it can"))
    }
}

impl From<serde_json::Error> for Problem {
    fn from(error: serde_json::Error) -> Self {
        tracing::error!(%error, "an answer of the API cannot be written");
        Self::of(StatusCode::INTERNAL_SERVER_ERROR, "the log says why")
    }
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        let mut body = json!({
            "type": format!("{TYPES}{}", self.kind),
            "title": self.title,
            "status": self.status.as_u16(),
            "detail": self.detail,
        });
        if let Value::Object(fields) = &mut body {
            fields.extend(self.more.map(|more| *more));
        }
        let media = HeaderValue::from_static("application/problem+json");
        (self.status, [(header::CONTENT_TYPE, media)], body.to_string()).into_response()
    }
}

/// What the guard and the router refuse with a page, for programs: the same words and headers.
pub(in crate::web) fn as_problem(response: Response) -> Response {
    let status = response.status();
    let media = response.headers().get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok());
    let ours = media.is_some_and(|media| media.contains("json"));
    if ours || !(status.is_client_error() || status.is_server_error()) {
        return response;
    }
    let said = response.extensions().get::<Said>();
    let detail = said.map_or_else(
        || "/api/openapi.json describes what can be asked".to_owned(),
        |said| format!("{}. {}", said.title, said.words),
    );
    let mut problem = Problem::of(status, detail).into_response();
    for (name, value) in response.headers() {
        if name != header::CONTENT_TYPE && name != header::CONTENT_LENGTH {
            problem.headers_mut().append(name, value.clone());
        }
    }
    problem
}
