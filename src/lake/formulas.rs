//! The formulas that a lake keeps: the table `formulas`, one row a version, added to and never changed.

use super::catalog::LakeSchema;
use super::columns::timestamp_type;
use super::small_table::Record;
use arrow::datatypes::DataType;
use datafusion::common::Result;
use serde::{Deserialize, Serialize};

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

impl LakeSchema {
    /// All versions of the formulas that the lake keeps, by name and version.
    pub async fn formulas(&self) -> Result<Vec<StoredFormula>> {
        let mut all = self.records::<StoredFormula>().await?;
        all.sort_by(|a, b| (&a.name, a.version).cmp(&(&b.name, b.version)));
        Ok(all)
    }

    /// Adds a formula as the next version of its name, which is returned; one that is the newest version already is not
    /// added again. Two writers at the same time get two versions.
    pub async fn add_formula(&self, formula: StoredFormula) -> Result<i64> {
        self.change_records("FORMULA", move |all: &mut Vec<StoredFormula>| {
            let newest = all.iter().filter(|f| f.name == formula.name).max_by_key(|f| f.version);
            let same = |known: &&StoredFormula| {
                StoredFormula { version: known.version, created_at: known.created_at, ..formula.clone() } == **known
            };
            if let Some(known) = newest.filter(same) {
                return Ok(known.version);
            }
            let version = newest.map_or(0, |f| f.version) + 1;
            all.push(StoredFormula { version, ..formula.clone() });
            Ok(version)
        })
        .await
    }
}
