//! From what the files say to a [`Config`]: every name is looked up, every default filled in.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::Arc;

use jiff::tz::TimeZone;

use crate::render::Templates;
use crate::rules::timing::Timing;
use crate::rules::{Deliver, Place, Rule, Rules};
use crate::target::Target;

use super::codes::{self, Code};
use super::names;
use super::outline::Outline;
use super::problem::{Finding, Span, similar};
use super::raw::{Raw, RawBlock, RawDeliver, RawRule};
use super::read::{Reader, Spot};
use super::{Config, Places};

/// The template of rules that name none.
const TEMPLATE: &str = "default";

/// Names that something may refer to.
struct Known {
    accounts: Vec<String>,
    targets: Vec<String>,
    templates: Vec<String>,
    /// Some could not be read, so that a name may be missing for that reason alone.
    targets_lost: bool,
    accounts_lost: bool,
}

/// Looks up every name that something is referred to by.
pub(super) fn look_up(reader: &mut Reader<'_>, raw: &Raw, templates: &Templates) {
    let known = Known {
        accounts: raw.accounts.iter().map(|spot| spot.value.name.clone()).collect(),
        targets: raw.targets.iter().map(|target| target.name.value.clone()).collect(),
        templates: templates.names().into_iter().map(str::to_owned).collect(),
        targets_lost: raw.targets_lost,
        accounts_lost: raw.accounts_lost,
    };
    unique(reader, "account", raw.accounts.iter().map(|spot| (spot.value.name.as_str(), spot.span)));
    unique(reader, "target", raw.targets.iter().map(|target| (target.name.value.as_str(), target.name.span)));
    let rules = raw.rules.iter().filter_map(|rule| rule.name.as_ref());
    unique(reader, "rule", rules.map(|name| (name.value.as_str(), name.span)));

    let used = references(reader, raw, &known);
    leftovers(reader, raw, &used);
}

/// The configuration, which may only be used if nothing was reported as an error, and where its parts stand.
pub(super) fn resolve(reader: &Reader<'_>, mut raw: Raw, templates: Templates) -> (Config, Places) {
    let places = Places::of(&raw);

    let mut targets = BTreeMap::new();
    let mut owners = BTreeMap::new();
    for target in raw.targets {
        if let Some(owner) = raw.owners.get(&target.name.span.file) {
            owners.insert(target.name.value, owner.clone());
        }
        if let Some(target) = target.target {
            targets.insert(target.name.clone(), Arc::new(target));
        }
    }
    let fallback_template = raw.defaults.template.take();
    let expires_after = raw.defaults.expires_after;
    let mut list = Vec::with_capacity(raw.rules.len());
    for rule in raw.rules {
        let deliver = |deliver: RawDeliver| {
            let template =
                deliver.template.or_else(|| rule.template.clone()).or_else(|| fallback_template.clone());
            Deliver {
                recipients: targets
                    .get(&deliver.to.value)
                    .map(|t: &Arc<Target>| t.recipients().to_vec())
                    .unwrap_or_default(),
                target: deliver.to.value,
                template: template.map_or_else(|| TEMPLATE.to_owned(), |spot| spot.value),
                expires_after: deliver.expires_after.or(expires_after),
                timing: Timing::default(),
            }
        };
        let (place, points) = (place(reader, rule.span), rule.points());
        list.push(Rule {
            name: rule.name.map(|name| name.value).unwrap_or_default(),
            place,
            points,
            owner: raw.owners.get(&rule.span.file).cloned(),
            accounts: rule.accounts.map(|list| list.into_iter().map(|spot| spot.value).collect()),
            any_of: rule.any_of.iter().map(RawBlock::block).collect(),
            except: rule.except.iter().map(RawBlock::block).collect(),
            filter: rule.filter,
            stop: rule.stop,
            deliver: rule.deliver.into_iter().map(deliver).collect(),
            resolves: None,
        });
    }
    let config = Config {
        accounts: raw.accounts.into_iter().map(|spot| Arc::new(spot.value)).collect(),
        timezone: raw.timezone.unwrap_or(TimeZone::UTC),
        alerts: raw.alerts.map(|spot| spot.value),
        retention: raw.retention,
        targets,
        target_owners: owners,
        rules: Rules::new(list),
        templates,
        outline: Outline::default(),
    };
    (config, places)
}

fn place(reader: &Reader<'_>, span: Span) -> Place {
    let file = reader.sources.get(span.file).map(|source| source.name.clone()).unwrap_or_default();
    Place { file, line: span.start.0, column: span.start.1 }
}

/// Two things of one kind with one name.
fn unique<'n>(reader: &mut Reader<'_>, what: &str, names: impl Iterator<Item = (&'n str, Span)>) {
    let mut seen: HashMap<&str, Span> = HashMap::new();
    for (name, span) in names {
        if let Some(first) = seen.get(name) {
            let finding =
                Finding::error(codes::DUPLICATE_NAME, span, format!("there are two {what}s of this name"));
            reader.report(finding.related(*first, "the first is here").help("rename one of them"));
        } else {
            seen.insert(name, span);
        }
    }
}

/// Looks up every name; the targets that are used.
fn references(reader: &mut Reader<'_>, raw: &Raw, known: &Known) -> HashSet<String> {
    let mut used = HashSet::new();
    let fallbacks = raw.targets.iter().filter_map(|target| target.fallback.as_ref().map(|to| (target, to)));
    for (target, fallback) in fallbacks {
        if fallback.value == target.name.value {
            let help = "name another target, or leave `fallback` out";
            reader.error(codes::UNKNOWN_TARGET, fallback.span, "a target cannot be its own fallback", help);
        }
        lookup(reader, fallback, codes::UNKNOWN_TARGET, "target", &known.targets, known.targets_lost);
        used.insert(fallback.value.clone());
    }
    if let Some(alerts) = &raw.alerts {
        lookup(reader, alerts, codes::UNKNOWN_TARGET, "target", &known.targets, known.targets_lost);
        used.insert(alerts.value.clone());
    }
    if let Some(template) = &raw.defaults.template {
        lookup(reader, template, codes::UNKNOWN_TEMPLATE, "template", &known.templates, false);
    }
    for rule in &raw.rules {
        rule_references(reader, rule, known);
        used.extend(rule.deliver.iter().map(|deliver| deliver.to.value.clone()));
        reader.findings.extend(names::check(rule));
    }
    used
}

fn rule_references(reader: &mut Reader<'_>, rule: &RawRule, known: &Known) {
    for account in rule.accounts.iter().flatten() {
        lookup(reader, account, codes::UNKNOWN_ACCOUNT, "account", &known.accounts, known.accounts_lost);
    }
    let templates = rule.deliver.iter().filter_map(|deliver| deliver.template.as_ref());
    for template in rule.template.iter().chain(templates) {
        lookup(reader, template, codes::UNKNOWN_TEMPLATE, "template", &known.templates, false);
    }
    for deliver in &rule.deliver {
        lookup(reader, &deliver.to, codes::UNKNOWN_TARGET, "target", &known.targets, known.targets_lost);
    }
}

fn lookup(
    reader: &mut Reader<'_>,
    spot: &Spot<String>,
    code: &'static Code,
    what: &str,
    known: &[String],
    lost: bool,
) {
    if lost || known.contains(&spot.value) {
        return;
    }
    let finding = Finding::error(code, spot.span, format!("there is no {what} `{}`", spot.written));
    let similar =
        if spot.substituted { None } else { similar(&spot.value, known.iter().map(String::as_str)) };
    let shown: Vec<&str> = known.iter().take(NAMES_SHOWN).map(String::as_str).collect();
    let more = if known.len() > shown.len() { ", …" } else { "" };
    let all = if shown.is_empty() {
        format!("no {what} is defined")
    } else {
        format!("there are: {}{more}", shown.join(", "))
    };
    let anew = match what {
        "template" => "a new one is a folder in `templates/` with a `text.hbs` in it".to_owned(),
        _ => format!("a new one goes under `{what}s:`"),
    };
    reader.report(match similar {
        Some(similar) => {
            finding.help(format!("did you mean `{}`? In all, {all}", similar.name)).meant(&similar)
        }
        None => finding.help(format!("{all}; {anew}")),
    });
}

/// How many names a message lists.
const NAMES_SHOWN: usize = 20;

/// What is there and does nothing; not asked while there are errors, which may be why it seems unused.
fn leftovers(reader: &mut Reader<'_>, raw: &Raw, used: &HashSet<String>) {
    if reader.findings.iter().any(Finding::is_error) {
        return;
    }
    let start = Span::start_of(0);
    if raw.rules.is_empty() {
        let finding =
            Finding::warning(codes::NOTHING_TO_DO, start, "there are no rules, so nothing is ever delivered");
        reader.report(finding.help("add `rules:`; docs and rules.example.yaml show how"));
    }
    for target in raw.targets.iter().filter(|target| !used.contains(&target.name.value)) {
        let name = &target.name.value;
        let finding = Finding::warning(
            codes::UNUSED_TARGET,
            target.name.span,
            format!("nothing uses the target `{name}`"),
        );
        reader.report(
            finding.help("name it in a rule's `deliver`, in `alerts` or as a `fallback`, or take it out"),
        );
    }
}
