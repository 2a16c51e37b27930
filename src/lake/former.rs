//! Former names, for callers that have not taken the new ones yet.

use super::catalog::{Lake, LakeOptions};
use super::kind::ResultKind;
use super::overwrite::{Computed, Written};
use datafusion::common::Result;
use std::collections::HashMap;

/// The former name of [`Lake`].
pub type LakeSchema = Lake;

impl Lake {
    /// The former name of [`Lake::options`].
    pub fn lake(&self) -> &LakeOptions {
        self.options()
    }

    /// The former name of [`Lake::overwrite`].
    pub async fn replace(&self, table: &str, rows: Computed) -> Result<Written> {
        self.overwrite(table, rows).await
    }

    /// The former name of [`Lake::check_overwrite`].
    pub async fn check_replaceable(
        &self,
        table: &str,
        kind: ResultKind,
        properties: &HashMap<String, String>,
    ) -> Result<()> {
        self.check_overwrite(table, kind, properties).await
    }
}
