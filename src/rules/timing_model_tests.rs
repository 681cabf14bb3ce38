//! The timing of a whole entry against a slow and obvious model, over the clock changes of all zones.

use std::collections::BTreeSet;

use jiff::civil::Time;
use jiff::tz::TimeZone;
use jiff::{SignedDuration, Timestamp};
use proptest::prelude::*;

use super::tests::message_at;
use super::*;
use crate::model::group::Kind;
use crate::rules::window::tests::{changes, days, model_moments, model_open, times, walk};
use crate::rules::window::{Days, Times};

/// What an entry says, without a zone.
#[derive(Debug, Clone)]
struct Shape {
    digest: Option<Closing>,
    collapse: bool,
    outside: Option<Outside>,
    open: (Days, Time, Option<Time>),
}

#[derive(Debug, Clone)]
enum Closing {
    Every(u64),
    At(Vec<Time>, Days),
}

const WITHIN: Duration = Duration::from_mins(10);

fn shape() -> impl Strategy<Value = Shape> {
    let closing = prop_oneof![
        (1_u64..60).prop_map(|five| Closing::Every(five * 5)),
        (prop::collection::vec(times(), 1..3), days()).prop_map(|(at, days)| Closing::At(at, days)),
    ];
    let outside = prop_oneof![Just(Outside::Hold), Just(Outside::Digest), Just(Outside::Drop)];
    let open = (days(), times(), prop::option::of(times()));
    (prop::option::of(closing), any::<bool>(), prop::option::of(outside), open)
        .prop_map(|(digest, collapse, outside, open)| Shape { digest, collapse, outside, open })
}

fn timing(shape: &Shape, zone: &TimeZone) -> Timing {
    let key = || Key::of_fields(["client.uid"]).unwrap();
    let closes = |closing: &Closing| match closing {
        Closing::Every(minutes) => Closes::After { every: Duration::from_mins(*minutes), extend_max: None },
        Closing::At(at, days) => {
            let times = Times::OfDay { at: at.clone(), days: *days };
            Closes::At(Moments { times, zone: zone.clone(), holidays: BTreeSet::new() })
        }
    };
    let (days, from, to) = shape.open;
    let hours = Hours { days, from, to, zone: zone.clone(), holidays: BTreeSet::new() };
    Timing {
        during: shape.outside.map(|outside| During {
            schedule: "hours".to_owned(),
            hours,
            outside,
            except: Vec::new(),
        }),
        digest: shape.digest.as_ref().map(|closing| Digest {
            closes: closes(closing),
            group_by: key(),
            items_max: None,
            leading: false,
            if_empty: IfEmpty::Skip,
        }),
        throttle: None,
        collapse: shape.collapse.then(|| Collapse { by: key(), within: WITHIN }),
    }
}

/// What is to be due when, together with what: by walking from step to step. `None` where the walk ends before.
fn model(
    shape: &Shape,
    now: Timestamp,
    closings: &BTreeSet<Timestamp>,
    open: &BTreeSet<Timestamp>,
) -> Option<(Timestamp, Option<Kind>, bool)> {
    let later = |minutes: u64| now + Duration::from_mins(minutes);
    let (mut due, mut kind) = match &shape.digest {
        Some(Closing::Every(minutes)) => (later(*minutes), Some(Kind::Digest)),
        Some(Closing::At(..)) => (*closings.iter().find(|moment| **moment > now)?, Some(Kind::Digest)),
        None if shape.collapse => (now + WITHIN, Some(Kind::Event)),
        None => (now, None),
    };
    match shape.outside {
        Some(Outside::Drop) => return Some((due, kind, !open.contains(&now))),
        Some(outside) => {
            let opens = *open.iter().find(|moment| **moment >= due)?;
            if opens != due && outside == Outside::Digest {
                kind = Some(Kind::Digest);
            }
            due = opens;
        }
        None => {}
    }
    Some((due, kind, false))
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 12, max_shrink_iters: 0, ..ProptestConfig::default() })]

    #[test]
    fn what_is_due_when_and_with_what_agrees_with_the_clock_on_the_wall(
        shape in shape(),
        change in 0_usize..64,
        offset in 0_usize..97,
    ) {
        for (zone, changes) in &changes() {
            let walk = walk(zone, changes[change % changes.len()]);
            let timing = timing(&shape, zone);
            let closings = match timing.digest.as_ref().map(|digest| &digest.closes) {
                Some(Closes::At(moments)) => model_moments(moments, &walk),
                Some(Closes::After { .. }) | None => BTreeSet::new(),
            };
            let open = timing.during.as_ref().map(|during| model_open(&during.hours, &walk)).unwrap_or_default();
            // What the model says of its first and last days is cut off.
            let inner = SignedDuration::from_hours(36);
            let (begin, end) = (walk[0].0 + inner, walk[walk.len() - 1].0 - inner);
            let moments = walk.iter().map(|(at, _)| *at).filter(|at| *at > begin && *at < end);
            for now in moments.skip(offset).step_by(97) {
                let Some(expected) = model(&shape, now, &closings, &open).filter(|found| found.0 < end) else {
                    continue;
                };
                let when = timing.when(&message_at(now), &Names::default(), now);
                let found = (when.due_at, when.joins.map(|join| join.kind), when.withheld.is_some());
                prop_assert_eq!(found, expected, "{:?} {:?} {}", zone, shape, now);
            }
        }
    }
}
