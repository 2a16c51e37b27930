//! Coloured cells: a value for each row and column.

use super::drawing::{Drawing, LEFT, TOP, WIDTH, round};
use maud::{Markup, html};

/// A value for each row and column; gains and losses have colours of their own, and the more the deeper.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct HeatMap {
    /// First line.
    pub title: String,
    /// Second line.
    pub subtitle: String,
    /// Names of the columns.
    pub columns: Vec<String>,
    /// Names of the rows, and a value for each column, NaN where there is none.
    pub rows: Vec<(String, Vec<f64>)>,
    /// Whether values are fractions that are written as percentages.
    pub is_percent: bool,
    /// Columns from here on do not count for the depth of colours, since they sum up the others.
    pub summed_from: Option<usize>,
    /// Whether the highest value has a frame.
    pub marks_best: bool,
}

const NAMES: f64 = 62.0;
/// Narrower cells have no text.
const READABLE: f64 = 34.0;

impl HeatMap {
    fn row_height(&self) -> f64 {
        (620.0 / self.rows.len().max(1) as f64).clamp(6.0, 24.0)
    }

    /// The lowest and the highest value that colours are made for.
    fn extremes(&self) -> (f64, f64) {
        let counted = self.summed_from.unwrap_or(usize::MAX);
        let values = self.rows.iter().flat_map(|(_, values)| values.iter().take(counted));
        let ends = values.filter(|v| v.is_finite());
        ends.fold((f64::INFINITY, f64::NEG_INFINITY), |(low, high), v| (low.min(*v), high.max(*v)))
    }
}

impl Drawing for HeatMap {
    fn title(&self) -> &str {
        &self.title
    }

    fn subtitle(&self) -> &str {
        &self.subtitle
    }

    fn height(&self) -> f64 {
        TOP + 18.0 + self.row_height() * self.rows.len() as f64 + 14.0
    }

    fn body(&self) -> Markup {
        let (height, (low, high)) = (self.row_height(), self.extremes());
        let width = (WIDTH - LEFT - NAMES - 8.0) / self.columns.len().max(1) as f64;
        let top = TOP + 18.0;
        // Where all are on one side of zero, the least of them is the palest.
        let depth = |value: f64| {
            let share = match (low > 0.0, high < 0.0) {
                (true, _) => (value - low) / (high - low),
                (_, true) => (high - value) / (high - low),
                _ => value.abs() / low.abs().max(high.abs()),
            };
            0.06 + 0.74 * if share.is_finite() { share.clamp(0.0, 1.0) } else { 0.5 }
        };
        let write = |value: f64| match self.is_percent {
            true => format!("{:.1}", value * 100.0),
            false => format!("{value:.2}"),
        };
        let every_column = (READABLE / width).ceil().max(1.0) as usize;
        let every_row = (11.0 / height).ceil().max(1.0) as usize;
        let all = self.rows.iter().enumerate().flat_map(|(row, (_, values))| values.iter().map(move |v| (row, *v)));
        let best = all.zip((0..self.columns.len()).cycle()).find(|((_, value), _)| *value == high);
        let best = best.filter(|_| self.marks_best).map(|((row, _), column)| (row, column));
        html! {
            @for (at, name) in self.columns.iter().enumerate().step_by(every_column) {
                text class="soft" x=(round(LEFT + NAMES + (at as f64 + 0.5) * width)) y=(TOP + 10.0) font-size="11" text-anchor="middle" { (name) }
            }
            @for (at, (name, values)) in self.rows.iter().enumerate() {
                @let y = top + at as f64 * height;
                @if at % every_row == 0 {
                    text class="soft" x=(LEFT + NAMES - 8.0) y=(round(y + height / 2.0 + 4.0)) font-size="11" text-anchor="end" { (name) }
                }
                @for (column, value) in values.iter().enumerate().filter(|(_, value)| value.is_finite()) {
                    @let x = LEFT + NAMES + column as f64 * width;
                    @let class = if *value < 0.0 { "loss" } else { "gain" };
                    rect class=(class) fill-opacity=(format!("{:.2}", depth(*value))) x=(round(x + 0.5)) y=(round(y + 0.5))
                        width=(round(width - 1.0)) height=(round(height - 1.0)) {
                        title { (name) ", " (self.columns[column]) ": " (write(*value)) }
                    }
                    @if width >= READABLE && height >= 12.0 {
                        text class="ink" x=(round(x + width / 2.0)) y=(round(y + height / 2.0 + 4.0)) font-size="11" text-anchor="middle" { (write(*value)) }
                    }
                    @if best == Some((at, column)) {
                        rect class="best" x=(round(x + 0.5)) y=(round(y + 0.5)) width=(round(width - 1.0)) height=(round(height - 1.0)) {}
                    }
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cell_is_as_deep_as_its_value_and_the_best_is_framed_once() {
        let map = HeatMap {
            title: "a <b>".to_string(),
            columns: vec!["x".to_string(), "y".to_string()],
            rows: vec![("1".to_string(), vec![0.5, f64::NAN]), ("2".to_string(), vec![-1.0, 1.0])],
            marks_best: true,
            ..HeatMap::default()
        };
        let svg = map.file();
        assert_eq!((svg.matches("\"gain\"").count(), svg.matches("\"loss\"").count()), (2, 1));
        assert_eq!(svg.matches("class=\"best\"").count(), 1);
        assert!(svg.contains("fill-opacity=\"0.80\"") && !svg.contains("NaN") && !svg.contains("<b>"), "{svg}");
        assert!(!HeatMap::default().file().contains("NaN"));
    }
}
