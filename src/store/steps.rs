//! The schema's history, whatever the database: numbered SQL files, each applied once and recognised by its checksum.

use std::fmt::Display;

use super::{Result, StoreError};
use crate::model::id::hex_of;

/// Bytes of SHA-256 by which an applied file is recognised.
const CHECKSUM_BYTES: usize = 16;

/// One file: its name and its statements. Its number is its place in the list of all, from 1.
pub(super) type Step = (&'static str, &'static str);

/// How an applied step is recognised.
pub(super) fn checksum(sql: &str) -> String {
    hex_of(&[sql], CHECKSUM_BYTES)
}

/// How many of the steps are not among those that were applied (number and checksum, in order) to the store at `place`.
///
/// # Errors
/// The database is newer than this program, or was made by other files.
pub(super) fn missing(steps: &[Step], applied: &[(u32, String)], place: &impl Display) -> Result<usize> {
    let found = applied.last().map_or(0, |(version, _)| *version);
    let known = u32::try_from(steps.len()).unwrap_or(u32::MAX);
    if found > known {
        return Err(StoreError::TooNew { place: place.to_string(), found, known });
    }
    for ((version, written), (name, sql)) in applied.iter().zip(steps) {
        if *written != checksum(sql) {
            return Err(StoreError::Corrupt(format!(
                "schema step {version} ({name}) is not the one this program knows; \
                 it was written by an unreleased version"
            )));
        }
    }
    Ok(steps.len() - applied.len())
}
