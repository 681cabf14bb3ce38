//! `run --watch`: looks at the files of the configuration, and reloads when they have changed and come to rest.
//!
//! It looks, rather than being told: each path is resolved anew every time, so that a link that is swapped anywhere on the
//! way is seen (a Kubernetes `ConfigMap`), and so is a change on a network or FUSE file system, which tells nobody.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::PathBuf;
use std::time::Duration;

use tokio_util::sync::CancellationToken;

use super::reload::{Cause, Reloader};

/// How often it looks. What looks the same twice in a row has come to rest.
const LOOK_EVERY: Duration = Duration::from_millis(500);
/// After so many looks in a row at something that does not come to rest, it is read as it is.
const LOOKS_MAX: u32 = 10;

/// What changes about a file whenever it is written, replaced or swapped; `None` where there is none.
type Stamp = Option<(u64, (i64, i64), (i64, i64))>;
type Stamps = BTreeMap<PathBuf, Stamp>;

/// Looks until the relay stops.
pub async fn watch(reloader: Reloader, stop: CancellationToken) {
    // Nothing is known at first: what has changed since the start is taken up by the first look.
    let (mut known, mut last, mut looks) = (Stamps::new(), Stamps::new(), 0);
    loop {
        tokio::select! {
            () = tokio::time::sleep(LOOK_EVERY) => {}
            () = stop.cancelled() => return,
        }
        let paths = reloader.seen().paths().clone();
        // Never cancelled, and never panics.
        let Ok(now) = tokio::task::spawn_blocking(move || stamps(paths)).await else { continue };
        if now == known {
            looks = 0;
            continue;
        }
        looks += 1;
        let rests = now == last;
        last.clone_from(&now);
        if rests || looks >= LOOKS_MAX {
            reloader.reload(Cause::Watch).await;
            // As it was before it was read: what has changed since, or is looked at only from now on, is read again.
            (known, looks) = (now, 0);
        }
    }
}

fn stamps(paths: BTreeSet<PathBuf>) -> Stamps {
    let stamp = |path: &PathBuf| {
        let found = fs::metadata(path).ok()?;
        Some((found.size(), (found.mtime(), found.mtime_nsec()), (found.ctime(), found.ctime_nsec())))
    };
    paths.into_iter().map(|path| (path.clone(), stamp(&path))).collect()
}
