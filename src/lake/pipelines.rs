//! The pipelines that a lake keeps, and the symbols that they failed for.

use super::small_table::Record;
use arrow::datatypes::DataType;
use serde::{Deserialize, Serialize};
use tallow_common::time::timestamp_type;

/// A pipeline: a row of the table `pipelines`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct StoredPipeline {
    /// Its name.
    pub name: String,
    /// What it computes: query, scan, label or resample.
    pub kind: String,
    /// All that it computes, as JSON.
    pub definition: String,
    /// The table that its result is kept in.
    pub target: String,
    /// When it was added, in microseconds since the epoch.
    pub created_at: i64,
}

impl Record for StoredPipeline {
    const TABLE: &'static str = "pipelines";

    fn columns() -> Vec<(&'static str, DataType)> {
        vec![
            ("name", DataType::Utf8),
            ("kind", DataType::Utf8),
            ("definition", DataType::Utf8),
            ("target", DataType::Utf8),
            ("created_at", timestamp_type()),
        ]
    }
}

/// What went wrong in the last run of a pipeline: a row of the table `pipeline_errors`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct PipelineError {
    /// The pipeline.
    pub pipeline: String,
    /// The symbol that it could not compute.
    pub symbol: String,
    /// Why.
    pub error: String,
    /// When, in microseconds since the epoch.
    pub time: i64,
}

impl Record for PipelineError {
    const TABLE: &'static str = "pipeline_errors";

    fn columns() -> Vec<(&'static str, DataType)> {
        vec![
            ("pipeline", DataType::Utf8),
            ("symbol", DataType::Utf8),
            ("error", DataType::Utf8),
            ("time", timestamp_type()),
        ]
    }
}
