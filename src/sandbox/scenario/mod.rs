//! Scenarios: what happens to the fake business, when. Built-in ones by name, others from YAML or JSON files.

mod built_in;

use std::path::Path;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::model::names::{Client, Staff};

use super::business::Business;
use super::incoming::duration;
use super::people::new_client;
use super::world::Action;

/// A scenario.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Scenario {
    /// What it is, for people.
    pub title: String,
    /// The business's name.
    pub business: Option<String>,
    /// The business's IANA time zone.
    pub time_zone: Option<String>,
    /// Its clients; whoever a step names and who is not here gets an address and a number made up.
    pub clients: Vec<Person>,
    /// Its staff.
    pub staff: Vec<Person>,
    /// What happens.
    pub steps: Vec<Step>,
}

/// A client or a staff member of a scenario.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Person {
    /// First and last name.
    pub name: String,
    /// E-mail address.
    pub email: Option<String>,
    /// Telephone number.
    pub phone: Option<String>,
}

/// Something that happens at some time.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Step {
    /// After the start, such as `1m30s`; absent: at the start.
    #[serde(default = "at_once")]
    pub at: String,
    /// What happens.
    #[serde(rename = "do")]
    pub action: Action,
}

fn at_once() -> String {
    "0s".to_owned()
}

impl Step {
    /// Something that happens after a while.
    pub fn new(at: Duration, action: Action) -> Self {
        Self { at: format!("{}ms", at.as_millis()), action }
    }

    /// How long after the start.
    pub fn after(&self) -> Duration {
        duration(&self.at).unwrap_or_default()
    }
}

/// A scenario that cannot be played.
#[derive(Debug, thiserror::Error)]
pub enum Problem {
    /// Neither a name nor a file.
    #[error("there is no scenario {name:?}: it is neither a file nor one of {}", built_in::NAMES.join(", "))]
    Unknown {
        /// What was asked for.
        name: String,
    },
    /// The file cannot be read.
    #[error("{path}: {why}")]
    Unreadable {
        /// The file.
        path: String,
        /// What is wrong.
        why: String,
    },
}

impl Scenario {
    /// The names of the built-in ones.
    pub fn names() -> &'static [&'static str] {
        &built_in::NAMES
    }

    /// A built-in one.
    pub fn named(name: &str) -> Option<Self> {
        built_in::named(name)
    }

    /// A built-in one by name, or one from a file.
    pub fn load(name_or_file: &str) -> Result<Self, Problem> {
        if let Some(scenario) = Self::named(name_or_file) {
            return Ok(scenario);
        }
        let path = Path::new(name_or_file);
        if !path.exists() {
            return Err(Problem::Unknown { name: name_or_file.to_owned() });
        }
        let unreadable = |why: String| Problem::Unreadable { path: name_or_file.to_owned(), why };
        let text = std::fs::read_to_string(path).map_err(|error| unreadable(error.to_string()))?;
        Self::read(&text).map_err(unreadable)
    }

    /// One from the text of a file; JSON is YAML too.
    pub fn read(text: &str) -> Result<Self, String> {
        let scenario: Self = serde_saphyr::from_str(text).map_err(|error| error.to_string())?;
        for (index, step) in scenario.steps.iter().enumerate() {
            let place = |message| format!("steps[{index}]: {message}");
            duration(&step.at).map_err(place)?;
            if let Action::Receive(incoming) = &step.action {
                incoming.check().map_err(place)?;
            }
        }
        Ok(scenario)
    }

    /// How many messages it sends, and after how long the last step is done.
    pub fn size(&self) -> (usize, Duration) {
        let messages = self.steps.iter().map(|step| match &step.action {
            Action::Receive(incoming) => incoming.count.unwrap_or(1) as usize,
            _ => 0,
        });
        let last = self.steps.iter().map(Step::after).max().unwrap_or_default();
        (messages.sum(), last)
    }

    /// Lets it begin.
    pub(super) fn play(&self, business: &Business) {
        business.people(|people| {
            people.call(self.business.clone(), self.time_zone.clone());
            for person in &self.clients {
                let made_up = new_client(&person.name);
                people.add_client(Client {
                    email: person.email.clone().or(made_up.email),
                    phone: person.phone.clone().or(made_up.phone),
                    uid: made_up.uid,
                    name: made_up.name,
                    link_uid: made_up.link_uid,
                });
            }
            for person in &self.staff {
                if let Some(uid) = people.staff_uid(&person.name)
                    && person.email.is_some()
                {
                    people.add_staff(Staff {
                        uid,
                        name: Some(person.name.clone()),
                        email: person.email.clone(),
                    });
                }
            }
        });
        for step in &self.steps {
            business.act_after(step.after(), step.action.clone());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_reads_as_a_person_would_write_it() {
        let scenario = Scenario::read(
            r#"
title: two clients
clients:
  - name: Grace Field
    email: grace@example.com
steps:
  - do: { receive: { activity_type: Meeting, message_type: cancelled, direction: client_to_pivot, client: Grace Field } }
  - at: 1m30s
    do: { receive: { activity_type: General, message_type: text, direction: client_to_pivot, body: "<!channel> hi", count: 3 } }
  - at: 2m
    do: { read: { oldest: 2 } }
  - at: 2m
    do: { read: all }
  - at: 3m
    do: { fault: { at: slack, fault: { times: 2, answer: { status: 429, headers: { retry-after: "5" } } } } }
  - at: 4m
    do: { heal: slack }
"#,
        )
        .unwrap();
        assert_eq!(scenario.size(), (4, Duration::from_mins(4)));
    }

    #[test]
    fn a_wrong_file_says_where() {
        let problem = Scenario::read("steps: [ { at: soon, do: { read: all } } ]").unwrap_err();
        assert!(problem.contains("steps[0]") && problem.contains("soon"), "{problem}");
        assert!(Scenario::read("stepz: []").unwrap_err().contains("stepz"));
    }

    #[test]
    fn every_built_in_scenario_is_one() {
        for name in Scenario::names() {
            let scenario = Scenario::named(name).unwrap();
            assert!(!scenario.title.is_empty(), "{name}");
            let text = serde_json::to_string(&scenario).unwrap();
            assert_eq!(Scenario::read(&text).as_ref(), Ok(&scenario), "{name}");
        }
        assert!(matches!(Scenario::load("no-such-thing"), Err(Problem::Unknown { .. })));
    }
}
