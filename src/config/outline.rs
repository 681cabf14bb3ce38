//! What a configuration was made from: a hash of its files, the paths to look at, and what each part says, to tell one
//! configuration from another without showing what is in it.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::fmt::Write as _;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::path::{Path, PathBuf};

use serde::Serialize;
use sha2::{Digest, Sha256};

use super::difference::{Change, Difference};
use super::read::Reader;
use super::secret::read_secret;
use super::yaml::{Kind, Node};

/// Bytes of the hash that are shown: enough to tell configurations apart.
const HASH_BYTES: usize = 6;

/// A kind of part that a configuration consists of.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Section {
    /// By name.
    Rules,
    /// By name.
    Targets,
    /// By name.
    Accounts,
    /// By name.
    Schedules,
    /// By folder.
    Templates,
    /// By key: whatever else stands at the top of the file.
    Settings,
}

impl Section {
    /// As messages name it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Rules => "rules",
            Self::Targets => "targets",
            Self::Accounts => "accounts",
            Self::Schedules => "schedules",
            Self::Templates => "templates",
            Self::Settings => "settings",
        }
    }
}

/// What a part says, key by key, as figures that tell whether two are the same and nothing else.
type Keys = BTreeMap<String, u64>;

/// See the module.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Outline {
    hash: String,
    fingerprint: u64,
    paths: BTreeSet<PathBuf>,
    parts: BTreeMap<Section, BTreeMap<String, Keys>>,
    /// The rules' names in file order, which says what `stop` stops.
    order: Vec<String>,
}

impl Outline {
    /// Twelve digits that tell the files' content from any other. What they take from the environment and from secret
    /// files is not in it.
    pub fn hash(&self) -> &str {
        &self.hash
    }

    /// Everything that was read or looked for: files, folders that were searched, secret files.
    pub fn paths(&self) -> &BTreeSet<PathBuf> {
        &self.paths
    }

    /// Made from the same files with the same content, secret files included.
    pub fn is_same(&self, other: &Self) -> bool {
        self.fingerprint == other.fingerprint && self.hash == other.hash
    }

    /// A target is what it was earlier.
    pub fn target_is_same(&self, name: &str, earlier: &Self) -> bool {
        let same = |section, name| self.part(section, name) == earlier.part(section, name);
        same(Section::Settings, "defaults") && same(Section::Targets, name)
    }

    fn part(&self, section: Section, name: &str) -> Option<&Keys> {
        self.parts.get(&section)?.get(name)
    }

    /// What is different in a later one.
    pub fn difference(&self, later: &Self) -> Difference {
        let mut difference = Difference::default();
        let nothing = BTreeMap::new();
        let sections: BTreeSet<Section> = self.parts.keys().chain(later.parts.keys()).copied().collect();
        for section in sections {
            let before = self.parts.get(&section).unwrap_or(&nothing);
            let after = later.parts.get(&section).unwrap_or(&nothing);
            let names: BTreeSet<&String> = before.keys().chain(after.keys()).collect();
            for name in names {
                let change = match (before.get(name), after.get(name)) {
                    (None, _) => Change::Added,
                    (_, None) => Change::Removed,
                    (Some(before), Some(after)) if before != after => Change::Changed(keys(before, after)),
                    _ => continue,
                };
                difference.note(section, name, change);
            }
        }
        let both = |order: &[String], other: &[String]| -> Vec<String> {
            order.iter().filter(|name| other.contains(name)).cloned().collect()
        };
        if self.order != later.order && both(&self.order, &later.order) != both(&later.order, &self.order) {
            difference.reordered();
        }
        difference
    }
}

/// The keys whose values differ.
fn keys(before: &Keys, after: &Keys) -> Vec<String> {
    let all: BTreeSet<&String> = before.keys().chain(after.keys()).collect();
    all.into_iter().filter(|key| before.get(*key) != after.get(*key)).cloned().collect()
}

/// What is read while a configuration is loaded.
#[derive(Debug, Default)]
pub(super) struct Material {
    folder: PathBuf,
    files: Sha256,
    secrets: HashMap<PathBuf, Result<String, String>>,
    secret: DefaultHasher,
    outline: Outline,
}

impl Material {
    /// Of a rules file in this folder.
    pub(super) fn of(folder: PathBuf) -> Self {
        Self { folder, ..Self::default() }
    }

    /// A path that a change of may matter: a folder that is searched, a file that is read later.
    pub(super) fn path(&mut self, path: &Path) {
        self.outline.paths.insert(path.to_path_buf());
    }

    /// A file that is read; `None` if it cannot be.
    pub(super) fn file(&mut self, path: &Path, text: Option<&str>) {
        self.path(path);
        let name = path.strip_prefix(&self.folder).unwrap_or(path).display().to_string();
        for part in [Some(name.as_str()), text] {
            let length = part.map_or(u64::MAX, |part| part.len() as u64);
            self.files.update(length.to_le_bytes());
            self.files.update(part.unwrap_or_default());
        }
    }

    /// A file of holidays, which belongs to the schedule of this name, or to a digest.
    pub(super) fn holidays(&mut self, schedule: Option<&str>, path: &Path, text: Option<&str>) {
        self.file(path, text);
        let name = path.strip_prefix(&self.folder).unwrap_or(path).display().to_string();
        match schedule {
            Some(schedule) => self.key(Section::Schedules, schedule, &name, figure(&text)),
            None => self.key(Section::Settings, &name, "", figure(&text)),
        }
    }

    /// The content of a secret file, read once.
    pub(super) fn secret(&mut self, path: &Path) -> Result<String, String> {
        if let Some(known) = self.secrets.get(path) {
            return known.clone();
        }
        self.path(path);
        let read = read_secret(path);
        (path, &read).hash(&mut self.secret);
        self.secrets.insert(path.to_path_buf(), read.clone());
        read
    }

    /// The templates' files: path in their folder, and text.
    pub(super) fn templates(&mut self, files: &[(String, String)]) {
        for (path, text) in files {
            let (folder, part) = path.split_once('/').unwrap_or(("", path));
            self.key(Section::Templates, folder, part, figure(text));
        }
    }

    fn key(&mut self, section: Section, name: &str, key: &str, figure: u64) {
        let parts = self.outline.parts.entry(section).or_default();
        parts.entry(name.to_owned()).or_default().insert(key.to_owned(), figure);
    }

    /// The finished outline.
    pub(super) fn outline(self) -> Outline {
        let mut hash = String::new();
        for byte in &self.files.finalize()[..HASH_BYTES] {
            // Writing to a string cannot fail.
            let _ = write!(hash, "{byte:02x}");
        }
        Outline { hash, fingerprint: self.secret.finish(), ..self.outline }
    }
}

/// Takes note of what the tree of one file says.
pub(super) fn note(reader: &mut Reader<'_>, root: &Node) {
    let Kind::Map(entries) = &root.kind else { return };
    for entry in entries {
        let section = match entry.key.as_str() {
            "rules" => Section::Rules,
            "targets" => Section::Targets,
            "accounts" => Section::Accounts,
            "schedules" => Section::Schedules,
            // What they bring in is noted for itself.
            "version" | "include" | "extends" => continue,
            key => {
                let figure = said(reader, &entry.value);
                reader.material.key(Section::Settings, key, "", figure);
                continue;
            }
        };
        match &entry.value.kind {
            Kind::List(items) => {
                for item in items {
                    let name = name(reader, item);
                    part(reader, section, &name, item);
                }
            }
            Kind::Map(named) => named.iter().for_each(|one| part(reader, section, &one.key, &one.value)),
            _ => {}
        }
    }
}

fn part(reader: &mut Reader<'_>, section: Section, name: &str, node: &Node) {
    if section == Section::Rules {
        reader.material.outline.order.push(name.to_owned());
    }
    let Kind::Map(entries) = &node.kind else { return };
    for entry in entries {
        let figure = said(reader, &entry.value);
        reader.material.key(section, name, &entry.key, figure);
    }
}

fn name(reader: &mut Reader<'_>, item: &Node) -> String {
    let Kind::Map(entries) = &item.kind else { return String::new() };
    let value = entries.iter().find(|entry| entry.key == "name").map(|entry| &entry.value);
    match value.map(|value| (&value.kind, value.span)) {
        Some((Kind::Scalar(scalar), span)) => reader.substituted(&scalar.text, span),
        _ => String::new(),
    }
}

/// A figure for what a value says, comments, layout and quotes aside.
fn said(reader: &mut Reader<'_>, node: &Node) -> u64 {
    match &node.kind {
        Kind::Null => figure(&"null"),
        Kind::Scalar(scalar) => figure(&("scalar", reader.substituted(&scalar.text, node.span))),
        Kind::List(items) => {
            figure(&("list", items.iter().map(|item| said(reader, item)).collect::<Vec<_>>()))
        }
        Kind::Map(entries) => {
            let said = entries.iter().map(|entry| (entry.key.as_str(), said(reader, &entry.value)));
            figure(&("map", said.collect::<BTreeMap<_, _>>()))
        }
    }
}

fn figure(value: &impl Hash) -> u64 {
    let mut hasher = DefaultHasher::new();
    value.hash(&mut hasher);
    hasher.finish()
}
