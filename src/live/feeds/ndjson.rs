//! Candles as lines of JSON.

use super::{Raw, Unreadable};
use crate::core::Bar;
use arrow::datatypes::TimeUnit;
use serde::de::{Deserialize, Deserializer, Visitor};
use std::borrow::Cow;
use std::fmt;
use tallow_common::{short, time};

/// A line is not longer.
pub(super) const LONGEST: usize = 64 << 10;

#[derive(serde::Deserialize)]
struct Line<'a> {
    #[serde(borrow, alias = "s", alias = "sym")]
    symbol: Cow<'a, str>,
    #[serde(borrow, alias = "time", alias = "timestamp", alias = "t")]
    ts: Scalar<'a>,
    #[serde(borrow, alias = "o")]
    open: Scalar<'a>,
    #[serde(borrow, alias = "h")]
    high: Scalar<'a>,
    #[serde(borrow, alias = "l")]
    low: Scalar<'a>,
    #[serde(borrow, alias = "c")]
    close: Scalar<'a>,
    #[serde(borrow, default, alias = "v")]
    volume: Option<Scalar<'a>>,
    #[serde(borrow, default)]
    timeframe: Option<Cow<'a, str>>,
    #[serde(default)]
    priority: u8,
    #[serde(default)]
    complete: Option<bool>,
}

/// A number, which exchanges write as text.
enum Scalar<'a> {
    Whole(i64),
    Number(f64),
    Text(Cow<'a, str>),
}

/// As `#[serde(untagged)]` would, which tries one kind after another and writes an error for each that it is not: a
/// sixth of the time that reading takes.
impl<'de: 'a, 'a> Deserialize<'de> for Scalar<'a> {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        struct Of;

        impl<'de> Visitor<'de> for Of {
            type Value = Scalar<'de>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a number or text")
            }

            fn visit_i64<E>(self, value: i64) -> Result<Self::Value, E> {
                Ok(Scalar::Whole(value))
            }

            fn visit_u64<E>(self, value: u64) -> Result<Self::Value, E> {
                Ok(i64::try_from(value).map_or(Scalar::Number(value as f64), Scalar::Whole))
            }

            fn visit_f64<E>(self, value: f64) -> Result<Self::Value, E> {
                Ok(Scalar::Number(value))
            }

            fn visit_borrowed_str<E>(self, value: &'de str) -> Result<Self::Value, E> {
                Ok(Scalar::Text(Cow::Borrowed(value)))
            }

            fn visit_str<E>(self, value: &str) -> Result<Self::Value, E> {
                Ok(Scalar::Text(Cow::Owned(value.to_string())))
            }
        }

        from.deserialize_any(Of)
    }
}

impl Scalar<'_> {
    fn number(&self, name: &str) -> Result<f64, String> {
        match self {
            Scalar::Whole(value) => Ok(*value as f64),
            Scalar::Number(value) => Ok(*value),
            Scalar::Text(text) => {
                let number = text.parse().ok().filter(|number: &f64| number.is_finite());
                number.ok_or_else(|| format!("`{name}` is '{}': expected a number", short(text)))
            }
        }
    }

    fn time(&self) -> Result<i64, String> {
        let of_epoch = |epoch: i64| match time::unit(epoch) {
            TimeUnit::Second => epoch.saturating_mul(1_000_000),
            TimeUnit::Millisecond => epoch.saturating_mul(1_000),
            TimeUnit::Microsecond => epoch,
            TimeUnit::Nanosecond => epoch / 1_000,
        };
        match self {
            Scalar::Whole(epoch) => Ok(of_epoch(*epoch)),
            Scalar::Number(seconds) => Ok((seconds * 1e6) as i64),
            Scalar::Text(text) => time::parse(text)
                .ok_or_else(|| format!("`ts` is '{}': expected a time such as 2024-01-31T09:30Z", short(text))),
        }
    }
}

/// Reads a line.
///
/// # Errors
/// It is no candle; in words.
pub(super) fn read(text: &[u8], line: u64) -> Result<Raw, Unreadable> {
    candle(text, line).map_err(|error| Unreadable { line, error, offset: None })
}

fn candle(text: &[u8], line: u64) -> Result<Raw, String> {
    if text.len() > LONGEST {
        return Err(format!("a line of {} bytes: expected at most {LONGEST}", text.len()));
    }
    let of: Line<'_> = serde_json::from_slice(text).map_err(|error| format!("no candle: {error}"))?;
    if of.symbol.is_empty() {
        return Err("`symbol` is empty".to_string());
    }
    if of.priority > 10 {
        return Err(format!("`priority` is {}: expected 0 to 10", of.priority));
    }
    let volume = of.volume.map_or(Ok(f64::NAN), |volume| volume.number("volume"))?;
    let values =
        [of.open.number("open")?, of.high.number("high")?, of.low.number("low")?, of.close.number("close")?, volume];
    Ok(Raw {
        symbol: of.symbol.into_owned(),
        bar: Bar { ts: of.ts.time()?, values },
        priority: of.priority,
        timeframe: of.timeframe.map(Cow::into_owned),
        line,
        offset: None,
        is_forming: !of.complete.unwrap_or(true),
    })
}

/// Cuts bytes into lines; what is longer than a line may be is skipped up to its end.
#[derive(Default)]
pub(crate) struct Lines {
    rest: Vec<u8>,
    line: u64,
    /// Bytes of a line that is too long.
    skipped: usize,
}

impl Lines {
    /// The candles of all lines that end in these bytes.
    pub fn push(&mut self, bytes: &[u8], into: &mut Vec<Result<Raw, Unreadable>>) {
        let mut from = 0;
        for end in memchr::memchr_iter(b'\n', bytes) {
            let piece = &bytes[from..end];
            from = end + 1;
            if self.rest.is_empty() && self.skipped == 0 {
                self.take(piece, into);
            } else {
                self.keep(piece);
                let text = std::mem::take(&mut self.rest);
                self.take(&text, into);
            }
        }
        self.keep(&bytes[from..]);
    }

    /// The line that does not end.
    pub fn end(&mut self, into: &mut Vec<Result<Raw, Unreadable>>) {
        if !self.rest.is_empty() || self.skipped > 0 {
            let text = std::mem::take(&mut self.rest);
            self.take(&text, into);
        }
    }

    fn keep(&mut self, piece: &[u8]) {
        if self.rest.len() + piece.len() > LONGEST {
            self.skipped += self.rest.len() + piece.len();
            self.rest.clear();
        } else if self.skipped > 0 {
            self.skipped += piece.len();
        } else {
            self.rest.extend_from_slice(piece);
        }
    }

    fn take(&mut self, text: &[u8], into: &mut Vec<Result<Raw, Unreadable>>) {
        self.line += 1;
        let skipped = std::mem::take(&mut self.skipped);
        if skipped > 0 {
            let error = format!("a line of {skipped} bytes: expected at most {LONGEST}");
            into.push(Err(Unreadable { line: self.line, error, offset: None }));
        } else if !text.trim_ascii().is_empty() {
            into.push(read(text.trim_ascii(), self.line));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TS: i64 = 1_706_693_400_000_000;

    #[test]
    fn numbers_and_times_as_feeds_write_them() {
        let want = Raw {
            symbol: "BTCUSDT".to_string(),
            bar: Bar { ts: TS, values: [1.5, 2.0, 1.0, 1.75, 300.0] },
            priority: 0,
            timeframe: None,
            line: 7,
            offset: None,
            is_forming: false,
        };
        for text in [
            r#"{"symbol":"BTCUSDT","ts":"2024-01-31T09:30Z","open":1.5,"high":2,"low":1,"close":1.75,"volume":300}"#,
            r#"{"symbol":"BTCUSDT","ts":1706693400,"open":"1.5","high":"2.0","low":"1","close":"1.75","volume":"300"}"#,
            r#"{"s":"BTCUSDT","t":1706693400000,"o":1.5,"h":2,"l":1,"c":1.75,"v":300,"n":12}"#,
        ] {
            assert_eq!(read(text.as_bytes(), 7), Ok(want.clone()), "{text}");
        }
        let without = read(br#"{"symbol":"A","ts":1706693400,"open":1,"high":1,"low":1,"close":1}"#, 1).unwrap();
        assert!(without.bar.values[4].is_nan());
    }

    #[test]
    fn what_is_no_candle_is_said_in_words() {
        let said = |text: &str| read(text.as_bytes(), 1).unwrap_err().error;
        assert!(said("hello").starts_with("no candle: expected value"));
        assert!(said(r#"{"symbol":"A","ts":1,"open":1,"high":1,"low":1}"#).contains("missing field `close`"));
        let price = r#"{"symbol":"A","ts":"1970-01-02","open":"x","high":1,"low":1,"close":1}"#;
        assert_eq!(said(price), "`open` is 'x': expected a number");
        let time = r#"{"symbol":"A","ts":"soon","open":1,"high":1,"low":1,"close":1}"#;
        assert!(said(time).starts_with("`ts` is 'soon': expected a time"));
    }

    #[test]
    fn lines_are_the_same_however_bytes_come() {
        let good = r#"{"symbol":"A","ts":1706693400,"open":1,"high":1,"low":1,"close":1,"volume":1}"#;
        let long = "x".repeat(LONGEST + 10);
        let text = format!("{good}\n\n{long}\n{good}\nno\n{good}");
        let read = |size: usize| {
            let (mut lines, mut all) = (Lines::default(), vec![]);
            text.as_bytes().chunks(size).for_each(|bytes| lines.push(bytes, &mut all));
            lines.end(&mut all);
            all
        };
        let whole = read(text.len());
        assert_eq!(whole.iter().map(Result::is_ok).collect::<Vec<_>>(), [true, false, true, false, true]);
        assert!(whole[1].as_ref().unwrap_err().error.starts_with(&format!("a line of {} bytes", LONGEST + 10)));
        for size in [1, 7, 100, 4096, 70_000] {
            assert_eq!(read(size), whole, "{size}");
        }
    }
}
