//! The words that a `where:` may use: checked when it is compiled, so that a slip of the pen is no silent "never".

use cel::IdedExpr;
use cel::common::ast::{EntryExpr, Expr};

use crate::model::catalog::nearest;

const VARIABLES: [&str; 4] = ["message", "client", "staff", "account"];
const MESSAGE: [&str; 15] = [
    "uid",
    "activity_type",
    "message_type",
    "direction",
    "raw_type",
    "label",
    "subject",
    "body",
    "client_uid",
    "staff_uid",
    "business_uid",
    "channels",
    "created_at",
    "meeting",
    "raw",
];
const MEETING: [&str; 5] = ["service_name", "start_time", "duration", "interaction_type", "service_uid"];
const CLIENT: [&str; 4] = ["uid", "name", "email", "phone"];
const STAFF: [&str; 3] = ["uid", "name", "email"];
const ACCOUNT: [&str; 2] = ["name", "business"];
const BUSINESS: [&str; 3] = ["uid", "name", "time_zone"];
/// Names of types, as in `type(message.raw.amount) == string`.
const TYPES: [&str; 11] = [
    "bool",
    "int",
    "uint",
    "double",
    "string",
    "bytes",
    "list",
    "map",
    "null_type",
    "type",
    "google.protobuf.Timestamp",
];
const FUNCTIONS: [&str; 31] = [
    "size",
    "contains",
    "startsWith",
    "endsWith",
    "matches",
    "string",
    "int",
    "uint",
    "double",
    "bytes",
    "bool",
    "type",
    "dyn",
    "duration",
    "timestamp",
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
    // Expanded before anything is checked; here as suggestions.
    "has",
    "all",
    "exists",
    "exists_one",
    "map",
    "filter",
];

/// How many calls and selections may hang on one another: judging goes as deep as they do.
const CHAIN_MAX: usize = 128;

/// What an expression looks at.
#[derive(Debug, Default)]
pub(super) struct Uses {
    /// The client, the staff member or the business, beyond their uids.
    pub(super) names: bool,
    /// `message.raw`.
    pub(super) raw: bool,
}

/// A word that nobody knows: the node it stands at, and what to say.
#[derive(Debug)]
pub(super) struct Stranger {
    pub(super) node: u64,
    pub(super) message: String,
}

/// What the expression uses, or the first word in it that means nothing here.
pub(super) fn check(expression: &IdedExpr) -> Result<Uses, Stranger> {
    let mut walk = Walk { uses: Uses::default(), bound: Vec::new(), depth: 0 };
    walk.node(expression)?;
    Ok(walk.uses)
}

struct Walk<'e> {
    uses: Uses,
    /// Variables of the comprehensions around the node.
    bound: Vec<&'e str>,
    depth: usize,
}

impl<'e> Walk<'e> {
    fn node(&mut self, node: &'e IdedExpr) -> Result<(), Stranger> {
        if self.depth == CHAIN_MAX {
            let message = format!("more than {CHAIN_MAX} parts hang on one another here");
            return Err(Stranger { node: node.id, message });
        }
        self.depth += 1;
        let result = self.part(node);
        self.depth -= 1;
        result
    }

    fn part(&mut self, node: &'e IdedExpr) -> Result<(), Stranger> {
        match &node.expr {
            Expr::Unspecified | Expr::Literal(_) => Ok(()),
            Expr::Ident(_) | Expr::Select(_) => self.name(node),
            Expr::Call(call) => {
                Self::function(node, &call.func_name)?;
                call.target.as_deref().map_or(Ok(()), |target| self.node(target))?;
                call.args.iter().try_for_each(|argument| self.node(argument))
            }
            Expr::List(list) => list.elements.iter().try_for_each(|element| self.node(element)),
            Expr::Map(map) => map.entries.iter().try_for_each(|entry| self.entry(&entry.expr)),
            Expr::Struct(made) => Err(Stranger {
                node: node.id,
                message: format!("`{}` is no type that can be made here", made.type_name),
            }),
            Expr::Comprehension(fold) => {
                self.node(&fold.iter_range)?;
                self.node(&fold.accu_init)?;
                let outside = self.bound.len();
                self.bound.extend([fold.iter_var.as_str(), &fold.accu_var]);
                self.bound.extend(fold.iter_var2.as_deref());
                self.node(&fold.loop_cond)?;
                self.node(&fold.loop_step)?;
                self.node(&fold.result)?;
                self.bound.truncate(outside);
                Ok(())
            }
        }
    }

    fn entry(&mut self, entry: &'e EntryExpr) -> Result<(), Stranger> {
        match entry {
            EntryExpr::StructField(field) => self.node(&field.value),
            EntryExpr::MapEntry(entry) => self.node(&entry.key).and_then(|()| self.node(&entry.value)),
        }
    }

    /// `a.b.c` as far as it is a plain name; what stands before an index or a call is a node of its own.
    fn name(&mut self, node: &'e IdedExpr) -> Result<(), Stranger> {
        let mut path: Vec<(&str, u64)> = Vec::new();
        let mut inner = node;
        while let Expr::Select(select) = &inner.expr {
            path.push((&select.field, inner.id));
            inner = &select.operand;
        }
        if path.len() > CHAIN_MAX {
            let message = format!("more than {CHAIN_MAX} selections hang on one another here");
            return Err(Stranger { node: node.id, message });
        }
        let Expr::Ident(root) = &inner.expr else { return self.node(inner) };
        path.reverse();
        if self.bound.contains(&root.as_str()) || root.starts_with('@') || TYPES.contains(&root.as_str()) {
            return Ok(());
        }
        if !VARIABLES.contains(&root.as_str()) {
            return Err(unknown(inner.id, "variable", root, &VARIABLES));
        }
        self.look_at(root, &path)
    }

    fn look_at(&mut self, root: &str, path: &[(&str, u64)]) -> Result<(), Stranger> {
        let field = path.first().map(|(name, _)| *name);
        match root {
            "message" => self.uses.raw |= matches!(field, None | Some("raw")),
            "account" => {
                self.uses.names |= !matches!((field, path.get(1)), (Some("name"), _) | (_, Some(("uid", _))));
            }
            _ => self.uses.names |= field != Some("uid"),
        }
        let Some((name, node)) = path.first() else { return Ok(()) };
        let fields: &[&str] = match root {
            "message" => &MESSAGE,
            "client" => &CLIENT,
            "staff" => &STAFF,
            _ => &ACCOUNT,
        };
        if !fields.contains(name) {
            return Err(unknown(*node, &format!("field of `{root}`"), name, fields));
        }
        let inner: &[&str] = match (root, *name) {
            ("message", "meeting") => &MEETING,
            ("account", "business") => &BUSINESS,
            _ => return Ok(()),
        };
        match path.get(1) {
            Some((part, node)) if !inner.contains(part) => {
                Err(unknown(*node, &format!("field of `{root}.{name}`"), part, inner))
            }
            _ => Ok(()),
        }
    }

    fn function(node: &IdedExpr, name: &str) -> Result<(), Stranger> {
        let is_operator =
            name.starts_with(['@', '!', '-']) || name.contains('_') && !name.contains(char::is_alphanumeric);
        if is_operator || FUNCTIONS.contains(&name) {
            return Ok(());
        }
        Err(unknown(node.id, "function", name, &FUNCTIONS))
    }
}

fn unknown(node: u64, what: &str, name: &str, candidates: &[&str]) -> Stranger {
    let near = nearest(name, candidates);
    let hint = match near.first() {
        Some(first) => format!("did you mean `{first}`?"),
        None if candidates.len() <= MESSAGE.len() => format!("there are: {}", candidates.join(", ")),
        None => "see the list of functions in the guide".to_owned(),
    };
    Stranger { node, message: format!("`{name}` is no {what}; {hint}") }
}
