//! `bar_floor`, `bar_end`, `is_aligned`.

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

/// Which of the three functions.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
enum AlignmentKind {
    /// The opening time of the bar that contains an instant.
    Floor,
    /// The instant at which that bar ends.
    End,
    /// Whether the instant is the opening of a bar.
    Aligned,
}

use AlignmentKind::{Aligned, End, Floor};

/// `bar_floor(ts, timeframe [, origin])` and its siblings.
#[derive(Debug, PartialEq, Eq, Hash)]
pub(super) struct Alignment {
    kind: AlignmentKind,
    signature: Signature,
    documentation: Documentation,
}

/// What an origin may be, for documentation.
pub(super) const ORIGINS: &str = "where a day begins: utc, forex_utc1, ny_17 or session:HH:MM@Zone";

impl Alignment {
    /// The three functions.
    pub fn all() -> impl Iterator<Item = Alignment> {
        [Floor, End, Aligned].into_iter().map(Alignment::new)
    }

    fn new(kind: AlignmentKind) -> Self {
        let (doc, example) = match kind {
            Floor => (
                "Opening time of the bar that contains ts",
                "SELECT symbol, bar_floor(ts, '1w') AS week, count(*) AS bars FROM candles GROUP BY 1, 2",
            ),
            End => (
                "Time at which the bar that contains ts ends",
                "SELECT symbol, ts, bar_end(ts, '1d') AS known_at FROM candles",
            ),
            Aligned => (
                "Whether ts is the opening time of a bar",
                "SELECT symbol, ts FROM candles WHERE NOT is_aligned(ts, '1d')",
            ),
        };
        let described = Described {
            group: CANDLES,
            usage: &format!("{}(ts, timeframe, origin => 'utc')", kind.name()),
            doc,
            nulls: "Null where ts is null",
            source: "",
            arguments: &[
                ("ts", "timestamp or date; UTC is assumed where it has no zone"),
                ("timeframe", Timeframe::NAMES),
                ("origin", ORIGINS),
            ],
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
        Ok(if self.kind == AlignmentKind::Aligned { DataType::Boolean } else { InputKind::Time.data_type() })
    }

    fn coerce_types(&self, arg_types: &[DataType]) -> Result<Vec<DataType>> {
        if !(2..=3).contains(&arg_types.len()) {
            return plan_err!("{} takes 2 or 3 arguments, not {}: {}", self.name(), arg_types.len(), self.usage());
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
        types.resize(arg_types.len(), DataType::Utf8);
        Ok(types)
    }

    fn invoke_with_args(&self, args: ScalarFunctionArgs) -> Result<ColumnarValue> {
        let text = |i: usize, name: &str| match &args.args[i] {
            ColumnarValue::Scalar(ScalarValue::Utf8(Some(text))) => Ok(text.clone()),
            _ => plan_err!("`{name}` of {} must be a text literal: {}", self.name(), self.usage()),
        };
        let timeframe = text(1, "timeframe")?.parse()?;
        let origin = if args.args.len() > 2 { text(2, "origin")?.parse()? } else { Origin::Utc(0) };
        let grid = Grid::new(timeframe, origin);
        let one = matches!(args.args[0], ColumnarValue::Scalar(_));
        let array = args.args[0].to_array(if one { 1 } else { args.number_rows })?;
        let ts = array
            .as_primitive_opt::<TimestampMicrosecondType>()
            .ok_or_else(|| internal_datafusion_err!("{}: ts was not coerced", self.name()))?;
        let nulls = ts.nulls().cloned();
        let instants = |values: Vec<i64>| {
            Arc::new(TimestampMicrosecondArray::new(values.into(), nulls.clone()).with_timezone("UTC")) as ArrayRef
        };
        let result = match self.kind {
            AlignmentKind::Floor => instants(grid.floor(ts.values())),
            AlignmentKind::End => instants(grid.end(ts.values())),
            AlignmentKind::Aligned => {
                Arc::new(BooleanArray::new(grid.is_aligned(ts.values()).into(), nulls.clone())) as ArrayRef
            }
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
        Ok(if fixed && self.kind != AlignmentKind::Aligned { ts } else { SortProperties::Unordered })
    }

    fn documentation(&self) -> Option<&Documentation> {
        Some(&self.documentation)
    }
}
