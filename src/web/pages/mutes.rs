//! Mutes: rules that are silenced for a while, with the reason and the end.

use askama::Template;
use axum::extract::Query;
use axum::response::{IntoResponse, Redirect};
use jiff::Timestamp;
use serde::Deserialize;

use super::{Answer, Failure, Frame, page, short};
use crate::answers::when;
use crate::model::mute::Mute;
use crate::web::Console;
use crate::web::form::Fields;
use crate::web::guard::Call;

/// How long a reason may be, in characters.
const REASON_CHARS_MAX: usize = 300;
/// What is offered, and what a person may write himself.
const LENGTHS: [&str; 6] = ["30m", "2h", "8h", "24h", "3d", "7d"];

#[derive(Template)]
#[template(path = "mutes.html")]
struct List {
    frame: Frame,
    mutes: Vec<Mute>,
    rules: Vec<String>,
}

#[derive(Deserialize)]
pub(in crate::web) struct Asked {
    #[serde(default)]
    told: String,
}

/// `GET /mutes`
pub(in crate::web) async fn list(Call { console, visitor }: Call, Query(asked): Query<Asked>) -> Answer {
    let frame = Frame::new(&console, visitor, "/mutes");
    let mutes = console.relay.store.mutes(frame.now).await?;
    let rules = console.relay.config().rules.list().iter().map(|rule| rule.name.clone()).collect();
    let frame = frame.told(console.told.take(&asked.told));
    page(&List { frame, mutes, rules })
}

/// `POST /mutes/add`
pub(in crate::web) async fn add(Call { console, visitor }: Call, body: String) -> Answer {
    let (fields, now) = (Fields::of(&body), console.relay.clock.now());
    let (rule, reason) = (fields.one("rule"), short(fields.one("reason"), REASON_CHARS_MAX));
    if console.relay.config().rules.get(rule).is_none() {
        return Err(Failure::Missing(format!("The rules file has no rule “{}”.", short(rule, 80))));
    }
    if reason.is_empty() {
        return Err(Failure::Wrong("Say why, for whoever finds out that the rule is muted.".to_owned()));
    }
    let until = when::after(&short(fields.one("for"), 40), now).map_err(Failure::Wrong)?;
    let mute = console.relay.store.mute(rule, until, &reason, now).await?;
    let peer = visitor.peer;
    tracing::info!(%peer, rule, until = %mute.until, reason = ?mute.reason, "muted in the console");
    let longer = longest(&console, &mute.rule, now).await?.filter(|longest| longest.until > mute.until);
    let rule = short(rule, 80);
    let stays = longer.map(|by| format!(" It {}.", stays(&by, &console))).unwrap_or_default();
    let words = format!("{rule} is muted. What it owes is withheld meanwhile, with the reason.{stays}");
    Ok(Redirect::to(&console.told.keep("/mutes", words, now)).into_response())
}

/// The mute that silences a rule for longest.
async fn longest(console: &Console, rule: &str, now: Timestamp) -> Result<Option<Mute>, Failure> {
    Ok(Mute::of(&console.relay.store.mutes(now).await?, rule, now).cloned())
}

/// What to say of a rule that another mute silences as well.
fn stays(by: &Mute, console: &Console) -> String {
    let until = when::moment(by.until, &console.relay.config().timezone);
    format!("stays muted until {until}, by mute {}", by.id)
}

/// `POST /mutes/lift`
pub(in crate::web) async fn lift(Call { console, visitor }: Call, body: String) -> Answer {
    let (fields, now) = (Fields::of(&body), console.relay.clock.now());
    let id = fields.one("id").parse().map_err(|_| Failure::Wrong("A mute's id is a number.".to_owned()))?;
    let Some(mute) = console.relay.store.lift_mute(id, now).await? else {
        return Err(Failure::Missing(format!("There is no mute {id}, or it is over.")));
    };
    let peer = visitor.peer;
    tracing::info!(%peer, rule = ?mute.rule, "a mute was lifted in the console");
    let rule = short(&mute.rule, 80);
    let words = match longest(&console, &mute.rule, now).await? {
        Some(by) => format!("Mute {id} is lifted, and {rule} {}.", stays(&by, &console)),
        None => format!("{rule} is no longer muted. What was withheld stays withheld until it is replayed."),
    };
    Ok(Redirect::to(&console.told.keep("/mutes", words, now)).into_response())
}
