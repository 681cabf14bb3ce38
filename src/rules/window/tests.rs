//! Windows against a slow and obvious model, over the clock changes of all zones.

use std::collections::BTreeSet;

use jiff::civil::{Date, DateTime, Time, time};
use jiff::tz::TimeZone;
use jiff::{SignedDuration, Timestamp, ToSpan};
use proptest::prelude::*;

use super::{Cron, Days, Hours, Moments, Odd, Times};

/// The model walks in steps of five minutes, which all offsets of these years and all times of the test are multiples of.
const STEP_SECONDS: i64 = 300;

fn at(text: &str) -> Timestamp {
    text.parse().unwrap()
}

fn zone(name: &str) -> TimeZone {
    TimeZone::get(name).unwrap()
}

/// Zones that change their clocks from 2020 to 2035, each with the instants at which they do.
pub(in crate::rules) fn changes() -> Vec<(TimeZone, Vec<Timestamp>)> {
    let (from, to) = (at("2020-01-01T00:00:00Z"), at("2036-01-01T00:00:00Z"));
    let zones = jiff::tz::db().available().map(|name| zone(name.as_str()));
    let changing = zones.map(|zone| {
        let changes =
            zone.following(from).map(|change| change.timestamp()).take_while(|at| *at < to).collect();
        (zone, changes)
    });
    changing.filter(|(_, changes): &(TimeZone, Vec<Timestamp>)| !changes.is_empty()).collect()
}

/// The instants of the days around a change, in steps and with the change itself, each with its local time.
pub(in crate::rules) fn walk(zone: &TimeZone, change: Timestamp) -> Vec<(Timestamp, DateTime)> {
    let middle = change.as_second().div_euclid(STEP_SECONDS);
    let mut seconds: BTreeSet<i64> = (middle - 800..middle + 800).map(|step| step * STEP_SECONDS).collect();
    seconds.insert(change.as_second());
    let instants = seconds.into_iter().map(|second| Timestamp::from_second(second).unwrap());
    instants.map(|at| (at, at.to_zoned(zone.clone()).datetime())).collect()
}

/// What a person would say: it is that time as soon as the clock on the wall shows it, or a later one, for the first time.
fn first(walk: &[(Timestamp, DateTime)], local: DateTime) -> Option<Timestamp> {
    walk.iter().find(|(_, shown)| *shown >= local).map(|(at, _)| *at)
}

pub(in crate::rules) fn model_moments(
    moments: &Moments,
    walk: &[(Timestamp, DateTime)],
) -> BTreeSet<Timestamp> {
    let Times::OfDay { at, days } = &moments.times else { return BTreeSet::new() };
    let dates: BTreeSet<Date> = walk.iter().map(|(_, local)| local.date()).collect();
    let wanted = dates.iter().filter(|day| days.has(day.weekday()) && !moments.holidays.contains(*day));
    wanted.flat_map(|day| at.iter().filter_map(|at| first(walk, day.to_datetime(*at)))).collect()
}

pub(in crate::rules) fn model_open(hours: &Hours, walk: &[(Timestamp, DateTime)]) -> BTreeSet<Timestamp> {
    let dates: BTreeSet<Date> = walk.iter().map(|(_, local)| local.date()).collect();
    let mut open = BTreeSet::new();
    for day in dates.iter().filter(|day| hours.days.has(day.weekday()) && !hours.holidays.contains(*day)) {
        let next = day.tomorrow().unwrap();
        let end = match hours.to {
            None => next.to_datetime(Time::midnight()),
            Some(to) if to <= hours.from => next.to_datetime(to),
            Some(to) => day.to_datetime(to),
        };
        let start = first(walk, day.to_datetime(hours.from));
        let end = first(walk, end);
        let inside =
            |at: &Timestamp| start.is_some_and(|start| *at >= start) && end.is_none_or(|end| *at < end);
        open.extend(walk.iter().map(|(at, _)| *at).filter(inside));
    }
    open
}

pub(in crate::rules) fn times() -> impl Strategy<Value = Time> {
    // Most changes happen at night.
    let hour = prop_oneof![3 => 0_i8..4, 1 => 4_i8..24];
    (hour, 0_i8..12).prop_map(|(hour, five)| time(hour, five * 5, 0, 0))
}

pub(in crate::rules) fn days() -> impl Strategy<Value = Days> {
    (0_usize..7, 0_usize..7).prop_map(|(first, last)| {
        let word = |place| Days::words().nth(place).unwrap();
        Days::parse(&format!("{}-{}", word(first), word(last))).unwrap()
    })
}

/// Compares both over all changes, with one shape for all of them.
fn agree(at: &[Time], days: Days, from: Time, to: Option<Time>, change: usize) -> Result<(), TestCaseError> {
    for (zone, changes) in &changes() {
        let change = changes[change % changes.len()];
        let walk = walk(zone, change);
        // What the model says of its first and last days is cut off.
        let (begin, end) = (walk[0].0 + SignedDuration::from_hours(36), walk[walk.len() - 1].0);
        let end = end - SignedDuration::from_hours(36);
        let inner = |at: &Timestamp| *at > begin && *at < end;

        let times = Times::OfDay { at: at.to_vec(), days };
        let moments = Moments { times, zone: zone.clone(), holidays: BTreeSet::new() };
        let expected: Vec<Timestamp> = model_moments(&moments, &walk).into_iter().filter(inner).collect();
        let found: Vec<Timestamp> = moments.following(begin).take_while(|at| *at < end).collect();
        prop_assert_eq!(&found, &expected, "{:?} {:?}", zone, moments);
        for moment in &expected {
            prop_assert_eq!(moments.last(*moment), Some(*moment));
        }

        let hours = Hours { days, from, to, zone: zone.clone(), holidays: BTreeSet::new() };
        let expected = model_open(&hours, &walk);
        for (at, local) in walk.iter().filter(|(at, _)| inner(at)) {
            prop_assert_eq!(
                hours.open_at(*at),
                expected.contains(at),
                "{:?} {:?} {} {}",
                zone,
                hours,
                at,
                local
            );
        }
        let closed =
            walk.iter().map(|(at, _)| *at).filter(|at| inner(at) && !expected.contains(at)).step_by(17);
        for at in closed {
            if let Some(next) = expected.range(at..).next().filter(|next| inner(next)) {
                prop_assert_eq!(hours.opens(at), Some(*next), "{:?} {:?} {}", zone, hours, at);
            }
        }
    }
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 6, max_shrink_iters: 0, ..ProptestConfig::default() })]

    #[test]
    fn windows_agree_with_the_clock_on_the_wall(
        at in prop::collection::vec(times(), 1..4),
        days in days(),
        from in times(),
        to in prop::option::of(times()),
        change in 0_usize..64,
    ) {
        agree(&at, days, from, to, change)?;
    }
}

#[test]
fn a_time_that_is_skipped_is_the_end_of_the_gap_and_one_that_comes_twice_its_first() {
    let moments = |text: &str| Moments {
        times: Times::OfDay { at: vec![text.parse().unwrap()], days: Days::ALL },
        zone: zone("Europe/Rome"),
        holidays: BTreeSet::new(),
    };
    let next = |text, after: &str| moments(text).next(at(after)).unwrap().to_string();
    assert_eq!(next("02:30", "2026-03-28T12:00:00Z"), "2026-03-29T01:00:00Z");
    assert_eq!(next("02:30", "2026-03-29T01:00:00Z"), "2026-03-30T00:30:00Z");
    assert_eq!(next("02:30", "2026-10-24T12:00:00Z"), "2026-10-25T00:30:00Z");
    assert_eq!(next("02:30", "2026-10-25T00:30:00Z"), "2026-10-26T01:30:00Z");
}

#[test]
fn a_night_belongs_to_the_day_on_which_it_begins() {
    let hours = Hours {
        days: Days::parse("fri").unwrap(),
        from: time(22, 0, 0, 0),
        to: Some(time(6, 0, 0, 0)),
        zone: zone("Europe/Rome"),
        holidays: BTreeSet::new(),
    };
    assert!(hours.open_at(at("2026-03-07T04:59:00Z")));
    assert!(!hours.open_at(at("2026-03-07T05:00:00Z")));
    assert!(!hours.open_at(at("2026-03-07T22:00:00Z")));
    assert_eq!(hours.opens(at("2026-03-07T05:00:00Z")), Some(at("2026-03-13T21:00:00Z")));
}

#[test]
fn holidays_are_closed_and_a_year_of_them_is_closed_for_good() {
    let mut hours = Hours {
        days: Days::ALL,
        from: Time::midnight(),
        to: None,
        zone: TimeZone::UTC,
        holidays: BTreeSet::from(["2026-12-25".parse().unwrap(), "2026-12-26".parse().unwrap()]),
    };
    assert_eq!(hours.opens(at("2026-12-25T10:00:00Z")), Some(at("2026-12-27T00:00:00Z")));
    let first: Date = "2026-12-01".parse().unwrap();
    hours.holidays = first.series(1.day()).take(400).collect();
    assert_eq!(hours.opens(at("2026-12-25T10:00:00Z")), None);
    assert_eq!(hours.idle_from(), Some(first));
    hours.holidays = first.series(1.day()).take(100).collect();
    assert_eq!(hours.idle_from(), None);
}

#[test]
fn days_are_read_in_every_spelling_and_written_in_one() {
    for (written, shown) in [
        ("mon-fri", "mon-fri"),
        ("Sunday", "sun"),
        ("sat-sun", "sat, sun"),
        ("fri-mon", "mon, fri-sun"),
        ("tue", "tue"),
    ] {
        assert_eq!(Days::parse(written).unwrap().to_string(), shown);
    }
    assert_eq!(Days::parse("mon-fry"), Err("fry".to_owned()));
    assert_eq!(Days::parse("mon").unwrap().or(Days::parse("wed").unwrap()).to_string(), "mon, wed");
}

#[test]
fn a_cron_pattern_is_read_in_local_time_and_goes_by_the_same_clock() {
    let next = |text, after: &str| {
        let times = Times::Cron(Cron::parse(text).unwrap());
        let moments = Moments { times, zone: zone("Europe/Rome"), holidays: BTreeSet::new() };
        moments.next(at(after)).map(|at| at.to_string())
    };
    let of = |text, after| next(text, after).unwrap();
    assert_eq!(of("0 8 * * 1-5", "2026-03-27T08:00:00Z"), "2026-03-30T06:00:00Z");
    assert_eq!(of("30 2 * * *", "2026-03-28T12:00:00Z"), "2026-03-29T01:00:00Z", "it is the end of the gap");
    assert_eq!(of("30 2 * * *", "2026-10-25T00:30:00Z"), "2026-10-26T01:30:00Z", "it comes once");
    assert_eq!(of("0 9 * * MON#1", "2026-03-27T08:00:00Z"), "2026-04-06T07:00:00Z");
    assert_eq!(of("@monthly", "2026-03-27T08:00:00Z"), "2026-03-31T22:00:00Z");
    assert_eq!(next("0 0 30 2 *", "2026-03-27T08:00:00Z"), None);
    for wrong in ["", "0 8", "0 8 * * 1-5 2026", "61 8 * * *", "0 0 8 * * 1"] {
        assert!(Cron::parse(wrong).is_err(), "{wrong}");
    }
}

#[test]
fn openings_without_a_break_are_one_and_a_time_that_the_clocks_bother_is_told() {
    let mut hours = Hours {
        days: Days::parse("sat-sun").unwrap(),
        from: Time::midnight(),
        to: None,
        zone: zone("Europe/Rome"),
        holidays: BTreeSet::new(),
    };
    let shown = |hours: &Hours, after: &str| -> Vec<(String, bool)> {
        hours.changes(at(after), 3).iter().map(|change| (change.at.to_string(), change.opens)).collect()
    };
    let weekend =
        [("2026-03-08T23:00:00Z", false), ("2026-03-13T23:00:00Z", true), ("2026-03-15T23:00:00Z", false)];
    assert_eq!(shown(&hours, "2026-03-07T12:00:00Z"), weekend.map(|(at, opens)| (at.to_owned(), opens)));
    hours.days = Days::ALL;
    assert!(shown(&hours, "2026-03-07T12:00:00Z").is_empty(), "it never closes");
    (hours.from, hours.to) = (time(2, 30, 0, 0), Some(time(2, 45, 0, 0)));
    assert_eq!(hours.odd(at("2026-03-28T01:30:00Z")), None);
    assert_eq!(hours.odd(at("2026-10-25T00:30:00Z")), Some(Odd::Twice));
    let times = Times::OfDay { at: vec![time(2, 30, 0, 0)], days: Days::ALL };
    let moments = Moments { times, zone: zone("Europe/Rome"), holidays: BTreeSet::new() };
    let skipped = moments.next(at("2026-03-28T12:00:00Z")).unwrap();
    assert_eq!(moments.odd(skipped), Some(Odd::Skipped));
    assert_eq!(moments.odd(moments.next(skipped).unwrap()), None);
}
