//! Back-tests over all symbols: money is neither made nor lost, nothing looks ahead, and other engines agree.

use crate::cli::{tallow, text};
use crate::common::{numbers, session};
use crate::interpreter::Dice;
use arrow::array::{AsArray, RecordBatch};
use arrow::datatypes::Int64Type;
use std::process::Command;
use tallow::pipeline::backtest::{Backtest, Detail, Discovery, Distance, Every, Results, Shuffles, Size, Terms};
use tallow::pipeline::control::Control;
use tallow::pipeline::scan::{self, Rank};
use tallow::pipeline::sweep::{Sweep, Swept};
use tallow::{Error, Session};
use tallow_engine::dialect::Formula;
use tallow_udfs::trade::backtest::Side;
use tallow_udfs::trade::backtest::account::{Costs, Lots};
use tallow_udfs::trade::backtest::rules::{Both, Fill, Profile, Rules, Trail};

fn formula(text: &str) -> Formula {
    Formula::parse(text).unwrap()
}

fn crossing() -> Backtest {
    Backtest {
        exit: Some(formula("sma(10) crosses_below sma(50)")),
        terms: Terms { slots: 20, ..Terms::default() },
        ..Backtest::of(formula("sma(10) crosses_above sma(50)"))
    }
}

async fn run(session: &Session, backtest: &Backtest) -> Results {
    backtest.run(session, &Control::default()).await.unwrap()
}

fn sum(rows: &RecordBatch, column: &str) -> f64 {
    numbers(rows, column).iter().filter(|value| value.is_finite()).sum()
}

/// Strategies of every kind.
fn strategies() -> Vec<Backtest> {
    let costs = Costs { slippage: 0.0005, commission: 0.001, fixed: 1.0, per_unit: 0.005, minimum: 2.0, borrow: 0.03 };
    let both_sides = Backtest {
        short_entry: Some(formula("rsi(14) > 70")),
        short_exit: Some(formula("rsi(14) < 50")),
        exit: Some(formula("rsi(14) > 55")),
        stop: Some(Distance::parse("stop", "2 * atr(14)").unwrap()),
        trail: Some(Distance::parse("trail", "8%").unwrap()),
        rank: Some(Rank::parse("volume / sma(volume, 50)").unwrap()),
        terms: Terms { slots: 15, costs, leverage: 2.0, maintenance: 0.25, ..Terms::default() },
        ..Backtest::of(formula("rsi(14) < 30"))
    };
    let at_close = Backtest {
        target: Some(Distance::parse("target", "5%").unwrap()),
        stop: Some(Distance::level("lowest(low, 20)").unwrap()),
        size: Some(Size::risk("1%").unwrap()),
        rules: Rules { fill: Fill::Close, both: Both::Near, trail: Trail::HighFirst, ..Profile::Tallow.rules() },
        terms: Terms { costs, lots: Lots { lot: 1.0, minimum: 500.0, participation: 0.001 }, ..Terms::default() },
        ..crossing()
    };
    let at_once = Backtest { size: Some(Size::Value(20_000.0)), ..crossing() };
    let waiting = Backtest {
        entry_limit: Some(Distance::parse("entry_limit", "0.5 * atr(14)").unwrap()),
        target: Some(Distance::parse("target", "3%").unwrap()),
        rules: Rules { valid_bars: 5, both: Both::Near, ..Profile::Tallow.rules() },
        ..both_sides.clone()
    };
    let beyond = Backtest { entry_stop: Some(Distance::level("highest(high, 20)").unwrap()), ..crossing() };
    let weighted = Backtest {
        entry: None,
        exit: None,
        weight: Some(formula("case when close > sma(50) then 0.1 when close < sma(200) then -0.1 end")),
        rank: Some(Rank::parse("abs(roc(60))").unwrap()),
        rebalance: Every::Week,
        terms: Terms { costs, leverage: 1.5, lots: Lots { lot: 1.0, ..Lots::default() }, ..Terms::default() },
        ..Backtest::default()
    };
    vec![crossing(), both_sides, at_close, at_once, waiting, beyond, weighted]
}

#[tokio::test(flavor = "multi_thread")]
async fn money_is_neither_made_nor_lost() {
    let session = session().await;
    for (i, strategy) in strategies().iter().enumerate() {
        let Results { trades, equity, .. } = run(&session, strategy).await;
        assert!(trades.num_rows() > 200, "{i}: {} trades", trades.num_rows());
        let (cash, value, worth) = (numbers(&equity, "cash"), numbers(&equity, "value"), numbers(&equity, "equity"));
        for row in 0..worth.len() {
            assert!((cash[row] + value[row] - worth[row]).abs() < 1e-9 * worth[row].abs(), "{i}, {row}");
            assert!(strategy.terms.leverage > 1.0 || cash[row] > -1e-6, "{i}: cash {} at {row}", cash[row]);
        }
        // All is sold at the end: what trades gained is what the account grew by.
        assert_eq!(equity.column_by_name("positions").unwrap().as_primitive::<Int64Type>().values().last(), Some(&0));
        let grown = worth.last().unwrap() - strategy.terms.cash;
        assert!((sum(&trades, "pnl") - grown).abs() < 1e-6, "{i}: {} {grown}", sum(&trades, "pnl"));
        let slots = strategy.terms.slots as i64;
        let positions = equity.column_by_name("positions").unwrap().as_primitive::<Int64Type>();
        assert!(positions.values().iter().all(|held| *held <= slots), "{i}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_same_bytes_come_from_any_number_of_threads() {
    // The bars of all symbols are held in memory, but for the last, which sorts them on disk.
    let sessions = [(1, "1g"), (4, "1g"), (2, "96m")].map(|(threads, memory)| {
        let memory = tallow_engine::resources::parse_bytes(memory).unwrap();
        tallow::open(tallow::Settings { threads, memory, ..crate::common::settings() })
    });
    let mut results = vec![];
    for session in sessions {
        let session = session.await.unwrap();
        let mut of_all = vec![];
        for strategy in strategies() {
            let Results { trades, equity, rejected, .. } = run(&session, &strategy).await;
            of_all.extend([trades, equity, rejected]);
        }
        results.push(of_all);
    }
    assert!(results[0] == results[1] && results[1] == results[2]);
}

/// With one symbol and one slot, a portfolio is the function.
#[tokio::test(flavor = "multi_thread")]
async fn one_symbol_alone_is_the_function() {
    let session = session().await;
    let strategy = Backtest {
        symbols: Some(vec!["AAPL".to_string()]),
        stop: Some(Distance::parse("stop", "3%").unwrap()),
        terms: Terms { slots: 1, costs: Costs { commission: 0.001, ..Costs::default() }, ..Terms::default() },
        ..crossing()
    };
    let Results { trades, equity, .. } = run(&session, &strategy).await;
    let sql = "select ts, backtest(entry => sma(10) crosses_above sma(50), exit => sma(10) crosses_below sma(50), \
               stop_fraction => 0.03, commission => 0.001, cash => 100000, end => 'close') as b from candles where symbol = 'AAPL'";
    let bars = crate::common::query(&session, &format!("select b['equity'] as equity from ({sql}) order by ts")).await;
    let pnl = format!("select t['pnl'] as pnl from (select ts, unnest(b['trades']) as t from ({sql})) order by ts");
    let pnl = numbers(&crate::common::query(&session, &pnl).await, "pnl");
    let near = |a: &[f64], b: &[f64]| a.len() == b.len() && a.iter().zip(b).all(|(a, b)| (a - b).abs() < 1e-6);
    assert!(pnl.len() > 5 && near(&numbers(&trades, "pnl"), &pnl));
    assert!(near(&numbers(&equity, "equity"), &numbers(&bars, "equity")));
}

/// The same with an entry that waits for its price.
#[tokio::test(flavor = "multi_thread")]
async fn one_symbol_alone_is_the_function_with_entries_that_wait() {
    let session = session().await;
    let strategy = Backtest {
        symbols: Some(vec!["AAPL".to_string()]),
        entry_limit: Some(Distance::parse("entry_limit", "1%").unwrap()),
        target: Some(Distance::parse("target", "2%").unwrap()),
        stop: Some(Distance::parse("stop", "2%").unwrap()),
        rules: Rules { valid_bars: 4, ..Profile::Tallow.rules() },
        terms: Terms { slots: 1, ..Terms::default() },
        ..Backtest::of(formula("close > sma(50)"))
    };
    let Results { trades, rejected, .. } = run(&session, &strategy).await;
    let sql = "select symbol, ts, backtest(entry => close > sma(50), entry_limit_fraction => 0.01, valid_bars => 4, \
               target_fraction => 0.02, stop_fraction => 0.02, cash => 100000, end => 'close') as b from candles where symbol = 'AAPL'";
    let pnl = format!("select t['pnl'] as pnl from (select ts, unnest(b['trades']) as t from ({sql})) order by ts");
    let want = numbers(&crate::common::query(&session, &pnl).await, "pnl");
    let got = numbers(&trades, "pnl");
    assert!(got.len() > 50 && got.len() == want.len() && got.iter().zip(&want).all(|(a, b)| (a - b).abs() < 1e-6));
    assert!(rejected.column(0).as_string::<i32>().iter().any(|reason| reason == Some("in_position")));
}

/// A day touches both; its parts of six hours tell which came first.
#[tokio::test(flavor = "multi_thread")]
async fn shorter_bars_tell_what_came_first() {
    let session = session().await;
    let folder = tempfile::tempdir().unwrap();
    let write = |name: &str, rows: &str| {
        let path = folder.path().join(name);
        std::fs::write(&path, format!("symbol,ts,open,high,low,close,volume\n{rows}")).unwrap();
        path.display().to_string()
    };
    let mut days = String::new();
    for (day, bar) in
        ["100,101,99,100", "100,101,99,100", "100,111,89,100", "100,111,89,100", "100,101,99,100"].iter().enumerate()
    {
        for symbol in ["A", "B"] {
            days += &format!("{symbol},2024-01-0{},{bar},1\n", day + 1);
        }
    }
    // Of A the target is touched first, of B the stop: below it at once, at an open of 88.
    let parts = [
        ("A", ["100,103,98,102", "102,111,101,103", "103,104,89,95", "95,100,94,100"]),
        ("B", ["100,103,98,97", "88,96,87,95", "95,111,94,105", "105,106,99,100"]),
    ];
    let mut hours = String::new();
    for (symbol, bars) in parts {
        for (part, bar) in bars.iter().enumerate() {
            hours += &format!("{symbol},2024-01-03T{:02}:00:00Z,{bar},1\n", part * 6);
        }
    }
    let (days, hours) = (write("days.csv", &days), write("hours.csv", &hours));
    let of = |detail: Option<&String>| Backtest {
        table: days.clone(),
        detail: detail.cloned().map(Detail::Table),
        stop: Some(Distance::parse("stop", "10%").unwrap()),
        target: Some(Distance::parse("target", "10%").unwrap()),
        ..Backtest::of(formula("ts = timestamp '2024-01-01 00:00:00' or ts = timestamp '2024-01-03 00:00:00'"))
    };
    let left = |results: &Results| {
        let of = |name: &str| results.trades.column_by_name(name).unwrap().as_string::<i32>().clone();
        let (symbols, reasons) = (of("symbol"), of("reason"));
        let rows = symbols.iter().zip(&reasons).zip(numbers(&results.trades, "exit_price"));
        rows.map(|((symbol, reason), price)| format!("{} {} {price:.2}", symbol.unwrap(), reason.unwrap()))
            .collect::<Vec<_>>()
    };
    let cautious = run(&session, &of(None)).await;
    assert_eq!(left(&cautious), ["A stop 90.00", "B stop 90.00", "A stop 90.00", "B stop 90.00"]);
    // Of the fourth day there are no parts.
    let told = run(&session, &of(Some(&hours))).await;
    assert_eq!(left(&told), ["A target 110.00", "B stop 88.00", "A stop 90.00", "B stop 90.00"]);
    assert!(told.warnings[0].contains("no bars within 2 of 4 bars"), "{:?}", told.warnings);
    let shortest = Backtest { detail: Some(Detail::Shortest), ..of(None) };
    // The lake's own know neither symbol.
    let own = run(&session, &shortest).await.warnings;
    assert!(own[0].starts_with("candles_4h: it has no bars within 4 of 4 bars"), "{own:?}");
    let wrong = of(Some(&days)).run(&session, &Control::default()).await.map(|_| ()).unwrap_err().to_string();
    assert!(wrong.contains("expected bars that are shorter than 1d"), "{wrong}");
}

#[tokio::test(flavor = "multi_thread")]
async fn parts_of_the_account_have_no_entries_beside_them() {
    let session = session().await;
    let weighted = |weight: &str| Backtest { weight: Some(formula(weight)), ..Backtest::default() };
    let said = async |strategy: Backtest| {
        strategy.run(&session, &Control::default()).await.map(|_| ()).unwrap_err().to_string()
    };
    let entry = Some(formula("close > 1"));
    assert!(said(Backtest { entry, ..weighted("0.1") }).await.contains("there are no entries and exits beside it"));
    assert!(said(weighted("lead(close, 1) / close")).await.contains("looks into the future (1 bar)"));
    let at_close = Rules { fill: Fill::Close, ..Profile::Tallow.rules() };
    assert!(said(Backtest { rules: at_close, ..weighted("0.1") }).await.contains("restored at the next open"));
    // All in one symbol is that symbol, from the second open on.
    let one = Backtest { symbols: Some(vec!["AAPL".to_string()]), rebalance: Every::Bars(10_000), ..weighted("1.0") };
    let results = run(&session, &one).await;
    let sql = "select last_value(close order by ts) / nth_value(open, 2 order by ts) - 1 as gain from candles where symbol = 'AAPL'";
    let want = numbers(&crate::common::query(&session, sql).await, "gain")[0];
    assert!((numbers(&results.summary, "total_return")[0] - want).abs() < 1e-9);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_strategy_that_looks_ahead_is_refused() {
    let session = session().await;
    let plain = || crossing();
    let ahead = |text: &str| formula(text);
    let planted = [
        (Backtest { entry: Some(ahead("lead(close, 1) > close")), ..plain() }, "entry"),
        (Backtest { exit: Some(ahead("lead_bars(close, 2) < close")), ..plain() }, "exit"),
        (Backtest { entry: Some(ahead("triple_barrier(high, low, close)['label'] = 1")), ..plain() }, "entry"),
        (Backtest { exit: Some(ahead("forward_return(close, 5) < 0")), ..plain() }, "exit"),
        (Backtest { entry: Some(ahead("path_labels(high, low, close)['mfe'] > 1")), ..plain() }, "entry"),
        (Backtest { rank: Some(Rank::parse("lead(close, 5) / close").unwrap()), ..plain() }, "rank"),
        (Backtest { size: Some(Size::parse("lead(close, 1) / close / 20").unwrap()), ..plain() }, "size"),
        (Backtest { stop: Some(Distance::level("lead(low, 1)").unwrap()), ..plain() }, "stop"),
        (
            Backtest {
                entry: Some(ahead(
                    "close = max(close) over (partition by symbol order by ts rows between 5 preceding and 5 following)",
                )),
                ..plain()
            },
            "entry",
        ),
        (
            Backtest { short_entry: Some(ahead("close = max(close) over (partition by symbol)")), ..plain() },
            "short entry",
        ),
    ];
    for (strategy, what) in planted {
        let error = strategy.run(&session, &Control::default()).await.map(|_| ()).unwrap_err().to_string();
        assert!(error.contains(&format!("the {what} `")) && error.contains("looks into the future"), "{error}");
    }
    // A week that has not ended is not seen: Friday's bar does not know it.
    let weekly = Backtest { entry: Some(formula("close > sma(10)@1w")), ..plain() };
    assert!(run(&session, &weekly).await.trades.num_rows() > 100);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_cannot_be_run_is_told() {
    let session = session().await;
    let of = async |strategy: Backtest| strategy.run(&session, &Control::default()).await;
    let said = async |strategy: Backtest| of(strategy).await.map(|_| ()).unwrap_err().to_string();
    let symbols = Some(vec!["AAPL".to_string(), "NOPE".to_string()]);
    assert!(said(Backtest { symbols, ..crossing() }).await.contains("has no bars of NOPE"));
    assert!(said(Backtest::of(formula("close"))).await.contains("is a number, not a condition"));
    let rank = Some(Rank::parse("close > 1").unwrap());
    assert!(said(Backtest { rank, ..crossing() }).await.contains("the rank `close > 1` is a condition"));
    assert!(said(Backtest { benchmark: Some("NOPE".into()), ..crossing() }).await.contains("benchmark 'NOPE'"));
    let mut params = tallow_engine::dialect::Params::default();
    params.set("fast", "3");
    assert!(said(Backtest { params, ..crossing() }).await.contains("no formula has a parameter `fast`"));
    let terms = Terms { cash: -5.0, ..Terms::default() };
    assert!(matches!(of(Backtest { terms, ..crossing() }).await, Err(Error::Argument("cash", _))));

    let heavy = Backtest {
        size: Some(Size::Fraction(0.5)),
        terms: Terms { max_weight: 0.4, ..Terms::default() },
        ..crossing()
    };
    let heavy = of(heavy).await.unwrap();
    assert_eq!(heavy.trades.num_rows(), 0);
    assert!(heavy.rejected.column(0).as_string::<i32>().iter().any(|reason| reason == Some("max_weight")));
    let never = of(Backtest::of(formula("close < 0"))).await.unwrap();
    assert_eq!(
        (never.trades.num_rows(), never.warnings),
        (0, vec!["no trade: nothing was to be entered at any bar".to_string()])
    );
    let above = Backtest { stop: Some(Distance::level("close * 1.1").unwrap()), ..crossing() };
    assert!(of(above).await.unwrap().warnings[0].contains("a stop on the wrong side of their close"));
}

#[test]
fn the_command_writes_what_it_finds() {
    let folder = tempfile::tempdir().unwrap();
    let (trades, equity) = (folder.path().join("trades.csv"), folder.path().join("equity.parquet"));
    let strategy = [
        "--entry",
        "rsi(:n) < 30",
        "--param",
        "n=14",
        "--exit",
        "rsi(14) > 55",
        "--stop",
        "5%",
        "-t",
        "data/candles/1d",
    ];
    let files = ["--trades", trades.to_str().unwrap(), "--equity", equity.to_str().unwrap(), "--benchmark", "AAPL"];
    let done = tallow(&[&["backtest"], &strategy[..], &files].concat());
    assert!(done.status.success(), "{}", text(&done.stderr));
    let shown = text(&done.stdout);
    for word in ["Sharpe ratio", "largest drawdown", "trades that gained", "252 a year", "return of the benchmark"] {
        assert!(shown.contains(word), "{word}: {shown}");
    }
    assert!(text(&done.stderr).contains("entries did not happen"));
    assert!(std::fs::read_to_string(trades).unwrap().starts_with("symbol,side,entry_ts"));
    assert!(equity.exists());
    let one = tallow(&[&["backtest"], &strategy[..], &["--format", "ndjson", "-q"]].concat());
    assert!(text(&one.stdout).starts_with('{') && text(&one.stdout).lines().count() == 1, "{}", text(&one.stdout));
    for (wrong, said) in [
        (&["--stop", "0.05"][..], "Write 5% for a fraction of the entry"),
        (&["--commission", "0.001"], "--commission 0.001: expected a percentage"),
        (&["--slots", "0"], "--slots 0: expected a number above 0"),
        (&["--cash", "-5"], "--cash -5: expected a number above 0"),
        (&["--profile", "mine"], "possible values: tallow, backtesting.py"),
        (&["--target-steps", "5:1,3:2"], "the bars ascending"),
    ] {
        let rest: Vec<&str> = strategy.iter().copied().filter(|word| !["--stop", "5%"].contains(word)).collect();
        let failed = tallow(&[&["backtest"], &rest[..], wrong].concat());
        assert!(!failed.status.success() && text(&failed.stderr).contains(said), "{said}: {}", text(&failed.stderr));
    }
}

fn swept() -> Sweep {
    let mut grid = scan::Sweep::default();
    for values in ["fast=5,10", "slow=10,50,100"] {
        grid.add(values).unwrap();
    }
    let strategy = Backtest {
        exit: Some(formula("sma(:fast) crosses_below sma(:slow)")),
        stop: Some(Distance::parse("stop", "2 * atr(:fast)").unwrap()),
        terms: Terms { costs: Costs { commission: 0.001, ..Costs::default() }, ..Terms::default() },
        symbols: Some(["AAPL", "MSFT", "GE", "F", "IBM"].map(str::to_string).to_vec()),
        ..Backtest::of(formula("sma(:fast) crosses_above sma(:slow)"))
    };
    Sweep { only: Some("fast < slow".to_string()), ..Sweep::of(strategy, grid) }
}

/// The return of a variant is the mean of what the function gives for each symbol.
#[tokio::test(flavor = "multi_thread")]
async fn a_variant_is_the_mean_of_the_function() {
    let session = session().await;
    let mut sweep = swept();
    sweep.cuts.folds = 4;
    let Swept { variants, luck, .. } = sweep.run(&session, &Control::default()).await.unwrap();
    assert_eq!((variants.num_rows(), luck.trials), (5, 5));
    let sharpes = numbers(&variants, "sharpe");
    assert!(sharpes.is_sorted_by(|a, b| a >= b), "{sharpes:?}");
    for row in 0..5 {
        let [fast, slow] = ["fast", "slow"].map(|name| numbers(&variants, name)[row]);
        let sql = format!(
            "select sharpe(r) as sharpe, total_return(r) as total_return, max_drawdown(r, ts) as max_drawdown, sum(n) as trades from (
               select ts, avg(b['return']) as r, sum(cardinality(b['trades'])) as n from (
                 select symbol, ts, backtest(entry => sma({fast}) crosses_above sma({slow}),
                   exit => sma({fast}) crosses_below sma({slow}), stop_distance => 2 * atr({fast}), commission => 0.001,
                   end => 'close') as b
                 from candles where symbol in ('AAPL', 'MSFT', 'GE', 'F', 'IBM')
               ) group by ts
             )"
        );
        let one = crate::common::query(&session, &sql).await;
        for name in ["sharpe", "total_return", "max_drawdown", "trades"] {
            let (got, want) = (numbers(&variants, name)[row], numbers(&one, name)[0]);
            assert!((got - want).abs() < 1e-9, "{fast} {slow}: {name} {got}, expected {want}");
        }
    }
    let pbo = luck.pbo.unwrap();
    assert_eq!(pbo.splits, 12_870);
    assert!((0.0..=1.0).contains(&pbo.probability) && (1.0..=5.0).contains(&luck.effective_trials.unwrap()));
    assert_eq!(luck.walk_forward.unwrap().winners.len(), 4);
}

/// Without positions at its borders, a fold is the function on its bars.
#[tokio::test(flavor = "multi_thread")]
async fn a_fold_alone_is_the_function_on_its_bars() {
    let session = session().await;
    let mut sweep = Sweep { is_flat: true, ..swept() };
    sweep.cuts.folds = 4;
    let Swept { luck, tried, .. } = sweep.run(&session, &Control::default()).await.unwrap();
    let walk = luck.walk_forward.unwrap();
    assert!(walk.is_flat && walk.winners.len() == 4);
    let bars = luck.bars;
    for winner in &walk.winners {
        // A fold is a seventh of the bars, after three.
        let [begin, end] = [winner.fold + 3, winner.fold + 4].map(|part| part * bars / 7);
        let value = |name: &str| tried[winner.variant].iter().find(|(n, _)| n == name).unwrap().1.clone();
        let [fast, slow] = ["fast", "slow"].map(value);
        let sql = format!(
            "select sharpe(r, 1.0) as sharpe from (
               select ts, avg(b['return']) as r from (
                 select ts, backtest(entry => e, exit => x, stop_distance => 2 * a, commission => 0.001, end => 'close') as b from (
                   select symbol, ts, open, high, low, close, sma({fast}) crosses_above sma({slow}) as e,
                     sma({fast}) crosses_below sma({slow}) as x, atr({fast}) as a, dense_rank() over (order by ts) as at
                   from candles where symbol in ('AAPL', 'MSFT', 'GE', 'F', 'IBM')
                 ) as candles where at > {begin} and at <= {end}
               ) group by ts
             )"
        );
        let want = numbers(&crate::common::query(&session, &sql).await, "sharpe")[0];
        assert!((winner.after - want).abs() < 1e-9, "{winner:?}: {want}");
    }
    let shuffles = Shuffles { runs: 9, block: 20, seed: 1 };
    let best = luck.best_sharpe.unwrap();
    let permuted = sweep.permuted(&session, best, shuffles, &Control::default()).await.unwrap();
    assert_eq!(permuted.permuted.len(), 9);
    assert!(permuted.sentence().contains("in 9 other orders"), "{}", permuted.sentence());
}

/// However variants are cut into passes, and bars into partitions, they are the same.
#[tokio::test(flavor = "multi_thread")]
async fn a_sweep_is_the_same_on_any_number_of_threads() {
    let mut grid = scan::Sweep::default();
    grid.add("n=2..150:1").unwrap();
    let sweep = Sweep::of(Backtest { params: Default::default(), ..Backtest::of(formula("close > sma(:n)")) }, grid);
    let mut results = vec![];
    for threads in [1, 3] {
        let settings = tallow::Settings { threads, ..crate::common::settings() };
        let found = sweep.run(&tallow::open(settings).await.unwrap(), &Control::default()).await.unwrap();
        assert_eq!(found.variants.num_rows(), 149);
        results.push(found);
    }
    let near = |a: &[f64], b: &[f64]| a.iter().zip(b).all(|(a, b)| (a - b).abs() < 1e-9);
    for name in ["n", "sharpe", "trades"] {
        assert!(near(&numbers(&results[0].variants, name), &numbers(&results[1].variants, name)), "{name}");
    }
    assert_eq!(results[0].luck.pbo, results[1].luck.pbo);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_sweep_that_cannot_be_is_told() {
    let session = session().await;
    let said = async |sweep: Sweep| sweep.run(&session, &Control::default()).await.map(|_| ()).unwrap_err().to_string();
    let ahead = Backtest { entry: Some(formula("lead(close, 1) > sma(:fast)")), ..swept().strategy };
    assert!(said(Sweep { strategy: ahead, ..swept() }).await.contains("looks into the future"));
    assert!(said(Sweep { only: Some("fast > 1000".to_string()), ..swept() }).await.contains("no combination is left"));
    assert!(said(Sweep { only: Some("fast <".to_string()), ..swept() }).await.contains("the condition `fast <`"));
    let ranked = Backtest { rank: Some(Rank::parse("close").unwrap()), ..swept().strategy };
    assert!(said(Sweep { strategy: ranked, ..swept() }).await.contains("money of its own"));
    let many = tallow(&["sweep", "--entry", "close > sma(:n)", "--param", "n=1..10000000:1", "-t", "data/candles/1d"]);
    assert!(text(&many.stderr).contains("10000000 combinations"), "{}", text(&many.stderr));
}

/// Trades of vectorbt and backtesting.py, figures of empyrical and quantstats.
#[test]
#[ignore = "needs a Python with vectorbt, backtesting, empyrical-reloaded and quantstats, named by TALLOW_TEST_PYTHON"]
fn other_engines_agree() {
    let folder = tempfile::tempdir().unwrap();
    let python = std::env::var("TALLOW_TEST_PYTHON").unwrap_or_else(|_| "python3".to_string());
    let root = env!("CARGO_MANIFEST_DIR");
    let done = Command::new(python)
        .arg(format!("{root}/tests/peers/backtests.py"))
        .args([env!("CARGO_BIN_EXE_tallow"), &format!("{root}/data/candles/1d"), folder.path().to_str().unwrap()])
        .output()
        .unwrap();
    let said = text(&done.stdout);
    assert!(done.status.success(), "{said}{}", text(&done.stderr));
    let trades: usize = said.lines().last().unwrap().split(' ').next().unwrap().parse().unwrap();
    assert!(trades > 40_000, "{said}");
    print!("{said}");
}

#[tokio::test(flavor = "multi_thread")]
async fn rows_of_a_query_are_entries_as_a_formula_is() {
    let session = session().await;
    let by_query = |text: &str| Backtest {
        entry: None,
        from_query: Some(text.to_string()),
        exit: Some(formula("rsi(14) > 55")),
        ..Backtest::default()
    };
    let by_formula = Backtest {
        short_entry: Some(formula("rsi(14) > 75")),
        stop: Some(Distance::level("close - 3 * atr(14)").unwrap()),
        ..Backtest { exit: Some(formula("rsi(14) > 55")), ..Backtest::of(formula("rsi(14) < 30")) }
    };
    let want = run(&session, &by_formula).await;
    let sides = by_query(
        "select symbol, ts, case when rsi(14) < 30 then 'long' when rsi(14) > 75 then 'short' end as side,
                close - 3 * atr(14) as stop from candles",
    );
    let got = run(&session, &sides).await;
    assert!(want.trades.num_rows() > 100);
    assert_eq!((&got.trades, &got.equity), (&want.trades, &want.equity));
    // Without sides every row is an entry, and formulas read the columns of the query.
    let alone = Backtest {
        exit: Some(formula("high_rsi")),
        ..by_query("select symbol, ts, rsi(14) > 55 as high_rsi from candles")
    };
    let found = Backtest { entry: Some(formula("found and low_rsi")), ..alone.clone() };
    let found = Backtest {
        from_query: Some(
            "select symbol, ts, rsi(14) > 55 as high_rsi, rsi(14) < 30 as low_rsi from candles".to_string(),
        ),
        ..found
    };
    let plain = Backtest { exit: Some(formula("rsi(14) > 55")), ..Backtest::of(formula("rsi(14) < 30")) };
    assert_eq!(run(&session, &found).await.trades, run(&session, &plain).await.trades);
    let everywhere = run(&session, &alone).await;
    assert!(everywhere.trades.num_rows() > 0 && numbers(&everywhere.summary, "exposure")[0] > 0.5);
    for (query, said) in [
        ("select symbol, close from candles", "no column ts"),
        (
            "select symbol, lag(ts, 5) over (partition by symbol order by ts) as ts from candles",
            "not the time of a bar",
        ),
        ("select symbol, ts, lead(close, 3) > close as up from candles qualify up", "looks into the future (3 bars)"),
        ("signal", "did you mean `signals`?"),
    ] {
        let error = by_query(query).run(&session, &Control::default()).await.unwrap_err().to_string();
        assert!(error.contains(said), "{query}: {error}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn bars_in_another_order_tell_an_edge_from_none() {
    let session = session().await;
    let folder = tempfile::tempdir().unwrap();
    let file = swings(folder.path());
    let falls = |table: &str| Backtest {
        table: table.to_string(),
        exit: Some(formula("close > lag(close, 3)")),
        ..Backtest::of(formula(
            "close < lag(close, 1) and lag(close, 1) < lag(close, 2) and lag(close, 2) < lag(close, 3)",
        ))
    };
    const SHUFFLES: Shuffles = Shuffles { runs: 39, block: 1, seed: 7 };
    let control = Control::default();
    let permuted = async |strategy: Backtest| {
        let sharpe = run(&session, &strategy).await.sharpe().unwrap().unwrap();
        strategy.permuted(&session, sharpe, SHUFFLES, &control).await.unwrap()
    };
    let with_edge = permuted(falls(&file)).await;
    assert_eq!((with_edge.at_least(), with_edge.p_value()), (0, 1.0 / 40.0), "{with_edge:?}");
    assert_eq!(permuted(falls(&file)).await, with_edge, "the seed decides");
    // Whoever always holds has none: its gain is the drift, whatever the order.
    let always =
        permuted(Backtest { exit: None, ..Backtest { table: file.clone(), ..Backtest::of(formula("close > 0")) } })
            .await;
    assert!(always.p_value() > 0.05, "{always:?}");
    let with_benchmark = Backtest { benchmark: Some("A".to_string()), ..falls(&file) };
    let error = with_benchmark.permuted(&session, 1.0, SHUFFLES, &control).await.unwrap_err().to_string();
    assert!(error.contains("no benchmark"), "{error}");
}

#[test]
fn a_strategy_is_kept_in_versions_and_given_options_count_instead() {
    let folder = tempfile::tempdir().unwrap();
    let lake = folder.path().join("lake").display().to_string();
    let sample = concat!(env!("CARGO_MANIFEST_DIR"), "/data/candles/1d");
    let run = |args: &[&str]| {
        let done = tallow(&[&["--lake", &lake], args].concat());
        (done.status.code(), text(&done.stdout), text(&done.stderr))
    };
    assert_eq!(run(&["ingest", sample, "-t", "1d", "-q"]).0, Some(0));
    let dips = ["strategy", "add", "dips", "--entry", "rsi(:n 14) < 35", "--exit", "rsi(14) > 55", "--stop", "5%"];
    assert!(run(&dips).1.starts_with("dips@1  --entry 'rsi(:n 14) < 35'"), "{:?}", run(&dips));
    assert!(run(&dips).1.starts_with("dips@1"), "the same again is no new version");
    let second = run(&[&dips[..], &["--param", "n=10", "--slots", "3"]].concat());
    assert!(second.1.contains("dips@2") && second.1.contains("--slots 3 --param n=10"), "{second:?}");
    let summary = |args: &[&str]| run(&[&["backtest", "-q", "--format", "csv"], args].concat()).1;
    let typed = summary(&["--entry", "rsi(14) < 35", "--exit", "rsi(14) > 55", "--stop", "5%"]);
    assert_eq!(summary(&["dips@1"]), typed);
    assert_eq!(summary(&["dips", "--param", "n=14", "--slots", "10"]), typed);
    assert_ne!(summary(&["dips"]), typed);
    let years = run(&["strategy", "test", "dips", "--format", "csv"]).1;
    assert!(years.starts_with("year,total_return,") && years.lines().count() > 2, "{years}");
    assert!(run(&["strategy", "show", "dips@1"]).1.starts_with("* dips@1"));
    let checked = run(&["check", "dips", "--cuts", "2"]);
    assert!(checked.0 == Some(0) && ["entry", "exit"].iter().all(|name| checked.1.contains(name)), "{checked:?}");
    let at_close = run(&["backtest", "dips", "--fill", "close", "--check"]);
    assert!(at_close.1.contains("note: signals are filled at the close that they are made of"), "{at_close:?}");
    let swept = run(&["sweep", "dips", "--param", "n=7,14"]);
    assert!(swept.2.contains("left out") && swept.2.contains("slots"), "{swept:?}");
    for (args, said) in [
        (&["backtest", "dip"][..], "unknown strategy `dip`; did you mean `dips`?"),
        (&["backtest", "dips@7"], "strategy dips has versions 1 to 2, not 7"),
        (&["strategy", "add", "x y", "--entry", "close > 1"], "cannot be a strategy's name"),
        (&["strategy", "add", "x", "--stop", "5%"], "a strategy needs an entry"),
        (&["strategy", "add", "x", "--entry", "lead(close, 1) > close"], "looks into the future (1 bar)"),
        (&["strategy", "add", "x", "--entry", "close > nothing"], "nothing"),
    ] {
        let (status, _, error) = run(args);
        assert!(status != Some(0) && error.contains(said), "{args:?}: {error}");
    }
}

/// Prices that swing, so that they rise after falls.
fn swings(folder: &std::path::Path) -> String {
    let sql = "select s.name as symbol, to_timestamp_micros(86400000000 * (15000 + i)) as ts, price * 1.0 as open, price * 1.01 as high,
                      price * 0.99 as low, price as close, 1.0 as volume
               from (select i, 100 + 10 * sin(i * 0.5) + 0.002 * i as price from (select unnest(range(0, 800)) as i)) cross join
                    (select 'A' as name union all select 'B') s order by symbol, ts";
    let file = folder.join("swings.parquet").display().to_string();
    assert!(tallow(&["query", sql, "-o", &file]).status.success());
    file
}

#[tokio::test(flavor = "multi_thread")]
async fn discovery_finds_what_is_there_and_nothing_in_chance() {
    let session = session().await;
    let folder = tempfile::tempdir().unwrap();
    let of = |table: &str| Discovery {
        features: ["close / lag(close, 3)", "close / sma(20)"].map(formula).to_vec(),
        ..Discovery::of(
            Backtest {
                table: table.to_string(),
                rules: Rules { max_bars: Some(3), ..Profile::Tallow.rules() },
                ..Backtest::default()
            },
            Side::Long,
        )
        .unwrap()
    };
    let table = swings(folder.path());
    let found = of(&table).run(&session, &Control::default()).await.unwrap();
    let rules = &found.rules;
    assert!(found.trials > 300 && rules.num_rows() > 3, "{rules:?}");
    let (rates, lifts) = (numbers(rules, "win_rate"), numbers(rules, "lift"));
    assert!(lifts[0] > 1.8 && numbers(rules, "test_lift")[0] > 1.8, "{lifts:?}");
    assert!((lifts[0] - rates[0] / found.base[0]).abs() < 1e-12);
    // A rule is a formula that a back-test takes: most of its trades gain.
    let entry = rules.column_by_name("formula").unwrap().as_string::<i32>().value(0);
    let results = run(&session, &Backtest { entry: Some(formula(entry)), ..of(&table).exits }).await;
    assert!(numbers(&results.summary, "trade_win_rate")[0] > 0.9, "{entry}");
    // The same on one thread.
    let alone = tallow::open(tallow::Settings { threads: 1, ..crate::common::settings() }).await.unwrap();
    assert_eq!(of(&table).run(&alone, &Control::default()).await.unwrap().rules, *rules);
    // Where prices walk at random, few of many rules look good, and hardly any once their number counts.
    let mut dice = Dice::new(12);
    let mut text = "symbol,ts,open,high,low,close,volume\n".to_string();
    for symbol in ["A", "B", "C", "D"] {
        let mut price = 100.0;
        for day in 0..1500_i64 {
            let open = price;
            price *= 1.0 + 0.02 * ((dice.below(2001) as f64) / 1000.0 - 1.0);
            let (high, low) = (f64::max(open, price), f64::min(open, price));
            text += &format!(
                "{symbol},{},{open},{high},{low},{price},1\n",
                crate::common::START + day * crate::common::DAY
            );
        }
    }
    let walk = folder.path().join("walk.csv").display().to_string();
    std::fs::write(&walk, text).unwrap();
    let by_chance = of(&walk).run(&session, &Control::default()).await.unwrap();
    assert!(by_chance.trials > 100 && by_chance.rules.num_rows() <= 1, "{:?}", by_chance.rules);
    for (wrong, said) in [
        (Discovery { depth: 4, ..of(&table) }, "expected 1, 2 or 3"),
        (
            Discovery { features: vec![formula("lead(close, 1)")], ..of(&table) },
            "the feature `lead(close, 1)` looks into",
        ),
        (Discovery { features: vec![formula("close > open")], ..of(&table) }, "is a condition, not a number"),
        (
            Discovery::of(Backtest { table: table.clone(), ..Backtest::default() }, Side::Long).unwrap(),
            "how a position is left",
        ),
    ] {
        let error = wrong.run(&session, &Control::default()).await.unwrap_err().to_string();
        assert!(error.contains(said), "{said}: {error}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_variant_with_shared_money_is_its_back_test() {
    let session = session().await;
    let mut sweep = swept();
    sweep.is_shared = true;
    sweep.strategy.terms.slots = 5;
    sweep.strategy.rank = Some(Rank::parse("volume").unwrap());
    let Swept { variants, tried, luck } = sweep.run(&session, &Control::default()).await.unwrap();
    assert!(tried.len() > 1 && luck.sentences()[0].contains("all symbols share"), "{luck:?}");
    let shown = |name: &str| numbers(&variants, name);
    let (sharpes, returns, trades) = (shown("sharpe"), shown("total_return"), shown("trades"));
    for values in &tried {
        let mut strategy = sweep.strategy.clone();
        values.iter().for_each(|(name, value)| strategy.params.set(name, value));
        let alone = run(&session, &strategy).await;
        let of = |name: &str| numbers(&alone.summary, name)[0];
        let found = (0..sharpes.len()).find(|at| (sharpes[*at] - of("sharpe")).abs() < 1e-9).unwrap();
        assert!((returns[found] - of("total_return")).abs() < 1e-9 && trades[found] == of("trades"), "{values:?}");
    }
}
