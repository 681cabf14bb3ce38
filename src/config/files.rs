//! The files of a configuration: the rules file, what it includes, and the templates.

use std::collections::HashSet;
use std::fs::DirEntry;
use std::io::{self, ErrorKind, Read};
use std::path::{Component, Path, PathBuf};
use std::sync::Arc;

use crate::render::Templates;

use super::codes;
use super::outline;
use super::problem::{Finding, Span, similar};
use super::raw::{self, Raw};
use super::read::{Reader, Source, Spot};
use super::secret::reason;
use super::trees::Trees;
use super::yaml::{self, Node};

/// A rules file of 20,000 rules has some 3 MB.
const RULES_BYTES_MAX: u64 = 16 * 1024 * 1024;
const TEMPLATE_BYTES_MAX: u64 = 256 * 1024;
const TEMPLATES_MAX: usize = 5_000;
const TEMPLATES_DEPTH_MAX: usize = 4;
/// How deep `**` goes; links that lead round in a circle end there.
const FOLDERS_DEPTH_MAX: usize = 6;
/// What a template is made of; other files in the folder are left alone.
const TEMPLATE_ENDINGS: [&str; 3] = ["hbs", "yaml", "yml"];
const TEMPLATES_DIR: &str = "templates";

/// The main file and everything it includes. `None` if the main file cannot be read at all.
pub(super) fn read(reader: &mut Reader<'_>, path: &Path) -> Option<(Raw, Trees)> {
    let (mut raw, mut trees) = (Raw::default(), Trees::default());
    let root = open(reader, path, None, &mut raw)?;
    raw::read(reader, &root, true, &mut raw);
    outline::note(reader, &root);
    let mut trail = Trail::default();
    trail.open.extend(canonical(path));
    include(reader, &root, &mut trail, &mut raw, &mut trees);
    trees.add(root);
    Some((raw, trees))
}

/// Which files were read, as they are really called.
#[derive(Debug, Default)]
struct Trail {
    /// From the main file to the one whose includes are being read.
    open: Vec<PathBuf>,
    /// Those that were included.
    seen: HashSet<PathBuf>,
}

fn include(reader: &mut Reader<'_>, root: &Node, trail: &mut Trail, raw: &mut Raw, trees: &mut Trees) {
    for pattern in raw::includes(reader, root) {
        let wildcard = is_pattern(&pattern.value);
        let folder =
            reader.sources.get(pattern.span.file).map(|source| source.folder.clone()).unwrap_or_default();
        let Found { paths, looked_at, unreadable } = expand(&folder, &pattern.value);
        for path in &looked_at {
            reader.material.path(path);
        }
        for (folder, why) in &unreadable {
            let message = format!("the folder {} cannot be read: {why}", shown(folder));
            let help = "let the relay's user read it: rules of files that are not seen would be missing without a word";
            reader.error(codes::FILE, pattern.span, message, help);
            raw.lose();
        }
        if paths.is_empty() && unreadable.is_empty() {
            nothing_found(reader, &folder, &pattern, &trail.open);
            // A pattern says that there may be none; a file that is named has something in it.
            raw.targets_lost |= !wildcard;
            raw.schedules_lost |= !wildcard;
        }
        for path in paths {
            let Some(real) = canonical(&path) else { continue };
            if trail.open.contains(&real) {
                // A pattern may fit the very file that it stands in.
                if !wildcard {
                    circle(reader, &pattern, &path, trail.open.last() == Some(&real));
                }
                continue;
            }
            if !trail.seen.insert(real.clone()) {
                continue;
            }
            let Some(root) = open(reader, &path, Some(&pattern), raw) else {
                raw.targets_lost = true;
                raw.schedules_lost = true;
                continue;
            };
            raw::read(reader, &root, false, raw);
            outline::note(reader, &root);
            trail.open.push(real);
            include(reader, &root, trail, raw, trees);
            trail.open.pop();
            trees.add(root);
        }
    }
}

fn circle(reader: &mut Reader<'_>, pattern: &Spot<String>, path: &Path, itself: bool) {
    let message = if itself {
        "this file includes itself".to_owned()
    } else {
        format!("{} includes this file, so it cannot be included here", shown(path))
    };
    let help = "take this line out: what a file has is known everywhere, wherever it was included";
    reader.error(codes::INCLUDE, pattern.span, message, help);
}

fn nothing_found(reader: &mut Reader<'_>, folder: &Path, pattern: &Spot<String>, open: &[PathBuf]) {
    let path = Path::new(&pattern.value);
    // What a variable holds is not shown.
    let near = near(folder, path, open).filter(|_| !pattern.substituted);
    let help = if folder.join(path).is_dir() {
        let files = Path::new(&pattern.written).join("*.yaml");
        format!("it is a folder: `{}` takes the files in it", files.display())
    } else if let Some(near) = near {
        format!("did you mean `{}`?", near.display())
    } else {
        "a path starts at the folder of the file that names it; * and ? stand for parts of a name, ** for folders"
            .to_owned()
    };
    let message = format!("no file is called `{}`", pattern.written);
    let found = if is_pattern(&pattern.value) { Finding::warning } else { Finding::error };
    reader.report(found(codes::INCLUDE, pattern.span, message).help(help));
}

fn is_pattern(path: &str) -> bool {
    path.contains(['*', '?'])
}

/// The path with its first part that does not exist replaced by the most similar name beside it, if that leads to a file that may be
/// included here, or to a folder for a pattern.
fn near(folder: &Path, path: &Path, open: &[PathBuf]) -> Option<PathBuf> {
    let mut there = PathBuf::new();
    let mut parts = path.components();
    let missing = parts.find(|part| {
        let exists = folder.join(&there).join(part).exists();
        if exists {
            there.push(part);
        }
        !exists
    })?;
    let missing = missing.as_os_str().to_str().filter(|name| !is_pattern(name))?;
    let rest = parts.as_path();
    let renamed = |name: &str| there.join(name).components().chain(rest.components()).collect::<PathBuf>();
    let leads_on = |name: &&str| {
        if rest.to_str().is_some_and(is_pattern) {
            return folder.join(&there).join(name).is_dir();
        }
        let file = folder.join(renamed(name));
        file.is_file() && !canonical(&file).is_some_and(|file| open.contains(&file))
    };
    let beside = entries(&folder.join(&there)).ok()?;
    let names = beside.iter().filter_map(|path| path.file_name()?.to_str()).filter(leads_on);
    similar(missing, names).map(|similar| renamed(similar.name))
}

/// Reads and parses one file; problems stand at the file's start, or where it was named.
fn open(reader: &mut Reader<'_>, path: &Path, named: Option<&Spot<String>>, raw: &mut Raw) -> Option<Node> {
    let file = reader.sources.len();
    let folder = path.parent().map(Path::to_path_buf).unwrap_or_default();
    let (text, trouble) = match read_text(path, RULES_BYTES_MAX) {
        // A carriage return alone ends a line in YAML, and has to for excerpts and places.
        Ok(text) if text.contains('\r') => (text.replace("\r\n", "\n").replace('\r', "\n"), None),
        Ok(text) => (text, None),
        Err(why) => (String::new(), Some(why)),
    };
    reader.material.file(path, trouble.is_none().then_some(text.as_str()));
    let text: Arc<str> = text.into();
    reader.sources.push(Source { name: shown(path), text: text.clone(), folder });
    if let Some(why) = trouble {
        let span = named.map_or(Span::start_of(file), |spot| spot.span);
        let help = if named.is_some() {
            "check its name and who may read it"
        } else if path.exists() {
            "the rules file is UTF-8 text that the relay's user may read; `activity-relay init` writes one to start from"
        } else {
            "name another file with --config, or run `activity-relay init` to write one"
        };
        reader.error(codes::FILE, span, format!("{} cannot be read: {why}", shown(path)), help);
        return None;
    }
    let parsed = yaml::parse(&text, file);
    reader.findings.extend(parsed.findings);
    if parsed.lost {
        raw.lost.push(file);
        raw.lose();
    }
    parsed.node
}

/// A path for people: without `..` where the same file has a shorter name.
fn shown(path: &Path) -> String {
    let mut short = PathBuf::new();
    for part in path.components() {
        let inside = matches!(short.components().next_back(), Some(Component::Normal(_)));
        if !(part == Component::ParentDir && inside && short.pop()) {
            short.push(part);
        }
    }
    let same = canonical(&short).is_some_and(|real| Some(real) == canonical(path));
    if same { short.display().to_string() } else { path.display().to_string() }
}

/// A file's text. The reason says what is wrong, for a person.
pub(super) fn read_text(path: &Path, bytes_max: u64) -> Result<String, String> {
    let file = std::fs::File::open(path).map_err(|error| reason(&error))?;
    let mut bytes = Vec::new();
    file.take(bytes_max + 1).read_to_end(&mut bytes).map_err(|error| reason(&error))?;
    if bytes.len() as u64 > bytes_max {
        return Err(format!("it is larger than {} KiB", bytes_max / 1024));
    }
    let text = decoded(bytes)?;
    Ok(text.strip_prefix('\u{feff}').map(str::to_owned).unwrap_or(text))
}

/// The bytes as text. The reason says how they are to be written instead.
fn decoded(bytes: Vec<u8>) -> Result<String, String> {
    if matches!(bytes[..], [0xff, 0xfe, ..] | [0xfe, 0xff, ..] | [0, _, ..] | [_, 0, ..]) {
        return Err("it is UTF-16 and not UTF-8 text; save it as UTF-8".to_owned());
    }
    String::from_utf8(bytes).map_err(|error| {
        let good = error.utf8_error().valid_up_to();
        let line = error.as_bytes()[..good].split(|byte| *byte == b'\n').count();
        format!("it is not UTF-8 text: look for an odd letter in line {line}, and save it as UTF-8")
    })
}

fn canonical(path: &Path) -> Option<PathBuf> {
    std::fs::canonicalize(path).ok()
}

/// The files that a pattern names, sorted; `*` and `?` may stand in any part of the path but not across parts, and `**`
/// stands for any folders or none.
pub(super) fn expand(folder: &Path, pattern: &str) -> Found {
    let (mut looked_at, mut unreadable) = (Vec::new(), Vec::new());
    let mut found = vec![folder.to_path_buf()];
    for part in Path::new(pattern) {
        let text = part.to_string_lossy();
        if text == "**" {
            looked_at.extend(found.iter().cloned());
            let inside = |folder| folders(folder, FOLDERS_DEPTH_MAX, &mut unreadable);
            found = found.into_iter().flat_map(inside).collect();
        } else if text.contains(['*', '?']) {
            looked_at.extend(found.iter().cloned());
            found = found
                .iter()
                .flat_map(|folder| noted(folder, &mut unreadable))
                .filter(|path| fits_name(path, &text))
                .collect();
        } else {
            found = found.into_iter().map(|path| path.join(part)).collect();
        }
    }
    looked_at.extend(found.iter().cloned());
    found.retain(|path| path.is_file());
    found.sort();
    found.dedup();
    Found { paths: found, looked_at, unreadable }
}

/// What a pattern names.
#[derive(Debug, Default)]
pub(super) struct Found {
    /// The files, sorted.
    pub(super) paths: Vec<PathBuf>,
    /// Where it was looked: when something changes there, something else may be found.
    pub(super) looked_at: Vec<PathBuf>,
    /// Folders that may hold more and cannot be read, with the reason.
    pub(super) unreadable: Vec<(PathBuf, String)>,
}

/// A folder and those in it that are not hidden.
fn folders(folder: PathBuf, depth: usize, unreadable: &mut Vec<(PathBuf, String)>) -> Vec<PathBuf> {
    let is_open = |path: &PathBuf| path.is_dir() && fits_name(path, "*");
    let inside = noted(&folder, unreadable).into_iter().filter(|path| depth > 0 && is_open(path));
    let mut found: Vec<PathBuf> = Vec::new();
    for inner in inside {
        found.extend(folders(inner, depth - 1, unreadable));
    }
    found.push(folder);
    found
}

/// What a folder holds; nothing where there is none, and a note where it cannot be read.
fn noted(folder: &Path, unreadable: &mut Vec<(PathBuf, String)>) -> Vec<PathBuf> {
    entries(folder).unwrap_or_else(|error| {
        if !matches!(error.kind(), ErrorKind::NotFound | ErrorKind::NotADirectory) {
            unreadable.push((folder.to_path_buf(), reason(&error)));
        }
        Vec::new()
    })
}

fn fits_name(path: &Path, pattern: &str) -> bool {
    let name = path.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
    let hidden = name.starts_with('.') && !pattern.starts_with('.');
    !hidden && super::names::wildcard(&pattern.chars().collect::<Vec<_>>(), &name.chars().collect::<Vec<_>>())
}

/// What a folder holds, sorted.
///
/// # Errors
/// There is none, or it cannot be read.
pub(super) fn entries(folder: &Path) -> io::Result<Vec<PathBuf>> {
    let here = if folder.as_os_str().is_empty() { Path::new(".") } else { folder };
    let entry = |entry: io::Result<DirEntry>| Ok(folder.join(entry?.file_name()));
    let mut paths: Vec<PathBuf> = std::fs::read_dir(here)?.map(entry).collect::<io::Result<_>>()?;
    paths.sort();
    Ok(paths)
}

/// The templates beside the rules file, compiled, and the folder they are in.
pub(super) fn templates(reader: &mut Reader<'_>, raw: Option<&Raw>, path: &Path) -> (PathBuf, Templates) {
    let folder = path.parent().map(Path::to_path_buf).unwrap_or_default();
    let named = raw.and_then(|raw| raw.templates_dir.as_ref());
    let dir = folder.join(named.map_or(TEMPLATES_DIR, |spot| spot.value.as_str()));
    if let Some(spot) = named
        && !dir.is_dir()
    {
        let help = "a relative path starts at the folder of the rules file";
        reader.error(
            codes::TEMPLATE_FILES,
            spot.span,
            format!("there is no folder `{}`", spot.written),
            help,
        );
    }
    let mut files = Vec::new();
    collect(reader, &dir, "", TEMPLATES_DEPTH_MAX, &mut files);
    reader.material.templates(&files);
    let (templates, problems) = Templates::compile(&files);
    for problem in problems {
        let name = dir.join(&problem.file).display().to_string();
        let known = reader.sources.iter().position(|source| source.name == name);
        let file = known.unwrap_or_else(|| {
            let found = files.iter().find(|(file, _)| *file == problem.file);
            let text = found.map(|(_, text)| text.clone()).unwrap_or_default();
            add(reader, name, text)
        });
        let at = (problem.line.max(1), problem.column.max(1));
        let span = Span { file, start: at, end: (at.0, at.1 + 1) };
        let found = if problem.warning { Finding::warning } else { Finding::error };
        let finding = found(codes::TEMPLATE, span, problem.message);
        reader.report(match problem.help {
            Some(help) => finding.help(help),
            None => finding,
        });
    }
    (dir, templates)
}

/// Notes a file that problems may point to; its index.
pub(super) fn add(reader: &mut Reader<'_>, name: String, text: String) -> usize {
    reader.sources.push(Source { name, text: text.into(), folder: PathBuf::new() });
    reader.sources.len() - 1
}

fn collect(
    reader: &mut Reader<'_>,
    folder: &Path,
    prefix: &str,
    depth: usize,
    files: &mut Vec<(String, String)>,
) {
    reader.material.path(folder);
    let mut unreadable = Vec::new();
    let inside = noted(folder, &mut unreadable);
    for (folder, why) in unreadable {
        let file = add(reader, folder.display().to_string(), String::new());
        let message = format!("the templates in this folder cannot be read: {why}");
        reader.error(codes::TEMPLATE_FILES, Span::start_of(file), message, "let the relay's user read it");
    }
    for path in inside {
        let Some(name) = path.file_name().map(|name| name.to_string_lossy().into_owned()) else { continue };
        if name.starts_with('.') || files.len() >= TEMPLATES_MAX {
            continue;
        }
        let relative = format!("{prefix}{name}");
        if path.is_dir() {
            if depth > 1 {
                collect(reader, &path, &format!("{relative}/"), depth - 1, files);
            }
        } else if TEMPLATE_ENDINGS.iter().any(|ending| name.ends_with(&format!(".{ending}"))) {
            let read = read_text(&path, TEMPLATE_BYTES_MAX);
            reader.material.file(&path, read.as_deref().ok());
            match read {
                Ok(text) => files.push((relative, text)),
                Err(why) => {
                    let file = add(reader, path.display().to_string(), String::new());
                    let message = format!("this template cannot be read: {why}");
                    reader.error(
                        codes::TEMPLATE_FILES,
                        Span::start_of(file),
                        message,
                        "mend it or move it out of the folder",
                    );
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::expand;

    #[test]
    fn patterns_find_files_sorted_and_leave_hidden_ones() {
        let folder = tempfile::tempdir().unwrap();
        std::fs::create_dir_all(folder.path().join("rules.d/more.yaml")).unwrap();
        for name in ["b.yaml", "a.yaml", ".c.yaml", "d.yml"] {
            std::fs::write(folder.path().join("rules.d").join(name), "").unwrap();
        }
        let found = |pattern| {
            let paths = expand(folder.path(), pattern).paths;
            paths.iter().map(|p| p.file_name().unwrap().to_string_lossy().into_owned()).collect::<Vec<_>>()
        };
        assert_eq!(found("rules.d/*.yaml"), ["a.yaml", "b.yaml"]);
        assert_eq!(found("rul*/?.yml"), ["d.yml"]);
        assert_eq!(found("rules.d/a.yaml"), ["a.yaml"]);
        std::fs::write(folder.path().join("rules.d/more.yaml/e.yaml"), "").unwrap();
        assert_eq!(found("**/*.yaml"), ["a.yaml", "b.yaml", "e.yaml"]);
        assert_eq!(found("rules.d/**/e.yaml"), ["e.yaml"]);
        assert!(found("rules.d/x.yaml").is_empty());
    }
}
