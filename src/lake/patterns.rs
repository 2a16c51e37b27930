//! The patterns that a lake is searched for, and the alerts that were given for them.

use super::small_table::Record;
use arrow::datatypes::DataType;
use serde::{Deserialize, Serialize};
use tallow_common::time::timestamp_type;

/// A stretch of a chart that others are compared with: a row of the table `patterns`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct StoredPattern {
    /// What it is called.
    pub id: String,
    /// The symbol that it was cut from, if it was.
    pub symbol: Option<String>,
    /// The length of its bars.
    pub timeframe: Option<String>,
    /// Time of its first bar.
    pub start_ts: Option<i64>,
    /// Time of its last bar.
    pub end_ts: Option<i64>,
    /// A word for its kind, such as `double bottom`.
    pub label: String,
    /// One sentence.
    pub description: String,
    /// Whether a search for all patterns looks for it.
    pub active: bool,
    /// Its bars.
    pub bars: i64,
    /// Its closes, after those of the bars before it that its averages need, with spaces between them: what it was when it
    /// was added, whatever becomes of the candles.
    pub closes: String,
    /// When it was added.
    pub created_at: i64,
}

impl Record for StoredPattern {
    const TABLE: &'static str = "patterns";

    fn columns() -> Vec<(&'static str, DataType)> {
        vec![
            ("id", DataType::Utf8),
            ("symbol", DataType::Utf8),
            ("timeframe", DataType::Utf8),
            ("start_ts", timestamp_type()),
            ("end_ts", timestamp_type()),
            ("label", DataType::Utf8),
            ("description", DataType::Utf8),
            ("active", DataType::Boolean),
            ("bars", DataType::Int64),
            ("closes", DataType::Utf8),
            ("created_at", timestamp_type()),
        ]
    }
}

/// The last alert for a pattern in a symbol: a row of the table `alerts`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct StoredAlert {
    /// The symbol.
    pub symbol: String,
    /// The length of the bars.
    pub timeframe: String,
    /// The pattern.
    pub pattern: String,
    /// Time of the last bar of the match.
    pub end_ts: i64,
    /// How far it is away.
    pub distance: f64,
    /// The share of random windows that are farther away.
    pub percentile: Option<f64>,
    /// When the alert was given.
    pub alerted_at: i64,
    /// Whether it is being given, and not known to have been.
    #[serde(default)]
    pub pending: bool,
}

impl Record for StoredAlert {
    const TABLE: &'static str = "alerts";

    fn columns() -> Vec<(&'static str, DataType)> {
        vec![
            ("symbol", DataType::Utf8),
            ("timeframe", DataType::Utf8),
            ("pattern", DataType::Utf8),
            ("end_ts", timestamp_type()),
            ("distance", DataType::Float64),
            ("percentile", DataType::Float64),
            ("alerted_at", timestamp_type()),
            ("pending", DataType::Boolean),
        ]
    }
}
