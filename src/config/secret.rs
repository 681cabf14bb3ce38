//! The environment, and the substitution of `${…}` in string values.

use std::collections::BTreeMap;
use std::io::Read;
use std::ops::Range;
use std::path::Path;

use super::codes::{self, Code};
use super::problem::nearest;

/// The largest file that `${file:…}` takes in.
const SECRET_BYTES_MAX: u64 = 64 * 1024;

/// Environment variables, taken once at the start (or given, in tests).
#[derive(Clone, Default)]
pub struct Environment {
    variables: BTreeMap<String, String>,
}

impl std::fmt::Debug for Environment {
    /// Names only: the values may be secrets.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_set().entries(self.variables.keys()).finish()
    }
}

impl Environment {
    /// The process's own; a variable that is not UTF-8 counts as not set.
    pub fn of_process() -> Self {
        let text = |(name, value): (std::ffi::OsString, std::ffi::OsString)| {
            Some((name.into_string().ok()?, value.into_string().ok()?))
        };
        Self { variables: std::env::vars_os().filter_map(text).collect() }
    }

    /// The given ones.
    pub fn of<K: Into<String>, V: Into<String>>(variables: impl IntoIterator<Item = (K, V)>) -> Self {
        Self { variables: variables.into_iter().map(|(k, v)| (k.into(), v.into())).collect() }
    }

    /// The same with further ones, which win.
    pub fn with<K: Into<String>, V: Into<String>>(&self, more: impl IntoIterator<Item = (K, V)>) -> Self {
        let mut variables = self.variables.clone();
        variables.extend(more.into_iter().map(|(k, v)| (k.into(), v.into())));
        Self { variables }
    }

    /// One variable's value; under `file:PATH` that of a file which stands in for one that cannot be read.
    pub fn get(&self, name: &str) -> Option<&str> {
        self.variables.get(name).map(String::as_str)
    }
}

/// A `${…}` that cannot be replaced. Names variables and files, never what they hold.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Unresolved {
    /// Which kind of mistake.
    pub code: &'static Code,
    /// Where in the text, in characters from 0.
    pub range: Range<usize>,
    /// What is wrong.
    pub message: String,
    /// What to do.
    pub help: String,
}

/// `text` with every `${…}` replaced and `$$` turned into a dollar; a dollar before anything else stays.
/// Relative paths of `${file:…}` start at `folder`, and `read` reads them. All mistakes at once.
pub fn substitute(
    text: &str,
    environment: &Environment,
    folder: &Path,
    mut read: impl FnMut(&Path) -> Result<String, String>,
) -> Result<String, Vec<Unresolved>> {
    let mut result = String::with_capacity(text.len());
    let mut mistakes = Vec::new();
    let mut rest = text;
    while let Some(at) = rest.find('$') {
        result.push_str(&rest[..at]);
        let here = text.len() - rest.len() + at;
        let from = text[..here].chars().count();
        let tail = &rest[at + 1..];
        if let Some(after) = tail.strip_prefix('$') {
            result.push('$');
            rest = after;
        } else if let Some(inner) = tail.strip_prefix('{') {
            let (end, found) = reference(inner, environment, folder, &mut read);
            let range = from..from + 2 + inner[..end].chars().count();
            match found {
                Ok(value) => result.push_str(&value),
                Err((code, message, help)) => mistakes.push(Unresolved { code, range, message, help }),
            }
            rest = &inner[end..];
        } else {
            result.push('$');
            rest = tail;
        }
    }
    result.push_str(rest);
    if mistakes.is_empty() { Ok(result) } else { Err(mistakes) }
}

/// The name in a text that is `$NAME` without braces, of capitals, digits and `_` as variables have.
pub fn bare_variable(text: &str) -> Option<&str> {
    let name = text.trim().strip_prefix('$')?;
    let capitals = name.chars().all(|c| c.is_ascii_uppercase() || c.is_ascii_digit() || c == '_');
    (capitals && name.len() > 1 && !name.starts_with(|c: char| c.is_ascii_digit())).then_some(name)
}

type Found = Result<String, (&'static Code, String, String)>;

/// What follows a `${`: how many bytes of `inner` belong to it, and its value.
fn reference(
    inner: &str,
    environment: &Environment,
    folder: &Path,
    read: &mut impl FnMut(&Path) -> Result<String, String>,
) -> (usize, Found) {
    let bad = |message: &str, help: &str| Err((codes::SUBSTITUTION, message.to_owned(), help.to_owned()));
    let Some(close) = inner.find('}') else {
        let end = inner.len();
        return (end, bad("`${` without a closing `}`", "close it, or write $${ if a dollar sign is meant"));
    };
    let body = &inner[..close];
    let end = close + 1;
    if body.contains("${") {
        return (end, bad("`${…}` inside `${…}`", "a default is plain text; set the variable instead"));
    }
    if let Some(path) = body.strip_prefix("file:").filter(|path| !path.trim().is_empty()) {
        let stand_in = environment.get(body).map(|value| Ok(value.to_owned()));
        return (end, stand_in.unwrap_or_else(|| file(path, read(&folder.join(path)))));
    }
    let name_end = body.find(|c: char| !(c.is_ascii_alphanumeric() || c == '_')).unwrap_or(body.len());
    let (name, operator) = body.split_at(name_end);
    if name.is_empty() || name.starts_with(|c: char| c.is_ascii_digit()) {
        let help =
            "the forms are ${NAME}, ${NAME:-default}, ${NAME:?message}, ${file:/path}; $$ is a dollar sign";
        return (end, bad("this is not the name of a variable", help));
    }
    let value = environment.get(name);
    let filled = value.filter(|value| !value.is_empty());
    let found = if operator.is_empty() {
        value.map(str::to_owned).ok_or_else(|| unset(name, environment))
    } else if let Some(default) = operator.strip_prefix(":-") {
        Ok(filled.unwrap_or(default).to_owned())
    } else if let Some(message) = operator.strip_prefix(":?") {
        let help = format!("set {name} in the environment of the relay");
        let message = if message.trim().is_empty() { "it is needed" } else { message.trim() };
        filled.map(str::to_owned).ok_or_else(|| {
            (codes::UNSET_VARIABLE, format!("the variable {name} is not set: {message}"), help)
        })
    } else {
        bad(
            "only `:-default` or `:?message` may follow the name",
            "close the brace after the name, or write $${ if a dollar sign is meant",
        )
    };
    (end, found)
}

fn unset(name: &str, environment: &Environment) -> (&'static Code, String, String) {
    let similar = nearest(name, environment.variables.keys().map(String::as_str));
    let mut help = format!("set {name} in the environment of the relay, or give a default: ${{{name}:-…}}");
    if let Some(similar) = similar {
        help = format!("did you mean {similar}, which is set? Else {help}");
    }
    (codes::UNSET_VARIABLE, format!("the variable {name} is not set"), help)
}

fn file(path: &str, read: Result<String, String>) -> Found {
    match read {
        Ok(text) => Ok(text),
        Err(why) => {
            let help = "the file must exist, be readable by the relay's user, and hold UTF-8 text".to_owned();
            Err((codes::SECRET_FILE, format!("{path} cannot be read: {why}"), help))
        }
    }
}

/// A secret from a file, without the line end behind it.
pub fn read_secret(path: &Path) -> Result<String, String> {
    let file = std::fs::File::open(path).map_err(|error| reason(&error))?;
    let mut bytes = Vec::new();
    file.take(SECRET_BYTES_MAX + 1).read_to_end(&mut bytes).map_err(|error| reason(&error))?;
    if bytes.len() as u64 > SECRET_BYTES_MAX {
        return Err(format!("it is larger than {} KiB", SECRET_BYTES_MAX / 1024));
    }
    let text = String::from_utf8(bytes).map_err(|_| "it is not UTF-8 text".to_owned())?;
    Ok(text.trim_end_matches(['\n', '\r']).to_owned())
}

/// The reason of an IO error without its number, which says nothing to a person.
pub fn reason(error: &std::io::Error) -> String {
    let text = error.to_string();
    let text = text.split(" (os error").next().unwrap_or_default();
    text.chars()
        .next()
        .map_or_else(String::new, |first| first.to_lowercase().chain(text.chars().skip(1)).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn with(text: &str) -> Result<String, Vec<Unresolved>> {
        let environment = Environment::of([("NAME", "value"), ("EMPTY", ""), ("ODD", "a: ${NAME} # $$")]);
        substitute(text, &environment, Path::new("."), read_secret)
    }

    fn code_of(text: &str) -> (&'static str, Range<usize>) {
        let mistakes = with(text).unwrap_err();
        (mistakes[0].code.id, mistakes[0].range.clone())
    }

    #[test]
    fn each_form_is_replaced() {
        assert_eq!(with("a ${NAME} b").unwrap(), "a value b");
        assert_eq!(with("${EMPTY:-x}${NOT_SET:-y z}${NAME:-n}").unwrap(), "xy zvalue");
        assert_eq!(with("${NAME:?why}").unwrap(), "value");
        assert_eq!(with("$$5 $5 $ ${NOT_SET:-}$${NAME}").unwrap(), "$5 $5 $ ${NAME}");
    }

    #[test]
    fn what_a_variable_holds_is_not_looked_at_again() {
        assert_eq!(with("${ODD}").unwrap(), "a: ${NAME} # $$");
    }

    #[test]
    fn mistakes_have_their_place() {
        assert_eq!(code_of("é ${MISSING}"), ("R020", 2..12));
        assert_eq!(code_of("${EMPTY:?set it}"), ("R020", 0..16));
        assert_eq!(code_of("x ${NAME"), ("R021", 2..8));
        assert_eq!(code_of("${NAME-x}"), ("R021", 0..9));
        assert_eq!(code_of("${file:/does/not/exist}"), ("R022", 0..23));
        assert_eq!(with("${A} ${B}").unwrap_err().len(), 2);
    }

    #[test]
    fn a_secret_file_loses_its_line_end_only() {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("secret"), " s3cret \r\n").unwrap();
        assert_eq!(
            substitute("${file:secret}", &Environment::default(), folder.path(), read_secret).unwrap(),
            " s3cret "
        );
    }
}
