//! The language: precedence, mistakes with their places, equal results by other ways, and by an interpreter of its own.

use crate::common::{DAY, START, batch, numbers, query, session, walk};
use crate::interpreter::{Dice, Frame, Node, Series};
use arrow::array::{ArrayRef, AsArray, Float64Array, RecordBatch, StringArray, TimestampMicrosecondArray};
use datafusion::sql::sqlparser::ast::Expr;
use std::collections::HashSet;
use std::sync::Arc;
use tallow_engine::dialect::{Formula, FormulaKind, Params};

/// Every operation in parentheses.
fn grouped(expr: &Expr) -> String {
    match expr {
        Expr::Nested(inner) => grouped(inner),
        Expr::BinaryOp { left, op, right } => format!("({} {op} {})", grouped(left), grouped(right)),
        Expr::UnaryOp { op, expr } => format!("({op} {})", grouped(expr)),
        Expr::Between { expr, low, high, .. } => {
            format!("({} between {} {})", grouped(expr), grouped(low), grouped(high))
        }
        Expr::IsNull(inner) => format!("({} is null)", grouped(inner)),
        Expr::IsNotNull(inner) => format!("({} is not null)", grouped(inner)),
        Expr::Cast { expr, data_type, .. } => format!("({}{data_type})", grouped(expr)),
        other => other.to_string(),
    }
}

fn shape(text: &str) -> String {
    let formula = Formula::parse(text).unwrap_or_else(|e| panic!("{text}: {e}"));
    grouped(formula.syntax())
}

#[test]
fn operators_bind_as_the_table_says() {
    for (text, want) in [
        ("close > 1 or open > 1 and not low > 1", "((close > 1) OR ((open > 1) AND (NOT (low > 1))))"),
        ("not close > open", "(NOT (close > open))"),
        ("not close crosses_above open", "(NOT (close crosses_above open))"),
        ("close + 1 crosses_below sma(20) * 2", "((close + 1) crosses_below (sma(20) * 2))"),
        (
            "close > 1 and rsi(14) crosses_above 30 or low < 1",
            "(((close > 1) AND (rsi(14) crosses_above 30)) OR (low < 1))",
        ),
        ("a + b * c - d / e % f", "((a + (b * c)) - ((d / e) % f))"),
        ("- a * b", "((- a) * b)"),
        ("-close@1d + 1", "((- (close@1d)) + 1)"),
        ("rsi(14)@1d > 50 and close@4h < 3", "(((rsi(14)@1d) > 50) AND ((close@4h) < 3))"),
        ("(close > sma(10))@1w", "((close > sma(10))@1w)"),
        ("close between 1 and 2 and low > 1", "((close between 1 2) AND (low > 1))"),
        ("close + 1 between low and high - 1", "((close + 1) between low (high - 1))"),
        ("rsi(14) is not null or volume is null", "((rsi(14) is not null) OR (volume is null))"),
        ("a == b and c <> d and e != f", "(((a = b) AND (c <> d)) AND (e <> f))"),
        ("rsi(:period 14) < :level 30", "(rsi(:period 14) < :level 30)"),
        (":x@1w > :y 3", "((:x@1w) > :y 3)"),
        ("close > :x (-5) - 1", "(close > (:x (-5) - 1))"),
        ("NOT RSI(14)<30 AND TRUE", "((NOT (RSI(14) < 30)) AND true)"),
    ] {
        assert_eq!(shape(text), want, "{text}");
    }
}

#[test]
fn the_beginnings_of_a_long_chain_are_no_values() {
    let chain = (2..100).map(|i| format!("sma({i})")).collect::<Vec<_>>().join(" + ");
    let values = Formula::parse(&format!("{chain} > 1")).unwrap().values();
    // The whole, each indicator, and what the first few make up.
    assert_eq!(values[0], chain);
    assert!((99..=99 + 16).contains(&values.len()), "{}", values.len());
    assert!(values.contains(&"sma(2) + sma(3)".to_string()) && values.contains(&"sma(99)".to_string()));
}

#[test]
fn a_formula_is_its_text_without_spaces_and_case_of_keywords() {
    let one = Formula::parse("rsi( :Period  14 )<30 AND close CROSSES_ABOVE  sma(20)").unwrap();
    let two = Formula::parse("rsi(:Period 14) < 30 and close crosses_above sma(20)").unwrap();
    assert_eq!(one, two);
    assert_eq!(HashSet::from([one.clone(), two]).len(), 1);
    assert_ne!(one, Formula::parse("rsi(:Period 14) < 31 and close crosses_above sma(20)").unwrap());
    let [parameter] = one.parameters().try_into().unwrap();
    assert_eq!((parameter.name.as_str(), parameter.default.as_deref()), ("period", Some("14")));
    let mut params = Params::default();
    params.set("period", "5");
    assert_eq!(one.bind(&params).unwrap().to_string(), "rsi(5) < 30 AND close crosses_above sma(20)");
    assert_eq!(one.bind(&Params::default()).unwrap().to_string(), "rsi(14) < 30 AND close crosses_above sma(20)");
    params.set("period", "-3");
    let negative = Formula::parse("close > -:period and symbol = 'a::@b'").unwrap().bind(&params).unwrap();
    assert_eq!(negative.to_string(), "close > -(-3) AND symbol = 'a::@b'");
    let values =
        Formula::parse("sma(rsi(14), 5) > 1 and (close / sma(50) - 1 > 0 or macd(12,26,9) > 0)").unwrap().values();
    assert_eq!(
        values,
        [
            "sma(rsi(14), 5)",
            "rsi(14)",
            "close / sma(50) - 1",
            "close / sma(50)",
            "sma(50)",
            "close / sma(50) - 1 > 0",
            "macd(12, 26, 9).macd",
            "macd(12, 26, 9) > 0"
        ]
    );
}

#[test]
fn every_mistake_is_reported_with_its_place() {
    let schema = batch(&walk(&["A"], 2)).schema();
    let texts = [
        "rsi(14) < 30 and smaa(20) > clsoe and atr(0) > 1 or macd(12, 26, 9).hist > 0",
        "1 < close < 2",
        "lag(close, -1) > 1 or lag(close, 0) > 1",
        "rsi(:period) < :level",
        "rsi(:n 14) < 30 and sma(:n 20) > 1",
        "rsi(14)@1x > 1 or sma(rsi(14)@1d, 5)@1w > 1",
        "close > 'a",
        "close > 1 close",
        "close >",
        "(close > 1",
        "close > 1)",
        "avg(close) > 1",
        "sma(close, 5) + 1",
        "symbol",
        "close > (select 1)",
        "sma(close, open) > 1",
        "beta(20) > 1",
        "volume > 1 and ünknown > 2 and clo\u{301}se > 3",
        "close > 1 as x",
        "close crosses_over sma(20)",
        "close crosses_above sma(20) is not null",
        "macd(12, 26, 9)@1w.macdhist > 0",
        "",
    ];
    let mut said = String::new();
    for text in texts {
        let done = Formula::parse(text).and_then(|f| f.check(&schema, &Params::default()));
        let result = match done {
            Ok(checked) => format!("{:?} {}", checked.kind, checked.warnings),
            Err(error) => error.to_string(),
        };
        said += &format!("## {text}\n{result}\n\n");
    }
    insta::assert_snapshot!("formula_mistakes", said);
}

#[test]
fn habits_of_other_languages_are_answered_in_this_one() {
    let schema = batch(&walk(&["A"], 2)).schema();
    for (text, message, help) in [
        ("rsi(14) < 30 && close > 1", "`&&` is no operator here", "write `and`"),
        ("rsi(14) < 30 || close > 1", "`||` is no operator here", "write `or`"),
        ("!(close > 1)", "`!` is no operator here", "write `not`"),
        ("rsi(14) < 30 & close > 1", "comparisons do not chain", "`&` does not join conditions; write `and`"),
        ("rsi < 30", "unknown column `rsi`", "`rsi` is a function, which needs parentheses: `rsi(14)` or `rsi()`"),
        ("close > sma", "unknown column `sma`", "`sma(20)`"),
        ("close > lag", "unknown column `lag`", "`lag(close, 1)`"),
        ("abs > 1", "unknown column `abs`", "`abs(..)`"),
        ("close.shift(1) > 2", "a column has no methods", "write lag(close, 1)"),
        ("close.shift() > 2", "a column has no methods", "write lag(close, 1)"),
        ("close.shift(-1) > 2", "a column has no methods", "write lead(close, 1), which reads the future"),
        ("rsi(14).shift(2) > 2", "a column has no methods", "write lag(rsi(14), 2)"),
        ("close.rolling(20).mean() > 1", "a column has no methods", "sma(close, 20)"),
        ("close.pct_change() > 0", "a column has no methods", "write simple_return(close, 1)"),
        ("close.rsi(14) > 0", "a column has no methods", "write rsi(close, 14)"),
        ("ta.rsi(close, 14) > 0", "functions have no prefix", "write rsi(close, 14)"),
        ("close > close[1]", "is one number for every bar, no list", "write lag(close, 1) for the value one bar ago"),
        ("c > c[2]", "is one number for every bar, no list", "write lag(c, 2) for the value 2 bars ago"),
        ("rsi(14)[1] < 30", "is one number for every bar, no list", "write lag(rsi(14), 1)"),
        ("skew(20) > 1", "unknown function `skew`", "kurtosis"),
        ("shift(close, 1) > 1", "unknown function `shift`", "write lag(close, 1)"),
        ("ts > '2018-2-7'", "'2018-2-7' is no time", "write '2018-02-07'"),
    ] {
        let error = Formula::parse(text).and_then(|f| f.check(&schema, &Params::default())).unwrap_err();
        let tallow::Error::Text(problems) = &error else { panic!("{text}: {error}") };
        let [problem] = problems.list.as_slice() else { panic!("{text}: {error}") };
        assert!(problem.message.contains(message), "{text}: {error}");
        assert!(problem.help.as_deref().is_some_and(|h| h.contains(help)), "{text}: {error}");
        assert!(problem.place.is_some(), "{text}: {error}");
    }
}

#[test]
fn lint_says_what_cannot_be_meant() {
    let schema = batch(&walk(&["A"], 2)).schema();
    let warned = |text: &str| {
        let mut params = Params::default();
        params.set("unused", "1");
        let checked = Formula::parse(text).unwrap().check(&schema, &params).unwrap_or_else(|e| panic!("{text}: {e}"));
        checked
            .warnings
            .list
            .iter()
            .filter(|p| !p.message.contains("`unused`"))
            .map(|p| p.message.clone())
            .collect::<Vec<_>>()
    };
    for text in [
        "close > highest(high, 20)",
        "c > highest(h, 20)",
        "high > max(high, 5)",
        "highest(close, 5) < close",
        "low < lowest(low, 20)",
        "close < min(low, 3)",
        "lowest(close, 9) > close",
        "close crosses_above highest(high, 20)",
    ] {
        assert!(warned(text).iter().any(|m| m.ends_with("can never be true")), "{text}: {:?}", warned(text));
    }
    for text in [
        "close >= highest(high, 20)",
        "close > lag(highest(high, 20), 1)",
        "high > highest(close, 20)",
        "close > lowest(low, 5)",
        "close > highest(high, 4)@1w",
        "rsi(14)@1w > rsi(14)@1mo",
    ] {
        assert!(warned(text).is_empty(), "{text}: {:?}", warned(text));
    }
    assert_eq!(warned("1 + 1 > 2 and close > 1"), ["`1 + 1 > 2` is the same for every bar"]);
    assert_eq!(warned("sma(20) > sma(20)"), ["`sma(20) > sma(20)` compares a value with itself"]);
    let mut params = Params::default();
    params.set("n", "1");
    let checked = Formula::parse("close > 1").unwrap().check(&schema, &params).unwrap();
    assert!(checked.warnings.to_string().contains("`n` is given and never used"));
    assert_eq!(checked.kind, FormulaKind::Condition);
}

#[test]
fn monsters_are_refused_and_not_swallowed() {
    let nested = format!("{}close{} > 1", "(".repeat(10_000), ")".repeat(10_000));
    let long = format!("close > 1{}", " and close > 1".repeat(80_000));
    let chain = format!("close > 1{}", " + 1".repeat(5_000));
    let nots = format!("{}close > 1", "not ".repeat(1_500));
    let minus = format!("close > {}1", "- ".repeat(1_500));
    for monster in [nested, long, chain, nots, minus] {
        let error = Formula::parse(&monster).unwrap_err().to_string();
        let expected = ["expected at most", "nested too deeply", "is not expected here"];
        assert!(expected.iter().any(|e| error.contains(e)), "{}", &error[..error.len().min(200)]);
    }
    let deep = format!("{} > 1", vec!["close"; 300].join(" / "));
    let error = Formula::parse(&deep).unwrap_err().to_string();
    assert!(error.contains("300 operations within each other: expected at most 190"), "{error}");
    let wide = format!("close > 1{}", " and close > 1".repeat(400));
    let wide = Formula::parse(&wide).unwrap();
    let schema = batch(&walk(&["A"], 2)).schema();
    wide.check(&schema, &Params::default()).unwrap();
}

/// Words and signs that a formula is made of, in any order.
fn soup(dice: &mut Dice) -> String {
    const WORDS: [&str; 44] = [
        "close",
        "open",
        "rsi",
        "sma",
        "macd",
        "(",
        ")",
        "(",
        ")",
        ",",
        "14",
        "20",
        "0",
        "-1",
        "1.5",
        ">",
        "<",
        "=",
        "==",
        "!=",
        "+",
        "-",
        "*",
        "/",
        "%",
        "and",
        "or",
        "not",
        "between",
        "is",
        "null",
        "crosses_above",
        "crosses_below",
        "@1d",
        "@4h",
        "@",
        ":p",
        ":p 14",
        "'x'",
        "'",
        ".macdhist",
        "é",
        "case",
        "select",
    ];
    let words = 1 + dice.below(14);
    let mut text = String::new();
    for _ in 0..words {
        text += WORDS[dice.below(WORDS.len())];
        if dice.below(3) > 0 {
            text.push(' ');
        }
    }
    text
}

fn no_panic(inputs: usize) {
    let mut dice = Dice::new(42);
    let schema = batch(&walk(&["A"], 2)).schema();
    let (mut parsed, mut fit) = (0, 0);
    let mut changed = vec![];
    for i in 0..inputs {
        let text = match i % 4 {
            0 => Node::condition(&mut dice, 3).to_string(),
            1 => {
                // A formula with a piece cut out.
                let text = Node::condition(&mut dice, 3).to_string();
                let chars: Vec<char> = text.chars().collect();
                let at = dice.below(chars.len());
                let to = (at + 1 + dice.below(4)).min(chars.len());
                chars[..at].iter().chain(&chars[to..]).collect()
            }
            _ => soup(&mut dice),
        };
        let Ok(formula) = Formula::parse(&text) else { continue };
        parsed += 1;
        let shown = formula.to_string();
        match Formula::parse(&shown) {
            Ok(again) if again == formula => {}
            Ok(again) => changed.push(format!("{text:?} is shown as {shown:?}, and that as {:?}", again.to_string())),
            Err(error) => changed.push(format!("{text:?} is shown as {shown:?}, which is none: {error}")),
        }
        if i % 64 == 0 {
            fit += usize::from(formula.check(&schema, &Params::default()).is_ok());
        }
    }
    assert!(changed.is_empty(), "{} texts, such as {:#?}", changed.len(), &changed[..changed.len().min(15)]);
    assert!(parsed > inputs / 5, "only {parsed} of {inputs} texts are formulas");
    assert!(fit > 0);
}

#[test]
fn a_hundred_thousand_texts_are_parsed_and_shown_without_a_panic() {
    no_panic(100_000);
}

#[test]
#[ignore = "takes a minute"]
fn a_million_texts_are_parsed_and_shown_without_a_panic() {
    no_panic(1_000_000);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cross_is_where_the_order_turns() {
    let session = session().await;
    let closes = [10.0, 10.0, 12.0, 9.0, 10.0, 10.5];
    let bars: Vec<_> = closes.iter().enumerate().map(|(i, c)| ("A".to_string(), i as i64, *c)).collect();
    session.context().register_batch("bars", batch(&bars)).unwrap();
    let sql = "select close crosses_above 10 as up, close crosses_below 10 as down, not close crosses_above 10 as no from bars";
    let got = query(&session, sql).await;
    let flags = |name: &str| got.column_by_name(name).unwrap().as_boolean().iter().collect::<Vec<_>>();
    let (t, f) = (Some(true), Some(false));
    assert_eq!(flags("up"), [None, f, t, f, f, t]);
    assert_eq!(flags("down"), [None, f, f, t, f, f]);
    assert_eq!(flags("no"), [None, t, f, t, t, f]);
}

/// A formula, and the SQL that someone would write who knows no other way.
const PAIRS: [(&str, &str); 30] = [
    ("rsi(14) < 30", "rsi(close, 14) OVER w < 30"),
    ("close > sma(20)", "close > sma(close, 20) OVER w"),
    ("c crosses_above sma(50)", "crosses_above(close, sma(close, 50) OVER w) OVER w"),
    ("rsi(14) crosses_below 70", "crosses_below(rsi(close, 14) OVER w, 70) OVER w"),
    ("not close > open", "NOT (close > open)"),
    ("h - l > 2 * atr(14)", "high - low > 2 * atr(high, low, close, 14) OVER w"),
    ("close > lag(highest(high, 252), 1)", "close > lag_bars(ta_max(high, 252) OVER w, 1) OVER w"),
    ("low <= lowest(low, 20)", "low <= ta_min(low, 20) OVER w"),
    ("macd(12, 26, 9) > 0", "macd(close, 12, 26, 9) OVER w['macd'] > 0"),
    ("macd(12, 26, 9).macdhist > 0", "macd(close, 12, 26, 9) OVER w['macdhist'] > 0"),
    ("close > bbands(20, 2).upperband", "close > bbands(close, 20, 2, 2) OVER w['upperband']"),
    ("sma(rsi(14), 5) < 40", "sma(rsi(close, 14) OVER w, 5) OVER w < 40"),
    ("volume > 2 * sma(volume, 20)", "volume > 2 * sma(volume, 20) OVER w"),
    ("close / lag(close, 5) - 1 > 0.1", "close / nullif(lag_bars(close, 5) OVER w, 0) - 1 > 0.1"),
    ("(close - open) / (high - low) > 0.8", "(close - open) / nullif(high - low, 0) > 0.8"),
    ("rsi(14) between 40 and 60", "rsi(close, 14) OVER w >= 40 AND rsi(close, 14) OVER w <= 60"),
    ("rsi(14) is null", "rsi(close, 14) OVER w IS NULL"),
    (
        "adx(14) > 25 and plus_di(14) > minus_di(14)",
        "adx(high, low, close, 14) OVER w > 25 AND plus_di(high, low, close, 14) OVER w > minus_di(high, low, close, 14) OVER w",
    ),
    (
        "rsi(2) < 10 and close > sma(200) or rsi(2) > 95",
        "(rsi(close, 2) OVER w < 10 AND close > sma(close, 200) OVER w) OR rsi(close, 2) OVER w > 95",
    ),
    ("std(close, 20) / sma(20) > 0.05", "ta_stddev(close, 20) OVER w / nullif(sma(close, 20) OVER w, 0) > 0.05"),
    ("max(high, 10) = high", "ta_max(high, 10) OVER w = high"),
    ("cdlhammer() <> 0", "cdlhammer(open, high, low, close) OVER w <> 0"),
    ("obv() > lag(obv(), 20)", "obv(close, volume) OVER w > lag_bars(obv(close, volume) OVER w, 20) OVER w"),
    ("abs(close - open) > 3", "abs(close - open) > 3"),
    ("log(close) > 5", "ln(close) > 5"),
    ("log10(volume) >= 7", "log10(volume) >= 7"),
    ("greatest(open, close) > 1.01 * least(open, close)", "greatest(open, close) > 1.01 * least(open, close)"),
    ("z_score(20) < -2", "z_score(close, 20) OVER w < -2"),
    ("rsi(:n 14) < :level 30", "rsi(close, 14) OVER w < 30"),
    (
        "ema(12) crosses_above ema(26) and -roc(10) < 0",
        "crosses_above(ema(close, 12) OVER w, ema(close, 26) OVER w) OVER w AND 0 - roc(close, 10) OVER w < 0",
    ),
];

#[tokio::test(flavor = "multi_thread")]
async fn formulas_are_the_sql_that_one_would_write_by_hand() {
    let session = session().await;
    for (formula, sql) in PAIRS {
        let by_hand = sql.replace("OVER w", "OVER (PARTITION BY symbol ORDER BY ts)");
        // A field of a call stands outside of its OVER clause.
        let by_hand = fields_after_over(&by_hand);
        let text = format!(
            "select count(*) as rows, count(*) filter (where a is distinct from b) as different, count(*) filter (where b) as hits
             from (select ({formula}) as a, ({by_hand}) as b from candles where symbol < 'C')"
        );
        let got = query(&session, &text).await;
        assert!(numbers(&got, "rows")[0] > 80_000.0);
        assert_eq!(numbers(&got, "different")[0], 0.0, "{formula}\n{by_hand}");
        assert!(numbers(&got, "hits")[0] > 0.0, "{formula} never matches");
    }
}

/// `f(..) OVER (..)['x']` with the call in parentheses.
fn fields_after_over(sql: &str) -> String {
    const OVER: &str = " OVER (PARTITION BY symbol ORDER BY ts)['";
    let Some(at) = sql.find(OVER) else { return sql.to_string() };
    let open = sql[..at].rfind("bbands(").or_else(|| sql[..at].rfind("macd(")).unwrap();
    let end = at + OVER.len() - 2;
    format!("{}({}){}", &sql[..open], &sql[open..end], &sql[end..])
}

/// Bars of four symbols with holes in time, nulls in prices and volumes, and stretches that do not move.
fn patchy() -> (RecordBatch, Vec<Series>) {
    let mut dice = Dice::new(7);
    let mut all = vec![];
    for (s, bars) in [("AAA", 160), ("BBB", 90), ("CCC", 3), ("DDD", 240)].into_iter() {
        let mut series = Series { symbol: s.to_string(), ..Series::default() };
        let mut close: f64 = 50.0;
        for day in 0..bars {
            if dice.below(12) == 0 {
                continue;
            }
            let still = dice.below(10) == 0;
            close = if still { close } else { (close + dice.below(2001) as f64 / 500.0 - 2.0).max(5.0) };
            let wide = if still { 0.0 } else { dice.below(1000) as f64 / 400.0 };
            let open = close - wide / 3.0;
            let mut row = [open, close + wide, open - wide, close, dice.below(1_000_000) as f64].map(Some);
            for value in &mut row {
                if dice.below(25) == 0 {
                    *value = None;
                }
            }
            if dice.below(40) == 0 {
                row[4] = Some(0.0);
            }
            series.times.push(START + day * DAY);
            series.rows.push(row);
        }
        all.push(series);
    }
    let symbols: StringArray =
        all.iter().flat_map(|s| s.rows.iter().map(|_| Some(s.symbol.as_str())).collect::<Vec<_>>()).collect();
    let times: TimestampMicrosecondArray = all.iter().flat_map(|s| s.times.iter().map(|t| Some(*t))).collect();
    let column = |i: usize| -> ArrayRef {
        Arc::new(all.iter().flat_map(|s| s.rows.iter().map(move |r| r[i])).collect::<Float64Array>())
    };
    let batch = RecordBatch::try_from_iter([
        ("symbol", Arc::new(symbols) as ArrayRef),
        ("ts", Arc::new(times.with_timezone("UTC"))),
        ("open", column(0)),
        ("high", column(1)),
        ("low", column(2)),
        ("close", column(3)),
        ("volume", column(4)),
    ])
    .unwrap();
    (batch, all)
}

#[tokio::test(flavor = "multi_thread")]
async fn random_formulas_agree_with_an_interpreter_row_by_row() {
    let session = session().await;
    let (bars, series) = patchy();
    session.context().register_batch("bars", bars).unwrap();
    let mut dice = Dice::new(2024);
    let (mut hits, mut unknown, mut compared) = (0, 0, 0);
    for i in 0..200 {
        let node = Node::condition(&mut dice, 3);
        let text = node.to_string();
        let got = query(&session, &format!("select ({text}) as v from bars order by symbol, ts")).await;
        let got = got.column(0).as_boolean().iter().collect::<Vec<_>>();
        let mut row = 0;
        for symbol in &series {
            let frame = Frame::of(symbol);
            for (want, certain) in node.truth(&frame) {
                if certain {
                    assert_eq!(got[row], want, "formula {i}: {text}\n{} row {row}", symbol.symbol);
                    compared += 1;
                }
                hits += usize::from(want == Some(true));
                unknown += usize::from(want.is_none());
                row += 1;
            }
        }
        assert_eq!(row, got.len());
    }
    assert!(
        hits > 5_000 && unknown > 5_000 && compared > 60_000,
        "{hits} true, {unknown} unknown, {compared} compared"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn another_timeframe_is_the_last_bar_that_had_closed() {
    let session = session().await;
    let sql =
        "select count(*) as n, count(*) filter (where a is distinct from b) as different, count(b) as known from (
                 select b.symbol as symbol, b.ts as ts, b.r as a, w.r as b
                 from (select symbol, ts, rsi(14)@1w as r from candles) b
                 asof join (select symbol, bar_end(ts, '1w') as closed, rsi(close, 14) as r from candles('1w')) w
                   match_condition (bar_end(b.ts, '1d') >= w.closed) on b.symbol = w.symbol)";
    let got = query(&session, sql).await;
    assert_eq!((numbers(&got, "n")[0], numbers(&got, "different")[0]), (619_040.0, 0.0));
    assert!(numbers(&got, "known")[0] > 500_000.0);
    // In the middle of a week, the week before is the last that is known.
    let sql = "select ts, close, close@1w as week from candles where symbol = 'AAPL' and ts between '2018-01-22' and '2018-02-02' order by ts";
    let got = query(&session, sql).await;
    let (close, week) = (numbers(&got, "close"), numbers(&got, "week"));
    assert_eq!(got.num_rows(), 10);
    assert!((5..9).all(|i| week[i] == close[4]), "{close:?} {week:?}");
    assert!((0..4).all(|i| week[i] == week[0]) && week[0] != close[4]);
    // Such a column does not look ahead, and stands wherever a column may.
    let formula = Formula::parse("rsi(14)@1w > 50 and close > sma(20)").unwrap();
    let reach = tallow::pipeline::formulas::reach(&session, &formula, "candles", &Params::default()).await.unwrap();
    assert_eq!(reach.total().furthest().ahead.to_string(), "0");
    let ahead = Formula::parse("lead(close, 1)@1w > 50").unwrap();
    let reach = tallow::pipeline::formulas::reach(&session, &ahead, "candles", &Params::default()).await.unwrap();
    assert_eq!(reach.total().furthest().ahead.to_string(), "all");
    for sql in [
        "select * from candles where close@1w > 1 qualify rsi(14)@1mo > 30 order by rsi(14)@1w desc, symbol limit 3",
        "select c.symbol, c.ts, (c.close > sma(10))@1w as up from candles c order by c.ts, c.symbol limit 3",
        "select symbol, avg(close@1w) from candles where symbol < 'B' group by symbol order by 1 limit 3",
        "select symbol, ts, close@1d, sma(5)@2h from candles_4h order by ts, symbol limit 3",
    ] {
        let done = crate::common::try_query(&session, sql).await;
        match done {
            Ok(rows) => assert_eq!(rows.num_rows(), 3, "{sql}"),
            Err(error) => assert!(error.to_string().contains("divides"), "{sql}\n{error}"),
        }
    }
}
