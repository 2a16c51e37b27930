//! What guards found out about symbols in one execution.

use arrow::array::{Array, AsArray, RecordBatch, StringArray};
use arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use datafusion::common::{Result, internal_datafusion_err};
use datafusion::execution::TaskContext;
use datafusion::prelude::SessionConfig;
use std::collections::BTreeSet;
use std::sync::{Arc, LazyLock, Mutex, PoisonError};

/// Something that is wrong with a symbol.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Fault {
    /// The symbol.
    pub symbol: String,
    /// What is wrong.
    pub reason: String,
}

/// What guards found out, on this machine, in an execution whose tasks were given these.
#[derive(Debug, Clone, Default)]
pub struct Findings(Arc<Mutex<Found>>);

#[derive(Debug, Default)]
struct Found {
    symbols: BTreeSet<String>,
    faults: BTreeSet<Fault>,
}

impl Findings {
    /// Those of an execution, if it was given any.
    pub fn of(context: &TaskContext) -> Option<Findings> {
        context.session_config().get_extension::<Findings>().map(|findings| findings.as_ref().clone())
    }

    /// Where operators find them.
    pub fn extend(&self, config: SessionConfig) -> SessionConfig {
        config.with_extension(Arc::new(self.clone()))
    }

    fn with<T>(&self, work: impl FnOnce(&mut Found) -> T) -> T {
        work(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// A symbol was read to its end.
    pub(super) fn symbol(&self, symbol: String) {
        self.with(|found| found.symbols.insert(symbol));
    }

    /// Something is wrong with a symbol.
    pub fn fault(&self, fault: Fault) {
        self.with(|found| found.faults.insert(fault));
    }

    /// Symbols that were read to their end.
    pub fn symbols(&self) -> BTreeSet<String> {
        self.with(|found| found.symbols.clone())
    }

    /// What is wrong, by symbol.
    pub fn faults(&self) -> Vec<Fault> {
        self.with(|found| found.faults.iter().cloned().collect())
    }

    /// All of it as rows: a symbol that was read to its end has no reason.
    ///
    /// # Errors
    /// More text than a column holds.
    pub fn rows(&self) -> Result<RecordBatch> {
        self.with(|found| {
            let seen = found.symbols.iter().map(|symbol| (symbol.as_str(), None));
            let faults = found.faults.iter().map(|fault| (fault.symbol.as_str(), Some(fault.reason.as_str())));
            let (symbols, reasons): (Vec<_>, Vec<_>) = seen.chain(faults).unzip();
            let columns = [StringArray::from(symbols), StringArray::from(reasons)].map(|c| Arc::new(c) as _).to_vec();
            Ok(RecordBatch::try_new(schema(), columns)?)
        })
    }

    /// Takes in what a task found elsewhere.
    ///
    /// # Errors
    /// Rows that are no findings.
    pub fn add(&self, rows: &RecordBatch) -> Result<()> {
        let foreign = || internal_datafusion_err!("rows that are no findings: {}", rows.schema());
        if rows.schema() != schema() {
            return Err(foreign());
        }
        let text = |i: usize| rows.column(i).as_string_opt::<i32>().ok_or_else(foreign);
        let (symbols, reasons) = (text(0)?, text(1)?);
        for row in 0..rows.num_rows() {
            let symbol = symbols.value(row).to_string();
            match reasons.is_valid(row) {
                true => self.fault(Fault { symbol, reason: reasons.value(row).to_string() }),
                false => self.symbol(symbol),
            }
        }
        Ok(())
    }
}

fn schema() -> SchemaRef {
    static SCHEMA: LazyLock<SchemaRef> = LazyLock::new(|| {
        let field = |name: &str, nullable| Field::new(name, DataType::Utf8, nullable);
        Arc::new(Schema::new(vec![field("symbol", false), field("reason", true)]))
    });
    Arc::clone(&SCHEMA)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_tasks_found_adds_up() {
        let (here, there) = (Findings::default(), Findings::default());
        here.symbol("A".to_string());
        there.symbol("B".to_string());
        there.fault(Fault { symbol: "C".to_string(), reason: "no close".to_string() });
        here.add(&there.rows().unwrap()).unwrap();
        assert_eq!(here.symbols(), ["A", "B"].map(String::from).into());
        assert_eq!(here.faults(), there.faults());
        assert!(here.add(&there.rows().unwrap().project(&[0]).unwrap()).is_err());
    }
}
