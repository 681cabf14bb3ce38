//! Conditions on (activity type, message type, direction), and the reason of each verdict.

use std::borrow::Cow;

use crate::model::catalog;
use crate::model::message::{Message, Triple, key};

use super::Patterns;

/// A reason quotes at most so many of a rule's values.
const QUOTED_VALUES_MAX: usize = 5;
/// A reason quotes at most so many characters of a value.
const QUOTED_CHARS_MAX: usize = 60;

/// A value or wildcard pattern as a rule gives it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pattern {
    /// As written in the file.
    pub text: String,
    /// The key compared: lower case, letters, digits, `*` and `?`.
    pub key: String,
    /// Looked for once: a pattern is asked about every known name.
    wildcard: bool,
}

impl Pattern {
    /// A pattern from its text.
    pub fn new(text: &str) -> Self {
        let key = key(text);
        Self { text: text.to_owned(), wildcard: key.contains(['*', '?']), key }
    }

    /// It holds `*` or `?`.
    pub fn is_wildcard(&self) -> bool {
        self.wildcard
    }

    /// It takes a value with this key.
    pub fn takes(&self, value_key: &str) -> bool {
        if self.is_wildcard() { glob(&self.key, value_key) } else { self.key == value_key }
    }

    /// It takes the direction with this key, under either of its names.
    pub fn takes_direction(&self, value_key: &str) -> bool {
        let value_key = direction_key(value_key);
        if self.wildcard {
            self.takes(value_key) || direction_alias(value_key).is_some_and(|alias| self.takes(alias))
        } else {
            direction_key(&self.key) == value_key
        }
    }
}

/// The keys of what is judged, made once for any number of rules.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Subject<'a> {
    triple: &'a Triple,
    raw_type: Option<&'a str>,
    pub(super) type_key: String,
    /// The key of the type as the API sent it, where that is another one.
    pub(super) raw_type_key: Option<String>,
    pub(super) message_key: String,
    pub(super) direction_key: String,
    direction_is_known: bool,
}

impl<'a> Subject<'a> {
    /// The subject for a triple, with the type as the API sent it.
    pub fn new(triple: &'a Triple, raw_type: Option<&'a str>) -> Self {
        let type_key = key(&triple.activity_type);
        let raw_type_key = raw_type.map(key).filter(|raw| *raw != type_key);
        let direction_key = direction_key(&key(&triple.direction)).to_owned();
        let direction_is_known = catalog::directions().iter().any(|known| key(known) == direction_key);
        let message_key = key(&triple.message_type);
        Self { triple, raw_type, type_key, raw_type_key, message_key, direction_key, direction_is_known }
    }

    /// The subject that a message is.
    pub fn of(message: &'a Message) -> Self {
        Self::new(&message.triple, message.raw_type.as_deref())
    }

    fn has_type(&self, pattern: &Pattern) -> bool {
        pattern.takes(&self.type_key) || self.raw_type_key.as_ref().is_some_and(|raw| pattern.takes(raw))
    }

    fn has_direction(&self, pattern: &Pattern) -> bool {
        (pattern.wildcard || self.direction_is_known) && pattern.takes_direction(&self.direction_key)
    }

    /// The type in words, with the API's own spelling where that says more.
    fn type_words(&self) -> String {
        let shown = quoted(&self.triple.activity_type);
        match self.raw_type {
            Some(raw) if self.raw_type_key.is_some() => format!("{shown} (sent as {})", quoted(raw)),
            _ => shown,
        }
    }
}

/// The API has two names for each client-facing direction: the key of the one that the catalogue uses.
pub(super) fn direction_key(key: &str) -> &str {
    match key {
        "businesstoclient" => "pivottoclient",
        "clienttobusiness" => "clienttopivot",
        other => other,
    }
}

fn direction_alias(key: &str) -> Option<&'static str> {
    match key {
        "pivottoclient" => Some("businesstoclient"),
        "clienttopivot" => Some("clienttobusiness"),
        _ => None,
    }
}

/// A field that conditions are on, in the order in which they are looked at.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Field {
    /// Such as `Meeting`.
    ActivityType,
    /// Such as `cancelled`.
    MessageType,
    /// Such as `client_to_pivot`.
    Direction,
}

/// One block of a `match:` or `except:`: all three fields must fit.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Block {
    /// `None`: any activity type.
    pub activity_type: Option<Patterns>,
    /// `None`: any message type.
    pub message_type: Option<Patterns>,
    /// `None`: any direction.
    pub direction: Option<Patterns>,
}

impl Block {
    /// `Ok` if the block takes the triple, else the first field that does not fit, in words.
    pub fn judge(&self, triple: &Triple, raw_type: Option<&str>) -> Result<(), String> {
        self.judge_subject(&Subject::new(triple, raw_type))
    }

    /// The same for a subject whose keys are made already.
    pub fn judge_subject(&self, subject: &Subject<'_>) -> Result<(), String> {
        let Some(field) = self.misfit(subject) else { return Ok(()) };
        let (name, is, wanted) = match field {
            Field::ActivityType => ("activity_type", subject.type_words(), &self.activity_type),
            Field::MessageType => ("message_type", quoted(&subject.triple.message_type), &self.message_type),
            Field::Direction => ("direction", quoted(&subject.triple.direction), &self.direction),
        };
        Err(refusal(name, &is, wanted.as_deref().unwrap_or_default()))
    }

    /// The first field that does not fit; `None` if the block takes the subject.
    pub fn misfit(&self, subject: &Subject<'_>) -> Option<Field> {
        let fits = |wanted: &Option<Patterns>, has: &dyn Fn(&Pattern) -> bool| {
            wanted.as_ref().is_none_or(|wanted| wanted.iter().any(has))
        };
        if !fits(&self.activity_type, &|pattern| subject.has_type(pattern)) {
            return Some(Field::ActivityType);
        }
        if !fits(&self.message_type, &|pattern| pattern.takes(&subject.message_key)) {
            return Some(Field::MessageType);
        }
        (!fits(&self.direction, &|pattern| subject.has_direction(pattern))).then_some(Field::Direction)
    }

    /// It takes the subject.
    pub fn takes_subject(&self, subject: &Subject<'_>) -> bool {
        self.misfit(subject).is_none()
    }
}

fn refusal(field: &str, is: &str, wanted: &[Pattern]) -> String {
    format!("{field} is {is}, the rule wants {}", any_of(wanted))
}

/// The patterns in words: "`a`, `b` or `c`".
fn any_of(patterns: &[Pattern]) -> String {
    let shown: Vec<String> = patterns.iter().take(QUOTED_VALUES_MAX).map(|p| quoted(&p.text)).collect();
    let more = patterns.len() - shown.len();
    match shown.as_slice() {
        [] => "a value but lists none".to_owned(),
        list if more > 0 => format!("{} or one of {more} more", list.join(", ")),
        [only] => only.clone(),
        [head @ .., last] => format!("{} or {last}", head.join(", ")),
    }
}

/// A value in backticks, cut where it is long; an empty one in words.
fn quoted(value: &str) -> String {
    if value.is_empty() {
        return "empty".to_owned();
    }
    let shown: Cow<'_, str> = match value.char_indices().nth(QUOTED_CHARS_MAX) {
        Some((end, _)) => format!("{}…", &value[..end]).into(),
        None => value.into(),
    };
    format!("`{shown}`")
}

/// `*` stands for any characters, `?` for one. Returns to the last `*` only, so the worst case is the product of
/// the two lengths, whatever the pattern.
fn glob(pattern: &str, value: &str) -> bool {
    let (mut pattern, mut value) = (pattern.chars(), value.chars());
    let mut retry = None;
    loop {
        let rest = value.clone();
        match (pattern.next(), value.next()) {
            (Some('*'), _) => {
                value = rest;
                retry = Some((pattern.clone(), value.clone()));
            }
            (Some('?'), Some(_)) => {}
            (Some(wanted), Some(found)) if wanted == found => {}
            (None, None) => return true,
            _ => {
                let Some((after_star, from)) = &mut retry else { return false };
                if from.next().is_none() {
                    return false;
                }
                pattern = after_star.clone();
                value = from.clone();
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn triple(activity_type: &str, message_type: &str, direction: &str) -> Triple {
        Triple {
            activity_type: activity_type.to_owned(),
            message_type: message_type.to_owned(),
            direction: direction.to_owned(),
        }
    }

    #[expect(clippy::unnecessary_wraps, reason = "a field of a block is optional")]
    fn patterns(texts: &[&str]) -> Option<Patterns> {
        Some(texts.iter().map(|text| Pattern::new(text)).collect())
    }

    #[test]
    fn wildcards_match_what_they_stand_for() {
        for (pattern, value, expected) in [
            ("*", "", true),
            ("*", "anything", true),
            ("?", "", false),
            ("?", "ä", true),
            ("a*b*c", "axxbyyc", true),
            ("a*b*c", "axxbyy", false),
            ("*failed", "paymentfailed", true),
            ("*failed", "failedpayment", false),
            ("pay*ed", "payed", true),
            ("**?**", "x", true),
            ("abc", "abcd", false),
            ("", "", true),
            ("", "x", false),
            ("*ab", "aab", true),
        ] {
            assert_eq!(glob(pattern, value), expected, "{pattern} on {value}");
        }
    }

    #[test]
    fn a_hostile_pattern_takes_no_exponential_time() {
        let pattern = format!("{}b", "a*".repeat(500));
        assert!(!glob(&pattern, &"a".repeat(20_000)));
    }

    #[test]
    fn names_compare_without_case_and_punctuation() {
        let block = Block {
            activity_type: patterns(&["event attendance"]),
            message_type: patterns(&["RSVP-*"]),
            direction: patterns(&["client_to_business"]),
        };
        let subject = triple("EventAttendance", "rsvp_confirmation", "client_to_pivot");
        assert_eq!(block.judge(&subject, None), Ok(()));
    }

    #[test]
    fn a_rule_may_name_the_type_as_the_api_sends_it() {
        let block = Block { activity_type: patterns(&["event_instance"]), ..Block::default() };
        let subject = triple("EventAttendance", "rsvp_confirmation", "client_to_pivot");
        assert_eq!(block.judge(&subject, Some("event_instance")), Ok(()));
        assert!(block.judge(&subject, Some("event")).is_err());
        let other = Block { activity_type: patterns(&["Meeting"]), ..Block::default() };
        assert_eq!(
            other.judge(&subject, Some("event")).unwrap_err(),
            "activity_type is `EventAttendance` (sent as `event`), the rule wants `Meeting`"
        );
    }

    #[test]
    fn an_unknown_direction_matches_wildcards_only() {
        let subject = triple("Meeting", "cancelled", "sideways");
        let with = |text| Block { direction: patterns(&[text]), ..Block::default() };
        assert!(with("sideways").judge(&subject, None).is_err());
        assert_eq!(with("*").judge(&subject, None), Ok(()));
        assert_eq!(with("side*").judge(&subject, None), Ok(()));
        assert_eq!(with("*").judge(&triple("Meeting", "cancelled", ""), None), Ok(()));
        let known = triple("Meeting", "cancelled", "pivot_to_client");
        assert_eq!(with("business_*").judge(&known, None), Ok(()));
    }

    #[test]
    fn the_reason_names_the_first_field_that_does_not_fit() {
        let block = Block { message_type: patterns(&["*_failed"]), ..Block::default() };
        assert_eq!(
            block.judge(&triple("Meeting", "cancelled", "to_pivot"), None).unwrap_err(),
            "message_type is `cancelled`, the rule wants `*_failed`"
        );
        let block = Block { activity_type: patterns(&["A", "B", "C"]), ..Block::default() };
        assert_eq!(
            block.judge(&triple("", "x", ""), None).unwrap_err(),
            "activity_type is empty, the rule wants `A`, `B` or `C`"
        );
        let block = Block { direction: patterns(&["a", "b", "c", "d", "e", "f", "g"]), ..Block::default() };
        assert_eq!(
            block.judge(&triple("", "x", &"y".repeat(100)), None).unwrap_err(),
            format!(
                "direction is `{}…`, the rule wants `a`, `b`, `c`, `d`, `e` or one of 2 more",
                "y".repeat(60)
            )
        );
    }

    #[test]
    fn an_empty_block_takes_everything_and_an_empty_list_nothing() {
        let subject = triple("", "", "");
        assert_eq!(Block::default().judge(&subject, None), Ok(()));
        let nothing = Block { message_type: Some(Vec::new()), ..Block::default() };
        assert!(nothing.judge(&subject, None).unwrap_err().contains("lists none"));
    }
}
