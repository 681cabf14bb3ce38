//! The helpers that templates may call: their names, how many arguments each takes, and how they get them.

mod logic;
mod markup;
mod text;
mod time;

use handlebars::{
    Context, Handlebars, Helper, HelperDef, HelperResult, Output, PathAndJson, RenderContext, RenderError,
    RenderErrorReason, ScopedJson,
};
use jiff::Timestamp;
use jiff::tz::TimeZone;
use serde_json::Value;

use super::escape::Kind;

/// A helper that gives a value; it is escaped like any other.
type Give = fn(&Args<'_>) -> Result<Value, String>;
/// A helper that writes markup of its own and escapes what it puts in.
type Write = fn(Kind, &Args<'_>) -> Result<String, String>;

/// What a helper does.
#[derive(Clone, Copy)]
enum Deed {
    Give(Give),
    Write(Write),
}

/// A helper's name, its arguments and its deed.
struct Spec {
    name: &'static str,
    least: usize,
    most: usize,
    deed: Deed,
}

const MANY: usize = 16;

const fn give(name: &'static str, least: usize, most: usize, deed: Give) -> Spec {
    Spec { name, least, most, deed: Deed::Give(deed) }
}

const fn write(name: &'static str, least: usize, most: usize, deed: Write) -> Spec {
    Spec { name, least, most, deed: Deed::Write(deed) }
}

const SPECS: &[Spec] = &[
    give("and", 1, MANY, logic::and),
    give("or", 1, MANY, logic::or),
    give("not", 1, 1, logic::not),
    give("eq", 2, 2, logic::eq),
    give("ne", 2, 2, logic::ne),
    give("gt", 2, 2, logic::gt),
    give("gte", 2, 2, logic::gte),
    give("lt", 2, 2, logic::lt),
    give("lte", 2, 2, logic::lte),
    give("default", 2, MANY, logic::default),
    give("contains", 2, 2, logic::contains),
    give("upper", 1, 1, text::upper),
    give("lower", 1, 1, text::lower),
    give("humanize", 1, 1, text::humanize),
    give("truncate", 2, 2, text::truncate),
    give("first_line", 1, 1, text::first_line),
    give("join", 1, 2, text::join),
    give("plural", 2, 3, text::plural),
    give("minus", 2, 2, logic::minus),
    give("money", 2, 2, text::money),
    give("json", 1, 1, text::json),
    give("plain", 1, 1, text::plain),
    give("date", 1, 3, time::date),
    give("relative", 1, 1, time::relative),
    give("duration", 1, 1, time::duration),
    write("link", 1, 2, markup::link),
    write("mailto", 1, 2, markup::mailto),
    write("tel", 1, 2, markup::tel),
    write("quote", 1, 2, markup::quote),
    write("paragraphs", 1, 1, markup::paragraphs),
    write("table", 3, MANY, markup::table),
];

/// Blocks and helpers of the language itself: (name, arguments, used as a block).
pub(super) const BUILT_IN: &[(&str, usize, bool)] = &[
    ("if", 1, true),
    ("unless", 1, true),
    ("each", 1, true),
    ("with", 1, true),
    ("lookup", 2, false),
    ("raw", 0, true),
];

/// How many arguments a helper takes, at the least and at the most.
pub(super) fn arity(name: &str) -> Option<(usize, usize)> {
    SPECS.iter().find(|spec| spec.name == name).map(|spec| (spec.least, spec.most))
}

/// The names of all helpers, the language's own among them.
pub(super) fn names() -> impl Iterator<Item = &'static str> {
    SPECS.iter().map(|spec| spec.name).chain(BUILT_IN.iter().map(|(name, ..)| *name))
}

/// A pattern for `date` that cannot be used, in words.
pub(super) fn date_pattern_problem(pattern: &str) -> Option<String> {
    time::pattern_problem(pattern)
}

/// Makes all helpers known to an engine whose output is of this kind.
pub(super) fn register(engine: &mut Handlebars<'static>, kind: Kind) {
    for spec in SPECS {
        engine.register_helper(spec.name, Box::new(Bound { name: spec.name, deed: spec.deed, kind }));
    }
    engine.register_helper("helperMissing", Box::new(Missing));
}

/// A helper within an engine.
struct Bound {
    name: &'static str,
    deed: Deed,
    kind: Kind,
}

impl Bound {
    fn args<'a>(&self, helper: &'a Helper<'_>, context: &'a Context) -> Args<'a> {
        let params = helper.params().iter().map(Arg::of).collect();
        Args { params, data: context.data(), kind: self.kind }
    }

    fn failed(&self, why: &str) -> RenderError {
        RenderErrorReason::Other(format!("helper {}: {why}", self.name)).into()
    }
}

impl HelperDef for Bound {
    fn call_inner<'reg: 'rc, 'rc>(
        &self,
        helper: &Helper<'rc>,
        _: &'reg Handlebars<'reg>,
        context: &'rc Context,
        _: &mut RenderContext<'reg, 'rc>,
    ) -> Result<ScopedJson<'rc>, RenderError> {
        match self.deed {
            Deed::Give(give) => {
                give(&self.args(helper, context)).map(ScopedJson::Derived).map_err(|why| self.failed(&why))
            }
            Deed::Write(_) => Err(RenderErrorReason::Unimplemented.into()),
        }
    }

    fn call<'reg: 'rc, 'rc>(
        &self,
        helper: &Helper<'rc>,
        _: &'reg Handlebars<'reg>,
        context: &'rc Context,
        _: &mut RenderContext<'reg, 'rc>,
        out: &mut dyn Output,
    ) -> HelperResult {
        let args = self.args(helper, context);
        let text = match self.deed {
            Deed::Give(give) => give(&args).map(|value| self.kind.escape(&shown(&value))),
            Deed::Write(write) => write(self.kind, &args),
        };
        out.write(&text.map_err(|why| self.failed(&why))?)?;
        Ok(())
    }
}

/// Puts a visible marker where a field has no value.
struct Missing;

impl HelperDef for Missing {
    fn call<'reg: 'rc, 'rc>(
        &self,
        helper: &Helper<'rc>,
        _: &'reg Handlebars<'reg>,
        _: &'rc Context,
        _: &mut RenderContext<'reg, 'rc>,
        out: &mut dyn Output,
    ) -> HelperResult {
        out.write(&marker(helper.name()))?;
        Ok(())
    }
}

/// What stands for a value that is missing.
fn marker(name: &str) -> String {
    format!("‹{name}?›")
}

/// A helper's arguments and what surrounds them.
struct Args<'a> {
    params: Vec<Arg<'a>>,
    data: &'a Value,
    kind: Kind,
}

/// One argument.
struct Arg<'a> {
    value: &'a Value,
    name: Option<&'a str>,
    missing: bool,
}

impl<'a> Arg<'a> {
    fn of(param: &'a PathAndJson<'_>) -> Self {
        let missing = param.is_value_missing() || param.value().is_null();
        Self { value: param.value(), name: param.relative_path().map(String::as_str), missing }
    }

    /// The argument as text; the marker if it is missing.
    fn text(&self) -> String {
        if self.missing { marker(self.name.unwrap_or("value")) } else { shown(self.value) }
    }

    /// As the language's `if` sees it.
    fn truthy(&self) -> bool {
        !self.missing
            && match self.value {
                Value::Null => false,
                Value::Bool(yes) => *yes,
                Value::Number(number) => number.as_f64() != Some(0.0),
                Value::String(text) => !text.is_empty(),
                Value::Array(list) => !list.is_empty(),
                Value::Object(_) => true,
            }
    }

    /// A number, also where it is written as text.
    fn number(&self) -> Option<f64> {
        match self.value {
            Value::Number(number) => number.as_f64(),
            Value::String(text) => text.trim().parse().ok(),
            _ => None,
        }
        .filter(|number: &f64| number.is_finite())
    }

    fn size(&self) -> Result<usize, String> {
        let number =
            self.number().filter(|number| *number >= 1.0).ok_or("the length is not a positive number")?;
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "positive, and a cast saturates"
        )]
        Ok(number as usize)
    }
}

impl Args<'_> {
    /// The argument at `index`; the engine has seen to it that required ones are there.
    fn at(&self, index: usize) -> Result<&Arg<'_>, String> {
        self.params.get(index).ok_or_else(|| format!("argument {} is missing", index + 1))
    }

    fn zone(&self) -> TimeZone {
        let name = self.data.get("zone").and_then(Value::as_str).unwrap_or("UTC");
        time::zone_of(name).unwrap_or(TimeZone::UTC)
    }

    fn now(&self) -> Option<Timestamp> {
        self.data.get("now").and_then(Value::as_str).and_then(|text| text.parse().ok())
    }
}

/// A value as it is put out.
fn shown(value: &Value) -> String {
    match value {
        Value::Null => String::new(),
        Value::String(text) => text.clone(),
        Value::Array(list) => list.iter().map(shown).collect::<Vec<_>>().join(", "),
        other => other.to_string(),
    }
}
