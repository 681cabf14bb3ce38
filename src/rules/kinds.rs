//! Of which kind the parts of a `where:` are, as far as that is certain: so that what can never work is found at once.

use cel::IdedExpr;
use cel::common::ast::{CallExpr, Expr, LiteralValue, operators};
use regex::Regex;

/// What a value is; where that is not certain, nothing is said of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Text,
    Number,
    Truth,
    Moment,
    Duration,
    List,
    Map,
}

/// A part that can never work: the node it stands at, what is wrong and what to do.
#[derive(Debug)]
pub(super) struct Clash {
    pub(super) node: u64,
    pub(super) message: String,
    pub(super) remedy: String,
}

const MEETING_TEXTS: [&str; 3] = ["service_uid", "service_name", "interaction_type"];
const CLOCK: [&str; 10] = [
    "getFullYear",
    "getMonth",
    "getDate",
    "getDayOfMonth",
    "getDayOfWeek",
    "getDayOfYear",
    "getHours",
    "getMinutes",
    "getSeconds",
    "getMilliseconds",
];

/// The first part that can never work, if there is one.
pub(super) fn check(root: &IdedExpr) -> Result<(), Clash> {
    let mut walk = Walk { bound: Vec::new() };
    let kind = walk.kind(root)?;
    truth(root, kind)
}

struct Walk<'e> {
    /// Variables of the loops around the node, of which nothing is known.
    bound: Vec<&'e str>,
}

impl<'e> Walk<'e> {
    fn kind(&mut self, node: &'e IdedExpr) -> Result<Option<Kind>, Clash> {
        Ok(match &node.expr {
            Expr::Literal(literal) => match literal {
                LiteralValue::Boolean(_) => Some(Kind::Truth),
                LiteralValue::String(_) => Some(Kind::Text),
                LiteralValue::Int(_) | LiteralValue::UInt(_) | LiteralValue::Double(_) => Some(Kind::Number),
                LiteralValue::Bytes(_) | LiteralValue::Null => None,
            },
            Expr::Ident(_) => self.field(node),
            Expr::Select(select) => {
                self.kind(&select.operand)?;
                if select.test { Some(Kind::Truth) } else { self.field(node) }
            }
            Expr::Call(call) => self.call(node, call)?,
            Expr::List(list) => {
                for element in &list.elements {
                    self.kind(element)?;
                }
                Some(Kind::List)
            }
            Expr::Map(_) => Some(Kind::Map),
            Expr::Comprehension(fold) => {
                self.kind(&fold.iter_range)?;
                let outside = self.bound.len();
                self.bound.extend([fold.iter_var.as_str(), &fold.accu_var]);
                self.bound.extend(fold.iter_var2.as_deref());
                self.kind(&fold.loop_step)?;
                self.bound.truncate(outside);
                None
            }
            Expr::Unspecified | Expr::Struct(_) => None,
        })
    }

    /// What stands behind a dotted name.
    fn field(&self, node: &IdedExpr) -> Option<Kind> {
        let name = dotted(node)?;
        let mut parts = name.split('.');
        let root = parts.next().filter(|root| !self.bound.contains(root))?;
        let rest: Vec<&str> = parts.collect();
        match (root, rest.as_slice()) {
            ("message" | "client" | "staff" | "account", [])
            | ("message", ["meeting"])
            | ("account", ["business"]) => Some(Kind::Map),
            ("message", ["raw", ..]) => None,
            ("message", ["channels"]) => Some(Kind::List),
            ("message", ["created_at"] | ["meeting", "start_time"]) => Some(Kind::Moment),
            ("message", ["meeting", "duration"]) => Some(Kind::Number),
            ("message", ["meeting", text]) => MEETING_TEXTS.contains(text).then_some(Kind::Text),
            ("message" | "client" | "staff", [_]) | ("account", ["name"] | ["business", _]) => {
                Some(Kind::Text)
            }
            _ => None,
        }
    }

    fn call(&mut self, node: &'e IdedExpr, call: &'e CallExpr) -> Result<Option<Kind>, Clash> {
        let target = call.target.as_deref().map(|target| self.kind(target)).transpose()?.flatten();
        let mut kinds = Vec::with_capacity(call.args.len());
        for argument in &call.args {
            kinds.push(self.kind(argument)?);
        }
        let name = call.func_name.as_str();
        Ok(match (name, call.args.as_slice(), kinds.as_slice()) {
            (operators::LOGICAL_AND | operators::LOGICAL_OR, [a, b], [of_a, of_b]) => {
                truth(a, *of_a)?;
                truth(b, *of_b)?;
                Some(Kind::Truth)
            }
            (operators::LOGICAL_NOT, [inner], [of]) => {
                truth(inner, *of)?;
                Some(Kind::Truth)
            }
            (operators::CONDITIONAL, [asked, ..], [of, one, other]) => {
                truth(asked, *of)?;
                one.filter(|_| one == other)
            }
            (
                operators::EQUALS
                | operators::NOT_EQUALS
                | operators::LESS
                | operators::LESS_EQUALS
                | operators::GREATER
                | operators::GREATER_EQUALS,
                [a, b],
                [of_a, of_b],
            ) => {
                compared(node, (a, *of_a), (b, *of_b))?;
                Some(Kind::Truth)
            }
            (operators::IN | "contains" | "startsWith" | "endsWith", ..) => Some(Kind::Truth),
            ("matches", args, _) => {
                args.last().map_or(Ok(()), pattern)?;
                Some(Kind::Truth)
            }
            (operators::ADD, _, [Some(Kind::Text), Some(Kind::Text)]) | ("string", ..) => Some(Kind::Text),
            (
                operators::ADD
                | operators::SUBSTRACT
                | operators::MULTIPLY
                | operators::DIVIDE
                | operators::MODULO
                | operators::NEGATE,
                _,
                kinds,
            ) => kinds.iter().all(|kind| *kind == Some(Kind::Number)).then_some(Kind::Number),
            ("size" | "int" | "uint" | "double", ..) => Some(Kind::Number),
            ("bool", ..) => Some(Kind::Truth),
            ("timestamp", ..) => Some(Kind::Moment),
            ("duration", ..) => Some(Kind::Duration),
            (name, ..) if CLOCK.contains(&name) && target == Some(Kind::Moment) => Some(Kind::Number),
            _ => None,
        })
    }
}

/// Something that is asked has to be true or false.
fn truth(node: &IdedExpr, kind: Option<Kind>) -> Result<(), Clash> {
    let Some(kind) = kind.filter(|kind| *kind != Kind::Truth) else { return Ok(()) };
    let message = format!("{} is {}, which is neither true nor false", shown(node), kind.article());
    let remedy = match (dotted(node), kind) {
        (Some(name), Kind::Text) => {
            format!("compare it, such as {name} == \"…\", or look into it: {name}.contains(\"…\")")
        }
        (Some(name), Kind::Map) => format!("ask for a field of it, or whether it is there: has({name})"),
        (Some(name), Kind::List) => format!("ask what is in it: \"…\" in {name}"),
        _ => "compare it with something".to_owned(),
    };
    Err(Clash { node: node.id, message, remedy })
}

/// Both sides of a comparison are of one kind.
fn compared(
    node: &IdedExpr,
    (a, of_a): (&IdedExpr, Option<Kind>),
    (b, of_b): (&IdedExpr, Option<Kind>),
) -> Result<(), Clash> {
    let (Some(of_a), Some(of_b)) = (of_a, of_b) else { return Ok(()) };
    if of_a == of_b {
        return Ok(());
    }
    // The side that is written out is the one to mend.
    let literal = |node: &IdedExpr| matches!(node.expr, Expr::Literal(_));
    let ((kept, of_kept), (other, of_other)) =
        if literal(a) { ((b, of_b), (a, of_a)) } else { ((a, of_a), (b, of_b)) };
    let message = format!(
        "{} is {} and is compared with {}, which is {}",
        shown(kept),
        of_kept.article(),
        shown(other),
        of_other.article()
    );
    let remedy = match (of_kept, of_other, &other.expr) {
        (Kind::Number, _, Expr::Literal(LiteralValue::String(text)))
            if text.inner().parse::<f64>().is_ok() =>
        {
            format!("write {} without quotation marks", text.inner())
        }
        (Kind::Number, ..) => "compare it with a number, such as 60".to_owned(),
        (Kind::Text, Kind::Number, Expr::Literal(_)) => "put the number in quotation marks".to_owned(),
        (Kind::Text, ..) => "compare it with a text, such as \"Ann\"".to_owned(),
        (Kind::Moment, ..) => "compare it with a moment: timestamp(\"2026-03-01T00:00:00Z\")".to_owned(),
        (Kind::Duration, ..) => "compare it with a duration: duration(\"1h\")".to_owned(),
        (Kind::List, ..) => {
            "ask what is in it, such as \"…\" in message.channels, or for its size()".to_owned()
        }
        (Kind::Map, ..) => "compare one of its fields".to_owned(),
        (Kind::Truth, ..) => "compare it with true or false, or with nothing at all".to_owned(),
    };
    Err(Clash { node: node.id, message, remedy })
}

/// A pattern that is written out has to be one.
fn pattern(node: &IdedExpr) -> Result<(), Clash> {
    let Expr::Literal(LiteralValue::String(text)) = &node.expr else { return Ok(()) };
    let Err(error) = Regex::new(text.inner()) else { return Ok(()) };
    let message = format!("the pattern of `matches` is no regular expression: {}", regex_fault(&error));
    let remedy = "a character such as ( or [ that is meant itself has two backslashes before it: \\\\(";
    Err(Clash { node: node.id, message, remedy: remedy.to_owned() })
}

/// Why something is no regular expression, in a line.
pub(crate) fn regex_fault(error: &regex::Error) -> String {
    let words = error.to_string();
    words.lines().last().unwrap_or_default().trim_start_matches("error: ").to_owned()
}

/// `message.meeting.duration` of a plain name.
fn dotted(node: &IdedExpr) -> Option<String> {
    match &node.expr {
        Expr::Ident(name) => Some(name.clone()),
        Expr::Select(select) if !select.test => {
            Some(format!("{}.{}", dotted(&select.operand)?, select.field))
        }
        _ => None,
    }
}

fn shown(node: &IdedExpr) -> String {
    match &node.expr {
        Expr::Literal(LiteralValue::String(text)) => format!("\"{}\"", text.inner()),
        Expr::Literal(LiteralValue::Int(number)) => format!("{}", number.inner()),
        _ => dotted(node).map_or_else(|| "this".to_owned(), |name| format!("`{name}`")),
    }
}

impl Kind {
    fn article(self) -> &'static str {
        match self {
            Self::Text => "a text",
            Self::Number => "a number",
            Self::Truth => "true or false",
            Self::Moment => "a moment",
            Self::Duration => "a duration",
            Self::List => "a list",
            Self::Map => "a group of fields",
        }
    }
}
