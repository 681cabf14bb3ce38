//! Plots as SVG without a script: bars by state, lines of latency. Each has its figures as a table beside it.

use std::fmt::Write;

use crate::answers::figures::{Figures, Latency, Step, ended};
use crate::model::delivery::StateName;

/// The size that plots are drawn in; they are stretched to their place.
const WIDTH: f64 = 600.0;
const HEIGHT: f64 = 100.0;
/// What of a bar's place is left free.
const GAP: f64 = 0.18;

/// Takes one of the percentiles.
pub(super) type Percentile = fn(&Latency) -> u64;
/// The lines of the latency plot: name and which of the percentiles.
pub(super) const LINES: [(&str, Percentile); 3] =
    [("p50", |latency| latency.p50_ms), ("p95", |latency| latency.p95_ms), ("p99", |latency| latency.p99_ms)];

/// A plot's drawing and the figure at its top.
#[derive(Debug)]
pub(super) struct Plot {
    /// The SVG element; it holds figures of ours only.
    pub(super) svg: String,
    /// What the upper edge stands for.
    pub(super) top: u64,
}

/// The deliveries that ended, a bar for each step.
pub(super) fn bars(figures: &Figures) -> Plot {
    let top = nice(figures.steps.iter().map(|step| ended(&step.ended)).max().unwrap_or(0));
    let place = WIDTH / per(figures.steps.len());
    let mut svg = begin("deliveries that ended, by state; the table below has the figures");
    for (index, step) in figures.steps.iter().enumerate() {
        let x = place * per(index);
        let mut y = HEIGHT;
        for state in StateName::ENDS.into_iter().filter(|state| step.ended.of(*state) > 0) {
            let height = HEIGHT * per_u64(step.ended.of(state)) / per_u64(top);
            y -= height;
            // Writing to a String cannot fail.
            let _ = write!(
                svg,
                "<rect class=\"f-{state}\" x=\"{:.1}\" y=\"{y:.2}\" width=\"{:.1}\" height=\"{height:.2}\"/>",
                x + place * GAP / 2.0,
                place * (1.0 - GAP)
            );
        }
    }
    svg.push_str("</svg>");
    Plot { svg, top }
}

/// How long attempts took, a line for each percentile; steps without any are left out.
pub(super) fn lines(figures: &Figures) -> Plot {
    let slowest = figures.steps.iter().filter_map(|step| step.latency).map(|latency| latency.p99_ms).max();
    let top = nice(slowest.unwrap_or(0));
    let place = WIDTH / per(figures.steps.len());
    let mut svg = begin("latency of attempts that delivered; the table below has the figures");
    for (name, of) in LINES {
        let known = |(index, step): (usize, &Step)| {
            let latency = step.latency.as_ref()?;
            let y = HEIGHT - HEIGHT * per_u64(of(latency)) / per_u64(top);
            Some((place * (per(index) + 0.5), y))
        };
        let points: Vec<(f64, f64)> = figures.steps.iter().enumerate().filter_map(known).collect();
        // A single point is no line: it is drawn as a short one.
        let drawn = match points[..] {
            [(x, y)] => vec![(x - place / 3.0, y), (x + place / 3.0, y)],
            _ => points,
        };
        let drawn: Vec<String> = drawn.iter().map(|(x, y)| format!("{x:.1},{y:.2}")).collect();
        let _ = write!(svg, "<polyline class=\"l-{name}\" points=\"{}\"/>", drawn.join(" "));
    }
    svg.push_str("</svg>");
    Plot { svg, top }
}

/// A bar that is filled as far as `part` is of `whole`.
pub(super) fn bar(part: u64, whole: u64) -> String {
    let percent = 100.0 * per_u64(part) / per_u64(whole.max(1));
    format!(
        "<svg class=\"bar\" viewBox=\"0 0 100 1\" preserveAspectRatio=\"none\" aria-hidden=\"true\">\
         <rect class=\"f-pending\" width=\"{percent:.1}\" height=\"1\"/></svg>"
    )
}

fn begin(label: &str) -> String {
    let mut svg = format!(
        "<svg viewBox=\"0 0 {WIDTH} {HEIGHT}\" preserveAspectRatio=\"none\" role=\"img\" aria-label=\"{label}\">"
    );
    for y in [0.0, HEIGHT / 2.0, HEIGHT] {
        let _ = write!(svg, "<line class=\"grid\" x1=\"0\" x2=\"{WIDTH}\" y1=\"{y}\" y2=\"{y}\"/>");
    }
    svg
}

/// The next figure that is easy to read: 1, 2 or 5 with zeros.
fn nice(most: u64) -> u64 {
    let mut step = 1_u64;
    loop {
        for factor in [1, 2, 5] {
            if let Some(top) = step.checked_mul(factor).filter(|top| *top >= most) {
                return top;
            }
        }
        let Some(next) = step.checked_mul(10) else { return most };
        step = next;
    }
}

#[expect(clippy::cast_precision_loss, reason = "a drawing is not exact")]
fn per(number: usize) -> f64 {
    number as f64
}

#[expect(clippy::cast_precision_loss, reason = "a drawing is not exact")]
fn per_u64(number: u64) -> f64 {
    number as f64
}

#[cfg(test)]
mod tests {
    use super::nice;

    #[test]
    fn an_axis_ends_at_a_figure_that_is_easy_to_read() {
        assert_eq!([0, 1, 3, 7, 11, 480, 5_001].map(nice), [1, 1, 5, 10, 20, 500, 10_000]);
        assert_eq!(nice(u64::MAX), u64::MAX);
    }
}
