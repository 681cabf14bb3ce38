//! Renders what a configuration can be asked to render, to find templates that fail before a message does.

use std::collections::{HashMap, HashSet};
use std::path::Path;

use jiff::Timestamp;

use crate::config::problem::{Problem, Severity};
use crate::config::{Config, Loaded, Subject as About, codes};
use serde_json::{Value, json};

use crate::daemon::events::by_event;
use crate::model::catalog::{self, Entry};
use crate::model::message::{Message, Triple};
use crate::model::names::Names;
use crate::model::payload::Format;
use crate::model::sample;
use crate::parallel;
use crate::render::view::{Around, Seen, View};
use crate::render::{Cut, PartPlace};
use crate::rules::condition::Subject;
use crate::rules::timing::{Collapse, IfEmpty};
use crate::rules::{Deliver, Rule};
use crate::source::wire;

use super::subject;

/// Where links lead while no account is configured.
const APP_HOST: &str = "https://app.vcita.com";

/// How long the body of the long sample is, and its names.
const LONG_BODY_CHARS: usize = 50_000;
const LONG_NAME_CHARS: usize = 300;
/// How many messages the sample of a digest has: more than any target shows.
const DIGEST_ITEMS: usize = 60;
/// So many names of activity types stand in a message.
const TYPES_SHOWN: usize = 4;

/// A message of one type of the catalogue.
struct Sample {
    entry: &'static Entry,
    triple: Triple,
    view: View,
}

/// Of which kind a message is that a template has to bear.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
enum Shape {
    /// As most are.
    Usual,
    /// Without all that may be missing: client, staff member, appointment, subject, text.
    Bare,
    /// With a very long text and very long names.
    Long,
    /// Many of them, in a digest with everything that may be said beside them.
    Digest,
    /// None of them, in a digest that is sent all the same.
    Empty,
}

/// What came of rendering a template for a target's format and a sample.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Outcome {
    Fine,
    /// With why, on what shape of message, and the tag that fails.
    Failed(Shape, String, Option<PartPlace>),
    /// The markers of missing values.
    Shows(Vec<String>),
    /// What was cut.
    Cut(Vec<Cut>),
}

impl Outcome {
    /// One problem is enough for both: a failure's words may name something of the message, and so do lengths.
    fn is_like(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Failed(one, ..), Self::Failed(other, ..)) => one == other,
            (Self::Cut(_), Self::Cut(_)) => true,
            _ => self == other,
        }
    }
}

/// What was rendered so far: each template, format and sample once, however many rules ask for it.
#[derive(Default)]
struct Known<'c> {
    usual: HashMap<(&'c str, Format, usize), Outcome>,
    /// The odd shapes, for each template and format on the first message type that is asked for.
    odd: HashMap<(&'c str, Format), Outcome>,
    /// Digests, with and without an empty one and one of events, for each template and format on the first message type that
    /// is asked for.
    digests: HashMap<(&'c str, Format, bool, bool), Outcome>,
}

/// A delivery that is looked at: where it stands, its rule, and the positions of the samples that this takes.
type Looked<'c, 't> = (About<'static>, &'c Rule, &'c Deliver, &'t [usize]);

impl<'c> Known<'c> {
    /// All usual messages of these deliveries.
    fn of(config: &'c Config, samples: &[Sample], deliveries: &[Looked<'c, '_>]) -> Self {
        let mut asked = HashSet::new();
        for (_, _, deliver, taken) in deliveries {
            let Some(target) = config.targets.get(&deliver.target) else { continue };
            asked.extend(taken.iter().map(|index| (deliver.template.as_str(), target.format(), *index)));
        }
        let asked: Vec<(&str, Format, usize)> = asked.into_iter().collect();
        let judged = parallel::map(&asked, |(template, format, index)| {
            judge(config, template, *format, &samples[*index])
        });
        Self { usual: asked.into_iter().zip(judged).collect(), ..Self::default() }
    }
}

/// A trouble with what a rule delivers: which, and on which samples.
struct Trouble {
    outcome: Outcome,
    on: Vec<usize>,
}

/// Renders every rule × delivery × message type that the rule can match, and notes templates that fail, that show a
/// field which is not there, or of which something is cut. Where the file has errors, the rules that have none are looked
/// at all the same.
pub(super) fn check(loaded: &mut Loaded, now: Timestamp) {
    let whole = loaded.config.is_some();
    let Some(config) = loaded.config.take().or_else(|| loaded.draft.take()) else { return };
    let sound = sound(&config, loaded);
    let samples = samples(&config, now);
    let subjects: Vec<Subject<'_>> =
        samples.iter().map(|sample| Subject::new(&sample.triple, sample.entry.api_type)).collect();
    let rules: Vec<(usize, &Rule)> =
        config.rules.list().iter().enumerate().filter(|(position, _)| sound[*position]).collect();
    let taken = parallel::map(&rules, |(_, rule)| {
        (0..samples.len()).filter(|index| rule.can_take_subject(&subjects[*index])).collect::<Vec<usize>>()
    });
    let mut deliveries: Vec<Looked<'_, '_>> = Vec::new();
    for ((position, rule), taken) in rules.into_iter().zip(&taken) {
        let sound =
            rule.deliver.iter().enumerate().filter(|(_, one)| whole || !is_broken(&one.template, loaded));
        deliveries.extend(
            sound.map(|(number, one)| (About::Template(position, number), rule, one, taken.as_slice())),
        );
    }
    let mut known = Known::of(&config, &samples, &deliveries);
    for (about, rule, deliver, taken) in deliveries {
        for trouble in troubles(&config, rule, deliver, taken, &samples, &mut known) {
            report(loaded, &config, about, deliver, &trouble, (taken, &samples));
        }
    }
    drop(known);
    if whole {
        loaded.config = Some(config);
    } else {
        loaded.draft = Some(config);
    }
}

/// Of each rule, whether no error stands between its start and that of the next one in its file.
fn sound(config: &Config, loaded: &Loaded) -> Vec<bool> {
    let mut errors: HashMap<&str, Vec<usize>> = HashMap::new();
    for problem in loaded.problems.iter().filter(|problem| problem.severity == Severity::Error) {
        errors.entry(&problem.file).or_default().push(problem.line);
    }
    let rules = config.rules.list();
    let is_sound = |(position, rule): (usize, &Rule)| {
        let next = rules.get(position + 1).filter(|next| next.place.file == rule.place.file);
        let until = next.map_or(usize::MAX, |next| next.place.line);
        let lines = errors.get(rule.place.file.as_str()).map_or(&[][..], Vec::as_slice);
        !lines.iter().any(|line| (rule.place.line..until).contains(line))
    };
    rules.iter().enumerate().map(is_sound).collect()
}

/// A file of the template, or one that any template may use, has an error of its own.
fn is_broken(template: &str, loaded: &Loaded) -> bool {
    let of_template =
        |problem: &Problem| problem.code == codes::TEMPLATE.id && problem.severity == Severity::Error;
    loaded.problems.iter().filter(|problem| of_template(problem)).any(|problem| {
        let file = Path::new(&problem.file).strip_prefix(&loaded.templates_dir).ok();
        let folder = file.and_then(|file| file.iter().next()).unwrap_or_default().to_string_lossy();
        folder == template || folder.starts_with('_')
    })
}

fn samples(config: &Config, now: Timestamp) -> Vec<Sample> {
    let made = catalog::all().iter().filter_map(|entry| {
        let triple = entry.triple();
        let view = view(config, &sample::item(&triple, now), sample::names(), now)?;
        Some(Sample { entry, triple, view })
    });
    made.collect()
}

/// What a template sees of an item.
fn view(config: &Config, item: &Value, names: Names, now: Timestamp) -> Option<View> {
    let account = config.accounts.first();
    let name = account.map_or("main", |account| account.name.as_str());
    let message = wire::read_item(name, item).ok()?;
    Some(View {
        messages: vec![Seen::new(message, names)],
        notice: None,
        delivery_id: "check".to_owned(),
        attempt: 1,
        rule: "check".to_owned(),
        target: "check".to_owned(),
        account: name.to_owned(),
        app_host: account.map_or_else(|| APP_HOST.to_owned(), |account| account.app_host.to_string()),
        timezone: config.timezone.clone(),
        now,
        around: Around::default(),
    })
}

/// The same message in another shape.
fn reshaped(config: &Config, sample: &Sample, shape: Shape) -> Option<View> {
    let now = sample.view.now;
    let mut item = sample::item(&sample.triple, now);
    let mut names = sample::names();
    match shape {
        Shape::Usual | Shape::Digest | Shape::Empty => {}
        Shape::Bare => {
            for field in ["client_uid", "staff_uid", "message_text", "meeting_data", "channels"] {
                item.as_object_mut()?.remove(field);
            }
            names = Names::default();
        }
        Shape::Long => {
            let body = "A long text & <more> of it\n".repeat(LONG_BODY_CHARS / 27);
            item["message_text"] = json!({ "body": body, "subject": "Long ".repeat(LONG_NAME_CHARS / 5) });
            let name = Some("Ann ".repeat(LONG_NAME_CHARS / 4));
            names.client.iter_mut().for_each(|client| client.name.clone_from(&name));
            names.staff.iter_mut().for_each(|staff| staff.name.clone_from(&name));
        }
    }
    view(config, &item, names, now)
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
        let outcome = &known.usual[&(deliver.template.as_str(), format, index)];
        let counts = match outcome {
            Outcome::Fine => false,
            Outcome::Failed(..) | Outcome::Cut(_) => true,
            // A condition on the field itself keeps messages away that do not have it.
            Outcome::Shows(_) => samples[index].view.messages.iter().all(|seen| holds(rule, &seen.message)),
        };
        if !counts {
            continue;
        }
        match troubles.iter_mut().find(|trouble| trouble.outcome.is_like(outcome)) {
            Some(trouble) => trouble.on.push(index),
            None => troubles.push(Trouble { outcome: outcome.clone(), on: vec![index] }),
        }
    }
    if let Some(first) = taken.first().filter(|_| troubles.is_empty()) {
        let odd = known.odd.entry((deliver.template.as_str(), format));
        let outcome = odd.or_insert_with(|| judge_odd(config, &deliver.template, format, &samples[*first]));
        if *outcome != Outcome::Fine {
            troubles.push(Trouble { outcome: outcome.clone(), on: vec![*first] });
        }
    }
    if let (Some(digest), Some(first)) =
        (&deliver.timing.digest, taken.first().filter(|_| troubles.is_empty()))
    {
        let (template, collapse) = (deliver.template.as_str(), deliver.timing.collapse.as_ref());
        let empty = digest.if_empty == IfEmpty::Send;
        let outcome = known
            .digests
            .entry((template, format, empty, collapse.is_some()))
            .or_insert_with(|| judge_digest(config, (template, format), &samples[*first], empty, collapse));
        if *outcome != Outcome::Fine {
            troubles.push(Trouble { outcome: outcome.clone(), on: vec![*first] });
        }
    }
    troubles
}

fn holds(rule: &Rule, message: &Message) -> bool {
    let names = sample::names();
    rule.filter.as_ref().is_none_or(|filter| filter.judge(message, &names).unwrap_or(false))
}

fn judge(config: &Config, template: &str, format: Format, sample: &Sample) -> Outcome {
    let rendered = config.templates.render(template, format, &sample.view);
    if let Some(problem) = rendered.problem {
        return Outcome::Failed(Shape::Usual, problem, rendered.at);
    }
    let markers = rendered.markers();
    if !markers.is_empty() {
        return Outcome::Shows(markers);
    }
    let cuts = config.templates.cuts(template, format, &sample.view);
    if cuts.is_empty() { Outcome::Fine } else { Outcome::Cut(cuts) }
}

/// The same of a message that has nothing that may be missing, and of one that is very long.
fn judge_odd(config: &Config, template: &str, format: Format, sample: &Sample) -> Outcome {
    for shape in [Shape::Bare, Shape::Long] {
        let view = reshaped(config, sample, shape);
        let Some(view) = view else { continue };
        let rendered = config.templates.render(template, format, &view);
        if let Some(problem) = rendered.problem {
            return Outcome::Failed(shape, problem, rendered.at);
        }
    }
    Outcome::Fine
}

/// The same of a long digest, of one whose messages are put together by event where they are, and of an empty one where that
/// is sent.
fn judge_digest(
    config: &Config,
    (template, format): (&str, Format),
    sample: &Sample,
    empty: bool,
    collapse: Option<&Collapse>,
) -> Outcome {
    let now = sample.view.now;
    let whole = [(Shape::Digest, DIGEST_ITEMS, None)].into_iter();
    let of_events = collapse.map(|collapse| (Shape::Digest, DIGEST_ITEMS, Some(collapse)));
    let empty = empty.then_some((Shape::Empty, 0, None));
    for (shape, items, collapse) in whole.chain(of_events).chain(empty) {
        let mut view = sample.view.clone();
        let types = std::slice::from_ref(&sample.triple);
        let made = subject::gather(&mut view, types, items, now).and_then(|()| subject::note(&mut view, now));
        if made.is_err() {
            continue;
        }
        if let Some(collapse) = collapse {
            let twice = view.messages.iter().flat_map(|seen| [seen.clone(), seen.clone()]);
            view.messages = by_event(twice.collect(), collapse);
        }
        let rendered = config.templates.render(template, format, &view);
        let markers = rendered.markers();
        if let Some(problem) = rendered.problem {
            return Outcome::Failed(shape, problem, rendered.at);
        }
        if let Some(marker) = markers.first().filter(|_| shape == Shape::Empty) {
            let at = config.templates.place_of_marker(template, format, &view, marker);
            return Outcome::Failed(shape, format!("it shows {marker}, where there is no message"), at);
        }
    }
    Outcome::Fine
}

/// Notes a trouble, at its place in the template where that is known.
fn report(
    loaded: &mut Loaded,
    config: &Config,
    about: About<'_>,
    deliver: &Deliver,
    trouble: &Trouble,
    (taken, samples): (&[usize], &[Sample]),
) {
    let name = &deliver.template;
    let Some(first) = trouble.on.first().map(|first| &samples[*first]) else { return };
    let at = place(config, deliver, &trouble.outcome, first);
    let text = at.as_ref().and_then(|at| config.templates.text(&at.file));
    let at = at.as_ref().zip(text);
    let entry = first.entry;
    let sample = format!("{}/{}/{}", entry.activity_type, entry.message_type, entry.direction);
    let on = match (trouble.on.len(), taken.len()) {
        (1, _) => sample.clone(),
        (count, of) if count == of => {
            format!("all {of} message types that this rule takes, such as {sample}")
        }
        (count, of) => format!("{count} of the {of} message types that this rule takes, such as {sample}"),
    };
    let see =
        format!("`activity-relay render {name} --target {} --sample {sample}` shows it", deliver.target);
    match &trouble.outcome {
        Outcome::Fine => {}
        Outcome::Failed(Shape::Usual, why, _) => {
            let message = format!("the template `{name}` fails on {on}: {why}");
            let kind = (codes::SAMPLE, Severity::Error);
            loaded.add_in_template(kind, about, at, message, &format!("mend the template; {see}"));
        }
        Outcome::Failed(shape, why, _) => {
            let what = match shape {
                Shape::Bare => "without a client, a staff member, an appointment and a text",
                Shape::Usual | Shape::Long => "with a very long text and very long names",
                Shape::Digest | Shape::Empty => {
                    report_digest(loaded, (about, at), deliver, (*shape, why), &sample);
                    return;
                }
            };
            let message = format!("the template `{name}` fails on a message {what}, as {on} may be: {why}");
            let help =
                "ask for what may be missing by {{#if …}}: until then such a message goes out as plain text";
            loaded.add_in_template((codes::SAMPLE, Severity::Warning), about, at, message, help);
        }
        Outcome::Shows(markers) => {
            let shown = markers.join(", ");
            let message = format!("the template `{name}` shows {shown} on {on}, where there is no value");
            let field = markers[0].trim_start_matches('‹').trim_end_matches("?›");
            let has = having(trouble, taken, samples);
            let help = format!(
                "{has}write {{{{#if {field}}}}}…{{{{/if}}}} around it, or narrow the rule's `match`; {see}"
            );
            loaded.add_in_template((codes::MISSING_VALUE, Severity::Warning), about, at, message, &help);
        }
        Outcome::Cut(cuts) => {
            let words: Vec<&str> = cuts.iter().map(|cut| cut.words.as_str()).collect();
            let message = format!("the template `{name}` makes too much on {on}: {}", words.join("; "));
            let help = format!("shorten what the template itself says; {see}");
            loaded.add_in_template((codes::CUT, Severity::Warning), about, at, message, &help);
        }
    }
}

/// What of the template it is.
fn place(config: &Config, deliver: &Deliver, outcome: &Outcome, first: &Sample) -> Option<PartPlace> {
    match outcome {
        Outcome::Fine => None,
        Outcome::Failed(_, _, at) => at.clone(),
        Outcome::Cut(cuts) => cuts.iter().find_map(|cut| cut.at.clone()),
        Outcome::Shows(markers) => {
            let format = config.targets.get(&deliver.target)?.format();
            config.templates.place_of_marker(&deliver.template, format, &first.view, markers.first()?)
        }
    }
}

/// A template that does not bear the digest it is used for.
fn report_digest(
    loaded: &mut Loaded,
    (about, at): (About<'_>, Option<(&PartPlace, &str)>),
    deliver: &Deliver,
    (shape, why): (Shape, &str),
    sample: &str,
) {
    let (name, target) = (&deliver.template, &deliver.target);
    let (what, items, ask) = match shape {
        Shape::Empty => ("an empty digest", 0, "ask by {{#if count}} whether there is a message; "),
        _ => ("a digest", DIGEST_ITEMS, "go through the messages by {{#each items}}; "),
    };
    let message = format!("the template `{name}` fails on {what}: {why}");
    let help = format!(
        "{ask}`activity-relay render {name} --target {target} --sample {sample} --items {items}` shows it"
    );
    loaded.add_in_template((codes::SAMPLE, Severity::Warning), about, at, message, &help);
}

/// Which of the activity types that a rule takes have the value, in words, if some do.
fn having(trouble: &Trouble, taken: &[usize], samples: &[Sample]) -> String {
    let types = |with: bool| {
        let mut names: Vec<&str> = Vec::new();
        for index in taken.iter().filter(|index| trouble.on.contains(index) != with) {
            let name = samples[*index].entry.activity_type;
            if !names.contains(&name) {
                names.push(name);
            }
        }
        names
    };
    let (with, without) = (types(true), types(false));
    let (with, without) = (listed(&with), listed(&without));
    if with.is_empty() {
        "no message that this rule takes has it: take the field out, or ".to_owned()
    } else {
        format!("{with} messages have it and {without} have not: ")
    }
}

fn listed(names: &[&str]) -> String {
    let more = names.len().saturating_sub(TYPES_SHOWN);
    let tail = if more > 0 { format!(" and {more} more") } else { String::new() };
    names[..names.len() - more].join(", ") + &tail
}
