//! `catalog`: the message types that are known, which use cases they serve, and which rules take each.

use crate::answers::coverage::{Row, as_json, known, unknown};
use crate::model::catalog;
use crate::model::message::{Triple, key};
use crate::rules::condition::Pattern;

use super::output::{BOLD, DIM, WARN, counted, paint};
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
    /// Instead, the message types that were seen and that the catalogue does not know, with how often
    #[arg(long, conflicts_with_all = ["coverage", "use_case"])]
    unknown: bool,
    /// For people or for programs
    #[arg(long, value_name = "FORMAT", default_value = "text")]
    format: Format,
}

/// Prints the catalogue; exit 64 if coverage is asked for and the rules cannot be loaded, 69 without a store.
pub async fn run(args: &Args, context: &mut Context) -> anyhow::Result<Exit> {
    let config = if args.coverage { Some(context.config()?) } else { context.load().config };
    let rules = config.as_ref().map(|config| &config.rules);
    if let Some(wanted) = &args.use_case {
        known_use_case(wanted)?;
    }
    let mut rows = if args.unknown { unknown(rules, &context.store().await?).await? } else { known(rules) };
    rows.retain(|row| passes(args, row));
    match args.format {
        Format::Json => context.out.json(&as_json(&rows))?,
        Format::Text => {
            let with_rules = args.coverage || (args.unknown && rules.is_some());
            for line in as_text(&rows, with_rules) {
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
    Err(Stop::new(Exit::Problem, message))
}

fn passes(args: &Args, row: &Row<'_>) -> bool {
    let Triple { activity_type, message_type, direction } = &row.triple;
    let fits = |wanted: &Option<String>, value: &str| {
        wanted.as_ref().is_none_or(|wanted| Pattern::new(wanted).takes(&key(value)))
    };
    let wanted = args.direction.as_ref().map(|wanted| catalog::canonical_direction(Some(wanted)));
    let words = format!("{} {activity_type} {message_type} {direction}", row.label).to_lowercase();
    let is_for = |case: &String| row.use_cases.iter().any(|known| key(known) == key(case));
    fits(&args.activity_type, activity_type)
        && fits(&args.message_type, message_type)
        && fits(&wanted, direction)
        && args.use_case.as_ref().is_none_or(is_for)
        && args.search.iter().all(|word| words.contains(&word.to_lowercase()))
}

/// Plain columns under a heading for each activity type.
fn as_text(rows: &[Row<'_>], with_rules: bool) -> Vec<String> {
    let widest = |texts: &mut dyn Iterator<Item = &String>| texts.map(|text| text.chars().count()).max();
    let message_width = widest(&mut rows.iter().map(|row| &row.triple.message_type)).unwrap_or(0);
    let label_width = widest(&mut rows.iter().map(|row| &row.label)).unwrap_or(0);
    let mut lines = Vec::new();
    let mut heading = None;
    for row in rows {
        let Triple { activity_type, message_type, direction } = &row.triple;
        if heading != Some(activity_type) {
            if heading.is_some() {
                lines.push(String::new());
            }
            heading = Some(activity_type);
            lines.push(paint(BOLD, activity_type));
        }
        let seen = row.seen.map(|seen| format!("{seen:>6} seen  ")).unwrap_or_default();
        let last = match (with_rules, row.rules.is_empty()) {
            (false, _) => paint(DIM, row.use_cases.join(", ")),
            (true, true) => paint(WARN, "no rule"),
            (true, false) => row.rules.join(", "),
        };
        let line = format!(
            "  {message_type:message_width$}  {direction:15}  {:label_width$}  {seen}{last}",
            row.label
        );
        lines.push(line.trim_end().to_owned());
    }
    if !rows.is_empty() {
        lines.push(String::new());
    }
    lines.push(summary(rows, with_rules));
    lines
}

fn summary(rows: &[Row<'_>], with_rules: bool) -> String {
    let none = rows.iter().filter(|row| row.rules.is_empty()).count();
    let uncovered = if with_rules { format!(", {none} that no rule takes") } else { String::new() };
    format!("{}{uncovered}", counted(rows.len(), "message type"))
}
