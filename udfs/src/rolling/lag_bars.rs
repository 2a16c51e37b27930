//! `lag_bars(x, n)` and `lead_bars(x, n)`.

use super::EVENTS;
use crate::described::Described;
use crate::series::{ParamValue, Reach, check_window, literal};
use arrow::array::{Array, ArrayRef, AsArray, UInt64Array};
use arrow::compute::{concat, take};
use arrow::datatypes::{DataType, FieldRef, Float32Type, Float64Type};
use datafusion_common::{Result, ScalarValue, plan_err};
use datafusion_expr::function::{
    ExpressionArgs, PartitionEvaluatorArgs, WindowFunctionSimplification, WindowUDFFieldArgs,
};
use datafusion_expr::{Documentation, Expr, LimitEffect, PartitionEvaluator, Signature, WindowUDFImpl};
use datafusion_physical_expr::PhysicalExpr;
use datafusion_physical_expr::expressions::Literal;
use std::collections::VecDeque;
use std::ops::Range;
use std::sync::Arc;

/// Most bars between two values.
const MOST: i64 = 1_000_000;

/// The value of a series some bars before or after, where only bars with a value count.
///
/// SQL's `lag` and `lead` count rows. Everything else here passes over bars without a value, so that `lag_bars(x, 1)` is the
/// value that `mom(x, 1)` subtracts. It is no [`SeriesFunction`](crate::series::SeriesFunction), for it takes and returns
/// values of any type.
#[derive(Debug, PartialEq, Eq, Hash)]
pub struct LagBars {
    ahead: bool,
    signature: Signature,
    documentation: Documentation,
}

impl LagBars {
    /// Bars before.
    pub fn lag() -> Self {
        Self::new(false, "The value `offset` bars before")
    }

    /// Bars after.
    pub fn lead() -> Self {
        Self::new(true, "The value `offset` bars after")
    }

    fn new(ahead: bool, what: &str) -> Self {
        let (name, usage, plain) = if ahead { ("lead_bars", LEAD, "lead") } else { ("lag_bars", LAG, "lag") };
        let doc = format!(
            "{what}; a bar without a value is passed over, and `default` stands where there are not that many. \
             `{plain}(x, n)` without OVER is the same; with OVER it is SQL's own, which counts rows"
        );
        let described = Described {
            group: EVENTS,
            usage,
            doc: &doc,
            nulls: "Null on bars without a value, and where there is no bar to take it from",
            source: "",
            arguments: &[
                ("expr", "series of any type, one value per bar"),
                ("offset", &format!("bars; a whole number from 1 to {MOST}")),
                ("default", "a literal; null if it is left out"),
            ],
            example: &format!(
                "SELECT symbol, ts, {name}(close, 5) OVER (PARTITION BY symbol ORDER BY ts) AS {plain} FROM candles"
            ),
        };
        Self { ahead, signature: described.signature(), documentation: described.documentation() }
    }

    fn usage(&self) -> &'static str {
        if self.ahead { LEAD } else { LAG }
    }

    /// How far a call looks.
    pub fn reach(&self, args: &[Expr]) -> Result<Reach> {
        let bars = self.offset(args.get(1).map(literal))?;
        Ok(if self.ahead { Reach::ahead(bars) } else { Reach::back(bars) })
    }

    /// The second argument; `Some(None)` is one that is no literal.
    fn offset(&self, given: Option<Option<ParamValue>>) -> Result<usize> {
        let shown = match given {
            None => return Ok(1),
            Some(None) => "no literal".to_string(),
            Some(Some(value)) => {
                let bars = value.as_f64().filter(|n| n.fract() == 0.0 && (1.0..=MOST as f64).contains(n));
                match bars {
                    Some(bars) => return Ok(bars as usize),
                    None => value.to_string(),
                }
            }
        };
        plan_err!("`offset` of {} is {shown}, expected a whole number from 1 to {MOST}: {}", self.name(), self.usage())
    }
}

impl LagBars {
    /// How many bars a bound call looks, and what stands where there are not that many.
    fn bound(&self, args: &[Arc<dyn PhysicalExpr>], series: Option<&FieldRef>) -> Result<(usize, Option<ScalarValue>)> {
        let value = |i: usize| args.get(i).map(|e| e.downcast_ref::<Literal>().map(Literal::value));
        let bars = self.offset(value(1).map(|v| v.and_then(ParamValue::from_scalar)))?;
        let default = match (value(2), series) {
            (Some(Some(value)), Some(field)) if !value.is_null() => Some(value.cast_to(field.data_type())?),
            (Some(None), _) => {
                return plan_err!("`default` of {} is no literal, expected one: {}", self.name(), self.usage());
            }
            _ => None,
        };
        Ok((bars, default))
    }

    /// A bound call at the beginning of a series, to be handed its bars one by one; `None`: it looks ahead.
    pub fn begin(&self, args: &[Arc<dyn PhysicalExpr>], series: &FieldRef) -> Result<Option<Lagged>> {
        if self.ahead {
            return Ok(None);
        }
        let (bars, default) = self.bound(args, Some(series))?;
        let null = ScalarValue::try_from(series.data_type())?;
        Ok(Some(Lagged { bars, default: default.unwrap_or_else(|| null.clone()), null, held: VecDeque::new() }))
    }
}

/// A call of `lag_bars` in the course of a series.
#[derive(Debug, Clone)]
pub struct Lagged {
    bars: usize,
    default: ScalarValue,
    null: ScalarValue,
    /// The last values, as many as it looks back.
    held: VecDeque<ScalarValue>,
}

impl Lagged {
    /// The values of the next bars, which are some rows of a column.
    pub fn push(&mut self, values: &ArrayRef, rows: Range<usize>, out: &mut Vec<ScalarValue>) -> Result<()> {
        let values = values.slice(rows.start, rows.len());
        let first = out.len();
        out.resize(first + rows.len(), self.null.clone());
        for row in valid_rows(&values) {
            let value = ScalarValue::try_from_array(&values, row)?;
            out[first + row] = match self.held.len() == self.bars {
                true => self.held.pop_front().unwrap_or_else(|| self.null.clone()),
                false => self.default.clone(),
            };
            self.held.push_back(value);
        }
        Ok(())
    }
}

const LAG: &str = "lag_bars(expr, offset => 1, default => null)";
const LEAD: &str = "lead_bars(expr, offset => 1, default => null)";

impl WindowUDFImpl for LagBars {
    fn name(&self) -> &str {
        if self.ahead { "lead_bars" } else { "lag_bars" }
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    /// Only the series: offset and default are read when the call is bound.
    fn expressions(&self, args: ExpressionArgs) -> Vec<Arc<dyn PhysicalExpr>> {
        args.input_exprs().iter().take(1).cloned().collect()
    }

    fn partition_evaluator(&self, args: PartitionEvaluatorArgs) -> Result<Box<dyn PartitionEvaluator>> {
        let (bars, default) = self.bound(args.input_exprs(), args.input_fields().first())?;
        Ok(Box::new(Evaluator { bars, ahead: self.ahead, default }))
    }

    fn simplify(&self) -> Option<WindowFunctionSimplification> {
        let (ahead, usage) = (self.ahead, self.usage());
        Some(Box::new(move |call, _| {
            check_window(if ahead { "lead_bars" } else { "lag_bars" }, usage, &call)?;
            Ok(Expr::WindowFunction(Box::new(call)))
        }))
    }

    fn field(&self, args: WindowUDFFieldArgs) -> Result<FieldRef> {
        match args.input_fields().first() {
            Some(field) => Ok(Arc::new(field.as_ref().clone().with_name(args.name()).with_nullable(true))),
            None => plan_err!("{} misses its series: {}", self.name(), self.usage()),
        }
    }

    fn coerce_types(&self, types: &[DataType]) -> Result<Vec<DataType>> {
        if !(1..=3).contains(&types.len()) {
            return plan_err!("{} takes 1 to 3 arguments, not {}: {}", self.name(), types.len(), self.usage());
        }
        let mut types = types.to_vec();
        // Of a series of nulls, the default gives the type.
        if let [series, _, default] = types.as_mut_slice()
            && series.is_null()
        {
            *series = default.clone();
        }
        Ok(types)
    }

    fn documentation(&self) -> Option<&Documentation> {
        Some(&self.documentation)
    }

    fn limit_effect(&self, _args: &[Arc<dyn PhysicalExpr>]) -> LimitEffect {
        LimitEffect::Unknown
    }
}

#[derive(Debug)]
struct Evaluator {
    bars: usize,
    ahead: bool,
    default: Option<ScalarValue>,
}

impl PartitionEvaluator for Evaluator {
    fn evaluate_all(&mut self, values: &[ArrayRef], _: usize) -> Result<ArrayRef> {
        shift(&values[0], self.bars, self.ahead, self.default.as_ref())
    }
}

/// Each row with a value gets that of the row `bars` such rows before, or after; other rows stay null.
fn shift(values: &ArrayRef, bars: usize, ahead: bool, default: Option<&ScalarValue>) -> Result<ArrayRef> {
    let valid = valid_rows(values);
    let fallback = default.map(|_| values.len());
    let mut from: Vec<Option<u64>> = vec![None; values.len()];
    for (i, row) in valid.iter().enumerate() {
        let other = if ahead { i.checked_add(bars) } else { i.checked_sub(bars) };
        let source = other.and_then(|i| valid.get(i)).copied().or(fallback);
        from[*row] = source.and_then(|row| u64::try_from(row).ok());
    }
    let from = UInt64Array::from(from);
    Ok(match default {
        Some(default) => take(&concat(&[values.as_ref(), default.to_array()?.as_ref()])?, &from, None)?,
        None => take(values, &from, None)?,
    })
}

/// The rows with a value: neither null nor, in a column of numbers, NaN or infinite.
fn valid_rows(values: &ArrayRef) -> Vec<usize> {
    let nulls = values.logical_nulls();
    let (wide, narrow) = (values.as_primitive_opt::<Float64Type>(), values.as_primitive_opt::<Float32Type>());
    let is_finite =
        |row: usize| wide.is_none_or(|v| v.value(row).is_finite()) && narrow.is_none_or(|v| v.value(row).is_finite());
    (0..values.len()).filter(|&row| nulls.as_ref().is_none_or(|n| n.is_valid(row)) && is_finite(row)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use arrow::array::{Float64Array, StringArray};

    fn shifted(values: &[Option<f64>], bars: usize, ahead: bool, default: Option<f64>) -> Vec<Option<f64>> {
        let values: ArrayRef = Arc::new(Float64Array::from(values.to_vec()));
        let default = default.map(|v| ScalarValue::Float64(Some(v)));
        shift(&values, bars, ahead, default.as_ref()).unwrap().as_primitive::<Float64Type>().iter().collect()
    }

    #[test]
    fn a_bar_without_a_value_is_passed_over() {
        let x = [Some(1.0), None, Some(2.0), Some(f64::NAN), Some(3.0), Some(4.0)];
        assert_eq!(shifted(&x, 1, false, None), [None, None, Some(1.0), None, Some(2.0), Some(3.0)]);
        assert_eq!(shifted(&x, 2, false, None), [None, None, None, None, Some(1.0), Some(2.0)]);
        assert_eq!(shifted(&x, 1, true, None), [Some(2.0), None, Some(3.0), None, Some(4.0), None]);
        assert_eq!(shifted(&x, 9, false, None), [None; 6]);
    }

    #[test]
    fn the_default_stands_where_there_are_not_that_many_bars() {
        let x = [Some(1.0), None, Some(2.0)];
        assert_eq!(shifted(&x, 1, false, Some(7.0)), [Some(7.0), None, Some(1.0)]);
        assert_eq!(shifted(&x, 1, true, Some(7.0)), [Some(2.0), None, Some(7.0)]);
    }

    #[test]
    fn bar_by_bar_is_as_at_once() {
        let x: ArrayRef =
            Arc::new(Float64Array::from(vec![Some(1.0), None, Some(2.0), Some(f64::NAN), Some(3.0), Some(4.0)]));
        let field = Arc::new(arrow::datatypes::Field::new("x", DataType::Float64, true));
        let column = Arc::new(datafusion_physical_expr::expressions::Column::new("x", 0)) as Arc<dyn PhysicalExpr>;
        for bars in 1..4 {
            let args = [Arc::clone(&column), Arc::new(Literal::new(ScalarValue::Int64(Some(bars))))];
            let mut lagged = LagBars::lag().begin(&args, &field).unwrap().unwrap();
            let mut out = vec![];
            for rows in [0..1, 1..1, 1..4, 4..5, 5..6] {
                lagged.push(&x, rows, &mut out).unwrap();
            }
            let whole = shift(&x, bars as usize, false, None).unwrap();
            assert_eq!(&ScalarValue::iter_to_array(out).unwrap(), &whole, "{bars}");
        }
        assert!(LagBars::lead().begin(&[column], &field).unwrap().is_none());
    }

    #[test]
    fn values_of_any_type_are_shifted() {
        let texts: ArrayRef = Arc::new(StringArray::from(vec![Some("a"), None, Some("b")]));
        let shifted = shift(&texts, 1, false, None).unwrap();
        assert_eq!(shifted.as_string::<i32>().iter().collect::<Vec<_>>(), [None, None, Some("a")]);
    }

    #[test]
    fn an_offset_is_a_whole_number_of_bars() {
        let lag = LagBars::lag();
        assert_eq!(lag.offset(None).unwrap(), 1);
        assert_eq!(lag.offset(Some(Some(ParamValue::Real(2.0)))).unwrap(), 2);
        for wrong in [ParamValue::Int(0), ParamValue::Int(-1), ParamValue::Real(1.5), ParamValue::Text("1".into())] {
            assert!(lag.offset(Some(Some(wrong))).is_err());
        }
        assert!(lag.offset(Some(None)).unwrap_err().to_string().contains("from 1 to 1000000"));
    }
}
