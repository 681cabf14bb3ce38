//! The configuration: what is in force, out of which files, and how the last reload went.

use askama::Template;
use axum::extract::{Query, State};
use axum::response::{IntoResponse, Redirect};
use serde::Deserialize;

use super::{Answer, Frame, address, coded, page};
use crate::config::Config;
use crate::config::problem::{Problem, Severity};
use crate::daemon::reload::{Cause, Last, Outcome};
use crate::web::Console;
use crate::web::guard::Call;

#[derive(Template)]
#[template(path = "configuration.html")]
struct Show<'a> {
    frame: Frame,
    config: &'a Config,
    files: Vec<String>,
    last: Option<Last>,
}

impl Show<'_> {
    fn problems(&self) -> &[Problem] {
        self.last.as_ref().map_or(&[], |last| &last.reload.problems)
    }

    fn difference(&self) -> String {
        match self.last.as_ref().map(|last| &last.reload.outcome) {
            Some(Outcome::Replaced(difference)) => difference.to_string(),
            _ => String::new(),
        }
    }
}

#[derive(Deserialize)]
pub(in crate::web) struct Asked {
    #[serde(default)]
    told: String,
}

/// `GET /configuration`
pub(in crate::web) async fn show(Call { console, visitor }: Call, Query(asked): Query<Asked>) -> Answer {
    let config = console.relay.config();
    let frame = Frame::new(&console, visitor, "/configuration").told(console.told.take(&asked.told));
    let files = console.reloader.seen().paths().iter().map(|path| path.display().to_string()).collect();
    page(&Show { frame, config: &config, files, last: console.reloader.last() })
}

/// `POST /configuration/reload`
pub(in crate::web) async fn reload(State(console): State<Console>) -> Answer {
    let reload = console.reloader.reload(Cause::Console).await;
    let words = match reload.outcome {
        Outcome::Replaced(_) => "The files were read again; what they say is in force.",
        Outcome::Unchanged => "The files say what they said; nothing was done.",
        // The page says so itself.
        Outcome::Refused => return Ok(Redirect::to("/configuration").into_response()),
    };
    let shown = console.told.keep("/configuration", words.to_owned(), console.relay.clock.now());
    Ok(Redirect::to(&shown).into_response())
}

/// Where the deliveries of a rule are.
fn of_rule(rule: &str) -> String {
    address("/deliveries", [("rule", rule)])
}
