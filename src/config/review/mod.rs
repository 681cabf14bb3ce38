//! What a file says without a mistake and still cannot be meant: judged by the catalogue and by the file as a whole.
//!
//! Everything found here is a warning, and nothing is looked for while there are errors, which may be its cause.

mod alike;
mod filters;
mod literal;
mod reach;
mod settings;
mod twice;
mod universe;
mod unused;
mod waits;

use std::cell::LazyCell;
use std::path::Path;

use crate::render::Templates;

use super::problem::Finding;
use super::raw::Raw;
use super::read::Reader;
use super::trees::Trees;
use filters::Samples;
use reach::Reach;
use universe::Universe;

/// Looks at a configuration whose names all resolve.
pub(super) fn check(reader: &mut Reader<'_>, raw: &Raw, trees: &Trees, templates: &Templates, dir: &Path) {
    if reader.findings.iter().any(Finding::is_error) {
        return;
    }
    let universe = Universe::of(&raw.rules);
    let reaches: Vec<Reach> = raw.rules.iter().map(|rule| Reach::of(rule, &universe)).collect();
    let mut findings = reach::check(raw, &reaches, trees);
    findings.extend(reach::shadows(raw, &reaches, trees));
    findings.extend(twice::check(raw, &reaches));
    let samples: Samples = LazyCell::new(filters::messages);
    findings.extend(filters::check(raw, &reaches, trees, &samples));
    findings.extend(waits::keys(raw, &reaches, &samples));
    findings.extend(waits::expiries(raw, trees));
    findings.extend(literal::check(trees));
    findings.extend(alike::check(raw, trees));
    findings.extend(settings::check(raw, trees));
    findings.extend(unused::accounts(raw));
    reader.findings.extend(findings);
    unused::templates(reader, raw, templates, dir);
}
