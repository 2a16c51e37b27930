//! Literal arguments of a call.

use datafusion_common::ScalarValue;
use std::fmt::{Display, Formatter};

/// A literal argument.
#[derive(Debug, Clone, PartialEq)]
pub enum ParamValue {
    /// A whole number.
    Int(i64),
    /// A number.
    Real(f64),
    /// Text.
    Text(String),
}

impl ParamValue {
    /// A SQL literal, if it is one that parameters can be.
    pub fn from_scalar(value: &ScalarValue) -> Option<ParamValue> {
        if let Some(Some(text)) = value.try_as_str() {
            return Some(ParamValue::Text(text.to_string()));
        }
        match value {
            ScalarValue::Int8(Some(v)) => Some(ParamValue::Int((*v).into())),
            ScalarValue::Int16(Some(v)) => Some(ParamValue::Int((*v).into())),
            ScalarValue::Int32(Some(v)) => Some(ParamValue::Int((*v).into())),
            ScalarValue::Int64(Some(v)) => Some(ParamValue::Int(*v)),
            ScalarValue::UInt8(Some(v)) => Some(ParamValue::Int((*v).into())),
            ScalarValue::UInt16(Some(v)) => Some(ParamValue::Int((*v).into())),
            ScalarValue::UInt32(Some(v)) => Some(ParamValue::Int((*v).into())),
            ScalarValue::UInt64(Some(v)) => i64::try_from(*v).ok().map(ParamValue::Int),
            ScalarValue::Float32(Some(v)) => Some(ParamValue::Real((*v).into())),
            ScalarValue::Float64(Some(v)) => Some(ParamValue::Real(*v)),
            ScalarValue::Decimal128(Some(v), _, scale) => {
                Some(ParamValue::Real(*v as f64 / 10f64.powi(i32::from(*scale))))
            }
            ScalarValue::Dictionary(_, inner) => ParamValue::from_scalar(inner),
            _ => None,
        }
    }

    /// The value as a number, if it is one.
    pub fn as_f64(&self) -> Option<f64> {
        match self {
            ParamValue::Int(v) => Some(*v as f64),
            ParamValue::Real(v) => Some(*v),
            ParamValue::Text(_) => None,
        }
    }
}

impl Display for ParamValue {
    fn fmt(&self, f: &mut Formatter<'_>) -> std::fmt::Result {
        match self {
            ParamValue::Int(v) => write!(f, "{v}"),
            ParamValue::Real(v) => write!(f, "{v}"),
            ParamValue::Text(v) => write!(f, "'{v}'"),
        }
    }
}

/// The checked parameters of one call, one value per declared parameter and of its declared type.
#[derive(Debug, Clone, PartialEq)]
pub struct Params {
    values: Vec<ParamValue>,
}

impl Params {
    pub(super) fn new(values: Vec<ParamValue>) -> Self {
        Self { values }
    }

    /// All values, in the signature's order.
    pub fn values(&self) -> &[ParamValue] {
        &self.values
    }

    /// The whole number at `index`; 0 if the parameter is of another type, which the signature's check rules out.
    pub fn int(&self, index: usize) -> i64 {
        match self.values.get(index) {
            Some(ParamValue::Int(v)) => *v,
            _ => 0,
        }
    }

    /// The whole number at `index` as a count of bars.
    pub fn bars(&self, index: usize) -> usize {
        usize::try_from(self.int(index)).unwrap_or(0)
    }

    /// The number at `index`.
    pub fn real(&self, index: usize) -> f64 {
        self.values.get(index).and_then(ParamValue::as_f64).unwrap_or(f64::NAN)
    }

    /// The text at `index`.
    pub fn text(&self, index: usize) -> &str {
        match self.values.get(index) {
            Some(ParamValue::Text(v)) => v,
            _ => "",
        }
    }
}
