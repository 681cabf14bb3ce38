//! The one door to the terminal: text for people on stdout, notes on stderr, JSON for programs.

use std::fmt::Display;
use std::io::{self, IsTerminal, Write};

use anstream::adapter::strip_str;
use anstream::{AutoStream, ColorChoice};
use anstyle::{AnsiColor, Style};
use serde::Serialize;

use super::Color;

/// For what matters most on a line.
pub const BOLD: Style = Style::new().bold();
/// For what matters least.
pub const DIM: Style = Style::new().dimmed();
/// For what went well.
pub const GOOD: Style = AnsiColor::Green.on_default();
/// For what needs a look.
pub const WARN: Style = AnsiColor::Yellow.on_default();
/// For what went wrong.
pub const BAD: Style = AnsiColor::Red.on_default().bold();

/// `text` in a style: escape codes that are removed again where colours are off.
pub fn paint(style: Style, text: impl Display) -> String {
    format!("{style}{text}{style:#}")
}

/// So many of a thing, in words: `1 delivery`, `2 deliveries`, `0 lines`.
pub fn counted(count: usize, what: &str) -> String {
    match what.strip_suffix('y') {
        _ if count == 1 => format!("1 {what}"),
        Some(stem) => format!("{count} {stem}ies"),
        None => format!("{count} {what}s"),
    }
}

/// Where commands print. A closed pipe (`… | head`) is no error: what nobody reads is not written.
#[derive(Debug, Clone, Copy)]
pub struct Output {
    color: ColorChoice,
}

impl Output {
    /// Colours as asked for; `auto` looks at the terminal and at `NO_COLOR`.
    pub fn new(color: Color) -> Self {
        let color = match color {
            Color::Auto => ColorChoice::Auto,
            Color::Always => ColorChoice::Always,
            Color::Never => ColorChoice::Never,
        };
        Self { color }
    }

    /// One line of output.
    pub fn line(&self, text: impl Display) -> io::Result<()> {
        let stdout = AutoStream::new(io::stdout(), self.color);
        if stdout.current_choice() == ColorChoice::Never {
            // In one piece: the stream would write each line of a long text by itself.
            let plain = strip_str(&format!("{text}\n")).to_string();
            return quiet_on_closed_pipe(io::stdout().write_all(plain.as_bytes()));
        }
        quiet_on_closed_pipe(writeln!(stdout.lock(), "{text}"))
    }

    /// One line beside the output: a warning, a hint, progress.
    pub fn note(&self, text: impl Display) -> io::Result<()> {
        let mut stderr = AutoStream::new(io::stderr(), self.color).lock();
        quiet_on_closed_pipe(writeln!(stderr, "{text}"))
    }

    /// A part of a line beside the output, shown at once.
    pub fn part(&self, text: &str) -> io::Result<()> {
        let mut stderr = AutoStream::new(io::stderr(), self.color).lock();
        quiet_on_closed_pipe(stderr.write_all(text.as_bytes()).and_then(|()| stderr.flush()))
    }

    /// Notes go to a terminal.
    pub fn is_watched(&self) -> bool {
        io::stderr().is_terminal()
    }

    /// One JSON document on one line.
    pub fn json(&self, value: &impl Serialize) -> anyhow::Result<()> {
        let text = serde_json::to_string(value)?;
        Ok(self.line(text)?)
    }

    /// How many columns the terminal has; `None` where output goes elsewhere.
    pub fn width(&self) -> Option<usize> {
        terminal_size::terminal_size_of(io::stdout()).map(|(width, _)| usize::from(width.0))
    }
}

fn quiet_on_closed_pipe(result: io::Result<()>) -> io::Result<()> {
    match result {
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(()),
        other => other,
    }
}
