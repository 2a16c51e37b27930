//! `:name` parameters of a text, and their values.

use super::walk::look;
use datafusion::sql::sqlparser::ast::{Expr, UnaryOperator, Value, ValueWithSpan, Visit, Visitor};
use datafusion::sql::sqlparser::tokenizer::Span;
use std::collections::{BTreeMap, BTreeSet};
use std::ops::ControlFlow;
use tallow_common::Problem;

/// Values for `:name` parameters.
///
/// ```
/// use tallow_engine::dialect::Params;
///
/// let params = Params::from([("n", 14), ("level", 30)]);
/// assert_eq!(params.get("level"), Some("30"));
/// // Values of several types:
/// let params = Params::default().with("level", 27.5).with("symbol", "AAPL").with("volume", true);
/// assert_eq!(params.get("symbol"), Some("AAPL"));
/// ```
#[derive(Debug, Clone, Default, PartialEq, Eq, Hash)]
pub struct Params(BTreeMap<String, ParamValue>);

/// The value of a parameter: a number, a text, true or false.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct ParamValue {
    text: String,
    /// It is text whatever it looks like.
    is_text: bool,
}

impl ParamValue {
    /// A value as it is typed: a number, `true`, `false` or `null` is taken as such, anything else as text.
    pub fn typed(text: impl Into<String>) -> ParamValue {
        ParamValue { text: text.into(), is_text: false }
    }

    fn value(&self) -> Value {
        if self.is_text { Value::SingleQuotedString(self.text.clone()) } else { value_of(&self.text) }
    }
}

impl From<&str> for ParamValue {
    fn from(text: &str) -> ParamValue {
        ParamValue { text: text.to_string(), is_text: true }
    }
}

impl From<String> for ParamValue {
    fn from(text: String) -> ParamValue {
        ParamValue { text, is_text: true }
    }
}

impl From<f64> for ParamValue {
    /// A number that is not finite is null.
    fn from(number: f64) -> ParamValue {
        ParamValue::typed(if number.is_finite() { number.to_string() } else { "null".to_string() })
    }
}

impl From<i64> for ParamValue {
    fn from(number: i64) -> ParamValue {
        ParamValue::typed(number.to_string())
    }
}

impl From<i32> for ParamValue {
    fn from(number: i32) -> ParamValue {
        ParamValue::from(i64::from(number))
    }
}

impl From<bool> for ParamValue {
    fn from(value: bool) -> ParamValue {
        ParamValue::typed(value.to_string())
    }
}

impl<N: AsRef<str>, V: Into<ParamValue>> FromIterator<(N, V)> for Params {
    fn from_iter<I: IntoIterator<Item = (N, V)>>(given: I) -> Params {
        given.into_iter().fold(Params::default(), |params, (name, value)| params.with(name.as_ref(), value))
    }
}

impl<N: AsRef<str>, V: Into<ParamValue>, const COUNT: usize> From<[(N, V); COUNT]> for Params {
    fn from(given: [(N, V); COUNT]) -> Params {
        given.into_iter().collect()
    }
}

impl Params {
    /// With a parameter more.
    #[must_use]
    pub fn with(mut self, name: &str, value: impl Into<ParamValue>) -> Params {
        self.insert(name, value);
        self
    }

    /// Sets a parameter.
    pub fn insert(&mut self, name: &str, value: impl Into<ParamValue>) {
        self.0.insert(name.to_ascii_lowercase(), value.into());
    }

    /// Sets a parameter to a value as it is typed: see [`ParamValue::typed`].
    pub fn set(&mut self, name: &str, value: &str) {
        self.insert(name, ParamValue::typed(value));
    }

    /// The value of a parameter.
    pub fn get(&self, name: &str) -> Option<&str> {
        self.0.get(&name.to_ascii_lowercase()).map(|value| value.text.as_str())
    }

    /// The names that have values.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.0.keys().map(String::as_str)
    }

    /// Those of other names.
    pub(super) fn without(&self, names: &BTreeSet<String>) -> Params {
        let kept = self.0.iter().filter(|(name, _)| !names.contains(*name));
        Params(kept.map(|(name, value)| (name.clone(), value.clone())).collect())
    }

    /// Names and values.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &str)> {
        self.0.iter().map(|(name, value)| (name.as_str(), value.text.as_str()))
    }
}

/// A parameter of a text: `:level`, or `:level 30` with the value that it has if none is given.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Parameter {
    /// Its name, in lower case.
    pub name: String,
    /// Its default as it is typed.
    pub default: Option<String>,
}

impl Parameter {
    /// What a placeholder's text stands for, `:name` or `:name default`.
    pub(super) fn of(placeholder: &str) -> Option<Parameter> {
        let text = placeholder.strip_prefix(':')?;
        let (name, default) = match text.split_once(' ') {
            Some((name, default)) => (name, Some(default.to_string())),
            None => (text, None),
        };
        Some(Parameter { name: name.to_ascii_lowercase(), default })
    }

    /// Its default as it would be given.
    pub fn default_text(&self) -> Option<String> {
        let text = self.default.as_ref()?;
        Some(match text.strip_prefix('\'').and_then(|t| t.strip_suffix('\'')) {
            Some(inner) => inner.replace("''", "'"),
            None => text.trim_start_matches('(').trim_end_matches(')').to_string(),
        })
    }

    /// The value that a text gives, which may be that of another place where the parameter stands.
    fn default_value(&self) -> Option<Value> {
        let text = self.default_text()?;
        let quoted = self.default.as_ref().is_some_and(|typed| typed.starts_with('\''));
        Some(if quoted { Value::SingleQuotedString(text) } else { value_of(&text) })
    }
}

/// What a parameter's value means.
fn value_of(text: &str) -> Value {
    match text {
        "true" => Value::Boolean(true),
        "false" => Value::Boolean(false),
        "null" => Value::Null,
        number if number.parse::<f64>().is_ok_and(f64::is_finite) => Value::Number(number.to_string(), false),
        text => Value::SingleQuotedString(text.to_string()),
    }
}

/// A value as syntax: a negative number is a minus and a number, in parentheses.
fn expr_of(value: Value, span: Span) -> Expr {
    let plain = |value: Value| Expr::Value(ValueWithSpan { value, span });
    match value {
        Value::Number(text, long) if text.starts_with('-') => {
            let number = Box::new(plain(Value::Number(text[1..].to_string(), long)));
            Expr::Nested(Box::new(Expr::UnaryOp { op: UnaryOperator::Minus, expr: number }))
        }
        value => plain(value),
    }
}

/// All parameters of a text, each once, in the order of the text.
#[derive(Debug, Default)]
pub(super) struct Declared {
    pub parameters: Vec<Parameter>,
    /// Parameters with two defaults.
    pub problems: Vec<Problem>,
    used: BTreeSet<String>,
}

impl Visitor for Declared {
    type Break = ();

    fn pre_visit_value(&mut self, value: &ValueWithSpan) -> ControlFlow<()> {
        let Value::Placeholder(text) = &value.value else { return ControlFlow::Continue(()) };
        let Some(parameter) = Parameter::of(text) else { return ControlFlow::Continue(()) };
        match self.parameters.iter_mut().find(|p| p.name == parameter.name) {
            None => self.parameters.push(parameter),
            Some(known) => match (&known.default, &parameter.default) {
                (Some(a), Some(b)) if a != b => {
                    let message = format!("`:{}` has two defaults, {a} and {b}", known.name);
                    self.problems.push(Problem::new(message, value.span).help("give it once"));
                }
                (None, Some(_)) => known.default = parameter.default,
                _ => {}
            },
        }
        ControlFlow::Continue(())
    }
}

impl Declared {
    /// Adds those of a piece of syntax.
    pub fn collect(&mut self, node: &impl Visit) {
        look(node, self);
    }

    /// The value of a placeholder, from `given` or its default.
    pub fn value(&mut self, placeholder: &str, given: &Params, span: Span) -> Option<Result<Expr, Problem>> {
        let name = Parameter::of(placeholder)?.name;
        self.used.insert(name.clone());
        if let Some(value) = given.0.get(&name) {
            return Some(Ok(expr_of(value.value(), span)));
        }
        let known = self.parameters.iter().find(|p| p.name == name);
        let default = known.and_then(Parameter::default_value).map(|value| expr_of(value, span));
        Some(default.ok_or_else(|| {
            Problem::new(format!("parameter `:{name}` has no value"), span)
                .help(format!("give it with the option `param {name}=VALUE`, or a default in the text: `:{name} 14`"))
        }))
    }

    /// Values that were given and are never read.
    pub fn unused(&self, given: &Params) -> Vec<Problem> {
        let unused = given.names().filter(|name| !self.used.contains(*name));
        unused.map(|name| Problem::new(format!("parameter `{name}` is given and never used"), Span::empty())).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_value_has_the_type_that_it_is_given_with() {
        let params =
            Params::default().with("N", 3).with("x", -1.5).with("s", "007").with("on", true).with("bad", f64::NAN);
        let value = |name: &str| params.0[name].value();
        assert_eq!(value("n"), Value::Number("3".to_string(), false));
        assert_eq!(value("x"), Value::Number("-1.5".to_string(), false));
        assert_eq!(value("s"), Value::SingleQuotedString("007".to_string()));
        assert_eq!((value("on"), value("bad")), (Value::Boolean(true), Value::Null));
        assert_eq!(ParamValue::typed("007").value(), Value::Number("007".to_string(), false));
        let given: Params = [("a", "x"), ("b", "y")].into_iter().collect();
        assert_eq!(given, Params::from([("a", "x"), ("b", "y")]));
    }
}
