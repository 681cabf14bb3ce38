//! Which rows a page of the list holds.

use std::cmp::Reverse;

use jiff::Timestamp;
use serde_json::Value;

use crate::model::message::key;
use crate::sandbox::behaviour::{General, Ties};
use crate::sandbox::world::{Record, World};

use super::query::Query;
use super::shape;

/// One page.
pub(super) struct Page {
    /// The rows, as the API gives them.
    pub(super) items: Vec<Value>,
    /// All rows that the filters let through.
    pub(super) total: usize,
}

/// The page that is asked for, of what can be seen at `now`.
pub(super) fn page(world: &mut World, query: &Query, now: Timestamp) -> Page {
    let mut found: Vec<(Timestamp, u64, usize)> = Vec::new();
    for (index, record) in world.records.iter().enumerate() {
        if record.visible_at <= now && takes(query, record) && !(hidden(world, record)) {
            let tie = match world.behaviour.ties {
                Ties::Fixed => index as u64,
                Ties::Shuffle => 0,
            };
            found.push((record.made, tie, index));
        }
    }
    if world.behaviour.ties == Ties::Shuffle {
        for (_, tie, _) in &mut found {
            *tie = world.rng.u64(..);
        }
    }
    if query.ascending {
        found.sort_unstable();
    } else {
        found.sort_unstable_by_key(|row| Reverse(*row));
    }
    let total = found.len();
    let size = usize::try_from(query.per_page).unwrap_or(usize::MAX);
    let skipped = usize::try_from(query.page - 1).unwrap_or(usize::MAX).saturating_mul(size);
    let items = found
        .iter()
        .skip(skipped)
        .take(size)
        .filter_map(|(_, _, index)| world.records.get(*index).map(|record| (record, *index)))
        .map(|(record, index)| shape::item(&world.behaviour, record, index))
        .collect();
    Page { items, total }
}

fn hidden(world: &World, record: &Record) -> bool {
    world.behaviour.general == General::Hidden && text(record, "activity_type").is_none()
}

fn takes(query: &Query, record: &Record) -> bool {
    let is = |name, wanted: Option<&str>| wanted.is_none_or(|wanted| text(record, name) == Some(wanted));
    let kind = query.activity_type.as_ref();
    kind.is_none_or(|wanted| text(record, "activity_type").is_some_and(|kind| key(kind) == key(wanted)))
        && is("activity_action", query.activity_action.as_deref())
        && is("client_uid", query.client_uid.as_deref())
        && is("staff_uid", query.staff_uid.as_deref())
        && is("direction", query.direction)
        && query.conversation_uid.as_ref().is_none_or(|uid| record.conversation.as_ref() == Some(uid))
        && query.was_read.is_none_or(|read| record.read == read)
        && query.created_after.is_none_or(|bound| shown(record) >= bound)
        && query.created_before.is_none_or(|bound| shown(record) <= bound)
}

/// The time as it is stored: whole seconds.
fn shown(record: &Record) -> Timestamp {
    Timestamp::from_second(record.made.as_second()).unwrap_or(record.made)
}

fn text<'a>(record: &'a Record, name: &str) -> Option<&'a str> {
    record.item.get(name).and_then(Value::as_str)
}
