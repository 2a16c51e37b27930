//! A candle in the making: what is known of it so far, and how two of them become one.

/// Prices in the making; NaN and the ends of time where there is none yet.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Prices {
    pub open: f64,
    /// When `open` was seen.
    pub opened: i64,
    pub high: f64,
    pub low: f64,
    pub close: f64,
    /// When `close` was seen.
    pub closed: i64,
}

impl Prices {
    pub const NONE: Prices =
        Prices { open: f64::NAN, opened: i64::MAX, high: f64::NAN, low: f64::NAN, close: f64::NAN, closed: i64::MIN };

    fn merge(&mut self, other: &Prices) {
        if other.opened < self.opened {
            (self.open, self.opened) = (other.open, other.opened);
        }
        // These pass over NaN.
        self.high = self.high.max(other.high);
        self.low = self.low.min(other.low);
        if other.closed >= self.closed && !other.close.is_nan() {
            (self.close, self.closed) = (other.close, other.closed);
        }
    }
}

/// A candle in the making.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Candle {
    /// Time of the first bar.
    pub first: i64,
    /// Time of the last bar.
    pub last: i64,
    /// What bars with trades say, or of which it is not known whether they had any ...
    pub traded: Prices,
    /// ... and what those say that had none, which counts where no bar is known to have had any.
    pub fillers: Prices,
    /// NaN: not known.
    pub volume: f64,
    /// Sum of price times volume; NaN: not known.
    pub turnover: f64,
}

/// Columns of a state: times and numbers of [`Candle`].
pub(super) const TIMES: usize = 6;
pub(super) const NUMBERS: usize = 10;

impl Candle {
    pub const EMPTY: Candle = Candle {
        first: i64::MAX,
        last: i64::MIN,
        traded: Prices::NONE,
        fillers: Prices::NONE,
        volume: f64::NAN,
        turnover: f64::NAN,
    };

    pub fn is_empty(&self) -> bool {
        self.first == i64::MAX
    }

    pub fn merge(&mut self, other: &Candle) {
        self.first = self.first.min(other.first);
        self.last = self.last.max(other.last);
        self.traded.merge(&other.traded);
        self.fillers.merge(&other.fillers);
        self.volume = sum(self.volume, other.volume);
        self.turnover = sum(self.turnover, other.turnover);
    }

    pub fn prices(&self) -> Prices {
        let mut prices = self.traded;
        let has_trades = self.volume > 0.0;
        if !has_trades {
            prices.merge(&self.fillers);
        }
        prices
    }

    /// Every field, so that a new one is not forgotten in states.
    pub fn times(&self) -> [i64; TIMES] {
        let Candle { first, last, traded, fillers, volume: _, turnover: _ } = self;
        [*first, *last, traded.opened, traded.closed, fillers.opened, fillers.closed]
    }

    pub fn numbers(&self) -> [f64; NUMBERS] {
        let of = |Prices { open, opened: _, high, low, close, closed: _ }: Prices| [open, high, low, close];
        let ([a, b, c, d], [e, f, g, h]) = (of(self.traded), of(self.fillers));
        [a, b, c, d, e, f, g, h, self.volume, self.turnover]
    }

    pub fn of([first, last, a, b, c, d]: [i64; TIMES], numbers: [f64; NUMBERS]) -> Candle {
        let [o, h, l, x, fo, fh, fl, fx, volume, turnover] = numbers;
        Candle {
            first,
            last,
            traded: Prices { open: o, opened: a, high: h, low: l, close: x, closed: b },
            fillers: Prices { open: fo, opened: c, high: fh, low: fl, close: fx, closed: d },
            volume,
            turnover,
        }
    }
}

/// What is not known adds nothing.
fn sum(a: f64, b: f64) -> f64 {
    match (a.is_nan(), b.is_nan()) {
        (true, _) => b,
        (_, true) => a,
        _ => a + b,
    }
}

/// The price that a bar's volume is valued at.
pub(super) fn typical(high: f64, low: f64, close: f64) -> f64 {
    let middle = if close.is_nan() { (high + low) / 2.0 } else { (high + low + close) / 3.0 };
    match middle.is_nan() {
        true => [close, high, low].into_iter().find(|p| !p.is_nan()).unwrap_or(f64::NAN),
        false => middle,
    }
}
