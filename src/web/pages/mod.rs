//! The console's pages: each gathers what it shows and renders it with a template of its own.

pub(super) mod configuration;
pub(super) mod coverage;
pub(super) mod deliveries;
pub(super) mod digests;
pub(super) mod feed;
pub(super) mod login;
pub(super) mod messages;
pub(super) mod mutes;
pub(super) mod overview;
pub(super) mod playground;
pub(super) mod targets;

use std::borrow::Borrow;
use std::fmt::Write;

use askama::Template;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use jiff::Timestamp;
use jiff::tz::TimeZone;
use url::form_urlencoded;

use super::Console;
use super::guard::{Call, Visitor};
use crate::answers::asked::Refusal;
use crate::answers::when;
use crate::model::delivery::StateName;
use crate::store::StoreError;

/// Where the pages are, in the order of the navigation.
const NAVIGATION: [(&str, &str); 9] = [
    ("/", "Overview"),
    ("/feed", "Live feed"),
    ("/deliveries", "Deliveries"),
    ("/digests", "Digests"),
    ("/targets", "Targets"),
    ("/coverage", "Coverage"),
    ("/playground", "Playground"),
    ("/mutes", "Mutes"),
    ("/configuration", "Configuration"),
];

/// A moment, or a reference to one, as templates hand it over.
trait Moment {
    fn moment(&self) -> Timestamp;
}

impl Moment for Timestamp {
    fn moment(&self) -> Timestamp {
        *self
    }
}

impl<T: Moment> Moment for &T {
    fn moment(&self) -> Timestamp {
        (**self).moment()
    }
}

/// A number, or a reference to one, as templates hand it over.
trait Number {
    fn number(&self) -> u64;
}

impl Number for u64 {
    fn number(&self) -> u64 {
        *self
    }
}

impl Number for usize {
    fn number(&self) -> u64 {
        u64::try_from(*self).unwrap_or(u64::MAX)
    }
}

impl<T: Number> Number for &T {
    fn number(&self) -> u64 {
        (**self).number()
    }
}

/// What stands around every page.
pub(super) struct Frame {
    /// What the page is called.
    title: &'static str,
    /// Where in the navigation it belongs.
    here: &'static str,
    visitor: Visitor,
    /// What the last change did, said once: see [`Told`](super::told::Told).
    told: Option<String>,
    zone: TimeZone,
    now: Timestamp,
}

impl Frame {
    /// Of a page that stands in the navigation, or belongs to one that does.
    pub(super) fn new(console: &Console, visitor: Visitor, here: &'static str) -> Self {
        let zone = console.relay.config().timezone.clone();
        let title = NAVIGATION.iter().find(|(path, _)| *path == here).map_or("", |(_, name)| name);
        Self { title, here, visitor, told: None, zone, now: console.relay.clock.now() }
    }

    /// Under another title than the one that the navigation has.
    fn titled(self, title: &'static str) -> Self {
        Self { title, ..self }
    }

    fn told(mut self, told: Option<String>) -> Self {
        self.told = told;
        self
    }

    fn navigation(&self) -> impl Iterator<Item = (&'static str, &'static str, bool)> {
        NAVIGATION.into_iter().map(|(path, name)| (path, name, path == self.here))
    }

    /// A moment as markup: by the clock, to be put into the reader's own zone.
    fn at(&self, at: impl Moment) -> String {
        clocked(at.moment(), &self.zone, self.now)
    }

    /// A moment as markup: how long ago, or in how long.
    fn ago(&self, at: impl Moment) -> String {
        let at = at.moment();
        time(at, &self.zone, "ago", &when::ago(at, self.now))
    }

    /// The zone of all times on the page, until a script puts them into the reader's own.
    fn zone(&self) -> &str {
        self.zone.iana_name().unwrap_or("UTC")
    }

    /// What every form that changes something sends along.
    fn proof(&self) -> String {
        format!("<input type=\"hidden\" name=\"csrf\" value=\"{}\">", self.visitor.proof)
    }
}

/// A moment as markup, by the clock of a zone; of another year than this one with its year.
fn clocked(at: Timestamp, zone: &TimeZone, now: Timestamp) -> String {
    let (local, now) = (at.to_zoned(zone.clone()), now.to_zoned(zone.clone()));
    let format = if local.year() == now.year() { "%-d %b, %H:%M:%S" } else { "%-d %b %Y, %H:%M:%S" };
    time(at, zone, "at", &local.strftime(format).to_string())
}

fn time(at: Timestamp, zone: &TimeZone, show: &str, text: &str) -> String {
    let exact = when::moment(at, zone);
    format!("<time datetime=\"{at:.0}\" title=\"{exact}\" data-show=\"{show}\">{text}</time>")
}

/// A page, or why there is none.
pub(super) type Answer = Result<Response, Failure>;

/// Why a page cannot be shown.
pub(super) enum Failure {
    /// The store did not answer.
    Store(StoreError),
    /// There is no such thing.
    Missing(String),
    /// It is there, and in no state for it.
    Conflict(String),
    /// What was asked makes no sense.
    Wrong(String),
    /// A template failed, which is a fault of ours.
    Template(askama::Error),
}

impl From<StoreError> for Failure {
    fn from(error: StoreError) -> Self {
        Self::Store(error)
    }
}

impl From<Refusal> for Failure {
    fn from(refusal: Refusal) -> Self {
        match refusal {
            Refusal::Missing(words) => Self::Missing(words),
            Refusal::Conflict(words) => Self::Conflict(words),
            Refusal::Wrong(words) => Self::Wrong(words),
            Refusal::Store(error) => Self::Store(error),
        }
    }
}

impl From<askama::Error> for Failure {
    fn from(error: askama::Error) -> Self {
        Self::Template(error)
    }
}

impl IntoResponse for Failure {
    fn into_response(self) -> Response {
        match self {
            Self::Store(error) => {
                tracing::warn!(%error, "a page of the console cannot be shown");
                let words = format!(
                    "{error}. The relay goes on by itself when it can; `activity-relay status` says more. Load this page again."
                );
                problem(StatusCode::SERVICE_UNAVAILABLE, "The store does not answer", &words)
            }
            Self::Missing(words) => problem(StatusCode::NOT_FOUND, "There is nothing here", &words),
            Self::Conflict(words) => problem(StatusCode::CONFLICT, "It is not in a state for this", &words),
            Self::Wrong(words) => problem(StatusCode::BAD_REQUEST, "That cannot be done so", &words),
            Self::Template(error) => {
                tracing::error!(%error, "a page of the console cannot be rendered");
                problem(StatusCode::INTERNAL_SERVER_ERROR, "This page is broken", "The log says why.")
            }
        }
    }
}

#[derive(Template)]
#[template(path = "problem.html")]
struct Problem<'a> {
    title: &'a str,
    words: &'a str,
}

/// A page that says what is wrong and what to do.
pub(super) fn problem(status: StatusCode, title: &str, words: &str) -> Response {
    let mut response = match (Problem { title, words }).render() {
        Ok(page) => (status, [(header::CONTENT_TYPE, "text/html; charset=utf-8")], page).into_response(),
        Err(_) => (status, format!("{title}\n{words}\n")).into_response(),
    };
    response.extensions_mut().insert(Said { title: title.to_owned(), words: words.to_owned() });
    response
}

/// What such a page says, for whoever says it to a program.
#[derive(Debug, Clone)]
pub(super) struct Said {
    pub(super) title: String,
    pub(super) words: String,
}

/// A rendered page.
pub(super) fn page(template: &impl Template) -> Answer {
    Ok(([(header::CONTENT_TYPE, "text/html; charset=utf-8")], template.render()?).into_response())
}

#[derive(Template)]
#[template(path = "missing.html")]
struct Missing {
    frame: Frame,
}

/// What is not there. For programs the API says so in its own way.
pub(super) async fn missing(Call { console, visitor }: Call) -> Answer {
    let frame = Frame::new(&console, visitor, "").titled("There is nothing here");
    Ok((StatusCode::NOT_FOUND, page(&Missing { frame })?).into_response())
}

/// An address with a query; pairs without a value are left out.
fn address<'a>(path: &str, pairs: impl IntoIterator<Item = (&'a str, &'a str)>) -> String {
    let mut query = form_urlencoded::Serializer::new(String::new());
    for (name, value) in pairs.into_iter().filter(|(_, value)| !value.is_empty()) {
        query.append_pair(name, value);
    }
    let query = query.finish();
    if query.is_empty() { path.to_owned() } else { format!("{path}?{query}") }
}

/// Where the deliveries of a target in a state are.
fn owed_to(state: &str, target: &str) -> String {
    address("/deliveries", [("state", state), ("target", target)])
}

/// The name of a thing as part of a path.
fn segment(name: &str) -> String {
    let mut path = String::new();
    for byte in name.bytes() {
        if byte.is_ascii_alphanumeric() || b"-_~".contains(&byte) {
            path.push(char::from(byte));
        } else {
            // Writing to a String cannot fail.
            let _ = write!(path, "%{byte:02X}");
        }
    }
    path
}

/// A number as people read it: `12,345`.
fn grouped(number: impl Number) -> String {
    let digits = number.number().to_string();
    let mut text = String::new();
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// `1 delivery`, `12 deliveries`.
fn deliveries_in_words(number: impl Number) -> String {
    let number = number.number();
    format!("{} {}", grouped(number), if number == 1 { "delivery" } else { "deliveries" })
}

/// `1 message`, `12 messages`.
fn messages_in_words(number: impl Number) -> String {
    let number = number.number();
    format!("{} {}", grouped(number), if number == 1 { "message" } else { "messages" })
}

/// The class of a state's badge.
fn tone(state: impl Borrow<StateName>) -> &'static str {
    match state.borrow() {
        StateName::Delivered => "good",
        StateName::Dead => "bad",
        StateName::Expired => "warn",
        StateName::Sending | StateName::Pending => "busy",
        StateName::Withheld | StateName::Discarded => "calm",
    }
}

/// Words of ours as markup: what stands between backticks is shown as code, everything else is text.
fn coded(words: impl AsRef<str>) -> String {
    let mut markup = String::new();
    let parts: Vec<&str> = words.as_ref().split('`').collect();
    for (index, part) in parts.iter().enumerate() {
        // One backtick alone is no pair.
        let (inside, alone) = (index % 2 == 1, index + 1 == parts.len());
        match (inside, alone) {
            (true, false) => markup.push_str("<code>"),
            (true, true) => markup.push('`'),
            (false, _) => {}
        }
        for char in part.chars() {
            match char {
                '&' => markup.push_str("&amp;"),
                '<' => markup.push_str("&lt;"),
                '>' => markup.push_str("&gt;"),
                '"' => markup.push_str("&quot;"),
                '\'' => markup.push_str("&#39;"),
                _ => markup.push(char),
            }
        }
        if inside && !alone {
            markup.push_str("</code>");
        }
    }
    markup
}

/// A text on one line, not longer than so many characters.
fn short(text: &str, chars_max: usize) -> String {
    let line = text.split_whitespace().collect::<Vec<_>>().join(" ");
    if line.chars().count() <= chars_max {
        return line;
    }
    line.chars().take(chars_max.saturating_sub(1)).chain(['…']).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_stands_between_backticks_is_code_and_markup_is_text() {
        assert_eq!(coded("`match` takes <b>"), "<code>match</code> takes &lt;b&gt;");
        assert_eq!(
            coded("a `<script>` & a 'lone` ` one"),
            "a <code>&lt;script&gt;</code> &amp; a &#39;lone<code> </code> one"
        );
        assert_eq!(coded("not ended: `x"), "not ended: `x");
    }

    #[test]
    fn a_date_of_another_year_shows_its_year() {
        let at = |text: &str| text.parse::<Timestamp>().unwrap();
        let shown = |moment: &str| clocked(at(moment), &TimeZone::UTC, at("2026-01-01T08:00:00Z"));
        assert!(shown("2026-01-01T07:00:00Z").contains(">1 Jan, 07:00:00<"));
        assert!(shown("2025-12-31T07:00:00Z").contains(">31 Dec 2025, 07:00:00<"));
    }

    #[test]
    fn addresses_and_numbers_are_written_as_they_must_be() {
        assert_eq!(
            address("/deliveries", [("state", "dead"), ("rule", ""), ("target", "a&b")]),
            "/deliveries?state=dead&target=a%26b"
        );
        assert_eq!(address("/deliveries", [("state", "")]), "/deliveries");
        assert_eq!(segment("../a b/ü"), "%2E%2E%2Fa%20b%2F%C3%BC");
        assert_eq!([0_u64, 999, 1_000, 1_234_567].map(grouped), ["0", "999", "1,000", "1,234,567"]);
        assert_eq!(short("one  two\nthree", 9), "one two …");
    }
}
