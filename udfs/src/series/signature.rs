//! What a series function is called with and what it returns, as data.

use super::params::{ParamValue, Params};
use arrow::datatypes::{DataType, Field, FieldRef, TimeUnit};
use datafusion_common::{Result, plan_err};
use std::fmt::Write;
use std::sync::Arc;

/// Name, inputs, parameters, outputs and documentation of a series function: the one place where a default stands.
#[derive(Debug, Clone)]
pub struct SeriesSignature {
    /// The SQL name, lower case.
    pub name: String,
    /// Further names it answers to.
    pub aliases: Vec<String>,
    /// The family it is listed under, such as `Momentum Indicators`.
    pub group: &'static str,
    /// One sentence.
    pub doc: String,
    /// Where the definition comes from.
    pub source: &'static str,
    /// Series arguments, in call order.
    pub inputs: Vec<SeriesInput>,
    /// Literal arguments, in call order after the series.
    pub params: Vec<Parameter>,
    /// Series arguments that may be left out, in call order after the parameters; mostly given by name.
    pub options: Vec<SeriesOption>,
    /// One output is a plain column; several are the fields of a struct.
    pub outputs: Vec<OutputField>,
}

/// A series argument.
#[derive(Debug, Clone)]
pub struct SeriesInput {
    /// The argument's name.
    pub name: String,
    /// Its type.
    pub kind: InputKind,
    /// The candle column that stands in when the series arguments are omitted.
    pub default: Option<&'static str>,
}

/// A series argument that may be left out. A bar on which it is missing is still a bar.
#[derive(Debug, Clone)]
pub struct SeriesOption {
    /// The argument's name.
    pub name: &'static str,
    /// Its type.
    pub kind: InputKind,
    /// What an engine that knows the table puts in its place.
    pub default: OptionDefault,
    /// One line.
    pub doc: &'static str,
    /// The outputs that use it; empty: all. Where none of them is read, it is not computed.
    pub only_for: &'static [&'static str],
}

/// What stands for an optional series that is left out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OptionDefault {
    /// Nothing.
    Nothing,
    /// The time of the bar: the key that the series is ordered by.
    Time,
    /// The time at which the bar ends, where the length of the table's bars is known.
    CloseTime,
}

/// The type of a series argument.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum InputKind {
    /// Any numeric type, computed as float64.
    Number,
    /// Boolean.
    Condition,
    /// Timestamp; computed as microseconds since the epoch, UTC.
    Time,
    /// Price levels: `list<struct{price, type}>`, type `support` or `resistance`.
    Levels,
    /// Smaller bars inside a bar: `list<struct{high, low}>`.
    SmallerBars,
}

impl InputKind {
    /// The Arrow type that arguments are coerced to.
    pub fn data_type(self) -> DataType {
        match self {
            InputKind::Number => DataType::Float64,
            InputKind::Condition => DataType::Boolean,
            InputKind::Time => DataType::Timestamp(TimeUnit::Microsecond, Some("UTC".into())),
            InputKind::Levels => pairs_type(("price", DataType::Float64), ("type", DataType::Utf8)),
            InputKind::SmallerBars => pairs_type(("high", DataType::Float64), ("low", DataType::Float64)),
        }
    }

    /// What it holds, in words.
    pub fn describe(self) -> &'static str {
        match self {
            InputKind::Number => "numbers",
            InputKind::Condition => "booleans",
            InputKind::Time => "timestamps",
            InputKind::Levels => "lists of struct{price, type}",
            InputKind::SmallerBars => "lists of struct{high, low}",
        }
    }

    /// Whether a column of this type can be used.
    pub fn accepts(self, data_type: &DataType) -> bool {
        match self {
            InputKind::Number => data_type.is_numeric() || data_type.is_null(),
            InputKind::Condition => matches!(data_type, DataType::Boolean | DataType::Null),
            InputKind::Time => {
                matches!(data_type, DataType::Timestamp(_, _) | DataType::Date32 | DataType::Date64 | DataType::Null)
            }
            InputKind::Levels => is_list_of(data_type, ["price", "type"]),
            InputKind::SmallerBars => is_list_of(data_type, ["high", "low"]),
        }
    }
}

fn pairs_type(first: (&str, DataType), second: (&str, DataType)) -> DataType {
    let fields = [first, second].map(|(name, kind)| Field::new(name, kind, true)).to_vec();
    DataType::List(Arc::new(Field::new_list_field(DataType::Struct(fields.into()), true)))
}

fn is_list_of(data_type: &DataType, names: [&str; 2]) -> bool {
    match data_type {
        DataType::Null => true,
        DataType::List(item) | DataType::LargeList(item) => match item.data_type() {
            DataType::Struct(fields) => fields.iter().map(|f| f.name().as_str()).eq(names),
            _ => false,
        },
        _ => false,
    }
}

/// A literal argument.
#[derive(Debug, Clone)]
pub struct Parameter {
    /// The argument's name.
    pub name: String,
    /// Type and range.
    pub kind: ParamKind,
    /// `None`: it must be given.
    pub default: Option<ParamValue>,
    /// One line.
    pub doc: &'static str,
}

/// Type and range of a literal argument.
#[derive(Debug, Clone)]
pub enum ParamKind {
    /// A whole number in `min..=max`.
    Integer {
        /// Smallest accepted value.
        min: i64,
        /// Largest accepted value.
        max: i64,
    },
    /// A number in `min..=max`.
    Real {
        /// Smallest accepted value.
        min: f64,
        /// Largest accepted value.
        max: f64,
    },
    /// One of a list, given by number or by name.
    Choice(&'static [(i64, &'static str)]),
    /// Text; the function checks it.
    Text,
}

/// One output column.
#[derive(Debug, Clone)]
pub struct OutputField {
    /// Field name inside the struct; unused when it is the only output.
    pub name: String,
    /// Its type.
    pub kind: OutputKind,
}

/// The type of an output.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OutputKind {
    /// float64
    Float,
    /// int32
    Int,
    /// boolean
    Bool,
    /// int8: a class such as -1, 0, 1
    Class,
    /// Timestamp in microseconds, UTC
    Time,
    /// Text, one of these
    Choice(&'static [&'static str]),
}

impl OutputKind {
    /// The Arrow type.
    pub fn data_type(self) -> DataType {
        match self {
            OutputKind::Float => DataType::Float64,
            OutputKind::Int => DataType::Int32,
            OutputKind::Bool => DataType::Boolean,
            OutputKind::Class => DataType::Int8,
            OutputKind::Time => InputKind::Time.data_type(),
            OutputKind::Choice(_) => DataType::Utf8View,
        }
    }
}

impl SeriesSignature {
    /// Starts a signature; the builder methods add the rest.
    pub fn new(name: &str, group: &'static str, doc: &str, source: &'static str) -> Self {
        Self {
            name: name.to_string(),
            aliases: vec![],
            group,
            doc: doc.to_string(),
            source,
            inputs: vec![],
            params: vec![],
            options: vec![],
            outputs: vec![],
        }
    }

    /// Adds a numeric series.
    pub fn input(self, name: &str, default: Option<&'static str>) -> Self {
        self.input_of(name, InputKind::Number, default)
    }

    /// Adds a series of the given kind.
    pub fn input_of(mut self, name: &str, kind: InputKind, default: Option<&'static str>) -> Self {
        self.inputs.push(SeriesInput { name: name.to_string(), kind, default });
        self
    }

    /// Adds a parameter.
    pub fn param(mut self, name: &str, kind: ParamKind, default: Option<ParamValue>, doc: &'static str) -> Self {
        self.params.push(Parameter { name: name.to_string(), kind, default, doc });
        self
    }

    /// Adds an optional series.
    pub fn option(mut self, option: SeriesOption) -> Self {
        self.options.push(option);
        self
    }

    /// Adds an output.
    pub fn output(mut self, name: &str, kind: OutputKind) -> Self {
        self.outputs.push(OutputField { name: name.to_string(), kind });
        self
    }

    /// The Arrow type of a call's result.
    pub fn return_type(&self) -> DataType {
        match self.outputs.as_slice() {
            [only] => only.kind.data_type(),
            several => DataType::Struct(
                several
                    .iter()
                    .map(|o| FieldRef::new(Field::new(&o.name, o.kind.data_type(), true)))
                    .collect::<Vec<_>>()
                    .into(),
            ),
        }
    }

    /// Whether the series arguments may be left out: every one stands for a candle column.
    pub fn series_may_be_omitted(&self) -> bool {
        self.inputs.iter().all(|i| i.default.is_some())
    }

    /// Position of an output by name.
    pub fn output_index(&self, name: &str) -> Option<usize> {
        self.outputs.iter().position(|o| o.name == name)
    }

    /// The call as documentation shows it: `bbands(real, timeperiod => 20, nbdevup => 2, ...)`.
    pub fn usage(&self) -> String {
        let mut text = format!("{}(", self.name);
        for (i, input) in self.inputs.iter().enumerate() {
            let _ = write!(text, "{}{}", if i > 0 { ", " } else { "" }, input.name);
        }
        for (i, p) in self.params.iter().enumerate() {
            let comma = if i > 0 || !self.inputs.is_empty() { ", " } else { "" };
            let _ = match &p.default {
                Some(value) => write!(text, "{comma}{} => {}", p.name, p.show(value)),
                None => write!(text, "{comma}{}", p.name),
            };
        }
        text.push(')');
        text
    }

    /// The optional series as documentation shows them, `None` if there are none.
    pub fn options_usage(&self) -> Option<String> {
        let names: Vec<_> = self.options.iter().map(|o| format!("{} => ..", o.name)).collect();
        (!names.is_empty()).then(|| names.join(", "))
    }

    /// Completes and checks the parameters of a call; missing ones take their defaults.
    pub fn resolve(&self, given: &[ParamValue]) -> Result<Params> {
        if given.len() > self.params.len() {
            return plan_err!(
                "{} takes at most {} parameters, not {}: {}",
                self.name,
                self.params.len(),
                given.len(),
                self.usage()
            );
        }
        let mut values = Vec::with_capacity(self.params.len());
        for (i, param) in self.params.iter().enumerate() {
            let value = match given.get(i) {
                Some(value) => param.check(value, self)?,
                None => match &param.default {
                    Some(value) => value.clone(),
                    None => return plan_err!("{} needs `{}`: {}", self.name, param.name, self.usage()),
                },
            };
            values.push(value);
        }
        Ok(Params::new(values))
    }
}

impl Parameter {
    /// The value in the parameter's own type, or an error that says what was expected.
    fn check(&self, value: &ParamValue, signature: &SeriesSignature) -> Result<ParamValue> {
        let checked = match (&self.kind, value) {
            (ParamKind::Integer { min, max }, ParamValue::Int(v)) if (min..=max).contains(&v) => Some(value.clone()),
            (ParamKind::Integer { min, max }, ParamValue::Real(v))
                if v.fract() == 0.0 && (*min as f64..=*max as f64).contains(v) =>
            {
                Some(ParamValue::Int(*v as i64))
            }
            (ParamKind::Real { min, max }, v) => v.as_f64().filter(|v| (min..=max).contains(&v)).map(ParamValue::Real),
            (ParamKind::Choice(values), ParamValue::Int(v)) if values.iter().any(|(n, _)| n == v) => {
                Some(value.clone())
            }
            (ParamKind::Choice(values), ParamValue::Text(v)) => {
                values.iter().find(|(_, name)| name.eq_ignore_ascii_case(v)).map(|(n, _)| ParamValue::Int(*n))
            }
            (ParamKind::Text, ParamValue::Text(_)) => Some(value.clone()),
            _ => None,
        };
        match checked {
            Some(value) => Ok(value),
            None => plan_err!(
                "parameter `{}` of {} is {}, expected {}: {}",
                self.name,
                signature.name,
                value,
                self.expected(),
                signature.usage()
            ),
        }
    }

    /// What a value has to be, in words.
    pub fn expected(&self) -> String {
        match &self.kind {
            ParamKind::Integer { min, max } => format!("a whole number from {min} to {max}"),
            ParamKind::Real { min, max } if *min <= -1e37 && *max >= 1e37 => "a number".to_string(),
            ParamKind::Real { min, max } if *max >= 1e37 => format!("a number from {min} up"),
            ParamKind::Real { min, max } => format!("a number from {min} to {max}"),
            ParamKind::Choice(values) => {
                let names: Vec<_> =
                    values.iter().map(|(n, name)| format!("{n} ('{}')", name.to_ascii_lowercase())).collect();
                format!("one of {}", names.join(", "))
            }
            ParamKind::Text => "text".to_string(),
        }
    }

    /// A value as it would be typed.
    pub fn show(&self, value: &ParamValue) -> String {
        match (&self.kind, value) {
            (ParamKind::Choice(values), ParamValue::Int(v)) => values
                .iter()
                .find(|(n, _)| n == v)
                .map_or_else(|| v.to_string(), |(_, name)| format!("'{}'", name.to_ascii_lowercase())),
            _ => value.to_string(),
        }
    }
}

/// Shared handle to a signature's return field.
pub(super) fn return_field(signature: &SeriesSignature, name: &str) -> FieldRef {
    Arc::new(Field::new(name, signature.return_type(), true))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rsi() -> SeriesSignature {
        SeriesSignature::new("rsi", "Momentum", "", "").input("real", Some("close")).param(
            "timeperiod",
            ParamKind::Integer { min: 2, max: 100 },
            Some(ParamValue::Int(14)),
            "",
        )
    }

    #[test]
    fn usage_shows_defaults() {
        assert_eq!(rsi().usage(), "rsi(real, timeperiod => 14)");
    }

    #[test]
    fn a_value_out_of_range_names_parameter_value_and_range() {
        let message = rsi().resolve(&[ParamValue::Int(0)]).unwrap_err().strip_backtrace();
        assert!(
            message.contains("parameter `timeperiod` of rsi is 0, expected a whole number from 2 to 100"),
            "{message}"
        );
    }

    #[test]
    fn a_whole_float_is_an_integer() {
        assert_eq!(rsi().resolve(&[ParamValue::Real(9.0)]).unwrap().int(0), 9);
        assert!(rsi().resolve(&[ParamValue::Real(9.5)]).is_err());
    }
}
