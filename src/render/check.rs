//! Walks a parsed template and finds what would only go wrong when it is rendered: unknown fields, helpers and
//! partials also inside `#if` and `#each`, and partials that include each other.

use std::collections::{HashMap, HashSet};

use handlebars::template::{
    BlockParam, DecoratorTemplate, HelperTemplate, Parameter, Subexpression, TemplateElement,
};
use handlebars::{Path, Template};
use serde_json::Value;

use super::TemplateProblem;
use super::helpers;
use super::schema::{self, Shape};
use super::tags;

/// Partials in partials may go so deep, and one part may unfold to so many tags.
const DEPTH_MAX: usize = 16;
const STEPS_MAX: usize = 20_000;

/// A parsed text and where it came from.
#[derive(Debug)]
pub(super) struct Source {
    /// The file, relative to the templates' folder.
    pub(super) file: String,
    /// The whole file's text.
    pub(super) text: String,
    /// Where the template starts in the file; `None` if the file is the template.
    pub(super) leaf_at: Option<usize>,
    /// It is asked for only, so that an object or a list may stand in it.
    pub(super) asked: bool,
    /// As parsed.
    pub(super) template: Template,
}

/// The walk over one part with everything it includes.
pub(super) struct Walk<'a> {
    partials: &'a HashMap<String, Source>,
    inline: Vec<(&'a str, &'a Template, &'a Source)>,
    frames: Vec<Frame>,
    open: Vec<&'a str>,
    has_block: bool,
    steps: usize,
    pub(super) problems: Vec<TemplateProblem>,
    /// The partials that were included so far.
    pub(super) included: HashSet<&'a str>,
}

/// What names mean within one block.
struct Frame {
    this: Shape,
    named: Vec<(String, Shape)>,
}

/// A tag's place.
#[derive(Clone, Copy)]
struct Tag<'a> {
    source: &'a Source,
    at: usize,
}

impl<'a> Walk<'a> {
    pub(super) fn new(partials: &'a HashMap<String, Source>) -> Self {
        let frames = vec![Frame { this: schema::ROOT, named: Vec::new() }];
        Self {
            partials,
            inline: Vec::new(),
            frames,
            open: Vec::new(),
            has_block: false,
            steps: 0,
            problems: Vec::new(),
            included: HashSet::new(),
        }
    }

    /// Checks one part.
    pub(super) fn part(&mut self, source: &'a Source) {
        self.template(&source.template, source, source.leaf_at.unwrap_or(0));
    }

    fn template(&mut self, template: &'a Template, source: &'a Source, start: usize) {
        for (index, element) in template.elements.iter().enumerate() {
            self.steps += 1;
            let at = match (template.mapping.get(index), source.leaf_at) {
                (Some(place), None) => tags::offset(&source.text, place.0, place.1),
                _ => start,
            };
            let tag = Tag { source, at };
            if self.steps > STEPS_MAX {
                let message = "partials unfold to too many tags".to_owned();
                self.report(tag, "", message, Some("include fewer partials".to_owned()));
                return;
            }
            match element {
                TemplateElement::RawString(_) | TemplateElement::Comment(_) => {}
                TemplateElement::Expression(call) | TemplateElement::HtmlExpression(call) => {
                    self.expression(call, tag);
                }
                TemplateElement::HelperBlock(call) => self.block(call, tag),
                TemplateElement::PartialExpression(call) | TemplateElement::PartialBlock(call) => {
                    self.partial(call, tag);
                }
                TemplateElement::DecoratorExpression(call) | TemplateElement::DecoratorBlock(call) => {
                    self.decorator(call, tag);
                }
                _ => self.report(tag, "", "this kind of tag is not supported".to_owned(), None),
            }
        }
    }

    /// `{{field}}` or `{{helper argument…}}`
    fn expression(&mut self, call: &'a HelperTemplate, tag: Tag<'a>) {
        let Some(name) = name_of(&call.name) else {
            self.parameter(&call.name, tag);
            return;
        };
        if call.params.is_empty() && call.hash.is_empty() && helpers::arity(name).is_none() {
            match self.parameter(&call.name, tag) {
                Some(shape @ (Shape::Object(_) | Shape::List(_))) if !tag.source.asked => {
                    let help = match shape {
                        Shape::Object(fields) => {
                            fields.first().map(|(field, _)| format!("write {name}.{field}, for example"))
                        }
                        _ => Some(format!("write {{{{join {name} \", \"}}}} or {{{{#each {name}}}}}")),
                    };
                    self.report(tag, name, format!("`{name}` is no single value"), help);
                }
                _ => {}
            }
            return;
        }
        self.call(name, &call.params, call.hash.keys().next(), tag);
    }

    /// A helper with its arguments.
    fn call(&mut self, name: &str, params: &'a [Parameter], named: Option<&String>, tag: Tag<'a>) {
        let built_in = helpers::BUILT_IN.iter().find(|(known, ..)| *known == name);
        if let Some((least, most)) = helpers::arity(name) {
            if params.len() < least || params.len() > most {
                let takes = if least == most { least.to_string() } else { format!("{least} to {most}") };
                let message =
                    format!("helper `{name}` takes {takes} arguments, here it has {}", params.len());
                self.report(
                    tag,
                    name,
                    message,
                    Some("docs/templates.md shows each helper in use".to_owned()),
                );
            }
            if let Some(named) = named {
                let message = format!("helper `{name}` takes no named argument `{named}`");
                self.report(tag, named, message, None);
            }
        } else if let Some((_, takes, true)) = built_in {
            let message = format!("`{name}` is a block");
            let shown = if *takes == 0 { String::new() } else { " …".to_owned() };
            self.report(tag, name, message, Some(format!("write {{{{#{name}{shown}}}}}…{{{{/{name}}}}}")));
        } else if built_in.is_none() {
            let help = schema::nearest(name, helpers::names()).map(|near| format!("did you mean `{near}`?"));
            self.report(tag, name, format!("there is no helper `{name}`"), help);
        }
        if let (Some(Parameter::Literal(Value::String(pattern))), "date") = (params.get(1), name)
            && let Some(message) = helpers::date_pattern_problem(pattern)
        {
            self.report(tag, pattern, message, Some("such as %a %-d %b %Y, %H:%M".to_owned()));
        }
        for param in params {
            self.parameter(param, tag);
        }
    }

    /// `{{#name …}}…{{/name}}`
    fn block(&mut self, call: &'a HelperTemplate, tag: Tag<'a>) {
        let name = name_of(&call.name).unwrap_or_default();
        let known = helpers::BUILT_IN.iter().find(|(known, _, block)| *known == name && *block);
        let Some((_, takes, _)) = known else {
            let blocks = helpers::BUILT_IN.iter().filter(|(_, _, block)| *block).map(|(name, ..)| *name);
            let (message, help) = if helpers::arity(name).is_some() {
                (format!("helper `{name}` is no block"), Some(format!("write {{{{#if ({name} …)}}}}")))
            } else {
                let near = schema::nearest(name, blocks);
                (format!("there is no block `{name}`"), near.map(|near| format!("did you mean `{near}`?")))
            };
            self.report(tag, name, message, help);
            return;
        };
        if call.params.len() != *takes {
            let message = format!("`#{name}` takes {takes} argument, here it has {}", call.params.len());
            let help = "put several in brackets with and, or, eq: {{#if (or a b)}}".to_owned();
            self.report(tag, name, message, Some(help));
        }
        let shape = call.params.first().and_then(|param| self.parameter(param, tag));
        let entered = match name {
            "each" => Some(self.each(call, shape.unwrap_or(Shape::Any), tag)),
            "with" => {
                let this = shape.unwrap_or(Shape::Any);
                let named = block_names(call).into_iter().map(|name| (name, this)).collect();
                Some(Frame { this, named })
            }
            _ => None,
        };
        let entering = entered.is_some();
        self.frames.extend(entered);
        if let Some(template) = call.template.as_ref().filter(|_| name != "raw") {
            self.template(template, tag.source, tag.at);
        }
        if entering {
            self.frames.pop();
        }
        if let Some(inverse) = &call.inverse {
            self.template(inverse, tag.source, tag.at);
        }
    }

    fn each(&mut self, call: &'a HelperTemplate, shape: Shape, tag: Tag<'a>) -> Frame {
        let this = match shape {
            Shape::List(item) => *item,
            Shape::Any | Shape::Object(_) => Shape::Any,
            Shape::Leaf => {
                let name = call.params.first().and_then(name_of).unwrap_or("it").to_owned();
                let help = Some(
                    "lists are items, also, resolved, by_type, message.channels and message.use_cases"
                        .to_owned(),
                );
                self.report(tag, &name, format!("`{name}` is no list"), help);
                Shape::Any
            }
        };
        let shapes = [this, Shape::Leaf];
        Frame { this, named: block_names(call).into_iter().zip(shapes).collect() }
    }

    /// `{{> name …}}` and `{{#> name …}}…{{/name}}`
    fn partial(&mut self, call: &'a DecoratorTemplate, tag: Tag<'a>) {
        let Some(name) = name_of(&call.name) else {
            let help = Some("choose between fixed partials with {{#if}}".to_owned());
            self.report(tag, "", "a partial's name must be fixed".to_owned(), help);
            return;
        };
        let mut frame =
            Frame { this: self.frames.last().map_or(Shape::Any, |frame| frame.this), named: Vec::new() };
        if let Some(shape) = call.params.first().and_then(|param| self.parameter(param, tag)) {
            frame.this = shape;
        }
        for (key, value) in &call.hash {
            let shape = self.parameter(value, tag).unwrap_or(Shape::Any);
            frame.named.push((key.clone(), shape));
        }
        if name == "@partial-block" {
            if let (false, None) = (self.has_block, &call.template) {
                let help = Some("include it as a block: {{#> name}}…{{/name}}".to_owned());
                self.report(
                    tag,
                    name,
                    "nothing is put into this layout where it is included".to_owned(),
                    help,
                );
            }
            return;
        }
        let inlined = self.inline.len();
        if let Some(block) = &call.template {
            self.template(block, tag.source, tag.at);
        }
        let inline = self.inline.iter().rev().find(|(known, ..)| *known == name).copied();
        let found = inline
            .or_else(|| self.partials.get_key_value(name).map(|(name, s)| (name.as_str(), &s.template, s)));
        if let Some((known, template, source)) = found {
            self.enter(known, template, source, frame, call.template.is_some(), tag);
        } else {
            let near = schema::nearest(name, self.partials.keys().map(String::as_str));
            let help = near.map_or_else(
                || format!("create _partials/{name}.hbs"),
                |near| format!("did you mean `{near}`?"),
            );
            self.report(tag, name, format!("there is no partial `{name}`"), Some(help));
        }
        self.inline.truncate(inlined);
    }

    fn enter(
        &mut self,
        name: &'a str,
        template: &'a Template,
        source: &'a Source,
        frame: Frame,
        has_block: bool,
        tag: Tag<'a>,
    ) {
        if self.open.contains(&name) || self.open.len() >= DEPTH_MAX {
            let chain: Vec<&str> = self.open.iter().copied().chain([name]).collect();
            let message = format!("partials include each other without end: {}", chain.join(" → "));
            self.report(tag, name, message, Some("take one of the inclusions out".to_owned()));
            return;
        }
        self.included.insert(name);
        self.open.push(name);
        self.frames.push(frame);
        let outer = std::mem::replace(&mut self.has_block, has_block);
        self.template(template, source, 0);
        self.has_block = outer;
        self.frames.pop();
        self.open.pop();
    }

    /// `{{#*inline "name"}}…{{/inline}}`
    fn decorator(&mut self, call: &'a DecoratorTemplate, tag: Tag<'a>) {
        if let (Some("inline"), Some(Parameter::Literal(Value::String(name))), Some(template)) =
            (name_of(&call.name), call.params.first(), &call.template)
        {
            self.inline.push((name, template, tag.source));
            return;
        }
        let help = Some("the one decorator is {{#*inline \"name\"}}…{{/inline}}".to_owned());
        self.report(tag, "", "there is no such decorator".to_owned(), help);
    }

    /// An argument or a field; its shape, if it is known.
    fn parameter(&mut self, param: &'a Parameter, tag: Tag<'a>) -> Option<Shape> {
        match param {
            Parameter::Literal(_) => Some(Shape::Leaf),
            Parameter::Name(raw) | Parameter::Path(Path::Relative((_, raw)) | Path::Local((_, _, raw))) => {
                self.field(raw, tag)
            }
            Parameter::Subexpression(sub) => {
                self.subexpression(sub, tag);
                Some(Shape::Any)
            }
            _ => None,
        }
    }

    fn subexpression(&mut self, sub: &'a Subexpression, tag: Tag<'a>) {
        if let TemplateElement::Expression(call) = sub.as_element() {
            self.expression(call, tag);
        }
    }

    /// What a dotted name stands for; a problem if it stands for nothing.
    fn field(&mut self, raw: &str, tag: Tag<'a>) -> Option<Shape> {
        if let Some(local) = raw.strip_prefix('@').filter(|rest| !rest.starts_with("root")) {
            let known = ["index", "key", "first", "last"];
            let name = local.trim_start_matches("../");
            if !known.contains(&name) {
                let help = schema::nearest(name, known).map(|near| format!("did you mean `@{near}`?"));
                self.report(tag, raw, format!("there is no `{raw}`"), help);
            }
            return Some(Shape::Leaf);
        }
        let (mut shape, mut names) = self.start(raw);
        if let Some(named) = names.first().and_then(|first| self.named(first)) {
            shape = named;
            names.remove(0);
        }
        for (index, name) in names.iter().enumerate() {
            let Some(next) = shape.field(name) else {
                let before = names[..index].join(".");
                self.unknown_field(raw, &before, &names[index..], shape, tag);
                return None;
            };
            shape = next;
        }
        Some(shape)
    }

    /// Where a path begins and which names follow.
    fn start<'r>(&self, raw: &'r str) -> (Shape, Vec<&'r str>) {
        let mut rest = raw;
        let mut up = 0;
        let mut root = false;
        if let Some(after) = rest.strip_prefix("@root") {
            root = true;
            rest = after;
        }
        while let Some(after) = rest.strip_prefix("../") {
            up += 1;
            rest = after;
        }
        let names = rest
            .split(['.', '/'])
            .map(|name| name.trim_matches(['[', ']']))
            .filter(|name| !name.is_empty() && *name != "this")
            .collect();
        let frame = self.frames.len().saturating_sub(1 + up);
        let this = if root { Some(schema::ROOT) } else { self.frames.get(frame).map(|frame| frame.this) };
        (this.unwrap_or(Shape::Any), names)
    }

    fn named(&self, name: &str) -> Option<Shape> {
        let all = self.frames.iter().rev().flat_map(|frame| &frame.named);
        all.into_iter().find(|(known, _)| known == name).map(|(_, shape)| *shape)
    }

    fn unknown_field(&mut self, raw: &str, before: &str, names: &[&str], shape: Shape, tag: Tag<'a>) {
        let Some((name, after)) = names.split_first() else { return };
        let after = after.iter().fold(String::new(), |all, name| all + "." + name);
        let prefix = if before.is_empty() { String::new() } else { format!("{before}.") };
        // A field that is there, one step further in, is nearer than one of a similar name.
        let exact = before.is_empty().then(|| Shape::paths_to(name).into_iter().next()).flatten();
        let help = if let Some(path) = exact {
            Some(format!("did you mean `{path}{after}`?"))
        } else if let Some(near) = schema::nearest(name, shape.names()) {
            Some(format!("did you mean `{prefix}{near}{after}`?"))
        } else if let Some(path) = Shape::paths_to(name).first() {
            Some(format!("did you mean `{path}`?"))
        } else if shape.names().is_empty() {
            Some(format!("`{before}` has no fields"))
        } else {
            Some(format!("known here: {}", shape.names().join(", ")))
        };
        self.report(tag, raw, format!("there is no field `{raw}`"), help);
    }

    fn report(&mut self, tag: Tag<'a>, word: &str, message: String, help: Option<String>) {
        let at = Some(word)
            .filter(|word| !word.is_empty())
            .and_then(|word| tags::find_word(&tag.source.text, tag.at, word))
            .unwrap_or(tag.at);
        let (line, column) = tags::place(&tag.source.text, at);
        let problem =
            TemplateProblem { file: tag.source.file.clone(), line, column, message, help, warning: false };
        if !self.problems.contains(&problem) {
            self.problems.push(problem);
        }
    }
}

/// A parameter's name as written, if it is one.
pub(super) fn name_of(param: &Parameter) -> Option<&str> {
    match param {
        Parameter::Name(raw) | Parameter::Path(Path::Relative((_, raw)) | Path::Local((_, _, raw))) => {
            Some(raw)
        }
        _ => None,
    }
}

/// The names in `as |item index|`.
fn block_names(call: &HelperTemplate) -> Vec<String> {
    let names: Vec<&Parameter> = match &call.block_param {
        Some(BlockParam::Single(one)) => vec![one],
        Some(BlockParam::Pair((one, two))) => vec![one, two],
        _ => Vec::new(),
    };
    names.into_iter().filter_map(name_of).map(str::to_owned).collect()
}
