//! Bars of other lengths that a text reads beside those that are fed: kept in memory, and read again when the lake has newer ones.

use crate::series::Looks;
use crate::slot::Slot;
use arrow::array::{Array, AsArray, RecordBatch};
use arrow::compute::{cast, concat_batches};
use arrow::datatypes::{DataType, SchemaRef};
use futures::TryStreamExt;
use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;
use tallow_common::Result;
use tallow_pipeline::Session;
use tallow_pipeline::quoting::quoted;

/// A table beside the one that is fed.
#[derive(Debug, Clone)]
pub(crate) struct Other {
    /// Its name in the lake.
    pub table: String,
    /// What the text calls it.
    pub names: BTreeSet<String>,
    pub schema: SchemaRef,
    /// How far results look in it.
    pub looks: Looks,
}

/// The newest rows of such a table.
#[derive(Debug)]
pub(crate) struct Kept {
    schema: SchemaRef,
    version: Option<u64>,
    /// By symbol, in the order of time.
    rows: HashMap<String, Vec<RecordBatch>>,
}

impl Kept {
    /// Reads those of each symbol that results look at.
    pub async fn read(session: &Session, other: &Other) -> Result<Kept> {
        let version = version_of(session, &other.table).await?;
        let fields: Vec<String> = other.schema.fields().iter().map(|field| quoted(field.name())).collect();
        let sql = format!("select {} from {} order by symbol, ts", fields.join(", "), quoted(&other.table));
        let plan = session.plan(session.sql(&sql).await?).await?;
        let mut batches = std::pin::pin!(session.execute(plan)?);
        let (symbol, kept) = (other.schema.index_of("symbol")?, other.looks.kept());
        let mut rows: HashMap<String, Vec<RecordBatch>> = HashMap::new();
        while let Some(batch) = batches.try_next().await? {
            let symbols = cast(batch.column(symbol), &DataType::Utf8View)?;
            let symbols = symbols.as_string_view();
            let mut from = 0;
            while from < symbols.len() {
                let name = symbols.value(from);
                let more = (from..symbols.len()).take_while(|row| symbols.value(*row) == name).count();
                let of_symbol = rows.entry(name.to_string()).or_default();
                of_symbol.push(batch.slice(from, more));
                forget(of_symbol, kept);
                from += more;
            }
        }
        // Slices would keep all that they were cut from.
        for of_symbol in rows.values_mut() {
            let whole = concat_batches(&other.schema, of_symbol.iter())?;
            *of_symbol = vec![whole];
        }
        Ok(Kept { schema: Arc::clone(&other.schema), version, rows })
    }

    /// Whether the lake has a newer version of the table.
    pub async fn is_old(&self, session: &Session, other: &Other) -> Result<bool> {
        Ok(version_of(session, &other.table).await? != self.version)
    }

    /// Puts the rows of all symbols into a slot.
    pub fn put_all(&self, slot: &Slot) -> datafusion::common::Result<()> {
        let mut symbols: Vec<&str> = self.rows.keys().map(String::as_str).collect();
        symbols.sort_unstable();
        self.put(symbols.into_iter(), slot)
    }

    /// Puts the rows of these symbols, which are in order, into a slot.
    pub fn put<'a>(&self, symbols: impl Iterator<Item = &'a str>, slot: &Slot) -> datafusion::common::Result<()> {
        let rows = symbols.filter_map(|symbol| self.rows.get(symbol)).flatten();
        slot.put(concat_batches(&self.schema, rows)?);
        Ok(())
    }
}

/// Drops batches before the newest rows.
fn forget(batches: &mut Vec<RecordBatch>, kept: usize) {
    let mut rows: usize = batches.iter().map(RecordBatch::num_rows).sum();
    while let Some(first) = batches.first().map(RecordBatch::num_rows).filter(|first| rows - first >= kept) {
        batches.remove(0);
        rows -= first;
    }
}

async fn version_of(session: &Session, table: &str) -> Result<Option<u64>> {
    let name = table.to_string();
    let table = session.on_lake(move |lake| async move { lake.candle_table(&name).await }).await?;
    Ok(table.and_then(|table| table.version()))
}
