//! Small filesystems that fill up, fail to write and turn read-only when a test says so.

use std::fs::File;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::Command;

use tempfile::TempDir;

/// Written at once, so that what is left is less than a page of a database.
const PIECE: [u8; 4096] = [0; 4096];
const MIB: u64 = 1 << 20;

/// A filesystem in memory, no larger than this.
pub(crate) struct Small {
    mounted: Mounted,
}

/// An ext4 in a file of which there is only as much as is used; the file lies on a small filesystem.
pub(crate) struct Backed {
    mounted: Mounted,
    below: Small,
    options: &'static str,
}

/// A folder on which something is mounted as long as this lives.
struct Mounted {
    folder: TempDir,
}

/// Straight to the descriptor: the harness keeps what a passing test prints to itself.
fn untested(why: &str) {
    let _ = writeln!(
        std::io::stderr(),
        "SKIPPED: no filesystem of its own for a test (it has to be root): {why}"
    );
}

impl Mounted {
    /// `None` where the test may not mount.
    fn new(options: &[&str], what: &str) -> Option<Self> {
        let folder = tempfile::tempdir().unwrap();
        let told = Command::new("mount").args(options).arg(what).arg(folder.path()).output();
        match told {
            Ok(told) if told.status.success() => Some(Self { folder }),
            told => {
                untested(&format!("`mount` says {told:?}"));
                None
            }
        }
    }

    fn again(&self, options: &str) {
        let mut mount = Command::new("mount");
        let done = mount.args(["-o", options]).arg(self.folder.path()).status().unwrap();
        assert!(done.success(), "mount -o {options}");
    }
}

impl Drop for Mounted {
    fn drop(&mut self) {
        // Lazily: a test that failed may have left its process behind.
        let _ = Command::new("umount").arg("--lazy").arg(self.folder.path()).output();
    }
}

impl Small {
    /// Of so many MiB.
    pub(crate) fn new(mib: u64) -> Option<Self> {
        let size = format!("size={mib}m");
        Some(Self { mounted: Mounted::new(&["-t", "tmpfs", "-o", &size], "none")? })
    }

    pub(crate) fn path(&self) -> &Path {
        self.mounted.folder.path()
    }

    /// Not a page more fits.
    pub(crate) fn fill(&self) {
        let mut ballast = File::create(self.ballast()).unwrap();
        while ballast.write_all(&PIECE).is_ok() {}
    }

    /// There is room again.
    pub(crate) fn free(&self) {
        std::fs::remove_file(self.ballast()).unwrap();
    }

    fn ballast(&self) -> PathBuf {
        self.path().join("ballast")
    }

    /// Nothing can be written; only while no file is open for writing.
    pub(crate) fn read_only(&self) {
        self.mounted.again("remount,ro");
    }
}

impl Backed {
    /// With a journal, which gives the filesystem up at the first failure.
    pub(crate) fn wary() -> Option<Self> {
        Self::new("has_journal", "loop,errors=remount-ro")
    }

    /// That goes on after a failure.
    pub(crate) fn careless() -> Option<Self> {
        Self::new("^has_journal", "loop,errors=continue")
    }

    fn new(features: &str, options: &'static str) -> Option<Self> {
        let below = Small::new(16)?;
        let image = below.path().join("image");
        File::create(&image).unwrap().set_len(64 * MIB).unwrap();
        let made = Command::new("mkfs.ext4").args(["-q", "-m", "0", "-O", features]).arg(&image).status();
        if !made.is_ok_and(|made| made.success()) {
            untested("there is no `mkfs.ext4` here");
            return None;
        }
        let mounted = Mounted::new(&["-o", options], image.to_str().unwrap())?;
        Some(Self { mounted, below, options })
    }

    pub(crate) fn path(&self) -> &Path {
        self.mounted.folder.path()
    }

    /// Writing goes into memory and works; syncing fails, for there is no room below.
    pub(crate) fn fail_syncs(&self) {
        self.below.fill();
    }

    /// Syncing works again.
    pub(crate) fn heal(&self) {
        self.below.free();
    }

    /// The kernel gives the filesystem up, as after an error of the device, and lets nobody write.
    pub(crate) fn abort(&self) {
        self.mounted.again("remount,abort");
    }

    /// Unmounted and mounted again, as a person does who has mended the device.
    pub(crate) fn mended(self) -> Self {
        let Self { mounted, below, options } = self;
        let gone = Command::new("umount").arg(mounted.folder.path()).status().unwrap();
        assert!(gone.success(), "somebody uses it");
        let image = below.path().join("image");
        let mounted = Mounted::new(&["-o", options], image.to_str().unwrap()).unwrap();
        Self { mounted, below, options }
    }
}
