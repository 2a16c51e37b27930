//! A second reading of the formula language, as plain as can be: lists of options, one pass an operation.

use std::fmt::{Display, Formatter};

/// Random numbers that are the same in every run.
pub struct Dice(u64);

impl Dice {
    pub fn new(seed: u64) -> Dice {
        Dice(seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1)
    }

    pub fn below(&mut self, n: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 >> 11) as usize % n
    }
}

/// The bars of a symbol: open, high, low, close, volume.
#[derive(Default)]
pub struct Series {
    pub symbol: String,
    pub times: Vec<i64>,
    pub rows: Vec<[Option<f64>; 5]>,
}

pub struct Frame<'a>(&'a Series);

impl<'a> Frame<'a> {
    pub fn of(series: &'a Series) -> Frame<'a> {
        Frame(series)
    }

    fn column(&self, i: usize) -> Vec<Option<f64>> {
        self.0.rows.iter().map(|r| r[i]).collect()
    }
}

const FIELDS: [&str; 5] = ["open", "high", "low", "close", "volume"];

/// A number of every bar.
#[derive(Clone)]
pub enum Number {
    Field(usize),
    Literal(f64),
    Arithmetic(char, Box<Number>, Box<Number>),
    Minus(Box<Number>),
    Abs(Box<Number>),
    /// `name(x, n)`.
    Rolling(&'static str, Box<Number>, usize),
    Lag(Box<Number>, usize),
}

/// A condition of every bar.
pub enum Node {
    Compare(&'static str, Number, Number),
    Cross(bool, Number, Number),
    Between(Number, Number, Number),
    IsNull(bool, Number),
    Not(Box<Node>),
    And(Box<Node>, Box<Node>),
    Or(Box<Node>, Box<Node>),
}

const ROLLING: [&str; 6] = ["sma", "ema", "rsi", "highest", "lowest", "std"];

impl Number {
    fn any(dice: &mut Dice, depth: usize) -> Number {
        let next = |dice: &mut Dice| Box::new(Number::any(dice, depth - 1));
        match if depth == 0 { dice.below(2) } else { dice.below(9) } {
            0 | 2 => Number::Field(dice.below(5)),
            1 => Number::Literal([0.0, 1.0, 30.0, 50.0, 2.5][dice.below(5)]),
            3 => {
                let op = ['+', '-', '*', '/'][dice.below(4)];
                let left = next(dice);
                Number::Arithmetic(op, left, next(dice))
            }
            4 => Number::Minus(next(dice)),
            5 => Number::Abs(next(dice)),
            6 => Number::Lag(Box::new(Number::series(dice, depth - 1)), 1 + dice.below(4)),
            _ => {
                let name = ROLLING[dice.below(ROLLING.len())];
                Number::Rolling(name, Box::new(Number::series(dice, depth - 1)), 2 + dice.below(9))
            }
        }
    }

    /// A number that is not the same for every bar.
    fn series(dice: &mut Dice, depth: usize) -> Number {
        match Number::any(dice, depth) {
            Number::Literal(_) => Number::Field(3),
            other if other.is_constant() => Number::Field(0),
            other => other,
        }
    }

    fn is_constant(&self) -> bool {
        match self {
            Number::Field(_) => false,
            Number::Literal(_) => true,
            Number::Arithmetic(_, a, b) => a.is_constant() && b.is_constant(),
            Number::Minus(a) | Number::Abs(a) | Number::Rolling(_, a, _) | Number::Lag(a, _) => a.is_constant(),
        }
    }

    fn values(&self, frame: &Frame<'_>) -> Vec<Option<f64>> {
        let map2 = |a: &Number, b: &Number, f: &dyn Fn(f64, f64) -> Option<f64>| {
            let (a, b) = (a.values(frame), b.values(frame));
            a.iter().zip(&b).map(|(a, b)| f((*a)?, (*b)?)).collect()
        };
        let map = |a: &Number, f: fn(f64) -> f64| a.values(frame).into_iter().map(|v| v.map(f)).collect();
        match self {
            Number::Field(i) => frame.column(*i),
            Number::Literal(v) => vec![Some(*v); frame.0.rows.len()],
            Number::Arithmetic('+', a, b) => map2(a, b, &|a, b| Some(a + b)),
            Number::Arithmetic('-', a, b) => map2(a, b, &|a, b| Some(a - b)),
            Number::Arithmetic('*', a, b) => map2(a, b, &|a, b| Some(a * b)),
            Number::Arithmetic(_, a, b) => map2(a, b, &|a, b| (b != 0.0).then(|| a / b)),
            Number::Minus(a) => map(a, |v| -v),
            Number::Abs(a) => map(a, f64::abs),
            Number::Lag(a, n) => {
                over_valid(&a.values(frame), |x| (0..x.len()).map(|i| i.checked_sub(*n).map(|i| x[i])).collect())
            }
            Number::Rolling(name, a, n) => over_valid(&a.values(frame), |x| rolling(name, x, *n)),
        }
    }
}

/// A function of the bars with a value; the others are passed over.
fn over_valid(values: &[Option<f64>], f: impl Fn(&[f64]) -> Vec<Option<f64>>) -> Vec<Option<f64>> {
    let at: Vec<usize> = (0..values.len()).filter(|&i| values[i].is_some_and(f64::is_finite)).collect();
    let dense: Vec<f64> = at.iter().filter_map(|&i| values[i]).collect();
    let mut all = vec![None; values.len()];
    for (i, value) in at.into_iter().zip(f(&dense)) {
        all[i] = value;
    }
    all
}

fn rolling(name: &str, x: &[f64], n: usize) -> Vec<Option<f64>> {
    let windowed = |f: &dyn Fn(&[f64]) -> f64| {
        (0..x.len()).map(|i| (i + 1 >= n).then(|| f(&x[i + 1 - n..=i]))).collect::<Vec<_>>()
    };
    let mean = |w: &[f64]| w.iter().sum::<f64>() / w.len() as f64;
    match name {
        "sma" => windowed(&mean),
        "highest" => windowed(&|w| w.iter().copied().fold(f64::NEG_INFINITY, f64::max)),
        "lowest" => windowed(&|w| w.iter().copied().fold(f64::INFINITY, f64::min)),
        "std" => windowed(&|w| (w.iter().map(|v| (v - mean(w)).powi(2)).sum::<f64>() / n as f64).sqrt()),
        "ema" => {
            let mut last: Option<f64> = None;
            let step = 2.0 / (n as f64 + 1.0);
            (0..x.len())
                .map(|i| {
                    last = match last {
                        Some(before) => Some(before + step * (x[i] - before)),
                        None if i + 1 == n => Some(mean(&x[..n])),
                        None => None,
                    };
                    last
                })
                .collect()
        }
        _ => {
            // Wilder's: gains and losses of the first n changes averaged, then smoothed.
            let (mut up, mut down) = (0.0, 0.0);
            (0..x.len())
                .map(|i| {
                    let change = if i == 0 { return None } else { x[i] - x[i - 1] };
                    let (gain, loss) = (change.max(0.0), (-change).max(0.0));
                    if i <= n {
                        (up, down) = (up + gain / n as f64, down + loss / n as f64);
                        if i < n {
                            return None;
                        }
                    } else {
                        up = (up * (n as f64 - 1.0) + gain) / n as f64;
                        down = (down * (n as f64 - 1.0) + loss) / n as f64;
                    }
                    Some(if up + down < 1e-14 { 0.0 } else { 100.0 * up / (up + down) })
                })
                .collect()
        }
    }
}

/// A truth, and whether rounding could not have made it another.
type Truth = (Option<bool>, bool);

impl Node {
    /// A condition under which two sides that are compared are the same but for rounding, so that either may be the larger.
    pub fn is_tie(&self) -> String {
        let near = |a: &Number, b: &Number| {
            format!("coalesce(abs(({a}) - ({b})) <= 1e-9 * greatest(abs({a}), abs({b})), false)")
        };
        let before = |number: &Number| Number::Lag(Box::new(number.clone()), 1);
        match self {
            Node::Compare(_, a, b) => near(a, b),
            Node::Cross(_, a, b) => format!("({} or {})", near(a, b), near(&before(a), &before(b))),
            Node::Between(x, low, high) => format!("({} or {})", near(x, low), near(x, high)),
            Node::IsNull(..) => "false".to_string(),
            Node::Not(inner) => inner.is_tie(),
            Node::And(a, b) | Node::Or(a, b) => format!("({} or {})", a.is_tie(), b.is_tie()),
        }
    }

    pub fn condition(dice: &mut Dice, depth: usize) -> Node {
        let next = |dice: &mut Dice| Box::new(Node::condition(dice, depth - 1));
        match if depth == 0 { dice.below(5) } else { dice.below(8) } {
            0..=2 => {
                let op = ["<", ">", "<=", ">=", "=", "<>"][dice.below(6)];
                let left = Number::series(dice, 2);
                Node::Compare(op, left, Number::any(dice, 2))
            }
            3 => {
                let above = dice.below(2) == 0;
                let left = Number::series(dice, 2);
                Node::Cross(above, left, Number::any(dice, 1))
            }
            4 if dice.below(2) == 0 => {
                let not = dice.below(2) == 0;
                Node::IsNull(not, Number::series(dice, 2))
            }
            4 => {
                let (x, low) = (Number::series(dice, 1), Number::any(dice, 1));
                Node::Between(x, low, Number::any(dice, 1))
            }
            5 => Node::Not(next(dice)),
            6 => {
                let left = next(dice);
                Node::And(left, next(dice))
            }
            _ => {
                let left = next(dice);
                Node::Or(left, next(dice))
            }
        }
    }

    /// What it is for every bar.
    pub fn truth(&self, frame: &Frame<'_>) -> Vec<Truth> {
        let of = |a: Option<f64>, b: Option<f64>, f: &dyn Fn(f64, f64) -> bool| -> Truth {
            match (a, b) {
                (Some(a), Some(b)) => (Some(f(a, b)), a == b || (a - b).abs() > 1e-7 * a.abs().max(b.abs()).max(1.0)),
                _ => (None, true),
            }
        };
        let and = |a: Truth, b: Truth| -> Truth {
            let value = match (a.0, b.0) {
                (Some(false), _) | (_, Some(false)) => Some(false),
                (Some(true), Some(true)) => Some(true),
                _ => None,
            };
            (value, a.1 && b.1)
        };
        let not = |a: Truth| -> Truth { (a.0.map(|v| !v), a.1) };
        match self {
            Node::Compare(op, a, b) => {
                let f: &dyn Fn(f64, f64) -> bool = match *op {
                    "<" => &|a, b| a < b,
                    ">" => &|a, b| a > b,
                    "<=" => &|a, b| a <= b,
                    ">=" => &|a, b| a >= b,
                    "=" => &|a, b| a == b,
                    _ => &|a, b| a != b,
                };
                let exact = a.is_exact() && b.is_exact();
                let (a, b) = (a.values(frame), b.values(frame));
                let truth = |(a, b): (&Option<f64>, &Option<f64>)| {
                    let (value, certain) = of(*a, *b, f);
                    let equal = a.is_some() && a == b;
                    // For DataFusion -0.0 is less than 0.0.
                    let zeros = equal && a.map(f64::is_sign_negative) != b.map(f64::is_sign_negative);
                    (value, certain && (exact || !equal) && !zeros)
                };
                a.iter().zip(&b).map(truth).collect()
            }
            Node::Cross(above, a, b) => {
                let exact = a.is_exact() && b.is_exact();
                let (a, b) = (a.values(frame), b.values(frame));
                let (a, b) = if *above { (a, b) } else { (b, a) };
                let mut before: Option<(f64, f64)> = None;
                let near = |a: f64, b: f64| !exact && (a - b).abs() <= 1e-7 * a.abs().max(b.abs()).max(1.0);
                let mut all = vec![];
                for (a, b) in a.iter().zip(&b) {
                    let (Some(a), Some(b)) = (*a, *b) else {
                        all.push((None, true));
                        continue;
                    };
                    let crossed = before.map(|(p, q)| a > b && p <= q);
                    let certain = !near(a, b) && before.is_none_or(|(p, q)| !near(p, q));
                    all.push((crossed, certain));
                    before = Some((a, b));
                }
                all
            }
            Node::Between(x, low, high) => {
                let (x, low, high) = (x.values(frame), low.values(frame), high.values(frame));
                let sides = x.iter().zip(&low).zip(&high);
                sides
                    .map(|((x, l), h)| {
                        let (a, b) = (of(*x, *l, &|a, b| a >= b), of(*x, *h, &|a, b| a <= b));
                        let equal = x.is_some() && (x == l || x == h);
                        let both = and(a, b);
                        (both.0, both.1 && !equal)
                    })
                    .collect()
            }
            Node::IsNull(not, x) => x.values(frame).iter().map(|v| (Some(v.is_none() != *not), true)).collect(),
            Node::Not(inner) => inner.truth(frame).into_iter().map(not).collect(),
            Node::And(a, b) => a.truth(frame).into_iter().zip(b.truth(frame)).map(|(a, b)| and(a, b)).collect(),
            Node::Or(a, b) => {
                let pairs = a.truth(frame).into_iter().zip(b.truth(frame));
                pairs.map(|(a, b)| not(and(not(a), not(b)))).collect()
            }
        }
    }
}

impl Number {
    /// Whether it is computed without rounding that another order of operations would change.
    fn is_exact(&self) -> bool {
        match self {
            Number::Field(_) | Number::Literal(_) => true,
            Number::Arithmetic(_, a, b) => a.is_exact() && b.is_exact(),
            Number::Minus(a) | Number::Abs(a) | Number::Lag(a, _) => a.is_exact(),
            Number::Rolling(name, a, _) => matches!(*name, "highest" | "lowest") && a.is_exact(),
        }
    }
}

impl Display for Number {
    fn fmt(&self, f: &mut Formatter<'_>) -> std::fmt::Result {
        match self {
            Number::Field(i) => write!(f, "{}", FIELDS[*i]),
            Number::Literal(v) => write!(f, "{v:?}"),
            Number::Arithmetic(op, a, b) => write!(f, "({a} {op} {b})"),
            Number::Minus(a) => write!(f, "(-{a})"),
            Number::Abs(a) => write!(f, "abs({a})"),
            Number::Rolling(name, a, n) => write!(f, "{name}({a}, {n})"),
            Number::Lag(a, n) => write!(f, "lag({a}, {n})"),
        }
    }
}

impl Display for Node {
    fn fmt(&self, f: &mut Formatter<'_>) -> std::fmt::Result {
        match self {
            Node::Compare(op, a, b) => write!(f, "{a} {op} {b}"),
            Node::Cross(true, a, b) => write!(f, "{a} crosses_above {b}"),
            Node::Cross(false, a, b) => write!(f, "{a} crosses_below {b}"),
            Node::Between(x, low, high) => write!(f, "{x} between {low} and {high}"),
            Node::IsNull(false, x) => write!(f, "{x} is null"),
            Node::IsNull(true, x) => write!(f, "{x} is not null"),
            Node::Not(inner) => write!(f, "not ({inner})"),
            Node::And(a, b) => write!(f, "({a}) and ({b})"),
            Node::Or(a, b) => write!(f, "({a}) or ({b})"),
        }
    }
}
