//! What all drawings share: their size, their colours, and where values lie.
//!
//! A drawing names classes; a page gives them colours that follow the reader's theme, a picture has colours of its own.

use chrono::Datelike;
use maud::{Markup, html};
use std::fmt::Write;

pub(super) const WIDTH: f64 = 900.0;
pub(super) const LEFT: f64 = 8.0;
pub(super) const RIGHT: f64 = 66.0;
pub(super) const TOP: f64 = 58.0;

/// Colours of a picture, which has no theme to follow.
const COLOURS: &str = "text{font-family:sans-serif}.paper{fill:#ffffff}.ink{fill:#1c2430}.soft{fill:#667085}.grid{stroke:#e4e7ec;stroke-width:1}\
.up{fill:#12805c;stroke:#12805c}.down{fill:#c4320a;stroke:#c4320a}.volume{fill:#98a2b3}\
.shade{fill:#3b5bdb;fill-opacity:0.10}.overlay{fill:none;stroke:#3b5bdb;stroke-width:2}\
.line0{fill:none;stroke:#b54708;stroke-width:1.3}.line1{fill:none;stroke:#6941c6;stroke-width:1.3}\
.line2{fill:none;stroke:#087443;stroke-width:1.3}.line3{fill:none;stroke:#c11574;stroke-width:1.3}\
.line4{fill:none;stroke:#026aa2;stroke-width:1.3}.line5{fill:none;stroke:#7a5c00;stroke-width:1.3}.told{fill:transparent}\
.name3{fill:#c11574}.name4{fill:#026aa2}.name5{fill:#7a5c00}.name0{fill:#b54708}.name1{fill:#6941c6}.name2{fill:#087443}.mark{fill:#3b5bdb}\
.area{fill:#c4320a;fill-opacity:0.25;stroke:none}.gain{fill:#12805c}.loss{fill:#c4320a}.best{fill:none;stroke:#1c2430;stroke-width:2}";

/// Something that is drawn.
pub(super) trait Drawing {
    /// First line.
    fn title(&self) -> &str;
    /// Second line.
    fn subtitle(&self) -> &str;
    /// How high it is.
    fn height(&self) -> f64;
    /// All that lies below these lines.
    fn body(&self) -> Markup;

    /// The drawing as an element of a page.
    fn svg(&self) -> Markup {
        self.drawing(None)
    }

    /// The drawing as a file of its own, with colours.
    fn file(&self) -> String {
        self.drawing(Some(COLOURS)).into_string()
    }

    /// The drawing, with colours where there is no page to give them.
    fn drawing(&self, colours: Option<&str>) -> Markup {
        let height = self.height();
        html! {
            svg xmlns="http://www.w3.org/2000/svg" viewBox=(format!("0 0 {WIDTH} {height}")) role="img" aria-label=(self.title()) class="chart" {
                @if let Some(colours) = colours { style { (colours) } }
                rect class="paper" x="0" y="0" width=(WIDTH) height=(height) {}
                text class="ink" x=(LEFT) y="20" font-size="15" { (self.title()) }
                text class="soft" x=(LEFT) y="38" font-size="12" { (self.subtitle()) }
                (self.body())
            }
        }
    }
}

/// Where values lie on the page.
#[derive(Clone, Copy)]
pub(super) struct Scale {
    low: f64,
    high: f64,
    top: f64,
    height: f64,
    /// Equal ratios are equally far apart.
    is_log: bool,
}

impl Scale {
    pub fn of(values: impl Iterator<Item = f64>, top: f64, height: f64) -> Scale {
        let (mut low, mut high) = (f64::INFINITY, f64::NEG_INFINITY);
        for value in values.filter(|v| v.is_finite()) {
            (low, high) = (low.min(value), high.max(value));
        }
        if low > high {
            (low, high) = (0.0, 1.0);
        }
        let room = if high > low { (high - low) * 0.04 } else { high.abs().max(1.0) * 0.01 };
        Scale { low: low - room, high: high + room, top, height, is_log: false }
    }

    /// As [`Scale::of`], where values that grow much lie by their ratios.
    pub fn of_growth(values: impl Iterator<Item = f64> + Clone, top: f64, height: f64) -> Scale {
        let ends = values.clone().filter(|v| v.is_finite());
        let (low, high) = ends.fold((f64::INFINITY, 0.0f64), |(low, high), v| (low.min(v), high.max(v)));
        if low > 0.0 && high > 4.0 * low {
            let room = (high / low).powf(0.04);
            return Scale { low: low / room, high: high * room, top, height, is_log: true };
        }
        Scale::of(values, top, height)
    }

    pub fn y(&self, value: f64) -> f64 {
        let share = match self.is_log {
            true => (self.high / value).ln() / (self.high / self.low).ln(),
            false => (self.high - value) / (self.high - self.low),
        };
        self.top + self.height * share
    }

    /// Round values, a handful.
    pub fn ticks(&self) -> Vec<f64> {
        if self.is_log {
            let powers = self.low.log10().floor() as i32..=self.high.log10().ceil() as i32;
            let all = powers.flat_map(|power| [1.0, 2.0, 5.0].map(|first| first * 10f64.powi(power)));
            return all.filter(|tick| (self.low..=self.high).contains(tick)).collect();
        }
        let rough = (self.high - self.low) / 5.0;
        let power = 10f64.powf(rough.log10().floor());
        let step = [1.0, 2.0, 5.0, 10.0].map(|f| f * power).into_iter().find(|s| *s >= rough).unwrap_or(rough);
        let first = (self.low / step).ceil() as i64;
        let last = (self.high / step).floor() as i64;
        (first..=last.min(first + 12)).map(|i| i as f64 * step).collect()
    }

    /// Lines at round values, with what `write` makes of them beside.
    pub fn grid(&self, write: impl Fn(f64) -> String) -> Markup {
        html! {
            @for tick in self.ticks() {
                line class="grid" x1=(LEFT) x2=(WIDTH - RIGHT) y1=(round(self.y(tick))) y2=(round(self.y(tick))) {}
                text class="soft" x=(WIDTH - RIGHT + 6.0) y=(round(self.y(tick) + 4.0)) font-size="11" { (write(tick)) }
            }
        }
    }
}

/// A line through points of a page; it breaks where a value is missing.
pub(super) fn path(points: impl Iterator<Item = (f64, f64)>) -> String {
    let (mut d, mut open) = (String::new(), false);
    for (x, y) in points {
        if y.is_finite() {
            let step = if open { 'L' } else { 'M' };
            let _ = write!(d, "{step}{} {}", round(x), round(y));
        }
        open = y.is_finite();
    }
    d
}

/// Some of these times, as text: where they stand in the list, and what is written there.
pub(super) fn dates(times: &[i64], most: usize) -> Vec<(usize, String)> {
    let every = times.len().div_ceil(most).max(1);
    let is_daily = times.iter().all(|ts| ts % 86_400_000_000 == 0);
    let format = if is_daily { "%Y-%m-%d" } else { "%m-%d %H:%M" };
    let text = |ts: i64| chrono::DateTime::from_timestamp_micros(ts).map(|t| t.format(format).to_string());
    let some = times.iter().enumerate().skip(every / 2).step_by(every);
    some.filter_map(|(i, ts)| Some((i, text(*ts)?))).collect()
}

/// The year, and the month of it from 0, of an instant.
pub(super) fn month(ts: i64) -> Option<(i32, usize)> {
    let time = chrono::DateTime::from_timestamp_micros(ts)?;
    Some((time.year(), time.month0() as usize))
}

/// Lines that have colours of their own; more begin anew.
const COLOURED: usize = 6;

/// The class of a line.
pub(super) fn line(number: usize) -> String {
    format!("line{}", number % COLOURED)
}

/// The names of lines, in their colours, from the left.
pub(super) fn names<'a>(names: impl Iterator<Item = &'a str>, y: f64) -> Markup {
    html! {
        text x=(LEFT) y=(y) font-size="11" {
            @for (i, name) in names.enumerate() {
                tspan class=(format!("name{}", i % COLOURED)) dx=(if i > 0 { "12" } else { "0" }) { (name) }
            }
        }
    }
}

/// The names of lines, in their colours, from the right.
pub(super) fn legend<'a>(names: impl DoubleEndedIterator<Item = &'a str>, y: f64) -> Markup {
    let mut right = WIDTH - 8.0;
    let names: Vec<(usize, &str)> = names.enumerate().collect();
    let placed = names.into_iter().rev().map(|(i, name)| {
        let end = right;
        right -= 7.0 * name.chars().count() as f64 + 16.0;
        (i, name, end)
    });
    html! {
        @for (i, name, end) in placed {
            text class=(format!("name{}", i % COLOURED)) x=(end) y=(y) font-size="12" text-anchor="end" { (name) }
        }
    }
}

pub(super) fn round(x: f64) -> f64 {
    (x * 10.0).round() / 10.0
}

/// A number in as many digits as its size asks for.
pub(super) fn shown(value: f64) -> String {
    match value.abs() {
        0.0 => "0".to_string(),
        v if !(1e-4..1e9).contains(&v) => format!("{value:.3e}"),
        v if v >= 1000.0 => format!("{value:.0}"),
        v if v >= 10.0 => format!("{value:.1}"),
        v if v >= 1.0 => format!("{value:.2}"),
        v => format!("{value:.*}", (3.0 - v.log10().floor()) as usize),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ticks_fit_beside_the_chart() {
        let ticks = [0.0, 1234.56, 12.345, 1.2345, 0.123456, 0.00123456, 1.15e-8, 2.5e300].map(shown);
        assert_eq!(ticks, ["0", "1235", "12.3", "1.23", "0.1235", "0.001235", "1.150e-8", "2.500e300"]);
        assert!(ticks.iter().all(|tick| tick.len() < 10));
    }

    #[test]
    fn what_grows_much_lies_by_its_ratios() {
        let scale = Scale::of_growth([100.0, 1_000.0].into_iter(), 0.0, 100.0);
        let middle = scale.y(f64::sqrt(100.0 * 1_000.0));
        assert!((middle - 50.0).abs() < 1e-9, "{middle}");
        assert_eq!(scale.ticks(), [100.0, 200.0, 500.0, 1_000.0]);
        let even = Scale::of_growth([100.0, 200.0].into_iter(), 0.0, 100.0);
        assert!((even.y(150.0) - 50.0).abs() < 1e-9);
    }
}
