//! Signals: the first asks for a graceful stop, the second ends the process at once; SIGHUP asks for a reload.

use tokio::signal::unix::{SignalKind, signal};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::reload::{Cause, Reloader};

/// The exit code of a second signal: 128 and the number of SIGTERM.
const EXIT_AT_ONCE: i32 = 128 + 15;

/// Watches SIGTERM and SIGINT; the token is cancelled by the first.
///
/// # Errors
/// The signals cannot be watched.
pub fn watch(tracker: &TaskTracker, stop: CancellationToken) -> std::io::Result<()> {
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    tracker.spawn(async move {
        for count in 1.. {
            tokio::select! {
                _ = terminate.recv() => {}
                _ = interrupt.recv() => {}
            }
            if count > 1 {
                tracing::warn!("stopped at once by a second signal; nothing is lost");
                std::process::exit(EXIT_AT_ONCE);
            }
            tracing::info!("stopping: what is under way is finished, nothing new is started");
            stop.cancel();
        }
    });
    Ok(())
}

/// Reloads at each SIGHUP until told to stop; those that come while one is at work are one more.
///
/// # Errors
/// The signal cannot be watched.
pub fn reload_on_hangup(
    tracker: &TaskTracker,
    reloader: Reloader,
    stop: CancellationToken,
) -> std::io::Result<()> {
    let mut hangup = signal(SignalKind::hangup())?;
    tracker.spawn(async move {
        loop {
            tokio::select! {
                _ = hangup.recv() => {}
                () = stop.cancelled() => return,
            }
            reloader.reload(Cause::Signal).await;
        }
    });
    Ok(())
}
