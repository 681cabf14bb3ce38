//! Figures over a period: what ended in each state and how long attempts took, step by step.

use std::time::Duration;

use jiff::Timestamp;
use serde::Serialize;
use serde_json::{Map, Value, json};

use crate::model::delivery::StateName;
use crate::store::{Counts, Result, Store, Window};

/// Of each step so many attempts are looked at, the last ones.
const SAMPLE: usize = 200;

/// A period that figures are asked of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Range {
    /// The last hour, in steps of two minutes.
    Hour,
    /// The last day, in hours.
    Day,
    /// The last week, in steps of six hours.
    Week,
}

impl Range {
    /// All of them, the shortest first.
    pub const ALL: [Self; 3] = [Self::Hour, Self::Day, Self::Week];

    /// Its name: `1h`, `24h` or `7d`.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Hour => "1h",
            Self::Day => "24h",
            Self::Week => "7d",
        }
    }

    /// The one of that name.
    pub fn parse(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|range| range.as_str() == name)
    }

    /// How long a step is, and how many there are.
    fn steps(self) -> (Duration, u32) {
        match self {
            Self::Hour => (Duration::from_mins(2), 30),
            Self::Day => (Duration::from_hours(1), 24),
            Self::Week => (Duration::from_hours(6), 28),
        }
    }
}

/// How long attempts took, in milliseconds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct Latency {
    /// Half of them took no longer.
    pub p50_ms: u64,
    /// 95 of a hundred took no longer.
    pub p95_ms: u64,
    /// 99 of a hundred took no longer.
    pub p99_ms: u64,
}

impl Latency {
    /// Of so many attempts; `None` of none.
    pub fn of(mut ms: Vec<u64>) -> Option<Self> {
        ms.sort_unstable();
        // The nearest rank: the smallest one that so many of a hundred do not exceed.
        let rank = |percent: usize| ms.get((ms.len() * percent).div_ceil(100).saturating_sub(1)).copied();
        Some(Self { p50_ms: rank(50)?, p95_ms: rank(95)?, p99_ms: rank(99)? })
    }
}

/// What happened in one step.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Step {
    /// Its beginning.
    pub from: Timestamp,
    /// How many deliveries ended in each state.
    pub ended: Counts,
    /// How long the attempts took that were successful; `None` without any.
    pub latency: Option<Latency>,
}

/// What happened in a period.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Figures {
    /// Which one.
    pub range: Range,
    /// How long a step is.
    pub step: Duration,
    /// All steps, the oldest first.
    pub steps: Vec<Step>,
    /// How long attempts took in the whole period, of the same sample.
    pub latency: Option<Latency>,
}

impl Figures {
    /// Gathers them. The last step is the one that is under way.
    ///
    /// # Errors
    /// The store cannot be read.
    pub async fn of(store: &Store, range: Range, now: Timestamp) -> Result<Self> {
        let (step, number) = range.steps();
        let step_ms = i64::try_from(step.as_millis()).unwrap_or(i64::MAX);
        let last = now.as_millisecond().div_euclid(step_ms);
        let beginning = |index: i64| Timestamp::from_millisecond(index * step_ms).unwrap_or(now);
        let windows: Vec<Window> = (last + 1 - i64::from(number)..=last)
            .map(|index| (beginning(index), beginning(index + 1)))
            .collect();
        let mut steps: Vec<Step> = windows
            .iter()
            .map(|(from, _)| Step { from: *from, ended: Counts::default(), latency: None })
            .collect();
        let since = windows.first().map_or(now, |(from, _)| *from);
        for (at, state, n) in store.ended_per(since, step).await? {
            if let Some(step) = steps.iter_mut().find(|step| step.from == at) {
                *step.ended.of_mut(state) = n;
            }
        }
        let sampled = store.latencies(&windows, SAMPLE).await?;
        let latency = Latency::of(sampled.concat());
        for (step, ms) in steps.iter_mut().zip(sampled) {
            step.latency = Latency::of(ms);
        }
        Ok(Self { range, step, steps, latency })
    }

    /// The shortest period that holds all that has ended, or the day.
    ///
    /// # Errors
    /// The store cannot be read.
    pub async fn fitting(store: &Store, now: Timestamp) -> Result<Self> {
        let day = Self::of(store, Range::Day, now).await?;
        // An hour reaches into two steps of the day at most.
        let before = day.steps.len().saturating_sub(2);
        if day.ended() == 0 || day.steps.iter().take(before).any(|step| ended(&step.ended) > 0) {
            return Ok(day);
        }
        let hour = Self::of(store, Range::Hour, now).await?;
        Ok(if hour.ended() == day.ended() { hour } else { day })
    }

    /// How many ended in the whole period.
    fn ended(&self) -> u64 {
        self.steps.iter().map(|step| ended(&step.ended)).sum()
    }

    /// As programs are shown them.
    pub fn as_json(&self) -> Value {
        let step = |step: &Step| {
            let ended: Map<String, Value> = StateName::ENDS
                .iter()
                .map(|state| (state.to_string(), step.ended.of(*state).into()))
                .collect();
            json!({ "from": step.from, "ended": ended, "latency": step.latency })
        };
        json!({
            "range": self.range.as_str(), "step_seconds": self.step.as_secs(), "latency": self.latency,
            "steps": self.steps.iter().map(step).collect::<Vec<_>>(),
        })
    }
}

/// How many ended, in whatever state.
pub fn ended(counts: &Counts) -> u64 {
    StateName::ENDS.iter().map(|state| counts.of(*state)).sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentiles_are_the_nearest_rank() {
        assert_eq!(Latency::of(Vec::new()), None);
        let one = Latency { p50_ms: 7, p95_ms: 7, p99_ms: 7 };
        assert_eq!(Latency::of(vec![7]), Some(one));
        let hundred = Latency { p50_ms: 50, p95_ms: 95, p99_ms: 99 };
        assert_eq!(Latency::of((1..=100).rev().collect()), Some(hundred));
    }
}
