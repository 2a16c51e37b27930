//! `within(symbol, ts)`: whether a row lies in ranges of time by symbol.
//!
//! A filter of this kind keeps what a plan needs, or what it replaces, where the ranges are many: as comparisons they would
//! be as many expressions as there are symbols.

use arrow::array::{Array, ArrayRef, AsArray, BooleanArray};
use arrow::buffer::{BooleanBuffer, NullBuffer};
use arrow::compute::cast;
use arrow::datatypes::{DataType, TimestampMicrosecondType};
use datafusion::common::{Result, internal_err, plan_err};
use datafusion::logical_expr::{
    ColumnarValue, Expr, ScalarFunctionArgs, ScalarUDF, ScalarUDFImpl, Signature, Volatility,
};
use datafusion::physical_expr::{PhysicalExpr, ScalarFunctionExpr};
use prost::Message;
use std::hash::{Hash, Hasher};
use std::sync::{Arc, PoisonError, RwLock};
use tallow_common::codec::{FunctionKind, read};
use tallow_common::time::timestamp_type;
use tallow_common::{Ranges, Times};

/// Its name in plans.
const NAME: &str = "within";

/// A condition: the row with this symbol and this time lies in the ranges.
pub fn within(symbol: Expr, ts: Expr, ranges: &Arc<Ranges>) -> Expr {
    ScalarUDF::from(Within::new(Arc::clone(ranges))).call(vec![symbol, ts])
}

/// The same, of ranges that are others each time that a plan is run.
pub fn within_shifting(symbol: Expr, ts: Expr, ranges: &Arc<ShiftingRanges>) -> Expr {
    ScalarUDF::from(Within::of(Source::Shifting(Arc::clone(ranges)))).call(vec![symbol, ts])
}

/// Ranges of a plan that is kept: they are set before each run of it.
#[derive(Debug, Default)]
pub struct ShiftingRanges(RwLock<Arc<Ranges>>);

impl ShiftingRanges {
    /// Sets them.
    pub fn set(&self, ranges: Ranges) {
        *self.0.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(ranges);
    }

    fn get(&self) -> Arc<Ranges> {
        Arc::clone(&self.0.read().unwrap_or_else(PoisonError::into_inner))
    }
}

/// Where the ranges of a condition are.
#[derive(Debug)]
enum Source {
    Fixed(Arc<Ranges>),
    Shifting(Arc<ShiftingRanges>),
}

impl Source {
    fn ranges(&self) -> Arc<Ranges> {
        match self {
            Source::Fixed(ranges) => Arc::clone(ranges),
            Source::Shifting(ranges) => ranges.get(),
        }
    }
}

impl PartialEq for Source {
    fn eq(&self, other: &Source) -> bool {
        match (self, other) {
            (Source::Fixed(one), Source::Fixed(other)) => one == other,
            (Source::Shifting(one), Source::Shifting(other)) => Arc::ptr_eq(one, other),
            _ => false,
        }
    }
}

impl Eq for Source {}

impl Hash for Source {
    fn hash<H: Hasher>(&self, state: &mut H) {
        match self {
            Source::Fixed(ranges) => ranges.hash(state),
            Source::Shifting(ranges) => Arc::as_ptr(ranges).hash(state),
        }
    }
}

/// Whether an expression is such a condition.
pub(super) fn is_within(expr: &Arc<dyn PhysicalExpr>) -> bool {
    let call = expr.downcast_ref::<ScalarFunctionExpr>();
    call.is_some_and(|call| call.fun().inner().downcast_ref::<Within>().is_some())
}

#[derive(Debug, PartialEq, Eq, Hash)]
pub(super) struct Within {
    ranges: Source,
    signature: Signature,
}

/// A function as bytes: the ranges of all symbols, then those of each.
#[derive(Clone, PartialEq, prost::Message)]
struct Written {
    #[prost(sint64, repeated, tag = "1")]
    everywhere: Vec<i64>,
    #[prost(message, repeated, tag = "2")]
    by_symbol: Vec<OfSymbol>,
}

#[derive(Clone, PartialEq, prost::Message)]
struct OfSymbol {
    #[prost(string, tag = "1")]
    symbol: String,
    /// Beginnings and ends in turn.
    #[prost(sint64, repeated, tag = "2")]
    bounds: Vec<i64>,
}

impl Within {
    /// With its ranges.
    pub const KIND: FunctionKind = FunctionKind {
        name: NAME,
        encode: |function| match function.inner().downcast_ref::<Within>() {
            Some(within) => Ok(within.written().encode_to_vec()),
            None => internal_err!("another function is called {NAME}"),
        },
        decode: |bytes| Ok(ScalarUDF::from(Within::new(Arc::new(ranges(&read(bytes)?))))),
    };

    fn written(&self) -> Written {
        let bounds = |times: &Times| times.iter().flat_map(|range| [range.start, range.end]).collect();
        let of_symbol =
            |(symbol, times): (&str, &Times)| OfSymbol { symbol: symbol.to_string(), bounds: bounds(times) };
        let ranges = self.ranges.ranges();
        Written { everywhere: bounds(ranges.of_all()), by_symbol: ranges.symbols().map(of_symbol).collect() }
    }

    fn new(ranges: Arc<Ranges>) -> Within {
        Within::of(Source::Fixed(ranges))
    }

    fn of(ranges: Source) -> Within {
        Within { ranges, signature: Signature::any(2, Volatility::Immutable) }
    }
}

fn ranges(written: &Written) -> Ranges {
    let times = |bounds: &[i64]| bounds.chunks_exact(2).map(|bounds| bounds[0]..bounds[1]).collect::<Times>();
    let mut ranges = Ranges::everywhere(times(&written.everywhere));
    written.by_symbol.iter().for_each(|of| ranges.add(&of.symbol, &times(&of.bounds)));
    ranges
}

impl ScalarUDFImpl for Within {
    fn name(&self) -> &str {
        NAME
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn return_type(&self, _: &[DataType]) -> Result<DataType> {
        Ok(DataType::Boolean)
    }

    fn invoke_with_args(&self, args: ScalarFunctionArgs) -> Result<ColumnarValue> {
        let arrays = ColumnarValue::values_to_arrays(&args.args)?;
        let [symbols, times] = arrays.as_slice() else { return plan_err!("{NAME} takes a symbol and a time") };
        Ok(ColumnarValue::Array(Arc::new(self.mask(symbols, times)?)))
    }
}

impl Within {
    fn mask(&self, symbols: &ArrayRef, times: &ArrayRef) -> Result<BooleanArray> {
        let symbols = cast(symbols, &DataType::Utf8View)?;
        let times = cast(times, &timestamp_type())?;
        let (symbols, times) = (symbols.as_string_view(), times.as_primitive::<TimestampMicrosecondType>());
        let ranges = self.ranges.ranges();
        let valid = NullBuffer::union(symbols.nulls(), times.nulls());
        // Rows of a symbol mostly follow each other, and short texts are equal if their views are.
        let mut known: Option<(u128, Times)> = None;
        let rows = BooleanBuffer::collect_bool(times.len(), |row| {
            let view = symbols.views()[row];
            let of_symbol = match &mut known {
                Some((of, times)) if *of == view => times,
                known => &mut known.insert((view, ranges.of(symbols.value(row)))).1,
            };
            of_symbol.contains(times.value(row))
        });
        Ok(BooleanArray::new(valid.map_or(rows.clone(), |valid| &rows & valid.inner()), None))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use arrow::array::{StringArray, TimestampMicrosecondArray};

    #[test]
    fn rows_are_in_the_ranges_of_their_symbol() {
        let mut ranges = Ranges::default();
        ranges.add("A", &[2..4].into_iter().collect());
        ranges.add("B", &[0..2].into_iter().collect());
        let symbols: ArrayRef = Arc::new(StringArray::from(vec![Some("A"), Some("A"), Some("B"), Some("C"), None]));
        let times: ArrayRef = Arc::new(TimestampMicrosecondArray::from(vec![1, 3, 1, 1, 1]));
        let mask = Within::new(Arc::new(ranges)).mask(&symbols, &times).unwrap();
        assert_eq!(mask, BooleanArray::from(vec![false, true, true, false, false]));
    }
}
