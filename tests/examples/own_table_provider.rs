//! Candles from a source of your own: a table provider that knows its order.
//!
//! Shows a DataFusion table provider whose partitions hold one symbol each, in the order of time. Since it declares this order,
//! indicators are computed over it without a sort. In place of `fetch`, ask a database or a vendor.
//!
//! ```text
//! cargo run --release --example own_table_provider
//! ```

use async_trait::async_trait;
use datafusion::arrow::array::{ArrayRef, Float64Array, RecordBatch, StringArray, TimestampMicrosecondArray};
use datafusion::arrow::compute::SortOptions;
use datafusion::arrow::datatypes::SchemaRef;
use datafusion::arrow::util::pretty::pretty_format_batches;
use datafusion::catalog::{Session, TableProvider};
use datafusion::error::Result;
use datafusion::execution::{SendableRecordBatchStream, TaskContext};
use datafusion::logical_expr::{Expr, TableType};
use datafusion::physical_expr::{LexOrdering, PhysicalSortExpr, expressions::col};
use datafusion::physical_plan::ExecutionPlan;
use datafusion::physical_plan::stream::RecordBatchStreamAdapter;
use datafusion::physical_plan::streaming::{PartitionStream, StreamingTableExec};
use std::sync::Arc;

/// The bars of a symbol, oldest first: here a sine wave whose length differs from symbol to symbol.
fn fetch(symbol: &str) -> Result<RecordBatch> {
    const DAY: i64 = 86_400_000_000;
    let close = |day: i64| 100.0 + 10.0 * (day as f64 / symbol.len() as f64).sin();
    let prices =
        |factor: f64| Arc::new((0..500).map(|day| Some(close(day) * factor)).collect::<Float64Array>()) as ArrayRef;
    let times: TimestampMicrosecondArray = (0..500).map(|day| Some(1_577_836_800_000_000 + day * DAY)).collect();
    let symbols: StringArray = (0..500).map(|_| Some(symbol)).collect();
    Ok(RecordBatch::try_from_iter([
        ("symbol", Arc::new(symbols) as ArrayRef),
        ("ts", Arc::new(times.with_timezone("UTC"))),
        ("open", prices(0.999)),
        ("high", prices(1.01)),
        ("low", prices(0.99)),
        ("close", prices(1.0)),
        ("volume", prices(1000.0)),
    ])?)
}

/// One symbol, which is fetched when a query asks for it.
#[derive(Debug)]
struct Bars(String, SchemaRef);

impl PartitionStream for Bars {
    fn schema(&self) -> &SchemaRef {
        &self.1
    }

    fn execute(&self, _: Arc<TaskContext>) -> SendableRecordBatchStream {
        Box::pin(RecordBatchStreamAdapter::new(Arc::clone(&self.1), futures::stream::iter([fetch(&self.0)])))
    }
}

/// Several symbols.
#[derive(Debug)]
struct Vendor(Vec<Arc<dyn PartitionStream>>, SchemaRef);

#[async_trait]
impl TableProvider for Vendor {
    fn schema(&self) -> SchemaRef {
        Arc::clone(&self.1)
    }

    fn table_type(&self) -> TableType {
        TableType::Base
    }

    async fn scan(
        &self,
        _: &dyn Session,
        projection: Option<&Vec<usize>>,
        _: &[Expr],
        limit: Option<usize>,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        let columns = projection.map_or_else(|| Ok(self.schema()), |kept| self.1.project(kept).map(Arc::new))?;
        // As far as these columns are read, the rows of each partition are in their order.
        let sorted = ["symbol", "ts"].into_iter().map_while(|name| col(name, &columns).ok());
        let order =
            LexOrdering::new(sorted.map(|column| PhysicalSortExpr::new(column, SortOptions::new(false, false))));
        Ok(Arc::new(StreamingTableExec::try_new(self.schema(), self.0.clone(), projection, order, false, limit)?))
    }
}

#[tokio::main]
async fn main() -> std::result::Result<(), Box<dyn std::error::Error>> {
    let session = tallow::open(tallow::Settings { lake: "data".to_string(), ..Default::default() }).await?;
    let schema = fetch("")?.schema();
    let bars = ["ABC", "DEFGH", "IJ"]
        .map(|symbol| Arc::new(Bars(symbol.to_string(), Arc::clone(&schema))) as Arc<dyn PartitionStream>);
    session.context().register_table("vendor", Arc::new(Vendor(bars.to_vec(), schema)))?;

    let newest = "select symbol, ts, close, rsi(14), atr(14) from vendor qualify ts = max(ts) over () order by symbol";
    println!("{}", pretty_format_batches(&session.query(newest).collect().await?)?);
    Ok(())
}
