//! Log lines: to stderr, as text for people or JSON for programs.

use std::io::{self, IsTerminal};

use tracing_subscriber::EnvFilter;
use tracing_subscriber::fmt;

use super::{Color, Format, Global};

/// Starts logging. A filter that does not parse is said and replaced by `default`.
pub fn start(global: &Global, default: &str) {
    let wanted = global.log.as_deref().unwrap_or(default);
    let (filter, wrong) = match EnvFilter::try_new(wanted) {
        Ok(filter) => (filter, None),
        Err(error) => (EnvFilter::new(default), Some(error)),
    };
    let ansi = match global.color {
        Color::Always => true,
        Color::Never => false,
        Color::Auto => {
            io::stderr().is_terminal()
                && anstream::AutoStream::choice(&io::stderr()) != anstream::ColorChoice::Never
        }
    };
    let builder = fmt().with_env_filter(filter).with_writer(io::stderr).with_target(false);
    // A second subscriber in one process (tests) is refused; the first one stays.
    let _ = match global.log_format {
        Format::Text => builder.with_ansi(ansi).try_init(),
        Format::Json => builder.json().flatten_event(true).with_ansi(false).try_init(),
    };
    if let Some(error) = wrong {
        tracing::warn!(filter = wanted, %error, "this --log filter cannot be read, the default is used");
    }
}
