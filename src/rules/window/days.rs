//! Days of the week, as `mon-fri` or a list names them.

use std::fmt;

use jiff::civil::Weekday;

/// The names in the order of the week; also what they are written as.
const NAMES: [(&str, Weekday); 7] = [
    ("mon", Weekday::Monday),
    ("tue", Weekday::Tuesday),
    ("wed", Weekday::Wednesday),
    ("thu", Weekday::Thursday),
    ("fri", Weekday::Friday),
    ("sat", Weekday::Saturday),
    ("sun", Weekday::Sunday),
];

/// A set of days of the week, never empty.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Days(u8);

impl Days {
    /// Every day.
    pub const ALL: Self = Self(0b111_1111);

    /// A day (`mon`, `Monday`) or a range (`mon-fri`; `fri-mon` goes over the end of the week). The error is the word that
    /// is no day.
    ///
    /// # Errors
    /// A word that is no day of the week.
    pub fn parse(text: &str) -> Result<Self, String> {
        let (first, last) = text.split_once('-').unwrap_or((text, text));
        let (first, last) = (position(first)?, position(last)?);
        let length = (last + 7 - first) % 7 + 1;
        Ok((0..length).fold(Self(0), |days, step| Self(days.0 | 1 << ((first + step) % 7))))
    }

    /// Those of both.
    #[must_use]
    pub fn or(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }

    /// The day is one of them.
    pub fn has(self, day: Weekday) -> bool {
        self.0 & 1 << day.to_monday_zero_offset() != 0
    }

    /// The words that stand for days, for a message.
    pub fn words() -> impl Iterator<Item = &'static str> {
        NAMES.into_iter().map(|(name, _)| name)
    }
}

/// The day's place in the week, from 0 for Monday.
fn position(word: &str) -> Result<u8, String> {
    let lower = word.trim().to_ascii_lowercase();
    let full = |day: Weekday| match day {
        Weekday::Monday => "monday",
        Weekday::Tuesday => "tuesday",
        Weekday::Wednesday => "wednesday",
        Weekday::Thursday => "thursday",
        Weekday::Friday => "friday",
        Weekday::Saturday => "saturday",
        Weekday::Sunday => "sunday",
    };
    let found = NAMES.iter().position(|(name, day)| lower == *name || lower == full(*day));
    found.and_then(|place| u8::try_from(place).ok()).ok_or_else(|| word.trim().to_owned())
}

/// `mon-fri`, `sat, sun`: runs of three days and more as ranges.
impl fmt::Display for Days {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut parts: Vec<String> = Vec::new();
        let mut place = 0;
        while place < NAMES.len() {
            let run = NAMES[place..].iter().take_while(|(_, day)| self.has(*day)).count();
            match run {
                0 => {}
                1 | 2 => parts.extend(NAMES[place..place + run].iter().map(|(name, _)| (*name).to_owned())),
                _ => parts.push(format!("{}-{}", NAMES[place].0, NAMES[place + run - 1].0)),
            }
            place += run.max(1);
        }
        f.write_str(&parts.join(", "))
    }
}
