//! The schema `system`: what a session can do, as tables.

use crate::Session;
use crate::functions::describe_with;
use arrow::array::{ArrayRef, RecordBatch, StringArray};
use arrow::datatypes::{DataType, Field, Schema};
use datafusion::catalog::{MemTable, TableProvider};
use std::sync::Arc;
use tallow_common::{Error, Result};
use tallow_udfs::series::SeriesFunction;

/// The name of the schema.
pub(crate) const SYSTEM: &str = "system";
/// Its table of functions.
pub(crate) const FUNCTIONS: &str = "functions";

impl Session {
    /// Adds a series function of the user's own: the dialect gives it its window and its defaults as it does for others,
    /// operators run it, and `system.functions` lists it.
    ///
    /// # Errors
    /// There is a function of that name, or its signature contradicts itself.
    pub fn register(&self, function: Arc<dyn SeriesFunction>) -> Result<()> {
        self.engine().register(function)?;
        let system = self.context().catalog("tallow").and_then(|catalog| catalog.schema(SYSTEM));
        let system = system.ok_or_else(|| Error::not_found(format!("there is no schema `{SYSTEM}`")))?;
        let table = functions_table(&self.engine().registered())?;
        system.deregister_table(FUNCTIONS)?;
        system.register_table(FUNCTIONS.to_string(), table)?;
        Ok(())
    }
}

/// Every function with its signature, reach and documentation, those of the user among them.
pub(crate) fn functions_table(own: &[Arc<dyn SeriesFunction>]) -> Result<Arc<dyn TableProvider>> {
    let columns = ["name", "aliases", "family", "usage", "returns", "reach_back", "reach_ahead", "doc"];
    let mut cells: Vec<Vec<String>> = vec![vec![]; columns.len()];
    for function in describe_with(own) {
        let row = [
            function.name,
            function.aliases.join(", "),
            function.family,
            function.usage,
            function.returns,
            function.reach_back.unwrap_or_default(),
            function.reach_ahead.unwrap_or_default(),
            function.doc,
        ];
        cells.iter_mut().zip(row).for_each(|(column, cell)| column.push(cell));
    }
    let fields = columns.map(|name| Field::new(name, DataType::Utf8, false)).to_vec();
    let schema = Arc::new(Schema::new(fields));
    let arrays = cells.into_iter().map(|column| Arc::new(StringArray::from(column)) as ArrayRef).collect();
    let batch = RecordBatch::try_new(Arc::clone(&schema), arrays)?;
    Ok(Arc::new(MemTable::try_new(schema, vec![vec![batch]])?))
}
