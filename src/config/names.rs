//! Whether the names in conditions can ever meet a message, judged by the catalogue.

use std::sync::LazyLock;

use crate::model::catalog::{self, Entry};
use crate::model::message::key;
use crate::rules::condition::{Field, Pattern};

use super::codes;
use super::problem::{Applicability, Finding, Similar, similar};
use super::raw::{RawBlock, RawRule};
use super::read::Spot;

impl Field {
    const ALL: [Self; 3] = [Self::MessageType, Self::ActivityType, Self::Direction];

    fn of(self, entry: &Entry) -> &'static str {
        match self {
            Self::ActivityType => entry.activity_type,
            Self::MessageType => entry.message_type,
            Self::Direction => entry.direction,
        }
    }

    fn patterns(self, block: &RawBlock) -> Option<&[Spot<Pattern>]> {
        match self {
            Self::ActivityType => block.activity_type.as_deref(),
            Self::MessageType => block.message_type.as_deref(),
            Self::Direction => block.direction.as_deref(),
        }
    }

    fn name(self) -> &'static str {
        match self {
            Self::ActivityType => "activity type",
            Self::MessageType => "message type",
            Self::Direction => "direction",
        }
    }

    /// Every name there is for it with its key, each once, in the catalogue's order.
    fn known(self, entries: &[Entry]) -> Vec<Name> {
        let mut names: Vec<Name> = Vec::new();
        for entry in entries {
            let text = self.of(entry);
            if !names.iter().any(|name| name.text == text) {
                names.push(Name { text, key: key(text) });
            }
        }
        names
    }
}

/// A name of the catalogue, and the key by which it is compared.
struct Name {
    text: &'static str,
    key: String,
}

/// The catalogue with its keys, made once for any number of rules.
struct Known<'e> {
    entries: &'e [Entry],
    /// Of each entry, by field.
    keys: Vec<[String; 3]>,
    /// The names of each field.
    names: [Vec<Name>; 3],
}

impl<'e> Known<'e> {
    fn of(entries: &'e [Entry]) -> Self {
        let fields = [Field::ActivityType, Field::MessageType, Field::Direction];
        let keys = entries.iter().map(|entry| fields.map(|field| key(field.of(entry)))).collect();
        Self { entries, keys, names: fields.map(|field| field.known(entries)) }
    }

    /// The entries that fit the block in every field but this one, if one is left out.
    fn fitting(&self, block: &RawBlock, but: Option<Field>) -> impl Iterator<Item = usize> {
        (0..self.entries.len()).filter(move |index| {
            Field::ALL.into_iter().filter(|field| Some(*field) != but).all(|field| {
                let patterns = field.patterns(block);
                patterns.is_none_or(|patterns| patterns.iter().any(|spot| self.fits(spot, field, *index)))
            })
        })
    }

    fn fits(&self, spot: &Spot<Pattern>, field: Field, index: usize) -> bool {
        fits(&spot.value, &self.keys[index][field as usize])
    }
}

static KNOWN: LazyLock<Known<'static>> = LazyLock::new(|| Known::of(catalog::all()));

/// What is odd about the names in a rule's conditions.
pub(super) fn check(rule: &RawRule) -> Vec<Finding> {
    if rule.allow_unknown {
        return Vec::new();
    }
    let passing = rule.deliver.iter().filter_map(|deliver| deliver.timing.during.as_ref());
    let blocks = rule.any_of.iter().chain(&rule.except).chain(passing.flat_map(|during| &during.except));
    blocks.flat_map(|block| check_block(block, &KNOWN)).collect()
}

fn check_block(block: &RawBlock, known: &Known<'_>) -> Vec<Finding> {
    let mut findings = Vec::new();
    for field in Field::ALL {
        for spot in field.patterns(block).unwrap_or_default() {
            if !known.names[field as usize].iter().any(|name| fits(&spot.value, &name.key)) {
                findings.push(unknown(field, spot, block, known));
            }
        }
    }
    if findings.is_empty() {
        findings = combinations(block, known);
    }
    findings
}

/// A name, or a wildcard, that nothing in the catalogue fits.
fn unknown(field: Field, spot: &Spot<Pattern>, block: &RawBlock, known: &Known<'_>) -> Finding {
    let written = &spot.written;
    let what = field.name();
    if spot.value.is_wildcard() {
        return Finding::warning(codes::EMPTY_WILDCARD, spot.span, format!("no known {what} fits `{written}`"))
            .help("messages of a type that is added later may fit it; `activity-relay catalog` lists the known ones");
    }
    if field == Field::ActivityType && catalog::api_types().iter().any(|name| fits(&spot.value, &key(name))) {
        return Finding::warning(
            codes::UNKNOWN_NAME,
            spot.span,
            format!("the API lists `{written}`, but no message is known to have it"),
        )
        .help("`allow_unknown: true` on the rule says that it is meant");
    }
    let finding = if field == Field::ActivityType {
        Finding::error(codes::UNKNOWN_TYPE, spot.span, format!("unknown {what} `{written}`"))
    } else {
        Finding::warning(codes::UNKNOWN_NAME, spot.span, format!("unknown {what} `{written}`"))
    };
    let here = known.fitting(block, Some(field)).map(|index| field.of(&known.entries[index]));
    let key = &spot.value.key;
    let names = || known.names[field as usize].iter().map(|name| name.text);
    let certain = |name| Similar { name, applicability: Applicability::Certain };
    let here: Vec<&str> = here.collect();
    // As it is written first: the key, which has no separators, is further from the names than the slip is.
    let nearest = |of: &str| similar(of, here.iter().copied()).or_else(|| similar(of, names()));
    let similar = renamed(field, key).map(certain).or_else(|| nearest(written)).or_else(|| nearest(key));
    let rest = match field {
        Field::Direction => format!("the directions are {}", names().collect::<Vec<_>>().join(", ")),
        _ => "`activity-relay catalog` lists the known ones; `allow_unknown: true` on the rule takes it as it is".to_owned(),
    };
    match similar {
        Some(similar) => {
            finding.help(format!("did you mean `{}`? Else: {rest}", similar.name)).meant(&similar)
        }
        None => finding.help(rest),
    }
}

/// Directions as the API's filter spells them.
fn renamed(field: Field, key: &str) -> Option<&'static str> {
    match (field, key) {
        (Field::Direction, "businesstoclient") => Some("pivot_to_client"),
        (Field::Direction, "clienttobusiness") => Some("client_to_pivot"),
        _ => None,
    }
}

/// Names that exist, but never together. Reported once per block, at the most telling place.
fn combinations(block: &RawBlock, known: &Known<'_>) -> Vec<Finding> {
    let mut lists = Field::ALL.into_iter().filter_map(|field| field.patterns(block));
    // One name of each field, as most rules have it: they exist together if anything has them all.
    if lists.all(|patterns| patterns.len() == 1) && known.fitting(block, None).next().is_some() {
        return Vec::new();
    }
    for field in Field::ALL {
        let Some(patterns) = field.patterns(block) else { continue };
        let fitting: Vec<usize> = known.fitting(block, Some(field)).collect();
        let lost =
            patterns.iter().filter(|spot| !fitting.iter().any(|index| known.fits(spot, field, *index)));
        let findings: Vec<Finding> = lost.map(|spot| lonely(field, spot, known)).collect();
        if !findings.is_empty() {
            return findings;
        }
    }
    Vec::new()
}

fn lonely(field: Field, spot: &Spot<Pattern>, known: &Known<'_>) -> Finding {
    let mut places: Vec<String> = Vec::new();
    for index in (0..known.entries.len()).filter(|index| known.fits(spot, field, *index)) {
        let entry = &known.entries[index];
        let place = match field {
            Field::MessageType => format!("{} {}", entry.activity_type, entry.direction),
            Field::ActivityType => format!("{} {}", entry.message_type, entry.direction),
            Field::Direction => format!("{}/{}", entry.activity_type, entry.message_type),
        };
        if !places.contains(&place) {
            places.push(place);
        }
    }
    let more = places.len().saturating_sub(PLACES_SHOWN);
    places.truncate(PLACES_SHOWN);
    let tail = if more > 0 { format!(" and {more} more") } else { String::new() };
    let message = format!(
        "no known message combines the {} `{}` with the rest of this condition",
        field.name(),
        spot.written
    );
    Finding::warning(codes::NO_SUCH_COMBINATION, spot.span, message)
        .help(format!("it exists with: {}{tail}", places.join(", ")))
}

/// How many combinations a message names.
const PLACES_SHOWN: usize = 6;

fn fits(pattern: &Pattern, key: &str) -> bool {
    pattern.takes(key)
}

/// `*` stands for any characters, `?` for one. Linear but for one step back per star, so no pattern is slow.
pub(super) fn wildcard(pattern: &[char], text: &[char]) -> bool {
    let (mut p, mut t) = (0, 0);
    let mut star: Option<(usize, usize)> = None;
    while t < text.len() {
        if pattern.get(p).is_some_and(|c| *c == '?' || (*c == text[t] && *c != '*')) {
            (p, t) = (p + 1, t + 1);
        } else if pattern.get(p) == Some(&'*') {
            star = Some((p, t));
            p += 1;
        } else if let Some((at, from)) = star {
            star = Some((at, from + 1));
            (p, t) = (at + 1, from + 1);
        } else {
            return false;
        }
    }
    pattern[p..].iter().all(|c| *c == '*')
}

#[cfg(test)]
mod tests {
    use super::super::problem::{Severity, Span};
    use super::*;

    const fn entry(
        activity_type: &'static str,
        message_type: &'static str,
        direction: &'static str,
    ) -> Entry {
        Entry {
            activity_type,
            message_type,
            direction,
            label: "",
            use_cases: &[],
            primary_for: &[],
            api_type: None,
        }
    }

    const ENTRIES: [Entry; 4] = [
        entry("Meeting", "cancelled", "pivot_to_client"),
        entry("Meeting", "cancelled", "client_to_pivot"),
        entry("EventAttendance", "event_attendance_client_cancel", "client_to_pivot"),
        entry("Payment", "payment_failed", "to_pivot"),
    ];

    fn spots(names: &str) -> Option<Vec<Spot<Pattern>>> {
        let spot = |name: &str| Spot {
            value: Pattern::new(name),
            span: Span::default(),
            written: name.to_owned(),
            substituted: false,
        };
        (!names.is_empty()).then(|| names.split(' ').map(spot).collect())
    }

    /// `severity code: help` of each finding.
    fn findings(activity: &str, message: &str, direction: &str) -> Vec<String> {
        let block = RawBlock {
            activity_type: spots(activity),
            message_type: spots(message),
            direction: spots(direction),
            ..RawBlock::default()
        };
        check_block(&block, &Known::of(&ENTRIES))
            .into_iter()
            .map(|finding| finding.into_problem(&[]))
            .map(|p| {
                let severity = if p.severity == Severity::Error { "error" } else { "warning" };
                format!("{severity} {} {}", p.code, p.replacement.or(p.help).unwrap_or_default())
            })
            .collect()
    }

    #[test]
    fn known_names_in_any_spelling_are_fine() {
        assert!(findings("meeting", "Cancelled", "client-to-pivot").is_empty());
        assert!(findings("event-attendance", "*_cancel", "").is_empty());
        assert!(findings("", "", "").is_empty());
    }

    #[test]
    fn unknown_names_are_warnings_with_the_nearest_name_and_unknown_types_errors() {
        assert_eq!(findings("Meeting", "canceled", ""), ["warning R014 cancelled"]);
        assert_eq!(findings("Meting", "", ""), ["error R017 Meeting"]);
        assert_eq!(findings("", "", "business_to_client"), ["warning R014 pivot_to_client"]);
        assert!(findings("payout", "", "")[0].starts_with("warning R014"));
        assert!(findings("", "*_refused", "")[0].starts_with("warning R016"));
    }

    #[test]
    fn names_that_never_meet_are_a_warning_that_says_where_they_exist() {
        assert_eq!(
            findings("Meeting", "payment_failed", ""),
            ["warning R015 it exists with: Payment to_pivot"]
        );
        assert_eq!(
            findings("Meeting", "cancelled", "to_pivot"),
            ["warning R015 it exists with: Meeting pivot_to_client, Meeting client_to_pivot"]
        );
    }

    #[test]
    fn wildcards_match_without_blowing_up() {
        let fits = |pattern: &str, text: &str| {
            wildcard(&pattern.chars().collect::<Vec<_>>(), &text.chars().collect::<Vec<_>>())
        };
        assert!(
            fits("*failed", "paymentfailed")
                && fits("p?y*", "payment")
                && fits("*", "")
                && fits("a*b*c", "aXbXc")
        );
        assert!(!fits("?", "") && !fits("a*b", "abc") && !fits("abc", "ab"));
        assert!(!fits(&"*a".repeat(50), &"b".repeat(5_000)));
    }
}
