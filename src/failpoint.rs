//! Named moments at which a test kills or stops the program; compiled to nothing without the feature `failpoints`.

/// The program passes the moment called `name`. With the feature, the environment variable `RELAY_FAILPOINTS` says
/// what happens there: `settle-before=kill@3,claimed=stop` kills at the third passing of the one, as SIGKILL does, and
/// stops the whole process, as SIGSTOP does, at the first passing of the other.
#[cfg(feature = "failpoints")]
pub(crate) fn pass(name: &str) {
    armed::pass(name);
}

/// Nothing happens there.
#[cfg(not(feature = "failpoints"))]
#[inline(always)]
pub(crate) const fn pass(_name: &str) {}

#[cfg(feature = "failpoints")]
mod armed {
    use std::collections::HashMap;
    use std::sync::LazyLock;
    use std::sync::atomic::{AtomicU64, Ordering};
    use std::time::Duration;

    use rustix::process::{Signal, getpid, kill_process};

    use crate::config::secret::Environment;

    const VARIABLE: &str = "RELAY_FAILPOINTS";
    /// More than the kernel needs to stop all threads of a process.
    const STOP_TAKES: Duration = Duration::from_millis(20);

    static ARMED: LazyLock<HashMap<String, Trap>> =
        LazyLock::new(|| traps(Environment::of_process().get(VARIABLE).unwrap_or_default()));

    /// What happens at the `at`th passing of a point.
    struct Trap {
        signal: Signal,
        at: u64,
        passed: AtomicU64,
    }

    pub(super) fn pass(name: &str) {
        let Some(trap) = ARMED.get(name) else { return };
        if trap.passed.fetch_add(1, Ordering::Relaxed) + 1 == trap.at {
            // Its own process can always be signalled.
            let _ = kill_process(getpid(), trap.signal);
            // Another thread may be the one that takes a stop; this one goes no further meanwhile.
            std::thread::sleep(STOP_TAKES);
        }
    }

    /// What the variable says; what is not understood is left out, and the test that waits for it fails.
    fn traps(text: &str) -> HashMap<String, Trap> {
        text.split(',').filter_map(trap).collect()
    }

    fn trap(text: &str) -> Option<(String, Trap)> {
        let (name, what) = text.split_once('=')?;
        let (action, at) = what.split_once('@').unwrap_or((what, "1"));
        let signal = match action {
            "kill" => Signal::KILL,
            "stop" => Signal::STOP,
            _ => return None,
        };
        Some((name.to_owned(), Trap { signal, at: at.parse().ok()?, passed: AtomicU64::new(0) }))
    }

    #[cfg(test)]
    mod tests {
        use super::*;

        #[test]
        fn a_trap_names_its_point_what_happens_and_when() {
            let traps = traps("claimed=stop,settle-before=kill@3,odd,also=nothing@1");
            let mut read: Vec<_> =
                traps.iter().map(|(name, trap)| (name.as_str(), trap.signal, trap.at)).collect();
            read.sort_by_key(|(name, ..)| *name);
            assert_eq!(read, [("claimed", Signal::STOP, 1), ("settle-before", Signal::KILL, 3)]);
        }
    }
}
