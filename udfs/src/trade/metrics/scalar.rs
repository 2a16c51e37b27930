//! How likely a Sharpe ratio is luck, as scalar functions: `deflated_sharpe(..)` and others.

use super::luck;
use crate::described::Described;
use arrow::array::{Array, ArrayRef, AsArray, Float64Array};
use arrow::datatypes::{DataType, Float64Type};
use datafusion_common::{Result, internal_datafusion_err, plan_err};
use datafusion_expr::{ColumnarValue, Documentation, ScalarFunctionArgs, ScalarUDFImpl, Signature};
use std::hash::{Hash, Hasher};
use std::sync::Arc;

/// A function of numbers.
#[derive(Debug)]
struct Luck {
    name: &'static str,
    /// Name, default where it may be left out, and meaning.
    arguments: &'static [(&'static str, Option<f64>, &'static str)],
    of: fn(&[f64]) -> Option<f64>,
    doc: &'static str,
    source: &'static str,
}

type Argument = (&'static str, Option<f64>, &'static str);

const SHARPE: Argument = ("sharpe", None, "Sharpe ratio of one bar: that of a year over the root of the bars a year");
const BARS: Argument = ("bars", None, "returns that it was computed of");
const SKEWNESS: Argument = ("skewness", Some(0.0), "skewness of the returns");
const KURTOSIS: Argument = ("kurtosis", Some(3.0), "kurtosis of the returns, 3 where they are normal");
const BENCHMARK: Argument = ("benchmark", Some(0.0), "Sharpe ratio of one bar that is to be exceeded");
const TRIALS: Argument = ("trials", None, "variants that were tried");

static ALL: [Luck; 6] = [
    Luck {
        name: "probabilistic_sharpe",
        arguments: &[SHARPE, BARS, SKEWNESS, KURTOSIS, BENCHMARK],
        of: |x| luck::probabilistic_sharpe(x[0], x[1], x[2], x[3], x[4]),
        doc: "Probability that the true Sharpe ratio is above a benchmark",
        source: "D. Bailey and M. Lopez de Prado, The Sharpe Ratio Efficient Frontier (2012)",
    },
    Luck {
        name: "expected_max_sharpe",
        arguments: &[TRIALS, ("variance", None, "variance of the Sharpe ratios of the trials")],
        of: |x| luck::expected_max_sharpe(x[0], x[1]),
        doc: "The largest Sharpe ratio that so many trials without skill are expected to show",
        source: "D. Bailey and M. Lopez de Prado, The Deflated Sharpe Ratio (2014)",
    },
    Luck {
        name: "deflated_sharpe",
        arguments: &[
            SHARPE,
            BARS,
            TRIALS,
            ("variance", None, "variance of the Sharpe ratios of the trials"),
            SKEWNESS,
            KURTOSIS,
        ],
        of: |x| luck::deflated_sharpe(x[0], x[1], x[4], x[5], x[2], x[3]),
        doc: "Probability that the true Sharpe ratio is above what the best of so many trials would show by luck",
        source: "D. Bailey and M. Lopez de Prado, The Deflated Sharpe Ratio (2014)",
    },
    Luck {
        name: "min_track_record",
        arguments: &[SHARPE, SKEWNESS, KURTOSIS, BENCHMARK, ("confidence", Some(0.95), "probability to be reached")],
        of: |x| luck::min_track_record(x[0], x[1], x[2], x[3], x[4]),
        doc: "Returns that it takes until a Sharpe ratio is above a benchmark at a confidence",
        source: "D. Bailey and M. Lopez de Prado, The Sharpe Ratio Efficient Frontier (2012)",
    },
    Luck {
        name: "min_backtest_years",
        arguments: &[("sharpe", None, "Sharpe ratio of a year"), TRIALS],
        of: |x| luck::min_backtest_years(x[0], x[1]),
        doc: "Years of returns below which the best of so many trials without skill shows such a Sharpe ratio",
        source: "D. Bailey and others, Pseudo-Mathematics and Financial Charlatanism (2014)",
    },
    Luck {
        name: "effective_trials",
        arguments: &[TRIALS, ("correlation", None, "mean correlation of their returns")],
        of: |x| luck::effective_trials(x[0], x[1]),
        doc: "How many independent trials correlated ones are worth",
        source: "M. Lopez de Prado, A Data Science Solution to the Multiple-Testing Crisis (2019)",
    },
];

/// One of them. Null where an argument is null or out of its range.
#[derive(Debug)]
pub(super) struct LuckFunction {
    of: &'static Luck,
    signature: Signature,
    documentation: Documentation,
}

impl PartialEq for LuckFunction {
    fn eq(&self, other: &Self) -> bool {
        self.of.name == other.of.name
    }
}

impl Eq for LuckFunction {}

impl Hash for LuckFunction {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.of.name.hash(state);
    }
}

impl LuckFunction {
    pub fn all() -> impl Iterator<Item = LuckFunction> {
        ALL.iter().map(LuckFunction::new)
    }

    fn new(of: &'static Luck) -> LuckFunction {
        let names = of.arguments.iter().map(|(name, default, _)| match default {
            Some(default) => format!("{name} => {default}"),
            None => (*name).to_string(),
        });
        let usage = format!("{}({})", of.name, names.collect::<Vec<_>>().join(", "));
        let arguments: Vec<_> = of.arguments.iter().map(|(name, _, meaning)| (*name, *meaning)).collect();
        let values = of.arguments.iter().filter(|(_, default, _)| default.is_none()).map(|(name, ..)| match *name {
            "sharpe" => "0.1",
            "bars" => "1250",
            "trials" => "100",
            "variance" => "0.002",
            _ => "0.4",
        });
        let example = format!("SELECT {}({}) AS figure", of.name, values.collect::<Vec<_>>().join(", "));
        let described = Described {
            group: "Performance",
            usage: &usage,
            doc: of.doc,
            nulls: "Null where an argument is null or out of its range",
            source: of.source,
            arguments: &arguments,
            example: &example,
        };
        Self { of, signature: described.signature(), documentation: described.documentation() }
    }
}

impl ScalarUDFImpl for LuckFunction {
    fn name(&self) -> &str {
        self.of.name
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn coerce_types(&self, given: &[DataType]) -> Result<Vec<DataType>> {
        let needed = self.of.arguments.iter().filter(|(_, default, _)| default.is_none()).count();
        let fits = (needed..=self.of.arguments.len()).contains(&given.len());
        match fits && given.iter().all(|kind| kind.is_numeric() || kind.is_null()) {
            true => Ok(vec![DataType::Float64; given.len()]),
            false => {
                let names: Vec<_> = self.of.arguments.iter().map(|(name, ..)| *name).collect();
                plan_err!("{} takes numbers: {}", self.of.name, names.join(", "))
            }
        }
    }

    fn return_type(&self, _: &[DataType]) -> Result<DataType> {
        Ok(DataType::Float64)
    }

    fn invoke_with_args(&self, args: ScalarFunctionArgs) -> Result<ColumnarValue> {
        // What is left out before an argument that is given by name comes as NULL.
        let is_left_out = |at: usize| matches!(&args.args[at], ColumnarValue::Scalar(value) if value.is_null());
        let is_scalar = args.args.iter().all(|arg| matches!(arg, ColumnarValue::Scalar(_)));
        let rows = if is_scalar { 1 } else { args.number_rows };
        let columns = args.args.iter().map(|arg| arg.to_array(rows)).collect::<Result<Vec<_>>>()?;
        let wrong = || internal_datafusion_err!("{}: arguments were not coerced", self.of.name);
        let columns: Vec<&Float64Array> =
            columns.iter().map(|c| c.as_primitive_opt::<Float64Type>().ok_or_else(wrong)).collect::<Result<_>>()?;
        let mut x = vec![0.0; self.of.arguments.len()];
        let mut figure = |row: usize| {
            for (at, (_, default, _)) in self.of.arguments.iter().enumerate() {
                x[at] = match columns.get(at) {
                    Some(column) if column.is_valid(row) => column.value(row),
                    Some(_) if !is_left_out(at) => return None,
                    _ => (*default)?,
                };
            }
            (self.of.of)(&x).filter(|figure| figure.is_finite())
        };
        let figures: Float64Array = (0..rows).map(&mut figure).collect();
        let figures: ArrayRef = Arc::new(figures);
        match is_scalar {
            true => Ok(ColumnarValue::Scalar(datafusion_common::ScalarValue::try_from_array(&figures, 0)?)),
            false => Ok(ColumnarValue::Array(figures)),
        }
    }

    fn documentation(&self) -> Option<&Documentation> {
        Some(&self.documentation)
    }
}
