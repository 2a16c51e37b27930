//! `:name` parameters of a text, and their values.

use datafusion::sql::sqlparser::ast::{Expr, UnaryOperator, Value, ValueWithSpan, Visit, Visitor};
use datafusion::sql::sqlparser::tokenizer::Span;
use std::collections::{BTreeMap, BTreeSet};
use std::ops::ControlFlow;
use tallow_common::Problem;

/// Values for `:name` parameters.
#[derive(Debug, Clone, Default, PartialEq, Eq, Hash)]
pub struct Params(BTreeMap<String, String>);

impl Params {
    /// Sets a parameter. A number, `true`, `false` or `null` is used as such, anything else as text.
    pub fn set(&mut self, name: &str, value: &str) {
        self.0.insert(name.to_ascii_lowercase(), value.to_string());
    }

    /// The value of a parameter.
    pub fn get(&self, name: &str) -> Option<&str> {
        self.0.get(&name.to_ascii_lowercase()).map(String::as_str)
    }

    /// The names that have values.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.0.keys().map(String::as_str)
    }

    /// Those of other names.
    pub(super) fn without(&self, names: &BTreeSet<String>) -> Params {
        Params(self.iter().filter(|(n, _)| !names.contains(*n)).map(|(n, v)| (n.to_string(), v.to_string())).collect())
    }

    /// Names and values.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &str)> {
        self.0.iter().map(|(name, value)| (name.as_str(), value.as_str()))
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
        let _ = node.visit(self);
    }

    /// The value of a placeholder, from `given` or its default.
    pub fn value(&mut self, placeholder: &str, given: &Params, span: Span) -> Option<Result<Expr, Problem>> {
        let name = Parameter::of(placeholder)?.name;
        self.used.insert(name.clone());
        if let Some(text) = given.get(&name) {
            return Some(Ok(expr_of(value_of(text), span)));
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
