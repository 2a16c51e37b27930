//! Lines over time, in panes one above the other.

use super::drawing::{Drawing, LEFT, RIGHT, Scale, TOP, WIDTH, dates, legend, path, round, shown};
use maud::{Markup, html};

/// Lines over time.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Lines {
    /// First line.
    pub title: String,
    /// Second line.
    pub subtitle: String,
    /// Microseconds since the epoch, in order; none where values have no times.
    pub times: Vec<i64>,
    /// From the top.
    pub panes: Vec<Pane>,
}

/// Lines with one scale.
#[derive(Debug, Clone, PartialEq)]
pub struct Pane {
    /// Names, and a value for each time, NaN where there is none.
    pub lines: Vec<(String, Vec<f64>)>,
    /// How they are drawn.
    pub style: PaneStyle,
}

/// How a pane is drawn.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PaneStyle {
    /// Money: by ratios, where it grows much.
    Growth,
    /// Prices.
    Plain,
    /// Fractions, written as percentages; the area between the first line and zero is filled.
    Area,
}

/// How high panes are.
const GROWTH: f64 = 240.0;
const AREA: f64 = 90.0;
const BETWEEN: f64 = 24.0;

/// More points than this are not told apart; of those that fall together the extremes are kept.
const POINTS: usize = 1_000;

impl Pane {
    fn height(&self) -> f64 {
        match self.style {
            PaneStyle::Growth | PaneStyle::Plain => GROWTH,
            PaneStyle::Area => AREA,
        }
    }

    fn scale(&self, top: f64) -> Scale {
        let values = self.lines.iter().flat_map(|(_, values)| values.iter().copied());
        match self.style {
            PaneStyle::Growth => Scale::of_growth(values, top, GROWTH),
            PaneStyle::Plain => Scale::of(values, top, GROWTH),
            PaneStyle::Area => Scale::of(values.chain([0.0]), top, AREA),
        }
    }
}

/// The positions that are drawn of so many values: all, or of each of many parts of them the lowest and the highest.
fn drawn(values: &[f64]) -> Vec<usize> {
    if values.len() <= POINTS {
        return (0..values.len()).collect();
    }
    let part = values.len().div_ceil(POINTS / 2);
    let extremes = (0..values.len()).step_by(part).flat_map(|from| {
        let all = from..(from + part).min(values.len());
        let known = || all.clone().filter(|at| values[*at].is_finite());
        let lowest = known().min_by(|a, b| values[*a].total_cmp(&values[*b])).unwrap_or(from);
        let highest = known().max_by(|a, b| values[*a].total_cmp(&values[*b])).unwrap_or(from);
        [lowest.min(highest), lowest.max(highest)]
    });
    let mut positions: Vec<usize> = extremes.chain([values.len() - 1]).collect();
    positions.dedup();
    positions
}

impl Lines {
    fn x(&self, at: usize) -> f64 {
        let all = self.panes.iter().flat_map(|pane| &pane.lines).map(|(_, values)| values.len()).max().unwrap_or(0);
        LEFT + at as f64 * (WIDTH - LEFT - RIGHT) / (all.max(2) - 1) as f64
    }

    fn pane(&self, pane: &Pane, top: f64, first_colour: usize) -> Markup {
        let scale = pane.scale(top);
        let line = |values: &[f64]| path(drawn(values).into_iter().map(|at| (self.x(at), scale.y(values[at]))));
        let write = |value: f64| match pane.style {
            PaneStyle::Growth | PaneStyle::Plain => shown(value),
            PaneStyle::Area => format!("{} %", shown(value * 100.0)),
        };
        let area = pane.lines.first().filter(|_| pane.style == PaneStyle::Area).map(|(_, values)| {
            let (zero, end) = (round(scale.y(0.0)), round(self.x(values.len().max(1) - 1)));
            format!("{}L{end} {zero}L{LEFT} {zero}Z", line(values))
        });
        html! {
            (scale.grid(write))
            @if let Some(area) = area { path class="area" d=(area) {} }
            @for (i, (_, values)) in pane.lines.iter().enumerate() {
                path class=(format!("line{}", first_colour + i)) d=(line(values)) {}
            }
            @if pane.style == PaneStyle::Area {
                text class="soft" x=(LEFT) y=(top - 6.0) font-size="11" { (pane.lines.iter().map(|(n, _)| n.as_str()).collect::<Vec<_>>().join(", ")) }
            } @else {
                (legend(pane.lines.iter().map(|(name, _)| name.as_str()), 38.0))
            }
        }
    }
}

impl Drawing for Lines {
    fn title(&self) -> &str {
        &self.title
    }

    fn subtitle(&self) -> &str {
        &self.subtitle
    }

    fn height(&self) -> f64 {
        TOP + self.panes.iter().map(|pane| pane.height() + BETWEEN).sum::<f64>() + 6.0
    }

    fn body(&self) -> Markup {
        let bottom = self.height() - 6.0 - BETWEEN;
        let tops = self.panes.iter().scan(TOP, |top, pane| {
            let own = *top;
            *top += pane.height() + BETWEEN;
            Some((pane, own))
        });
        html! {
            @for (at, text) in dates(&self.times, 7) {
                line class="grid" x1=(round(self.x(at))) x2=(round(self.x(at))) y1=(TOP) y2=(bottom) {}
                text class="soft" x=(round(self.x(at))) y=(bottom + 16.0) font-size="11" text-anchor="middle" { (text) }
            }
            @for (pane, top) in tops { (self.pane(pane, top, 0)) }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn of_many_points_the_extremes_are_drawn() {
        let mut values: Vec<f64> = (0..100_000).map(|at| f64::from(at % 7)).collect();
        values[54_321] = -50.0;
        values[77_777] = 90.0;
        let positions = drawn(&values);
        assert!(positions.len() <= POINTS + 2 && positions.is_sorted());
        assert!([54_321, 77_777, 99_999].iter().all(|at| positions.contains(at)));
        assert_eq!(drawn(&[1.0, f64::NAN, 2.0]), [0, 1, 2]);
    }

    #[test]
    fn panes_lie_below_each_other_and_nothing_is_not_a_number() {
        let pane = |style, values: Vec<f64>| Pane { lines: vec![("a <b>".to_string(), values)], style };
        let lines = Lines {
            title: "Account".to_string(),
            times: vec![0, 86_400_000_000, 2 * 86_400_000_000],
            panes: vec![
                pane(PaneStyle::Growth, vec![1.0, f64::NAN, 20.0]),
                pane(PaneStyle::Area, vec![0.0, -0.1, -0.05]),
            ],
            ..Lines::default()
        };
        let svg = lines.file();
        assert!(!svg.contains("NaN") && !svg.contains("inf") && !svg.contains("<b>"), "{svg}");
        assert_eq!((svg.matches("line0").count() > 2, svg.matches("\"area\"").count()), (true, 1));
        assert!(!Lines::default().file().contains("NaN"));
    }
}
