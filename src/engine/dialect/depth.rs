//! Texts that are too deep or too wide to plan.
//!
//! DataFusion computes the type, the name and a hash of every part of an expression from all that lies below it, in each of
//! its passes (`ExprSchemable::to_field`, `EquivalenceGroup::project`): planning takes the square of a chain's length, and the
//! cube where each term is a column of its own. A sum of 200 indicators takes half a second, one of 1,000 over half a minute.
//! Very deep trees overflow the stack where they are copied or dropped.

use super::scope::normal;
use super::walk::{change, change_statement, look, look_at_statement};
use datafusion::sql::parser::Statement;
use datafusion::sql::sqlparser::ast::{BinaryOperator, Expr, Query, Spanned, TableFactor, Value, Visitor, VisitorMut};
use datafusion::sql::sqlparser::keywords::Keyword;
use datafusion::sql::sqlparser::tokenizer::{Span, Token, TokenWithSpan};
use std::collections::HashMap;
use std::ops::ControlFlow;
use tallow_common::{Error, Result};
use tallow_common::{Problem, Problems};

/// Operations within each other, `and` and `or` left out: a chain `a + b + ..` has as many as it has signs.
const MOST_OPERATIONS: usize = 200;
/// `and` and `or` within each other.
const MOST_CONDITIONS: usize = 500;
/// The squares of the operations of a text's deeper expressions, together: three of the deepest, as a scan writes its formula
/// to match, to show and to rank by.
const MOST_WORK: usize = 3 * MOST_OPERATIONS * MOST_OPERATIONS;
/// Expressions of fewer operations cost next to nothing.
const SHALLOW: usize = 12;
/// SELECTs of a statement.
const MOST_SELECTS: usize = 300;
/// Tables that a statement reads; what WITH defines is planned as often as it is read.
const MOST_READS: usize = 1_000;
/// Operators that follow each other. More would make a tree that cannot be dropped should the text be wrong further on.
const LONGEST_CHAIN: usize = 2_000;
/// Operations and conditions that a scan puts around a formula.
const AROUND_FORMULAS: usize = 10;

/// Refuses texts that are not even to be parsed.
pub(super) fn check_tokens(text: &str, tokens: &[TokenWithSpan]) -> Result<()> {
    // Operators since the last comma, at each level of brackets.
    let mut levels = vec![0usize];
    let (mut longest, mut selects, mut most_selects) = (0, 0, 0);
    for token in tokens {
        let depth = levels.len() - 1;
        match &token.token {
            Token::LParen | Token::LBracket => levels.push(0),
            Token::RParen | Token::RBracket if depth > 0 => levels.truncate(depth),
            Token::Comma => levels[depth] = 0,
            Token::SemiColon => (levels, selects) = (vec![0], 0),
            Token::Word(word) if word.quote_style.is_none() => match word.keyword {
                Keyword::AND | Keyword::OR => levels[depth] += 1,
                Keyword::WHEN | Keyword::THEN | Keyword::ELSE => levels[depth] = 0,
                Keyword::SELECT => (levels[depth], selects) = (0, selects + 1),
                _ => {}
            },
            sign if is_operator(sign) => levels[depth] += 1,
            _ => {}
        }
        longest = longest.max(levels.last().copied().unwrap_or_default());
        most_selects = most_selects.max(selects);
    }
    let refuse = |said: String, help: &str| {
        Err(Error::Text(Problems::new(text, vec![Problem::new(said, Span::empty()).help(help)])))
    };
    if longest > LONGEST_CHAIN {
        return refuse(
            format!("a chain of {longest} operators: expected at most {MOST_OPERATIONS}, or {MOST_CONDITIONS} and, or"),
            SPLIT,
        );
    }
    if most_selects > MOST_SELECTS {
        return refuse(
            format!("{most_selects} SELECTs in one statement: expected at most {MOST_SELECTS}"),
            "several files are one table: FROM 'folder/*.parquet'",
        );
    }
    Ok(())
}

fn is_operator(token: &Token) -> bool {
    use Token::{
        CustomBinaryOperator, Div, DoubleColon, Eq, Gt, GtEq, Lt, LtEq, Minus, Mod, Mul, Neq, Plus, StringConcat,
    };
    matches!(
        token,
        Plus | Minus
            | Mul
            | Div
            | Mod
            | StringConcat
            | Eq
            | Neq
            | Lt
            | Gt
            | LtEq
            | GtEq
            | DoubleColon
            | CustomBinaryOperator(_)
    )
}

const SPLIT: &str =
    "compute parts of it in subqueries, or with a function of many values, as sum(x, n) or greatest(a, b, ..)";

/// Refuses statements that would take long to plan. What is refused is taken apart.
pub(super) fn check(text: &str, statements: &mut [Statement]) -> Result<()> {
    let mut measure = Measure::of_at_most(MOST_OPERATIONS, MOST_CONDITIONS);
    statements.iter().for_each(|statement| look_at_statement(statement, &mut measure));
    match measure.problem() {
        None => Ok(()),
        Some(problem) => {
            statements.iter_mut().for_each(|statement| change_statement(statement, &mut TakeApart));
            Err(Error::Text(Problems::new(text, vec![problem])))
        }
    }
}

/// As [`check`], of a formula.
pub(super) fn check_formula(text: &str, expr: &mut Expr) -> Result<()> {
    let mut measure = Measure::of_at_most(MOST_OPERATIONS - AROUND_FORMULAS, MOST_CONDITIONS - AROUND_FORMULAS);
    look(expr, &mut measure);
    match measure.problem() {
        None => Ok(()),
        Some(problem) => {
            change(expr, &mut TakeApart);
            Err(Error::Text(Problems::new(text, vec![problem])))
        }
    }
}

/// How deep expressions are, and what they cost together.
#[derive(Default)]
struct Measure {
    most_operations: usize,
    most_conditions: usize,
    operations: usize,
    conditions: usize,
    /// Those of the expression that the walk is in.
    deepest: (usize, usize),
    /// The first expression that is too deep: operations, conditions, where it begins.
    too_deep: Option<(usize, usize, Span)>,
    work: usize,
    reads: Reads,
}

impl Measure {
    fn of_at_most(most_operations: usize, most_conditions: usize) -> Measure {
        Measure { most_operations, most_conditions, ..Measure::default() }
    }

    fn problem(&self) -> Option<Problem> {
        if let Some((operations, conditions, span)) = self.too_deep {
            return Some(if operations > self.most_operations {
                let most = self.most_operations;
                let said = format!("{operations} operations within each other: expected at most {most}");
                Problem::new(said, span).help(SPLIT)
            } else {
                let most = self.most_conditions;
                let said = format!("{conditions} times and, or within each other: expected at most {most}");
                Problem::new(said, span).help("write x in (1, 2, ..) for x = 1 or x = 2 ..")
            });
        }
        if self.reads.most > MOST_READS {
            let said = format!("tables are read {} times: expected at most {MOST_READS}", self.reads.most);
            let help =
                "what WITH defines is computed as often as it is read: store it as a table, or read it less often";
            return Some(Problem::new(said, Span::empty()).help(help));
        }
        let said = "the expressions of this text are too deep to be planned together";
        (self.work > MOST_WORK).then(|| Problem::new(said, Span::empty()).help(SPLIT))
    }
}

fn joins_conditions(expr: &Expr) -> bool {
    matches!(expr, Expr::BinaryOp { op: BinaryOperator::And | BinaryOperator::Or, .. })
}

/// Whether an expression is one more level: names, literals and parentheses are none.
fn is_operation(expr: &Expr) -> bool {
    !matches!(expr, Expr::Identifier(_) | Expr::CompoundIdentifier(_) | Expr::Value(_) | Expr::Nested(_))
}

/// How often tables are read, with what WITH defines in the place of its names.
#[derive(Default)]
struct Reads {
    /// Of each query that the walk is in.
    within: Vec<usize>,
    /// The queries of WITH that the walk has yet to come to, by where they lie, and their names.
    named: HashMap<*const Query, String>,
    /// Of the queries of WITH.
    of_name: HashMap<String, usize>,
    /// Of the statement that reads most.
    most: usize,
}

impl Reads {
    fn begin(&mut self, query: &Query) {
        let named = query.with.iter().flat_map(|with| &with.cte_tables);
        self.named.extend(named.map(|cte| (std::ptr::from_ref(cte.query.as_ref()), normal(&cte.alias.name))));
        self.within.push(0);
    }

    fn read(&mut self, factor: &TableFactor) {
        let TableFactor::Table { name, args: None, .. } = factor else { return };
        let own = name.0.last().and_then(|part| part.as_ident()).map(normal);
        let times = own.and_then(|name| self.of_name.get(&name)).copied().unwrap_or(1);
        if let Some(within) = self.within.last_mut() {
            *within = within.saturating_add(times);
        }
    }

    fn end(&mut self, query: &Query) {
        let times = self.within.pop().unwrap_or_default();
        match (self.named.remove(&std::ptr::from_ref(query)), self.within.last_mut()) {
            (Some(name), _) => {
                self.of_name.insert(name, times);
            }
            (None, Some(outer)) => *outer = outer.saturating_add(times),
            (None, None) => self.most = self.most.max(times),
        }
    }
}

impl Visitor for Measure {
    type Break = ();

    fn pre_visit_query(&mut self, query: &Query) -> ControlFlow<()> {
        self.reads.begin(query);
        ControlFlow::Continue(())
    }

    fn post_visit_query(&mut self, query: &Query) -> ControlFlow<()> {
        self.reads.end(query);
        ControlFlow::Continue(())
    }

    fn pre_visit_table_factor(&mut self, factor: &TableFactor) -> ControlFlow<()> {
        self.reads.read(factor);
        ControlFlow::Continue(())
    }

    fn pre_visit_expr(&mut self, expr: &Expr) -> ControlFlow<()> {
        if joins_conditions(expr) {
            self.conditions += 1;
        } else if is_operation(expr) {
            self.operations += 1;
        }
        self.deepest = (self.deepest.0.max(self.operations), self.deepest.1.max(self.conditions));
        ControlFlow::Continue(())
    }

    fn post_visit_expr(&mut self, expr: &Expr) -> ControlFlow<()> {
        if joins_conditions(expr) {
            self.conditions -= 1;
        } else if is_operation(expr) {
            self.operations -= 1;
        }
        if self.operations == 0 && self.conditions == 0 {
            let (operations, conditions) = std::mem::take(&mut self.deepest);
            if operations >= SHALLOW {
                self.work = self.work.saturating_add(operations.saturating_mul(operations));
            }
            let too_deep = operations > self.most_operations || conditions > self.most_conditions;
            if self.too_deep.is_none() && too_deep {
                self.too_deep = Some((operations, conditions, first_place(expr)));
            }
        }
        ControlFlow::Continue(())
    }
}

/// Where an expression begins: at its leftmost operand.
fn first_place(expr: &Expr) -> Span {
    let mut first = expr;
    while let Expr::BinaryOp { left, .. } | Expr::Nested(left) = first {
        first = left.as_ref();
    }
    first.span()
}

/// Replaces every expression by a literal, the innermost first, so that nothing deep is dropped.
struct TakeApart;

impl VisitorMut for TakeApart {
    type Break = ();

    fn post_visit_expr(&mut self, expr: &mut Expr) -> ControlFlow<()> {
        *expr = Expr::Value(Value::Null.with_empty_span());
        ControlFlow::Continue(())
    }
}

#[cfg(test)]
mod tests {
    use crate::dialect::parse;

    fn refused(text: &str) -> Option<String> {
        parse(text).err().map(|error| error.to_string())
    }

    fn chain(sign: &str, terms: usize) -> String {
        vec!["close"; terms].join(sign)
    }

    #[test]
    fn a_chain_is_refused_with_its_place_and_length() {
        let said = refused(&format!("select symbol,\n{} from candles", chain(" + ", 202))).unwrap();
        assert!(said.contains("201 operations within each other: expected at most 200"), "{said}");
        assert!(said.contains("line 2, column 1"), "{said}");
        assert_eq!(refused(&format!("select {} from candles", chain(" + ", 201))), None);
        let conditions = |n: usize| format!("select 1 from candles where {}", vec!["close > 1"; n].join(" or "));
        let said = refused(&conditions(502)).unwrap();
        assert!(said.contains("501 times and, or") && said.contains("x in (1, 2, ..)"), "{said}");
        assert_eq!(refused(&conditions(501)), None);
    }

    #[test]
    fn what_is_wide_and_not_deep_is_planned() {
        let list = (0..10_000).map(|i| format!("'S{i}'")).collect::<Vec<_>>().join(", ");
        assert_eq!(refused(&format!("select 1 from candles where symbol in ({list})")), None);
        let rows = (0..100_000).map(|i| format!("(-{i}, 2)")).collect::<Vec<_>>().join(", ");
        assert_eq!(refused(&format!("select * from (values {rows}) t(a, b)")), None);
        let columns = (0..2_000).map(|i| format!("close * {i} + 1")).collect::<Vec<_>>().join(", ");
        assert_eq!(refused(&format!("select {columns} from candles")), None);
        let cases = (0..3_000).map(|i| format!("when close > {i} then {i}")).collect::<Vec<_>>().join(" ");
        assert_eq!(refused(&format!("select case {cases} end from candles")), None);
        assert_eq!(refused(&vec!["select 1"; 2_000].join("; ")), None);
    }

    #[test]
    fn many_deep_expressions_are_refused_together() {
        let columns = vec![chain(" * ", 200); 5].join(", ");
        assert!(refused(&format!("select {columns} from candles")).unwrap().contains("planned together"));
    }

    #[test]
    fn no_text_is_so_deep_that_the_stack_ends() {
        for sign in [" + ", " and ", " / ", " || ", " = "] {
            for end in [" from candles", " from", ""] {
                assert!(refused(&format!("select {}{end}", chain(sign, 300_000))).is_some());
                // Short enough to be parsed, on a stack as tests have it.
                assert!(refused(&format!("select {}{end}", chain(sign, 1_900))).is_some());
            }
        }
        let unions = vec!["select 1"; 100_000].join(" union all ");
        assert!(refused(&unions).unwrap().contains("100000 SELECTs in one statement"));
    }

    #[test]
    fn what_with_defines_counts_as_often_as_it_is_read() {
        let doubled = |levels: usize| {
            let join = |i: usize| format!(", t{} as (select a.ts from t{i} a join t{i} b on a.ts = b.ts)", i + 1);
            let tables: String = (0..levels).map(join).collect();
            format!("with t0 as (select ts from candles){tables} select * from t{levels}")
        };
        assert_eq!(refused(&doubled(9)), None);
        assert!(refused(&doubled(10)).unwrap().contains("tables are read 1024 times: expected at most 1000"));
        assert!(refused(&doubled(60)).unwrap().contains("computed as often as it is read"));
    }
}
