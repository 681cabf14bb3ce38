//! Deliveries as a table for people.

use jiff::Timestamp;
use jiff::tz::TimeZone;

use crate::answers::deliveries::{Listed, story};
use crate::cli::output::{BAD, DIM, GOOD, WARN, paint};
use crate::cli::table::{self, plain};
use crate::cli::when;
use crate::model::delivery::StateName;

/// A narrower terminal has no room for all columns beside each other.
const WIDE_COLUMNS: usize = 120;
/// What a second line of a delivery begins with.
const INDENT: &str = "  ";
/// How much of a reason the list shows, in characters.
const REASON_CHARS_MAX: usize = 60;

/// The list as lines. Where a terminal is too narrow for all columns, each delivery takes two lines.
pub(super) fn drawn(
    rows: &[Listed],
    now: Timestamp,
    zone: &TimeZone,
    columns_max: Option<usize>,
) -> Vec<String> {
    let to = |row: &Listed| match &row.recipient {
        Some(recipient) => format!("{}: {recipient}", row.target),
        None => row.target.clone(),
    };
    let state = |row: &Listed| (state_style(row.state), row.state.to_string());
    if let Some(width) = columns_max.filter(|width| *width < WIDE_COLUMNS) {
        let cells = rows.iter().map(|row| {
            vec![
                plain(row.id.to_string()),
                state(row),
                (DIM, when::ago(row.created_at, now)),
                plain(format!("{} → {}", row.rule, to(row))),
            ]
        });
        let mut lines =
            table::lines(&["ID", "STATE", "PLANNED", "RULE, TARGET"], cells.collect(), columns_max);
        for (index, row) in rows.iter().enumerate().rev() {
            let story = table::short(&story(row, now, zone), width.saturating_sub(INDENT.len()));
            if !story.is_empty() {
                lines.insert(index + 2, paint(DIM, format!("{INDENT}{story}")));
            }
        }
        return lines;
    }
    let cells = rows.iter().map(|row| {
        vec![
            plain(row.id.to_string()),
            state(row),
            plain(row.rule.clone()),
            plain(to(row)),
            plain(row.attempts.to_string()),
            (DIM, when::ago(row.created_at, now)),
            plain(table::short(&story(row, now, zone), REASON_CHARS_MAX)),
        ]
    });
    table::lines(&["ID", "STATE", "RULE", "TARGET", "TRIES", "PLANNED", ""], cells.collect(), columns_max)
}

pub(in crate::cli) fn state_style(state: StateName) -> anstyle::Style {
    match state {
        StateName::Delivered => GOOD,
        StateName::Dead => BAD,
        StateName::Sending | StateName::Expired => WARN,
        StateName::Pending => anstyle::Style::new(),
        StateName::Withheld | StateName::Discarded => DIM,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::id::DeliveryId;

    #[test]
    fn the_list_fits_a_narrow_terminal() {
        let now: Timestamp = "2026-03-10T09:00:00Z".parse().unwrap();
        let row = Listed {
            id: DeliveryId::derive(now, &["a"]),
            account: "main".into(),
            rule: "cancellations-of-regulars".into(),
            target: "front-desk".into(),
            recipient: Some("somebody.with.a.long.name@example.com".into()),
            template: "default".into(),
            messages: vec!["m1".into()],
            state: StateName::Dead,
            due_at: None,
            created_at: now,
            settled_at: Some(now),
            why: Some(
                "the mailbox is full and nobody reads what is in it, neither today nor tomorrow".into(),
            ),
            attempts: 5,
            last: None,
            maybe_duplicate: false,
            replay_of: None,
            held_by: None,
            first_due: now,
            window: None,
            throttled: 0,
            gathers: None,
            notice: None,
            resolved_by: None,
            replays: 0,
        };
        let rows = [row.clone(), row];
        let plain = |width| {
            let lines = drawn(&rows, now, &TimeZone::UTC, width);
            lines.iter().map(|line| anstream::adapter::strip_str(line).to_string()).collect::<Vec<_>>()
        };
        let narrow = plain(Some(80));
        assert_eq!(narrow.len(), 5);
        assert!(narrow.iter().all(|line| line.chars().count() <= 80), "{narrow:#?}");
        assert!(narrow[2].starts_with("  ") && narrow[2].contains("the mailbox is full"), "{narrow:#?}");
        assert!(narrow[3].starts_with(rows[1].id.as_str()));
        assert_eq!((plain(Some(200)).len(), plain(None).len()), (3, 3));
    }
}
