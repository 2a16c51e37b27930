//! What anybody might type ends with a result or with a message worth reading: no panic, no talk of a bug, no hang.

mod texts;

use crate::common::{session, try_query};
use crate::interpreter::{Dice, Node};
use arrow::datatypes::DataType;
use datafusion::logical_expr::{Volatility, create_udf};
use futures::StreamExt;
use std::sync::Arc;
use std::sync::mpsc::{self, RecvTimeoutError};
use std::time::Duration;
use tallow::pipeline::bounds::{Range, bounded};
use tallow::pipeline::control::Control;
use tallow::pipeline::functions::describe_all;
use tallow::pipeline::scan::{Group, Rank, Scan, Sweep};
use tallow::{Error, Session};
use tallow_common::time::instant;
use tallow_engine::dialect::{Formula, Params};
use texts::{Function, Texts};

/// After so many hangs, whose threads may still be busy, the others are not worth waiting for.
const MOST_HANGS: usize = 5;
/// Rows that are taken of one result.
const ROWS: usize = 50_000;

/// What a message must not say: DataFusion's words for mistakes of its own, and what is left of a panic.
const TALK: [&str; 6] =
    ["internal error", "bug in datafusion", "likely caused by", "panicked", "unreachable", "index out of bounds"];

/// What a short run takes, and what a long one does, with `TALLOW_LONG=1`.
fn of(short: u64, long: u64) -> u64 {
    if std::env::var("TALLOW_LONG").is_ok_and(|v| v == "1") { long } else { short }
}

/// A text, and the number that it and everything about it are made of.
#[derive(Clone)]
struct Case {
    seed: u64,
    text: String,
}

fn functions() -> Vec<Function> {
    let all = describe_all().into_iter().filter(|f| f.kind != "table");
    all.map(|f| {
        let value = |default: Option<String>| default.unwrap_or_else(|| "5".to_string());
        Function { name: f.name, parameters: f.params.into_iter().map(|p| value(p.default)).collect() }
    })
    .collect()
}

/// How texts ended.
#[derive(Default)]
struct Tried {
    /// Those that must not end so.
    faults: Vec<(String, String)>,
    done: usize,
    refused: usize,
}

impl Tried {
    fn assert_no_fault(&self) {
        let Tried { faults, done, refused } = self;
        let shown = &faults[..faults.len().min(20)];
        assert!(faults.is_empty(), "{} of {} texts, such as {shown:#?}", faults.len(), faults.len() + done + refused);
        // Neither is of use alone.
        assert!(done * 8 > *refused && refused * 8 > *done, "{done} done, {refused} refused");
    }
}

/// Tries texts one by one, each on a thread of its own, so that a panic or a hang ends no other. Stacks are as large as
/// the program's: what is too deep must be told, and not end the process.
fn tried(cases: impl Iterator<Item = Case>, run: fn(&Session, &Case) -> Result<usize, Error>) -> Tried {
    // No text takes nearly as long. On a machine that runs other tests too, nothing is said of the time.
    let patience = Duration::from_secs(of(60, 10));
    let (mut tried, mut hangs, mut open) = (Tried::default(), 0, None);
    for case in cases {
        // One that was lost to a fault may still be busy.
        let session = open.take().unwrap_or_else(|| block_on(session()));
        let (sender, receiver) = mpsc::channel();
        let work = {
            let case = case.clone();
            move || {
                let result = run(&session, &case);
                drop(sender.send((session, result)));
            }
        };
        let thread = std::thread::Builder::new().stack_size(8 << 20).spawn(work).unwrap();
        let fault = match receiver.recv_timeout(patience) {
            Err(RecvTimeoutError::Timeout) => {
                hangs += 1;
                Some(format!("not done after {} s", patience.as_secs()))
            }
            Err(RecvTimeoutError::Disconnected) => {
                Some(format!("panic: {:?}", thread.join().err().and_then(|p| p.downcast_ref::<String>().cloned())))
            }
            Ok((session, result)) => {
                open = Some(session);
                match result {
                    Ok(_) => {
                        tried.done += 1;
                        None
                    }
                    Err(error) => {
                        tried.refused += 1;
                        talk(&error)
                    }
                }
            }
        };
        let cut = |text: &str| text.chars().take(600).collect::<String>();
        tried.faults.extend(fault.map(|fault| (format!("{}: {}", case.seed, cut(&case.text)), cut(&fault))));
        if hangs == MOST_HANGS {
            break;
        }
    }
    tried
}

fn block_on<T>(work: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(work)
}

/// A message that is none for a user.
fn talk(error: &Error) -> Option<String> {
    let said = error.to_string();
    let lower = said.to_ascii_lowercase();
    (said.is_empty() || TALK.iter().any(|talk| lower.contains(talk))).then_some(said)
}

/// The rows of a text with several statements.
async fn rows_of(session: &Session, Case { seed, text }: &Case) -> Result<usize, Error> {
    let mut rows = 0;
    let range = range(&mut Dice::new(*seed));
    for statement in session.parse(text, &params(*seed)).await?.statements {
        let frame = bounded(session, session.frame(statement).await?, range).await?;
        let mut batches = session.execute(frame.create_physical_plan().await?)?;
        while let Some(batch) = batches.next().await {
            rows += batch?.num_rows();
            if rows > ROWS {
                break;
            }
        }
    }
    Ok(rows)
}

/// Values of parameters for two texts in three.
fn params(seed: u64) -> Params {
    let mut params = Params::default();
    Texts::new(seed, &[]).parameters().into_iter().for_each(|(name, value)| params.set(name, value));
    params
}

/// A time range for one text in four.
fn range(dice: &mut Dice) -> Range {
    let at = |text| Some(instant(text).unwrap());
    match dice.below(12) {
        0 => Range { from: at("2017-11-01"), to: None },
        1 => Range { from: at("2017-11-01"), to: at("2017-12-01") },
        2 => Range { from: None, to: at("2013-06-01") },
        _ => Range::default(),
    }
}

/// A scan of a formula with a choice of options, over two symbols.
fn scan(Case { seed, text }: &Case) -> Result<Scan, Error> {
    let mut dice = Dice::new(*seed);
    let mut sweep = Sweep::default();
    if dice.below(8) == 0 {
        sweep.add("p=5..20:5")?;
    }
    let four_hours = dice.below(6) == 0;
    let symbols = if four_hours { ["EURUSD", "BTC-USD"] } else { ["AAPL", "MSFT"] };
    Ok(Scan {
        params: params(*seed),
        table: if four_hours { "candles_4h" } else { "candles" }.to_string(),
        symbols: Some(symbols.map(str::to_string).to_vec()),
        range: range(&mut dice),
        last: dice.below(4) == 0,
        rank: (dice.below(6) == 0).then(|| Rank::parse("volume / sma(volume, 50)")).transpose()?,
        top: (dice.below(6) == 0).then_some(3),
        group: [None, None, None, Some(Group::Date), Some(Group::Symbol)][dice.below(5)],
        sweep,
        allow_lookahead: dice.below(2) == 0,
        ..Scan::of(Formula::parse(text)?)
    })
}

async fn matches_of(session: &Session, case: &Case) -> Result<usize, Error> {
    let mut found = scan(case)?.run(session, &Control::default()).await?;
    let mut rows = 0;
    while let Some(batch) = found.stream.next().await {
        rows += batch?.num_rows();
    }
    Ok(rows)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_panic_is_an_error_and_not_the_end_of_the_rows() {
    let session = session().await;
    let number = DataType::Float64;
    let boom = create_udf("boom", vec![number.clone()], number, Volatility::Volatile, Arc::new(|_| panic!("boom")));
    session.context().register_udf(boom);
    let error = try_query(&session, "select boom(close) from candles").await.unwrap_err().to_string();
    assert!(error.contains("boom"), "{error}");
}

#[test]
fn formulas_end_with_a_result_or_a_message() {
    let functions = functions();
    let case = |seed: u64| {
        let text = match seed % 4 {
            // Those of the other reading of the language are all sound.
            0 => Node::condition(&mut Dice::new(seed), 3).to_string(),
            _ => Texts::new(seed, &functions).formula(),
        };
        Case { seed, text }
    };
    let run = |session: &Session, case: &Case| block_on(matches_of(session, case));
    tried((0..of(600, 100_000)).map(case), run).assert_no_fault();
}

#[test]
fn statements_end_with_a_result_or_a_message() {
    let functions = functions();
    let case = |seed: u64| Case { seed, text: Texts::new(seed, &functions).sql() };
    let run = |session: &Session, case: &Case| block_on(rows_of(session, case));
    tried((0..of(250, 10_000)).map(case), run).assert_no_fault();
}
