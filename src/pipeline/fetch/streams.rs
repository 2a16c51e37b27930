//! What an exchange tells of bars as they form and close, as data: the section `stream` of a market in `exchanges/`.

use serde::Deserialize;
use serde_json::Value;
use std::collections::BTreeMap;
use tallow_common::time;

/// How a market tells of bars over a WebSocket.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Stream {
    /// Where one connects.
    pub url: String,
    /// A message that asks for bars: `{channels}` and `{interval}`.
    pub subscribe: String,
    /// Further messages, sent once.
    #[serde(default)]
    pub also: Vec<String>,
    /// One of the channels: `{symbol}`, `{symbol_lower}`, `{interval}`.
    pub channel: String,
    /// How many channels a message may name.
    pub channels: usize,
    /// What it calls lengths of bars, where that is not what its other interface calls them.
    pub intervals: Option<BTreeMap<String, String>>,
    /// Where the bars of a message are: names, and `*` for each of an array.
    pub rows: String,
    /// Where a bar has its symbol, its time and its prices: a name or a number within it, or a JSON pointer into the message.
    pub fields: Fields,
    /// Where it says that it is closed, and what stands there then; without, a bar is closed by the next.
    pub closed: Option<Closed>,
    /// What is sent when nothing else was for some seconds, so that the connection is kept.
    pub ping: Option<Ping>,
}

/// Where values are.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Fields {
    /// The symbol.
    pub symbol: String,
    /// When the bar begins: seconds, milliseconds, or as text.
    pub ts: String,
    /// Prices and volume.
    pub open: String,
    /// See `open`.
    pub high: String,
    /// See `open`.
    pub low: String,
    /// See `open`.
    pub close: String,
    /// See `open`.
    pub volume: String,
    /// The symbol is what follows the last of these.
    pub symbol_after: Option<String>,
}

/// Where a bar says that it is closed.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Closed {
    /// Where.
    pub field: String,
    /// What stands there.
    pub is: String,
}

/// A message that keeps a connection.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Ping {
    /// What is sent.
    pub text: String,
    /// After so many seconds.
    pub seconds: u64,
}

/// A bar of a message.
#[derive(Debug, Clone, PartialEq)]
pub struct Told {
    /// Its symbol.
    pub symbol: String,
    /// When it begins, in microseconds.
    pub ts: i64,
    /// Open, high, low, close, volume.
    pub values: [f64; 5],
    /// Whether it is closed; `None`: the next one tells.
    pub is_closed: Option<bool>,
}

impl Stream {
    /// The messages that ask for the bars of symbols.
    pub fn subscriptions(&self, symbols: &[String], interval: &str) -> Vec<String> {
        let channel = |symbol: &String| {
            let text = self.channel.replace("{symbol_lower}", &symbol.to_lowercase());
            text.replace("{symbol}", symbol).replace("{interval}", interval)
        };
        let message = |some: &[String]| {
            let channels = some.iter().map(channel).collect::<Vec<_>>().join(",");
            self.subscribe.replace("{channels}", &channels).replace("{interval}", interval)
        };
        symbols.chunks(self.channels.max(1)).map(message).chain(self.also.iter().cloned()).collect()
    }

    /// The bars of a message; none, if it is about something else.
    ///
    /// # Errors
    /// What of a bar is not as described.
    pub fn bars(&self, message: &Value) -> Result<Vec<Told>, String> {
        let mut rows = vec![];
        gather(message, &self.rows.split('/').filter(|step| !step.is_empty()).collect::<Vec<_>>(), &mut rows);
        rows.into_iter().map(|row| self.bar(message, row)).collect()
    }

    fn bar(&self, message: &Value, row: &Value) -> Result<Told, String> {
        let of = |at: &str| {
            let found = match (at.starts_with('/'), at.parse::<usize>()) {
                (true, _) => message.pointer(at),
                (false, Ok(number)) if row.is_array() => row.get(number),
                (false, _) => row.get(at),
            };
            found.map(plain).ok_or_else(|| format!("no `{at}` in a bar of {row}"))
        };
        let number = |at: &String| {
            let text = of(at)?;
            text.parse::<f64>().ok().filter(|n| n.is_finite()).ok_or_else(|| format!("`{at}` is '{text}': no number"))
        };
        let fields = &self.fields;
        let symbol = of(&fields.symbol)?;
        let symbol = match fields.symbol_after.as_deref().and_then(|sign| symbol.rsplit_once(sign)) {
            Some((_, symbol)) => symbol.to_string(),
            None => symbol,
        };
        let ts = of(&fields.ts)?;
        let ts = time::parse(&ts).ok_or_else(|| format!("`{}` is '{ts}': no time", fields.ts))?;
        let values = [&fields.open, &fields.high, &fields.low, &fields.close, &fields.volume];
        let mut numbers = [0.0; 5];
        for (value, at) in numbers.iter_mut().zip(values) {
            *value = number(at)?;
        }
        let is_closed =
            self.closed.as_ref().map(|closed| Ok::<_, String>(of(&closed.field)? == closed.is)).transpose()?;
        Ok(Told { symbol, ts, values: numbers, is_closed })
    }
}

/// What is at some steps: at the last, each of an array of objects or arrays, or the value alone.
fn gather<'a>(value: &'a Value, steps: &[&str], found: &mut Vec<&'a Value>) {
    match steps.split_first() {
        Some((&"*", rest)) => value.as_array().into_iter().flatten().for_each(|each| gather(each, rest, found)),
        Some((step, rest)) => value.get(*step).into_iter().for_each(|inner| gather(inner, rest, found)),
        None => match value.as_array() {
            Some(all) => found.extend(all),
            None => found.push(value),
        },
    }
}

/// A value as text, without quotes.
fn plain(value: &Value) -> String {
    match value {
        Value::String(text) => text.clone(),
        other => other.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::super::Exchange;
    use super::*;
    use serde_json::json;

    fn stream(name: &str) -> Stream {
        Exchange::named(name).unwrap().markets["spot"].stream.clone().unwrap()
    }

    fn told(symbol: &str, is_closed: Option<bool>) -> Vec<Told> {
        let values = [1.0, 2.0, 0.5, 1.5, 10.0];
        vec![Told { symbol: symbol.to_string(), ts: 1_700_000_100_000_000, values, is_closed }]
    }

    #[test]
    fn messages_as_exchanges_document_them() {
        let binance = json!({"e": "kline", "E": 1_700_000_160_001i64, "s": "BTCUSDT", "k": {
            "t": 1_700_000_100_000i64, "T": 1_700_000_159_999i64, "s": "BTCUSDT", "i": "1m", "o": "1", "c": "1.5", "h": "2",
            "l": "0.5", "v": "10", "n": 7, "x": true, "q": "15"}});
        assert_eq!(stream("binance").bars(&binance), Ok(told("BTCUSDT", Some(true))));
        let bybit = json!({"topic": "kline.1.BTCUSDT", "type": "snapshot", "ts": 1, "data": [{
            "start": 1_700_000_100_000i64, "end": 1_700_000_159_999i64, "interval": "1", "open": "1", "close": "1.5",
            "high": "2", "low": "0.5", "volume": "10", "turnover": "15", "confirm": false, "timestamp": 1}]});
        assert_eq!(stream("bybit").bars(&bybit), Ok(told("BTCUSDT", Some(false))));
        let okx = json!({"arg": {"channel": "candle1m", "instId": "BTC-USDT"},
            "data": [["1700000100000", "1", "2", "0.5", "1.5", "10", "15", "15", "1"]]});
        assert_eq!(stream("okx").bars(&okx), Ok(told("BTC-USDT", Some(true))));
        let kraken = json!({"channel": "ohlc", "type": "update", "data": [{"symbol": "BTC/USD", "open": 1.0, "high": 2.0,
            "low": 0.5, "close": 1.5, "trades": 7, "volume": 10.0, "vwap": 1.2,
            "interval_begin": "2023-11-14T22:15:00.000000000Z", "interval": 1}]});
        assert_eq!(stream("kraken").bars(&kraken), Ok(told("BTC/USD", None)));
        let coinbase = json!({"channel": "candles", "sequence_num": 0, "events": [{"type": "snapshot", "candles": [{
            "start": "1700000100", "high": "2", "low": "0.5", "open": "1", "close": "1.5", "volume": "10",
            "product_id": "BTC-USD"}]}]});
        assert_eq!(stream("coinbase").bars(&coinbase), Ok(told("BTC-USD", None)));
        for name in Exchange::names() {
            assert_eq!(stream(name).bars(&json!({"result": null, "id": 1})), Ok(vec![]), "{name}");
        }
    }

    #[test]
    fn bars_are_asked_for() {
        let symbols = ["BTCUSDT".to_string(), "ETHUSDT".to_string()];
        assert_eq!(
            stream("binance").subscriptions(&symbols, "1m"),
            [r#"{"method":"SUBSCRIBE","params":["btcusdt@kline_1m","ethusdt@kline_1m"],"id":1}"#]
        );
        assert_eq!(
            stream("okx").subscriptions(&symbols[..1], "1m"),
            [r#"{"op":"subscribe","args":[{"channel":"candle1m","instId":"BTCUSDT"}]}"#]
        );
        for name in Exchange::names() {
            for market in Exchange::named(name).unwrap().markets.values() {
                for message in market.stream.as_ref().unwrap().subscriptions(&symbols, "1") {
                    assert!(serde_json::from_str::<Value>(&message).is_ok(), "{name}: {message}");
                }
            }
        }
    }
}
