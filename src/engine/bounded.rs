//! Functions that make memory from nothing obey the memory limit.
//!
//! What `repeat('x', 1000000)` or `range(0, 1000000000)` returns is as large as the value of an argument says, not as its
//! arguments are. The operators of a plan account for rows that they keep, but not for what an expression is about to
//! make: these functions are asked beforehand how much it will be, and refuse what is too much.
//!
//! A call of constants would be computed while the query is planned, for one row, and only then be repeated for every row
//! of a batch. [`Unfolded`] leaves such calls to the execution, where the number of rows is known.

use arrow::array::{Array, ArrayRef, AsArray, Int64Array};
use arrow::compute::cast;
use arrow::compute::kernels::length::length;
use arrow::datatypes::{DataType, Int64Type, IntervalMonthDayNanoType, TimeUnit};
use datafusion::common::config::ConfigOptions;
use datafusion::common::tree_node::{Transformed, TransformedResult, TreeNode};
use datafusion::common::{Result, ScalarValue, resources_err};
use datafusion::logical_expr::registry::FunctionRegistry;
use datafusion::logical_expr::{
    ColumnarValue, Documentation, Expr, LogicalPlan, ScalarFunctionArgs, ScalarUDF, ScalarUDFImpl, Signature,
    Volatility,
};
use datafusion::optimizer::AnalyzerRule;
use std::sync::Arc;

/// How the size of a result follows from the arguments.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
enum Growth {
    /// `repeat(text, times)`
    Repeat,
    /// `lpad(text, length, fill)`
    Pad,
    /// `range(start, stop, step)`
    Range,
    /// `array_repeat(element, times)`
    ArrayRepeat,
    /// `array_resize(list, length, element)`
    ArrayResize,
    /// `replace(text, from, to)`
    Replace,
}

const FUNCTIONS: [(&str, Growth); 8] = [
    ("repeat", Growth::Repeat),
    ("lpad", Growth::Pad),
    ("rpad", Growth::Pad),
    ("range", Growth::Range),
    ("generate_series", Growth::Range),
    ("array_repeat", Growth::ArrayRepeat),
    ("array_resize", Growth::ArrayResize),
    ("replace", Growth::Replace),
];

/// Bytes of a constant that may be computed beforehand: filters with it are worth more.
const SMALL: f64 = 1024.0;

/// Puts a bound on DataFusion's functions that make memory from nothing: each of the partitions that compute at the same
/// time may get half of its share of the memory at once, and never more than an eighth of all.
pub(super) fn bound(registry: &mut dyn FunctionRegistry, memory: usize, partitions: usize) -> Result<()> {
    let limit = memory / (2 * partitions).max(8);
    for (name, growth) in FUNCTIONS {
        let known = registry.udf(name)?;
        let inner =
            known.inner().downcast_ref::<Bounded>().map_or_else(|| Arc::clone(&known), |b| Arc::clone(&b.inner));
        let signature = inner.signature().clone();
        registry.register_udf(Arc::new(ScalarUDF::from(Bounded { inner, signature, growth, limit })))?;
    }
    Ok(())
}

/// A function that refuses to return more than a limit.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
struct Bounded {
    inner: Arc<ScalarUDF>,
    signature: Signature,
    growth: Growth,
    /// Bytes that one batch of results may have.
    limit: usize,
}

impl ScalarUDFImpl for Bounded {
    fn name(&self) -> &str {
        self.inner.name()
    }

    fn aliases(&self) -> &[String] {
        self.inner.aliases()
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn return_type(&self, given: &[DataType]) -> Result<DataType> {
        self.inner.inner().return_type(given)
    }

    fn invoke_with_args(&self, args: ScalarFunctionArgs) -> Result<ColumnarValue> {
        let bytes = self.growth.bytes(&args.args, args.number_rows)?;
        if bytes > self.limit as f64 {
            return resources_err!(
                "{}: its results for {} need {:.0} MiB at once, more than the {:.0} MiB that the memory limit leaves for them. \
                 Ask for less, or raise the option `memory`",
                self.name(),
                if args.number_rows == 1 { "one row".to_string() } else { format!("{} rows", args.number_rows) },
                mebibytes(bytes),
                mebibytes(self.limit as f64)
            );
        }
        self.inner.invoke_with_args(args)
    }

    fn documentation(&self) -> Option<&Documentation> {
        self.inner.documentation()
    }
}

/// Keeps calls of constants from being computed while a query is planned.
#[derive(Debug)]
pub(super) struct Unfolded;

impl AnalyzerRule for Unfolded {
    fn analyze(&self, plan: LogicalPlan, _: &ConfigOptions) -> Result<LogicalPlan> {
        let unfold = |expr: Expr| expr.transform_up(|expr| Ok(unfolded(expr)));
        plan.transform_up_with_subqueries(|node| node.map_expressions(unfold)).data()
    }

    fn name(&self) -> &str {
        "unfolded_constants"
    }
}

fn unfolded(expr: Expr) -> Transformed<Expr> {
    let Expr::ScalarFunction(call) = &expr else { return Transformed::no(expr) };
    let Some(bounded) = call.func.inner().downcast_ref::<Bounded>() else { return Transformed::no(expr) };
    if bounded.signature.volatility == Volatility::Volatile || call.args.iter().any(Expr::any_column_refs) {
        return Transformed::no(expr);
    }
    let literal = |arg: &Expr| match arg {
        Expr::Literal(value, _) => Some(ColumnarValue::Scalar(value.clone())),
        _ => None,
    };
    let literals: Option<Vec<ColumnarValue>> = call.args.iter().map(literal).collect();
    let bytes = literals.and_then(|literals| bounded.growth.bytes(&literals, 1).ok());
    if bytes.is_some_and(|bytes| bytes <= SMALL) {
        return Transformed::no(expr);
    }
    let mut own = bounded.clone();
    // What is volatile is not computed beforehand.
    own.signature.volatility = Volatility::Volatile;
    Transformed::yes(ScalarUDF::from(own).call(call.args.clone()))
}

fn mebibytes(bytes: f64) -> f64 {
    (bytes / f64::from(1 << 20)).ceil()
}

impl Growth {
    /// About how many bytes a call makes, as a float: a product of arguments may be more than any integer holds.
    fn bytes(self, args: &[ColumnarValue], rows: usize) -> Result<f64> {
        let sum = |of: &dyn Fn(usize) -> f64| (0..rows).map(of).sum::<f64>();
        Ok(match (self, args) {
            (Growth::Repeat, [text, times]) => {
                let (length, times) = (lengths(text)?, integers(times)?);
                sum(&|row| length.at(row) * times.at(row))
            }
            (Growth::Pad, [_, length, fill @ ..]) => {
                let length = integers(length)?;
                let width = if fill.iter().all(is_ascii) { 1.0 } else { 4.0 };
                sum(&|row| length.at(row) * width)
            }
            // The list of values grows by doubling.
            (Growth::Range, bounds) => {
                let steps = Steps::of(bounds)?;
                sum(&|row| steps.at(row) * 16.0)
            }
            // The position of each element is noted, twice, before it is taken.
            (Growth::ArrayRepeat, [element, times]) => {
                let (width, times) = (widths(element)?, integers(times)?);
                sum(&|row| (width.at(row) + 16.0) * times.at(row))
            }
            (Growth::ArrayResize, [list, length, ..]) => {
                let (width, length) = (width(&element_type(&list.data_type())), integers(length)?);
                sum(&|row| length.at(row) * width)
            }
            (Growth::Replace, [text, from, to]) => replaced(text, from, to, rows)?,
            // The function itself says what is wrong with its arguments.
            _ => 0.0,
        })
    }
}

/// A number for each row, none of them negative.
enum PerRow {
    Same(f64),
    Each(Int64Array),
    Scaled(Int64Array, f64, f64),
}

impl PerRow {
    fn at(&self, row: usize) -> f64 {
        let value = |array: &Int64Array| if array.is_valid(row) { array.value(row).max(0) as f64 } else { 0.0 };
        match self {
            PerRow::Same(number) => *number,
            PerRow::Each(array) => value(array),
            PerRow::Scaled(array, factor, base) => value(array) * factor + base,
        }
    }
}

/// Whole numbers; what is null or negative counts as none.
fn integers(arg: &ColumnarValue) -> Result<PerRow> {
    Ok(match arg {
        ColumnarValue::Scalar(scalar) => PerRow::Same(whole(scalar)?.unwrap_or_default().max(0) as f64),
        ColumnarValue::Array(array) => PerRow::Each(int64(array)?),
    })
}

fn whole(scalar: &ScalarValue) -> Result<Option<i64>> {
    Ok(match scalar.cast_to(&DataType::Int64)? {
        ScalarValue::Int64(number) => number,
        _ => None,
    })
}

fn int64(array: &ArrayRef) -> Result<Int64Array> {
    Ok(cast(array, &DataType::Int64)?.as_primitive::<Int64Type>().clone())
}

/// The bytes of texts, or the elements of lists.
fn lengths(arg: &ColumnarValue) -> Result<PerRow> {
    Ok(match arg {
        ColumnarValue::Scalar(scalar) if scalar.is_null() => PerRow::Same(0.0),
        ColumnarValue::Scalar(scalar) => PerRow::Same(PerRow::Each(int64(&length(&scalar.to_array()?)?)?).at(0)),
        ColumnarValue::Array(array) => PerRow::Each(int64(&length(array.as_ref())?)?),
    })
}

/// The bytes of the values of any type.
fn widths(arg: &ColumnarValue) -> Result<PerRow> {
    let data_type = arg.data_type();
    if !(data_type.is_string() || is_list(&data_type)) {
        return Ok(PerRow::Same(width(&data_type)));
    }
    let (factor, base) = if is_list(&data_type) { (width(&element_type(&data_type)) + 16.0, 8.0) } else { (1.0, 16.0) };
    Ok(match lengths(arg)? {
        PerRow::Each(array) => PerRow::Scaled(array, factor, base),
        other => PerRow::Same(other.at(0) * factor + base),
    })
}

fn is_list(data_type: &DataType) -> bool {
    matches!(data_type, DataType::List(_) | DataType::LargeList(_) | DataType::FixedSizeList(_, _))
}

fn element_type(list: &DataType) -> DataType {
    match list {
        DataType::List(field) | DataType::LargeList(field) | DataType::FixedSizeList(field, _) => {
            field.data_type().clone()
        }
        _ => DataType::Null,
    }
}

/// The bytes of a value, roughly.
fn width(data_type: &DataType) -> f64 {
    match data_type {
        DataType::Null | DataType::Boolean => 1.0,
        DataType::Struct(fields) => fields.iter().map(|f| width(f.data_type())).sum(),
        DataType::FixedSizeList(field, length) => f64::from(*length) * width(field.data_type()),
        other => other.primitive_width().map_or(32.0, |bytes| bytes as f64),
    }
}

fn is_ascii(text: &ColumnarValue) -> bool {
    match text {
        ColumnarValue::Scalar(scalar) => scalar.try_as_str().flatten().is_none_or(str::is_ascii),
        ColumnarValue::Array(_) => false,
    }
}

/// How many values a range has.
struct Steps {
    start: PerBound,
    stop: PerBound,
    step: PerBound,
}

/// A bound or a step: positions on one scale, which may be negative.
enum PerBound {
    Same(f64),
    Each(Vec<f64>),
}

impl PerBound {
    fn at(&self, row: usize) -> f64 {
        match self {
            PerBound::Same(number) => *number,
            PerBound::Each(numbers) => numbers.get(row).copied().unwrap_or_default(),
        }
    }
}

impl Steps {
    fn of(bounds: &[ColumnarValue]) -> Result<Steps> {
        let one = || Ok(PerBound::Same(1.0));
        let (start, stop, step) = match bounds {
            [stop] => (Ok(PerBound::Same(0.0)), positions(stop), one()),
            [start, stop] => (positions(start), positions(stop), one()),
            [start, stop, step, ..] => (positions(start), positions(stop), positions(step)),
            [] => (one(), one(), one()),
        };
        Ok(Steps { start: start?, stop: stop?, step: step? })
    }

    fn at(&self, row: usize) -> f64 {
        let (span, step) = (self.stop.at(row) - self.start.at(row), self.step.at(row));
        let steps = if step == 0.0 { 0.0 } else { span / step };
        if steps >= 0.0 { steps + 1.0 } else { 0.0 }
    }
}

/// Numbers as they are, times and intervals in nanoseconds; NaN, of which there are no steps, for null.
fn positions(bound: &ColumnarValue) -> Result<PerBound> {
    const DAY: f64 = 86_400e9;
    let array = match bound {
        ColumnarValue::Scalar(scalar) => scalar.to_array()?,
        ColumnarValue::Array(array) => Arc::clone(array),
    };
    let unit = match array.data_type() {
        DataType::Date32 => DAY,
        DataType::Date64 | DataType::Timestamp(TimeUnit::Millisecond, _) => 1e6,
        DataType::Timestamp(TimeUnit::Second, _) => 1e9,
        DataType::Timestamp(TimeUnit::Microsecond, _) => 1e3,
        _ => 1.0,
    };
    let numbers: Vec<f64> = match array.as_primitive_opt::<IntervalMonthDayNanoType>() {
        // A month has at least 28 days.
        Some(intervals) => intervals
            .iter()
            .map(|interval| {
                let parts = interval.map(IntervalMonthDayNanoType::to_parts);
                parts.map_or(f64::NAN, |(months, days, nanos)| {
                    (28.0 * f64::from(months) + f64::from(days)) * DAY + nanos as f64
                })
            })
            .collect(),
        None => int64(&array)?.iter().map(|v| v.map_or(f64::NAN, |v| v as f64 * unit)).collect(),
    };
    Ok(match bound {
        ColumnarValue::Scalar(_) => PerBound::Same(numbers.first().copied().unwrap_or_default()),
        ColumnarValue::Array(_) => PerBound::Each(numbers),
    })
}

/// The bytes of texts in which something is replaced; those that do not grow cost nothing.
fn replaced(text: &ColumnarValue, from: &ColumnarValue, to: &ColumnarValue, rows: usize) -> Result<f64> {
    let (ColumnarValue::Scalar(from), ColumnarValue::Scalar(to)) = (from, to) else {
        // Texts of each row's own: as if all of it were replaced.
        let (length, more) = (lengths(text)?, lengths(to)?);
        return Ok((0..rows).map(|row| length.at(row) * more.at(row).max(1.0)).sum());
    };
    let (Some(Some(from)), Some(Some(to))) = (from.try_as_str(), to.try_as_str()) else { return Ok(0.0) };
    if to.len() <= from.len() {
        return Ok(0.0);
    }
    let more = (to.len() - from.len()) as f64;
    let grown = |text: &str| text.len() as f64 + text.matches(from).count() as f64 * more;
    Ok(match text {
        ColumnarValue::Scalar(text) => text.try_as_str().flatten().map_or(0.0, grown),
        ColumnarValue::Array(texts) => {
            let texts = cast(texts, &DataType::Utf8View)?;
            texts.as_string_view().iter().flatten().map(grown).sum()
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use arrow::array::{StringArray, TimestampMicrosecondArray};

    fn texts(texts: &[&str]) -> ColumnarValue {
        ColumnarValue::Array(Arc::new(StringArray::from(texts.to_vec())))
    }

    fn one(number: i64) -> ColumnarValue {
        ColumnarValue::Scalar(number.into())
    }

    fn each(numbers: &[i64]) -> ColumnarValue {
        ColumnarValue::Array(Arc::new(Int64Array::from(numbers.to_vec())))
    }

    #[test]
    fn the_size_is_told_by_the_values_of_all_rows() {
        let bytes = |growth: Growth, args: &[ColumnarValue]| growth.bytes(args, 2).unwrap();
        assert_eq!(bytes(Growth::Repeat, &[texts(&["ab", "c"]), one(10)]), 30.0);
        assert_eq!(bytes(Growth::Repeat, &[texts(&["ab", "c"]), each(&[-1, 4])]), 4.0);
        assert_eq!(bytes(Growth::Pad, &[texts(&["ab", "c"]), one(100)]), 200.0);
        assert_eq!(bytes(Growth::Pad, &[texts(&["ab", "c"]), one(100), ColumnarValue::Scalar("ü".into())]), 800.0);
        assert_eq!(bytes(Growth::Range, &[each(&[9, -9])]), 160.0);
        assert_eq!(bytes(Growth::Range, &[one(0), one(90), each(&[10, -10])]), 160.0);
        assert_eq!(bytes(Growth::ArrayRepeat, &[each(&[1, 2]), one(10)]), 480.0);
        assert_eq!(bytes(Growth::Repeat, &[texts(&["ab", "c"]), one(i64::MAX)]), 3.0 * i64::MAX as f64);
    }

    #[test]
    fn a_range_of_times_counts_its_steps() {
        const DAY: i64 = 86_400_000_000;
        let times = |t: i64| ColumnarValue::Array(Arc::new(TimestampMicrosecondArray::from(vec![t])));
        let day = ColumnarValue::Scalar(ScalarValue::new_interval_mdn(0, 1, 0));
        assert_eq!(Growth::Range.bytes(&[times(0), times(9 * DAY), day], 1).unwrap(), 160.0);
    }

    #[test]
    fn a_replacement_that_is_not_longer_costs_nothing() {
        let text = |t: &str| ColumnarValue::Scalar(t.into());
        let bytes = |to: &str| Growth::Replace.bytes(&[texts(&["a.b", "c"]), text("."), text(to)], 2).unwrap();
        assert_eq!(bytes("-"), 0.0);
        assert_eq!(bytes("0123456789"), 13.0);
    }
}
