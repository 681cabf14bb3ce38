//! The `where:` condition: a CEL expression over `message`, `client`, `staff` and `account`.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, LazyLock};
use std::thread::Builder;

use cel::common::ast::{CallExpr, EntryExpr, Expr, LiteralValue, SourceInfo, operators};
use cel::{Context, Env, ExecutionError, IdedExpr, ParseErrors, Value};

use crate::model::message::Message;
use crate::model::names::{Late, Names};
use crate::parallel;

use super::{bindings, kinds, vocabulary};

pub(crate) use super::kinds::regex_fault;

/// A longer expression is refused: it belongs into several rules.
const TEXT_CHARS_MAX: usize = 2_000;
/// Brackets and calls inside one another.
const DEPTH_MAX: u16 = 32;
/// Debug builds need 50 KiB and more for each level of nesting.
const PARSER_STACK_BYTES: usize = 64 * 1024 * 1024;
/// Rounds that the loops (`exists`, `all`, `map`, …) of one judgement may make altogether.
const ROUNDS_MAX: u32 = 1_000;
/// What the language says of a pattern that is none.
const NO_PATTERN: &str = "not a valid regex";
/// The function that counts a round; no expression can name it, as `@` is no letter.
const ROUND: &str = "@round";

pub(super) static ENVIRONMENT: LazyLock<Arc<Env>> =
    LazyLock::new(|| Arc::new(Env::stdlib().with_optional_support(false)));

/// A compiled `where:`.
#[derive(Debug)]
pub struct Expression {
    text: String,
    root: IdedExpr,
    uses: vocabulary::Uses,
}

impl Expression {
    /// Compiles it; the error names what is wrong and, where known, the place inside the text
    /// (line and column from 1).
    pub fn compile(text: &str) -> Result<Self, ExpressionError> {
        let compiled = parallel::map_with(deep_thread, &[text], |text| Self::compile_here(text));
        let only = compiled.ok().and_then(|mut compiled| compiled.pop());
        only.unwrap_or_else(|| {
            Err(ExpressionError::at_start("there is no room for a thread to read the condition in"))
        })
    }

    /// Compiles each of them, one after the other where there is no room for several threads.
    pub fn compile_all(texts: &[&str]) -> Vec<Result<Self, ExpressionError>> {
        let together = parallel::map_with(deep_thread, texts, |text| Self::compile_here(text));
        together.unwrap_or_else(|_| texts.iter().map(|text| Self::compile(text)).collect())
    }

    fn compile_here(text: &str) -> Result<Self, ExpressionError> {
        if text.trim().is_empty() {
            return Err(ExpressionError::at_start("the condition is empty"));
        }
        let length = text.chars().count();
        if length > TEXT_CHARS_MAX {
            return Err(ExpressionError::at_start(format!(
                "the condition has {length} characters; at most {TEXT_CHARS_MAX} are allowed"
            )));
        }
        if let Some(error) = too_deep(text) {
            return Err(error);
        }
        let (mut root, source) = parse(text)?;
        let uses = vocabulary::check(&root).map_err(|stranger| {
            let (line, column) = place(&source, text, stranger.node);
            ExpressionError { message: stranger.message, remedy: None, line, column }
        })?;
        kinds::check(&root).map_err(|clash| {
            let (line, column) = place(&source, text, clash.node);
            ExpressionError { message: clash.message, remedy: Some(clash.remedy), line, column }
        })?;
        count_rounds(&mut root);
        Ok(Self { text: text.to_owned(), root, uses })
    }

    /// As written.
    pub fn text(&self) -> &str {
        &self.text
    }

    /// The compiled tree.
    pub(super) fn root(&self) -> &IdedExpr {
        &self.root
    }

    /// It looks at `client`, `staff` or the business, beyond their uids.
    pub fn needs_names(&self) -> bool {
        self.uses.names
    }

    /// `Ok(true)` if the message passes; the error says why it could not be judged (it then counts as not passing).
    pub fn judge(&self, message: &Message, names: &Names) -> Result<bool, String> {
        self.decide(message, names).map_err(|undecided| undecided.why)
    }

    /// It looks at names of which some are late, and what it says of the message depends on these.
    pub fn waits_for_names(&self, message: &Message, names: &Names) -> bool {
        names.late.any() && self.needs_names() && self.decide_with(message, names, names.late).is_err()
    }

    /// The same, with what there is to say of a message that could not be judged.
    ///
    /// # Errors
    /// It could not be judged.
    pub fn decide(&self, message: &Message, names: &Names) -> Result<bool, Undecided> {
        self.decide_with(message, names, Late::default())
    }

    /// Of who is `left_out` nothing is known: whatever depends on him cannot be judged.
    fn decide_with(&self, message: &Message, names: &Names, left_out: Late) -> Result<bool, Undecided> {
        let mut context = Context::with_env(Arc::clone(&ENVIRONMENT));
        context.add_variable_from_value("message", bindings::message(message, self.uses.raw));
        context.add_variable_from_value("account", bindings::account(message, names, left_out.business));
        if !left_out.client {
            context.add_variable_from_value("client", bindings::client(message, names));
        }
        if !left_out.staff {
            context.add_variable_from_value("staff", bindings::staff(message, names));
        }
        let rounds = AtomicU32::new(0);
        let round = move || {
            if rounds.fetch_add(1, Ordering::Relaxed) < ROUNDS_MAX {
                return Ok(Value::Bool(true));
            }
            let message = format!("its loops make more than {ROUNDS_MAX} rounds");
            Err(ExecutionError::FunctionError { function: ROUND.to_owned(), message })
        };
        let other = |why: String| Undecided { why, mistaken: false };
        context.add_function(ROUND, round).map_err(|error| other(error.to_string()))?;
        let judged = catch_unwind(AssertUnwindSafe(|| Value::resolve(&self.root, &context)));
        match judged {
            Ok(Ok(Value::Bool(passes))) => Ok(passes),
            Ok(Ok(value)) => {
                let why = format!("it gives a value of type {}, not true or false", value.type_of());
                Err(Undecided { why, mistaken: !self.uses.raw })
            }
            Ok(Err(error)) => Err(Undecided {
                why: in_words(&error),
                // Of what a real message has in `raw`, a sample says nothing.
                mistaken: is_mistake(&error) && !self.uses.raw,
            }),
            Err(_) => Err(other("a value is out of the range that can be calculated with".to_owned())),
        }
    }
}

/// Why a message could not be judged.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Undecided {
    /// In words.
    pub why: String,
    /// It is the condition's fault, whatever the message holds: kinds that do not go together, or a pattern that is none.
    pub mistaken: bool,
}

/// A `where:` that does not compile.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ExpressionError {
    /// In words.
    pub message: String,
    /// What to do; `None` where it does not even make a sentence of CEL.
    pub remedy: Option<String>,
    /// Line inside the text, from 1.
    pub line: usize,
    /// Column inside the line, from 1, in characters.
    pub column: usize,
}

impl ExpressionError {
    /// Of the text as a whole.
    fn at_start(message: impl Into<String>) -> Self {
        Self { message: message.into(), remedy: None, line: 1, column: 1 }
    }
}

/// The generated parser needs a deep stack even for modest nesting.
fn deep_thread() -> Builder {
    Builder::new().stack_size(PARSER_STACK_BYTES)
}

/// Parses; should the generated parser ever panic, that must not end the relay.
fn parse(text: &str) -> Result<(IdedExpr, SourceInfo), ExpressionError> {
    let parsed = catch_unwind(|| {
        let parser = ENVIRONMENT.parser().max_recursion_depth(DEPTH_MAX);
        parser.parse_with_source_info(text).map_err(|errors| syntax_error(&errors, text))
    });
    parsed.unwrap_or_else(|_| Err(ExpressionError::at_start("the condition cannot be read as CEL")))
}

/// Brackets are counted before parsing, as the parser's own limit reports no place. Brackets in a text count too,
/// which harms nobody: they close again or are few.
fn too_deep(text: &str) -> Option<ExpressionError> {
    let (mut depth, mut line, mut column) = (0_u16, 1, 0);
    for c in text.chars() {
        column += 1;
        match c {
            '(' | '[' | '{' => depth += 1,
            ')' | ']' | '}' => depth = depth.saturating_sub(1),
            '\n' => (line, column) = (line + 1, 0),
            _ => {}
        }
        if depth > DEPTH_MAX {
            let message = format!("brackets are nested more than {DEPTH_MAX} deep");
            return Some(ExpressionError { message, remedy: None, line, column });
        }
    }
    None
}

/// The first error of the parser, its grammar's jargon taken out.
fn syntax_error(errors: &ParseErrors, text: &str) -> ExpressionError {
    let Some(first) = errors.errors.first() else {
        return ExpressionError::at_start("the condition cannot be read");
    };
    let said = first.msg.strip_prefix("Syntax error: ").unwrap_or(&first.msg);
    let quoted = said.split_once('\'').and_then(|(_, rest)| rest.split(" expecting").next());
    let found = quoted.and_then(|rest| rest.rsplit_once('\'')).map_or("", |(found, _)| found.trim());
    let message = if found.ends_with("<EOF>") {
        "the condition ends too early: something is missing at its end".to_owned()
    } else if found == "=" {
        "`=` cannot stand here; equality is written `==`".to_owned()
    } else if said.starts_with("token recognition error") {
        format!("`{found}` cannot stand here; is a quotation mark missing or left open?")
    } else if ["mismatched", "extraneous", "no viable"].iter().any(|start| said.starts_with(start)) {
        format!("`{found}` cannot stand here")
    } else if said.starts_with("missing ") {
        format!(
            "something is missing before `{}`",
            said.rsplit(" at ").next().unwrap_or_default().trim_matches('\'')
        )
    } else if said.contains("ecursion") || said == "UNKNOWN" {
        format!("the condition is nested more than {DEPTH_MAX} deep, or cannot be read as CEL")
    } else {
        said.to_owned()
    };
    let line = usize::try_from(first.pos.0).unwrap_or(1).max(1);
    let column = usize::try_from(first.pos.1).unwrap_or(1).max(1);
    let end = text.lines().nth(line - 1).map_or(0, |line| line.chars().count()) + 1;
    ExpressionError { message, remedy: None, line, column: column.min(end) }
}

/// Line and column of a node, from 1: of the name where the node is a field or a call.
fn place(source: &SourceInfo, text: &str, node: u64) -> (usize, usize) {
    let mut offset = source.offset_for(node).map_or(0, |(start, _)| start as usize);
    let rest = text.get(offset..).unwrap_or_default();
    if let Some(field) = rest.strip_prefix('.') {
        offset += 1 + field.len() - field.trim_start().len();
    } else if rest.starts_with('(') {
        let name = |c: char| c.is_alphanumeric() || c == '_';
        offset = text[..offset].trim_end_matches(name).len();
    }
    let before = text.get(..offset).unwrap_or_default();
    let line_start = before.rfind('\n').map_or(0, |end| end + 1);
    (before.matches('\n').count() + 1, before[line_start..].chars().count() + 1)
}

/// Has every loop count its rounds: what it asks in each becomes `@round() ? … : null`.
fn count_rounds(node: &mut IdedExpr) {
    match &mut node.expr {
        Expr::Call(call) => {
            call.target.iter_mut().for_each(|target| count_rounds(target));
            call.args.iter_mut().for_each(count_rounds);
        }
        Expr::List(list) => list.elements.iter_mut().for_each(count_rounds),
        Expr::Select(select) => count_rounds(&mut select.operand),
        Expr::Map(map) => {
            for entry in &mut map.entries {
                if let EntryExpr::MapEntry(entry) = &mut entry.expr {
                    count_rounds(&mut entry.key);
                    count_rounds(&mut entry.value);
                }
            }
        }
        Expr::Comprehension(fold) => {
            let parts = [&mut fold.iter_range, &mut fold.accu_init, &mut fold.loop_step, &mut fold.result];
            parts.into_iter().for_each(count_rounds);
            // What is asked in every round: the loop's condition, else (`map`, `filter`) what its step does first.
            // A literal condition has to stay one, as it is what lets `map` and `filter` build their list in place.
            if matches!(fold.loop_cond.expr, Expr::Literal(_)) {
                count_step(&mut fold.loop_step);
            } else {
                count(&mut fold.loop_cond);
            }
        }
        Expr::Unspecified | Expr::Ident(_) | Expr::Literal(_) | Expr::Struct(_) => {}
    }
}

/// `node` becomes `@round() ? node : null`.
fn count(node: &mut IdedExpr) {
    let call = |name: &str, args| {
        let call = CallExpr { func_name: name.to_owned(), target: None, args };
        IdedExpr { id: 0, expr: Expr::Call(call) }
    };
    let inner = std::mem::take(node);
    let nothing = IdedExpr { id: 0, expr: Expr::Literal(LiteralValue::Null) };
    *node = call(operators::CONDITIONAL, vec![call(ROUND, Vec::new()), inner, nothing]);
}

/// Counts in the guard of `guard ? result + [item] : result`, or in the item of `result + [item]`.
fn count_step(step: &mut IdedExpr) {
    let Expr::Call(call) = &mut step.expr else { return };
    if call.func_name == operators::CONDITIONAL {
        call.args.first_mut().into_iter().for_each(count);
    } else if let Some(IdedExpr { expr: Expr::List(list), .. }) = call.args.last_mut() {
        list.elements.first_mut().into_iter().for_each(count);
    }
}

/// Whether it would fail alike for every message that has the fields.
fn is_mistake(error: &ExecutionError) -> bool {
    match error {
        ExecutionError::NoSuchOverload(_)
        | ExecutionError::ValuesNotComparable(..)
        | ExecutionError::UnexpectedType { .. } => true,
        ExecutionError::FunctionError { message, .. } => message.contains(NO_PATTERN),
        _ => false,
    }
}

/// Why a judgement failed. Never quotes a value, which may be a whole message.
fn in_words(error: &ExecutionError) -> String {
    match error {
        ExecutionError::NoSuchKey(name) => format!("`{name}` is not known for this message"),
        ExecutionError::NoSuchOverload(overload) => {
            let function = overload.function().trim_matches(['_', '@']);
            format!("`{function}` does not go with {}", overload.argument_types().join(" and "))
        }
        ExecutionError::FunctionError { message, .. } if message.contains(NO_PATTERN) => {
            let why = message.lines().last().unwrap_or_default().trim_start_matches("error: ");
            format!("the pattern of `matches` is no regular expression: {why}")
        }
        ExecutionError::FunctionError { message, .. } => {
            message.lines().next().unwrap_or_default().to_owned()
        }
        ExecutionError::UndeclaredReference(name) => format!("`{name}` does not exist"),
        ExecutionError::ValuesNotComparable(..) => "it compares values of different kinds".to_owned(),
        ExecutionError::UnexpectedType { got, want } => format!("it gives {got} where {want} is needed"),
        ExecutionError::DivisionByZero(_) | ExecutionError::RemainderByZero(_) => {
            "it divides by zero".to_owned()
        }
        ExecutionError::Overflow(..) => "a calculation overflows".to_owned(),
        ExecutionError::IndexOutOfBounds(_) => "an index is outside its list".to_owned(),
        _ => "a value in it has a kind that cannot be used like this".to_owned(),
    }
}

#[cfg(test)]
#[path = "expression_tests.rs"]
mod tests;
