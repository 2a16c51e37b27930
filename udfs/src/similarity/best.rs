//! `dtw_best(ts, close, reference, k, band)`: the windows of a group that are most like a reference.

use super::SIMILARITY;
use super::lists::{is_numbers, numbers, values};
use super::reference::{Channels, Reference};
use super::search::{Search, Windowing, Worker};
use crate::described::Described;
use crate::list::{list_of, list_value};
use crate::series::InputKind;
use arrow::array::{Array, ArrayRef, AsArray, Float64Array, Int64Array, StructArray, TimestampMicrosecondArray};
use arrow::compute::cast;
use arrow::datatypes::{DataType, Field, FieldRef, Fields, Float64Type, Int64Type};
use datafusion_common::{Result, ScalarValue, internal_datafusion_err, plan_datafusion_err, plan_err};
use datafusion_expr::function::{AccumulatorArgs, StateFieldsArgs};
use datafusion_expr::{Accumulator, AggregateUDFImpl, Documentation, Signature};
use datafusion_physical_expr::expressions::Literal;
use std::sync::Arc;

/// The `k` windows of a group, as long as the reference and without a bar in common, whose z-normalised values are
/// nearest to it under a band: a list of struct{start_ts, end_ts, distance}, nearest first. The distance is DTW over the
/// root of the reference's length.
#[derive(Debug, PartialEq, Eq, Hash)]
pub(super) struct DtwBest {
    signature: Signature,
    documentation: Documentation,
}

const USAGE: &str = "dtw_best(ts, close, [1, 3, 2, 4, ...], 5, 0.12)";

impl DtwBest {
    pub fn new() -> Self {
        let band = format!(
            "share of the length that a path may stray from the diagonal, from 0 to 1; {} if it is left out",
            Channels::PRICE.price_band
        );
        let described = Described {
            group: SIMILARITY,
            usage: "dtw_best(ts, x, reference, k, band)",
            doc: "The k windows of a group that are most like a reference by DTW of z-normalised values, without a bar in \
                  common: a list of struct{start_ts, end_ts, distance}, nearest first; the distance is DTW over the root of \
                  the reference's length. In tallow's SQL dtw_best(x, [1, 3, 2], k, band) goes by ts",
            nulls: "Rows whose time or value is null do not count; the list is empty where there are fewer than the reference has",
            source: "Rakthanmanon et al., KDD (2012); band of Sakoe and Chiba, IEEE TASSP 26 (1978)",
            arguments: &[
                ("ts", "times of the values; the rows may come in any order"),
                ("x", "numbers"),
                ("reference", "what to look for: a literal list of at least five numbers"),
                ("k", "how many windows: a literal, a whole number from 1 to 100000; 1 if it is left out"),
                ("band", &band),
            ],
            example: "SELECT symbol, dtw_best(ts, close, [1.0, 3.0, 2.0, 4.0, 3.0, 5.0], 3, 0.12) AS matches FROM candles \
                      GROUP BY symbol",
        };
        Self { signature: described.signature(), documentation: described.documentation() }
    }
}

fn item() -> Fields {
    let field = |name: &str, kind| Field::new(name, kind, true);
    vec![
        field("start_ts", InputKind::Time.data_type()),
        field("end_ts", InputKind::Time.data_type()),
        field("distance", DataType::Float64),
    ]
    .into()
}

impl AggregateUDFImpl for DtwBest {
    fn name(&self) -> &str {
        "dtw_best"
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn coerce_types(&self, given: &[DataType]) -> Result<Vec<DataType>> {
        let fits = match given {
            [ts, x, reference, rest @ ..] if rest.len() <= 2 => {
                matches!(ts, DataType::Timestamp(..) | DataType::Date32 | DataType::Date64)
                    && x.is_numeric()
                    && is_numbers(reference)
                    && rest.first().is_none_or(DataType::is_integer)
                    && rest.get(1).is_none_or(|b| b.is_numeric())
            }
            _ => false,
        };
        if !fits {
            return plan_err!("dtw_best takes times, numbers, a list of numbers, and literals k and band: {USAGE}");
        }
        let all = [InputKind::Time.data_type(), DataType::Float64, numbers(), DataType::Int64, DataType::Float64];
        Ok(all.into_iter().take(given.len()).collect())
    }

    fn return_type(&self, _: &[DataType]) -> Result<DataType> {
        Ok(list_of(DataType::Struct(item())))
    }

    fn state_fields(&self, args: StateFieldsArgs) -> Result<Vec<FieldRef>> {
        let field = |name: &str, item| Arc::new(Field::new(format!("{}[{name}]", args.name), list_of(item), true));
        Ok(vec![field("times", DataType::Int64), field("values", DataType::Float64)])
    }

    fn accumulator(&self, args: AccumulatorArgs) -> Result<Box<dyn Accumulator>> {
        let literal = |at: usize| args.exprs.get(at).and_then(|e| e.downcast_ref::<Literal>()).map(Literal::value);
        let reference = match literal(2) {
            Some(ScalarValue::List(list)) if list.len() == 1 && list.is_valid(0) => values(list, 0)?,
            Some(_) => None,
            None => return plan_err!("`reference` of dtw_best must be a literal: {USAGE}"),
        };
        let Some(reference) = reference else {
            return plan_err!("`reference` of dtw_best has no value, or a null among its values: {USAGE}");
        };
        let k = match (args.exprs.get(3), literal(3)) {
            (None, _) => 1,
            (_, Some(ScalarValue::Int64(Some(k @ 1..=100_000)))) => *k as usize,
            _ => return plan_err!("`k` of dtw_best: expected a literal from 1 to 100000: {USAGE}"),
        };
        let price_band = match (args.exprs.get(4), literal(4)) {
            (None, _) => Channels::PRICE.price_band,
            (_, Some(ScalarValue::Float64(Some(band)))) => *band,
            _ => return plan_err!("`band` of dtw_best: expected a literal from 0 to 1: {USAGE}"),
        };
        let channels = Channels { price_band, ..Channels::PRICE };
        let reference = Reference::new(&reference, 0, channels, &[1.0])
            .map_err(|reason| plan_datafusion_err!("dtw_best: {reason}: {USAGE}"))?;
        Ok(Box::new(Best { k, reference, bars: vec![] }))
    }

    fn documentation(&self) -> Option<&Documentation> {
        Some(&self.documentation)
    }
}

/// The bars of a group: a window may lie across the parts in which they come.
#[derive(Debug)]
struct Best {
    k: usize,
    reference: Reference,
    bars: Vec<(i64, f64)>,
}

fn wrong() -> datafusion_common::DataFusionError {
    internal_datafusion_err!("dtw_best: arguments were not coerced")
}

impl Accumulator for Best {
    fn update_batch(&mut self, arrays: &[ArrayRef]) -> Result<()> {
        let times = cast(&arrays[0], &DataType::Int64)?;
        let times = times.as_primitive_opt::<Int64Type>().ok_or_else(wrong)?;
        let numbers = arrays[1].as_primitive_opt::<Float64Type>().ok_or_else(wrong)?;
        let valid = |row: &usize| times.is_valid(*row) && numbers.is_valid(*row) && numbers.value(*row).is_finite();
        self.bars.extend((0..times.len()).filter(valid).map(|row| (times.value(row), numbers.value(row))));
        Ok(())
    }

    fn merge_batch(&mut self, states: &[ArrayRef]) -> Result<()> {
        let lists = |i: usize| states[i].as_list_opt::<i32>().ok_or_else(wrong);
        for (times, numbers) in lists(0)?.iter().zip(lists(1)?.iter()) {
            let (Some(times), Some(numbers)) = (times, numbers) else { continue };
            let (times, numbers) = (times.as_primitive::<Int64Type>(), numbers.as_primitive::<Float64Type>());
            self.bars.extend(times.values().iter().copied().zip(numbers.values().iter().copied()));
        }
        Ok(())
    }

    fn state(&mut self) -> Result<Vec<ScalarValue>> {
        let (times, values): (Vec<i64>, Vec<f64>) = std::mem::take(&mut self.bars).into_iter().unzip();
        Ok(vec![list_value(Arc::new(Int64Array::from(times))), list_value(Arc::new(Float64Array::from(values)))])
    }

    fn evaluate(&mut self) -> Result<ScalarValue> {
        let mut bars = std::mem::take(&mut self.bars);
        bars.sort_by_key(|bar| bar.0);
        let (times, values): (Vec<i64>, Vec<f64>) = bars.into_iter().unzip();
        let search = Search::new(self.reference.clone(), Windowing::History, self.k, None);
        Worker::default().symbol(&search, "", &times, &values);
        let found = search.best();
        let time = |of: fn(&super::search::Match) -> i64| -> ArrayRef {
            Arc::new(TimestampMicrosecondArray::from_iter_values(found.iter().map(of)).with_timezone("UTC"))
        };
        let distance = Float64Array::from_iter_values(found.iter().map(|m| m.distance.combined));
        let columns = vec![time(|m| m.start_ts), time(|m| m.end_ts), Arc::new(distance) as ArrayRef];
        Ok(list_value(Arc::new(StructArray::try_new(item(), columns, None)?)))
    }

    fn size(&self) -> usize {
        size_of_val(self) + self.bars.capacity() * 16
    }
}
