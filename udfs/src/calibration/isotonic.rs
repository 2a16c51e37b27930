//! `isotonic_fit(x, y)` and `isotonic(fit, x)`.

use super::CALIBRATION;
use super::scores::{ARGUMENTS, coerced, pairs};
use crate::described::Described;
use crate::list::{list_of, list_value};
use arrow::array::{Array, ArrayRef, AsArray, Float64Array, StructArray};
use arrow::datatypes::{DataType, Field, FieldRef, Fields, Float64Type};
use datafusion_common::{Result, ScalarValue, internal_datafusion_err, plan_err};
use datafusion_expr::function::{AccumulatorArgs, StateFieldsArgs};
use datafusion_expr::{
    Accumulator, AggregateUDFImpl, ColumnarValue, Documentation, ScalarFunctionArgs, ScalarUDFImpl, Signature,
};
use std::sync::Arc;

fn knot() -> Fields {
    ["x", "y"].map(|name| Field::new(name, DataType::Float64, true)).to_vec().into()
}

/// `list<struct{x, y}>`
fn fit_type() -> DataType {
    list_of(DataType::Struct(knot()))
}

fn list_of_points(points: &[(f64, f64)]) -> ScalarValue {
    let x: Float64Array = points.iter().map(|p| p.0).collect();
    let y: Float64Array = points.iter().map(|p| p.1).collect();
    list_value(Arc::new(StructArray::new(knot(), vec![Arc::new(x), Arc::new(y)], None)))
}

fn points_of(list: &ArrayRef) -> Result<Vec<(f64, f64)>> {
    let wrong = || internal_datafusion_err!("a fit is a list of struct{{x, y}}");
    let items = list.as_struct_opt().ok_or_else(wrong)?;
    let [x, y] = [0, 1].map(|i| items.column(i).as_primitive_opt::<Float64Type>());
    let (x, y) = x.zip(y).ok_or_else(wrong)?;
    Ok(x.iter().zip(y.iter()).filter_map(|(x, y)| x.zip(y)).collect())
}

/// `isotonic_fit(x, y)`: the non-decreasing step function nearest to y in least squares.
///
/// Pool-adjacent-violators (Barlow et al. 1972). The result is the ends of its steps, a list of struct{x, y} by x, between which
/// [`Isotonic`] draws lines, as scikit-learn does; of equal x the mean of y counts. Null without a row.
#[derive(Debug, PartialEq, Eq, Hash)]
pub(super) struct IsotonicFit {
    signature: Signature,
    documentation: Documentation,
}

impl IsotonicFit {
    pub fn new() -> Self {
        let described = Described {
            group: CALIBRATION,
            usage: "isotonic_fit(probability, outcome)",
            doc: "Isotonic regression: the non-decreasing function nearest to the outcomes, as a list of struct{x, y} for \
                  isotonic(fit, x)",
            nulls: "Rows with a null or NaN do not count; null without any",
            source: "pool-adjacent-violators, Barlow et al. (1972); knots as in scikit-learn",
            arguments: &ARGUMENTS,
            example: "SELECT isotonic_fit(confidence, won) FROM \
                      (VALUES (0.9, true), (0.8, false), (0.3, false)) AS t(confidence, won)",
        };
        Self { signature: described.signature(), documentation: described.documentation() }
    }
}

impl AggregateUDFImpl for IsotonicFit {
    fn name(&self) -> &str {
        "isotonic_fit"
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn coerce_types(&self, arg_types: &[DataType]) -> Result<Vec<DataType>> {
        coerced(self.name(), arg_types)
    }

    fn return_type(&self, _: &[DataType]) -> Result<DataType> {
        Ok(fit_type())
    }

    fn state_fields(&self, args: StateFieldsArgs) -> Result<Vec<FieldRef>> {
        Ok(vec![Arc::new(Field::new(format!("{}[points]", args.name), fit_type(), true))])
    }

    fn accumulator(&self, _: AccumulatorArgs) -> Result<Box<dyn Accumulator>> {
        Ok(Box::new(Points(vec![])))
    }

    fn documentation(&self) -> Option<&Documentation> {
        Some(&self.documentation)
    }
}

#[derive(Debug)]
struct Points(Vec<(f64, f64)>);

impl Accumulator for Points {
    fn update_batch(&mut self, values: &[ArrayRef]) -> Result<()> {
        self.0.extend(pairs(values)?);
        Ok(())
    }

    fn merge_batch(&mut self, states: &[ArrayRef]) -> Result<()> {
        let lists = states.first().and_then(|s| s.as_list_opt::<i32>());
        let lists = lists.ok_or_else(|| internal_datafusion_err!("the state of a fit is a list"))?;
        for list in lists.iter().flatten() {
            self.0.extend(points_of(&list)?);
        }
        Ok(())
    }

    fn state(&mut self) -> Result<Vec<ScalarValue>> {
        Ok(vec![list_of_points(&self.0)])
    }

    fn evaluate(&mut self) -> Result<ScalarValue> {
        if self.0.is_empty() {
            return ScalarValue::try_from(&fit_type());
        }
        Ok(list_of_points(&fit(&mut self.0)))
    }

    fn size(&self) -> usize {
        size_of_val(self) + self.0.capacity() * size_of::<(f64, f64)>()
    }
}

/// The ends of the steps of the nearest non-decreasing function.
fn fit(points: &mut [(f64, f64)]) -> Vec<(f64, f64)> {
    // By y too, so that the sums do not depend on the order of the rows.
    points.sort_by(|a, b| a.0.total_cmp(&b.0).then(a.1.total_cmp(&b.1)));
    /// From and to these x: sum of y, and rows.
    struct Block {
        from: f64,
        to: f64,
        sum: f64,
        rows: f64,
    }
    let mut blocks: Vec<Block> = vec![];
    for &(x, y) in points.iter() {
        match blocks.last_mut() {
            Some(last) if last.from == x && last.to == x => {
                last.sum += y;
                last.rows += 1.0;
            }
            _ => {
                pool(
                    &mut blocks,
                    |b: &Block| (b.sum, b.rows),
                    |a, b| Block { from: a.from, to: b.to, sum: a.sum + b.sum, rows: a.rows + b.rows },
                );
                blocks.push(Block { from: x, to: x, sum: y, rows: 1.0 });
            }
        }
    }
    pool(
        &mut blocks,
        |b: &Block| (b.sum, b.rows),
        |a, b| Block { from: a.from, to: b.to, sum: a.sum + b.sum, rows: a.rows + b.rows },
    );
    let mut knots = vec![];
    for block in blocks {
        let mean = block.sum / block.rows;
        knots.push((block.from, mean));
        if block.to > block.from {
            knots.push((block.to, mean));
        }
    }
    knots
}

/// Joins the last blocks until their means do not fall.
fn pool<B>(blocks: &mut Vec<B>, mean: impl Fn(&B) -> (f64, f64), join: impl Fn(B, B) -> B) {
    while let [.., a, b] = blocks.as_slice() {
        let ((sum_a, rows_a), (sum_b, rows_b)) = (mean(a), mean(b));
        if sum_a / rows_a <= sum_b / rows_b {
            return;
        }
        if let (Some(b), Some(a)) = (blocks.pop(), blocks.pop()) {
            blocks.push(join(a, b));
        }
    }
}

/// `isotonic(fit, x)`: the value of a fit, on lines between its knots, and that of the nearest end beyond them.
#[derive(Debug, PartialEq, Eq, Hash)]
pub(super) struct Isotonic {
    signature: Signature,
    documentation: Documentation,
}

impl Isotonic {
    pub fn new() -> Self {
        let described = Described {
            group: CALIBRATION,
            usage: "isotonic(fit, x)",
            doc: "The value of a fit of isotonic_fit at x: on lines between its knots, that of the nearest end beyond them",
            nulls: "Null where the fit or x is null, or x is not finite",
            source: "",
            arguments: &[("fit", "the result of isotonic_fit"), ("x", "where to read it, as a rule a probability")],
            example: "SELECT isotonic(isotonic_fit(confidence, won), 0.7) FROM \
                      (VALUES (0.9, true), (0.8, false), (0.3, false)) AS t(confidence, won)",
        };
        Self { signature: described.signature(), documentation: described.documentation() }
    }
}

impl ScalarUDFImpl for Isotonic {
    fn name(&self) -> &str {
        "isotonic"
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn coerce_types(&self, arg_types: &[DataType]) -> Result<Vec<DataType>> {
        match arg_types {
            [DataType::List(_) | DataType::LargeList(_) | DataType::Null, x] if x.is_numeric() || x.is_null() => {
                Ok(vec![fit_type(), DataType::Float64])
            }
            _ => plan_err!("isotonic takes a fit and a number: isotonic(isotonic_fit(confidence, won), confidence)"),
        }
    }

    fn return_type(&self, _: &[DataType]) -> Result<DataType> {
        Ok(DataType::Float64)
    }

    fn invoke_with_args(&self, args: ScalarFunctionArgs) -> Result<ColumnarValue> {
        let arrays = ColumnarValue::values_to_arrays(&args.args)?;
        let wrong = || internal_datafusion_err!("isotonic: arguments were not coerced");
        let lists = arrays[0].as_list_opt::<i32>().ok_or_else(wrong)?;
        let x = arrays[1].as_primitive_opt::<Float64Type>().ok_or_else(wrong)?;
        let mut values = Vec::with_capacity(x.len());
        for row in 0..x.len() {
            let known = lists.is_valid(row) && x.is_valid(row) && x.value(row).is_finite();
            values.push(if known { at(&points_of(&lists.value(row))?, x.value(row)) } else { None });
        }
        Ok(ColumnarValue::Array(Arc::new(Float64Array::from(values))))
    }

    fn documentation(&self) -> Option<&Documentation> {
        Some(&self.documentation)
    }
}

fn at(knots: &[(f64, f64)], x: f64) -> Option<f64> {
    let after = knots.partition_point(|k| k.0 <= x);
    match (after.checked_sub(1).map(|i| knots[i]), knots.get(after)) {
        (None, None) => None,
        (None, Some(first)) => Some(first.1),
        (Some(last), None) => Some(last.1),
        (Some(a), Some(b)) => Some(a.1 + (b.1 - a.1) * (x - a.0) / (b.0 - a.0)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn violators_are_pooled() {
        // 1 and 0 are pooled to 0.5, as are 0.9, 0.2 and 0.4.
        let mut points = vec![(1.0, 0.0), (2.0, 1.0), (3.0, 0.0), (4.0, 0.9), (5.0, 0.8), (6.0, 1.0)];
        let knots = fit(&mut points);
        let want = [(1.0, 0.0), (2.0, 0.5), (3.0, 0.5), (4.0, 0.85), (5.0, 0.85), (6.0, 1.0)];
        assert_eq!(knots.len(), want.len());
        assert!(knots.iter().zip(want).all(|(k, w)| k.0 == w.0 && (k.1 - w.1).abs() < 1e-12), "{knots:?}");
        assert_eq!(at(&knots, 0.0), Some(0.0));
        assert_eq!(at(&knots, 2.5), Some(0.5));
        assert!((at(&knots, 3.5).unwrap() - 0.675).abs() < 1e-12);
        assert_eq!(at(&knots, 9.0), Some(1.0));
        assert_eq!(at(&[], 1.0), None);
    }

    /// Values of scikit-learn 1.9.1 `IsotonicRegression(out_of_bounds="clip")` on the same points.
    #[test]
    fn ties_count_by_their_mean() {
        let mut points = vec![(0.2, 1.0), (0.2, 0.0), (0.4, 0.0), (0.4, 0.0), (0.7, 1.0), (0.7, 0.0), (0.9, 1.0)];
        let knots = fit(&mut points);
        assert_eq!(knots, [(0.2, 0.25), (0.4, 0.25), (0.7, 0.5), (0.9, 1.0)]);
        assert!((at(&knots, 0.55).unwrap() - 0.375).abs() < 1e-12);
    }
}
