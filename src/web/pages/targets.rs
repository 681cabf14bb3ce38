//! Targets: which are held up and why, what waits for each; pause, resume, and a test message.

use askama::Template;
use axum::extract::Query;
use axum::response::{IntoResponse, Redirect};
use serde::Deserialize;

use super::{Answer, Failure, Frame, address, coded, grouped, owed_to, page, short};
use crate::answers::targets::{self, Listed, Tested};
use crate::config::Config;
use crate::web::Console;
use crate::web::form::Fields;
use crate::web::guard::{Call, Visitor};

/// How much of an answer is shown, in characters.
const ANSWER_CHARS_MAX: usize = 600;
/// How long a reason may be, in characters.
const REASON_CHARS_MAX: usize = 200;

#[derive(Template)]
#[template(path = "targets.html")]
struct List {
    frame: Frame,
    targets: Vec<Listed>,
    tested: Vec<Tested>,
}

#[derive(Deserialize)]
pub(in crate::web) struct Asked {
    #[serde(default)]
    did: String,
    #[serde(default)]
    name: String,
}

/// `GET /targets`
pub(in crate::web) async fn list(Call { console, visitor }: Call, Query(asked): Query<Asked>) -> Answer {
    let told = match asked.did.as_str() {
        "pause" => Some(format!("{} is paused; what is owed to it waits.", short(&asked.name, 80))),
        "resume" => Some(format!("{} is resumed; what waited is sent.", short(&asked.name, 80))),
        _ => None,
    };
    shown(&console, visitor, told, Vec::new()).await
}

async fn shown(console: &Console, visitor: Visitor, told: Option<String>, tested: Vec<Tested>) -> Answer {
    let frame = Frame::new(console, visitor, "/targets").told(told);
    let targets = targets::list(&console.relay.store, &console.relay.config(), frame.now).await?;
    page(&List { frame, targets, tested })
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
    let reason = if reason.is_empty() { "paused in the console".to_owned() } else { reason };
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
    targets::hold(&console.relay.store, &config, (name, reason), console.relay.clock.now()).await?;
    console.relay.owed.notify_one();
    tracing::info!(%peer, did, target = name, "changed in the console");
    Ok(Redirect::to(&address("/targets", [("did", did), ("name", name)])).into_response())
}

/// `POST /targets/test`
pub(in crate::web) async fn test(Call { console, visitor }: Call, body: String) -> Answer {
    let (fields, config) = (Fields::of(&body), console.relay.config());
    let name = known(&config, &fields)?;
    let Some(target) = config.targets.get(name) else { return Err(Failure::Missing(String::new())) };
    let peer = visitor.peer;
    tracing::info!(%peer, target = name, "tested in the console");
    let by = format!("Somebody tested {name} in the console");
    let tested = targets::test(target, &by, &config, console.relay.clock.now()).await;
    shown(&console, visitor, None, tested).await
}
