//! How many deliveries of a kind may go in a period, and how many were held back: the whole state is one window. Pure.

use std::num::NonZeroU32;
use std::time::Duration;

use jiff::Timestamp;

use super::settle::after_now;

/// So many in so much time. The period begins with the first delivery after a quiet time, so that with a limit of one, two are
/// never closer together than the period.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Throttle {
    /// How many go.
    pub limit: NonZeroU32,
    /// In what time.
    pub per: Duration,
}

/// How far a period is used up.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Window {
    /// When it began.
    pub start: Timestamp,
    /// How many went in it.
    pub passed: u32,
    /// How many were held back since the last one that went.
    pub held: u32,
}

/// What becomes of one more.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Pass {
    /// It goes, and says how many were held back before it.
    Through {
        /// How many.
        held: u32,
    },
    /// It is held back.
    Over {
        /// When the next may go.
        until: Timestamp,
    },
}

impl Throttle {
    /// What becomes of one more at `now`, and the window afterwards. `None` before the first. Where those that are held back
    /// are `gathered`, they go together when the period ends, as the first of the next one.
    pub fn take(self, window: Option<Window>, gathered: bool, now: Timestamp) -> (Window, Pass) {
        let window = window.map(|window| if gathered { self.went_on(window, now) } else { window });
        let held = window.filter(|_| !gathered).map_or(0, |window| window.held);
        match window.filter(|window| self.holds(window, now)) {
            Some(window) if window.passed >= self.limit.get() => {
                let until = after_now(window.start, self.per);
                (Window { held: window.held.saturating_add(1), ..window }, Pass::Over { until })
            }
            Some(window) => (Window { passed: window.passed + 1, held: 0, ..window }, Pass::Through { held }),
            None => (Window { start: now, passed: 1, held: 0 }, Pass::Through { held }),
        }
    }

    /// The window after what was held back in it went.
    fn went_on(self, window: Window, now: Timestamp) -> Window {
        let end = after_now(window.start, self.per);
        if window.held == 0 || now < end { window } else { Window { start: end, passed: 1, held: 0 } }
    }

    /// The window is that of `now`. One that begins further ahead than the period is long was written before the clock was set
    /// back, and binds nobody.
    fn holds(self, window: &Window, now: Timestamp) -> bool {
        now < after_now(window.start, self.per) && window.start <= after_now(now, self.per)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn at(seconds: i64) -> Timestamp {
        Timestamp::from_second(1_800_000_000 + seconds).unwrap()
    }

    fn hourly(limit: u32) -> Throttle {
        Throttle { limit: NonZeroU32::new(limit).unwrap(), per: Duration::from_hours(1) }
    }

    #[test]
    fn the_next_that_goes_says_how_many_were_held_back() {
        let throttle = hourly(1);
        let (window, first) = throttle.take(None, false, at(0));
        assert_eq!(first, Pass::Through { held: 0 });
        let (window, over) = throttle.take(Some(window), false, at(10));
        assert_eq!(over, Pass::Over { until: at(3600) });
        let (window, _) = throttle.take(Some(window), false, at(3599));
        let (window, next) = throttle.take(Some(window), false, at(3600));
        assert_eq!(next, Pass::Through { held: 2 });
        assert_eq!(throttle.take(Some(window), false, at(9000)).1, Pass::Through { held: 0 });
    }

    #[test]
    fn a_clock_that_was_set_back_a_day_holds_nothing_back_for_a_day() {
        let (window, _) = hourly(1).take(None, false, at(86_400));
        assert_eq!(hourly(1).take(Some(window), false, at(0)).1, Pass::Through { held: 0 });
    }

    #[test]
    fn what_was_gathered_is_the_first_of_the_next_period() {
        let throttle = hourly(1);
        let (window, _) = throttle.take(None, true, at(0));
        let (window, over) = throttle.take(Some(window), true, at(10));
        assert_eq!(over, Pass::Over { until: at(3600) });
        let (_, next) = throttle.take(Some(window), true, at(3700));
        assert_eq!(next, Pass::Over { until: at(7200) });
        assert_eq!(throttle.take(Some(window), true, at(7200)).1, Pass::Through { held: 0 });
    }

    proptest! {
        /// The model keeps every moment at which one went, and cuts them into periods anew each time.
        #[test]
        fn windows_agree_with_a_list_of_all_that_went(
            limit in 1_u32..5,
            gaps in prop::collection::vec(0_i64..3000, 1..60),
        ) {
            let throttle = hourly(limit);
            let (mut now, mut window, mut went, mut held) = (0, None, Vec::<i64>::new(), 0);
            for gap in gaps {
                now += gap;
                let mut period: Option<(i64, u32)> = None;
                for moment in &went {
                    period = match period {
                        Some((start, count)) if *moment < start + 3600 => Some((start, count + 1)),
                        _ => Some((*moment, 1)),
                    };
                }
                let full = period.filter(|(start, count)| now < start + 3600 && *count == limit);
                let expected = if let Some((start, _)) = full {
                    held += 1;
                    Pass::Over { until: at(start + 3600) }
                } else {
                    went.push(now);
                    Pass::Through { held: std::mem::take(&mut held) }
                };
                let (next, found) = throttle.take(window, false, at(now));
                window = Some(next);
                prop_assert_eq!(found, expected);
            }
        }
    }
}
