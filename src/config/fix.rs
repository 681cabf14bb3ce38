//! Writes certain corrections into the files they belong to.

use std::collections::BTreeMap;
use std::fs;
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use serde::Serialize;

use super::mask::mask;
use super::mend::{Edit, replaced};
use super::problem::{Applicability, Problem};

/// One line of a file that was changed, with secrets hidden.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Fixed {
    /// Which file.
    pub file: String,
    /// From 1.
    pub line: usize,
    /// What was wrong with it.
    pub codes: Vec<&'static str>,
    /// The line as it was.
    pub before: String,
    /// The line as it is now.
    pub after: String,
}

/// Makes every certain correction of these problems, each file at once or not at all. Of two that overlap, only the first
/// is made: checking again finds the other, if it is still there.
///
/// # Errors
/// A file cannot be read or replaced; files before it have been changed.
pub fn apply(problems: &[Problem]) -> io::Result<Vec<Fixed>> {
    let mut by_file: BTreeMap<&str, Vec<&Problem>> = BTreeMap::new();
    let certain = problems.iter().filter(|problem| problem.applicability == Some(Applicability::Certain));
    for problem in certain.filter(|problem| problem.line == problem.end_line) {
        by_file.entry(&problem.file).or_default().push(problem);
    }
    let mut fixed = Vec::new();
    for (file, problems) in by_file {
        fixed.extend(apply_to(file, problems)?);
    }
    Ok(fixed)
}

fn apply_to(file: &str, mut problems: Vec<&Problem>) -> io::Result<Vec<Fixed>> {
    let path = fs::canonicalize(file)?;
    let whole = fs::read_to_string(&path)?;
    let text = whole.strip_prefix('\u{feff}').unwrap_or(&whole);
    let mark = &whole[..whole.len() - text.len()];
    // From the end, so that no change moves the place of another.
    problems.sort_by_key(|problem| std::cmp::Reverse((problem.line, problem.column)));
    let mut lines: Vec<String> = lines_of(text);
    let mut codes: BTreeMap<usize, Vec<&'static str>> = BTreeMap::new();
    let mut free = (usize::MAX, usize::MAX);
    for problem in problems {
        let end = (problem.line, problem.end_column);
        let Some(line) = lines.get_mut(problem.line - 1) else { continue };
        let before: String =
            line.chars().skip(problem.column - 1).take(problem.end_column - problem.column).collect();
        if end > free || before.contains("${") {
            continue;
        }
        let text = problem.replacement.clone().unwrap_or_default();
        let edit = Edit { line: problem.line, start: problem.column, end: problem.end_column, text };
        *line = replaced(line, &edit);
        free = (problem.line, problem.column);
        codes.entry(problem.line).or_default().insert(0, problem.code);
    }
    if codes.is_empty() {
        return Ok(Vec::new());
    }
    let new = lines.concat();
    replace(&path, &format!("{mark}{new}"))?;
    let shown = |text: &str| mask(&text.replace("\r\n", "\n").replace('\r', "\n"));
    let (old, new) = (shown(text), shown(&new));
    let line = |text: &str, line: usize| text.lines().nth(line - 1).unwrap_or_default().to_owned();
    let shown = codes.into_iter().map(|(number, codes)| Fixed {
        file: file.to_owned(),
        line: number,
        codes,
        before: line(&old, number),
        after: line(&new, number),
    });
    Ok(shown.collect())
}

/// The lines with their ends, of which a carriage return alone is one, too.
fn lines_of(text: &str) -> Vec<String> {
    let mut lines: Vec<String> = vec![String::new()];
    for (at, c) in text.char_indices() {
        if let Some(line) = lines.last_mut() {
            line.push(c);
        }
        if c == '\n' || (c == '\r' && !text[at + 1..].starts_with('\n')) {
            lines.push(String::new());
        }
    }
    lines
}

/// Puts a file in place of another: whoever reads it sees the old or the new one, with the same owner and permissions.
fn replace(path: &Path, text: &str) -> io::Result<()> {
    let kept = fs::metadata(path)?;
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    let beside: PathBuf = path.with_file_name(format!(".{name}.{}.fix", std::process::id()));
    let write = || {
        let mut file = fs::OpenOptions::new().write(true).create_new(true).open(&beside)?;
        file.set_permissions(kept.permissions())?;
        #[cfg(unix)]
        {
            use std::os::unix::fs::{MetadataExt, chown};
            let own = file.metadata()?;
            if (own.uid(), own.gid()) != (kept.uid(), kept.gid()) {
                chown(&beside, Some(kept.uid()), Some(kept.gid()))?;
            }
        }
        file.write_all(text.as_bytes())?;
        file.sync_all()?;
        fs::rename(&beside, path)
    };
    write().inspect_err(|_| {
        // The file beside is of no use to anyone; that it stays is the lesser trouble.
        let _ = fs::remove_file(&beside);
    })
}

/// What was changed, in the manner of a unified diff.
pub fn diff(fixed: &[Fixed]) -> Vec<String> {
    let mut lines = Vec::new();
    let mut file = "";
    for one in fixed {
        if one.file != file {
            file = &one.file;
            lines.extend([format!("--- {file}"), format!("+++ {file}")]);
        }
        lines.push(format!("@@ -{0} +{0} @@ {1}", one.line, one.codes.join(" ")));
        lines.extend([format!("-{}", one.before), format!("+{}", one.after)]);
    }
    lines
}
