//! Columns of counts: how values are distributed.

use super::drawing::{Drawing, LEFT, RIGHT, Scale, TOP, WIDTH, round, shown};
use maud::{Markup, html};

/// How values are distributed.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Columns {
    /// First line.
    pub title: String,
    /// Second line.
    pub subtitle: String,
    /// Where the first column begins.
    pub first: f64,
    /// How wide each is.
    pub width: f64,
    /// How many values lie in each.
    pub counts: Vec<usize>,
    /// Whether values are fractions that are written as percentages.
    pub is_percent: bool,
    /// A value that is marked, and its name.
    pub mark: Option<(String, f64)>,
}

const HEIGHT: f64 = 320.0;
const BARS: f64 = 220.0;
/// About so many columns.
const MANY: f64 = 40.0;

impl Columns {
    /// Columns of round widths, one of which ends at zero, wide enough for a mark. The first and the last hold what lies beyond them:
    /// where few values are far away from all others, the others would fall together.
    pub fn of(values: &[f64], mark: Option<(String, f64)>) -> Columns {
        let mut sorted: Vec<f64> = values.iter().copied().filter(|v| v.is_finite()).collect();
        sorted.sort_unstable_by(f64::total_cmp);
        let (Some(lowest), Some(highest)) = (sorted.first(), sorted.last()) else { return Columns::default() };
        let at = |share: f64| sorted[((sorted.len() - 1) as f64 * share) as usize];
        let spread = at(0.99) - at(0.01);
        let (low, high) = (lowest.max(at(0.01) - spread / 4.0), highest.min(at(0.99) + spread / 4.0));
        let marked = mark.iter().map(|(_, at)| *at).filter(|at| at.is_finite());
        let (low, high) = marked.fold((low, high), |(low, high), at| (low.min(at), high.max(at)));
        let rough = (high - low) / MANY;
        let power = 10f64.powf(rough.log10().floor());
        let round = [1.0, 2.0, 5.0, 10.0].map(|f| f * power).into_iter().find(|step| *step >= rough);
        let width = round.filter(|width| width.is_finite() && *width > 0.0).unwrap_or(1.0);
        let from = (low / width).floor();
        let many = ((high / width).floor() - from) as usize + 1;
        let mut counts = vec![0; many];
        for value in sorted {
            counts[((value / width).floor() - from).clamp(0.0, (many - 1) as f64) as usize] += 1;
        }
        Columns { first: from * width, width, counts, mark, ..Columns::default() }
    }

    fn x(&self, value: f64) -> f64 {
        let all = self.width * self.counts.len() as f64;
        let share = if all > 0.0 { (value - self.first) / all } else { 0.0 };
        LEFT + share * (WIDTH - LEFT - RIGHT)
    }
}

impl Drawing for Columns {
    fn title(&self) -> &str {
        &self.title
    }

    fn subtitle(&self) -> &str {
        &self.subtitle
    }

    fn height(&self) -> f64 {
        HEIGHT
    }

    fn body(&self) -> Markup {
        let scale = Scale::of(self.counts.iter().map(|count| *count as f64).chain([0.0]), TOP, BARS);
        let zero = scale.y(0.0);
        let write = |value: f64| match self.is_percent {
            true => format!("{} %", shown(round(value * 1000.0) / 10.0)),
            false => shown(value),
        };
        let every = self.counts.len().div_ceil(9).max(1);
        // Zero is written, and every few columns from there.
        let to_zero = (-self.first / self.width).round().rem_euclid(every as f64);
        let ticks = (0..=self.counts.len()).skip(if to_zero.is_finite() { to_zero as usize } else { 0 }).step_by(every);
        html! {
            (scale.grid(|count| if count.fract() == 0.0 { format!("{count:.0}") } else { String::new() }))
            @for (i, count) in self.counts.iter().enumerate().filter(|(_, count)| **count > 0) {
                @let from = self.first + i as f64 * self.width;
                @let class = if from + self.width / 2.0 > 0.0 { "gain" } else { "loss" };
                rect class=(class) x=(round(self.x(from) + 0.5)) y=(round(scale.y(*count as f64)))
                    width=(round((self.x(from + self.width) - self.x(from) - 1.0).max(0.5))) height=(round(zero - scale.y(*count as f64))) {
                    title { (write(from)) " to " (write(from + self.width)) ": " (count) }
                }
            }
            @for i in ticks {
                @let value = self.first + i as f64 * self.width;
                text class="soft" x=(round(self.x(value))) y=(TOP + BARS + 18.0) font-size="11" text-anchor="middle" { (write(value)) }
            }
            @if let Some((name, value)) = &self.mark {
                line class="best" x1=(round(self.x(*value))) x2=(round(self.x(*value))) y1=(TOP) y2=(TOP + BARS) {}
                text class="ink" x=(round(self.x(*value) + 6.0)) y=(TOP + 12.0) font-size="11" text-anchor="start" { (name) }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_value_lies_in_a_column_and_zero_parts_two() {
        let values: Vec<f64> = (0..1000).map(|i| f64::from(i % 100) / 100.0 - 0.3).chain([50.0, f64::NAN]).collect();
        let columns = Columns::of(&values, None);
        assert_eq!(columns.counts.iter().sum::<usize>(), 1001);
        let to_zero = -columns.first / columns.width;
        assert!((to_zero - to_zero.round()).abs() < 1e-9, "{columns:?}");
        assert!((20..=80).contains(&columns.counts.len()), "{}", columns.counts.len());
        assert_eq!(Columns::of(&[], None), Columns::default());
        assert_eq!(Columns::of(&[3.0, 3.0], None).counts, [2]);
        assert!(
            !Columns::of(&[3.0], Some(("luck".to_string(), -1.0))).file().contains("NaN")
                && !Columns::default().file().contains("NaN")
        );
    }
}
