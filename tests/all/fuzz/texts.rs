//! Texts that somebody might type: formulas and SQL by a grammar. A third is sound, a third has slips in it, and a third is
//! made of odd pieces from the start.

use crate::interpreter::Dice;

/// A function, and values that its parameters may have.
pub struct Function {
    pub name: String,
    pub parameters: Vec<String>,
}

/// Makes a text.
pub struct Texts<'a> {
    dice: Dice,
    functions: &'a [Function],
    /// Whether odd pieces are taken too.
    odd: bool,
    slips: bool,
}

/// What is usual, and what is odd or wrong in its place.
type Words = (&'static [&'static str], &'static [&'static str]);

const FIELDS: Words = (
    &["close", "close", "high", "low", "open", "volume", "Close", "\"close\""],
    &["c", "h", "v", "ts", "symbol", "clsoe", "candles.close", "b.close", "CLOSE.x", "\"Close\"", "x0"],
);
const NUMBERS: Words = (
    &["1", "2", "14", "20", "50", "30", "1.5"],
    &[
        "0",
        "-1",
        "0.0",
        "-0.0",
        ".5",
        "5.",
        "1e3",
        "1e308",
        "-1e-308",
        "2147483648",
        "9223372036854775807",
        "99999999999999999999999999",
        "0x1f",
        "1_000",
        "100000",
        ":p 14",
        ":p",
        ":level",
    ],
);
const VALUES: Words = (
    &["null", "true", "'AAPL'", "'14'"],
    &[
        "''",
        "'close'",
        "'it''s'",
        "'2017-01-01'",
        "interval '1 day'",
        "now()",
        "[1, 2]",
        "*",
        "'NaN'",
        "x'00'",
        "current_date",
        "{'a': 1}",
        "default",
    ],
);
const TIMES: Words = (
    &[
        "'2017-01-01'",
        "'2017-01-01 09:30'",
        "'2017-01-01T09:30:00Z'",
        "'2017-01-01T09:30:00+02:00'",
        "timestamp '2017-01-01'",
        "date '2017-01-01'",
        "to_timestamp('2017-01-01')",
        "now() - interval '8 years'",
        "date_trunc('month', now())",
    ],
    &[
        "'2017-1-1'",
        "'2017-13-01'",
        "'07/02/2018'",
        "'2018.02.07'",
        "'20180207'",
        "'Feb 7 2018'",
        "'yesterday'",
        "''",
        "2017",
        "2017-01-01",
        "1514764800",
        "1514764800000",
        "timestamp '2017-01-01 25:00:00'",
        "date '2017-02-30'",
        "5",
        "close",
        "interval '1 day'",
        "true",
    ],
);
const COMPARISONS: Words = (
    &["<", ">", "<=", ">=", "=", "<>"],
    &["==", "!=", "crosses_above", "crosses_below", "like", "is distinct from", "=>", "~"],
);
const TIMEFRAMES: Words =
    (&["1d", "1w", "1mo"], &["4h", "1h", "3h", "daily", "W", "7m", "0d", "2d", "99999999d", "x", "1M"]);
const SIGNS: Words = (&["+", "-", "*", "/"], &["%", "||", "^", "&&", "//", "<<"]);
const STRUCTS: Words = (
    &[
        "macd(12, 26, 9).macdhist",
        "bbands(20, 2).upperband",
        "stoch(5, 3, 3).slowk",
        "path_labels(horizon => 5).mfe_atr",
    ],
    &[
        "macd(12, 26, 9).nothing",
        "rsi(14).macd",
        "close.x",
        "close.shift(1)",
        "close.rolling(1)",
        "close[1]",
        "bbands(20, 2)",
    ],
);
/// Calls that need no series to be named.
const CALLS: Words = (
    &[
        "rsi(14)",
        "sma(20)",
        "ema(10)",
        "atr(14)",
        "adx(14)",
        "cci(20)",
        "mom(1)",
        "natr(14)",
        "willr(14)",
        "obv()",
        "roc(10)",
    ],
    &[
        "smaa(20)",
        "rsi()",
        "rsi(0)",
        "rsi(-1)",
        "rsi(1e9)",
        "rsi('14')",
        "rsi(14, 15)",
        "sma(symbol, 5)",
        "rsi(rsi(rsi(14)))",
    ],
);
const ROLLING: Words = (
    &["highest", "lowest", "std", "sma", "ema", "rsi"],
    &["sum", "max", "bars_since", "z_score", "lead", "percent_rank"],
);
const SCALARS: Words =
    (&["abs", "round", "sqrt", "exp", "greatest", "coalesce"], &["nullif", "upper", "date_part", "concat", "smaa"]);
const TYPES: Words = (&["double", "int", "varchar"], &["timestamp", "date", "boolean", "decimal(3, 2)", "nothing"]);
const AGGREGATES: Words = (
    &["sum", "avg", "min", "max", "stddev", "median", "count"],
    &["corr", "array_agg", "first_value", "regr_slope", "string_agg", "rsi", "nothing"],
);
const FRAMES: Words = (
    &["", "", "rows between 3 preceding and current row", "rows between unbounded preceding and unbounded following"],
    &[
        "rows between current row and 5 following",
        "rows between 5 following and 3 preceding",
        "rows -1 preceding",
        "range between interval '5 days' preceding and current row",
        "range between 5 preceding and current row",
        "groups between 1 preceding and 1 following",
        "rows between 99999999999999999999 preceding and current row",
    ],
);
const WINDOWED: Words = (
    &["row_number()", "lag(close, 1)", "rank()", "first_value(close)", "avg(close)", "rsi(close, 14)", "sum(volume)"],
    &[
        "lag(close, -1)",
        "lead(close)",
        "ntile(0)",
        "nth_value(close, 0)",
        "first_value(close) ignore nulls",
        "sma(20)",
        "abs(close)",
    ],
);
const RELATIONS: Words = (
    &[
        "(select * from candles_4h limit 300)",
        "candles('1w')",
        "candles('1mo', fill => 'prev_close')",
        "candles_4h",
        "label_path('4h')",
        "query('movers')",
    ],
    &[
        "candles('4h')",
        "candles('7x')",
        "candles('1w', fill => 1)",
        "candles('1w', source => 'x')",
        "query('nothing')",
        "(values (1, 'a'), (2, null))",
        "nowhere",
        "'nowhere/*.parquet'",
        "data/candles/1d",
        "candels",
        "patterns",
        "system.functions",
        "\"candles_1d@v3\"",
        "unnest([1, 2])",
    ],
);
/// Two symbols of some months: what is joined has few rows, so that what takes long is nobody's fault but ours.
const FEW: &str = "(select * from candles where symbol in ('AAPL', 'MSFT') and ts >= '2017-09-01')";
const OTHERS: &str = "(select * from candles where symbol in ('AAPL', 'IBM') and ts >= '2017-11-01')";
const JOINS: Words = (
    &[
        "join (others) as b on candles.symbol = b.symbol and candles.ts = b.ts",
        "left join (others) as b using (symbol, ts)",
        "join (others) as b on candles.symbol = b.symbol and candles.ts > b.ts",
        "left semi join (others) as b on candles.symbol = b.symbol",
        "asof join candles_4h as b match_condition (bar_end(candles.ts, '1d') >= bar_end(b.ts, '4h')) on candles.symbol = b.symbol",
    ],
    &[
        "cross join (others) as b",
        "join (others) as b on symbol = symbol",
        "join (others) as b using (nothing)",
        "join (others) as b",
        "full join (others) as b on candles.close = b.symbol",
        "asof join candles_4h as b match_condition (candles.close >= b.symbol) on candles.symbol = b.symbol",
        "asof join candles_4h as b match_condition (candles.ts >= b.ts)",
        ", (others) as b",
    ],
);
/// What is shown of groups and how they are made.
const GROUPS: [(&str, &str); 5] = [
    ("symbol", "symbol"),
    ("ts", "ts"),
    ("date_trunc('month', ts) as month", "month"),
    ("symbol, bar_floor(ts, '1mo') as month", "symbol, month"),
    ("symbol", "1"),
];
const ODD_GROUPS: [(&str, &str); 7] = [
    ("symbol, ts", "symbol"),
    ("*", "symbol"),
    ("rsi(14)", "symbol"),
    ("close", ""),
    ("symbol", "99"),
    ("symbol", "rollup(symbol, ts)"),
    ("max(close)", "max(close)"),
];
const ORDERS: Words =
    (&["ts", "ts desc, symbol", "1", "symbol nulls first"], &["99", "x0", "n", "nothing", "-1", "rsi(14)", "'ts'"]);
const LIMITS: Words = (&["5", "10 offset 3"], &["-1", "'5'", "1e3", "99999999999", "null", ":p 3", "0"]);
/// What a slip puts in the place of a word.
const SLIPS: [&str; 44] = [
    "(",
    ")",
    ",",
    ".",
    ";",
    "@",
    "@1w",
    ":",
    ":p",
    ":p 14",
    "'",
    "\"",
    "--",
    "/*",
    "*",
    "%",
    "=>",
    "::",
    "[",
    "]",
    "{",
    "and",
    "or",
    "not",
    "between",
    "is",
    "null",
    "in",
    "case",
    "end",
    "over",
    "select",
    "from",
    "where",
    "qualify",
    "group by",
    "order by",
    "limit",
    "distinct",
    "as",
    "\u{e9}",
    "\u{1f4c8}",
    "\0",
    "\u{feff}",
];

impl<'a> Texts<'a> {
    pub fn new(seed: u64, functions: &'a [Function]) -> Texts<'a> {
        Texts { dice: Dice::new(seed), functions, odd: seed % 3 == 2, slips: seed % 3 == 1 }
    }

    /// A formula.
    pub fn formula(&mut self) -> String {
        let text = match self.below(60) {
            0 => self.deep(),
            1 => self.chain(),
            _ => self.condition(2),
        };
        self.with_slips(text)
    }

    /// A statement.
    pub fn sql(&mut self) -> String {
        let text = self.query(2);
        self.with_slips(text)
    }

    /// Values of parameters, for two texts in three.
    pub fn parameters(&mut self) -> Vec<(&'static str, &'static str)> {
        match self.below(3) {
            0 => vec![("p", self.word(NUMBERS)), ("level", self.word(VALUES))],
            1 => vec![("p", "14")],
            _ => vec![],
        }
    }

    fn below(&mut self, n: usize) -> usize {
        self.dice.below(n)
    }

    /// True once in `n` times.
    fn once_in(&mut self, n: usize) -> bool {
        self.below(n) == 0
    }

    /// True once in `n` times where odd pieces are taken.
    fn oddly(&mut self, n: usize) -> bool {
        self.odd && self.once_in(n)
    }

    fn of<T: Copy>(&mut self, words: &[T]) -> T {
        words[self.below(words.len())]
    }

    fn word(&mut self, (usual, odd): Words) -> &'static str {
        if self.oddly(5) { self.of(odd) } else { self.of(usual) }
    }

    /// Brackets, signs and calls within one another.
    fn deep(&mut self) -> String {
        let depth = self.of(&[5, 15, 60, 1_000]);
        let (open, close) =
            self.of(&[("(", ")"), ("- ", ""), ("abs(", ")"), ("sma(", ", 2)"), ("- (", ")"), ("not (", ")")]);
        match open {
            "not (" => format!("{}close > 1{}", open.repeat(depth), close.repeat(depth)),
            _ => format!("{}close{} > 1", open.repeat(depth), close.repeat(depth)),
        }
    }

    /// Many of the same after one another.
    fn chain(&mut self) -> String {
        let terms = self.of(&[10, 40, 150, 600, 3_000]);
        let (term, sign) = match self.below(4) {
            0 => (self.condition(1), " and "),
            1 => (self.condition(0), " or "),
            2 => ("close".to_string(), " + "),
            _ => (self.number(1), " * "),
        };
        let text = vec![term; terms].join(sign);
        if sign.trim().len() == 1 { format!("{text} > 1") } else { text }
    }

    /// A condition of every bar.
    fn condition(&mut self, depth: usize) -> String {
        if depth > 0 && self.once_in(2) {
            let (left, right) = (self.condition(depth - 1), self.condition(depth - 1));
            return match self.below(4) {
                0 => format!("not ({left})"),
                1 => format!("({left}) or {right}"),
                2 => format!("{left} and ({right})"),
                _ => format!("{left} and {right}"),
            };
        }
        let (x, y) = (self.number(2), self.number(1));
        if self.oddly(3) {
            return match self.below(6) {
                0 => format!("{} between {} and {}", self.word(FIELDS), self.word(TIMES), self.word(TIMES)),
                1 => format!("{x} in ({y}, {})", self.word(VALUES)),
                2 => format!("{x} > any (select close from candles_4h limit 2)"),
                3 => format!("{x} {} {y} {} {x}", self.word(COMPARISONS), self.word(COMPARISONS)),
                4 => x,
                _ => format!("{x} is {}", self.word(VALUES)),
            };
        }
        match self.below(12) {
            0 => format!("{x} is {}null", self.of(&["", "not "])),
            1 => format!("{x} {}between {y} and {}", self.of(&["", "not "]), self.number(1)),
            2 => format!("ts between {} and {}", self.word(TIMES), self.word(TIMES)),
            3 => format!("ts {} {}", self.word(COMPARISONS), self.word(TIMES)),
            4 => format!("symbol in ('AAPL', {})", self.word(VALUES)),
            5 => format!("{x} {} {y}", self.of(&["crosses_above", "crosses_below"])),
            6 => format!("crosses_above({x}, {y})"),
            _ => format!("{x} {} {y}", self.word(COMPARISONS)),
        }
    }

    /// A number of every bar, as a rule.
    fn number(&mut self, depth: usize) -> String {
        if depth == 0 {
            let words = if self.once_in(3) { NUMBERS } else { FIELDS };
            let words = if self.oddly(12) { VALUES } else { words };
            return self.word(words).to_string();
        }
        let x = self.number(depth - 1);
        match self.below(16) {
            0 | 1 => self.word(CALLS).to_string(),
            2 | 3 => self.call(depth - 1),
            4 => self.word(STRUCTS).to_string(),
            5 => format!("{}@{}", self.word(CALLS), self.word(TIMEFRAMES)),
            6 => format!("({x} {} {})", self.word(SIGNS), self.number(0)),
            7 => format!("{x} {} {}", self.word(SIGNS), self.number(depth - 1)),
            8 => format!("-{x}"),
            9 => format!("lag({x}, {})", self.word(NUMBERS)),
            10 | 11 => format!("{}({x}, {})", self.word(ROLLING), self.word(NUMBERS)),
            12 => format!("case when {} then {x} else {} end", self.condition(0), self.number(0)),
            13 => format!("{}({x})", self.word(SCALARS)),
            14 => format!("{}::{}", self.word(FIELDS), self.word(TYPES)),
            _ => x,
        }
    }

    /// A call of any of our functions, mostly as its parameters ask for.
    fn call(&mut self, depth: usize) -> String {
        let Function { name, parameters } = &self.functions[self.dice.below(self.functions.len())];
        if self.oddly(2) {
            let x = self.number(depth);
            return match self.below(4) {
                0 => format!("{name}({x})"),
                1 => format!("{name}({x}, {}, {})", self.number(0), self.number(0)),
                2 => format!("{name}({} => {x})", self.of(&["timeperiod", "horizon", "unit", "seed", "p"])),
                _ => {
                    let wrong = if self.once_in(2) { self.word(VALUES) } else { self.of(NUMBERS.1) };
                    let at = self.below(parameters.len() + 1);
                    let given = parameters.iter().enumerate().map(|(i, p)| if i == at { wrong } else { p });
                    format!("{name}({})", given.collect::<Vec<_>>().join(", "))
                }
            };
        }
        format!("{name}({})", parameters.join(", "))
    }

    fn query(&mut self, depth: usize) -> String {
        if depth > 0 {
            let inner = self.query(depth - 1);
            match self.below(16) {
                0 => return format!("({inner}) {} ({inner})", self.of(&["union all", "union", "intersect", "except"])),
                1 => {
                    return format!(
                        "with t as ({inner}) select {} from t",
                        self.of(&["*", "t.*", "count(*)", "close"])
                    );
                }
                2 => return format!("explain {inner}"),
                3 => return self.shown(&format!("({inner}) as candles")),
                4 if self.odd => return format!("{inner} union {}", self.query(depth - 1)),
                5 if self.odd => return format!("select ({inner})"),
                _ => {}
            }
        }
        // A whole table is never joined.
        if self.once_in(8) {
            return self.shown("candles");
        }
        let from = if self.once_in(5) { self.word(RELATIONS) } else { FEW };
        let join =
            if from == FEW && self.once_in(4) { self.word(JOINS).replace("(others)", OTHERS) } else { String::new() };
        self.shown(&format!("{from} as candles {join}"))
    }

    fn shown(&mut self, from: &str) -> String {
        let text = if self.once_in(4) { self.grouped(from) } else { self.plain(from) };
        let order = if self.once_in(3) { format!(" order by {}", self.word(ORDERS)) } else { String::new() };
        let limit = if self.once_in(3) { format!(" limit {}", self.word(LIMITS)) } else { String::new() };
        text + &order + &limit
    }

    fn grouped(&mut self, from: &str) -> String {
        let (shown, key) = if self.oddly(3) { self.of(&ODD_GROUPS) } else { self.of(&GROUPS) };
        let group = if key.is_empty() { String::new() } else { format!(" group by {key}") };
        let filter = if self.once_in(4) { format!(" where {}", self.filter()) } else { String::new() };
        let having = if self.once_in(4) { format!(" having {} > 1", self.aggregate()) } else { String::new() };
        format!("select {shown}, {} as n from {from}{filter}{group}{having}", self.aggregate())
    }

    fn aggregate(&mut self) -> String {
        let x = self.word(FIELDS);
        match self.below(6) {
            0 => "count(*)".to_string(),
            1 => format!("count(distinct {x})"),
            2 => format!("{}({x}) filter (where {})", self.word(AGGREGATES), self.filter()),
            3 => "candle_high(candlestick(ts, open, high, low, close, volume))".to_string(),
            4 if self.odd => format!("{}({}, {x} order by ts)", self.word(AGGREGATES), self.number(1)),
            _ => format!("{}({x})", self.word(AGGREGATES)),
        }
    }

    fn plain(&mut self, from: &str) -> String {
        let first = self.of(&["symbol, ts", "symbol, ts, close", "*", "distinct symbol"]);
        let first = if from.contains(" b ") && !self.odd { "candles.symbol, candles.ts" } else { first };
        let mut items = vec![first.to_string()];
        for i in 0..self.below(3) {
            let item = match self.below(6) {
                0 => self.windowed(),
                1 => format!("({})", self.condition(1)),
                2 => format!("(select {} from candles_4h)", self.of(&["max(close)", "count(*)"])),
                _ => self.number(2),
            };
            let alias = if self.oddly(4) {
                self.of(&["", "as close", "as ts", "as \"a b\"", "as select"]).to_string()
            } else {
                format!("as x{i}")
            };
            items.push(format!("{item} {alias}"));
        }
        let filter = if self.once_in(3) { format!(" where {}", self.filter()) } else { String::new() };
        let window = if self.once_in(4) { " window w as (partition by symbol order by ts)" } else { "" };
        let qualify = if self.once_in(3) { format!(" qualify {}", self.condition(1)) } else { String::new() };
        format!("select {} from {from}{filter}{window}{qualify}", items.join(", "))
    }

    /// A condition of rows, not of series.
    fn filter(&mut self) -> String {
        if self.oddly(3) {
            return self.condition(1);
        }
        match self.below(4) {
            0 => format!("ts {} {}", self.word(COMPARISONS), self.word(TIMES)),
            1 => format!("symbol = {}", self.of(&["'AAPL'", "'aapl'", "'NONE'"])),
            2 => "close > (select avg(close) from candles_4h where symbol = 'EURUSD')".to_string(),
            _ => format!("{} {} {}", self.word(FIELDS), self.word(COMPARISONS), self.word(NUMBERS)),
        }
    }

    /// A call with OVER.
    fn windowed(&mut self) -> String {
        let call = self.word(WINDOWED);
        if self.oddly(4) {
            return format!("{call} over w");
        }
        let order = self.of(&["order by ts", "order by ts", "order by ts desc", "order by close, ts"]);
        let partition = if self.oddly(4) {
            self.of(&["", "partition by close", "partition by nothing"])
        } else {
            "partition by symbol"
        };
        format!("{call} over ({partition} {order} {})", self.word(FRAMES))
    }

    fn with_slips(&mut self, mut text: String) -> String {
        if self.slips {
            for _ in 0..=self.below(2) {
                text = self.slip(&text);
            }
        }
        text
    }

    /// A word less, twice, elsewhere or another, or a letter less.
    fn slip(&mut self, text: &str) -> String {
        let mut words = words(text);
        if words.is_empty() {
            return self.of(&SLIPS).to_string();
        }
        let (at, other) = (self.below(words.len()), self.below(words.len()));
        match self.below(8) {
            0 => drop(words.remove(at)),
            1 => words.insert(at, words[at]),
            2 => words.swap(at, other),
            3 => words[at] = self.of(&SLIPS),
            4 => words.insert(at, self.of(&SLIPS)),
            5 => words.truncate(at + 1),
            6 => words[at] = self.of(NUMBERS.1),
            _ => {
                let mut letters: Vec<char> = text.chars().collect();
                letters.remove(self.below(letters.len()));
                return letters.into_iter().collect();
            }
        }
        words.concat()
    }
}

/// Names and numbers whole, everything else by characters.
fn words(text: &str) -> Vec<&str> {
    let is_word = |c: char| c.is_alphanumeric() || c == '_';
    let mut words = vec![];
    let mut rest = text;
    while let Some(first) = rest.chars().next() {
        let end = if is_word(first) { rest.find(|c| !is_word(c)).unwrap_or(rest.len()) } else { first.len_utf8() };
        let (word, after) = rest.split_at(end);
        words.push(word);
        rest = after;
    }
    words
}
