//! Functions of all symbols at one time: `rank_pct(x)`, `zscore_cross(x)`, `top(x, n)`, each also within groups. They are windows over
//! the rows of a time, written as SQL has them.

use super::call::{arguments, literal, qualifier};
use super::scope::normal;
use super::syntax::nested;
use datafusion::sql::sqlparser::ast::helpers::attached_token::AttachedToken;
use datafusion::sql::sqlparser::ast::{
    BinaryOperator, CaseWhen, Expr, Function, FunctionArg, FunctionArgExpr, FunctionArgumentList, FunctionArguments,
    Ident, ObjectName, OrderByExpr, OrderByOptions, Spanned, Value, WindowSpec, WindowType,
};
use tallow_common::Problem;
use tallow_udfs::series::ParamValue;

/// Their names, how they are called, and what they are.
pub const CROSS_SECTIONS: [(&str, &str, &str); 3] = [
    (
        "rank_pct",
        "rank_pct(x [, group])",
        "Rank of a value among those of all symbols at the same time, from 0, the smallest, to 1, the largest; equal ones have the \
         lowest rank of them. Null where x is",
    ),
    (
        "zscore_cross",
        "zscore_cross(x [, group])",
        "How many standard deviations (of the population) a value lies above the mean of all symbols at the same time. Null where x \
         is, and where all are equal",
    ),
    (
        "top",
        "top(x, n [, group])",
        "Whether a value is one of the n largest of all symbols at the same time; of equal ones, the first symbols. False where x is null",
    ),
];

/// Whether a name is one of theirs.
pub(super) fn is_one(name: &str) -> bool {
    CROSS_SECTIONS.iter().any(|(known, ..)| *known == name)
}

/// What a call stands for; `None`: it is of another function, or has a window of its own.
pub(super) fn expanded(call: &Function) -> Option<Result<Expr, Problem>> {
    let [part] = call.name.0.as_slice() else { return None };
    let name = normal(part.as_ident()?);
    let (_, usage, _) = CROSS_SECTIONS.iter().find(|(known, ..)| *known == name).filter(|_| call.over.is_none())?;
    let wrong = |said: String| Problem::new(said, call.name.span()).help(format!("write {usage}"));
    let mut values = vec![];
    for arg in arguments(call).map_or(&[][..], |list| &list.args) {
        match arg {
            FunctionArg::Unnamed(FunctionArgExpr::Expr(value)) => values.push(value.clone()),
            other => return Some(Err(wrong(format!("{name} has no argument `{other}`")))),
        }
    }
    let of = Section { table: qualifier(call) };
    Some(match (name.as_str(), values.as_slice()) {
        ("rank_pct", [x] | [x, _]) => Ok(of.rank_pct(x, values.get(1))),
        ("zscore_cross", [x] | [x, _]) => Ok(of.zscore(x, values.get(1))),
        ("top", [x, n] | [x, n, _]) => match literal(n) {
            Some(ParamValue::Int(count)) if count > 0 => Ok(of.top(x, n, values.get(2))),
            _ => Err(wrong(format!("n of top is a whole number from 1 up, not `{n}`"))),
        },
        _ => Err(wrong(format!("{name} has {} arguments", values.len()))),
    })
}

/// The rows of a time.
struct Section {
    /// The table that its columns are qualified with.
    table: Option<Ident>,
}

impl Section {
    fn column(&self, name: &str) -> Expr {
        match &self.table {
            Some(table) => Expr::CompoundIdentifier(vec![table.clone(), Ident::new(name)]),
            None => Expr::Identifier(Ident::new(name)),
        }
    }

    /// A call over the rows of a time and a group.
    fn over(&self, function: &str, args: Vec<Expr>, keys: Vec<Expr>, order_by: Vec<OrderByExpr>) -> Expr {
        let args = args.into_iter().map(|arg| FunctionArg::Unnamed(FunctionArgExpr::Expr(arg))).collect();
        let spec = WindowSpec {
            window_name: None,
            partition_by: std::iter::once(self.column("ts")).chain(keys).collect(),
            order_by,
            window_frame: None,
        };
        Expr::Function(Function {
            name: ObjectName::from(vec![Ident::new(function)]),
            uses_odbc_syntax: false,
            parameters: FunctionArguments::None,
            args: FunctionArguments::List(FunctionArgumentList { duplicate_treatment: None, args, clauses: vec![] }),
            filter: None,
            null_treatment: None,
            over: Some(WindowType::WindowSpec(spec)),
            within_group: vec![],
        })
    }

    fn rank_pct(&self, x: &Expr, group: Option<&Expr>) -> Expr {
        // What has no value has no rank, and takes none.
        let keys = std::iter::once(Expr::IsNull(Box::new(nested(x.clone())))).chain(group.cloned()).collect();
        let rank = self.over("percent_rank", vec![], keys, vec![ordered(x.clone(), true)]);
        let known = CaseWhen { condition: Expr::IsNotNull(Box::new(nested(x.clone()))), result: rank };
        Expr::Case {
            case_token: AttachedToken::empty(),
            end_token: AttachedToken::empty(),
            operand: None,
            conditions: vec![known],
            else_result: None,
        }
    }

    fn zscore(&self, x: &Expr, group: Option<&Expr>) -> Expr {
        let keys = || group.cloned().into_iter().collect();
        let mean = self.over("avg", vec![x.clone()], keys(), vec![]);
        let spread = self.over("stddev_pop", vec![x.clone()], keys(), vec![]);
        let zero = Expr::Value(Value::Number("0".to_string(), false).with_empty_span());
        let spread = Expr::Function(Function {
            over: None,
            args: FunctionArguments::List(FunctionArgumentList {
                duplicate_treatment: None,
                args: [spread, zero].map(|arg| FunctionArg::Unnamed(FunctionArgExpr::Expr(arg))).to_vec(),
                clauses: vec![],
            }),
            ..call_of("nullif")
        });
        let above = nested(binary(nested(x.clone()), BinaryOperator::Minus, mean));
        nested(binary(above, BinaryOperator::Divide, spread))
    }

    fn top(&self, x: &Expr, n: &Expr, group: Option<&Expr>) -> Expr {
        let order = vec![ordered(x.clone(), false), ordered(self.column("symbol"), true)];
        let number = self.over("row_number", vec![], group.cloned().into_iter().collect(), order);
        let known = Expr::IsNotNull(Box::new(nested(x.clone())));
        nested(binary(known, BinaryOperator::And, binary(number, BinaryOperator::LtEq, n.clone())))
    }
}

fn call_of(name: &str) -> Function {
    Function {
        name: ObjectName::from(vec![Ident::new(name)]),
        uses_odbc_syntax: false,
        parameters: FunctionArguments::None,
        args: FunctionArguments::None,
        filter: None,
        null_treatment: None,
        over: None,
        within_group: vec![],
    }
}

fn binary(left: Expr, op: BinaryOperator, right: Expr) -> Expr {
    Expr::BinaryOp { left: Box::new(left), op, right: Box::new(right) }
}

fn ordered(expr: Expr, ascending: bool) -> OrderByExpr {
    OrderByExpr { expr, options: OrderByOptions { asc: Some(ascending), nulls_first: Some(false) }, with_fill: None }
}

#[cfg(test)]
mod tests {
    use super::*;
    use datafusion::sql::sqlparser::dialect::GenericDialect;
    use datafusion::sql::sqlparser::parser::Parser;

    fn expand(text: &str) -> Option<Result<String, Problem>> {
        let expr = Parser::new(&GenericDialect).try_with_sql(text).unwrap().parse_expr().unwrap();
        let Expr::Function(call) = expr else { panic!("{text} is no call") };
        Some(expanded(&call)?.map(|expr| expr.to_string()))
    }

    #[test]
    fn calls_become_windows_over_the_rows_of_a_time() {
        for (text, sql) in [
            (
                "rank_pct(c.x, sector)",
                "CASE WHEN (c.x) IS NOT NULL THEN percent_rank() OVER (PARTITION BY c.ts, (c.x) IS NULL, sector ORDER BY c.x ASC \
                 NULLS LAST) END",
            ),
            (
                "zscore_cross(x)",
                "(((x) - avg(x) OVER (PARTITION BY ts)) / nullif(stddev_pop(x) OVER (PARTITION BY ts), 0))",
            ),
            (
                "top(x, 3)",
                "((x) IS NOT NULL AND row_number() OVER (PARTITION BY ts ORDER BY x DESC NULLS LAST, symbol ASC NULLS LAST) <= 3)",
            ),
        ] {
            assert_eq!(expand(text).unwrap().unwrap(), sql);
        }
        assert!(expand("rank(x)").is_none());
        for text in ["rank_pct()", "top(x, 0)", "top(x, y)", "top(x)", "rank_pct(x, group => y)"] {
            assert!(expand(text).unwrap().is_err(), "{text}");
        }
    }
}
