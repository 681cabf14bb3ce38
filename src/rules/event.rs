//! Which messages tell of one event, where a digest has gathered them. Pure.

use std::collections::HashMap;

use jiff::Timestamp;

use crate::model::message::Message;
use crate::model::names::Names;
use crate::model::settle::after_now;

use super::timing::Collapse;

impl Collapse {
    /// The places of the messages of each event, oldest first: those that have the fields in common and were made within the
    /// time of the event's first. The messages are given in the order of their making.
    pub fn events<'m>(
        &self,
        messages: impl IntoIterator<Item = (&'m Message, &'m Names)>,
    ) -> Vec<Vec<usize>> {
        let mut events: Vec<Vec<usize>> = Vec::new();
        let mut newest: HashMap<String, (Timestamp, usize)> = HashMap::new();
        for (place, (message, names)) in messages.into_iter().enumerate() {
            let made = message.created_at;
            let open = newest.entry(self.by.of(message, names).key).or_insert((made, events.len()));
            if made > after_now(open.0, self.within) {
                *open = (made, events.len());
            }
            match events.get_mut(open.1) {
                Some(event) => event.push(place),
                None => events.push(vec![place]),
            }
        }
        events
    }
}
