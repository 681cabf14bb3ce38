//! Text without quotes that is, or is to other readers of YAML, something else than text.

use super::codes;
use super::problem::{Finding, quoted};
use super::read::{Reader, Spot};

/// Marks that word processors put in place of `"` and `'`.
const TYPOGRAPHIC: [char; 9] = ['“', '”', '„', '‟', '‘', '’', '‚', '«', '»'];
/// What YAML 1.1 calls true or false, beside the words themselves.
const TRUTH_WORDS: [&str; 4] = ["yes", "no", "on", "off"];

impl Reader<'_> {
    /// Whether a text may be left unquoted; says so if not, or if others would read it otherwise.
    pub(super) fn stands_without_quotes(&mut self, spot: &Spot<String>, wanted: &str) -> bool {
        let text = spot.value.as_str();
        if let Some(what) = looks_typed(text) {
            let finding =
                Finding::error(codes::QUOTE_IT, spot.span, format!("{wanted} is wanted, and {what}"));
            self.report(finding.help("put it in quotes").replacement(quoted(text)));
            return false;
        }
        if text.starts_with(TYPOGRAPHIC) {
            let inside = text.trim_matches(TYPOGRAPHIC);
            let message = "these are typographic quotation marks, which YAML takes for a part of the text";
            let finding = Finding::error(codes::TYPOGRAPHIC, spot.span, message)
                .help("use the straight marks \" or ', which word processors and chat programs replace");
            self.report(finding.replacement(quoted(inside)));
            return false;
        }
        if TRUTH_WORDS.contains(&text.to_lowercase().as_str()) {
            let message = format!(
                "{wanted} is wanted, and `{text}` without quotes is a truth value to many YAML readers"
            );
            let finding = Finding::warning(codes::TRUTH_WORD, spot.span, message)
                .help("it is taken as text here; put it in quotes, so that every tool reads it alike");
            self.report(finding.replacement(quoted(text)));
        }
        true
    }
}

/// How text without quotes is taken by other readers of YAML than this one, if not as text.
fn looks_typed(text: &str) -> Option<&'static str> {
    let number = text.starts_with(|c: char| c.is_ascii_digit() || matches!(c, '+' | '-' | '.'))
        && text.chars().any(|c| c.is_ascii_digit())
        && text.replace('_', "").parse::<f64>().is_ok();
    let digits = |part: &str| !part.is_empty() && part.chars().all(|c| c.is_ascii_digit());
    let base = text.strip_prefix("0x").or_else(|| text.strip_prefix("0o")).unwrap_or_default();
    let other_base = !base.is_empty() && base.chars().all(|c| c.is_ascii_hexdigit());
    let endless = text.trim_start_matches(['+', '-']);
    let special = matches!(endless, ".inf" | ".Inf" | ".INF") || matches!(text, ".nan" | ".NaN" | ".NAN");
    if number || other_base || special {
        Some("without quotes this is a number")
    } else if matches!(text, "true" | "false" | "True" | "False" | "TRUE" | "FALSE") {
        Some("without quotes this is a truth value")
    } else if text.contains(':') && text.split(':').all(digits) {
        Some("a time without quotes is a number to many YAML readers (08:00 is 480 to them)")
    } else {
        None
    }
}

#[cfg(test)]
mod tests {
    use super::looks_typed;

    #[test]
    fn what_yaml_takes_for_a_number_or_a_truth_value_wants_quotes() {
        for text in ["5", "1.10", "-3", "1e5", "1_000", "0x1F", "0o17", "-.inf", ".NaN", "true", "FALSE"] {
            assert!(looks_typed(text).is_some(), "{text}");
        }
        for text in ["desk", "0x", "0xyz", "1.2.3", "2026-11-01", "1-2", ".info", "yes", "tRUE", "5a"] {
            assert!(looks_typed(text).is_none(), "{text}");
        }
    }
}
