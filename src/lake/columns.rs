//! Which columns of a file make a candle, and how they become the canonical schema.
//!
//! Canonical: `symbol` utf8, `ts` timestamp(us, UTC), `open high low close volume` float64; further columns as they are.

use arrow::datatypes::{DataType, Field, FieldRef, Schema, SchemaRef};
use std::sync::Arc;
use tallow_common::time::{timestamp_type, unit};

/// Canonical names and the other names by which they are recognised, in order of preference. Case and the signs between
/// words do not matter.
pub(super) const NAMES: [(&str, &[&str]); 7] = [
    ("symbol", &["ticker", "sym", "name", "instrument"]),
    ("ts", &["timestamp", "datetime", "date", "time", "open_time", "opentime", "gmt_time"]),
    ("open", &["o"]),
    ("high", &["h"]),
    ("low", &["l"]),
    ("close", &["c"]),
    ("volume", &["v", "vol", "tick_volume", "tickvol"]),
];

/// The numbers of a candle: columns that every table of candles that tallow writes has.
pub(super) const PRICES: [&str; 5] = ["open", "high", "low", "close", "volume"];

/// A name in lower case with `_` between its words, as every engine accepts it.
pub(super) fn plain(name: &str) -> String {
    let words = name.split(|c: char| !c.is_alphanumeric()).filter(|w| !w.is_empty());
    words.map(str::to_lowercase).collect::<Vec<_>>().join("_")
}

/// How the columns of a file become a candle table.
#[derive(Debug, Clone)]
pub(super) struct Columns {
    /// The file's schema as it is read: canonical types under the file's own names.
    pub read: SchemaRef,
    /// Column of the table for each column of the file.
    pub names: Vec<String>,
    /// Position of `ts` in the file.
    pub ts: usize,
    /// Position of `symbol` in the file; without one, the file's name is the symbol.
    pub symbol: Option<usize>,
    /// Whether the file gives times without a zone.
    pub zone_assumed: bool,
}

/// Whether a file has a column that is recognised as the close.
pub(super) fn has_close(file: &Schema) -> bool {
    let is_close =
        |name: &str| name == "close" || NAMES.iter().any(|(n, others)| *n == "close" && others.contains(&name));
    file.fields().iter().any(|f| is_close(&plain(f.name())))
}

impl Columns {
    /// Recognises the columns of a file of bars; `None` if it has no time.
    ///
    /// `epoch` is a value of the time column where that column is a whole number; its size gives the unit.
    pub fn recognise(file: &Schema, epoch: Option<i64>, text_format: bool) -> Option<Columns> {
        let mut names: Vec<String> = file.fields().iter().map(|f| f.name().clone()).collect();
        for (canonical, others) in NAMES {
            let named = |name: &str| file.fields().iter().position(|f| plain(f.name()) == name);
            if let Some(i) = named(canonical).or_else(|| others.iter().find_map(|o| named(o))) {
                names[i] = canonical.to_string();
            }
        }
        let position = |name: &str| names.iter().position(|n| n == name);
        let ts = position("ts")?;
        let symbol = position("symbol");
        let fields: Vec<FieldRef> = file
            .fields()
            .iter()
            .zip(&names)
            .map(|(field, name)| Arc::new(Field::new(field.name(), target(field, name, epoch, text_format), true)))
            .collect();
        let zone_assumed = matches!(file.field(ts).data_type(), DataType::Timestamp(_, None));
        Some(Columns { read: Arc::new(Schema::new(fields)), names, ts, symbol, zone_assumed })
    }

    /// The columns of a file that was written here: they are called what they are. A result may have a column `h` that is no
    /// high.
    pub fn as_written(file: &Schema) -> Option<Columns> {
        let (ts, symbol) = (file.index_of("ts").ok()?, file.index_of("symbol").ok()?);
        let field = |(i, field): (usize, &FieldRef)| match field.data_type() {
            _ if i == ts => Field::new(field.name(), timestamp_type(), true),
            DataType::Utf8 | DataType::LargeUtf8 => Field::new(field.name(), DataType::Utf8View, true),
            other => Field::new(field.name(), other.clone(), true),
        };
        let read = Arc::new(Schema::new(file.fields().iter().enumerate().map(field).collect::<Vec<_>>()));
        let names = file.fields().iter().map(|field| field.name().clone()).collect();
        Some(Columns { read, names, ts, symbol: Some(symbol), zone_assumed: false })
    }

    /// Whether every column already has its canonical name.
    pub fn is_canonical(&self) -> bool {
        self.read.fields().iter().zip(&self.names).all(|(field, name)| field.name() == name)
    }
}

fn target(field: &Field, name: &str, epoch: Option<i64>, text_format: bool) -> DataType {
    match (name, field.data_type()) {
        ("ts", DataType::Int64 | DataType::Int32 | DataType::UInt64 | DataType::UInt32) if !text_format => {
            DataType::Timestamp(unit(epoch.unwrap_or_default()), Some("UTC".into()))
        }
        ("ts", DataType::Int64) => DataType::Int64,
        ("ts", _) => timestamp_type(),
        ("symbol", _) => DataType::Utf8View,
        ("open" | "high" | "low" | "close" | "volume", _) => DataType::Float64,
        (_, DataType::Utf8 | DataType::LargeUtf8) => DataType::Utf8View,
        (_, other) => other.clone(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn schema(fields: &[(&str, DataType)]) -> Schema {
        Schema::new(fields.iter().map(|(n, t)| Field::new(*n, t.clone(), true)).collect::<Vec<_>>())
    }

    #[test]
    fn usual_names_are_recognised() {
        let file = schema(&[
            ("Date", DataType::Date32),
            ("Open", DataType::Float32),
            ("Close", DataType::Int64),
            ("Adj Close", DataType::Float64),
            ("Ticker", DataType::Utf8),
        ]);
        let columns = Columns::recognise(&file, None, false).unwrap();
        assert_eq!(columns.names, ["ts", "open", "close", "Adj Close", "symbol"]);
        assert_eq!(columns.read.field(0).data_type(), &timestamp_type());
        assert_eq!(columns.read.field(2).data_type(), &DataType::Float64);
        assert_eq!((columns.ts, columns.symbol), (0, Some(4)));
    }

    #[test]
    fn a_result_is_read_as_it_was_written() {
        let file = schema(&[("symbol", DataType::Utf8), ("ts", timestamp_type()), ("h", DataType::Int64)]);
        assert_eq!(Columns::as_written(&file).unwrap().names, ["symbol", "ts", "h"]);
        assert_eq!(Columns::recognise(&file, None, false).unwrap().names, ["symbol", "ts", "high"]);
    }

    #[test]
    fn names_become_words_that_every_engine_accepts() {
        assert_eq!(plain("Adj Close"), "adj_close");
        assert_eq!(plain("<TICKVOL>"), "tickvol");
        assert_eq!(plain("Quote asset volume"), "quote_asset_volume");
    }

    #[test]
    fn the_canonical_name_wins_over_a_synonym() {
        let file = schema(&[("date", DataType::Date32), ("ts", timestamp_type()), ("close", DataType::Float64)]);
        assert_eq!(Columns::recognise(&file, None, false).unwrap().names, ["date", "ts", "close"]);
    }

    #[test]
    fn a_file_without_time_or_close_is_no_candle_file() {
        assert!(!has_close(&schema(&[("ts", timestamp_type()), ("open", DataType::Float64)])));
        assert!(Columns::recognise(&schema(&[("open", DataType::Float64)]), None, false).is_none());
    }
}
