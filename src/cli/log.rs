//! Log lines: to stderr, as text for people or JSON for programs.

use std::io::{self, IsTerminal};

use tracing_subscriber::EnvFilter;
use tracing_subscriber::filter::LevelFilter;
use tracing_subscriber::fmt;

use super::{Color, Exit, Format, Global, Stop};

/// Libraries whose troubles the relay tells in its own words, once: their lines are for those who want `debug`.
const TOLD_ANYWAY: [&str; 3] = ["deadpool", "tokio_postgres", "rustls_platform_verifier"];

/// Starts logging. A filter of the environment that does not parse is said and replaced by `default`: it may be meant
/// for others.
///
/// # Errors
/// Exit 2: the filter is `named` on the command line and cannot be read.
pub fn start(global: &Global, named: bool, default: &str) -> anyhow::Result<()> {
    let wanted = global.log.as_deref().unwrap_or(default);
    let (filter, wrong) = match EnvFilter::try_new(quieted(wanted)) {
        Ok(filter) => (filter, None),
        Err(_) if named => return Err(unreadable(wanted)),
        Err(error) => (EnvFilter::new(quieted(default)), Some(error)),
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
    // A line that cannot be written (a full disk, a pipe that nobody reads) is let go: to complain of it where it could not be
    // written would be a panic of whoever logs.
    let builder = builder.log_internal_errors(false);
    // A second subscriber in one process (tests) is refused; the first one stays.
    let _ = match global.log_format {
        Format::Text => builder.with_ansi(ansi).try_init(),
        Format::Json => builder.json().flatten_event(true).with_ansi(false).try_init(),
    };
    if let Some(error) = wrong {
        tracing::warn!(filter = wanted, %error, "the filter in RUST_LOG cannot be read, the default is used");
    }
    Ok(())
}

/// The filter, in which a level above `debug` does not hold for what is told anyway. Whoever names a library gets it.
fn quieted(filter: &str) -> String {
    let parts = filter.split(',').map(str::trim).filter(|part| !part.is_empty());
    match parts.filter_map(|part| part.parse::<LevelFilter>().ok()).next_back() {
        Some(level) if level < LevelFilter::DEBUG => {
            TOLD_ANYWAY.map(|library| format!("{library}=off,")).concat() + filter
        }
        _ => filter.to_owned(),
    }
}

/// Says which part of a filter is none.
fn unreadable(filter: &str) -> anyhow::Error {
    let wrong = filter.split(',').find(|part| EnvFilter::try_new(part).is_err());
    let text = format!(
        "--log {filter}: `{}` is no filter; write a level (error, warn, info, debug, trace, off), or several such as \
         warn,activity_relay=debug",
        wrong.unwrap_or(filter)
    );
    Stop::new(Exit::Usage, text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn libraries_are_heard_by_those_who_want_all_or_name_them() {
        let quiet = "deadpool=off,tokio_postgres=off,rustls_platform_verifier=off,";
        for filter in ["info", "warn, activity_relay=debug", "3", "off", "info,deadpool=debug"] {
            assert_eq!(quieted(filter), format!("{quiet}{filter}"));
        }
        for filter in ["debug", "trace", "activity_relay=debug", ""] {
            assert_eq!(quieted(filter), filter);
        }
        let filter = EnvFilter::new(quieted("info,deadpool=debug")).to_string();
        assert!(filter.contains("deadpool=debug") && !filter.contains("deadpool=off"), "{filter}");
    }
}
