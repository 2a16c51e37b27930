//! `volatility_target_size`, `kelly_size`, `atr_risk_size`, `fixed_fraction_size`, `guarded_size`: positions as a fraction of
//! the account.

use arrow::array::{Array, ArrayRef, AsArray, Float64Array};
use arrow::datatypes::{DataType, Float64Type};
use datafusion_common::{Result, internal_datafusion_err, plan_err};
use datafusion_expr::{
    ColumnarValue, DocSection, Documentation, ScalarFunctionArgs, ScalarUDFImpl, Signature, Volatility,
};
use std::sync::Arc;

/// The rule that a size follows.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum PositionSizeKind {
    /// As much as brings the position to a volatility.
    VolatilityTarget,
    /// Kelly's (1956) fraction of a bet, capped.
    Kelly,
    /// As much as risks a share of the account at a stop some average true ranges away.
    AtrRisk,
    /// A fixed fraction.
    FixedFraction,
    /// What limits leave of a size.
    Guarded,
}

use PositionSizeKind::{AtrRisk, FixedFraction, Guarded, Kelly, VolatilityTarget};

impl PositionSizeKind {
    /// Every rule.
    pub const ALL: [PositionSizeKind; 5] = [VolatilityTarget, Kelly, AtrRisk, FixedFraction, Guarded];

    fn name(self) -> &'static str {
        match self {
            VolatilityTarget => "volatility_target_size",
            Kelly => "kelly_size",
            AtrRisk => "atr_risk_size",
            FixedFraction => "fixed_fraction_size",
            Guarded => "guarded_size",
        }
    }

    /// Arguments, and the defaults of those that may be left out.
    fn arguments(self) -> &'static [(&'static str, Option<f64>)] {
        match self {
            VolatilityTarget => &[("target", None), ("volatility", None), ("cap", Some(1.0))],
            Kelly => &[("p", None), ("b", None), ("cap", Some(0.25))],
            AtrRisk => &[("price", None), ("atr", None), ("risk", Some(0.02)), ("multiple", Some(2.0))],
            FixedFraction => &[("fraction", None)],
            Guarded => &[("size", None), ("price", None), ("stop", None), ("risk", Some(0.02)), ("cap", Some(0.1))],
        }
    }

    fn doc(self) -> &'static str {
        match self {
            VolatilityTarget => {
                "Fraction of the account that brings a position to a volatility: target / volatility, both of a year, at most cap"
            }
            Kelly => {
                "Kelly's fraction of the account for a bet won with probability p that pays b times the stake: (b p - (1 - p)) / b, \
                 from 0 to cap"
            }
            AtrRisk => {
                "Fraction of the account that loses `risk` of it at a stop `multiple` average true ranges away: \
                 risk price / (multiple atr)"
            }
            FixedFraction => "A fixed fraction of the account, from 0 to 1",
            Guarded => {
                "What limits leave of a size: at most `risk` of the account lost at the stop, at most `cap` of it in the position"
            }
        }
    }

    /// The size; `None` where the arguments mean none.
    fn size(self, x: &[f64]) -> Option<f64> {
        let size = match (self, x) {
            (VolatilityTarget, [target, volatility, cap]) if *volatility > 0.0 && *target >= 0.0 => {
                (target / volatility).min(*cap)
            }
            (Kelly, [p, b, cap]) if *b > 0.0 && (0.0..=1.0).contains(p) => ((b * p - (1.0 - p)) / b).min(*cap).max(0.0),
            (AtrRisk, [price, atr, risk, multiple]) if *atr > 0.0 && *multiple > 0.0 && *price > 0.0 => {
                risk * price / (multiple * atr)
            }
            (FixedFraction, [fraction]) if (0.0..=1.0).contains(fraction) => *fraction,
            (Guarded, [size, price, stop, risk, cap]) if *price > 0.0 => {
                let loss = (price - stop).abs() / price;
                let by_risk = if loss > 0.0 { risk / loss } else { f64::INFINITY };
                size.abs().min(*cap).min(by_risk).copysign(*size)
            }
            _ => return None,
        };
        Some(size).filter(|s| s.is_finite())
    }
}

/// A position size. Null where an argument is null, not finite or out of its range.
#[derive(Debug, PartialEq, Eq, Hash)]
pub struct PositionSize {
    kind: PositionSizeKind,
    usage: String,
    signature: Signature,
    documentation: Documentation,
}

impl PositionSize {
    /// The size by a rule.
    pub fn new(kind: PositionSizeKind) -> Self {
        let argument = |(name, default): &(&str, Option<f64>)| match default {
            Some(value) => format!("{name} => {value}"),
            None => (*name).to_string(),
        };
        let arguments: Vec<_> = kind.arguments().iter().map(argument).collect();
        let usage = format!("{}({})", kind.name(), arguments.join(", "));
        let section = DocSection { include: true, label: "Position size", description: None };
        let documentation = Documentation::builder(section, kind.doc(), usage.clone()).build();
        let signature = Signature::user_defined(Volatility::Immutable);
        let names = kind.arguments().iter().map(|(name, _)| *name).collect::<Vec<_>>();
        let signature = signature.clone().with_parameter_names(names).unwrap_or(signature);
        Self { kind, usage, signature, documentation }
    }
}

impl ScalarUDFImpl for PositionSize {
    fn name(&self) -> &str {
        self.kind.name()
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn coerce_types(&self, arg_types: &[DataType]) -> Result<Vec<DataType>> {
        let all = self.kind.arguments();
        let least = all.iter().filter(|(_, default)| default.is_none()).count();
        let numbers = arg_types.iter().all(|t| t.is_numeric() || t.is_null());
        if !numbers || !(least..=all.len()).contains(&arg_types.len()) {
            return plan_err!("{} takes {least} to {} numbers: {}", self.name(), all.len(), self.usage);
        }
        Ok(vec![DataType::Float64; arg_types.len()])
    }

    fn return_type(&self, _: &[DataType]) -> Result<DataType> {
        Ok(DataType::Float64)
    }

    fn invoke_with_args(&self, args: ScalarFunctionArgs) -> Result<ColumnarValue> {
        let arrays: Vec<ArrayRef> = ColumnarValue::values_to_arrays(&args.args)?;
        let wrong = || internal_datafusion_err!("{}: arguments were not coerced", self.name());
        let columns = arrays.iter().map(|a| a.as_primitive_opt::<Float64Type>().ok_or_else(wrong));
        let columns = columns.collect::<Result<Vec<_>>>()?;
        let defaults: Vec<f64> = self.kind.arguments().iter().filter_map(|(_, d)| *d).collect();
        let missing = self.kind.arguments().len() - columns.len();
        let rest = &defaults[defaults.len() - missing..];
        let rows = columns.first().map_or(args.number_rows, |c| c.len());
        let size = |row: usize| {
            let given = columns.iter().map(|c| c.is_valid(row).then(|| c.value(row)).filter(|v| v.is_finite()));
            let all: Option<Vec<f64>> = given.chain(rest.iter().copied().map(Some)).collect();
            self.kind.size(&all?)
        };
        Ok(ColumnarValue::Array(Arc::new((0..rows).map(size).collect::<Float64Array>())))
    }

    fn documentation(&self) -> Option<&Documentation> {
        Some(&self.documentation)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_worked_by_hand() {
        let size = |kind: PositionSizeKind, x: &[f64]| kind.size(x).map(|s| (s * 1e9).round() / 1e9);
        assert_eq!(size(VolatilityTarget, &[0.15, 0.30, 1.0]), Some(0.5));
        assert_eq!(size(VolatilityTarget, &[0.15, 0.0, 1.0]), None);
        // (1.5 * 0.5 - 0.5) / 1.5
        assert_eq!(size(Kelly, &[0.5, 1.5, 0.25]), Some(0.166_666_667));
        assert_eq!(size(Kelly, &[0.9, 2.0, 0.25]), Some(0.25));
        assert_eq!(size(Kelly, &[0.2, 1.0, 0.25]), Some(0.0));
        // 2 % of the account at 2 ATR of 2.5 below 100: 5 % of the price, so 40 % of the account.
        assert_eq!(size(AtrRisk, &[100.0, 2.5, 0.02, 2.0]), Some(0.4));
        assert_eq!(size(Guarded, &[0.4, 100.0, 95.0, 0.02, 0.1]), Some(0.1));
        assert_eq!(size(Guarded, &[0.4, 100.0, 50.0, 0.02, 0.1]), Some(0.04));
        assert_eq!(size(Guarded, &[-0.4, 100.0, 105.0, 0.02, 0.1]), Some(-0.1));
        assert_eq!(size(FixedFraction, &[1.5]), None);
    }
}
