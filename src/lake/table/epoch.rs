//! Times that are whole numbers: which unit they count in.

use super::CandleTable;
use crate::files::Files;
use arrow::array::AsArray;
use arrow::compute::cast;
use arrow::datatypes::{DataType, Int64Type, SchemaRef, TimeUnit};
use datafusion::catalog::Session;
use datafusion::common::{Result, plan_err};
use datafusion::datasource::listing::PartitionedFile;
use datafusion::datasource::physical_plan::{FileGroup, FileScanConfigBuilder};
use datafusion::datasource::table_schema::TableSchema;
use futures::StreamExt;
use std::sync::Arc;
use tallow_common::time::unit;

impl CandleTable {
    /// Checks that the whole numbers that are the times of its files count in one unit.
    pub(super) fn check_epochs(&self, unit_of_table: TimeUnit) -> Result<()> {
        // Those of text files are proven as they stand, the others as times.
        let raw = |time: i64| match unit_of_table {
            _ if self.epoch.is_some() => time,
            TimeUnit::Second => time / 1_000_000,
            TimeUnit::Millisecond => time / 1_000,
            TimeUnit::Microsecond => time,
            TimeUnit::Nanosecond => time.saturating_mul(1_000),
        };
        for (meta, profile) in self.files.files.iter().zip(self.profiles.iter()) {
            let times = profile.runs.iter().flat_map(|run| [run.first, run.last]);
            // Times around 1970 are small in any unit.
            let mut values = times.map(raw).filter(|value| value.abs() >= 100_000_000);
            if let Some(value) = values.find(|value| unit(*value) != unit_of_table) {
                let unit = format!("{unit_of_table:?}s").to_lowercase();
                return plan_err!(
                    "cannot read {}: its times are whole numbers such as {value}, which are no {unit} as those of other files \
                     are",
                    self.files.shown(meta)
                );
            }
        }
        Ok(())
    }
}

/// A value of a whole-number time column.
pub(super) async fn sample_epoch(
    session: &dyn Session,
    files: &Files,
    schema: &SchemaRef,
    ts: usize,
) -> Result<Option<i64>> {
    let reader = files.reader(session);
    for file in &files.files {
        let source = reader.file_source(TableSchema::from(Arc::clone(schema)));
        let config = FileScanConfigBuilder::new(files.store_url.clone(), source)
            .with_projection_indices(Some(vec![ts]))?
            .with_file_compression_type(files.format.compression)
            .with_file_group(FileGroup::new(vec![PartitionedFile::new_from_meta(file.clone())]))
            .build();
        let mut stream = reader.create_physical_plan(session, config).await?.execute(0, session.task_ctx())?;
        while let Some(batch) = stream.next().await {
            let values = cast(batch?.column(0), &DataType::Int64)?;
            if let Some(value) = values.as_primitive::<Int64Type>().iter().flatten().next() {
                return Ok(Some(value));
            }
        }
    }
    Ok(None)
}
