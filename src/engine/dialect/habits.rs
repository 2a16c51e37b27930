//! What people write out of habits from other languages, and what it is called here.

use super::call::{arguments, literal};
use super::scope::normal;
use super::timeframe::typed;
use tallow_common::Problem;
use tallow_common::time::{EXPECTED_TIME, no_time};

use datafusion::sql::sqlparser::ast::{
    AccessExpr, BinaryOperator, DataType, Expr, Function, FunctionArg, FunctionArgExpr, Ident, Spanned, Subscript,
    TypedString, Value,
};
use datafusion::sql::sqlparser::tokenizer::{Token, TokenWithSpan};
use tallow_udfs::series::{ParamValue, SeriesSignature};

/// Methods of data frames, and the functions that do the same.
const METHODS: [(&str, &str); 4] =
    [("shift", "lag"), ("diff", "mom"), ("pct_change", "simple_return"), ("pctchange", "simple_return")];

/// What functions are called by in scripts and libraries, as `ta.rsi(close, 14)`.
const PREFIXES: [&str; 6] = ["ta", "talib", "tal", "pta", "math", "np"];

/// Functions that others have and TA-Lib has not, and what comes closest.
const MISSING: [(&str, &str); 12] = [
    ("shift", "write lag(close, 1)"),
    ("diff", "write mom(close, 1)"),
    ("pct_change", "write simple_return(close, 1)"),
    ("skew", "`kurtosis(20)` is the other moment of that kind"),
    ("skewness", "`kurtosis(20)` is the other moment of that kind"),
    ("ulcer_index", "`close / highest(close, 14) - 1` is the drawdown that it is made of"),
    ("ui", "`close / highest(close, 14) - 1` is the drawdown that the ulcer index is made of"),
    ("hurst", "`er(10)`, `chop(14)` and `vhf(28)` tell trends from noise"),
    ("entropy", "`er(10)`, `chop(14)` and `vhf(28)` tell trends from noise"),
    ("barssince", "it is called `bars_since(condition)`"),
    ("valuewhen", "`lag(case when condition then close end, 1)` passes over bars where the condition does not hold"),
    ("crossover", "write `a crosses_above b`"),
];

/// What comes closest to a function that is not there.
pub(super) fn instead_of(name: &str) -> Option<&'static str> {
    MISSING.iter().find(|(known, _)| *known == name).map(|(_, help)| *help)
}

/// `rsi(14)` or `rsi()`: how a function is called whose name stands alone.
pub(super) fn example(signature: &SeriesSignature) -> String {
    let name = &signature.name;
    if !signature.series_may_be_omitted() {
        return format!("`{}`", signature.usage());
    }
    let Some(first) = signature.params.first() else { return format!("`{name}()`") };
    match (&first.default, &first.example) {
        (Some(value), _) => format!("`{name}({})` or `{name}()`", first.show(value)),
        (None, Some(value)) => format!("`{name}({})`", first.show(value)),
        (None, None) => format!("`{}`", signature.usage()),
    }
}

/// `close.shift(1)`; `is_function` tells names that can be called.
pub(super) fn method(call: &Function, is_function: impl Fn(&str) -> bool) -> Option<Problem> {
    let parts: Vec<&Ident> = call.name.0.iter().filter_map(|p| p.as_ident()).collect();
    let (name, of) = parts.split_last().filter(|(_, of)| !of.is_empty())?;
    let of = of.iter().map(ToString::to_string).collect::<Vec<_>>().join(".");
    let given: Vec<String> =
        arguments(call).map(|l| l.args.iter().map(ToString::to_string).collect()).unwrap_or_default();
    let all = std::iter::once(&of).chain(&given).map(String::as_str).collect::<Vec<_>>().join(", ");
    let called = normal(name);
    if PREFIXES.contains(&of.to_ascii_lowercase().as_str()) {
        let problem = Problem::new(format!("`{of}.{name}`: functions have no prefix"), call.name.span());
        return Some(problem.help(format!("write {called}({})", given.join(", "))));
    }
    let problem = Problem::new(format!("`{call}`: a column has no methods"), call.name.span());
    let other = METHODS.iter().find(|(method, _)| *method == called).map(|(_, function)| *function);
    Some(problem.help(match (other, backwards(call)) {
        (Some("lag"), Some(n)) => format!("write lead({of}, {n}), which reads the future"),
        (Some(function), _) if all == of => format!("write {function}({of}, 1)"),
        (Some(function), _) => format!("write {function}({all})"),
        (None, _) if called == "rolling" => {
            format!("write the function and its period, as sma({of}, 20), max({of}, 20)")
        }
        (None, _) if is_function(&called) => format!("write {called}({all})"),
        (None, _) => format!("functions are called as sma({of}, 20); the operation `functions` lists them"),
    }))
}

/// The n of `shift(-n)`.
fn backwards(call: &Function) -> Option<i64> {
    match arguments(call)?.args.first()? {
        FunctionArg::Unnamed(FunctionArgExpr::Expr(e)) => match literal(e)? {
            ParamValue::Int(n) if n < 0 => Some(-n),
            _ => None,
        },
        _ => None,
    }
}

/// `close[1]`, `rsi(14)[1]`: the value one bar ago.
pub(super) fn bars_ago(root: &Expr, access: &[AccessExpr]) -> Option<Problem> {
    let [AccessExpr::Subscript(Subscript::Index { index })] = access else { return None };
    let Some(ParamValue::Int(bars)) = literal(index) else { return None };
    let shown = typed(root);
    let span = root.span().union(&index.span());
    let problem = Problem::new(format!("`{shown}[{index}]`: `{shown}` is one number for every bar, no list"), span);
    Some(problem.help(match bars {
        0 => format!("write {shown}: this bar's value"),
        bars if bars < 0 => format!("write lag({shown}, {}) for the value {} bars ago", -bars, -bars),
        1 => format!("write lag({shown}, 1) for the value one bar ago"),
        bars => format!("write lag({shown}, {bars}) for the value {bars} bars ago"),
    }))
}

/// `&&`, for which SQL has a word. `||` joins texts there, so that only a formula, which has none, can refuse it.
pub(super) fn signs(tokens: &[TokenWithSpan], formula: bool) -> Vec<Problem> {
    let wrong = |token: &TokenWithSpan| {
        let (sign, word) = match token.token {
            Token::Overlap => ("&&", "and"),
            Token::StringConcat if formula => ("||", "or"),
            Token::ExclamationMark => ("!", "not"),
            _ => return None,
        };
        Some(Problem::new(format!("`{sign}` is no operator here"), token.span).help(format!("write `{word}`")))
    };
    tokens.iter().filter_map(wrong).collect()
}

/// Advice on a sign between conditions, which binds more tightly than a comparison: `a < 1 & b > 2`.
pub(super) fn word_for(middle: &Expr) -> Option<String> {
    let Expr::BinaryOp { op, .. } = middle else { return None };
    let word = match op {
        BinaryOperator::BitwiseAnd => "and",
        BinaryOperator::BitwiseOr | BinaryOperator::StringConcat => "or",
        _ => return None,
    };
    Some(format!("`{op}` does not join conditions; write `{word}`"))
}

/// What is wrong with a literal that is compared with a time.
pub(super) fn time(expr: &Expr) -> Option<Problem> {
    match expr {
        Expr::Nested(inner) => time(inner),
        Expr::Value(value) => match &value.value {
            Value::SingleQuotedString(text) => {
                no_time(text).map(|help| Problem::new(format!("'{text}' is no time"), value.span).help(help))
            }
            Value::Number(number, _) => {
                let problem = Problem::new(format!("a time is compared with the number {number}"), value.span);
                Some(problem.help(no_time(number).unwrap_or_else(|| EXPECTED_TIME.to_string())))
            }
            _ => None,
        },
        Expr::BinaryOp { .. } => {
            let text = parts(expr)?.join(if is_division(expr) { "/" } else { "-" });
            let help = no_time(&text).unwrap_or_else(|| format!("write '{text}'"));
            Some(Problem::new(format!("`{text}` without quotes is arithmetic, no time"), expr.span()).help(help))
        }
        _ => None,
    }
}

/// `timestamp '07/02/2018'`
pub(super) fn typed_time(literal: &TypedString) -> Option<Problem> {
    let Value::SingleQuotedString(text) = &literal.value.value else { return None };
    if !matches!(literal.data_type, DataType::Date | DataType::Timestamp(..)) {
        return None;
    }
    Some(Problem::new(format!("'{text}' is no time"), literal.value.span).help(no_time(text)?))
}

fn is_division(expr: &Expr) -> bool {
    matches!(expr, Expr::BinaryOp { op: BinaryOperator::Divide, .. })
}

/// The numbers of `2018-02-07` and `7/2/2018`.
fn parts(expr: &Expr) -> Option<Vec<&str>> {
    let Expr::BinaryOp { left, op: BinaryOperator::Minus | BinaryOperator::Divide, right } = expr else { return None };
    let mut all = match number(left) {
        Some(number) => vec![number],
        None => parts(left)?,
    };
    all.push(number(right)?);
    Some(all)
}

fn number(expr: &Expr) -> Option<&str> {
    let Expr::Value(value) = expr else { return None };
    match &value.value {
        Value::Number(text, _) => Some(text),
        _ => None,
    }
}

/// The first name after FROM or JOIN that is a path without quotes: where it stands, and the path.
pub(super) fn unquoted_path(text: &str) -> Option<((usize, usize, usize), String)> {
    for (number, line) in text.lines().enumerate() {
        let mut column = 1;
        let mut after_from = false;
        for word in line.split_inclusive(char::is_whitespace) {
            let path = word.trim_end().trim_end_matches([';', ')', ',']);
            if after_from && is_path(path) {
                return Some(((number + 1, column, path.chars().count()), path.to_string()));
            }
            column += word.chars().count();
            after_from = match word.trim_end().to_ascii_lowercase().as_str() {
                "" => after_from,
                word => matches!(word, "from" | "join"),
            };
        }
    }
    None
}

/// Whether a word can only be the path of a file.
pub(super) fn is_path(word: &str) -> bool {
    const ENDINGS: [&str; 6] = [".parquet", ".csv", ".json", ".ndjson", ".gz", ".zst"];
    let other = word.starts_with(['\'', '"', '`']) || word.contains(['(', ')']);
    !other && (word.contains(['/', '\\']) || ENDINGS.iter().any(|ending| word.to_ascii_lowercase().ends_with(ending)))
}

/// What to do about a path without quotes.
pub(super) fn quote(path: &str) -> String {
    format!("the path of a file stands in quotes: '{path}'")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_without_quotes_is_found() {
        let found = |text: &str| unquoted_path(text);
        assert_eq!(found("select 1 from data/x.parquet where a"), Some(((1, 15, 14), "data/x.parquet".to_string())));
        assert_eq!(found("select *\nfrom x.csv;"), Some(((2, 6, 5), "x.csv".to_string())));
        let joined = found("select 1 from a join s3://b/*.parquet p on 1");
        assert_eq!(joined, Some(((1, 22, 16), "s3://b/*.parquet".to_string())));
        for text in [
            "select a/b from t",
            "select 1 from 'a/b.parquet'",
            "select 1 from t",
            "select 1 from (select 1)",
            "select extract(day from ts)/2 x y z",
        ] {
            assert_eq!(found(text), None, "{text}");
        }
    }
}
