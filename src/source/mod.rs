//! The vCita API as a poller meets it: requests, answers in all their shapes, the walk through the list. Decides nothing about deliveries.

pub mod api;
pub mod fault;
pub mod http;
pub mod lookup;
pub mod pace;
pub mod plain;
pub mod settled;
pub mod stamp;
pub mod walk;
pub mod wire;

use std::path::PathBuf;
use std::time::Duration;

use jiff::Timestamp;
use secrecy::{ExposeSecret, SecretString};
use url::Url;

/// An account as configured.
#[derive(Debug, PartialEq, Eq)]
pub struct Account {
    /// Its name in the rules file.
    pub name: String,
    /// Where its staff token comes from.
    pub token: Token,
    /// Without a trailing slash; `https`, or `http` on loopback.
    pub base_url: Url,
    /// From the end of one poll to the start of the next, before jitter.
    pub poll_every: Duration,
    /// Where the very first poll begins.
    pub start_from: StartFrom,
    /// Ask for unread messages only.
    pub unread_only: bool,
    /// How far behind the newest message each poll looks again.
    pub overlap: Duration,
    /// Look up names of clients, staff and the business.
    pub lookup: bool,
    /// Where links lead.
    pub app_host: Url,
}

/// Where an account's token comes from.
#[derive(Debug, Clone)]
pub enum Token {
    /// Given in the rules file, usually by `${…}`.
    Value(SecretString),
    /// Read from a file, again when it changes or after a 401.
    File(PathBuf),
}

impl PartialEq for Token {
    fn eq(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Value(mine), Self::Value(theirs)) => mine.expose_secret() == theirs.expose_secret(),
            (Self::File(mine), Self::File(theirs)) => mine == theirs,
            _ => false,
        }
    }
}

impl Eq for Token {}

/// Where the very first poll begins.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum StartFrom {
    /// At the server's time of the first poll.
    Now,
    /// So long before it.
    Ago(Duration),
    /// At a moment.
    At(Timestamp),
    /// With the oldest message there is.
    Beginning,
}

impl StartFrom {
    /// The server's time matters.
    pub fn is_relative(self) -> bool {
        matches!(self, Self::Now | Self::Ago(_))
    }

    /// Messages made before it are not taken, if the first poll is at this moment of the server's.
    pub fn floor(self, server_now: Timestamp) -> Timestamp {
        match self {
            Self::Now => stamp::floor(server_now),
            Self::Ago(by) => stamp::shift(server_now, -i64::try_from(by.as_secs()).unwrap_or(i64::MAX)),
            Self::At(at) => at,
            Self::Beginning => Timestamp::UNIX_EPOCH,
        }
    }
}
