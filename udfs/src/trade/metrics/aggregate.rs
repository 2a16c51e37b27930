//! Figures of returns as aggregates: `sharpe(return)`, `max_drawdown(return, ts)`, `trade_win_rate(gain)` ...

use super::table::{METRICS, Metric, Takes};
use crate::described::Described;
use crate::list::{list_of, list_value};
use crate::series::InputKind;
use arrow::array::{Array, ArrayRef, AsArray, Float64Array, Int64Array};
use arrow::compute::cast;
use arrow::datatypes::{DataType, Field, FieldRef, Float64Type, Int64Type, TimestampMicrosecondType};
use datafusion_common::{DataFusionError, Result, ScalarValue, internal_datafusion_err, plan_err};
use datafusion_expr::function::{AccumulatorArgs, StateFieldsArgs};
use datafusion_expr::{Accumulator, AggregateUDFImpl, Documentation, Signature};
use datafusion_physical_expr::expressions::Literal;
use std::hash::{Hash, Hasher};
use std::sync::Arc;

/// A figure of the values of a group. They are held until it is complete.
#[derive(Debug)]
pub(super) struct MetricAggregate {
    metric: &'static Metric,
    signature: Signature,
    documentation: Documentation,
}

impl PartialEq for MetricAggregate {
    fn eq(&self, other: &Self) -> bool {
        self.metric.name == other.metric.name
    }
}

impl Eq for MetricAggregate {}

impl Hash for MetricAggregate {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.metric.name.hash(state);
    }
}

impl MetricAggregate {
    pub fn all() -> impl Iterator<Item = MetricAggregate> {
        METRICS.iter().map(MetricAggregate::new)
    }

    fn new(metric: &'static Metric) -> MetricAggregate {
        let described = Described {
            group: "Performance",
            usage: &metric.usage(),
            doc: metric.doc,
            nulls: "Rows with a null do not count. Null where there are too few, or where nothing moves",
            source: metric.source,
            arguments: &metric.arguments(),
            example: &metric.example(),
        };
        Self { metric, signature: described.signature(), documentation: described.documentation() }
    }

    /// The parameters of a call.
    fn params(&self, args: &AccumulatorArgs<'_>) -> Result<Vec<f64>> {
        let given = args.exprs.iter().skip(self.metric.takes.columns().len());
        let given = given.map(|expr| match expr.downcast_ref::<Literal>().map(Literal::value) {
            Some(ScalarValue::Float64(Some(number))) if number.is_finite() => Ok(*number),
            Some(other) => plan_err!("a parameter of {} is {other}: {}", self.metric.name, self.metric.usage()),
            None => plan_err!("parameters of {} must be literals: {}", self.metric.name, self.metric.usage()),
        });
        let mut params = given.collect::<Result<Vec<_>>>()?;
        params.extend(self.metric.params.iter().skip(params.len()).map(|param| param.default));
        for (param, value) in self.metric.params.iter().zip(&params) {
            let (least, most) = param.range;
            if !(least..=most).contains(value) {
                return plan_err!(
                    "`{}` of {} is {value}, expected a number from {least} to {most}",
                    param.name,
                    self.metric.name
                );
            }
        }
        Ok(params)
    }
}

impl AggregateUDFImpl for MetricAggregate {
    fn name(&self) -> &str {
        self.metric.name
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn coerce_types(&self, given: &[DataType]) -> Result<Vec<DataType>> {
        let (columns, params) = (self.metric.takes.columns(), self.metric.params.len());
        let fits = (columns.len()..=columns.len() + params).contains(&given.len());
        let is_number = |kind: &DataType| kind.is_numeric() || kind.is_null();
        let wanted = |(i, kind): (usize, &DataType)| match (self.metric.takes, i) {
            (Takes::Ordered, 1) => InputKind::Time.accepts(kind).then(|| InputKind::Time.data_type()),
            _ => is_number(kind).then_some(DataType::Float64),
        };
        match given.iter().enumerate().map(wanted).collect::<Option<Vec<_>>>().filter(|_| fits) {
            Some(types) => Ok(types),
            None => plan_err!("{} takes other arguments: {}", self.metric.name, self.metric.usage()),
        }
    }

    fn return_type(&self, _: &[DataType]) -> Result<DataType> {
        Ok(DataType::Float64)
    }

    fn state_fields(&self, args: StateFieldsArgs) -> Result<Vec<FieldRef>> {
        let field = |name: &str, item| Arc::new(Field::new(format!("{}[{name}]", args.name), list_of(item), true));
        Ok(match self.metric.takes {
            Takes::Returns | Takes::Trades => vec![field("values", DataType::Float64)],
            Takes::Ordered => vec![field("values", DataType::Float64), field("times", DataType::Int64)],
            Takes::Paired => vec![field("values", DataType::Float64), field("others", DataType::Float64)],
        })
    }

    fn accumulator(&self, args: AccumulatorArgs) -> Result<Box<dyn Accumulator>> {
        let params = self.params(&args)?;
        Ok(Box::new(Values { metric: self.metric, params, values: vec![], others: vec![], times: vec![], gone: 0 }))
    }

    fn documentation(&self) -> Option<&Documentation> {
        Some(&self.documentation)
    }
}

/// The values of a group.
#[derive(Debug)]
struct Values {
    metric: &'static Metric,
    params: Vec<f64>,
    values: Vec<f64>,
    others: Vec<f64>,
    times: Vec<i64>,
    /// So many of the first have left the frame.
    gone: usize,
}

fn wrong() -> DataFusionError {
    internal_datafusion_err!("arguments were not coerced")
}

impl Values {
    /// The rows that count, one by one.
    fn each(&self, columns: &[ArrayRef], mut of: impl FnMut(f64, f64, i64)) -> Result<()> {
        let values = columns[0].as_primitive_opt::<Float64Type>().ok_or_else(wrong)?;
        let times = match self.metric.takes {
            Takes::Ordered => Some(cast(&columns[1], &DataType::Int64)?),
            _ => None,
        };
        let times = times.as_ref().map(|times| times.as_primitive::<Int64Type>());
        let others = match self.metric.takes {
            Takes::Paired => Some(columns[1].as_primitive_opt::<Float64Type>().ok_or_else(wrong)?),
            _ => None,
        };
        for row in 0..values.len() {
            let (other, time) =
                (others.map_or(0.0, |others| others.value(row)), times.map_or(0, |times| times.value(row)));
            let is_null = others.is_some_and(|o| o.is_null(row)) || times.is_some_and(|t| t.is_null(row));
            if values.is_valid(row) && !is_null && values.value(row).is_finite() && other.is_finite() {
                of(values.value(row), other, time);
            }
        }
        Ok(())
    }

    /// Adds whole columns; `false`: some rows do not count.
    fn extend(&mut self, columns: &[ArrayRef]) -> Result<bool> {
        let values = columns[0].as_primitive_opt::<Float64Type>().ok_or_else(wrong)?;
        let is_complete = |numbers: &Float64Array| {
            numbers.null_count() == 0 && numbers.values().iter().fold(true, |all, v| all & v.is_finite())
        };
        if !is_complete(values) {
            return Ok(false);
        }
        match self.metric.takes {
            Takes::Returns | Takes::Trades => {}
            Takes::Paired => {
                let others = columns[1].as_primitive_opt::<Float64Type>().ok_or_else(wrong)?;
                if !is_complete(others) {
                    return Ok(false);
                }
                self.others.extend_from_slice(others.values());
            }
            Takes::Ordered => {
                let times = columns[1].as_primitive_opt::<TimestampMicrosecondType>().ok_or_else(wrong)?;
                if times.null_count() > 0 {
                    return Ok(false);
                }
                self.times.extend_from_slice(times.values());
            }
        }
        self.values.extend_from_slice(values.values());
        Ok(true)
    }

    fn push(&mut self, value: f64, other: f64, time: i64) {
        self.values.push(value);
        match self.metric.takes {
            Takes::Paired => self.others.push(other),
            Takes::Ordered => self.times.push(time),
            Takes::Returns | Takes::Trades => {}
        }
    }

    /// The values by time.
    fn in_order(&self) -> Vec<f64> {
        let mut order: Vec<usize> = (self.gone..self.values.len()).collect();
        order.sort_by_key(|row| self.times[*row]);
        order.into_iter().map(|row| self.values[row]).collect()
    }
}

impl Accumulator for Values {
    fn update_batch(&mut self, columns: &[ArrayRef]) -> Result<()> {
        if self.extend(columns)? {
            return Ok(());
        }
        let mut rows = Vec::with_capacity(columns[0].len());
        self.each(columns, |value, other, time| rows.push((value, other, time)))?;
        rows.into_iter().for_each(|(value, other, time)| self.push(value, other, time));
        Ok(())
    }

    fn retract_batch(&mut self, columns: &[ArrayRef]) -> Result<()> {
        let mut rows = 0;
        self.each(columns, |_, _, _| rows += 1)?;
        self.gone += rows;
        if self.gone * 2 > self.values.len() {
            let gone = std::mem::take(&mut self.gone);
            self.values.drain(..gone);
            self.others.drain(..gone.min(self.others.len()));
            self.times.drain(..gone.min(self.times.len()));
        }
        Ok(())
    }

    fn supports_retract_batch(&self) -> bool {
        true
    }

    fn merge_batch(&mut self, states: &[ArrayRef]) -> Result<()> {
        let lists = |i: usize| states[i].as_list_opt::<i32>().ok_or_else(wrong);
        let values = lists(0)?;
        let more = if states.len() > 1 { Some(lists(1)?) } else { None };
        for row in 0..values.len() {
            if values.is_null(row) {
                continue;
            }
            let of_group = values.value(row);
            self.values.extend_from_slice(of_group.as_primitive_opt::<Float64Type>().ok_or_else(wrong)?.values());
            let Some(more) = more.map(|more| more.value(row)) else { continue };
            match self.metric.takes {
                Takes::Ordered => {
                    self.times.extend_from_slice(more.as_primitive_opt::<Int64Type>().ok_or_else(wrong)?.values());
                }
                _ => self.others.extend_from_slice(more.as_primitive_opt::<Float64Type>().ok_or_else(wrong)?.values()),
            }
        }
        Ok(())
    }

    fn state(&mut self) -> Result<Vec<ScalarValue>> {
        let numbers = |values: &[f64]| list_value(Arc::new(Float64Array::from(values.to_vec())));
        let values = numbers(&self.values[self.gone..]);
        Ok(match self.metric.takes {
            Takes::Returns | Takes::Trades => vec![values],
            Takes::Ordered => {
                vec![values, list_value(Arc::new(Int64Array::from(self.times[self.gone..].to_vec())))]
            }
            Takes::Paired => vec![values, numbers(&self.others[self.gone..])],
        })
    }

    fn evaluate(&mut self) -> Result<ScalarValue> {
        let is_ordered = self.times[self.gone.min(self.times.len())..].is_sorted();
        let ordered;
        let values = match self.metric.takes {
            Takes::Ordered if !is_ordered => {
                ordered = self.in_order();
                &ordered
            }
            _ => &self.values[self.gone..],
        };
        let others = &self.others[self.gone.min(self.others.len())..];
        let figure = (self.metric.of)(values, others, &self.params).filter(|figure| figure.is_finite());
        Ok(ScalarValue::Float64(figure))
    }

    fn size(&self) -> usize {
        size_of_val(self) + 8 * (self.values.capacity() + self.others.capacity() + self.times.capacity())
    }
}
