//! How the list is walked so that nothing is missed while it shrinks, grows and shuffles under the walk. Pure: pages in, queries out.
//!
//! The list holds what is unread at the moment of each request, sorted by a time in which many rows may be equal. So
//! the walk stays on page 1 and steps by time; only where more rows than a page fall into one second does it turn
//! pages, as often as it takes until a whole walk finds nothing new. Every query begins a second early, so that
//! it does not matter whether bounds are inclusive and stamps cut to seconds.

use std::collections::HashSet;
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};

use super::settled::Settled;
use super::stamp::{floor, shift};
use super::wire::Item;

/// Rows asked for per page; the most that the API gives.
pub const PAGE_ROWS: usize = 100;
/// How much earlier each query begins, and how much later a closed one ends.
const SLACK_SECONDS: i64 = 1;
/// A crowded second is read together with the next one, which a query from the next second on begins with again.
const WINDOW_SECONDS: i64 = 2;
/// Walks through one crowded second, and how long they may take while a poll waits for their end.
const TIE_WALKS_MAX: u32 = 20;
const TIE_SECONDS_MAX: i64 = 60;
/// Walks in a row that find nothing new although the total says that there is more.
const STALE_WALKS_MAX: u32 = 6;
/// Walks through a window in safe mode.
const SAFE_WALKS_MAX: u32 = 5;
/// Drains of one window while the total says that something was missed.
const DRAINS_MAX: u32 = 3;
/// Requests of one walk; the rest is for the next one, which begins where this one ended.
const REQUESTS_MAX: u32 = 500;

/// One request for a page of the list.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Query {
    /// Messages made since.
    pub created_after: Timestamp,
    /// Messages made until then.
    pub created_before: Option<Timestamp>,
    /// From 1.
    pub page: u32,
    /// Rows wanted.
    pub per_page: usize,
}

impl Query {
    /// Asks for next to nothing: its answer tells the server's time.
    pub fn probe(now: Timestamp) -> Self {
        Self { created_after: floor(now), created_before: None, page: 1, per_page: 1 }
    }
}

/// What a walk needs to know of a row.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Row {
    /// The message's uid.
    pub uid: String,
    /// When it was made; `None` for a row that cannot be read.
    pub created_at: Option<Timestamp>,
}

impl Row {
    /// A page's rows.
    pub fn of(items: &[Item]) -> Vec<Self> {
        let created_at = |item: &Item| match item {
            Item::Message(message) => Some(message.created_at),
            Item::Unreadable(_) => None,
        };
        items.iter().map(|item| Self { uid: item.uid().to_owned(), created_at: created_at(item) }).collect()
    }
}

/// What a walk needs to know of a page.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PageFacts {
    /// The rows in the order sent.
    pub rows: Vec<Row>,
    /// How many of them had never been seen.
    pub fresh: usize,
    /// The page size in effect, if the answer said so.
    pub per_page: Option<usize>,
    /// How many rows fit the query in all, if the answer said so.
    pub total_count: Option<u64>,
    /// The server's clock.
    pub server_now: Timestamp,
}

/// A closed period, both ends included.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Window {
    /// Its first second.
    pub from: Timestamp,
    /// Its last second.
    pub to: Timestamp,
}

#[derive(Debug)]
enum Stage {
    /// Page 1 from `a` on.
    Step,
    /// Page 2 of the same: is there more than the first page's size suggests?
    Peek { rows: usize, last: Timestamp },
    /// All pages of a window, again and again.
    Rounds(Rounds),
    /// Does the total agree with what was met?
    Check,
    /// Nothing is left to ask.
    Done,
}

#[derive(Debug)]
struct Rounds {
    safe: bool,
    window: Window,
    since: Timestamp,
    page: u32,
    walks: u32,
    stale: u32,
    fresh: usize,
    rows: u64,
    distinct: HashSet<String>,
}

/// A walk through the list. Ask [`Walk::next`], fetch, tell [`Walk::page`], until there is no next query.
/// After a failed request the same query is next again.
#[derive(Debug)]
pub struct Walk {
    start: Timestamp,
    until: Option<Timestamp>,
    watermark: Option<Timestamp>,
    newest: Option<Timestamp>,
    a: Timestamp,
    stage: Stage,
    began: Option<Timestamp>,
    met: HashSet<String>,
    page_rows: usize,
    total_holds: bool,
    pages: u32,
    drains: u32,
    requests: u32,
    leftover: Vec<Window>,
    missing: Option<u64>,
    cut_short: bool,
    settled: Settled,
    settled_age: SignedDuration,
    passed_over: bool,
}

impl Walk {
    /// A poll: from `overlap` before the watermark on, but not before the floor, to the end of the list.
    pub fn poll(floor_at: Timestamp, watermark: Option<Timestamp>, overlap: Duration) -> Self {
        let overlap = i64::try_from(overlap.as_secs()).unwrap_or(i64::MAX);
        let first = floor(floor_at);
        let start = watermark.map_or(first, |mark| shift(floor(mark), -overlap).max(first));
        Self::new(start, None, watermark)
    }

    /// Looks through a closed period again. Never moves the watermark.
    pub fn sweep(window: Window) -> Self {
        Self::new(floor(window.from), Some(floor(window.to)), None)
    }

    fn new(start: Timestamp, until: Option<Timestamp>, watermark: Option<Timestamp>) -> Self {
        Self {
            start,
            until,
            watermark,
            newest: None,
            a: start,
            stage: Stage::Step,
            began: None,
            met: HashSet::new(),
            page_rows: PAGE_ROWS,
            total_holds: true,
            pages: 0,
            drains: 1,
            requests: 0,
            leftover: Vec::new(),
            missing: None,
            cut_short: false,
            settled: Settled::default(),
            settled_age: SignedDuration::MAX,
            passed_over: false,
        }
    }

    /// Passes over crowded seconds that were read to the end when they were at least `age` old, and notes those that
    /// this walk reads to the end.
    pub fn remembering(mut self, settled: &Settled, age: SignedDuration) -> Self {
        (self.settled, self.settled_age) = (settled.clone(), age);
        self
    }

    /// What to ask next; `None` at the end.
    pub fn next(&self) -> Option<Query> {
        let end = self.until.map(|until| shift(until, SLACK_SECONDS));
        let (from, to, page) = match &self.stage {
            Stage::Step => (self.a, end, 1),
            Stage::Peek { .. } => (self.a, end, 2),
            Stage::Rounds(rounds) => {
                (rounds.window.from, Some(shift(rounds.window.to, SLACK_SECONDS)), rounds.page)
            }
            Stage::Check => (self.start, Some(self.horizon()), 1),
            Stage::Done => return None,
        };
        let created_after = shift(from, -SLACK_SECONDS);
        Some(Query { created_after, created_before: to, page, per_page: PAGE_ROWS })
    }

    /// Takes in the answer. Returns where the watermark stands with it, to be committed together with the page.
    pub fn page(&mut self, facts: &PageFacts) -> Option<Timestamp> {
        self.requests += 1;
        self.began.get_or_insert(facts.server_now);
        let horizon = self.horizon();
        for row in &facts.rows {
            if row.created_at.is_none_or(|at| floor(at) <= horizon) {
                self.met.insert(row.uid.clone());
            }
            self.newest = self.newest.max(row.created_at.map(|at| at.min(facts.server_now)));
        }
        match std::mem::replace(&mut self.stage, Stage::Done) {
            Stage::Step => self.stepped(facts),
            Stage::Peek { rows, last } => self.peeked(facts, rows, last),
            Stage::Rounds(rounds) => self.rounded(rounds, facts),
            Stage::Check => self.checked(facts),
            Stage::Done => {}
        }
        if self.requests >= REQUESTS_MAX && !matches!(self.stage, Stage::Done) {
            self.cut_short = true;
            match &self.stage {
                Stage::Rounds(Rounds { safe: false, window, .. }) => self.leftover.push(*window),
                // It begins anew with the next walk: what lies behind so many pages is not reached by it either.
                Stage::Rounds(rounds) => {
                    let beyond =
                        facts.total_count.map(|total| total.saturating_sub(rounds.distinct.len() as u64));
                    self.missing = beyond.filter(|beyond| *beyond > 0);
                }
                _ => {}
            }
            self.stage = Stage::Done;
        }
        self.watermark
    }

    /// Crowded seconds that could not be read to the end; to be looked through again.
    pub fn leftover(&self) -> &[Window] {
        &self.leftover
    }

    /// What a closed walk that ended for its number of requests did not get to.
    pub fn rest(&self) -> Option<Window> {
        let to = self.until.filter(|_| self.cut_short)?;
        // A second so crowded that a walk does not get past it must not hold up all that follows.
        let from = if self.a > self.start { self.a } else { shift(self.a, 1) };
        (from <= to).then_some(Window { from, to })
    }

    /// How many messages the total says are there beyond those met, after all drains.
    pub fn missing(&self) -> Option<u64> {
        self.missing
    }

    /// The walk ended for its number of requests, not for the end of the list: walk again at once.
    pub fn cut_short(&self) -> bool {
        self.cut_short
    }

    /// Requests answered so far.
    pub fn requests(&self) -> u32 {
        self.requests
    }

    /// The last second that the count after a drain looks at: what comes later may still be on its way.
    fn horizon(&self) -> Timestamp {
        let began = self.began.map_or(Timestamp::MAX, floor);
        self.until.map_or(began, |until| until.min(began))
    }

    fn size(&self, facts: &PageFacts) -> usize {
        facts.per_page.unwrap_or(PAGE_ROWS).clamp(1, self.page_rows)
    }

    fn stepped(&mut self, facts: &PageFacts) {
        self.pages += 1;
        let rows = facts.rows.len();
        let full = rows >= self.size(facts);
        let more = full || (self.total_holds && rows > 0 && hints_at_more(facts, rows as u64));
        let last = facts.rows.iter().filter_map(|row| row.created_at).max().map(floor);
        let sorted =
            ascends(&facts.rows) && last.is_some_and(|last| last >= shift(self.a, -2 * SLACK_SECONDS));
        if !more {
            self.raise_watermark();
            return self.drained();
        }
        match last.filter(|_| sorted) {
            None => self.go_safe(facts.server_now),
            Some(last) => {
                self.raise_watermark();
                if full {
                    self.advance(last, facts.server_now);
                } else {
                    self.stage = Stage::Peek { rows, last };
                }
            }
        }
    }

    /// A second page with rows shows that the first one was full, whatever size it claimed; one without shows that
    /// the total cannot be relied on.
    fn peeked(&mut self, facts: &PageFacts, rows: usize, last: Timestamp) {
        if facts.rows.is_empty() {
            self.total_holds = false;
            self.drained();
        } else {
            self.page_rows = rows.max(1);
            self.advance(last, facts.server_now);
        }
    }

    /// Behind a full page: on from its last second, or through the second if the page lies within it.
    fn advance(&mut self, last: Timestamp, now: Timestamp) {
        if last > self.a {
            self.a = last;
            self.step();
        } else if self.settled.holds(self.a, self.settled_age) {
            self.passed_over = true;
            self.a = shift(self.a, WINDOW_SECONDS);
            self.step();
        } else {
            let window = Window { from: self.a, to: shift(self.a, WINDOW_SECONDS - 1) };
            self.stage = Stage::Rounds(Rounds::new(window, false, now));
        }
    }

    fn step(&mut self) {
        self.stage = Stage::Step;
        if self.until.is_some_and(|until| self.a > shift(until, SLACK_SECONDS)) {
            self.drained();
        }
    }

    /// The order cannot be relied on: the rest of the window as a whole.
    fn go_safe(&mut self, now: Timestamp) {
        let to = self.until.unwrap_or_else(|| floor(now)).max(self.a);
        self.stage = Stage::Rounds(Rounds::new(Window { from: self.a, to }, true, now));
    }

    fn rounded(&mut self, mut rounds: Rounds, facts: &PageFacts) {
        self.pages += 1;
        let rows = facts.rows.len();
        rounds.rows += rows as u64;
        rounds.fresh += facts.fresh;
        rounds.distinct.extend(facts.rows.iter().map(|row| row.uid.clone()));
        // A poll must get on; what looks through the past has as many requests as it takes, spread over many polls.
        let late = !rounds.safe
            && self.until.is_none()
            && facts.server_now.duration_since(rounds.since).as_secs() > TIE_SECONDS_MAX;
        let full = rows >= self.size(facts);
        if !late && rows > 0 && (full || (self.total_holds && hints_at_more(facts, rounds.rows))) {
            rounds.page += 1;
            self.stage = Stage::Rounds(rounds);
            return;
        }
        rounds.walks += 1;
        rounds.stale = if rounds.fresh == 0 { rounds.stale + 1 } else { 0 };
        let total = facts.total_count.filter(|_| self.total_holds).unwrap_or(0);
        let agrees = rounds.fresh == 0 && rounds.distinct.len() as u64 >= total;
        let (walks_min, walks_max) = if rounds.safe { (2, SAFE_WALKS_MAX) } else { (1, TIE_WALKS_MAX) };
        let complete = !late && agrees && rounds.walks >= walks_min;
        if !complete && !late && rounds.walks < walks_max && rounds.stale < STALE_WALKS_MAX {
            rounds.again();
            self.stage = Stage::Rounds(rounds);
            return;
        }
        if rounds.safe {
            if complete {
                self.raise_watermark();
            } else {
                self.missing = Some(total.saturating_sub(rounds.distinct.len() as u64));
            }
            return;
        }
        if complete {
            self.settled.note(rounds.window.from, rounds.since);
            self.a = shift(self.a, WINDOW_SECONDS);
        } else {
            self.leftover.push(rounds.window);
            self.a = shift(self.a, 1);
        }
        self.step();
    }

    /// The end of the list is reached. A drain of one page has compared itself with the total already; one that passed
    /// over something cannot.
    fn drained(&mut self) {
        let comparable = self.total_holds && self.pages > 1 && !self.passed_over;
        self.stage = if comparable { Stage::Check } else { Stage::Done };
    }

    fn checked(&mut self, facts: &PageFacts) {
        let met = self.met.len() as u64;
        let Some(total) = facts.total_count.filter(|total| *total > met) else { return };
        if self.drains >= DRAINS_MAX {
            self.missing = Some(total - met);
            return;
        }
        self.drains += 1;
        self.pages = 0;
        self.a = self.start;
        self.stage = Stage::Step;
    }

    fn raise_watermark(&mut self) {
        if self.until.is_none() {
            self.watermark = self.watermark.max(self.newest);
        }
    }
}

impl Rounds {
    fn new(window: Window, safe: bool, since: Timestamp) -> Self {
        let distinct = HashSet::new();
        Self { safe, window, since, page: 1, walks: 0, stale: 0, fresh: 0, rows: 0, distinct }
    }

    fn again(&mut self) {
        (self.page, self.fresh, self.rows) = (1, 0, 0);
    }
}

/// The answer says, or leaves open, that more than so many rows are there.
fn hints_at_more(facts: &PageFacts, rows: u64) -> bool {
    facts.total_count.map_or(facts.per_page.is_none(), |total| total > rows)
}

fn ascends(rows: &[Row]) -> bool {
    let mut stamps = rows.iter().filter_map(|row| row.created_at);
    let Some(mut before) = stamps.next() else { return true };
    stamps.all(|at| std::mem::replace(&mut before, at) <= at)
}

#[cfg(test)]
#[path = "walk_tests.rs"]
mod tests;
