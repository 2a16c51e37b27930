//! `validate_candle(ts, open, high, low, close, volume, timeframe)`.

use super::CANDLES;
use super::alignment::ORIGINS;
use super::quality::{Bar, Fault, Rule};
use crate::calendar::{Grid, Origin, Timeframe};
use crate::described::Described;
use crate::series::InputKind;
use arrow::array::{Array, ArrayRef, AsArray, Float64Array, Float64Builder, StringBuilder, StructArray};
use arrow::buffer::NullBuffer;
use arrow::datatypes::{DataType, Field, Fields, Float64Type, TimestampMicrosecondType};
use datafusion_common::{Result, ScalarValue, internal_datafusion_err, plan_err};
use datafusion_expr::{ColumnarValue, Documentation, ScalarFunctionArgs, ScalarUDFImpl, Signature};
use std::sync::{Arc, LazyLock};

/// `validate_candle(ts, open, high, low, close, volume, timeframe [, origin])`: the rule that a bar breaks, or null.
#[derive(Debug, PartialEq, Eq, Hash)]
pub(super) struct ValidateCandle {
    signature: Signature,
    documentation: Documentation,
}

const USAGE: &str = "validate_candle(ts, open, high, low, close, volume, timeframe, origin => 'utc')";

static FIELDS: LazyLock<Fields> = LazyLock::new(|| {
    let text = ["rule", "severity", "column"].map(|name| Field::new(name, DataType::Utf8, true));
    let mut fields = text.to_vec();
    fields.push(Field::new("value", DataType::Float64, true));
    fields.push(Field::new("expected", DataType::Utf8, true));
    fields.into()
});

impl ValidateCandle {
    pub fn new() -> Self {
        let described = Described {
            group: CANDLES,
            usage: USAGE,
            doc: "The first rule that a bar breaks, as struct{rule, severity, column, value, expected}: a severity of \
                  'error' says that the bar cannot be used, 'warning' that it is kept",
            nulls: "Null where the bar breaks none; a missing close breaks a rule, as does (a warning) a missing open, high \
                    or low, and a missing volume breaks none",
            source: "",
            arguments: &[
                ("ts", "opening time of the bar"),
                ("open", "first price"),
                ("high", "highest price"),
                ("low", "lowest price"),
                ("close", "last price"),
                ("volume", "traded volume"),
                ("timeframe", Timeframe::NAMES),
                ("origin", ORIGINS),
            ],
            example: "SELECT symbol, ts, validate_candle(ts, open, high, low, close, volume, '1d') AS fault FROM candles",
        };
        Self { signature: described.signature(), documentation: described.documentation() }
    }
}

impl ScalarUDFImpl for ValidateCandle {
    fn name(&self) -> &str {
        "validate_candle"
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn return_type(&self, _: &[DataType]) -> Result<DataType> {
        Ok(DataType::Struct(FIELDS.clone()))
    }

    fn coerce_types(&self, arg_types: &[DataType]) -> Result<Vec<DataType>> {
        if !(7..=8).contains(&arg_types.len()) {
            return plan_err!("validate_candle takes 7 or 8 arguments, not {}: {USAGE}", arg_types.len());
        }
        let numbers = &arg_types[1..6];
        if let Some(other) = numbers.iter().find(|t| !t.is_numeric() && !t.is_null()) {
            return plan_err!("prices and volume of validate_candle must be numbers, not {other}: {USAGE}");
        }
        let mut types = vec![InputKind::Time.data_type()];
        types.resize(6, DataType::Float64);
        types.resize(arg_types.len(), DataType::Utf8);
        Ok(types)
    }

    fn invoke_with_args(&self, args: ScalarFunctionArgs) -> Result<ColumnarValue> {
        let text = |i: usize, name: &str| match &args.args[i] {
            ColumnarValue::Scalar(ScalarValue::Utf8(Some(text))) => Ok(text.clone()),
            _ => plan_err!("`{name}` of validate_candle must be a text literal: {USAGE}"),
        };
        let timeframe = text(6, "timeframe")?.parse()?;
        let origin = if args.args.len() > 7 { text(7, "origin")?.parse()? } else { Origin::UTC };
        let arrays = args.args[..6].iter().map(|a| a.to_array(args.number_rows)).collect::<Result<Vec<_>>>()?;
        let ts = arrays[0]
            .as_primitive_opt::<TimestampMicrosecondType>()
            .ok_or_else(|| internal_datafusion_err!("validate_candle: ts was not coerced"))?;
        let aligned = Grid::new(timeframe, origin).is_aligned(ts.values());
        let numbers: Vec<&Float64Array> = arrays[1..].iter().map(|a| a.as_primitive::<Float64Type>()).collect();
        let at = |i: usize, row: usize| if numbers[i].is_null(row) { f64::NAN } else { numbers[i].value(row) };
        let mut out = Faults::default();
        for (row, aligned) in aligned.into_iter().enumerate() {
            let [open, high, low, close, volume] = [0, 1, 2, 3, 4].map(|i| at(i, row));
            let bar = Bar { open, high, low, close, volume, bid: f64::NAN, ask: f64::NAN };
            let misplaced =
                Fault { rule: Rule::Aligned, column: "ts", value: f64::NAN, expected: "the opening of a bar" };
            let fault = match bar.fault() {
                Some(fault) if fault.rule.is_error() => Some(fault),
                _ if ts.is_null(row) || !aligned => Some(misplaced),
                other => other,
            };
            out.push(fault);
        }
        out.finish().map(ColumnarValue::Array)
    }

    fn documentation(&self) -> Option<&Documentation> {
        Some(&self.documentation)
    }
}

#[derive(Default)]
struct Faults {
    texts: [StringBuilder; 4],
    value: Float64Builder,
    valid: Vec<bool>,
}

impl Faults {
    fn push(&mut self, fault: Option<Fault>) {
        self.valid.push(fault.is_some());
        let [rule, severity, column, expected] = &mut self.texts;
        rule.append_option(fault.map(|f| f.rule.name()));
        severity.append_option(fault.map(|f| if f.rule.is_error() { "error" } else { "warning" }));
        column.append_option(fault.map(|f| f.column));
        expected.append_option(fault.map(|f| f.expected));
        self.value.append_option(fault.map(|f| f.value).filter(|v| !v.is_nan()));
    }

    fn finish(mut self) -> Result<ArrayRef> {
        let [rule, severity, column, expected] = self.texts.each_mut().map(|b| Arc::new(b.finish()) as ArrayRef);
        let columns = vec![rule, severity, column, Arc::new(self.value.finish()), expected];
        Ok(Arc::new(StructArray::try_new(FIELDS.clone(), columns, Some(NullBuffer::from(self.valid)))?))
    }
}
