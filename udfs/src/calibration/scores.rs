//! `brier(probability, outcome)` and `ece(probability, outcome)`.

use super::CALIBRATION;
use crate::described::Described;
use crate::list::{list_of, list_value};
use arrow::array::{ArrayRef, AsArray, Float64Array};
use arrow::datatypes::{DataType, Field, FieldRef, Float64Type};
use datafusion_common::{Result, ScalarValue, internal_datafusion_err, plan_err};
use datafusion_expr::function::{AccumulatorArgs, StateFieldsArgs};
use datafusion_expr::{Accumulator, AggregateUDFImpl, Documentation, Signature};
use std::sync::Arc;

/// Bins of the expected calibration error.
const BINS: usize = 10;

/// Which score.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
enum ScoreKind {
    /// Mean squared difference.
    Brier,
    /// Expected calibration error over ten bins of equal width.
    Ece,
}

/// A score of probabilities against outcomes, 0 at best. Rows with a null or NaN are passed over; without any, it is null.
#[derive(Debug, PartialEq, Eq, Hash)]
pub(super) struct Score {
    kind: ScoreKind,
    signature: Signature,
    documentation: Documentation,
}

/// What the functions of this family take.
pub(super) const ARGUMENTS: [(&str, &str); 2] =
    [("probability", "from 0 to 1"), ("outcome", "what came true: true or false, or 1 or 0")];

impl Score {
    pub fn brier() -> Self {
        let described = Described {
            group: CALIBRATION,
            usage: "brier(probability, outcome)",
            doc: "Brier score: mean of (probability - outcome)^2, where the outcome is true or false, or 1 or 0; 0 is best",
            nulls: "Rows with a null or NaN do not count; null without any",
            source: "Brier, Monthly Weather Review 78 (1950)",
            arguments: &ARGUMENTS,
            example: "SELECT brier(confidence, won) FROM (VALUES (0.9, true), (0.8, false), (0.3, false)) AS t(confidence, won)",
        };
        Self::new(ScoreKind::Brier, &described)
    }

    pub fn ece() -> Self {
        let described = Described {
            group: CALIBRATION,
            usage: "ece(probability, outcome)",
            doc: "Expected calibration error: over ten bins of probability, the mean distance between probability and share \
                  of outcomes, weighted by rows; 0 is best",
            nulls: "Rows with a null or NaN do not count; null without any",
            source: "Naeini, Cooper and Hauskrecht, AAAI (2015)",
            arguments: &ARGUMENTS,
            example: "SELECT ece(confidence, won) FROM (VALUES (0.9, true), (0.8, false), (0.3, false)) AS t(confidence, won)",
        };
        Self::new(ScoreKind::Ece, &described)
    }

    fn new(kind: ScoreKind, described: &Described<'_>) -> Self {
        Self { kind, signature: described.signature(), documentation: described.documentation() }
    }
}

/// Types of a probability and an outcome; `name` is for the message.
pub(super) fn coerced(name: &str, arg_types: &[DataType]) -> Result<Vec<DataType>> {
    let fits = |t: &DataType| t.is_numeric() || matches!(t, DataType::Boolean | DataType::Null);
    match arg_types {
        [probability, outcome] if fits(outcome) && fits(probability) && *probability != DataType::Boolean => {
            let outcome = if *outcome == DataType::Boolean { DataType::Boolean } else { DataType::Float64 };
            Ok(vec![DataType::Float64, outcome])
        }
        _ => plan_err!("{name} takes a probability and an outcome, true or false or 1 or 0: {name}(confidence, won)"),
    }
}

/// Pairs of finite numbers; a boolean counts 1 or 0.
pub(super) fn pairs(values: &[ArrayRef]) -> Result<Vec<(f64, f64)>> {
    let wrong = || internal_datafusion_err!("a score takes two columns");
    let [x, y] = values else { return Err(wrong()) };
    let x = x.as_primitive_opt::<Float64Type>().ok_or_else(wrong)?;
    let y = arrow::compute::cast(y, &DataType::Float64)?;
    let y = y.as_primitive_opt::<Float64Type>().ok_or_else(wrong)?;
    let both = x.iter().zip(y.iter()).filter_map(|(x, y)| x.zip(y));
    Ok(both.filter(|(x, y)| x.is_finite() && y.is_finite()).collect())
}

impl AggregateUDFImpl for Score {
    fn name(&self) -> &str {
        match self.kind {
            ScoreKind::Brier => "brier",
            ScoreKind::Ece => "ece",
        }
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn coerce_types(&self, arg_types: &[DataType]) -> Result<Vec<DataType>> {
        coerced(self.name(), arg_types)
    }

    fn return_type(&self, _: &[DataType]) -> Result<DataType> {
        Ok(DataType::Float64)
    }

    fn state_fields(&self, args: StateFieldsArgs) -> Result<Vec<FieldRef>> {
        Ok(vec![Arc::new(Field::new(format!("{}[bins]", args.name), list_of(DataType::Float64), true))])
    }

    fn accumulator(&self, _: AccumulatorArgs) -> Result<Box<dyn Accumulator>> {
        Ok(Box::new(Bins { kind: self.kind, sums: [[0.0; 4]; BINS] }))
    }

    fn documentation(&self) -> Option<&Documentation> {
        Some(&self.documentation)
    }
}

/// Of each bin: rows, sum of probabilities, sum of outcomes, sum of squared differences.
#[derive(Debug)]
struct Bins {
    kind: ScoreKind,
    sums: [[f64; 4]; BINS],
}

impl Bins {
    fn score(&self) -> Option<f64> {
        let rows: f64 = self.sums.iter().map(|b| b[0]).sum();
        let total = match self.kind {
            ScoreKind::Brier => self.sums.iter().map(|b| b[3]).sum::<f64>(),
            ScoreKind::Ece => self.sums.iter().map(|b| (b[2] - b[1]).abs()).sum(),
        };
        (rows > 0.0).then(|| total / rows)
    }
}

impl Accumulator for Bins {
    fn update_batch(&mut self, values: &[ArrayRef]) -> Result<()> {
        for (p, y) in pairs(values)? {
            let bin = &mut self.sums[((p * BINS as f64).floor().max(0.0) as usize).min(BINS - 1)];
            for (sum, more) in bin.iter_mut().zip([1.0, p, y, (p - y) * (p - y)]) {
                *sum += more;
            }
        }
        Ok(())
    }

    fn merge_batch(&mut self, states: &[ArrayRef]) -> Result<()> {
        let wrong = || internal_datafusion_err!("the state of a score is a list of sums");
        let lists = states.first().and_then(|s| s.as_list_opt::<i32>()).ok_or_else(wrong)?;
        for list in lists.iter().flatten() {
            let sums = list.as_primitive_opt::<Float64Type>().ok_or_else(wrong)?;
            for (sum, more) in self.sums.iter_mut().flatten().zip(sums.values()) {
                *sum += more;
            }
        }
        Ok(())
    }

    fn state(&mut self) -> Result<Vec<ScalarValue>> {
        let sums: Float64Array = self.sums.iter().flatten().copied().map(Some).collect();
        Ok(vec![list_value(Arc::new(sums))])
    }

    fn evaluate(&mut self) -> Result<ScalarValue> {
        Ok(ScalarValue::Float64(self.score()))
    }

    fn size(&self) -> usize {
        size_of_val(self)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use arrow::array::BooleanArray;

    fn score(kind: ScoreKind, p: &[f64], y: &[bool]) -> Option<f64> {
        let mut bins = Bins { kind, sums: [[0.0; 4]; BINS] };
        let columns: [ArrayRef; 2] =
            [Arc::new(Float64Array::from(p.to_vec())), Arc::new(BooleanArray::from(y.to_vec()))];
        bins.update_batch(&columns).unwrap();
        let mut merged = Bins { kind, sums: [[0.0; 4]; BINS] };
        let state = bins.state().unwrap().remove(0).to_array().unwrap();
        merged.merge_batch(&[state]).unwrap();
        merged.score()
    }

    #[test]
    fn scores_worked_by_hand() {
        let (p, y) = ([0.9, 0.8, 0.3, 0.25], [true, false, false, true]);
        // 0.01 + 0.64 + 0.09 + 0.5625, over 4.
        assert!((score(ScoreKind::Brier, &p, &y).unwrap() - 0.325_625).abs() < 1e-12);
        // Bins 9, 8, 3, 2: 0.1 + 0.8 + 0.3 + 0.75, over 4.
        assert!((score(ScoreKind::Ece, &p, &y).unwrap() - 0.4875).abs() < 1e-12);
        assert!(score(ScoreKind::Ece, &[1.0, 0.0], &[true, false]).unwrap() < 1e-12);
        assert_eq!(score(ScoreKind::Brier, &[], &[]), None);
    }
}
