//! Targets: which are held up and why, what waits for each; pause, resume, and a test message.

use std::sync::Arc;

use askama::Template;
use axum::extract::Query;
use axum::response::{IntoResponse, Redirect};
use serde::Deserialize;

use super::{Answer, Failure, Frame, coded, grouped, owed_to, page, short};
use crate::answers::targets::{self, Listed, Tested};
use crate::config::Config;
use crate::web::Console;
use crate::web::form::Fields;
use crate::web::guard::{Call, Visitor};

/// How much of an answer is shown, in characters.
const ANSWER_CHARS_MAX: usize = 600;
/// How long a reason may be, in characters.
const REASON_CHARS_MAX: usize = 300;

#[derive(Template)]
#[template(path = "targets.html")]
struct List {
    frame: Frame,
    targets: Vec<Listed>,
    tested: Arc<Vec<Tested>>,
}

#[derive(Deserialize)]
pub(in crate::web) struct Asked {
    /// The number of what is told of the change before this page.
    #[serde(default)]
    told: String,
    /// The number of what a test came to.
    #[serde(default)]
    test: String,
}

/// `GET /targets`
pub(in crate::web) async fn list(Call { console, visitor }: Call, Query(asked): Query<Asked>) -> Answer {
    let frame = Frame::new(&console, visitor, "/targets");
    let targets = targets::list(&console.relay.store, &console.relay.config(), frame.now).await?;
    let tested = asked.test.parse().ok().and_then(|number| console.tests.find(number));
    let lost = !asked.test.is_empty() && tested.is_none();
    let lost = lost.then(|| {
        "What this test came to is not known here: it is no longer kept, or another instance sent it."
            .to_owned()
    });
    let frame = frame.told(console.told.take(&asked.told).or(lost));
    page(&List { frame, targets, tested: tested.unwrap_or_default() })
}

fn known<'f>(config: &Config, fields: &'f Fields) -> Result<&'f str, Failure> {
    let name = fields.one("name");
    if config.targets.contains_key(name) {
        return Ok(name);
    }
    Err(Failure::Missing(format!("The rules file names no target “{}”.", short(name, 80))))
}

/// `POST /targets/pause`
pub(in crate::web) async fn pause(Call { console, visitor }: Call, body: String) -> Answer {
    let fields = Fields::of(&body);
    let reason = short(fields.one("reason"), REASON_CHARS_MAX);
    if reason.is_empty() {
        return Err(Failure::Wrong("Say why, for whoever finds out that the target is paused.".to_owned()));
    }
    held(&console, &visitor, &fields, Some(&reason)).await
}

/// `POST /targets/resume`
pub(in crate::web) async fn resume(Call { console, visitor }: Call, body: String) -> Answer {
    held(&console, &visitor, &Fields::of(&body), None).await
}

async fn held(console: &Console, visitor: &Visitor, fields: &Fields, reason: Option<&str>) -> Answer {
    let config = console.relay.config();
    let (name, peer) = (known(&config, fields)?, visitor.peer);
    let did = if reason.is_some() { "pause" } else { "resume" };
    let now = console.relay.clock.now();
    targets::hold(&console.relay.store, &config, (name, reason), now).await?;
    console.relay.owed.notify_one();
    tracing::info!(%peer, did, target = name, "changed in the console");
    let words = match reason {
        Some(_) => format!("{name} is paused; what is owed to it waits."),
        None => format!("{name} is resumed; what waited is sent."),
    };
    Ok(Redirect::to(&console.told.keep("/targets", words, now)).into_response())
}

/// `POST /targets/test`: leads to a page that says what it came to, so that loading it again tests nothing again.
pub(in crate::web) async fn test(Call { console, visitor }: Call, body: String) -> Answer {
    let (fields, config) = (Fields::of(&body), console.relay.config());
    let name = known(&config, &fields)?;
    let Some(target) = config.targets.get(name) else { return Err(Failure::Missing(String::new())) };
    let peer = visitor.peer;
    tracing::info!(%peer, target = name, "tested in the console");
    let by = format!("Somebody tested {name} in the console");
    let now = console.relay.clock.now();
    let tested = targets::test(target, &by, &config, now).await;
    let test = console.tests.keep(Arc::new(tested), now);
    Ok(Redirect::to(&format!("/targets?test={test}")).into_response())
}
