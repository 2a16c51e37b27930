//! The symbols that are kept of a file whose rows are read around a border.

use arrow::array::{Array, RecordBatch};
use arrow::compute::cast;
use arrow::datatypes::DataType;
use datafusion::common::{Result, internal_err};
use datafusion::physical_expr::expressions::Column;
use datafusion::physical_expr::projection::ProjectionExprs;

/// Symbols from one on, and up to another, which is not in it any more.
#[derive(Debug, Clone, Default, PartialEq)]
pub(super) struct SymbolRange {
    pub from: Option<String>,
    pub until: Option<String>,
}

/// What is kept of a file: rows of these symbols. An extension of the file as a scan names it.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Kept {
    pub symbols: SymbolRange,
    /// Position of the symbol in the schema of the table that is read.
    pub column: usize,
}

impl Kept {
    /// Position of the symbol in what comes out of a source with this projection.
    pub fn position(&self, projection: Option<&ProjectionExprs>) -> Result<usize> {
        let Some(projection) = projection else { return Ok(self.column) };
        let is_symbol = |expr: &Column| expr.index() == self.column;
        let position = projection.iter().position(|of| of.expr.downcast_ref::<Column>().is_some_and(is_symbol));
        match position {
            Some(position) => Ok(position),
            None => internal_err!("rows of a file are divided by their symbols, which are not read"),
        }
    }
}

impl SymbolRange {
    /// The rows of a batch, whose symbols ascend, that have one of these.
    pub fn rows_of(&self, batch: &RecordBatch, symbol: usize) -> Result<RecordBatch> {
        let symbols = cast(batch.column(symbol), &DataType::Utf8View)?;
        let symbols = arrow::array::AsArray::as_string_view(&symbols);
        let begin = |border: &Option<String>| {
            border.as_ref().map(|border| first_row(symbols.len(), |row| symbols.value(row) >= border.as_str()))
        };
        let from = begin(&self.from).unwrap_or(0);
        let until = begin(&self.until).unwrap_or(batch.num_rows());
        Ok(batch.slice(from, until.saturating_sub(from)))
    }
}

/// The first of so many rows for which something is true, as it is of all after it.
fn first_row(rows: usize, is: impl Fn(usize) -> bool) -> usize {
    let (mut low, mut high) = (0, rows);
    while low < high {
        let middle = low + (high - low) / 2;
        if is(middle) {
            high = middle;
        } else {
            low = middle + 1;
        }
    }
    low
}

#[cfg(test)]
mod tests {
    use super::*;
    use arrow::array::{ArrayRef, StringViewArray};
    use std::sync::Arc;

    #[test]
    fn symbols_from_one_border_up_to_the_next_are_kept() {
        let symbols: ArrayRef = Arc::new(StringViewArray::from(vec!["A", "A", "B", "D", "D", "E"]));
        let batch = RecordBatch::try_from_iter([("symbol", symbols)]).unwrap();
        let kept = |from: Option<&str>, until: Option<&str>| {
            let range = SymbolRange { from: from.map(str::to_string), until: until.map(str::to_string) };
            let rows = range.rows_of(&batch, 0).unwrap();
            let symbols = rows.column(0).as_any().downcast_ref::<StringViewArray>().unwrap().clone();
            symbols.iter().flatten().collect::<String>()
        };
        assert_eq!(kept(None, None), "AABDDE");
        assert_eq!(kept(Some("B"), Some("D")), "B");
        assert_eq!(kept(Some("C"), Some("E")), "DD");
        assert_eq!(kept(Some("F"), None), "");
        assert_eq!(kept(None, Some("A")), "");
        assert_eq!(kept(Some("A"), Some("Z")), "AABDDE");
    }
}
