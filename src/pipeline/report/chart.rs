//! A candle chart as SVG.
//!
//! The drawing names classes; a page gives them colours that follow the reader's theme, a picture has colours of its own.

use maud::{Markup, html};
use std::fmt::Write;

/// A candle.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Bar {
    /// Microseconds since the epoch.
    pub ts: i64,
    /// Open.
    pub open: f64,
    /// High.
    pub high: f64,
    /// Low.
    pub low: f64,
    /// Close.
    pub close: f64,
    /// Volume.
    pub volume: f64,
}

/// The bars that a match covers.
#[derive(Debug, Clone, PartialEq)]
pub struct Window {
    /// Its first bar.
    pub first: usize,
    /// Its last bar.
    pub last: usize,
    /// The pattern's closes, z-normalised, drawn over them.
    pub overlay: Vec<f64>,
}

/// A sign at a bar.
#[derive(Debug, Clone, PartialEq)]
pub struct Mark {
    /// The bar.
    pub bar: usize,
    /// Above zero it points up from below the bar, below zero down from above it; zero is a dot.
    pub side: i8,
}

/// What is drawn.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Chart {
    /// First line.
    pub title: String,
    /// Second line.
    pub subtitle: String,
    /// The candles, in time order.
    pub bars: Vec<Bar>,
    /// Lines beside them: a name, and a value for each bar, NaN where there is none.
    pub averages: Vec<(String, Vec<f64>)>,
    /// The bars that are shaded.
    pub window: Option<Window>,
    /// Signs.
    pub marks: Vec<Mark>,
    /// Numbers in words, such as probabilities.
    pub facts: Vec<String>,
}

const WIDTH: f64 = 900.0;
const HEIGHT: f64 = 400.0;
const LEFT: f64 = 8.0;
const RIGHT: f64 = 66.0;
const TOP: f64 = 58.0;
const PRICES: f64 = 228.0;
const VOLUMES: f64 = 56.0;
const BETWEEN: f64 = 14.0;

/// Colours of a picture, which has no theme to follow.
const COLOURS: &str = "text{font-family:sans-serif}.paper{fill:#ffffff}.ink{fill:#1c2430}.soft{fill:#667085}.grid{stroke:#e4e7ec;stroke-width:1}\
.up{fill:#12805c;stroke:#12805c}.down{fill:#c4320a;stroke:#c4320a}.volume{fill:#98a2b3}\
.shade{fill:#3b5bdb;fill-opacity:0.10}.overlay{fill:none;stroke:#3b5bdb;stroke-width:2}\
.line0{fill:none;stroke:#b54708;stroke-width:1.3}.line1{fill:none;stroke:#6941c6;stroke-width:1.3}\
.line2{fill:none;stroke:#087443;stroke-width:1.3}.name0{fill:#b54708}.name1{fill:#6941c6}.name2{fill:#087443}.mark{fill:#3b5bdb}";

/// Where values lie on the page.
#[derive(Clone, Copy)]
struct Scale {
    low: f64,
    high: f64,
    top: f64,
    height: f64,
}

impl Scale {
    fn of(values: impl Iterator<Item = f64>, top: f64, height: f64) -> Scale {
        let (mut low, mut high) = (f64::INFINITY, f64::NEG_INFINITY);
        for value in values.filter(|v| v.is_finite()) {
            (low, high) = (low.min(value), high.max(value));
        }
        if low > high {
            (low, high) = (0.0, 1.0);
        }
        let room = if high > low { (high - low) * 0.04 } else { high.abs().max(1.0) * 0.01 };
        Scale { low: low - room, high: high + room, top, height }
    }

    fn y(&self, value: f64) -> f64 {
        self.top + self.height * (self.high - value) / (self.high - self.low)
    }

    /// Round values, a handful.
    fn ticks(&self) -> Vec<f64> {
        let rough = (self.high - self.low) / 5.0;
        let power = 10f64.powf(rough.log10().floor());
        let step = [1.0, 2.0, 5.0, 10.0].map(|f| f * power).into_iter().find(|s| *s >= rough).unwrap_or(rough);
        let first = (self.low / step).ceil() as i64;
        let last = (self.high / step).floor() as i64;
        (first..=last.min(first + 12)).map(|i| i as f64 * step).collect()
    }
}

fn round(x: f64) -> f64 {
    (x * 10.0).round() / 10.0
}

/// A number in as many digits as its size asks for.
fn shown(value: f64) -> String {
    match value.abs() {
        0.0 => "0".to_string(),
        v if !(1e-4..1e9).contains(&v) => format!("{value:.3e}"),
        v if v >= 1000.0 => format!("{value:.0}"),
        v if v >= 10.0 => format!("{value:.1}"),
        v if v >= 1.0 => format!("{value:.2}"),
        v => format!("{value:.*}", (3.0 - v.log10().floor()) as usize),
    }
}

impl Chart {
    /// The drawing as an element of a page.
    pub fn svg(&self) -> Markup {
        self.drawing(None)
    }

    /// The drawing as a file of its own, with colours.
    pub fn file(&self) -> String {
        self.drawing(Some(COLOURS)).into_string()
    }

    fn x(&self, bar: f64) -> f64 {
        LEFT + (bar + 0.5) * (WIDTH - LEFT - RIGHT) / self.bars.len().max(1) as f64
    }

    fn drawing(&self, colours: Option<&str>) -> Markup {
        let lines = self.averages.iter().flat_map(|(_, values)| values.iter().copied());
        let extremes = self.bars.iter().flat_map(|b| [b.low, b.high]);
        let prices = Scale::of(extremes.chain(lines).chain(self.overlay()), TOP, PRICES);
        let most = self.bars.iter().map(|b| b.volume).filter(|v| v.is_finite()).fold(0.0, f64::max);
        let bottom = TOP + PRICES + BETWEEN + VOLUMES;
        let width = ((WIDTH - LEFT - RIGHT) / self.bars.len().max(1) as f64 * 0.7).max(0.6);
        html! {
            svg xmlns="http://www.w3.org/2000/svg" viewBox=(format!("0 0 {WIDTH} {HEIGHT}")) role="img" aria-label=(self.title) class="chart" {
                @if let Some(colours) = colours { style { (colours) } }
                rect class="paper" x="0" y="0" width=(WIDTH) height=(HEIGHT) {}
                text class="ink" x=(LEFT) y="20" font-size="15" { (self.title) }
                text class="soft" x=(LEFT) y="38" font-size="12" { (self.subtitle) }
                text class="ink" x=(WIDTH - 8.0) y="20" font-size="12" text-anchor="end" { (self.facts.join(" · ")) }
                @for (i, (name, _)) in self.averages.iter().enumerate() {
                    text class=(format!("name{i}")) x=(WIDTH - 8.0 - 62.0 * (self.averages.len() - 1 - i) as f64) y="38" font-size="12" text-anchor="end" { (name) }
                }
                @if let Some(window) = &self.window {
                    rect class="shade" x=(round(self.x(window.first as f64 - 0.5))) y=(TOP) height=(PRICES + BETWEEN + VOLUMES)
                        width=(round(self.x(window.last as f64 + 0.5) - self.x(window.first as f64 - 0.5))) {}
                }
                @for tick in prices.ticks() {
                    line class="grid" x1=(LEFT) x2=(WIDTH - RIGHT) y1=(round(prices.y(tick))) y2=(round(prices.y(tick))) {}
                    text class="soft" x=(WIDTH - RIGHT + 6.0) y=(round(prices.y(tick) + 4.0)) font-size="11" { (shown(tick)) }
                }
                @for (bar, text) in self.dates() {
                    line class="grid" x1=(round(self.x(bar as f64))) x2=(round(self.x(bar as f64))) y1=(TOP) y2=(bottom) {}
                    text class="soft" x=(round(self.x(bar as f64))) y=(bottom + 16.0) font-size="11" text-anchor="middle" { (text) }
                }
                @for (i, bar) in self.bars.iter().enumerate() {
                    (self.candle(i, bar, &prices, width, most, bottom))
                }
                @for (i, (_, values)) in self.averages.iter().enumerate() {
                    path class=(format!("line{i}")) d=(self.path(values.iter().enumerate().map(|(b, v)| (b as f64, *v)), &prices)) {}
                }
                @if let Some(window) = &self.window {
                    path class="overlay" d=(self.path(self.overlay().enumerate().map(|(b, v)| ((window.first + b) as f64, v)), &prices)) {}
                }
                @for mark in &self.marks {
                    (self.mark(mark, &prices))
                }
            }
        }
    }

    fn candle(&self, i: usize, bar: &Bar, prices: &Scale, width: f64, most: f64, bottom: f64) -> Markup {
        if ![bar.open, bar.high, bar.low, bar.close].iter().all(|v| v.is_finite()) {
            return html! {};
        }
        let (x, class) = (self.x(i as f64), if bar.close >= bar.open { "up" } else { "down" });
        let (upper, lower) = (prices.y(bar.open.max(bar.close)), prices.y(bar.open.min(bar.close)));
        let volume = if most > 0.0 && bar.volume.is_finite() { VOLUMES * bar.volume / most } else { 0.0 };
        html! {
            @if bar.high > bar.low {
                path class=(class) d=(format!("M{} {}V{}", round(x), round(prices.y(bar.high)), round(prices.y(bar.low)))) {}
            }
            rect class=(class) x=(round(x - width / 2.0)) y=(round(upper)) width=(round(width)) height=(round((lower - upper).max(0.7))) {}
            rect class="volume" x=(round(x - width / 2.0)) y=(round(bottom - volume)) width=(round(width)) height=(round(volume)) {}
        }
    }

    fn mark(&self, mark: &Mark, prices: &Scale) -> Markup {
        let Some(bar) = self.bars.get(mark.bar) else { return html! {} };
        let x = round(self.x(mark.bar as f64));
        let (y, d) = match mark.side {
            0 => (round(prices.y(bar.high) - 8.0), 0.0),
            side if side > 0 => (round(prices.y(bar.low) + 5.0), 7.0),
            _ => (round(prices.y(bar.high) - 5.0), -7.0),
        };
        html! {
            @if d == 0.0 {
                circle class="mark" cx=(x) cy=(y) r="2.5" {}
            } @else {
                path class="mark" d=(format!("M{x} {y}l-4 {d}h8z")) {}
            }
        }
    }

    /// A line through points; it breaks where a value is missing.
    fn path(&self, points: impl Iterator<Item = (f64, f64)>, prices: &Scale) -> String {
        let (mut d, mut open) = (String::new(), false);
        for (bar, value) in points {
            if value.is_finite() {
                let step = if open { 'L' } else { 'M' };
                let _ = write!(d, "{step}{} {}", round(self.x(bar)), round(prices.y(value)));
            }
            open = value.is_finite();
        }
        d
    }

    /// The pattern's closes at the level and with the spread of those of the window, one for each of its bars.
    fn overlay(&self) -> impl Iterator<Item = f64> {
        let values = self.window.as_ref().map(|window| {
            let closes: Vec<f64> =
                self.bars[window.first..=window.last].iter().map(|b| b.close).filter(|c| c.is_finite()).collect();
            let (mean, inverse) = tallow_udfs::similarity::znorm::two_pass(&closes);
            let spread = if inverse > 0.0 { 1.0 / inverse } else { 0.0 };
            let bars = window.last - window.first + 1;
            let shape = tallow_udfs::similarity::descriptor::resample(&window.overlay, bars);
            shape.into_iter().map(|z| mean + spread * z).collect::<Vec<_>>()
        });
        values.unwrap_or_default().into_iter()
    }

    /// Some bars and their dates.
    fn dates(&self) -> Vec<(usize, String)> {
        let every = self.bars.len().div_ceil(7).max(1);
        let day = 86_400_000_000;
        let daily = self.bars.iter().all(|b| b.ts % day == 0);
        let format = if daily { "%Y-%m-%d" } else { "%m-%d %H:%M" };
        let text = |ts: i64| chrono::DateTime::from_timestamp_micros(ts).map(|t| t.format(format).to_string());
        let bars = self.bars.iter().enumerate().skip(every / 2).step_by(every);
        bars.filter_map(|(i, bar)| Some((i, text(bar.ts)?))).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn chart() -> Chart {
        let bar = |i: i64| Bar {
            ts: i * 86_400_000_000,
            open: 10.0 + i as f64,
            high: 12.0 + i as f64,
            low: 9.0 + i as f64,
            close: 11.0 + i as f64,
            volume: 100.0,
        };
        Chart { title: "A & <B>".into(), bars: (0..30).map(bar).collect(), ..Chart::default() }
    }

    #[test]
    fn every_bar_is_a_candle_and_text_is_escaped() {
        let svg = chart().file();
        assert_eq!(svg.matches("class=\"up\"").count(), 60);
        assert_eq!(svg.matches("class=\"volume\"").count(), 30);
        assert!(svg.contains("A &amp; &lt;B&gt;") && !svg.contains("<B>"), "{svg}");
    }

    #[test]
    fn the_pattern_is_drawn_at_the_level_of_the_window() {
        let mut chart = chart();
        chart.window = Some(Window { first: 10, last: 19, overlay: vec![-1.0, 1.0] });
        let overlay: Vec<f64> = chart.overlay().collect();
        assert_eq!(overlay.len(), 10);
        let mean = overlay.iter().sum::<f64>() / 10.0;
        assert!((mean - 25.5).abs() < 1e-9, "{mean}");
    }

    #[test]
    fn bars_without_prices_are_left_out() {
        let mut chart = chart();
        chart.bars[3].high = f64::NAN;
        assert_eq!(chart.file().matches("class=\"up\"").count(), 58);
        assert!(!chart.file().contains("NaN"));
        assert!(!Chart::default().file().contains("NaN"));
    }

    #[test]
    fn ticks_fit_beside_the_chart() {
        let ticks = [0.0, 1234.56, 12.345, 1.2345, 0.123456, 0.00123456, 1.15e-8, 2.5e300].map(shown);
        assert_eq!(ticks, ["0", "1235", "12.3", "1.23", "0.1235", "0.001235", "1.150e-8", "2.500e300"]);
        assert!(ticks.iter().all(|tick| tick.len() < 10));
    }
}
