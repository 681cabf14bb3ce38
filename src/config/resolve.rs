//! From what the files say to a [`Config`]: every name is looked up, every default filled in.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::Arc;

use jiff::tz::TimeZone;

use crate::render::Templates;
use crate::rules::timing::{Collapse, During, Timing};
use crate::rules::window::Hours;
use crate::rules::{Deliver, Place, Resolves, Rule, Rules};
use crate::target::Target;

use super::codes::{self, Code};
use super::names;
use super::outline::Outline;
use super::problem::{Finding, Span, similar};
use super::raw::{Raw, RawBlock, RawDeliver, RawRule, RawSchedule, RawTiming};
use super::read::{Reader, Spot};
use super::{Config, Places};

/// The template of rules that name none.
const TEMPLATE: &str = "default";

/// Names of one kind that something may refer to.
struct Names {
    all: Vec<String>,
    /// Some could not be read, so that a name may be missing for that reason alone.
    lost: bool,
}

/// Everything that something may refer to.
struct Known {
    accounts: Names,
    targets: Names,
    templates: Names,
    schedules: Names,
    rules: Names,
}

impl Known {
    fn of(raw: &Raw, templates: &Templates) -> Self {
        let accounts = raw.accounts.iter().map(|spot| spot.value.name.clone()).collect();
        let targets = raw.targets.iter().map(|target| target.name.value.clone()).collect();
        let templates = templates.names().into_iter().map(str::to_owned).collect();
        let schedules = raw.schedules.iter().map(|schedule| schedule.name.value.clone()).collect();
        let rules = raw.rules.iter().filter_map(|rule| Some(rule.name.as_ref()?.value.clone())).collect();
        // Rules are in the same files as targets, and one whose name cannot be read may be meant.
        let rules_lost = raw.targets_lost || raw.rules.iter().any(|rule| rule.name.is_none());
        Self {
            accounts: Names { all: accounts, lost: raw.accounts_lost },
            targets: Names { all: targets, lost: raw.targets_lost },
            templates: Names { all: templates, lost: false },
            schedules: Names { all: schedules, lost: raw.schedules_lost },
            rules: Names { all: rules, lost: rules_lost },
        }
    }
}

/// Looks up every name that something is referred to by.
pub(super) fn look_up(reader: &mut Reader<'_>, raw: &Raw, templates: &Templates) {
    let known = Known::of(raw, templates);
    unique(reader, "account", raw.accounts.iter().map(|spot| (spot.value.name.as_str(), spot.span)));
    unique(reader, "target", raw.targets.iter().map(|target| (target.name.value.as_str(), target.name.span)));
    let schedules = raw.schedules.iter().map(|schedule| (schedule.name.value.as_str(), schedule.name.span));
    unique(reader, "schedule", schedules);
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
    let hours = |schedule: RawSchedule| Some((schedule.name.value, schedule.hours?));
    let schedules: BTreeMap<String, Hours> = raw.schedules.into_iter().filter_map(hours).collect();
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
                timing: timing(
                    deliver.timing,
                    rule.collapse.as_ref().map(|(collapse, _)| collapse),
                    &schedules,
                ),
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
            resolves: rule.resolves.map(|resolves| Resolves {
                rules: resolves.rules.into_iter().map(|spot| spot.value).collect(),
                by: resolves.by,
            }),
            good_by: Vec::new(),
        });
    }
    let config = Config {
        accounts: raw.accounts.into_iter().map(|spot| Arc::new(spot.value)).collect(),
        timezone: raw.timezone.unwrap_or(TimeZone::UTC),
        alerts: raw.alerts.map(|spot| spot.value),
        retention: raw.retention,
        targets,
        target_owners: owners,
        schedules,
        rules: Rules::new(list),
        templates,
        outline: Outline::default(),
    };
    (config, places)
}

/// What an entry waits for, with the hours of its schedule.
fn timing(raw: RawTiming, collapse: Option<&Collapse>, schedules: &BTreeMap<String, Hours>) -> Timing {
    let during = raw.during.and_then(|during| {
        let hours = schedules.get(&during.schedule.value)?.clone();
        let except = during.except.iter().map(RawBlock::block).collect();
        Some(During { schedule: during.schedule.value, hours, outside: during.outside, except })
    });
    let collapse = raw.timing.collapse.or_else(|| collapse.cloned());
    Timing { during, collapse, ..raw.timing }
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
        lookup(reader, fallback, codes::UNKNOWN_TARGET, "target", &known.targets);
        used.insert(fallback.value.clone());
    }
    if let Some(alerts) = &raw.alerts {
        lookup(reader, alerts, codes::UNKNOWN_TARGET, "target", &known.targets);
        used.insert(alerts.value.clone());
    }
    if let Some(template) = &raw.defaults.template {
        lookup(reader, template, codes::UNKNOWN_TEMPLATE, "template", &known.templates);
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
        lookup(reader, account, codes::UNKNOWN_ACCOUNT, "account", &known.accounts);
    }
    let templates = rule.deliver.iter().filter_map(|deliver| deliver.template.as_ref());
    for template in rule.template.iter().chain(templates) {
        lookup(reader, template, codes::UNKNOWN_TEMPLATE, "template", &known.templates);
    }
    for deliver in &rule.deliver {
        lookup(reader, &deliver.to, codes::UNKNOWN_TARGET, "target", &known.targets);
        if let Some(during) = &deliver.timing.during {
            lookup(reader, &during.schedule, codes::UNKNOWN_SCHEDULE, "schedule", &known.schedules);
        }
    }
    for name in rule.resolves.iter().flat_map(|resolves| &resolves.rules) {
        if rule.name.as_ref().is_some_and(|own| own.value == name.value) {
            let help = "name the rule of the messages that are made good";
            reader.error(codes::UNKNOWN_RULE, name.span, "a rule cannot resolve itself", help);
        }
        lookup(reader, name, codes::UNKNOWN_RULE, "rule", &known.rules);
    }
}

fn lookup(
    reader: &mut Reader<'_>,
    spot: &Spot<String>,
    code: &'static Code,
    what: &str,
    Names { all: known, lost }: &Names,
) {
    if *lost || known.contains(&spot.value) {
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
    let named: HashSet<&str> = raw
        .rules
        .iter()
        .flat_map(|rule| &rule.deliver)
        .filter_map(|deliver| Some(deliver.timing.during.as_ref()?.schedule.value.as_str()))
        .collect();
    for schedule in raw.schedules.iter().filter(|schedule| !named.contains(schedule.name.value.as_str())) {
        let message = format!("nothing uses the schedule `{}`", schedule.name.value);
        let finding = Finding::warning(codes::UNUSED_SCHEDULE, schedule.name.span, message);
        reader.report(finding.help("name it as `during` of an entry of `deliver`, or take it out"));
    }
}
