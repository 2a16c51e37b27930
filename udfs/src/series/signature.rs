//! What a series function is called with and what it returns, as data.

use super::inputs::{Input, InputKind, InputType, OptionDefault, Optional, SeriesInput, SeriesOption};
use super::outputs::{Name, Output, OutputField, OutputKind, PlainOutput};
use super::params::{Choice, Param, ParamKind, ParamValue, Parameter, Params, Text};
use arrow::datatypes::{DataType, Field, FieldRef};
use datafusion_common::{Result, plan_err};
use std::fmt::Write;
use std::ops::RangeInclusive;
use std::sync::Arc;

/// Name, inputs, parameters, outputs and documentation of a series function: the one place where a default stands.
///
/// What is declared is read through the handle that declaring it returns, so that a function keeps no position and no
/// type of an argument a second time:
///
/// ```
/// use tallow_udfs::series::{Input, Number, Param, SeriesSignature};
///
/// let mut signature = SeriesSignature::new("momentum", "Momentum Indicators", "Change over `periods` bars", "");
/// let price: Input<Number> = signature.input("price", Some("close"));
/// let periods: Param<usize> = signature.integer("periods", 1..=1000, Some(10), "Bars between the two prices");
/// let change = signature.output::<f64>("change");
/// assert_eq!(signature.usage(), "momentum(price, periods => 10)");
/// ```
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

/// Declaring arguments and outputs.
impl SeriesSignature {
    /// A signature without arguments.
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

    /// Adds a series; `default` is the candle column that stands in where the series are omitted.
    pub fn input<T: InputType>(&mut self, name: &str, default: Option<&'static str>) -> Input<T> {
        self.inputs.push(SeriesInput { name: name.to_string(), kind: T::KIND, default });
        Input::new(self.inputs.len() - 1)
    }

    /// Adds a parameter that is a whole number, such as a count of bars.
    pub fn integer(
        &mut self,
        name: &str,
        range: RangeInclusive<usize>,
        default: Option<usize>,
        doc: &'static str,
    ) -> Param<usize> {
        let kind = ParamKind::Integer { min: *range.start() as i64, max: *range.end() as i64 };
        self.param(name, kind, default.map(|value| ParamValue::Int(value as i64)), doc)
    }

    /// Adds a parameter that is a number.
    pub fn real(
        &mut self,
        name: &str,
        range: RangeInclusive<f64>,
        default: Option<f64>,
        doc: &'static str,
    ) -> Param<f64> {
        let kind = ParamKind::Real { min: *range.start(), max: *range.end() };
        self.param(name, kind, default.map(ParamValue::Real), doc)
    }

    /// Adds a parameter that is one of a few names.
    pub fn choice<T: Choice>(&mut self, name: &str, default: T, doc: &'static str) -> Param<T> {
        let names = (0..).zip(T::NAMES).map(|(number, (_, name))| (number, *name)).collect();
        // A default that has no name has no number either: its first reading fails.
        let default = T::NAMES.iter().position(|(choice, _)| *choice == default).map_or(-1, |place| place as i64);
        self.param(name, ParamKind::Choice(names), Some(ParamValue::Int(default)), doc)
    }

    /// Adds a parameter that is a text, which the function checks.
    pub fn text(&mut self, name: &str, default: Option<&str>, doc: &'static str) -> Param<Text> {
        self.param(name, ParamKind::Text, default.map(|value| ParamValue::Text(value.to_string())), doc)
    }

    /// The caller sees to it that the kind is read as `T`.
    fn param<T>(&mut self, name: &str, kind: ParamKind, default: Option<ParamValue>, doc: &'static str) -> Param<T> {
        self.params.push(Parameter { name: name.to_string(), kind, default, example: None, doc });
        Param::new(self.params.len() - 1)
    }

    /// Says what may be given for a parameter without a default.
    pub fn example<T>(&mut self, param: Param<T>, value: ParamValue) {
        self.params[param.index()].example = Some(value);
    }

    /// Adds a series that may be left out.
    pub fn option<T: InputType>(&mut self, name: &'static str, doc: &'static str) -> Optional<T> {
        self.option_for(name, OptionDefault::Nothing, &[], doc)
    }

    /// Adds a series that may be left out, for which an engine may put something, and which only some outputs use.
    pub fn option_for<T: InputType>(
        &mut self,
        name: &'static str,
        default: OptionDefault,
        only_for: &'static [&'static str],
        doc: &'static str,
    ) -> Optional<T> {
        self.options.push(SeriesOption { name, kind: T::KIND, default, doc, only_for, needed: false });
        Optional::new(self.options.len() - 1)
    }

    /// Adds a series without which there is nothing to compute, although a bar on which it is missing is still a bar.
    pub fn needed_option<T: InputType>(&mut self, name: &'static str, doc: &'static str) -> Optional<T> {
        let (kind, default) = (T::KIND, OptionDefault::Nothing);
        self.options.push(SeriesOption { name, kind, default, doc, only_for: &[], needed: true });
        Optional::new(self.options.len() - 1)
    }

    /// Adds an output.
    pub fn output<T: PlainOutput>(&mut self, name: &str) -> Output<T> {
        self.declare(name, T::KIND)
    }

    /// Adds an output that is one of a few names.
    pub fn name_output(&mut self, name: &str, names: &'static [&'static str]) -> Output<Name> {
        self.declare(name, OutputKind::Choice(names))
    }

    /// The caller sees to it that the kind is written as `T`.
    pub(super) fn declare<T>(&mut self, name: &str, kind: OutputKind) -> Output<T> {
        self.outputs.push(OutputField { name: name.to_string(), kind });
        Output::new(self.outputs.len() - 1)
    }
}

impl SeriesSignature {
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

    /// A value for every parameter, to show the function or to try it: its default, or its example.
    pub fn example_params(&self) -> Vec<ParamValue> {
        self.params.iter().filter_map(|p| p.default.as_ref().or(p.example.as_ref())).cloned().collect()
    }

    /// A call over the columns of a candle, in full: `rsi(close, 14)`.
    pub fn example_call(&self) -> String {
        let inputs = self.inputs.iter().enumerate().map(|(i, input)| match (input.default, input.kind) {
            (Some(column), _) => column.to_string(),
            (None, InputKind::Number) if i > 0 => "open".to_string(),
            (None, kind) => kind.example().to_string(),
        });
        let params = self.params.iter().zip(self.example_params()).map(|(param, value)| param.show(&value));
        let last_needed = self.options.iter().rposition(|o| o.needed).map_or(0, |i| i + 1);
        let options = self.options[..last_needed].iter().map(|option| match (option.needed, option.kind) {
            (false, _) => "NULL".to_string(),
            (true, InputKind::Number) => "10".to_string(),
            (true, kind) => kind.example().to_string(),
        });
        format!("{}({})", self.name, inputs.chain(params).chain(options).collect::<Vec<_>>().join(", "))
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
                Some(value) => self.checked(param, value)?,
                None => match &param.default {
                    Some(value) => value.clone(),
                    None => return plan_err!("{} needs `{}`: {}", self.name, param.name, self.usage()),
                },
            };
            values.push(value);
        }
        Ok(Params::new(values))
    }

    /// A value in the parameter's own type, or an error that says what was expected.
    fn checked(&self, param: &Parameter, value: &ParamValue) -> Result<ParamValue> {
        match param.accept(value) {
            Some(value) => Ok(value),
            None => plan_err!(
                "parameter `{}` of {} is {}, expected {}: {}",
                param.name,
                self.name,
                value,
                param.expected(),
                self.usage()
            ),
        }
    }

    /// Whether parameters may be of this signature: as many values as are declared, each of its kind.
    pub(super) fn fits(&self, params: &Params) -> bool {
        let values = params.values();
        values.len() == self.params.len()
            && self.params.iter().zip(values).all(|(param, value)| param.kind.holds(value))
    }
}

/// Shared handle to a signature's return field.
pub(super) fn return_field(signature: &SeriesSignature, name: &str) -> FieldRef {
    Arc::new(Field::new(name, signature.return_type(), true))
}

#[cfg(test)]
mod tests {
    use super::super::inputs::{InputSlice, Inputs, Number, Time};
    use super::super::outputs::{OutputSlice, Outputs};
    use super::*;

    fn rsi() -> (SeriesSignature, Param<usize>) {
        let mut signature = SeriesSignature::new("rsi", "Momentum", "", "");
        signature.input::<Number>("real", Some("close"));
        let period = signature.integer("timeperiod", 2..=100, Some(14), "");
        (signature, period)
    }

    #[test]
    fn usage_shows_defaults() {
        assert_eq!(rsi().0.usage(), "rsi(real, timeperiod => 14)");
    }

    #[test]
    fn a_value_out_of_range_names_parameter_value_and_range() {
        let message = rsi().0.resolve(&[ParamValue::Int(0)]).unwrap_err().strip_backtrace();
        assert!(
            message.contains("parameter `timeperiod` of rsi is 0, expected a whole number from 2 to 100"),
            "{message}"
        );
    }

    #[test]
    fn a_whole_float_is_an_integer() {
        let (signature, period) = rsi();
        assert_eq!(signature.resolve(&[ParamValue::Real(9.0)]).unwrap().get(period), 9);
        assert!(signature.resolve(&[ParamValue::Real(9.5)]).is_err());
    }

    #[derive(Debug, Clone, Copy, PartialEq)]
    enum Side {
        Long,
        Short,
        /// Not among the names.
        Neither,
    }

    impl Choice for Side {
        const NAMES: &'static [(Self, &'static str)] = &[(Side::Long, "long"), (Side::Short, "short")];
    }

    #[test]
    fn every_kind_is_read_as_what_was_declared() {
        let mut signature = SeriesSignature::new("f", "", "", "");
        let side = signature.choice("side", Side::Short, "");
        let bars = signature.integer("bars", 1..=5, Some(3), "");
        let share = signature.real("share", 0.0..=1.0, Some(0.5), "");
        let zone = signature.text("zone", None, "");
        assert_eq!(signature.usage(), "f(side => 'short', bars => 3, share => 0.5, zone)");
        let text = |t: &str| ParamValue::Text(t.to_string());
        // A number that is whole is a number all the same.
        let given = [text("LONG"), ParamValue::Int(2), ParamValue::Int(1), text("utc")];
        let params = signature.resolve(&given).unwrap();
        assert_eq!(
            (params.get(side), params.get(bars), params.get(share), params.get(zone)),
            (Side::Long, 2, 1.0, "utc")
        );
        let by_number = signature.resolve(&[ParamValue::Int(1), ParamValue::Int(2), ParamValue::Int(1), text("")]);
        assert_eq!(by_number.unwrap().get(side), Side::Short);
    }

    #[test]
    #[should_panic(expected = "parameter 0 is read through a handle of another signature")]
    fn a_default_without_a_name_is_never_read_as_another() {
        let mut signature = SeriesSignature::new("f", "", "", "");
        let side = signature.choice("side", Side::Neither, "");
        let _ = signature.resolve(&[]).unwrap().get(side);
    }

    #[test]
    #[should_panic(expected = "parameter 1 is read through a handle of another signature")]
    fn a_parameter_of_another_kind_is_never_read_as_zero() {
        let (mut other, _) = rsi();
        let share = other.real("share", 0.0..=1.0, None, "");
        let mut signature = rsi().0;
        signature.integer("share", 0..=1, Some(1), "");
        let _ = signature.resolve(&[]).unwrap().get(share);
    }

    #[test]
    #[should_panic(expected = "series 1 is read through a handle of another signature")]
    fn a_series_of_another_kind_is_never_read_as_empty() {
        let (mut signature, _) = rsi();
        let ts = signature.input::<Time>("ts", None);
        let slices = [InputSlice::Number(&[1.0]), InputSlice::Number(&[2.0])];
        let _ = Inputs::new(&slices, &[], 1).get(ts);
    }

    #[test]
    #[should_panic(expected = "optional series 0 is read through a handle of another signature")]
    fn an_option_of_another_kind_is_never_taken_for_absent() {
        let (mut signature, _) = rsi();
        let ts = signature.option::<Time>("ts", "");
        assert_eq!(Inputs::new(&[], &[InputSlice::Absent], 1).optional(ts), None);
        let _ = Inputs::new(&[], &[InputSlice::Number(&[2.0])], 1).optional(ts);
    }

    #[test]
    #[should_panic(expected = "output 0 is read through a handle of another signature")]
    fn an_output_of_another_kind_is_never_taken_for_unrequested() {
        let (mut signature, _) = rsi();
        let count = signature.output::<i32>("count");
        let mut column = [f64::NAN];
        assert!(Outputs::new(vec![OutputSlice::Unrequested]).get(count).is_none());
        Outputs::new(vec![OutputSlice::Float(&mut column)]).set(count, 0, 1);
    }

    #[test]
    fn parameters_of_another_signature_do_not_fit() {
        let (signature, _) = rsi();
        assert!(signature.fits(&signature.resolve(&[]).unwrap()));
        let mut other = SeriesSignature::new("f", "", "", "");
        assert!(!signature.fits(&other.resolve(&[]).unwrap()), "too few");
        other.real("timeperiod", 2.0..=100.0, Some(14.0), "");
        assert!(!signature.fits(&other.resolve(&[]).unwrap()), "another kind");
    }
}
