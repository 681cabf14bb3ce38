//! Rendered texts that are kept in files beside the tests, to be reviewed like code.

use std::path::PathBuf;

use crate::config::rule_tests::Part;

/// The folder, beside the file of tests.
const FOLDER: &str = "snapshots";

/// The snapshots of one file of tests.
#[derive(Debug)]
pub(super) struct Snapshots {
    folder: PathBuf,
    /// New and changed ones are written.
    pub(super) update: bool,
    /// What was written: (path, whether it is new).
    pub(super) written: Vec<(PathBuf, bool)>,
}

impl Snapshots {
    /// Those beside a file of tests in this folder.
    pub(super) fn beside(folder: &std::path::Path, update: bool) -> Self {
        Self { folder: folder.join(FOLDER), update, written: Vec::new() }
    }

    /// The file of a snapshot.
    pub(super) fn path(&self, name: &str, part: Part) -> PathBuf {
        let ending = match part {
            Part::Subject | Part::Text => "txt",
            Part::Html => "html",
            Part::Body => "json",
        };
        self.folder.join(format!("{name}.{ending}"))
    }

    /// What a snapshot holds; `None` if there is none.
    pub(super) fn read(&self, name: &str, part: Part) -> Option<String> {
        std::fs::read_to_string(self.path(name, part)).ok()
    }

    /// Keeps a text, if it is another one than before.
    ///
    /// # Errors
    /// The file cannot be written.
    pub(super) fn write(&mut self, name: &str, part: Part, text: &str) -> std::io::Result<()> {
        let path = self.path(name, part);
        let before = self.read(name, part);
        if before.as_ref().is_some_and(|before| same(before, text)) {
            return Ok(());
        }
        if let Some(folder) = path.parent() {
            std::fs::create_dir_all(folder)?;
        }
        std::fs::write(&path, format!("{}\n", text.trim_end_matches('\n')))?;
        self.written.push((path, before.is_none()));
        Ok(())
    }
}

/// Two texts are the same, whatever line ends stand at their end.
pub(super) fn same(one: &str, other: &str) -> bool {
    one.trim_end_matches(['\n', '\r']) == other.trim_end_matches(['\n', '\r'])
}
