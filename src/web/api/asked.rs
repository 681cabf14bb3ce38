//! What a program sends: queries of known fields and bodies of JSON; anything else is refused with its place.

use std::sync::LazyLock;

use axum::body::Bytes;
use axum::extract::{FromRequest, FromRequestParts, Request};
use axum::http::request::Parts;
use axum::http::{HeaderMap, Method, StatusCode, header};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Deserializer};
use url::form_urlencoded;

use super::problem::Problem;
use super::{Parameter, operations};

/// Of one operation: method, path, and its fields with whether each may be there several times.
type Fields = (Method, &'static str, Vec<(&'static str, bool)>);

/// Of each operation the fields of its query, and whether one may be there several times.
static KNOWN: LazyLock<Vec<Fields>> = LazyLock::new(|| {
    let fields = |query: Vec<Parameter>| query.iter().map(|field| (field.name, field.several)).collect();
    operations().into_iter().map(|one| (one.method, one.path, fields(one.query))).collect()
});

/// The fields of a query, all of which the operation knows.
#[derive(Debug)]
pub(in crate::web) struct Query(Vec<(String, String)>);

impl<S: Sync> FromRequestParts<S> for Query {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Problem> {
        let matched = parts.extensions.get::<axum::extract::MatchedPath>();
        let path = matched.map_or("", axum::extract::MatchedPath::as_str);
        let asked = if parts.method == Method::HEAD { &Method::GET } else { &parts.method };
        let known = KNOWN.iter().find(|(method, of, _)| *of == path && method == asked);
        let known = known.map(|(_, _, fields)| fields.as_slice()).unwrap_or_default();
        let fields = form_urlencoded::parse(parts.uri.query().unwrap_or_default().as_bytes());
        let fields: Vec<(String, String)> = fields.into_owned().collect();
        for (name, _) in &fields {
            let Some((_, several)) = known.iter().find(|(known, _)| known == name) else {
                let names: Vec<&str> = known.iter().map(|(name, _)| *name).collect();
                return Err(Problem::wrong(format!(
                    "the query has no field `{name}`; there are: {}",
                    names.join(", ")
                )));
            };
            if !several && fields.iter().filter(|(other, _)| other == name).count() > 1 {
                return Err(Problem::wrong(format!("`{name}` stands in the query more than once")));
            }
        }
        Ok(Self(fields))
    }
}

impl Query {
    pub(super) fn all(&self, name: &str) -> impl Iterator<Item = &str> {
        self.0.iter().filter(move |(key, _)| key == name).map(|(_, value)| value.as_str())
    }

    pub(super) fn one(&self, name: &str) -> Option<&str> {
        self.all(name).next()
    }

    /// A whole number in digits.
    pub(super) fn number(&self, name: &str) -> Result<Option<u64>, Problem> {
        let wrong = || Problem::wrong(format!("`{name}` is a whole number"));
        let digits = |text: &str| text.bytes().all(|byte| byte.is_ascii_digit());
        self.one(name).map(|text| text.parse().ok().filter(|_| digits(text)).ok_or_else(wrong)).transpose()
    }

    pub(super) fn flag(&self, name: &str) -> Result<bool, Problem> {
        match self.one(name) {
            None | Some("false") => Ok(false),
            Some("true") => Ok(true),
            Some(_) => Err(Problem::wrong(format!("`{name}` is true or false"))),
        }
    }
}

/// A body of JSON.
#[derive(Debug)]
pub(in crate::web) struct Body<T>(pub(super) T);

impl<S: Send + Sync, T: DeserializeOwned> FromRequest<S> for Body<T> {
    type Rejection = Problem;

    async fn from_request(request: Request, state: &S) -> Result<Self, Problem> {
        if !is_json(request.headers()) {
            let words = "send the body as `Content-Type: application/json`";
            return Err(Problem::of(StatusCode::UNSUPPORTED_MEDIA_TYPE, words));
        }
        let body = Bytes::from_request(request, state).await;
        let body = body.map_err(|error| Problem::wrong(format!("the body cannot be read: {error}")))?;
        let value = serde_json::from_slice(&body);
        value.map(Self).map_err(|error| Problem::wrong(format!("the body cannot be used: {error}")))
    }
}

fn is_json(headers: &HeaderMap) -> bool {
    let media = headers.get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default();
    media.split(';').next().is_some_and(|media| media.trim().eq_ignore_ascii_case("application/json"))
}

/// A field that may be left out, but is no `null`.
pub(super) fn present<'de, D: Deserializer<'de>, T: Deserialize<'de>>(
    from: D,
) -> Result<Option<T>, D::Error> {
    T::deserialize(from).map(Some)
}
