//! A candle chart.

use super::drawing::{Drawing, LEFT, RIGHT, Scale, TOP, WIDTH, dates, legend, line, names, path, round, shown};
use maud::{Markup, html};

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
    /// What the overlay is called; where there is none, what is shaded.
    pub name: String,
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
    /// Below the candles, lines with a scale of their own.
    pub panes: Vec<Vec<(String, Vec<f64>)>>,
    /// Signs.
    pub marks: Vec<Mark>,
    /// What marks mean: of those that point up, that point down, and of dots.
    pub meanings: [&'static str; 3],
    /// Numbers in words, such as probabilities.
    pub facts: Vec<String>,
}

/// How far from the prices of the bars lines may lie that share their scale.
const AMONG_PRICES: f64 = 1.5;

/// Below the candles.
const FOOT: f64 = 44.0;
/// A pane of lines, and what is between it and the one above.
const PANE: f64 = 84.0;
const PRICES: f64 = 228.0;
const VOLUMES: f64 = 56.0;
const BETWEEN: f64 = 14.0;

impl Drawing for Chart {
    fn title(&self) -> &str {
        &self.title
    }

    fn subtitle(&self) -> &str {
        &self.subtitle
    }

    fn height(&self) -> f64 {
        TOP + PRICES + BETWEEN + VOLUMES + FOOT + self.panes.len() as f64 * (PANE + BETWEEN)
    }

    fn body(&self) -> Markup {
        let lines = self.averages.iter().flat_map(|(_, values)| values.iter().copied());
        let extremes = self.bars.iter().flat_map(|b| [b.low, b.high]);
        let prices = Scale::of(extremes.chain(lines).chain(self.overlay()), TOP, PRICES);
        let most = self.bars.iter().map(|b| b.volume).filter(|v| v.is_finite()).fold(0.0, f64::max);
        let bottom = TOP + PRICES + BETWEEN + VOLUMES;
        let end = bottom + self.panes.len() as f64 * (PANE + BETWEEN);
        let width = ((WIDTH - LEFT - RIGHT) / self.bars.len().max(1) as f64 * 0.7).max(0.6);
        let times: Vec<i64> = self.bars.iter().map(|bar| bar.ts).collect();
        html! {
            text class="ink" x=(WIDTH - 8.0) y="20" font-size="12" text-anchor="end" { (self.facts.join(" · ")) }
            (legend(self.averages.iter().map(|(name, _)| name.as_str()), 38.0))
            text class="mark" x=(WIDTH - 8.0) y="53" font-size="11" text-anchor="end" { (self.key()) }
            @if let Some(window) = &self.window {
                rect class="shade" x=(round(self.x(window.first as f64 - 0.5))) y=(TOP) height=(PRICES + BETWEEN + VOLUMES)
                    width=(round(self.x(window.last as f64 + 0.5) - self.x(window.first as f64 - 0.5))) {}
            }
            (prices.grid(shown))
            @for (bar, text) in dates(&times, 10) {
                line class="grid" x1=(round(self.x(bar as f64))) x2=(round(self.x(bar as f64))) y1=(TOP) y2=(end) {}
                text class="soft" x=(round(self.x(bar as f64))) y=(end + 16.0) font-size="11" text-anchor="middle" { (text) }
            }
            @for (i, bar) in self.bars.iter().enumerate() {
                (self.candle(i, bar, &prices, width, most, bottom))
            }
            @for (i, (_, values)) in self.averages.iter().enumerate() {
                path class=(line(i)) d=(self.path(values.iter().enumerate().map(|(b, v)| (b as f64, *v)), &prices)) {}
            }
            @for (at, lines) in self.panes.iter().enumerate() {
                (self.pane(lines, bottom + BETWEEN + at as f64 * (PANE + BETWEEN)))
            }
            @if let Some(window) = &self.window {
                path class="overlay" d=(self.path(self.overlay().enumerate().map(|(b, v)| ((window.first + b) as f64, v)), &prices)) {}
            }
            @for mark in &self.marks {
                (self.mark(mark, &prices))
            }
            // Each bar tells its values to who points at it.
            @for (i, bar) in self.bars.iter().enumerate() {
                rect class="told" x=(round(self.x(i as f64 - 0.5))) y=(TOP) width=(round(self.x(1.0) - self.x(0.0))) height=(round(end - TOP)) {
                    title { (self.told(i, bar)) }
                }
            }
        }
    }
}

impl Chart {
    fn x(&self, bar: f64) -> f64 {
        LEFT + (bar + 0.5) * (WIDTH - LEFT - RIGHT) / self.bars.len().max(1) as f64
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

    /// Lines with a scale of their own.
    fn pane(&self, lines: &[(String, Vec<f64>)], top: f64) -> Markup {
        let scale = Scale::of(lines.iter().flat_map(|(_, values)| values.iter().copied()), top, PANE);
        html! {
            (scale.grid(shown))
            (names(lines.iter().map(|(name, _)| name.as_str()), top - 3.0))
            @for (i, (_, values)) in lines.iter().enumerate() {
                path class=(line(i)) d=(self.path(values.iter().enumerate().map(|(b, v)| (b as f64, *v)), &scale)) {}
            }
        }
    }

    /// The values of a bar, a line each.
    fn told(&self, i: usize, bar: &Bar) -> String {
        let mut lines = vec![tallow_common::time::shown(bar.ts)];
        let prices =
            [("open", bar.open), ("high", bar.high), ("low", bar.low), ("close", bar.close), ("volume", bar.volume)];
        let own = prices.into_iter().map(|(name, value)| (name.to_string(), value));
        let all = self.averages.iter().chain(self.panes.iter().flatten());
        let others = all.map(|(name, values)| (name.clone(), values.get(i).copied().unwrap_or(f64::NAN)));
        let known = own.chain(others).filter(|(_, value)| value.is_finite());
        lines.extend(known.map(|(name, value)| format!("{name} {}", shown(value))));
        lines.join("\n")
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

    /// What is shaded, laid over the candles, and marked.
    fn key(&self) -> String {
        let window =
            self.window.iter().filter(|window| !window.name.is_empty()).map(|window| match window.overlay.is_empty() {
                true => format!("\u{2592} {}", window.name),
                false => format!("\u{2500} {}", window.name),
            });
        let signs = [("\u{25b2}", 1), ("\u{25bc}", -1), ("\u{25cf}", 0)];
        let there = |side: i8| self.marks.iter().any(|mark| mark.side.signum() == side);
        let marks = signs.iter().zip(self.meanings).filter(|((_, side), meaning)| there(*side) && !meaning.is_empty());
        let marks = marks.map(|((sign, _), meaning)| format!("{sign} {meaning}"));
        window.chain(marks).collect::<Vec<_>>().join("   ")
    }

    /// The same with lines: in the scale of the candles what lies among prices, and in a pane of its own everything else.
    #[must_use]
    pub fn with_lines(mut self, functions: Vec<Vec<(String, Vec<f64>)>>) -> Chart {
        let (low, high) = self
            .bars
            .iter()
            .fold((f64::INFINITY, f64::NEG_INFINITY), |(low, high), bar| (low.min(bar.low), high.max(bar.high)));
        let is_among = |value: &f64| (low / AMONG_PRICES..=high * AMONG_PRICES).contains(value);
        for lines in functions {
            let first = lines.first().map_or(&[][..], |(_, values)| values.as_slice());
            let known = || first.iter().filter(|value| value.is_finite());
            match known().count() > 0 && known().all(is_among) {
                true => self.averages.extend(lines),
                false => self.panes.push(lines),
            }
        }
        self
    }

    /// A line through values of bars.
    fn path(&self, points: impl Iterator<Item = (f64, f64)>, prices: &Scale) -> String {
        path(points.map(|(bar, value)| (self.x(bar), prices.y(value))))
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
        chart.window = Some(Window { first: 10, last: 19, overlay: vec![-1.0, 1.0], name: "dip".to_string() });
        chart.marks = vec![Mark { bar: 3, side: 1 }];
        chart.meanings = ["hit", "miss", ""];
        assert_eq!(chart.key(), "\u{2500} dip   \u{25b2} hit");
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
}
