//! `bar_floor`, `bar_end`, `is_aligned`, `in_session`.

use super::CANDLES;
use crate::calendar::{Grid, Origin, Timeframe};
use crate::described::Described;
use crate::series::InputKind;
use arrow::array::{Array, ArrayRef, AsArray, BooleanArray, TimestampMicrosecondArray};
use arrow::datatypes::{DataType, TimestampMicrosecondType};
use datafusion_common::{Result, ScalarValue, internal_datafusion_err, plan_err};
use datafusion_expr::sort_properties::{ExprProperties, SortProperties};
use datafusion_expr::{ColumnarValue, Documentation, ScalarFunctionArgs, ScalarUDFImpl, Signature};
use std::sync::Arc;

/// Which of the four functions.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
enum AlignmentKind {
    /// The opening time of the bar that contains an instant.
    Floor,
    /// The instant at which that bar ends.
    End,
    /// Whether the instant is the opening of a bar.
    Aligned,
    /// Whether an exchange trades during the bar.
    InSession,
}

use AlignmentKind::{Aligned, End, Floor, InSession};

/// `bar_floor(ts, timeframe [, origin])` and its siblings.
#[derive(Debug, PartialEq, Eq, Hash)]
pub(super) struct Alignment {
    kind: AlignmentKind,
    signature: Signature,
    documentation: Documentation,
}

/// What an origin may be, for documentation.
pub(super) const ORIGINS: &str = "where a day begins: utc, forex_utc1, ny_17 or session:HH:MM@Zone, with or without a calendar \
                                  such as +nyse; or session:nyse";

/// The farthest bar.
const MOST: i64 = 100_000;

const TS: (&str, &str) = ("ts", "timestamp or date; UTC is assumed where it has no zone");
const TIMEFRAME: (&str, &str) = ("timeframe", Timeframe::NAMES);
const ORIGIN: (&str, &str) = ("origin", ORIGINS);

impl Alignment {
    /// The four functions.
    pub fn all() -> impl Iterator<Item = Alignment> {
        [Floor, End, Aligned, InSession].into_iter().map(Alignment::new)
    }

    fn new(kind: AlignmentKind) -> Self {
        let (doc, example) = match kind {
            Floor => (
                "Opening time of the bar that contains ts",
                "SELECT symbol, bar_floor(ts, '1w') AS week, count(*) AS bars FROM candles GROUP BY 1, 2",
            ),
            End => (
                "Time at which the bar that contains ts ends: where the next one opens or, with a calendar, with the last session \
                 that it has a part of",
                "SELECT symbol, ts, bar_end(ts, '1d') AS known_at FROM candles",
            ),
            Aligned => (
                "Whether ts is the opening time of a bar",
                "SELECT symbol, ts FROM candles WHERE NOT is_aligned(ts, '1d')",
            ),
            InSession => (
                "Whether an exchange trades during the bar that contains ts; true where no calendar tells",
                "SELECT symbol, ts FROM candles WHERE NOT in_session(ts, '1d', 'utc+nyse')",
            ),
        };
        let (usage, arguments): (_, &[_]) = match kind {
            End => (
                "bar_end(ts, timeframe, origin => 'utc', n => 1)".to_string(),
                &[
                    TS,
                    TIMEFRAME,
                    ORIGIN,
                    (
                        "n",
                        "of so many bars, the one that contains ts included, the last; sessions only where there is a calendar",
                    ),
                ],
            ),
            _ => (format!("{}(ts, timeframe, origin => 'utc')", kind.name()), &[TS, TIMEFRAME, ORIGIN]),
        };
        let described = Described {
            group: CANDLES,
            usage: &usage,
            doc,
            nulls: "Null where ts is null",
            source: "",
            arguments,
            example,
        };
        Self { kind, signature: described.signature(), documentation: described.documentation() }
    }

    fn usage(&self) -> &str {
        &self.documentation.syntax_example
    }
}

impl AlignmentKind {
    fn name(self) -> &'static str {
        match self {
            Floor => "bar_floor",
            End => "bar_end",
            Aligned => "is_aligned",
            InSession => "in_session",
        }
    }
}

impl ScalarUDFImpl for Alignment {
    fn name(&self) -> &str {
        self.kind.name()
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn return_type(&self, _: &[DataType]) -> Result<DataType> {
        Ok(if matches!(self.kind, Aligned | InSession) { DataType::Boolean } else { InputKind::Time.data_type() })
    }

    fn coerce_types(&self, arg_types: &[DataType]) -> Result<Vec<DataType>> {
        let most = if self.kind == End { 4 } else { 3 };
        if !(2..=most).contains(&arg_types.len()) {
            let (name, count) = (self.name(), arg_types.len());
            return plan_err!("{name} takes 2 to {most} arguments, not {count}: {}", self.usage());
        }
        match &arg_types[0] {
            DataType::Timestamp(_, _) | DataType::Date32 | DataType::Date64 | DataType::Null => {}
            text if text.is_string() => {}
            other => {
                return plan_err!(
                    "argument `ts` of {} is {other}, expected a timestamp: {}",
                    self.name(),
                    self.usage()
                );
            }
        }
        let mut types = vec![InputKind::Time.data_type()];
        types.resize(arg_types.len().min(3), DataType::Utf8);
        types.resize(arg_types.len(), DataType::Int64);
        Ok(types)
    }

    fn invoke_with_args(&self, args: ScalarFunctionArgs) -> Result<ColumnarValue> {
        let text = |i: usize, name: &str| match &args.args[i] {
            ColumnarValue::Scalar(ScalarValue::Utf8(Some(text))) => Ok(text.clone()),
            _ => plan_err!("`{name}` of {} must be a text literal: {}", self.name(), self.usage()),
        };
        let timeframe = text(1, "timeframe")?.parse()?;
        // Where only `n` is named, the origin is null.
        let origin = match args.args.get(2) {
            None | Some(ColumnarValue::Scalar(ScalarValue::Utf8(None))) => Origin::UTC,
            Some(_) => text(2, "origin")?.parse()?,
        };
        let grid = Grid::new(timeframe, origin);
        let nth = match args.args.get(3) {
            None => 1,
            Some(ColumnarValue::Scalar(ScalarValue::Int64(Some(n)))) if (1..=MOST).contains(n) => *n,
            _ => return plan_err!("`n` of {} must be a number from 1 to {MOST}: {}", self.name(), self.usage()),
        };
        let one = matches!(args.args[0], ColumnarValue::Scalar(_));
        let array = args.args[0].to_array(if one { 1 } else { args.number_rows })?;
        let ts = array
            .as_primitive_opt::<TimestampMicrosecondType>()
            .ok_or_else(|| internal_datafusion_err!("{}: ts was not coerced", self.name()))?;
        let nulls = ts.nulls().cloned();
        let instants = |values: Vec<i64>| {
            Arc::new(TimestampMicrosecondArray::new(values.into(), nulls.clone()).with_timezone("UTC")) as ArrayRef
        };
        let truths = |values: Vec<bool>| Arc::new(BooleanArray::new(values.into(), nulls.clone())) as ArrayRef;
        let result = match self.kind {
            Floor => instants(grid.floor(ts.values())),
            End if nth == 1 => instants(grid.end(ts.values())),
            End => instants(ts.values().iter().map(|ts| grid.nth_end(*ts, u32::try_from(nth).unwrap_or(1))).collect()),
            Aligned => truths(grid.is_aligned(ts.values())),
            InSession => truths(grid.are_in_session(ts.values())),
        };
        if one {
            Ok(ColumnarValue::Scalar(ScalarValue::try_from_array(&result, 0)?))
        } else {
            Ok(ColumnarValue::Array(result))
        }
    }

    /// Later instants never lie in earlier bars.
    fn output_ordering(&self, inputs: &[ExprProperties]) -> Result<SortProperties> {
        let ts = inputs.first().map_or(SortProperties::Unordered, |ts| ts.sort_properties);
        let fixed = inputs.iter().skip(1).all(|text| text.sort_properties == SortProperties::Singleton);
        Ok(if fixed && matches!(self.kind, Floor | End) { ts } else { SortProperties::Unordered })
    }

    fn documentation(&self) -> Option<&Documentation> {
        Some(&self.documentation)
    }
}
