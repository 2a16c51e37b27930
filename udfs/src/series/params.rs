//! Literal arguments: what a signature declares, what a call gives, and what the function reads.

use super::handle::foreign;
use datafusion_common::ScalarValue;
use std::fmt::{Debug, Display, Formatter};
use std::marker::PhantomData;

/// A literal argument that a signature declares.
#[derive(Debug, Clone)]
pub struct Parameter {
    /// The argument's name.
    pub name: String,
    /// Type and range.
    pub kind: ParamKind,
    /// `None`: it must be given.
    pub default: Option<ParamValue>,
    /// Where it must be given: what may be given, to show the function or to try it.
    pub example: Option<ParamValue>,
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
    Choice(Vec<(i64, &'static str)>),
    /// Text; the function checks it.
    Text,
}

impl ParamKind {
    /// Whether a checked value is of this kind.
    pub(super) fn holds(&self, value: &ParamValue) -> bool {
        match self {
            ParamKind::Integer { .. } | ParamKind::Choice(_) => matches!(value, ParamValue::Int(_)),
            ParamKind::Real { .. } => matches!(value, ParamValue::Real(_)),
            ParamKind::Text => matches!(value, ParamValue::Text(_)),
        }
    }
}

impl Parameter {
    /// A value in the parameter's own type; `None` where it is of another type or out of range.
    pub(super) fn accept(&self, value: &ParamValue) -> Option<ParamValue> {
        match (&self.kind, value) {
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

/// A literal argument that a call gives.
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

/// The handle of a declared parameter, by which a function reads its value: [`Params::get`].
#[derive(Debug, Clone, Copy)]
pub struct Param<T> {
    index: usize,
    of: PhantomData<T>,
}

impl<T> Param<T> {
    /// Only [`SeriesSignature`](super::SeriesSignature) makes them, from the type that it declares.
    pub(super) fn new(index: usize) -> Self {
        Self { index, of: PhantomData }
    }

    pub(super) fn index(&self) -> usize {
        self.index
    }
}

/// What a parameter is to the function that reads it.
pub trait ParamType {
    /// What is read.
    type Value<'p>;

    /// The value; `None` for one of another kind.
    fn read(value: &ParamValue) -> Option<Self::Value<'_>>;
}

/// A whole number from 0 up, such as a count of bars.
impl ParamType for usize {
    type Value<'p> = usize;

    fn read(value: &ParamValue) -> Option<usize> {
        match value {
            ParamValue::Int(v) => usize::try_from(*v).ok(),
            _ => None,
        }
    }
}

impl ParamType for f64 {
    type Value<'p> = f64;

    fn read(value: &ParamValue) -> Option<f64> {
        match value {
            ParamValue::Real(v) => Some(*v),
            _ => None,
        }
    }
}

/// The type of parameters that are text, read as `&str`.
#[derive(Debug, Clone, Copy)]
pub struct Text;

impl ParamType for Text {
    type Value<'p> = &'p str;

    fn read(value: &ParamValue) -> Option<&str> {
        match value {
            ParamValue::Text(v) => Some(v),
            _ => None,
        }
    }
}

/// A parameter that is one of a few names.
pub trait Choice: Debug + Copy + PartialEq + 'static {
    /// Every choice and its name. A call may give the name, or its place in this list.
    const NAMES: &'static [(Self, &'static str)];
}

impl<T: Choice> ParamType for T {
    type Value<'p> = T;

    fn read(value: &ParamValue) -> Option<T> {
        match value {
            ParamValue::Int(v) => T::NAMES.get(usize::try_from(*v).ok()?).map(|(choice, _)| *choice),
            _ => None,
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

    /// The value of a parameter.
    ///
    /// # Panics
    /// If the handle is of another signature than the values: a mistake in a function, which its first call shows.
    pub fn get<T: ParamType>(&self, param: Param<T>) -> T::Value<'_> {
        match self.values.get(param.index).and_then(T::read) {
            Some(value) => value,
            None => foreign("parameter", param.index),
        }
    }
}
