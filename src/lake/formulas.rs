//! The formulas that a lake keeps: rows of the table `formulas`, one a version.

use super::small_table::Record;
use arrow::datatypes::DataType;
use serde::{Deserialize, Serialize};
use tallow_common::time::timestamp_type;

/// A version of a formula.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct StoredFormula {
    /// Its name.
    pub name: String,
    /// From 1.
    pub version: i64,
    /// scan, entry, exit or stop.
    pub category: String,
    /// Words to find it by.
    #[serde(with = "words")]
    pub tags: Vec<String>,
    /// One sentence.
    pub description: String,
    /// The formula.
    pub formula: String,
    /// When it was added, in microseconds since the epoch.
    pub created_at: i64,
}

impl Default for StoredFormula {
    fn default() -> Self {
        StoredFormula {
            name: String::new(),
            version: 0,
            category: "scan".to_string(),
            tags: vec![],
            description: String::new(),
            formula: String::new(),
            created_at: 0,
        }
    }
}

impl Record for StoredFormula {
    const TABLE: &'static str = "formulas";

    fn columns() -> Vec<(&'static str, DataType)> {
        vec![
            ("name", DataType::Utf8),
            ("version", DataType::Int64),
            ("category", DataType::Utf8),
            ("tags", DataType::Utf8),
            ("description", DataType::Utf8),
            ("formula", DataType::Utf8),
            ("created_at", timestamp_type()),
        ]
    }
}

/// Tags are one text in the table.
mod words {
    use serde::{Deserialize, Deserializer, Serializer};

    pub fn serialize<S: Serializer>(words: &[String], serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&words.join(" "))
    }

    pub fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<String>, D::Error> {
        let text = String::deserialize(deserializer)?;
        Ok(text.split_whitespace().map(str::to_string).collect())
    }
}
