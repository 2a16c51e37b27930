//! The strategies that a lake keeps: rows of the table `strategies`, one a version.

use super::small_table::Record;
use arrow::datatypes::DataType;
use serde::{Deserialize, Serialize};
use tallow_common::time::timestamp_type;

/// A version of a strategy.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct StoredStrategy {
    /// Its name.
    pub name: String,
    /// From 1.
    pub version: i64,
    /// One sentence.
    pub description: String,
    /// Its options by name, an object of JSON.
    pub options: String,
    /// When it was added, in microseconds since the epoch.
    pub created_at: i64,
}

impl Record for StoredStrategy {
    const TABLE: &'static str = "strategies";

    fn columns() -> Vec<(&'static str, DataType)> {
        vec![
            ("name", DataType::Utf8),
            ("version", DataType::Int64),
            ("description", DataType::Utf8),
            ("options", DataType::Utf8),
            ("created_at", timestamp_type()),
        ]
    }
}
