//! What is there and that nothing makes use of: templates, partials, accounts.

use std::collections::HashSet;
use std::path::Path;

use crate::config::codes;
use crate::config::files;
use crate::config::problem::{Finding, Span};
use crate::config::raw::Raw;
use crate::config::read::Reader;
use crate::render::Templates;

/// Templates that the relay itself takes.
const OWN: [&str; 2] = ["default", "backlog"];

/// Accounts that every rule leaves out.
pub(super) fn accounts(raw: &Raw) -> Vec<Finding> {
    let named: Option<HashSet<&str>> = raw.rules.iter().try_fold(HashSet::new(), |mut named, rule| {
        named.extend(rule.accounts.as_ref()?.iter().map(|account| account.value.as_str()));
        Some(named)
    });
    let Some(named) = named.filter(|_| !raw.rules.is_empty()) else { return Vec::new() };
    let idle = raw.accounts.iter().filter(|account| !named.contains(account.value.name.as_str()));
    let finding = |account: &crate::config::read::Spot<crate::source::Account>| {
        let message = format!(
            "no rule is for the account `{}`: its messages are taken in and nobody is told",
            account.value.name
        );
        let help = "name it in a rule's `accounts`, leave `accounts` out of a rule, or take the account out";
        Finding::warning(codes::UNUSED_ACCOUNT, account.span, message).help(help)
    };
    idle.map(finding).collect()
}

/// Templates that nothing names, and partials and layouts that no template includes. Those that came with the program
/// and were never changed lie there to be used some day.
pub(super) fn templates(reader: &mut Reader<'_>, raw: &Raw, templates: &Templates, dir: &Path) {
    let by_rules = raw.rules.iter().flat_map(|rule| {
        rule.template.iter().chain(rule.deliver.iter().filter_map(|deliver| deliver.template.as_ref()))
    });
    let named: HashSet<&str> =
        by_rules.chain(&raw.defaults.template).map(|spot| spot.value.as_str()).chain(OWN).collect();
    for name in templates.names().into_iter().filter(|name| !named.contains(name)) {
        let message = format!("nothing uses the template `{name}`");
        let help = "name it as the `template` of a rule, or take its folder out";
        report(reader, dir, &templates.own_files(name), message, help);
    }
    for file in templates.not_included() {
        let message = format!("no template includes `{file}`");
        let help = "include it by {{> name}}, or take the file out";
        report(reader, dir, &[file], message, help);
    }
}

/// At the start of the first of these files.
fn report(reader: &mut Reader<'_>, dir: &Path, files: &[&str], message: String, help: &str) {
    let Some(first) = files.first() else { return };
    let name = dir.join(first).display().to_string();
    let file = files::add(reader, name, String::new());
    reader.report(Finding::warning(codes::UNUSED_TEMPLATE, Span::start_of(file), message).help(help));
}
