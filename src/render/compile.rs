//! From files to compiled templates: which file is which part, and every problem with its place.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};

use handlebars::template::{Parameter, TemplateElement};
use handlebars::{Handlebars, Path, Template};

use super::TemplateProblem;
use super::blocks;
use super::check::{Source, Walk, name_of};
use super::escape::Kind;
use super::helpers;
use super::parts::{self, Node, Tree};
use super::schema;
use super::shipped;
use super::tags::{self, Mistake};

const PARTS: [&str; 6] = ["subject.hbs", "text.hbs", "html.hbs", "slack.yaml", "slack.hbs", "http.yaml"];
/// Fields whose strings are addresses or keywords, which no part escapes.
const UNESCAPED: [&str; 9] =
    ["url", "image_url", "type", "style", "action_id", "block_id", "value", "when", "slack_icon"];

/// What a template may name to put out its name.
const NAMED: [&str; 3] = ["rule", "account", "target"];

/// What a template's folder holds, under the names by which the engines know its parts.
#[derive(Debug, Default)]
pub(super) struct Folder {
    pub(super) subject: Option<String>,
    pub(super) text: Option<String>,
    pub(super) html: Option<String>,
    pub(super) slack: Option<String>,
    pub(super) blocks: Option<Tree<LeafName>>,
    pub(super) http: Option<Tree<LeafName>>,
}

/// A leaf of a structured part.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct LeafName {
    pub(super) name: String,
    pub(super) kind: Kind,
    /// It is nothing but `{{json …}}`, so it becomes that value itself.
    pub(super) json: bool,
    /// Where it starts in its file, in bytes.
    pub(super) at: usize,
}

/// One engine for each way of escaping.
#[derive(Debug)]
pub(super) struct Engines([Handlebars<'static>; 3]);

impl Engines {
    fn new() -> Self {
        Self(Kind::ALL.map(|kind| {
            let mut engine = Handlebars::new();
            engine.register_escape_fn(move |text: &str| kind.escape(text));
            engine.set_prevent_indent(true);
            helpers::register(&mut engine, kind);
            engine
        }))
    }

    /// The engine of a kind.
    pub(super) fn of(&self, kind: Kind) -> &Handlebars<'static> {
        &self.0[kind as usize]
    }

    fn add(&mut self, name: &str, template: &Template) {
        for engine in &mut self.0 {
            engine.register_template(name, template.clone());
        }
    }
}

/// Everything that compiling gave.
#[derive(Debug)]
pub(super) struct Compiled {
    pub(super) engines: Engines,
    pub(super) folders: BTreeMap<String, Folder>,
    pub(super) problems: Vec<TemplateProblem>,
    /// The files that are not as the program brings them, sorted.
    pub(super) own: BTreeSet<String>,
    /// The files that people have, with their texts.
    pub(super) texts: BTreeMap<String, String>,
    /// Partials and layouts that no part includes, by their files, sorted.
    pub(super) not_included: BTreeSet<String>,
}

/// Compiles built-in and given files; a given file takes the place of a built-in one of the same path.
pub(super) fn compile(built_in: &[(&str, &str)], files: &[(String, String)]) -> Compiled {
    let given: HashSet<&str> = files.iter().map(|(path, _)| path.as_str()).collect();
    let all = built_in
        .iter()
        .copied()
        .filter(|(path, _)| !given.contains(path))
        .chain(files.iter().map(|(path, text)| (path.as_str(), text.as_str())));
    let mut work = Work::default();
    for (path, text) in all {
        work.file(path, text);
    }
    let brought: HashMap<&str, &str> = shipped::files().collect();
    let own = files.iter().filter(|(path, text)| brought.get(path.as_str()) != Some(&text.as_str()));
    let own = own.map(|(path, _)| path.clone()).collect();
    Compiled { own, texts: files.iter().cloned().collect(), ..work.finish() }
}

#[derive(Default)]
struct Work {
    partials: HashMap<String, Source>,
    parts: Vec<(String, Source)>,
    folders: BTreeMap<String, Folder>,
    problems: Vec<TemplateProblem>,
}

impl Work {
    fn file(&mut self, path: &str, text: &str) {
        let path = path.replace('\\', "/");
        let (folder, file) = path.split_once('/').unwrap_or(("", &path));
        if file.starts_with('.') || folder.starts_with('.') || folder.is_empty() {
            return;
        }
        if folder == "_partials" || folder == "_layouts" {
            if let Some(name) = file.strip_suffix(".hbs") {
                self.partial(&path, name, text);
            }
            return;
        }
        if folder.starts_with('_') {
            return;
        }
        let slot = self.folders.entry(folder.to_owned()).or_default();
        match file {
            "subject.hbs" => slot.subject = Some(path.clone()),
            "text.hbs" => slot.text = Some(path.clone()),
            "html.hbs" => slot.html = Some(path.clone()),
            "slack.hbs" => slot.slack = Some(path.clone()),
            "slack.yaml" | "http.yaml" => {
                self.structured(&path, folder, file, text);
                return;
            }
            other => {
                let near = schema::nearest(other, PARTS).map(|near| format!("did you mean `{near}`?"));
                // A README beside the parts is welcome; what looks like a part is a mistake.
                if matches!(other.rsplit_once('.'), Some((_, "hbs" | "yaml" | "yml"))) {
                    let help = near.unwrap_or_else(|| format!("parts are {}", PARTS.join(", ")));
                    self.problem(&path, format!("`{other}` is no part of a template"), Some(help));
                }
                return;
            }
        }
        if text.trim().is_empty() {
            let help = "write into it, or take the file away if the built-in text is to be sent";
            let empty = tags::mistake(0, "this part is empty, so that nothing of it is sent", help);
            self.mistake(&path, text, Mistake { warning: true, ..empty });
        }
        if let Some(source) = self.parse(&path, text, text, None) {
            self.parts.push((path, source));
        }
    }

    /// Parts that are there and never sent.
    fn idle_parts(&mut self) {
        let both = self.folders.values().filter(|folder| folder.blocks.is_some());
        let idle: Vec<String> = both.filter_map(|folder| folder.slack.clone()).collect();
        for path in idle {
            let help = "keep one of them: slack.hbs is one section of text, slack.yaml has whole blocks";
            let idle = tags::mistake(0, "this part is never sent, as slack.yaml stands beside it", help);
            self.mistake(&path, "", Mistake { warning: true, ..idle });
        }
    }

    fn partial(&mut self, path: &str, name: &str, text: &str) {
        if let Some(source) = self.parse(path, text, text, None) {
            if let Some(other) = self.partials.get(name).map(|other| other.file.clone()) {
                let message = format!("the name `{name}` is taken by {other}");
                self.problem(path, message, Some("rename one of the two files".to_owned()));
                return;
            }
            self.partials.insert(name.to_owned(), source);
        }
    }

    fn structured(&mut self, path: &str, folder: &str, file: &str, text: &str) {
        let root = match parts::read(text) {
            Ok(root) => root,
            Err(mistake) => {
                self.mistake(path, text, mistake);
                return;
            }
        };
        let slack = file == "slack.yaml";
        let found = if slack { blocks::slack(&root, text) } else { blocks::http(&root, text) };
        for mistake in found {
            self.mistake(path, text, mistake);
        }
        if slack && !matches!(root.value, Node::List(_)) {
            return;
        }
        let tree = parts::tree(root, text);
        let mut count = 0;
        let tree = tree.map("", &mut |key, leaf| {
            count += 1;
            let name = format!("{path}#{count}");
            let kind = if slack && !UNESCAPED.contains(&key) { Kind::Slack } else { Kind::Plain };
            let source = self.parse(path, text, &leaf.text, Some(leaf.at));
            let json = !slack && source.as_ref().is_some_and(|source| is_json_alone(&source.template));
            let when = slack && key == "when";
            if let Some(source) = source.map(|source| Source { asked: when, ..source }) {
                self.parts.push((name.clone(), source));
            }
            LeafName { name, kind, json, at: leaf.at }
        });
        let slot = self.folders.entry(folder.to_owned()).or_default();
        if slack {
            slot.blocks = Some(tree);
        } else {
            slot.http = Some(tree);
        }
    }

    /// Parses one template, which is a whole file or one leaf of it.
    fn parse(&mut self, path: &str, file: &str, text: &str, leaf_at: Option<usize>) -> Option<Source> {
        let parsed = tags::check(text).and_then(|()| {
            Template::compile_with_name(text, path.to_owned()).map_err(|error| {
                let at = error.pos().map_or(0, |(line, column)| tags::offset(text, line, column));
                tags::unreadable(text, at)
            })
        });
        match parsed {
            Ok(mut template) => {
                // A partial may be given something of that name.
                if !path.starts_with("_partials/") {
                    put_out_names(&mut template, 0);
                }
                Some(Source { file: path.to_owned(), text: file.to_owned(), leaf_at, asked: false, template })
            }
            Err(mistake) => {
                let at = leaf_at.map_or(mistake.at, |start| {
                    let word = text[mistake.at..].lines().next().unwrap_or_default();
                    file[start..].find(word).map_or(start, |found| start + found)
                });
                self.mistake(path, file, Mistake { at, ..mistake });
                None
            }
        }
    }

    /// Notes a mistake in a file of this text.
    fn mistake(&mut self, file: &str, text: &str, mistake: Mistake) {
        let (line, column) = tags::place(text, mistake.at);
        let Mistake { message, help, warning, .. } = mistake;
        self.problems.push(TemplateProblem { file: file.to_owned(), line, column, message, help, warning });
    }

    /// Notes an error that is about a file as a whole.
    fn problem(&mut self, file: &str, message: String, help: Option<String>) {
        self.mistake(file, "", Mistake { at: 0, message, help, warning: false });
    }

    fn finish(mut self) -> Compiled {
        self.idle_parts();
        let mut walk = Walk::new(&self.partials);
        for (_, source) in &self.parts {
            walk.part(source);
        }
        let found = std::mem::take(&mut walk.problems);
        let included = std::mem::take(&mut walk.included);
        let idle = self.partials.iter().filter(|(name, _)| !included.contains(name.as_str()));
        let not_included = idle.map(|(_, source)| source.file.clone()).collect();
        let errors = self.problems.iter().chain(&found).filter(|problem| !problem.warning);
        let broken: HashSet<String> = errors.map(|problem| problem.file.clone()).collect();
        let mut problems = std::mem::take(&mut self.problems);
        problems.extend(found);
        problems.sort_by(|a, b| (&a.file, a.line, a.column).cmp(&(&b.file, b.line, b.column)));
        let mut engines = Engines::new();
        // What has a problem is left out, so that nothing that could run without end is ever rendered.
        for (name, source) in &self.partials {
            if !broken.contains(&source.file) {
                engines.add(name, &source.template);
            }
        }
        for (name, source) in &self.parts {
            if !broken.contains(&source.file) {
                engines.add(name, &source.template);
            }
        }
        Compiled {
            engines,
            folders: self.folders,
            problems,
            own: BTreeSet::new(),
            texts: BTreeMap::new(),
            not_included,
        }
    }
}

/// The template is one `{{json …}}` and nothing else.
fn is_json_alone(template: &Template) -> bool {
    match template.elements.as_slice() {
        [TemplateElement::Expression(call)] => match &call.name {
            Parameter::Name(name) => name == "json",
            Parameter::Path(Path::Relative((_, raw))) => raw == "json",
            _ => false,
        },
        _ => false,
    }
}

/// Whatever has no more than a name of its own stands for it in a tag: `{{rule}}` is `{{rule.name}}`. `depth` is how many
/// blocks around the tag have a `this` of their own.
fn put_out_names(template: &mut Template, depth: usize) {
    for element in &mut template.elements {
        match element {
            TemplateElement::Expression(call) if call.params.is_empty() && call.hash.is_empty() => {
                let named = name_of(&call.name).filter(|name| is_named(name, depth));
                if let Some(Ok(path)) = named.map(|name| Path::parse(&format!("{name}.name"))) {
                    call.name = Parameter::Path(path);
                }
            }
            TemplateElement::HelperBlock(call) => {
                let enters = name_of(&call.name).is_some_and(|name| matches!(name, "each" | "with"));
                let inner = depth + usize::from(enters);
                call.template.iter_mut().for_each(|template| put_out_names(template, inner));
                call.inverse.iter_mut().for_each(|template| put_out_names(template, depth));
            }
            TemplateElement::PartialBlock(call) => {
                call.template.iter_mut().for_each(|template| put_out_names(template, depth));
            }
            _ => {}
        }
    }
}

/// The path leads to one of the outermost names, from so many blocks further in.
fn is_named(path: &str, depth: usize) -> bool {
    let name = path.strip_prefix("@root.").or_else(|| path.strip_prefix(&"../".repeat(depth)));
    name.is_some_and(|name| NAMED.contains(&name))
}
