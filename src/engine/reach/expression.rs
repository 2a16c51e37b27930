//! How far an expression looks, over rows of which something is known.

use super::made::is_part_of_bar;
use super::plan::unknown;
use super::shape::{Shape, Values};
use super::sources::{Sources, UNKNOWN};
use arrow::datatypes::DataType;
use datafusion::common::tree_node::{TreeNode, TreeNodeRecursion};
use datafusion::common::{DFSchema, ScalarValue};
use datafusion::logical_expr::expr::{WindowFunction, WindowFunctionParams};
use datafusion::logical_expr::{
    Expr, Operator, WindowFrame, WindowFrameBound, WindowFrameUnits, WindowFunctionDefinition, WindowUDF,
};
use tallow_udfs::rolling::LagBars;
use tallow_udfs::series::{Bars, Reach, SeriesWindow};

impl Shape {
    /// The reach of an expression over these rows.
    pub(super) fn of(&self, expr: &Expr, schema: &DFSchema) -> Sources {
        let mut total = Sources::default();
        let _ = expr.apply(|node| {
            let more = match node {
                Expr::WindowFunction(call) => {
                    total = std::mem::take(&mut total).and(&self.of_window(call, schema));
                    return Ok(TreeNodeRecursion::Jump);
                }
                Expr::Column(column) => schema.index_of_column(column).ok().and_then(|i| self.columns.get(i)).cloned(),
                Expr::ScalarSubquery(subquery) => Some(unknown(&subquery.subquery).rows),
                Expr::InSubquery(within) => Some(unknown(&within.subquery.subquery).rows),
                Expr::Exists(exists) => Some(unknown(&exists.subquery.subquery).rows),
                _ => None,
            };
            if let Some(more) = more {
                total = std::mem::take(&mut total).and(&more);
            }
            Ok(TreeNodeRecursion::Continue)
        });
        total
    }

    pub(super) fn of_window(&self, call: &WindowFunction, schema: &DFSchema) -> Sources {
        let params = &call.params;
        let keys = params.order_by.iter().map(|s| &s.expr).chain(&params.partition_by);
        let all = params.args.iter().chain(keys);
        let args = all.fold(Sources::default(), |all, e| all.and(&self.of(e, schema)));
        // Over the symbols of one instant.
        if params.partition_by.iter().any(|e| self.is_time(e, schema)) {
            return args;
        }
        let own = match &call.fun {
            WindowFunctionDefinition::WindowUDF(udf) => self.of_function(udf, params, schema),
            WindowFunctionDefinition::AggregateUDF(_) => of_frame(&params.window_frame),
        };
        // Bars are counted along time; where rows are missing or ordered by something else, a row is no bar.
        let in_time = match params.order_by.as_slice() {
            [] => Some(UNKNOWN),
            [key] if !self.is_time(&key.expr, schema) => None,
            [key] if key.asc => Some(own),
            [_] => Some(Reach { back: own.ahead, ahead: own.back }),
            _ => None,
        };
        let own = in_time.unwrap_or(UNKNOWN);
        let uncountable = self.has_gaps || self.at_end;
        args.under(Reach { back: unless(uncountable, own.back), ahead: unless(uncountable, own.ahead) })
    }

    pub(super) fn of_function(&self, udf: &WindowUDF, params: &WindowFunctionParams, schema: &DFSchema) -> Reach {
        if let Some(series) = udf.inner().downcast_ref::<SeriesWindow>() {
            return self.of_series(series, &params.args, schema);
        }
        if let Some(shift) = udf.inner().downcast_ref::<LagBars>() {
            let has_values = params.args.first().is_some_and(|e| self.values(e, schema) >= Values::Complete);
            let Reach { back, ahead } = shift.reach(&params.args).unwrap_or(UNKNOWN);
            return Reach { back: unless(!has_values, back), ahead: unless(!has_values, ahead) };
        }
        match (udf.name(), offset(&params.args)) {
            ("lag", Some(n)) | ("lead", Some(n)) => {
                let bars = usize::try_from(n.unsigned_abs()).unwrap_or(usize::MAX);
                if (udf.name() == "lag") == (n >= 0) { Reach::back(bars) } else { Reach::ahead(bars) }
            }
            ("row_number" | "rank" | "dense_rank", _) => Reach::history(),
            ("first_value" | "last_value" | "nth_value", _) => of_frame(&params.window_frame),
            _ => UNKNOWN,
        }
    }

    /// The reach of a series function over these rows. It counts bars at which its inputs have a value, or move: how many of
    /// the table's bars these are is not known where an input is patchy, or may stay the same for long.
    pub(super) fn of_series(&self, series: &SeriesWindow, args: &[Expr], schema: &DFSchema) -> Reach {
        let function = series.function();
        let Ok(params) = series.params(args) else { return UNKNOWN };
        let Reach { back, ahead } = function.reach(&params);
        let signature = function.signature();
        let (inputs, others) = args.split_at(signature.inputs.len().min(args.len()));
        let inputs = inputs.iter().map(|e| self.values(e, schema)).min().unwrap_or(Values::Stored);
        let least = if function.fades_by_movement(&params) { Values::Stored } else { Values::Complete };
        // Where rows are smaller bars, how many of them make up a horizon is not known.
        let options = others.iter().skip(signature.params.len()).zip(&signature.options);
        let mut given = options.filter(|(arg, _)| !matches!(arg, Expr::Literal(value, _) if value.is_null()));
        let over_smaller = given.any(|(_, option)| option.makes_rows_smaller());
        Reach { back: unless(inputs < least, back), ahead: unless(inputs < Values::Complete || over_smaller, ahead) }
    }

    /// What is known of an expression's values.
    pub(super) fn values(&self, expr: &Expr, schema: &DFSchema) -> Values {
        let of = |e: &Expr| self.values(e, schema);
        let worst = |all: &[&Expr]| all.iter().map(|e| of(e)).min().unwrap_or_default().min(Values::Complete);
        match expr {
            Expr::Column(c) => {
                schema.index_of_column(c).ok().and_then(|i| self.values.get(i)).copied().unwrap_or_default()
            }
            Expr::Literal(value, _) if !value.is_null() => Values::Complete,
            Expr::IsNull(_) | Expr::IsNotNull(_) => Values::Complete,
            Expr::Alias(alias) => of(&alias.expr),
            // Prices in whole numbers may stay the same while the prices move.
            Expr::Cast(cast) if *cast.field.data_type() == DataType::Float64 => of(&cast.expr),
            Expr::Cast(cast) => of(&cast.expr).min(Values::Complete),
            Expr::Negative(inner) | Expr::Not(inner) => of(inner),
            Expr::BinaryExpr(b) => match b.op {
                Operator::Divide | Operator::Modulo if !is_nonzero(&b.right) => Values::Patchy,
                _ => worst(&[&b.left, &b.right]),
            },
            Expr::Case(case) => {
                let results = case.when_then_expr.iter().map(|(_, then)| then).chain(&case.else_expr);
                match case.else_expr {
                    Some(_) => worst(&results.map(AsRef::as_ref).collect::<Vec<_>>()),
                    None => Values::Patchy,
                }
            }
            Expr::ScalarFunction(call) => match (call.name(), call.args.split_first()) {
                ("get_field", Some((of_struct, _))) => of(of_struct).min(Values::Complete),
                (part, Some((bar, []))) if is_part_of_bar(part) => of(bar),
                ("abs" | "round" | "floor" | "ceil" | "greatest" | "least", Some(_)) => {
                    worst(&call.args.iter().collect::<Vec<_>>())
                }
                _ => Values::Patchy,
            },
            Expr::WindowFunction(call) => match &call.fun {
                WindowFunctionDefinition::WindowUDF(udf) => match udf.inner().downcast_ref::<SeriesWindow>() {
                    Some(series) if series.function().is_total() => {
                        let inputs = series.function().signature().inputs.len();
                        worst(&call.params.args.iter().take(inputs).collect::<Vec<_>>())
                    }
                    None if udf.inner().is::<LagBars>() => worst(&call.params.args.iter().take(1).collect::<Vec<_>>()),
                    _ => Values::Patchy,
                },
                WindowFunctionDefinition::AggregateUDF(_) => Values::Patchy,
            },
            _ => Values::Patchy,
        }
    }
}

/// A number of bars; where bars cannot be counted, more than none are any number.
pub(super) fn unless(uncountable: bool, bars: Bars) -> Bars {
    if uncountable && bars != Bars::Count(0) { Bars::Unbounded } else { bars }
}

pub(super) fn is_nonzero(expr: &Expr) -> bool {
    match expr {
        Expr::Literal(value, _) => match value.cast_to(&DataType::Float64) {
            Ok(ScalarValue::Float64(Some(v))) => v != 0.0,
            _ => false,
        },
        Expr::Cast(cast) => is_nonzero(&cast.expr),
        Expr::Negative(inner) => is_nonzero(inner),
        _ => false,
    }
}

/// The offset of `lag(x, n)`: 1 where it is left out.
pub(super) fn offset(args: &[Expr]) -> Option<i64> {
    match args.get(1) {
        None => Some(1),
        Some(Expr::Literal(value, _)) => match value.cast_to(&DataType::Int64) {
            Ok(ScalarValue::Int64(n)) => n,
            _ => None,
        },
        Some(Expr::Negative(inner)) => offset(&[inner.as_ref().clone(), inner.as_ref().clone()]).map(|n| -n),
        _ => None,
    }
}

pub(super) fn of_frame(frame: &WindowFrame) -> Reach {
    // RANGE counts time, not bars: how many bars that is depends on the data.
    let rows = frame.units == WindowFrameUnits::Rows;
    let count = |value: &ScalarValue| match value.cast_to(&DataType::UInt64) {
        Ok(ScalarValue::UInt64(Some(n))) if rows => Bars::Count(usize::try_from(n).unwrap_or(usize::MAX)),
        _ => Bars::Unbounded,
    };
    let back = match &frame.start_bound {
        WindowFrameBound::Preceding(n) => count(n),
        _ => Bars::Count(0),
    };
    let ahead = match &frame.end_bound {
        WindowFrameBound::Following(n) => count(n),
        _ => Bars::Count(0),
    };
    Reach { back, ahead }
}
