//! How far something is that takes a while, for whoever waits at the terminal.

use jiff::{SignedDuration, Timestamp};

use super::Context;
use super::output::Output;
use crate::daemon::clock::Clock;

/// Where nobody watches, a line is written so often.
const LINE_EVERY: SignedDuration = SignedDuration::from_secs(10);

/// Tells on stderr: at a terminal on one line that is written over, elsewhere, as in a log, by a line now and then.
#[derive(Debug)]
pub(super) struct Progress {
    out: Output,
    clock: Clock,
    teller: Teller,
}

impl Progress {
    /// Nothing is told yet.
    pub(super) fn new(context: &Context) -> Self {
        let (out, clock) = (context.out, context.clock.clone());
        let teller = Teller { live: out.is_watched(), told: clock.now(), width: 0 };
        Self { out, clock, teller }
    }

    /// How far it is. What cannot be written is no reason to stop what is told of.
    pub(super) fn tell(&mut self, text: &str) {
        if let Some(written) = self.teller.tell(text, self.clock.now()) {
            self.write(&written);
        }
    }

    fn write(&self, text: &str) {
        drop(self.out.part(text));
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        if let Some(written) = self.teller.done() {
            self.write(&written);
        }
    }
}

/// Decides what is written.
#[derive(Debug)]
struct Teller {
    /// At a terminal.
    live: bool,
    /// When a line was last written.
    told: Timestamp,
    /// How much of the terminal's line is in use, in characters.
    width: usize,
}

impl Teller {
    fn tell(&mut self, text: &str, now: Timestamp) -> Option<String> {
        if self.live {
            let before = std::mem::replace(&mut self.width, text.chars().count());
            return Some(format!("\r{text:<before$}"));
        }
        if now.duration_since(self.told) < LINE_EVERY {
            return None;
        }
        self.told = now;
        Some(format!("{text}\n"))
    }

    /// Clears the line for what follows.
    fn done(&mut self) -> Option<String> {
        let width = std::mem::take(&mut self.width);
        (width > 0).then(|| format!("\r{:width$}\r", ""))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(seconds: i64) -> Timestamp {
        Timestamp::from_second(1_790_000_000 + seconds).unwrap()
    }

    #[test]
    fn at_a_terminal_one_line_is_written_over_and_cleared() {
        let mut teller = Teller { live: true, told: at(0), width: 0 };
        assert_eq!(teller.tell("100 messages", at(0)).unwrap(), "\r100 messages");
        assert_eq!(teller.tell("names: 1", at(1)).unwrap(), "\rnames: 1    ");
        assert_eq!(teller.done().unwrap(), "\r        \r");
        assert_eq!(teller.done(), None);
    }

    #[test]
    fn elsewhere_a_line_is_written_now_and_then() {
        let mut teller = Teller { live: false, told: at(0), width: 0 };
        let said: Vec<_> = [1, 9, 10, 11, 19, 20].map(|s| teller.tell(&s.to_string(), at(s))).into();
        assert_eq!(said, [None, None, Some("10\n".into()), None, None, Some("20\n".into())]);
        assert_eq!(teller.done(), None);
    }
}
