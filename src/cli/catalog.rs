//! `catalog`: the message types that are known, which use cases they serve, and which rules take each.

use serde_json::json;

use crate::model::catalog::{self, Entry};
use crate::model::message::key;
use crate::rules::Rules;
use crate::rules::condition::Pattern;

use super::output::{BOLD, DIM, WARN, paint};
use super::{Context, Exit, Format, Stop};

/// List the message types known, and which rules take each
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Only labels and names that hold these words
    #[arg(value_name = "SEARCH")]
    search: Vec<String>,
    /// Only these activity types; * and ? are wildcards
    #[arg(long, value_name = "T")]
    activity_type: Option<String>,
    /// Only these message types; * and ? are wildcards
    #[arg(long, value_name = "M")]
    message_type: Option<String>,
    /// Only this direction; * and ? are wildcards
    #[arg(long, value_name = "D")]
    direction: Option<String>,
    /// Only this use case, such as review
    #[arg(long, value_name = "U")]
    use_case: Option<String>,
    /// Say which rules take each, and which none does
    #[arg(long)]
    coverage: bool,
    /// Only those that no rule takes
    #[arg(long)]
    unknown: bool,
    /// For people or for programs
    #[arg(long, value_name = "FORMAT", default_value = "text")]
    format: Format,
}

/// Prints the catalogue; exit 64 if rules are asked for and cannot be loaded.
#[expect(clippy::unused_async, reason = "every command has this shape")]
pub async fn run(args: &Args, context: &mut Context) -> anyhow::Result<Exit> {
    let wants_rules = args.coverage || args.unknown;
    let config = if wants_rules { Some(context.config()?) } else { context.load().config };
    let rules = config.as_ref().map(|config| &config.rules);
    if let Some(wanted) = &args.use_case {
        known_use_case(wanted)?;
    }
    let rows: Vec<(&Entry, Vec<&str>)> = catalog::all()
        .iter()
        .filter(|entry| passes(args, entry))
        .map(|entry| (entry, rules.map(|rules| taken_by(rules, entry)).unwrap_or_default()))
        .filter(|(_, rules)| !args.unknown || rules.is_empty())
        .collect();
    match args.format {
        Format::Json => context.out.json(&as_json(&rows))?,
        Format::Text => {
            for line in as_text(&rows, wants_rules) {
                context.out.line(line)?;
            }
        }
    }
    Ok(Exit::Fine)
}

fn known_use_case(wanted: &str) -> anyhow::Result<()> {
    let all = catalog::use_cases();
    if all.iter().any(|known| key(known) == key(wanted)) {
        return Ok(());
    }
    let near = catalog::nearest(wanted, all);
    let listed = if near.is_empty() { all } else { &near };
    let message = format!("no use case is called `{wanted}`; there is {}", listed.join(", "));
    Err(Stop::new(Exit::Usage, message))
}

fn passes(args: &Args, entry: &Entry) -> bool {
    let fits = |wanted: &Option<String>, value: &str| {
        wanted.as_ref().is_none_or(|wanted| Pattern::new(wanted).takes(&key(value)))
    };
    let direction = args.direction.as_ref().map(|wanted| catalog::canonical_direction(Some(wanted)));
    let words = format!("{} {} {} {}", entry.label, entry.activity_type, entry.message_type, entry.direction);
    let words = words.to_lowercase();
    let is_for = |case: &String| entry.use_cases.iter().any(|known| key(known) == key(case));
    fits(&args.activity_type, entry.activity_type)
        && fits(&args.message_type, entry.message_type)
        && fits(&direction, entry.direction)
        && args.use_case.as_ref().is_none_or(is_for)
        && args.search.iter().all(|word| words.contains(&word.to_lowercase()))
}

/// The rules that take an entry in some account; their `where` and an earlier `stop` may still decide otherwise.
fn taken_by<'a>(rules: &'a Rules, entry: &Entry) -> Vec<&'a str> {
    let triple = entry.triple();
    let taking = rules.list().iter().filter(|rule| rule.can_take(&triple, entry.api_type));
    taking.map(|rule| rule.name.as_str()).collect()
}

fn as_json(rows: &[(&Entry, Vec<&str>)]) -> serde_json::Value {
    let entry = |(entry, rules): &(&Entry, Vec<&str>)| {
        json!({
            "activity_type": entry.activity_type,
            "message_type": entry.message_type,
            "direction": entry.direction,
            "label": entry.label,
            "use_cases": entry.use_cases,
            "rules": rules,
        })
    };
    json!({ "message_types": rows.iter().map(entry).collect::<Vec<_>>() })
}

/// Plain columns under a heading for each activity type.
fn as_text(rows: &[(&Entry, Vec<&str>)], with_rules: bool) -> Vec<String> {
    let message_width = rows.iter().map(|(entry, _)| entry.message_type.len()).max().unwrap_or(0);
    let label_width = rows.iter().map(|(entry, _)| entry.label.len()).max().unwrap_or(0);
    let mut lines = Vec::new();
    let mut heading = "";
    for (entry, rules) in rows {
        if entry.activity_type != heading {
            if !heading.is_empty() {
                lines.push(String::new());
            }
            heading = entry.activity_type;
            lines.push(paint(BOLD, heading));
        }
        let last = match (with_rules, rules.is_empty()) {
            (false, _) => paint(DIM, entry.use_cases.join(", ")),
            (true, true) => paint(WARN, "no rule"),
            (true, false) => rules.join(", "),
        };
        let line = format!(
            "  {:message_width$}  {:15}  {:label_width$}  {last}",
            entry.message_type, entry.direction, entry.label
        );
        lines.push(line.trim_end().to_owned());
    }
    let none = rows.iter().filter(|(_, rules)| rules.is_empty()).count();
    let uncovered = if with_rules { format!(", {none} that no rule takes") } else { String::new() };
    lines.push(format!("{}{} message types{uncovered}", if rows.is_empty() { "" } else { "\n" }, rows.len()));
    lines
}
