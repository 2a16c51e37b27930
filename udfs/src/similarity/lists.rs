//! The kernels as SQL functions of lists: `dtw`, `shape_dtw`, `lb_keogh`, `pearson`, `znorm`, `paa`, `slope`.

use super::SIMILARITY;
use super::band::Band;
use super::descriptor::{Descriptor, paa, shape_dtw, slope};
use super::dtw::dtw;
use super::envelope::lb_keogh;
use super::pearson::pearson;
use super::znorm::znorm;
use crate::described::Described;
use crate::list::list_of;
use arrow::array::{Array, ArrayRef, AsArray, Float64Array, Float64Builder, ListArray, ListBuilder};
use arrow::datatypes::{DataType, Float64Type, Int64Type};
use datafusion_common::{Result, exec_err, internal_datafusion_err, plan_err};
use datafusion_expr::{ColumnarValue, Documentation, ScalarFunctionArgs, ScalarUDFImpl, Signature};
use std::sync::Arc;

/// Which of the functions.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
enum ListKind {
    Dtw,
    ShapeDtw,
    LbKeogh,
    Pearson,
    Znorm,
    Paa,
    Slope,
}

use ListKind::{Dtw, LbKeogh, Paa, Pearson, ShapeDtw, Slope, Znorm};

/// The type of an argument.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum ArgumentKind {
    List,
    Number,
    Whole,
    Text,
}

/// Points around each that `shape_dtw` describes.
const DESCRIBED: usize = 5;

/// Points around each that `slope` draws its line through.
const DEFAULT_POINTS: i64 = 5;

type Argument = (&'static str, ArgumentKind, &'static str);

const A: Argument = ("a", ArgumentKind::List, "a list of numbers");
const B: Argument = ("b", ArgumentKind::List, "the list that it is compared with");
const X: Argument = ("x", ArgumentKind::List, "a list of numbers");
const BAND: Argument = (
    "band",
    ArgumentKind::Number,
    "share of the longer list that a path may stray from the diagonal, from 0 to 1, rounded up; without it or a window there \
     is no limit",
);
const WINDOW: Argument =
    ("window", ArgumentKind::Whole, "the same in points, instead of a band; 1 is the diagonal alone");

impl ListKind {
    fn name(self) -> &'static str {
        match self {
            Dtw => "dtw",
            ShapeDtw => "shape_dtw",
            LbKeogh => "lb_keogh",
            Pearson => "pearson",
            Znorm => "znorm",
            Paa => "paa",
            Slope => "slope",
        }
    }

    /// Arguments, and how many of them are required.
    fn arguments(self) -> (&'static [Argument], usize) {
        match self {
            Dtw | LbKeogh => (&[A, B, BAND, WINDOW], 2),
            ShapeDtw => (
                &[A, B, BAND, ("descriptor", ArgumentKind::Text, "'raw', 'slope' or 'paa'; 'raw' if it is left out")],
                2,
            ),
            Pearson => (&[A, ("b", ArgumentKind::List, "a list as long as the first")], 2),
            Znorm => (&[X], 1),
            Paa => (&[X, ("pieces", ArgumentKind::Whole, "how many parts")], 2),
            Slope => (&[X, ("points", ArgumentKind::Whole, "an odd number, by default five")], 1),
        }
    }

    fn usage(self) -> String {
        let names: Vec<_> = self.arguments().0.iter().map(|(name, ..)| *name).collect();
        format!("{}({})", self.name(), names.join(", "))
    }

    /// What it gives, and where the definition comes from.
    fn doc(self) -> (&'static str, &'static str) {
        match self {
            Dtw => (
                "Dynamic time warping distance of two lists: root of the smallest sum of squared differences along a warping \
                 path. The lists are compared as they are: see znorm",
                "Sakoe and Chiba, IEEE TASSP 26 (1978)",
            ),
            ShapeDtw => (
                "Shape-DTW distance of two lists: along the path that is cheapest between descriptors of the five points \
                 around each point",
                "Zhao and Itti, Pattern Recognition 74 (2018)",
            ),
            LbKeogh => (
                "LB_Keogh of two lists: what the first lies outside of the envelope of the second, which no DTW distance \
                 with the same band is below",
                "Keogh and Ratanamahatana, KAIS 7 (2005)",
            ),
            Pearson => {
                ("Pearson correlation of two lists of equal length, from -1 to 1; null also where one is flat", "")
            }
            Znorm => ("A list with mean 0 and population standard deviation 1; zeros for a flat one", ""),
            Paa => (
                "Piecewise aggregate approximation: the means of so many parts of equal length, as a list",
                "Keogh, Chakrabarti, Pazzani and Mehrotra, KAIS 3 (2001)",
            ),
            Slope => (
                "Slope of the least-squares line through the points around each point, as a list; at the ends through as many \
                 as there are",
                "Zhao and Itti, Pattern Recognition 74 (2018)",
            ),
        }
    }

    /// A call over aggregated candles.
    fn example(self) -> String {
        let call = match self {
            Dtw => "dtw(znorm(tail(close, ts, 60)), znorm(tail(open, ts, 60)), 0.1)",
            ShapeDtw => "shape_dtw(znorm(tail(close, ts, 60)), znorm(tail(open, ts, 60)), 0.1, 'slope')",
            LbKeogh => "lb_keogh(znorm(tail(close, ts, 60)), znorm(tail(open, ts, 60)), 0.1)",
            Pearson => "pearson(tail(close, ts, 60), tail(volume, ts, 60))",
            Znorm => "znorm(tail(close, ts, 60))",
            Paa => "paa(tail(close, ts, 60), 6)",
            Slope => "slope(tail(close, ts, 60), 5)",
        };
        format!("SELECT symbol, {call} AS {} FROM candles GROUP BY symbol", self.name())
    }

    fn makes_list(self) -> bool {
        matches!(self, Znorm | Paa | Slope)
    }
}

/// A function of lists of numbers. A list that is null, or has a value that is null or not finite, has no result: null.
#[derive(Debug, PartialEq, Eq, Hash)]
pub(super) struct ListFunction {
    kind: ListKind,
    signature: Signature,
    documentation: Documentation,
}

/// `list<float64>`
pub(super) fn numbers() -> DataType {
    list_of(DataType::Float64)
}

/// Whether a type is a list of numbers.
pub(super) fn is_numbers(data_type: &DataType) -> bool {
    match data_type {
        DataType::List(item) | DataType::LargeList(item) | DataType::FixedSizeList(item, _) => {
            item.data_type().is_numeric() || item.data_type().is_null()
        }
        other => other.is_null(),
    }
}

impl ListFunction {
    /// All of them.
    pub fn all() -> impl Iterator<Item = ListFunction> {
        [Dtw, ShapeDtw, LbKeogh, Pearson, Znorm, Paa, Slope].into_iter().map(ListFunction::new)
    }

    fn new(kind: ListKind) -> Self {
        let (doc, source) = kind.doc();
        let arguments: Vec<_> = kind.arguments().0.iter().map(|(name, _, meaning)| (*name, *meaning)).collect();
        let described = Described {
            group: SIMILARITY,
            usage: &kind.usage(),
            doc,
            nulls: "Null where a list is null, or has a value that is null or not finite",
            source,
            arguments: &arguments,
            example: &kind.example(),
        };
        Self { kind, signature: described.signature(), documentation: described.documentation() }
    }
}

impl ScalarUDFImpl for ListFunction {
    fn name(&self) -> &str {
        self.kind.name()
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn coerce_types(&self, given: &[DataType]) -> Result<Vec<DataType>> {
        let (arguments, required) = self.kind.arguments();
        if !(required..=arguments.len()).contains(&given.len()) {
            let expected = if required == arguments.len() {
                required.to_string()
            } else {
                format!("{required} to {}", arguments.len())
            };
            return plan_err!("{} takes {expected} arguments, not {}: {}", self.name(), given.len(), self.kind.usage());
        }
        let coerced = arguments.iter().zip(given).map(|((name, kind, _), given)| {
            let (fits, requested, words) = match kind {
                ArgumentKind::List => (is_numbers(given), numbers(), "a list of numbers"),
                ArgumentKind::Number => (given.is_numeric() || given.is_null(), DataType::Float64, "a number"),
                ArgumentKind::Whole => (given.is_integer() || given.is_null(), DataType::Int64, "a whole number"),
                ArgumentKind::Text => (given.is_string() || given.is_null(), DataType::Utf8, "a text"),
            };
            match fits {
                true => Ok(requested),
                false => plan_err!("`{name}` of {} is {given}, expected {words}: {}", self.name(), self.kind.usage()),
            }
        });
        coerced.collect()
    }

    fn return_type(&self, _: &[DataType]) -> Result<DataType> {
        Ok(if self.kind.makes_list() { numbers() } else { DataType::Float64 })
    }

    fn invoke_with_args(&self, args: ScalarFunctionArgs) -> Result<ColumnarValue> {
        let rows = args.number_rows;
        // A literal stays one value: a reference is not copied for every row.
        let literal = args.args.iter().all(|a| matches!(a, ColumnarValue::Scalar(_)));
        let arrays = args
            .args
            .iter()
            .map(|a| match a {
                ColumnarValue::Array(array) => Ok((Arc::clone(array), false)),
                ColumnarValue::Scalar(value) => Ok((value.to_array()?, true)),
            })
            .collect::<Result<Vec<_>>>()?;
        let arrays = Arguments { arrays };
        let rows = if literal { 1 } else { rows };
        let result: ArrayRef = match self.kind.makes_list() {
            true => {
                let mut lists = ListBuilder::new(Float64Builder::new());
                for row in 0..rows {
                    match self.list(&arrays, row)? {
                        Some(list) => {
                            lists.values().append_slice(&list);
                            lists.append(true);
                        }
                        None => lists.append(false),
                    }
                }
                Arc::new(lists.finish())
            }
            false => {
                let values = (0..rows).map(|row| self.value(&arrays, row));
                Arc::new(values.collect::<Result<Float64Array>>()?)
            }
        };
        match literal {
            true => Ok(ColumnarValue::Scalar(datafusion_common::ScalarValue::try_from_array(&result, 0)?)),
            false => Ok(ColumnarValue::Array(result)),
        }
    }

    fn documentation(&self) -> Option<&Documentation> {
        Some(&self.documentation)
    }
}

impl ListFunction {
    fn list(&self, arguments: &Arguments, row: usize) -> Result<Option<Vec<f64>>> {
        let Some(x) = arguments.list(0, row)? else { return Ok(None) };
        let positive = |at: usize, default: i64| match arguments.whole(at, row)?.unwrap_or(default) {
            value @ 1..=100_000 => Ok(value as usize),
            value => {
                let name = self.kind.arguments().0[at].0;
                exec_err!("`{name}` of {} is {value}, expected a whole number from 1 to 100000", self.name())
            }
        };
        let made = match self.kind {
            Paa => paa(&x, positive(1, 0)?),
            Slope => match positive(1, DEFAULT_POINTS)? {
                points if points % 2 == 1 => slope(&x, points),
                points => return exec_err!("`points` of slope is {points}, expected an odd number"),
            },
            _ => znorm(&x),
        };
        // What is too large to be computed has no result.
        Ok(Some(made).filter(|list| list.iter().all(|x| x.is_finite())))
    }

    fn value(&self, arguments: &Arguments, row: usize) -> Result<Option<f64>> {
        let (Some(a), Some(b)) = (arguments.list(0, row)?, arguments.list(1, row)?) else { return Ok(None) };
        let result = match self.kind {
            Pearson => pearson(&a, &b),
            ShapeDtw => {
                let band = self.band(arguments, row, a.len(), b.len())?;
                let name = arguments.text(3, row)?.unwrap_or_else(|| "raw".to_string());
                let Some(descriptor) = Descriptor::parse(&name) else {
                    return exec_err!("`descriptor` of shape_dtw is '{name}', expected 'raw', 'slope' or 'paa'");
                };
                Some(shape_dtw(&a, &b, band, descriptor, DESCRIBED))
            }
            LbKeogh => Some(lb_keogh(&a, &b, self.band(arguments, row, a.len(), b.len())?)),
            _ => Some(dtw(&a, &b, self.band(arguments, row, a.len(), b.len())?)),
        };
        Ok(result.filter(|r| r.is_finite()))
    }

    fn band(&self, arguments: &Arguments, row: usize, n: usize, m: usize) -> Result<Band> {
        let name = self.name();
        let window = if self.kind == ShapeDtw { None } else { arguments.whole(3, row)? };
        match (arguments.number(2, row)?, window) {
            (None, None) => Ok(Band::open(n, m)),
            (None, Some(points)) if points >= 1 => Ok(Band::window(n, m, (points as usize).min(n.max(m)))),
            (None, Some(points)) => exec_err!("`window` of {name} is {points}, expected a number of points from 1 up"),
            (Some(band), None) if (0.0..=1.0).contains(&band) => Ok(Band::fraction(n, m, band)),
            (Some(band), None) => {
                exec_err!("`band` of {name} is {band}, expected a share from 0 to 1 (for points: window => {band})")
            }
            (Some(_), Some(_)) => exec_err!("{name} has both a band and a window, expected one of them"),
        }
    }
}

/// Arguments by position; a literal has one row.
struct Arguments {
    arrays: Vec<(ArrayRef, bool)>,
}

impl Arguments {
    fn at(&self, argument: usize, row: usize) -> Option<(&ArrayRef, usize)> {
        let (array, literal) = self.arrays.get(argument)?;
        let row = if *literal { 0 } else { row };
        array.is_valid(row).then_some((array, row))
    }

    fn list(&self, argument: usize, row: usize) -> Result<Option<Vec<f64>>> {
        let Some((array, row)) = self.at(argument, row) else { return Ok(None) };
        let lists: &ListArray = array.as_list_opt().ok_or_else(not_coerced)?;
        Ok(values(lists, row)?.filter(|v| v.iter().all(|x| x.is_finite())))
    }

    fn number(&self, argument: usize, row: usize) -> Result<Option<f64>> {
        let Some((array, row)) = self.at(argument, row) else { return Ok(None) };
        Ok(Some(array.as_primitive_opt::<Float64Type>().ok_or_else(not_coerced)?.value(row)))
    }

    fn whole(&self, argument: usize, row: usize) -> Result<Option<i64>> {
        let Some((array, row)) = self.at(argument, row) else { return Ok(None) };
        Ok(Some(array.as_primitive_opt::<Int64Type>().ok_or_else(not_coerced)?.value(row)))
    }

    fn text(&self, argument: usize, row: usize) -> Result<Option<String>> {
        let Some((array, row)) = self.at(argument, row) else { return Ok(None) };
        Ok(Some(array.as_string_opt::<i32>().ok_or_else(not_coerced)?.value(row).to_string()))
    }
}

fn not_coerced() -> datafusion_common::DataFusionError {
    internal_datafusion_err!("arguments were not coerced")
}

/// The numbers of a list; `None` if one of them is null.
pub(super) fn values(lists: &ListArray, row: usize) -> Result<Option<Vec<f64>>> {
    let items = lists.value(row);
    let items = items.as_primitive_opt::<Float64Type>().ok_or_else(not_coerced)?;
    Ok((items.null_count() == 0).then(|| items.values().to_vec()))
}
