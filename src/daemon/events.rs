//! Events that came in several messages: which message speaks for each, and what is listed with it.

use crate::model::event::most_telling;
use crate::render::view::Seen;
use crate::rules::timing::Collapse;

/// The messages of a digest, each event once. They are given in the order of their making.
pub fn by_event(seen: Vec<Seen>, collapse: &Collapse) -> Vec<Seen> {
    let events = collapse.events(seen.iter().map(|one| (&one.message, &one.names)));
    let mut all: Vec<Option<Seen>> = seen.into_iter().map(Some).collect();
    let of = |event: Vec<usize>| event.into_iter().filter_map(|place| all[place].take()).collect();
    events.into_iter().map(of).filter_map(one_event).collect()
}

/// The messages of one event, oldest first, as the one that speaks for all; `None` where there is none.
pub(super) fn one_event(mut messages: Vec<Seen>) -> Option<Seen> {
    let best = most_telling(messages.iter().map(|seen| &seen.message))?;
    let mut told = messages.remove(best);
    told.also = messages;
    Some(told)
}
