//! The adapter from a series function to a DataFusion window function.

use super::call::SeriesCall;
use super::function::SeriesFunction;
use super::params::{ParamValue, Params};
use super::signature::{SeriesSignature, return_field};
use crate::described::sql_block;
use arrow::array::ArrayRef;
use arrow::datatypes::{DataType, FieldRef};
use datafusion_common::{Result, plan_err};
use datafusion_expr::expr::WindowFunction;
use datafusion_expr::function::{
    ExpressionArgs, PartitionEvaluatorArgs, WindowFunctionSimplification, WindowUDFFieldArgs,
};
use datafusion_expr::{
    DocSection, Documentation, Expr, LimitEffect, PartitionEvaluator, Signature, Volatility, WindowFrame,
    WindowFrameBound, WindowFrameUnits, WindowUDFImpl,
};
use datafusion_physical_expr::PhysicalExpr;
use datafusion_physical_expr::expressions::Literal;
use std::hash::{Hash, Hasher};
use std::sync::Arc;

/// A series function as a DataFusion window function.
///
/// Every misuse is an error at planning: a frame, `DISTINCT`, a missing `PARTITION BY`, a missing or descending
/// `ORDER BY`, a parameter that is no literal or out of range.
#[derive(Debug, Clone)]
pub struct SeriesWindow {
    function: Arc<dyn SeriesFunction>,
    signature: Signature,
    documentation: Documentation,
}

impl SeriesWindow {
    /// Wraps a function.
    pub fn try_new(function: Arc<dyn SeriesFunction>) -> Result<Self> {
        let described = function.signature();
        let names = described.inputs.iter().map(|i| i.name.clone());
        let names = names.chain(described.params.iter().map(|p| p.name.clone()));
        let names = names.chain(described.options.iter().map(|o| o.name.to_string())).collect::<Vec<_>>();
        let signature = Signature::user_defined(Volatility::Immutable);
        let signature = if names.is_empty() { signature } else { signature.with_parameter_names(names)? };
        let documentation = document(described);
        Ok(Self { function, signature, documentation })
    }

    /// The function inside.
    pub fn function(&self) -> &Arc<dyn SeriesFunction> {
        &self.function
    }

    /// Binds a call: literal parameters are read from `args`, which are the call's arguments in order.
    pub fn bind(&self, args: &[Arc<dyn PhysicalExpr>]) -> Result<SeriesCall> {
        let signature = self.function.signature();
        let mut given = Vec::new();
        let params = args.iter().skip(signature.inputs.len()).take(signature.params.len());
        for (i, arg) in params.enumerate() {
            match arg.downcast_ref::<Literal>().and_then(|l| ParamValue::from_scalar(l.value())) {
                Some(value) => given.push(value),
                None => return not_a_literal(signature, i, arg),
            }
        }
        let mut options: Vec<bool> = options(signature, args).map(|arg| !is_null(arg)).collect();
        options.resize(signature.options.len(), false);
        Ok(SeriesCall::try_new(Arc::clone(&self.function), signature.resolve(&given)?)?.with_options(options))
    }

    /// The parameters of a logical call, checked.
    pub fn params(&self, args: &[Expr]) -> Result<Params> {
        let signature = self.function.signature();
        let mut given = Vec::new();
        let params = args.iter().skip(signature.inputs.len()).take(signature.params.len());
        for (i, arg) in params.enumerate() {
            match literal(arg) {
                Some(value) => given.push(value),
                None => return not_a_literal(signature, i, arg),
            }
        }
        signature.resolve(&given)
    }
}

/// The optional series of a physical call.
fn options<'a>(
    signature: &SeriesSignature,
    args: &'a [Arc<dyn PhysicalExpr>],
) -> impl Iterator<Item = &'a Arc<dyn PhysicalExpr>> {
    args.iter().skip(signature.inputs.len() + signature.params.len())
}

/// An optional series that is left out.
fn is_null(arg: &Arc<dyn PhysicalExpr>) -> bool {
    arg.downcast_ref::<Literal>().is_some_and(|literal| literal.value().is_null())
}

/// A literal argument of a logical call, negated numbers included.
pub(crate) fn literal(expr: &Expr) -> Option<ParamValue> {
    match expr {
        Expr::Literal(value, _) => ParamValue::from_scalar(value),
        Expr::Cast(cast) => literal(&cast.expr),
        Expr::Alias(alias) => literal(&alias.expr),
        Expr::Negative(inner) => match literal(inner)? {
            ParamValue::Int(v) => Some(ParamValue::Int(-v)),
            ParamValue::Real(v) => Some(ParamValue::Real(-v)),
            ParamValue::Text(_) => None,
        },
        _ => None,
    }
}

fn not_a_literal<T>(signature: &SeriesSignature, index: usize, arg: impl std::fmt::Display) -> Result<T> {
    match signature.params.get(index) {
        Some(p) => plan_err!(
            "parameter `{}` of {} must be a literal, not `{arg}`; expected {}: {}",
            p.name,
            signature.name,
            p.expected(),
            signature.usage()
        ),
        None => plan_err!("{}: too many arguments: {}", signature.name, signature.usage()),
    }
}

/// The frame that is understood where none is given. The optimizer makes ROWS of it where times are unique.
fn is_default_frame(frame: &WindowFrame) -> bool {
    let to_here = matches!(&frame.end_bound, WindowFrameBound::CurrentRow);
    let from_start = matches!(&frame.start_bound, WindowFrameBound::Preceding(v) if v.is_null());
    frame.units != WindowFrameUnits::Groups && from_start && to_here
}

/// The misuse that can be seen in the OVER clause of a function's call.
pub(crate) fn check_window(name: &str, usage: &str, call: &WindowFunction) -> Result<()> {
    let params = &call.params;
    let over = "OVER (PARTITION BY symbol ORDER BY ts)";
    let problem = if params.distinct {
        "DISTINCT has no meaning for a series"
    } else if params.filter.is_some() {
        "FILTER has no meaning for a series; use a CASE expression as argument"
    } else if params.partition_by.is_empty() {
        "PARTITION BY is missing: a series is one symbol's bars"
    } else if params.order_by.is_empty() {
        "ORDER BY is missing: a series is in time order"
    } else if params.order_by.iter().any(|key| !key.asc) {
        "ORDER BY must be ascending: a series runs forward in time"
    } else if !is_default_frame(&params.window_frame) {
        "a frame (ROWS, RANGE or GROUPS) has no meaning: the function sees the whole series"
    } else {
        return Ok(());
    };
    plan_err!("{name}: {problem}. Write {usage} {over}")
}

fn document(signature: &SeriesSignature) -> Documentation {
    const OVER: &str = "OVER (PARTITION BY symbol ORDER BY ts)";
    let section = DocSection { include: true, label: signature.group, description: None };
    let mut description = signature.doc.clone();
    if !signature.source.is_empty() {
        description = format!("{description}. Source: {}", signature.source);
    }
    let example = format!("SELECT symbol, ts, {} {OVER} FROM candles", signature.example_call());
    let mut doc = Documentation::builder(section, description, format!("{} {OVER}", signature.usage()))
        .with_sql_example(sql_block(&example));
    for input in &signature.inputs {
        doc = doc.with_argument(&input.name, "series, one value per bar");
    }
    for option in &signature.options {
        doc = doc.with_argument(option.name, format!("series, may be left out; {}", option.doc));
    }
    for param in &signature.params {
        doc = doc.with_argument(&param.name, format!("{}; {}", param.doc, param.expected()));
    }
    doc.build()
}

impl PartialEq for SeriesWindow {
    fn eq(&self, other: &Self) -> bool {
        self.function.signature().name == other.function.signature().name
    }
}

impl Eq for SeriesWindow {}

impl Hash for SeriesWindow {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.function.signature().name.hash(state);
    }
}

impl WindowUDFImpl for SeriesWindow {
    fn name(&self) -> &str {
        &self.function.signature().name
    }

    fn aliases(&self) -> &[String] {
        &self.function.signature().aliases
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    /// Only the series: parameters are read from the arguments when the call is bound, and never become arrays.
    fn expressions(&self, args: ExpressionArgs) -> Vec<Arc<dyn PhysicalExpr>> {
        let signature = self.function.signature();
        let required = args.input_exprs().iter().take(signature.inputs.len());
        required.chain(options(signature, args.input_exprs()).filter(|arg| !is_null(arg))).cloned().collect()
    }

    fn partition_evaluator(&self, args: PartitionEvaluatorArgs) -> Result<Box<dyn PartitionEvaluator>> {
        Ok(Box::new(SeriesEvaluator { call: self.bind(args.input_exprs())? }))
    }

    fn simplify(&self) -> Option<WindowFunctionSimplification> {
        let window = self.clone();
        Some(Box::new(move |call, _| {
            let signature = window.function.signature();
            check_window(&signature.name, &signature.usage(), &call)?;
            let params = window.params(&call.params.args)?;
            window.function.check(&params)?;
            Ok(Expr::WindowFunction(Box::new(call)))
        }))
    }

    fn field(&self, args: WindowUDFFieldArgs) -> Result<FieldRef> {
        Ok(return_field(self.function.signature(), args.name()))
    }

    fn coerce_types(&self, arg_types: &[DataType]) -> Result<Vec<DataType>> {
        let signature = self.function.signature();
        let (inputs, params) = (signature.inputs.len(), signature.params.len());
        let more = params + signature.options.len();
        if !(inputs..=inputs + more).contains(&arg_types.len()) {
            let expected = if more == 0 { inputs.to_string() } else { format!("{inputs} to {}", inputs + more) };
            return plan_err!(
                "{} takes {expected} arguments, not {}: {}",
                signature.name,
                arg_types.len(),
                signature.usage()
            );
        }
        arg_types
            .iter()
            .enumerate()
            .map(|(i, data_type)| {
                let (name, kind) = match (signature.inputs.get(i), i.checked_sub(inputs + params)) {
                    (Some(input), _) => (input.name.as_str(), input.kind),
                    // A null says that the option is left out.
                    (None, Some(o)) if !data_type.is_null() => (signature.options[o].name, signature.options[o].kind),
                    _ => return Ok(data_type.clone()),
                };
                if kind.accepts(data_type) {
                    return Ok(kind.data_type());
                }
                plan_err!(
                    "argument `{name}` of {} is {data_type}, expected a series of {}: {}",
                    signature.name,
                    kind.describe(),
                    signature.usage()
                )
            })
            .collect()
    }

    fn documentation(&self) -> Option<&Documentation> {
        Some(&self.documentation)
    }

    fn limit_effect(&self, _args: &[Arc<dyn PhysicalExpr>]) -> LimitEffect {
        LimitEffect::Unknown
    }
}

#[derive(Debug)]
struct SeriesEvaluator {
    call: SeriesCall,
}

impl PartitionEvaluator for SeriesEvaluator {
    fn evaluate_all(&mut self, values: &[ArrayRef], num_rows: usize) -> Result<ArrayRef> {
        self.call.evaluate(values, num_rows)
    }
}
