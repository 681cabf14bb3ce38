//! Renders what a configuration can be asked to render, to find templates that fail before a message does.

use std::collections::HashMap;

use jiff::Timestamp;

use crate::config::problem::Severity;
use crate::config::{Config, Loaded, Subject as About, codes};
use crate::model::catalog::{self, Entry};
use crate::model::message::{Message, Triple};
use crate::model::payload::Format;
use crate::model::sample;
use crate::render::view::{Seen, View};
use crate::rules::condition::Subject;
use crate::rules::{Deliver, Rule};
use crate::source::wire;

/// Where links lead while no account is configured.
const APP_HOST: &str = "https://app.vcita.com";

/// A message of one type of the catalogue.
struct Sample {
    entry: &'static Entry,
    triple: Triple,
    view: View,
}

/// What came of rendering a template for a target's format and a sample.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Outcome {
    Fine,
    Failed(String),
    Shows(String),
}

impl Outcome {
    /// One problem is enough for both: a failure's words may name something of the message, so that each differs.
    fn is_like(&self, other: &Self) -> bool {
        matches!((self, other), (Self::Failed(_), Self::Failed(_))) || self == other
    }
}

/// What was rendered so far: each template, format and sample once, however many rules ask for it.
type Known<'c> = HashMap<(&'c str, Format, usize), Outcome>;

/// A trouble with what a rule delivers: which, on which sample first, on how many.
struct Trouble {
    outcome: Outcome,
    first: usize,
    count: usize,
}

/// Renders every rule × delivery × message type that the rule can match, and notes templates that fail or that show a
/// field which is not there.
pub(super) fn check(loaded: &mut Loaded, now: Timestamp) {
    let Some(config) = loaded.config.take() else { return };
    let samples = samples(&config, now);
    let subjects: Vec<Subject<'_>> =
        samples.iter().map(|sample| Subject::new(&sample.triple, sample.entry.api_type)).collect();
    let mut known = Known::new();
    for (position, rule) in config.rules.list().iter().enumerate() {
        let taken: Vec<usize> =
            (0..samples.len()).filter(|index| rule.can_take_subject(&subjects[*index])).collect();
        for (number, deliver) in rule.deliver.iter().enumerate() {
            for trouble in troubles(&config, rule, deliver, &taken, &samples, &mut known) {
                let about = About::Template(position, number);
                report(loaded, about, deliver, &trouble, taken.len(), samples[trouble.first].entry);
            }
        }
    }
    drop(known);
    loaded.config = Some(config);
}

fn samples(config: &Config, now: Timestamp) -> Vec<Sample> {
    let account = config.accounts.first();
    let name = account.map_or("main", |account| account.name.as_str());
    let names = sample::names();
    let made = catalog::all().iter().filter_map(|entry| {
        let triple = entry.triple();
        let message = wire::read_item(name, &sample::item(&triple, now)).ok()?;
        let view = View {
            messages: vec![Seen { message, names: names.clone() }],
            notice: None,
            delivery_id: "check".to_owned(),
            attempt: 1,
            rule: "check".to_owned(),
            target: "check".to_owned(),
            account: name.to_owned(),
            app_host: account.map_or_else(|| APP_HOST.to_owned(), |account| account.app_host.to_string()),
            timezone: config.timezone.clone(),
            now,
        };
        Some(Sample { entry, triple, view })
    });
    made.collect()
}

/// What is wrong with one delivery of a rule, each trouble once.
fn troubles<'c>(
    config: &'c Config,
    rule: &Rule,
    deliver: &'c Deliver,
    taken: &[usize],
    samples: &[Sample],
    known: &mut Known<'c>,
) -> Vec<Trouble> {
    let Some(target) = config.targets.get(&deliver.target) else { return Vec::new() };
    let format = target.format();
    let mut troubles: Vec<Trouble> = Vec::new();
    for &index in taken {
        let view = &samples[index].view;
        let outcome = known
            .entry((deliver.template.as_str(), format, index))
            .or_insert_with(|| render(config, &deliver.template, format, view));
        let counts = match outcome {
            Outcome::Fine => false,
            Outcome::Failed(_) => true,
            // A condition on the field itself keeps messages away that do not have it.
            Outcome::Shows(_) => view.messages.iter().all(|seen| holds(rule, &seen.message)),
        };
        if !counts {
            continue;
        }
        match troubles.iter_mut().find(|trouble| trouble.outcome.is_like(outcome)) {
            Some(trouble) => trouble.count += 1,
            None => troubles.push(Trouble { outcome: outcome.clone(), first: index, count: 1 }),
        }
    }
    troubles
}

fn holds(rule: &Rule, message: &Message) -> bool {
    let names = sample::names();
    rule.filter.as_ref().is_none_or(|filter| filter.judge(message, &names).unwrap_or(false))
}

fn render(config: &Config, template: &str, format: Format, view: &View) -> Outcome {
    let rendered = config.templates.render(template, format, view);
    let markers = rendered.markers();
    match rendered.problem {
        Some(problem) => Outcome::Failed(problem),
        None if markers.is_empty() => Outcome::Fine,
        None => Outcome::Shows(markers.join(", ")),
    }
}

fn report(
    loaded: &mut Loaded,
    about: About<'_>,
    deliver: &Deliver,
    trouble: &Trouble,
    of: usize,
    entry: &Entry,
) {
    let name = &deliver.template;
    let sample = format!("{}/{}/{}", entry.activity_type, entry.message_type, entry.direction);
    let on = match trouble.count {
        1 => sample.clone(),
        count => format!("{count} of the {of} message types that this rule takes, such as {sample}"),
    };
    let see =
        format!("`activity-relay render {name} --target {} --sample {sample}` shows it", deliver.target);
    match &trouble.outcome {
        Outcome::Fine => {}
        Outcome::Failed(why) => {
            let message = format!("the template `{name}` fails on {on}: {why}");
            loaded.add(codes::SAMPLE, Severity::Error, about, message, &format!("mend the template; {see}"));
        }
        Outcome::Shows(markers) => {
            let message = format!("the template `{name}` shows {markers} on {on}, where there is no value");
            let help = format!("put {{{{#if …}}}} around the field, or narrow the rule's `match`; {see}");
            loaded.add(codes::MISSING_VALUE, Severity::Warning, about, message, &help);
        }
    }
}
