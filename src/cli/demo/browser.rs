//! Opens a page in the browser of whoever sits before the screen; nothing happens where there is none.

use std::process::{Command, Stdio};
use std::thread;

use crate::config::secret::Environment;

/// Opens the address, if there is a screen and a program that opens browsers.
pub(super) fn open(address: &str, environment: &Environment) {
    let screen = ["DISPLAY", "WAYLAND_DISPLAY"]
        .iter()
        .any(|name| environment.get(name).is_some_and(|at| !at.is_empty()));
    let opener = if cfg!(target_os = "macos") { "open" } else { "xdg-open" };
    if !screen && !cfg!(target_os = "macos") {
        return;
    }
    let quiet = [Stdio::null(), Stdio::null(), Stdio::null()];
    let [stdin, stdout, stderr] = quiet;
    match Command::new(opener).arg(address).stdin(stdin).stdout(stdout).stderr(stderr).spawn() {
        // Somebody has to take note of its end.
        Ok(mut child) => drop(thread::spawn(move || child.wait())),
        Err(error) => tracing::debug!(%error, opener, "no browser is opened"),
    }
}
