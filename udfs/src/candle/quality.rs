//! What makes a bar wrong: the rules of one row.

/// Prices this close to each other, relative to their size, are equal: the noise of arithmetic on them is no fault.
const NOISE: f64 = 1e-9;

/// A close may lie this far outside the quotes, relative to the price.
const BASIS_POINT: f64 = 1e-4;

/// A rule for one row.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Rule {
    /// The close is a finite number above zero.
    Close,
    /// Open, high and low, where present, are finite numbers above zero.
    Price,
    /// Low and high enclose open and close.
    Range,
    /// The volume, where present, is not negative.
    Volume,
    /// The bid lies below the ask.
    Quote,
    /// The time is the opening of a bar of the timeframe.
    Aligned,
    /// Open, high and low are present. Such a bar is kept.
    Incomplete,
    /// The close lies within bid and ask, give or take a basis point. Such a bar is kept.
    QuotedClose,
}

impl Rule {
    /// The rule's name in results.
    pub fn name(self) -> &'static str {
        match self {
            Rule::Close => "close",
            Rule::Price => "price",
            Rule::Range => "range",
            Rule::Volume => "volume",
            Rule::Quote => "quote",
            Rule::Aligned => "aligned",
            Rule::Incomplete => "incomplete",
            Rule::QuotedClose => "quoted_close",
        }
    }

    /// Whether a bar that breaks the rule cannot be used.
    pub fn is_error(self) -> bool {
        !matches!(self, Rule::Incomplete | Rule::QuotedClose)
    }
}

/// The numbers of a bar; NaN where there is none.
#[derive(Debug, Clone, Copy)]
pub struct Bar {
    /// First price.
    pub open: f64,
    /// Highest price.
    pub high: f64,
    /// Lowest price.
    pub low: f64,
    /// Last price.
    pub close: f64,
    /// Traded volume.
    pub volume: f64,
    /// Best bid at the close.
    pub bid: f64,
    /// Best ask at the close.
    pub ask: f64,
}

/// How a bar breaks a rule.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Fault {
    /// The rule.
    pub rule: Rule,
    /// The column at fault.
    pub column: &'static str,
    /// Its value; NaN where it is missing.
    pub value: f64,
    /// What was expected of it.
    pub expected: &'static str,
}

impl Bar {
    /// The first rule that the bar breaks, errors before warnings.
    pub fn fault(&self) -> Option<Fault> {
        let Bar { open, high, low, close, volume, bid, ask } = *self;
        // Nearly every bar is sound, and comparisons with what is missing are false.
        let priced = low > 0.0 && high < f64::INFINITY;
        let enclosed = low <= open && low <= close && open <= high && close <= high;
        if priced && enclosed && volume >= 0.0 && bid.is_nan() && ask.is_nan() {
            return None;
        }
        let fault = |rule, column, value, expected| Some(Fault { rule, column, value, expected });
        let sound = |price: f64| price > 0.0 && price.is_finite();
        if !sound(close) {
            return fault(Rule::Close, "close", close, "a finite number above 0");
        }
        for (column, price) in [("open", open), ("high", high), ("low", low)] {
            if !price.is_nan() && !sound(price) {
                return fault(Rule::Price, column, price, "a finite number above 0, or none");
            }
        }
        let above = |a: f64, b: f64| a > b && a - b > NOISE * a.abs();
        for (price, what) in [(open, "at most the open"), (close, "at most the close"), (high, "at most the high")] {
            if above(low, price) {
                return fault(Rule::Range, "low", low, what);
            }
        }
        for (price, what) in [(open, "at least the open"), (close, "at least the close")] {
            if above(price, high) {
                return fault(Rule::Range, "high", high, what);
            }
        }
        if volume < 0.0 || volume.is_infinite() {
            return fault(Rule::Volume, "volume", volume, "a finite number from 0, or none");
        }
        if bid >= ask {
            return fault(Rule::Quote, "bid", bid, "less than the ask");
        }
        if open.is_nan() || high.is_nan() || low.is_nan() {
            let missing = [("open", open), ("high", high), ("low", low)].into_iter().find(|(_, v)| v.is_nan());
            return fault(Rule::Incomplete, missing.map_or("open", |(name, _)| name), f64::NAN, "a price");
        }
        if close < bid - BASIS_POINT * close || close > ask + BASIS_POINT * close {
            return fault(Rule::QuotedClose, "close", close, "between bid and ask");
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SOUND: Bar =
        Bar { open: 10.0, high: 12.0, low: 9.0, close: 11.0, volume: 100.0, bid: f64::NAN, ask: f64::NAN };

    fn rule(bar: Bar) -> Option<(&'static str, &'static str)> {
        bar.fault().map(|f| (f.rule.name(), f.column))
    }

    #[test]
    fn a_sound_bar_breaks_no_rule() {
        assert_eq!(rule(SOUND), None);
        assert_eq!(rule(Bar { volume: f64::NAN, ..SOUND }), None);
        assert_eq!(rule(Bar { volume: 0.0, ..SOUND }), None);
        assert_eq!(rule(Bar { bid: 10.9, ask: 11.1, ..SOUND }), None);
    }

    #[test]
    fn each_rule_is_named() {
        assert_eq!(rule(Bar { close: 0.0, ..SOUND }), Some(("close", "close")));
        assert_eq!(rule(Bar { close: f64::NAN, ..SOUND }), Some(("close", "close")));
        assert_eq!(rule(Bar { close: f64::INFINITY, ..SOUND }), Some(("close", "close")));
        assert_eq!(rule(Bar { open: -1.0, ..SOUND }), Some(("price", "open")));
        assert_eq!(rule(Bar { high: f64::INFINITY, ..SOUND }), Some(("price", "high")));
        assert_eq!(rule(Bar { low: 10.5, ..SOUND }), Some(("range", "low")));
        assert_eq!(rule(Bar { high: 10.5, ..SOUND }), Some(("range", "high")));
        assert_eq!(rule(Bar { open: f64::NAN, high: 8.0, ..SOUND }), Some(("range", "low")));
        assert_eq!(rule(Bar { volume: -1.0, ..SOUND }), Some(("volume", "volume")));
        assert_eq!(rule(Bar { bid: 11.0, ask: 11.0, ..SOUND }), Some(("quote", "bid")));
        assert_eq!(rule(Bar { bid: 11.5, ask: 11.6, ..SOUND }), Some(("quoted_close", "close")));
        assert_eq!(rule(Bar { open: f64::NAN, ..SOUND }), Some(("incomplete", "open")));
    }

    #[test]
    fn the_noise_of_arithmetic_is_no_fault() {
        assert_eq!(rule(Bar { high: 11.0 - 1e-12, ..SOUND }), None);
        assert_eq!(rule(Bar { high: 11.0 - 1e-6, ..SOUND }), Some(("range", "high")));
    }
}
