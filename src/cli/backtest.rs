//! `tallow backtest`.

use super::args::values::{positive, time};
use super::args::{Format, OutputArgs};
use super::commands::{Context, Run};
use super::output::{Writer, date, note, out};
use super::progress::Progress;
use super::{Failure, destination, given};
use crate::Session;
use crate::pipeline::backtest::{Backtest, Distance, Results, Size, Spread, Terms, percent};
use crate::pipeline::control::Control;
use crate::pipeline::formulas;
use crate::pipeline::materialize::{Materialization, ResultTable, result_table};
use crate::pipeline::scan::Rank;
use arrow::array::{Array, AsArray, RecordBatch};
use arrow::datatypes::{DataType, Float64Type, Int64Type, TimestampMicrosecondType};
use clap::Args as ClapArgs;
use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use tallow_engine::dialect::Formula;
use tallow_lake::ResultKind;
use tallow_udfs::series::Choice;
use tallow_udfs::trade::backtest::account::{Costs, Lots};
use tallow_udfs::trade::backtest::rules::{
    Both, End, Fill, LimitFill, OfProfile, Profile, Rules, Trail, TrailOn, target_steps,
};

/// A strategy, and what it is tried on.
#[derive(Debug, ClapArgs)]
pub(super) struct StrategyArgs {
    /// When to buy: a condition at the close of a bar, or the name of a formula that the lake keeps
    #[arg(long, value_name = "FORMULA|NAME", required_unless_present = "short_entry")]
    pub entry: Option<String>,
    /// When to sell what was bought
    #[arg(long, value_name = "FORMULA|NAME")]
    pub exit: Option<String>,
    /// When to sell short
    #[arg(long, value_name = "FORMULA|NAME")]
    pub short_entry: Option<String>,
    /// When to buy back what was sold short
    #[arg(long, value_name = "FORMULA|NAME")]
    pub short_exit: Option<String>,
    /// Where a position is given up: 5% from its entry, or a distance in price such as '2 * atr(14)'
    #[arg(long, value_name = "P%|VALUE")]
    pub stop: Option<String>,
    /// The same as a price, such as 'lowest(low, 20)'
    #[arg(long, value_name = "VALUE", conflicts_with = "stop")]
    pub stop_price: Option<String>,
    /// Where its gain is taken: 10%, or a distance in price
    #[arg(long, value_name = "P%|VALUE")]
    pub target: Option<String>,
    /// The same as a price
    #[arg(long, value_name = "VALUE", conflicts_with = "target")]
    pub target_price: Option<String>,
    /// Targets by the age of a position, as bars:fraction, such as 0:0.10,20:0.05
    #[arg(long, value_name = "BARS:FRACTION,...", default_value = "", hide_default_value = true)]
    pub target_steps: String,
    /// How far behind its best price a position is given up: 5%, or a distance in price
    #[arg(long, value_name = "P%|VALUE")]
    pub trail: Option<String>,
    /// Gain from which the trailing stop is there
    #[arg(long, value_name = "P%")]
    pub trail_after: Option<String>,
    /// Bars after which a position is closed
    #[arg(long, value_name = "N", value_parser = positive)]
    pub max_bars: Option<usize>,
    /// Length of the bars, or a table or file of candles [default: the lake's days]
    #[arg(long, short, value_name = "TF|TABLE")]
    pub timeframe: Option<String>,
    /// First day or instant; enough bars before it are read for every indicator
    #[arg(long, value_name = "TIME", value_parser = time)]
    pub from: Option<i64>,
    /// The first day or instant that is no longer traded
    #[arg(long, value_name = "TIME", value_parser = time)]
    pub to: Option<i64>,
    /// These symbols only
    #[arg(long, value_name = "SYMBOL,...", value_delimiter = ',')]
    pub symbols: Vec<String>,
    /// Bars a year, for yearly figures [default: as many as the data has]
    #[arg(long, value_name = "N")]
    pub periods: Option<f64>,
    #[command(flatten, next_help_heading = "Costs")]
    pub costs: CostArgs,
}

#[derive(Debug, ClapArgs)]
pub(super) struct BacktestArgs {
    #[command(flatten)]
    pub strategy: StrategyArgs,
    /// A value for `:name` in the formulas; may be repeated
    #[arg(long, value_name = "NAME=VALUE")]
    pub param: Vec<String>,
    /// A symbol that the result is compared with
    #[arg(long, value_name = "SYMBOL")]
    pub benchmark: Option<String>,
    #[command(flatten, next_help_heading = "Money")]
    pub money: MoneyArgs,
    #[command(flatten, next_help_heading = "Fills")]
    pub fills: FillArgs,
    /// Draw the trades anew so many times, to see how far the result hangs on their order and luck
    #[arg(long, value_name = "RUNS", value_parser = positive)]
    pub bootstrap: Option<usize>,
    /// What chance begins with
    #[arg(long, value_name = "N", default_value_t = 42, requires = "bootstrap")]
    pub seed: u64,
    /// Write the trades to a file: .csv .parquet .json and others
    #[arg(long, value_name = "FILE")]
    pub trades: Option<PathBuf>,
    /// Write the account at every bar to a file
    #[arg(long, value_name = "FILE")]
    pub equity: Option<PathBuf>,
    /// Write trades, account and summary to the tables results_NAME_trades, results_NAME_equity and results_NAME_summary
    #[arg(long, value_name = "NAME")]
    pub into: Option<String>,
    #[command(flatten)]
    pub output: OutputArgs,
}

#[derive(Debug, ClapArgs)]
pub(super) struct MoneyArgs {
    /// Money at the beginning
    #[arg(long, value_name = "MONEY", default_value_t = 100_000.0, allow_negative_numbers = true)]
    pub cash: f64,
    /// The most positions at a time
    #[arg(long, value_name = "N", default_value_t = 10)]
    pub slots: usize,
    /// Which entries come first when there are more than slots or money: the largest VALUE, or `VALUE asc` [default: by symbol]
    #[arg(long, value_name = "VALUE")]
    pub rank: Option<String>,
    /// How much of the account is entered: 10%, or a value that is a fraction [default: one of the slots]
    #[arg(long, value_name = "P%|VALUE")]
    pub size: Option<String>,
    /// Money that is entered
    #[arg(long, value_name = "MONEY", conflicts_with = "size")]
    pub value: Option<f64>,
    /// Enter as much as loses this part of the account at the stop
    #[arg(long, value_name = "P%", conflicts_with_all = ["size", "value"])]
    pub risk: Option<String>,
    /// Leave out entries of more than this part of the account
    #[arg(long, value_name = "P%")]
    pub max_weight: Option<String>,
    /// What all positions may be worth, in multiples of the account
    #[arg(long, value_name = "X", default_value_t = 1.0)]
    pub leverage: f64,
    /// Close everything once the account is worth less than this part of its positions
    #[arg(long, value_name = "P%")]
    pub maintenance: Option<String>,
    /// Quantities are multiples of this
    #[arg(long, value_name = "UNITS", default_value_t = 0.0, hide_default_value = true)]
    pub lot: f64,
    /// The least value of an entry
    #[arg(long, value_name = "MONEY", default_value_t = 0.0, hide_default_value = true)]
    pub minimum_value: f64,
    /// The largest part of a bar's volume that is filled
    #[arg(long, value_name = "P%")]
    pub participation: Option<String>,
}

#[derive(Debug, ClapArgs)]
pub(super) struct CostArgs {
    /// Cost of a fill, as a part of its value, such as 0.1%
    #[arg(long, value_name = "P%")]
    pub commission: Option<String>,
    /// Cost of a fill, in money
    #[arg(long, value_name = "MONEY", default_value_t = 0.0, hide_default_value = true)]
    pub fixed_commission: f64,
    /// Cost of a unit, in money
    #[arg(long, value_name = "MONEY", default_value_t = 0.0, hide_default_value = true)]
    pub unit_commission: f64,
    /// The least that a fill costs
    #[arg(long, value_name = "MONEY", default_value_t = 0.0, hide_default_value = true)]
    pub minimum_commission: f64,
    /// How much worse fills are than the market, but for targets
    #[arg(long, value_name = "P%")]
    pub slippage: Option<String>,
    /// Cost of a short position in a year
    #[arg(long, value_name = "P%")]
    pub borrow: Option<String>,
    /// What a long position pays at each bar, as a fraction of its value
    #[arg(long, value_name = "VALUE")]
    pub funding: Option<String>,
}

#[derive(Debug, ClapArgs)]
pub(super) struct FillArgs {
    /// Find the fills of another engine: tallow, backtesting.py, vectorbt or freqtrade
    #[arg(long, value_name = "ENGINE", default_value = "tallow", value_parser = choice::<Profile>)]
    pub profile: Profile,
    /// Where signals are filled: at the next open, or at their own close
    #[arg(long, value_name = "open|close", value_parser = choice::<OfProfile<Fill>>)]
    pub fill: Option<OfProfile<Fill>>,
    /// What comes first where a bar touches stop and target
    #[arg(long, value_name = "stop|target|near", value_parser = choice::<OfProfile<Both>>)]
    pub both: Option<OfProfile<Both>>,
    /// Whether a bar raises a trailing stop for the next bar, or for itself
    #[arg(long, value_name = "lagged|high_first", value_parser = choice::<OfProfile<Trail>>)]
    pub trail_order: Option<OfProfile<Trail>>,
    /// What raises a trailing stop
    #[arg(long, value_name = "high|close", value_parser = choice::<OfProfile<TrailOn>>)]
    pub trail_on: Option<OfProfile<TrailOn>>,
    /// What fills a target: a price at it, or one beyond
    #[arg(long, value_name = "touch|through", value_parser = choice::<OfProfile<LimitFill>>)]
    pub limit_fill: Option<OfProfile<LimitFill>>,
    /// What becomes of positions at the end of the data: closed at the last close or the last open, or left open
    #[arg(long, value_name = "close|last_open|open", value_parser = choice::<OfProfile<End>>)]
    pub end: Option<OfProfile<End>>,
    /// Whether an entry of the other side closes a position
    #[arg(long, value_name = "true|false", value_parser = choice::<OfProfile<bool>>)]
    pub reverse: Option<OfProfile<bool>>,
    /// Fill nothing in bars without volume
    #[arg(long)]
    pub needs_volume: bool,
    /// Give up an order after so many bars without trades
    #[arg(long, value_name = "N", value_parser = positive)]
    pub max_stale_bars: Option<usize>,
}

/// One of the names of a choice.
fn choice<T: Choice>(text: &str) -> Result<T, String> {
    let found = T::NAMES.iter().find(|(_, name)| name.eq_ignore_ascii_case(text.trim()));
    let names = || T::NAMES.iter().map(|(_, name)| *name).collect::<Vec<_>>().join(", ");
    found.map(|(choice, _)| *choice).ok_or_else(|| format!("expected one of {}", names()))
}

impl Run for BacktestArgs {
    async fn run(self, cx: &Context) -> Result<(), Failure> {
        destination::check(&self.output)?;
        for file in [&self.trades, &self.equity].into_iter().flatten() {
            destination::check(&to_file(file))?;
        }
        let session = cx.config.session().await?;
        let tables = self.tables(&session).await?;
        let backtest = self.backtest(&session).await?;
        let progress = Arc::new(Progress::new(&cx.config, None, "bars"));
        let control = Control { cancel: cx.cancel.clone(), ..progress.control() };
        let results = backtest.run(&session, &control).await;
        progress.clear();
        let results = match results {
            Err(_) if cx.cancel.is_cancelled() => return Err(Failure::Interrupted),
            done => done?,
        };
        for warning in results.warnings.iter().filter(|_| !cx.config.quiet) {
            note(format_args!("warning: {warning}"));
        }
        for (file, rows) in [(&self.trades, &results.trades), (&self.equity, &results.equity)] {
            if let Some(file) = file {
                write(&to_file(file), rows)?;
            }
        }
        for (table, rows) in tables.iter().zip([&results.trades, &results.equity, &results.summary]) {
            let written = Materialization::of_rows(&session, rows).await?.overwrite(&session, table, &control).await?;
            if !cx.config.quiet {
                note(format_args!("{} rows in {}, version {}", written.rows, table.name, written.version));
            }
        }
        match (&self.output.output, self.output.format) {
            (None, None | Some(Format::Table)) => show(&results)?,
            _ => write(&self.output, &results.summary)?,
        }
        if !cx.config.quiet {
            show_rejected(&results.rejected);
        }
        if let Some(runs) = self.bootstrap
            && let Some(of) = results.bootstrap(self.money.cash, runs, self.seed)?
        {
            let percent = |spread: Spread| spread.map(|part| format!("{:.1} %", part * 100.0)).join(", ");
            note(format_args!(
                "trades drawn anew {} times, 5, 50 and 95 of a hundred: money at the end {}; largest drawdown {}; {:.1} % lose money",
                of.runs,
                of.end_equity.map(|end| format!("{end:.0}")).join(", "),
                percent(of.max_drawdown),
                of.losing * 100.0
            ));
        }
        Ok(())
    }
}

fn to_file(path: &Path) -> OutputArgs {
    OutputArgs { format: None, output: Some(path.to_path_buf()), max_rows: 0 }
}

fn write(to: &OutputArgs, rows: &RecordBatch) -> Result<(), Failure> {
    let mut writer = Writer::new(to, rows.schema())?;
    writer.write(rows)?;
    writer.finish()?;
    Ok(())
}

impl StrategyArgs {
    /// The strategy, with money that nothing is said of.
    pub async fn backtest(&self, session: &Session, fills: &FillArgs) -> Result<Backtest, Failure> {
        let formula = async |text: &Option<String>| -> Result<Option<Formula>, Failure> {
            match text {
                Some(text) => Ok(Some(formulas::resolve(session, text).await?.0)),
                None => Ok(None),
            }
        };
        let distance = |option: &'static str, text: &Option<String>, price: &Option<String>| {
            let by_price = price.as_deref().map(Distance::level).transpose()?;
            let by_distance = text.as_deref().map(|text| Distance::parse(option, text)).transpose()?;
            Ok::<_, Failure>(by_price.or(by_distance))
        };
        Ok(Backtest {
            entry: formula(&self.entry).await?,
            exit: formula(&self.exit).await?,
            short_entry: formula(&self.short_entry).await?,
            short_exit: formula(&self.short_exit).await?,
            stop: distance("stop", &self.stop, &self.stop_price)?,
            target: distance("target", &self.target, &self.target_price)?,
            trail: distance("trail", &self.trail, &None)?,
            funding: self.costs.funding.as_deref().map(Formula::parse).transpose()?,
            table: given::table_of(self.timeframe.as_deref())?,
            symbols: given::symbols(&self.symbols)?,
            range: given::times(self.from, self.to)?,
            periods: self.periods,
            rules: self.rules(fills)?,
            terms: Terms { costs: self.costs.costs()?, ..Terms::default() },
            ..Backtest::default()
        })
    }

    fn rules(&self, given: &FillArgs) -> Result<Rules, Failure> {
        let of = given.profile.rules();
        let bars = |bars: Option<usize>| bars.map(|bars| u32::try_from(bars).unwrap_or(u32::MAX));
        Ok(Rules {
            fill: given.fill.and_then(|fill| fill.0).unwrap_or(of.fill),
            both: given.both.and_then(|both| both.0).unwrap_or(of.both),
            trail: given.trail_order.and_then(|trail| trail.0).unwrap_or(of.trail),
            trail_on: given.trail_on.and_then(|on| on.0).unwrap_or(of.trail_on),
            trail_after: part("trail_after", &self.trail_after)?.unwrap_or(0.0),
            limit_fill: given.limit_fill.and_then(|fill| fill.0).unwrap_or(of.limit_fill),
            end: given.end.and_then(|end| end.0).unwrap_or(of.end),
            reverse: given.reverse.and_then(|reverse| reverse.0).unwrap_or(of.reverse),
            max_bars: bars(self.max_bars),
            max_stale_bars: bars(given.max_stale_bars),
            needs_volume: given.needs_volume,
            target_steps: target_steps(&self.target_steps)?,
            engine: of.engine,
        })
    }
}

impl CostArgs {
    fn costs(&self) -> Result<Costs, Failure> {
        Ok(Costs {
            slippage: part("slippage", &self.slippage)?.unwrap_or(0.0),
            commission: part("commission", &self.commission)?.unwrap_or(0.0),
            fixed: self.fixed_commission,
            per_unit: self.unit_commission,
            minimum: self.minimum_commission,
            borrow: part("borrow", &self.borrow)?.unwrap_or(0.0),
        })
    }
}

impl BacktestArgs {
    /// The strategy, with money and all.
    async fn backtest(&self, session: &Session) -> Result<Backtest, Failure> {
        let money = &self.money;
        let size = match (&money.size, money.value, &money.risk) {
            (Some(text), ..) => Some(Size::parse(text)?),
            (_, Some(value), _) => Some(Size::Value(value)),
            (_, _, Some(text)) => Some(Size::risk(text)?),
            _ => None,
        };
        let strategy = self.strategy.backtest(session, &self.fills).await?;
        let lots = Lots {
            lot: money.lot,
            minimum: money.minimum_value,
            participation: part("participation", &money.participation)?.unwrap_or(0.0),
        };
        let terms = Terms {
            cash: money.cash,
            slots: money.slots,
            leverage: money.leverage,
            maintenance: part("maintenance", &money.maintenance)?.unwrap_or(0.0),
            max_weight: part("max_weight", &money.max_weight)?.unwrap_or(f64::INFINITY),
            lots,
            ..strategy.terms
        };
        Ok(Backtest {
            rank: money.rank.as_deref().map(Rank::parse).transpose()?,
            size,
            params: given::params(&self.param)?,
            benchmark: self.benchmark.clone(),
            terms,
            ..strategy
        })
    }

    /// The tables that results are written to.
    async fn tables(&self, session: &Session) -> Result<Vec<ResultTable>, Failure> {
        let Some(name) = &self.into else { return Ok(vec![]) };
        let mut tables = vec![];
        for what in ["trades", "equity", "summary"] {
            let name = result_table(ResultKind::Results, &format!("{name}_{what}"))?;
            let table = ResultTable { name, kind: ResultKind::Results, properties: HashMap::new() };
            table.check(session).await?;
            tables.push(table);
        }
        Ok(tables)
    }
}

/// A percentage as a fraction.
fn part(option: &'static str, text: &Option<String>) -> Result<Option<f64>, Failure> {
    let Some(text) = text else { return Ok(None) };
    match percent(option, text)? {
        Some(fraction) => Ok(Some(fraction)),
        None => Err(crate::Error::Argument(option, format!(" {text}: expected a percentage, such as 0.1%")).into()),
    }
}

/// How a figure is written.
#[derive(Clone, Copy)]
enum As {
    Money,
    Percent,
    Number,
    Count,
}

/// The figures that are shown: column, words, and how they are written; an empty column parts the ones after it.
const SHOWN: [(&str, &str, As); 31] = [
    ("start_equity", "money at the beginning", As::Money),
    ("end_equity", "money at the end", As::Money),
    ("total_return", "return", As::Percent),
    ("cagr", "return a year", As::Percent),
    ("benchmark_return", "return of the benchmark", As::Percent),
    ("beta", "beta", As::Number),
    ("alpha", "alpha a year", As::Percent),
    ("", "", As::Number),
    ("volatility", "volatility a year", As::Percent),
    ("sharpe", "Sharpe ratio", As::Number),
    ("sortino", "Sortino ratio", As::Number),
    ("calmar", "Calmar ratio", As::Number),
    ("max_drawdown", "largest drawdown", As::Percent),
    ("longest_drawdown", "longest drawdown, bars", As::Count),
    ("ulcer_index", "ulcer index", As::Percent),
    ("cvar", "mean of the worst 5 % of the bars", As::Percent),
    ("probabilistic_sharpe", "probability that the Sharpe ratio is above 0", As::Percent),
    ("", "", As::Number),
    ("exposure", "mean exposure", As::Percent),
    ("turnover", "turnover a year, of the account", As::Number),
    ("costs", "costs beside prices", As::Money),
    ("", "", As::Number),
    ("trades", "trades", As::Count),
    ("trade_win_rate", "trades that gained", As::Percent),
    ("trade_expectancy", "mean gain of a trade", As::Percent),
    ("trade_profit_factor", "profit factor", As::Number),
    ("trade_payoff", "mean gain over mean loss", As::Number),
    ("trade_sqn", "system quality number", As::Number),
    ("trade_kelly", "Kelly's fraction", As::Percent),
    ("trade_worst", "worst trade", As::Percent),
    ("trade_bars", "mean bars of a trade", As::Number),
];

/// The summary, for people.
fn show(results: &Results) -> Result<(), Failure> {
    let row = &results.summary;
    let number = |name: &str| -> Option<f64> {
        let column = row.column_by_name(name)?;
        match column.data_type() {
            DataType::Int64 => Some(column.as_primitive::<Int64Type>().value(0) as f64),
            DataType::Float64 => column.is_valid(0).then(|| column.as_primitive::<Float64Type>().value(0)),
            _ => None,
        }
    };
    let day = |name: &str| {
        let column = row.column_by_name(name).map(|column| column.as_primitive::<TimestampMicrosecondType>());
        column.map(|times| date(times.value(0))).unwrap_or_default()
    };
    let periods = number("periods").unwrap_or_default();
    out!("{} to {}, {} bars, {periods} a year", day("first"), day("last"), results.equity.num_rows());
    out!("");
    let width = SHOWN.iter().map(|(_, words, _)| words.len()).max().unwrap_or_default();
    for (name, words, how) in SHOWN {
        if name.is_empty() {
            out!("");
        } else if row.column_by_name(name).is_some() {
            out!("{words:<width$}  {:>14}", written(number(name), how));
        }
    }
    Ok(())
}

fn written(figure: Option<f64>, how: As) -> String {
    let Some(figure) = figure else { return "-".to_string() };
    match how {
        As::Money => format!("{figure:.2}"),
        As::Percent => format!("{:.2} %", figure * 100.0),
        As::Number => format!("{figure:.3}"),
        As::Count => format!("{figure:.0}"),
    }
}

/// What did not happen, on standard error.
fn show_rejected(rejected: &RecordBatch) {
    let (reasons, counts) = (rejected.column(0).as_string::<i32>(), rejected.column(1).as_primitive::<Int64Type>());
    if counts.is_empty() {
        return;
    }
    let total: i64 = counts.values().iter().sum();
    let each = reasons.iter().flatten().zip(counts.values());
    let each: Vec<String> = each.map(|(reason, count)| format!("{count} {reason}")).collect();
    note(format_args!("{total} entries did not happen: {}", each.join(", ")));
}
