//! `volatility_target_size`, `kelly_size`, `atr_risk_size`, `fixed_fraction_size`, `guarded_size`: positions as a fraction of
//! the account.

use crate::described::Described;
use arrow::array::{Array, ArrayRef, AsArray, Float64Array};
use arrow::datatypes::{DataType, Float64Type};
use datafusion_common::{Result, internal_datafusion_err, plan_err};
use datafusion_expr::{ColumnarValue, Documentation, ScalarFunctionArgs, ScalarUDFImpl, Signature};
use std::sync::Arc;

/// The rule that a size follows.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
enum PositionSizeKind {
    /// As much as brings the position to a volatility.
    VolatilityTarget,
    /// Kelly's fraction of a bet, capped.
    Kelly,
    /// As much as risks a share of the account at a stop some average true ranges away.
    AtrRisk,
    /// A fixed fraction.
    FixedFraction,
    /// What limits leave of a size.
    Guarded,
}

use PositionSizeKind::{AtrRisk, FixedFraction, Guarded, Kelly, VolatilityTarget};

/// Name, default where it may be left out, and meaning.
type Argument = (&'static str, Option<f64>, &'static str);

const CAP: &str = "the largest fraction";
const RISK: &str = "share of the account that may be lost at the stop";

impl PositionSizeKind {
    fn name(self) -> &'static str {
        match self {
            VolatilityTarget => "volatility_target_size",
            Kelly => "kelly_size",
            AtrRisk => "atr_risk_size",
            FixedFraction => "fixed_fraction_size",
            Guarded => "guarded_size",
        }
    }

    fn arguments(self) -> &'static [Argument] {
        match self {
            VolatilityTarget => &[
                ("target", None, "volatility to reach, of a year, as a fraction"),
                ("volatility", None, "that of the instrument, of a year, as a fraction"),
                ("cap", Some(1.0), CAP),
            ],
            Kelly => &[
                ("p", None, "probability to win, from 0 to 1"),
                ("b", None, "gain over stake of a bet that is won"),
                ("cap", Some(0.25), CAP),
            ],
            AtrRisk => &[
                ("price", None, "price of the instrument"),
                ("atr", None, "its average true range, in price"),
                ("risk", Some(0.02), RISK),
                ("multiple", Some(2.0), "distance of the stop, in average true ranges"),
            ],
            FixedFraction => &[("fraction", None, "from 0 to 1")],
            Guarded => &[
                ("size", None, "fraction of the account; below 0 for a short position"),
                ("price", None, "price of the instrument"),
                ("stop", None, "price of the stop"),
                ("risk", Some(0.02), RISK),
                ("cap", Some(0.1), CAP),
            ],
        }
    }

    /// What it gives, and where the definition comes from.
    fn doc(self) -> (&'static str, &'static str) {
        match self {
            VolatilityTarget => (
                "Fraction of the account that brings a position to a volatility: target / volatility, both of a year, at most \
                 cap",
                "",
            ),
            Kelly => (
                "Kelly's fraction of the account for a bet won with probability p that pays b times the stake: \
                 (b p - (1 - p)) / b, from 0 to cap",
                "Kelly, Bell System Technical Journal 35 (1956)",
            ),
            AtrRisk => (
                "Fraction of the account that loses `risk` of it at a stop `multiple` average true ranges away: \
                 risk price / (multiple atr)",
                "",
            ),
            FixedFraction => ("A fixed fraction of the account, from 0 to 1", ""),
            Guarded => (
                "What limits leave of a size, as a fraction of the account: at most `risk` of it lost at the stop, at most \
                 `cap` of it in the position",
                "",
            ),
        }
    }

    fn example(self) -> &'static str {
        match self {
            VolatilityTarget => {
                "SELECT symbol, ts, volatility_target_size(0.15, (high - low) / close) AS size FROM candles"
            }
            Kelly => "SELECT kelly_size(p, 1.5) AS size FROM (VALUES (0.5), (0.6)) AS t(p)",
            AtrRisk => "SELECT symbol, ts, atr_risk_size(close, high - low) AS size FROM candles",
            FixedFraction => "SELECT symbol, ts, fixed_fraction_size(0.02) AS size FROM candles",
            Guarded => "SELECT symbol, ts, guarded_size(0.4, close, low) AS size FROM candles",
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
pub(super) struct PositionSize {
    kind: PositionSizeKind,
    signature: Signature,
    documentation: Documentation,
}

impl PositionSize {
    /// One for every rule.
    pub fn all() -> impl Iterator<Item = PositionSize> {
        [VolatilityTarget, Kelly, AtrRisk, FixedFraction, Guarded].into_iter().map(PositionSize::new)
    }

    fn new(kind: PositionSizeKind) -> Self {
        let argument = |(name, default, _): &Argument| match default {
            Some(value) => format!("{name} => {value}"),
            None => (*name).to_string(),
        };
        let shown: Vec<_> = kind.arguments().iter().map(argument).collect();
        let arguments: Vec<_> = kind.arguments().iter().map(|(name, _, meaning)| (*name, *meaning)).collect();
        let (doc, source) = kind.doc();
        let described = Described {
            group: "Position size",
            usage: &format!("{}({})", kind.name(), shown.join(", ")),
            doc,
            nulls: "Null where an argument is null, not finite or out of its range",
            source,
            arguments: &arguments,
            example: kind.example(),
        };
        Self { kind, signature: described.signature(), documentation: described.documentation() }
    }

    fn usage(&self) -> &str {
        &self.documentation.syntax_example
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
        let least = all.iter().filter(|(_, default, _)| default.is_none()).count();
        let numbers = arg_types.iter().all(|t| t.is_numeric() || t.is_null());
        if !numbers || !(least..=all.len()).contains(&arg_types.len()) {
            return plan_err!("{} takes {least} to {} numbers: {}", self.name(), all.len(), self.usage());
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
        let defaults: Vec<f64> = self.kind.arguments().iter().filter_map(|(_, default, _)| *default).collect();
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
