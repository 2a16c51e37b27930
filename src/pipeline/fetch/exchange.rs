//! What an exchange's interface is like, as data: a TOML file for each.

use super::streams::Stream;
use serde::Deserialize;
use serde_json::Value;
use std::collections::BTreeMap;
use tallow_common::{Error, Result, short};
use tallow_udfs::calendar::Timeframe;

/// Those that tallow knows, by name.
const KNOWN: [(&str, &str); 5] = [
    ("binance", include_str!("exchanges/binance.toml")),
    ("bybit", include_str!("exchanges/bybit.toml")),
    ("coinbase", include_str!("exchanges/coinbase.toml")),
    ("kraken", include_str!("exchanges/kraken.toml")),
    ("okx", include_str!("exchanges/okx.toml")),
];

/// An exchange.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Exchange {
    /// What it is.
    pub about: String,
    /// How many requests it takes in a minute.
    pub requests_per_minute: u32,
    /// What it calls lengths of bars.
    pub intervals: BTreeMap<String, String>,
    /// Where an answer says whether it is one.
    pub code: Option<Answer>,
    /// Where an answer says what is wrong, as a JSON pointer.
    pub message: String,
    /// Its markets, by name.
    pub markets: BTreeMap<String, Market>,
}

/// How answers say whether they are one.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Answer {
    /// A JSON pointer.
    pub at: String,
    /// What stands there in an answer.
    pub good: String,
    /// What stands there where one may ask again later.
    pub busy: Vec<String>,
}

/// A market of an exchange.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Market {
    /// Scheme and host.
    pub base: String,
    /// Path and query for the bars from one time up to another: `{symbol}`, `{interval}`, `{limit}`, and times: `from`, its bar included,
    /// `before`, the last instant before it, `last`, the last instant that is wanted, `to`, the first that is not; as `_ms`, `_s`
    /// or `_iso`.
    pub candles: String,
    /// Bars in an answer at most.
    pub limit: u32,
    /// It gives the newest bars alone, whatever is asked for.
    #[serde(default)]
    pub newest_only: bool,
    /// Where the rows are, as a JSON pointer; `*` is the first array of an object.
    pub rows: String,
    /// What the values of a row are: `ts_ms` or `ts_s`, columns of a candle; `-` is left out.
    pub columns: Vec<String>,
    /// Its list of symbols.
    pub symbols: Listing,
    /// How it tells of bars as they close, where it does.
    pub stream: Option<Stream>,
}

/// A list of symbols.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Listing {
    /// Path and query.
    pub path: String,
    /// Where they are, as a JSON pointer to an array or an object.
    pub rows: String,
    /// Where one has its name.
    pub name: String,
    /// What one has to have, by JSON pointer.
    pub keep: BTreeMap<String, String>,
}

impl Exchange {
    /// The names of those that tallow knows.
    pub fn names() -> [&'static str; KNOWN.len()] {
        KNOWN.map(|(name, _)| name)
    }

    /// One that tallow knows, or that of a TOML file.
    ///
    /// # Errors
    /// There is none, or the file describes none.
    pub fn named(name: &str) -> Result<Exchange> {
        let known = KNOWN.iter().find(|(known, _)| *known == name).map(|(_, text)| (*text).to_string());
        let text = match known {
            Some(text) => text,
            None if name.ends_with(".toml") => {
                std::fs::read_to_string(name).map_err(|error| Error::File(name.to_string(), error))?
            }
            None => {
                let names = Exchange::names().join(", ");
                return Err(Error::invalid(format!(
                    "unknown exchange `{name}`: expected one of {names}, or a file .toml"
                )));
            }
        };
        toml::from_str(&text)
            .map_err(|error| Error::invalid(format!("the exchange {name}: {}", error.to_string().trim())))
    }

    /// What it calls bars of a length.
    ///
    /// # Errors
    /// It has none.
    pub fn interval(&self, timeframe: Timeframe) -> Result<&str> {
        let known = || self.intervals.keys().cloned().collect::<Vec<_>>().join(", ");
        let found = self.intervals.get(&timeframe.to_string());
        found.map(String::as_str).ok_or_else(|| {
            Error::Argument("timeframe", format!(" {timeframe}: the exchange has none of these; it has {}", known()))
        })
    }

    /// One of its markets.
    ///
    /// # Errors
    /// It has none of this name.
    pub fn market(&self, name: &str) -> Result<&Market> {
        let known = || self.markets.keys().cloned().collect::<Vec<_>>().join(", ");
        let found = self.markets.get(name);
        found.ok_or_else(|| Error::Argument("market", format!(" {name}: expected one of {}", known())))
    }

    /// What an answer says is wrong; `Ok(true)`: that one may ask again.
    pub(super) fn fault(&self, answer: &Value) -> Option<(bool, String)> {
        let said =
            || answer.pointer(&self.message).map(plain).unwrap_or_else(|| short(&answer.to_string()).into_owned());
        match &self.code {
            Some(Answer { at, good, busy }) => {
                let code = answer.pointer(at).map(plain).unwrap_or_default();
                (code != *good).then(|| (busy.contains(&code), format!("{} (code {code})", said())))
            }
            // An answer without a fault has no message.
            None => answer.pointer(&self.message).map(|said| (false, plain(said))),
        }
    }
}

impl Market {
    /// Path and query for bars of a symbol; times are milliseconds, up to the second one.
    pub(super) fn page(&self, symbol: &str, interval: &str, (from, to): (i64, i64)) -> String {
        let iso = |ms: i64| {
            let time = chrono::DateTime::from_timestamp_millis(ms).unwrap_or_default();
            time.format("%Y-%m-%dT%H:%M:%SZ").to_string()
        };
        let mut page = self.candles.replace("{symbol}", &escaped(symbol)).replace("{interval}", interval);
        page = page.replace("{limit}", &self.limit.to_string());
        for (name, ms) in [("from", from), ("before", from - 1), ("last", to - 1), ("to", to)] {
            page = page.replace(&format!("{{{name}_ms}}"), &ms.to_string());
            page = page.replace(&format!("{{{name}_s}}"), &ms.div_euclid(1000).to_string());
            page = page.replace(&format!("{{{name}_iso}}"), &iso(ms));
        }
        page
    }

    /// The rows of an answer, as lines of delimited text under [`Market::header`].
    pub(super) fn lines(&self, symbol: &str, answer: &Value) -> Result<Vec<String>> {
        let strange = |what: &dyn std::fmt::Display| {
            Error::invalid(format!("the answer is none: {what}, in {}", short(&answer.to_string())))
        };
        let rows = rows_at(answer, &self.rows).ok_or_else(|| strange(&format!("no array at '{}'", self.rows)))?;
        let line = |row: &Value| -> Result<String> {
            let values = row.as_array().ok_or_else(|| strange(&"a row is no array"))?;
            if values.len() < self.columns.len() {
                return Err(strange(&format!("a row has {} values instead of {}", values.len(), self.columns.len())));
            }
            let mut fields = vec![format!("\"{}\"", symbol.replace('"', "\"\""))];
            for (column, value) in self.columns.iter().zip(values) {
                match column.as_str() {
                    "-" => {}
                    "ts_s" => {
                        let seconds =
                            plain(value).parse::<f64>().map_err(|_| strange(&format!("{value} is no time")))?;
                        fields.push(format!("{}", (seconds * 1000.0) as i64));
                    }
                    _ => fields.push(plain(value)),
                }
            }
            Ok(fields.join(","))
        };
        rows.iter().map(line).collect()
    }

    /// The names of the columns of lines.
    pub(super) fn header(&self) -> Vec<String> {
        let column = |name: &String| if name.starts_with("ts_") { "ts".to_string() } else { name.clone() };
        let own = self.columns.iter().filter(|name| *name != "-").map(column);
        std::iter::once("symbol".to_string()).chain(own).collect()
    }
}

impl Listing {
    /// The names of the symbols of an answer that have what they have to have, in order.
    pub(super) fn names(&self, answer: &Value) -> Result<Vec<String>> {
        let entries: Option<Vec<&Value>> = match answer.pointer(&self.rows) {
            Some(Value::Array(entries)) => Some(entries.iter().collect()),
            Some(Value::Object(entries)) => Some(entries.values().collect()),
            _ => None,
        };
        let entries = entries.ok_or_else(|| {
            Error::invalid(format!("the answer is no list of symbols: {}", short(&answer.to_string())))
        })?;
        let is_kept = |entry: &&Value| {
            self.keep.iter().all(|(at, wanted)| entry.pointer(at).map(plain).as_deref() == Some(wanted.as_str()))
        };
        let mut names: Vec<String> =
            entries.into_iter().filter(is_kept).filter_map(|entry| entry.pointer(&self.name).map(plain)).collect();
        names.sort();
        Ok(names)
    }
}

/// The array at a pointer; `*` is the first array of an object.
fn rows_at<'a>(answer: &'a Value, pointer: &str) -> Option<&'a Vec<Value>> {
    match pointer.strip_suffix("/*") {
        Some(parent) => answer.pointer(parent)?.as_object()?.values().find_map(Value::as_array),
        None => answer.pointer(pointer)?.as_array(),
    }
}

/// A value as text, without quotes.
fn plain(value: &Value) -> String {
    match value {
        Value::String(text) => text.clone(),
        Value::Null => String::new(),
        other => other.to_string(),
    }
}

/// A name as a part of a URL.
fn escaped(name: &str) -> String {
    url::form_urlencoded::byte_serialize(name.as_bytes()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn all_that_are_known_are_exchanges() {
        for name in Exchange::names() {
            let exchange = Exchange::named(name).unwrap();
            for (interval, market) in
                exchange.intervals.keys().flat_map(|i| exchange.markets.values().map(move |m| (i, m)))
            {
                assert!(interval.parse::<Timeframe>().is_ok(), "{name}: {interval}");
                let page = market.page("BTC/USD", "x", (1_700_000_000_000, 1_700_003_600_000));
                assert!(!page.contains(['{', '}', ' ']) && page.contains("BTC%2FUSD"), "{name}: {page}");
                for column in ["open", "high", "low", "close", "volume"] {
                    assert!(market.header().iter().any(|c| c == column), "{name}: {column}");
                }
            }
        }
        assert!(Exchange::named("mtgox").unwrap_err().to_string().contains("expected one of binance"));
    }

    #[test]
    fn answers_become_lines() {
        let lines = |name: &str, answer: Value| {
            let exchange = Exchange::named(name).unwrap();
            exchange.markets["spot"].lines("X", &answer).unwrap()
        };
        let binance =
            json!([[1_700_000_000_000i64, "1", "2", "0.5", "1.5", "10", 1_700_000_059_999i64, "15", 7, "1", "1", "0"]]);
        assert_eq!(lines("binance", binance), ["\"X\",1700000000000,1,2,0.5,1.5,10,15,7"]);
        let kraken = json!({"error": [], "result": {"XXBTZUSD": [[1_700_000_000, "1", "2", "0.5", "1.5", "1.2", "10", 7]], "last": 1}});
        assert_eq!(lines("kraken", kraken), ["\"X\",1700000000000,1,2,0.5,1.5,1.2,10,7"]);
        let coinbase = json!([[1_700_000_000, 0.5, 2, 1, 1.5, 10]]);
        assert_eq!(lines("coinbase", coinbase), ["\"X\",1700000000000,0.5,2,1,1.5,10"]);
        let error = Exchange::named("binance").unwrap().markets["spot"].lines("X", &json!({"a": 1})).unwrap_err();
        assert!(error.to_string().contains("the answer is none"), "{error}");
    }

    #[test]
    fn an_answer_says_what_is_wrong() {
        let fault = |name: &str, answer: Value| Exchange::named(name).unwrap().fault(&answer);
        assert_eq!(
            fault("binance", json!({"code": -1121, "msg": "Invalid symbol."})),
            Some((false, "Invalid symbol.".into()))
        );
        assert_eq!(
            fault("bybit", json!({"retCode": 10006, "retMsg": "Too many"})),
            Some((true, "Too many (code 10006)".into()))
        );
        assert_eq!(
            fault("kraken", json!({"error": ["EQuery:Unknown asset pair"]})),
            Some((false, "EQuery:Unknown asset pair".into()))
        );
        assert_eq!(fault("kraken", json!({"error": [], "result": {}})), None);
        assert_eq!(fault("okx", json!({"code": "0", "data": []})), None);
    }
}
