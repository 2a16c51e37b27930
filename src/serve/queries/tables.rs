//! The tables `system.running` and `system.queries`.

use super::{Queries, Record};
use arrow::array::{ArrayRef, Float64Array, RecordBatch, StringArray, TimestampMicrosecondArray, UInt64Array};
use arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use async_trait::async_trait;
use datafusion::catalog::{Session as CatalogSession, TableProvider};
use datafusion::common::{Result as DataFusionResult, internal_datafusion_err};
use datafusion::datasource::TableType;
use datafusion::datasource::memory::MemorySourceConfig;
use datafusion::logical_expr::Expr;
use datafusion::physical_plan::ExecutionPlan;
use std::fmt::{Debug, Formatter};
use std::sync::{Arc, Weak};
use tallow_common::time::timestamp_type;
use tallow_common::{Error, Result};

/// Those that run, or those that ended.
#[derive(Debug, Clone, Copy)]
enum Which {
    Running,
    Ended,
}

/// A table that is what there is when it is read.
struct Table {
    which: Which,
    /// The session that they run in holds the table.
    queries: Weak<Queries>,
    schema: SchemaRef,
}

impl Debug for Table {
    fn fmt(&self, f: &mut Formatter<'_>) -> std::fmt::Result {
        self.which.fmt(f)
    }
}

/// Adds the tables to the session.
pub(super) fn register(queries: &Arc<Queries>) -> Result<()> {
    let catalog = queries.session().context().catalog("tallow");
    let system = catalog.and_then(|catalog| catalog.schema("system"));
    let system = system.ok_or_else(|| Error::not_found("there is no schema `system`"))?;
    for (name, which) in [("running", Which::Running), ("queries", Which::Ended)] {
        let table = Table { which, queries: Arc::downgrade(queries), schema: schema() };
        system.register_table(name.to_string(), Arc::new(table))?;
    }
    Ok(())
}

fn schema() -> SchemaRef {
    let text = |name| Field::new(name, DataType::Utf8, false);
    let number = |name| Field::new(name, DataType::Float64, false);
    let count = |name| Field::new(name, DataType::UInt64, false);
    Arc::new(Schema::new(vec![
        text("id"),
        text("door"),
        text("who"),
        text("text"),
        Field::new("time", timestamp_type(), false),
        text("state"),
        number("wait_ms"),
        number("plan_ms"),
        number("run_ms"),
        count("rows"),
        count("bytes"),
        count("scanned_bytes"),
        count("spilled_bytes"),
        Field::new("error", DataType::Utf8, true),
    ]))
}

fn rows(records: &[Record], schema: &SchemaRef) -> Result<RecordBatch> {
    let text =
        |of: fn(&Record) -> &str| -> ArrayRef { Arc::new(StringArray::from_iter_values(records.iter().map(of))) };
    let ms = |of: fn(&Record) -> u64| -> ArrayRef {
        Arc::new(Float64Array::from_iter_values(records.iter().map(|record| of(record) as f64 / 1e3)))
    };
    let count =
        |of: fn(&Record) -> u64| -> ArrayRef { Arc::new(UInt64Array::from_iter_values(records.iter().map(of))) };
    let times = TimestampMicrosecondArray::from_iter_values(records.iter().map(|record| record.time));
    let errors: StringArray = records.iter().map(|record| record.error.as_deref()).collect();
    let columns = vec![
        text(|record| &record.id),
        text(|record| record.door),
        text(|record| &record.who),
        text(|record| &record.text),
        Arc::new(times.with_timezone("UTC")),
        text(|record| record.state),
        ms(|record| record.wait_us),
        ms(|record| record.plan_us),
        ms(|record| record.run_us),
        count(|record| record.rows),
        count(|record| record.bytes),
        count(|record| record.scanned_bytes),
        count(|record| record.spilled_bytes),
        Arc::new(errors),
    ];
    Ok(RecordBatch::try_new(Arc::clone(schema), columns)?)
}

#[async_trait]
impl TableProvider for Table {
    fn schema(&self) -> SchemaRef {
        Arc::clone(&self.schema)
    }

    fn table_type(&self) -> TableType {
        TableType::View
    }

    async fn scan(
        &self,
        _: &dyn CatalogSession,
        projection: Option<&Vec<usize>>,
        _: &[Expr],
        _: Option<usize>,
    ) -> DataFusionResult<Arc<dyn ExecutionPlan>> {
        let queries = self.queries.upgrade().ok_or_else(|| internal_datafusion_err!("the server has ended"))?;
        let records = match self.which {
            Which::Running => queries.running(),
            Which::Ended => queries.records().queries(),
        };
        let rows = rows(&records, &self.schema)?;
        Ok(MemorySourceConfig::try_new_exec(&[vec![rows]], Arc::clone(&self.schema), projection.cloned())?)
    }
}
