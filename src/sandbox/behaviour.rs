//! The knobs of the fake business: everything that its documentation leaves open or that may differ from it.

use serde::{Deserialize, Serialize};

/// How the fake business's API behaves.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Behaviour {
    /// What happens when more than 100 rows a page are asked for.
    pub over_cap: OverCap,
    /// The order of rows with the same time.
    pub ties: Ties,
    /// How times are written.
    pub times: Times,
    /// What stands in `activity_type` of General rows.
    pub general: General,
    /// `direction` holds `business_to_client` and `client_to_business`, as in the documentation's examples.
    pub client_directions: bool,
    /// Keys that no documentation names, empty objects and nulls, channels of other kinds, names spelled as in the table.
    pub odd_values: bool,
    /// The list of a client's conversations answers 422, as it is known to do through the gateway.
    pub conversations_refused: bool,
    /// The client lookups that are answered in one minute.
    pub clients_per_minute: u32,
}

/// The two profiles.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, clap::ValueEnum)]
#[serde(rename_all = "snake_case")]
pub enum Profile {
    /// As the documentation has it.
    #[default]
    Documented,
    /// Everything that a reader of the documentation should be afraid of.
    Quirky,
}

/// What happens when more than 100 rows a page are asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, clap::ValueEnum)]
pub enum OverCap {
    /// 100 rows are given.
    #[default]
    #[serde(rename = "clamp")]
    Clamp,
    /// 400.
    #[serde(rename = "reject")]
    Reject,
    /// 25 rows are given, whatever was asked for above that.
    #[serde(rename = "25")]
    #[value(name = "25")]
    TwentyFive,
}

/// The order of rows with the same time.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, clap::ValueEnum)]
#[serde(rename_all = "snake_case")]
pub enum Ties {
    /// The same at each request.
    #[default]
    Fixed,
    /// Another one at each request.
    Shuffle,
}

/// How times are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, clap::ValueEnum)]
#[serde(rename_all = "snake_case")]
pub enum Times {
    /// `2026-11-02T08:00:00Z`
    #[default]
    Zulu,
    /// `2026-11-02T08:00:00.000Z`
    Millis,
    /// `2026-11-02T10:00:00.000+02:00`
    Offset,
    /// `2026-11-02T08:00:00.000`
    Naked,
    /// Each row in the next of these shapes.
    Mixed,
}

/// What stands in `activity_type` of General rows.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, clap::ValueEnum)]
#[serde(rename_all = "snake_case")]
pub enum General {
    /// The key is missing.
    #[default]
    Missing,
    /// `null`
    Null,
    /// The empty string.
    Empty,
    /// The API does not list them at all: the published schema has no value for them.
    Hidden,
    /// Each row in the next of missing, null, empty and `general`.
    Mixed,
}

impl Default for Behaviour {
    fn default() -> Self {
        Self::of(Profile::Documented)
    }
}

impl Behaviour {
    /// The knobs as a profile sets them.
    pub fn of(profile: Profile) -> Self {
        let quirky = profile == Profile::Quirky;
        Self {
            over_cap: OverCap::Clamp,
            ties: if quirky { Ties::Shuffle } else { Ties::Fixed },
            times: if quirky { Times::Mixed } else { Times::Zulu },
            general: if quirky { General::Mixed } else { General::Missing },
            client_directions: quirky,
            odd_values: quirky,
            conversations_refused: quirky,
            clients_per_minute: 200,
        }
    }
}
