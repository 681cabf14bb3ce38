//! What a file says without a mistake and still cannot be meant: judged by the catalogue and by the file as a whole.
//!
//! Nearly everything found here is a warning. What an error may be the cause of is not looked for: rules with an error are left
//! out, and what nothing uses is only told of while all that could use it is known.

mod alike;
mod filters;
mod literal;
mod reach;
mod settings;
mod twice;
mod universe;
mod unused;
mod waits;

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::LazyLock;

use crate::parallel;
use crate::render::Templates;

use super::problem::{Finding, Span};
use super::raw::{Raw, RawRule};
use super::read::Reader;
use super::trees::Trees;
use filters::Samples;
use reach::Reach;
use universe::Universe;

/// Looks at a configuration whose names all resolve.
pub(super) fn check(reader: &mut Reader<'_>, raw: &Raw, trees: &Trees, templates: &Templates, dir: &Path) {
    if !raw.lost.is_empty() {
        return;
    }
    let unsound = Unsound::of(reader, raw);
    let universe = Universe::of(&raw.rules);
    let reach = |rule: &RawRule| {
        if unsound.has(rule) { Reach::nothing(&universe) } else { Reach::of(rule, &universe) }
    };
    let reaches = parallel::map(&raw.rules, reach);
    let mut findings = reach::check(raw, &reaches, trees);
    findings.extend(reach::shadows(raw, &reaches, trees));
    findings.extend(twice::check(raw, &reaches));
    let samples: Samples = LazyLock::new(filters::messages);
    findings.extend(filters::check(raw, &reaches, trees, &samples));
    findings.extend(waits::keys(raw, &reaches, &samples));
    findings.extend(waits::expiries(raw, trees));
    findings.retain(|finding| !finding.touches(|span| unsound.holds(span)));
    reader.findings.extend(findings);
    if !reader.findings.iter().any(Finding::is_error) {
        reader.findings.extend(literal::check(trees));
        reader.findings.extend(alike::check(raw, trees));
        reader.findings.extend(settings::check(raw, trees));
        reader.findings.extend(unused::accounts(raw));
        unused::templates(reader, raw, templates, dir);
    }
}

/// Rules with an error: what they take is not known for sure.
struct Unsound {
    /// By file, the first line of each rule and whether it is one of them.
    rules: BTreeMap<(usize, usize), bool>,
}

impl Unsound {
    fn of(reader: &Reader<'_>, raw: &Raw) -> Self {
        let start = |span: Span| (span.file, span.start.0);
        let mut all = Self { rules: raw.rules.iter().map(|rule| (start(rule.span), false)).collect() };
        for error in reader.findings.iter().filter(|finding| finding.is_error()) {
            let rule = all.rules.range_mut(..=start(error.span)).next_back();
            if let Some((_, unsound)) = rule.filter(|((file, _), _)| *file == error.span.file) {
                *unsound = true;
            }
        }
        all
    }

    fn has(&self, rule: &RawRule) -> bool {
        self.holds(rule.span)
    }

    /// The place is in such a rule: each reaches to the next one.
    fn holds(&self, span: Span) -> bool {
        let rule = self.rules.range(..=(span.file, span.start.0)).next_back();
        rule.is_some_and(|((file, _), unsound)| *file == span.file && *unsound)
    }
}
