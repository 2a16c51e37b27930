//! `tallow backtest`.

use super::Failure;
use super::args::values::positive;
use super::args::{Format, OutputArgs};
use super::commands::{Context, Run};
use super::destination::{self, PageTarget};
use super::output::{date, note, out, write};
use super::progress::followed;
use super::strategy_args::{MoneyArgs, StrategyArgs, TrialArgs, add_params};
use crate::Session;
use crate::pipeline::backtest::{Backtest, Options, Permutation, Results, Shuffles, Spread, figures_in_words};
use crate::pipeline::check::Check;
use crate::pipeline::control::Control;
use crate::pipeline::materialize::{Materialization, ResultTable, result_table};
#[cfg(feature = "report")]
use crate::pipeline::report;
use arrow::array::{AsArray, RecordBatch};
use arrow::datatypes::{Float64Type, Int64Type, TimestampMicrosecondType};
use clap::Args as ClapArgs;
use std::collections::HashMap;
use std::path::{Path, PathBuf};
use tallow_lake::ResultKind;

#[derive(Debug, ClapArgs)]
pub(super) struct BacktestArgs {
    /// A strategy that the lake keeps; options that are given count instead of its own
    #[arg(value_name = "NAME|NAME@VERSION")]
    pub strategy: Option<String>,
    #[command(flatten)]
    pub rules: StrategyArgs,
    #[command(flatten)]
    pub trial: TrialArgs,
    /// A value for `:name` in the formulas; may be repeated
    #[arg(long, value_name = "NAME=VALUE")]
    pub param: Vec<String>,
    /// A symbol that the result is compared with
    #[arg(long, value_name = "SYMBOL")]
    pub benchmark: Option<String>,
    #[command(flatten, next_help_heading = "Money")]
    pub money: MoneyArgs,
    /// Run nothing, but check that the strategy does not look into the future, and how many bars before them its values need
    #[arg(long)]
    pub check: bool,
    /// Draw the trades anew so many times, to see how far the result hangs on their order and luck
    #[arg(long, value_name = "RUNS", value_parser = positive)]
    pub bootstrap: Option<usize>,
    /// Run it on the same bars in so many other orders, to see whether it has an edge
    #[arg(long, value_name = "RUNS", value_parser = positive)]
    pub permute: Option<usize>,
    /// With --permute: bars that stay together
    #[arg(long, value_name = "BARS", default_value_t = 20, value_parser = positive, requires = "permute")]
    pub block: usize,
    /// What chance begins with
    #[arg(long, value_name = "N", default_value_t = 42)]
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

impl Run for BacktestArgs {
    async fn run(self, cx: &Context) -> Result<(), Failure> {
        #[cfg(feature = "report")]
        if let Some(page) = super::report::page_target(&self.output)? {
            return self.execute(cx, Some(page)).await;
        }
        destination::check(&self.output)?;
        self.execute(cx, None).await
    }
}

impl BacktestArgs {
    /// Runs it; the summary goes to a page, if there is one.
    pub async fn execute(&self, cx: &Context, page: Option<PageTarget<'_>>) -> Result<(), Failure> {
        for file in [&self.trades, &self.equity].into_iter().flatten() {
            destination::check(&to_file(file))?;
        }
        let session = cx.config.session().await?;
        let tables = self.tables(&session).await?;
        let options = self.options(&session).await?;
        let backtest = self.backtest(&session, &options).await?;
        if self.check {
            return super::check::deliver(cx, &session, &Check::of_strategy(&session, &backtest).await?).await;
        }
        let control = Control { cancel: cx.cancel.clone(), ..Control::default() };
        let results = run(cx, &session, &backtest).await?;
        warn(cx, &results);
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
        match (page, &self.output.output, self.output.format) {
            #[cfg(feature = "report")]
            (Some(page), ..) => {
                let content = report::backtest_page(&session, &backtest, &options, &results, page.charts).await?;
                super::report::write(cx, &content, page)?;
            }
            (_, None, None | Some(Format::Table)) => show(&results)?,
            _ => write(&self.output, &results.summary)?,
        }
        if !cx.config.quiet {
            show_rejected(&results.rejected);
        }
        if let Some(runs) = self.bootstrap
            && let Some(of) = results.bootstrap(backtest.terms.cash, runs, self.seed)?
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
        if let Some(runs) = self.permute {
            note(format_args!("{}", self.permuted(cx, &session, &backtest, &results, runs).await?.sentence()));
        }
        Ok(())
    }

    async fn permuted(
        &self,
        cx: &Context,
        session: &Session,
        backtest: &Backtest,
        results: &Results,
        runs: usize,
    ) -> Result<Permutation, Failure> {
        let (sharpe, alone) = (results.sharpe()?.unwrap_or(0.0), Backtest { benchmark: None, ..backtest.clone() });
        let shuffles = Shuffles { runs, block: self.block, seed: self.seed };
        followed(cx, "runs", async |control| alone.permuted(session, sharpe, shuffles, control).await).await
    }

    /// The strategy as it is typed.
    async fn options(&self, session: &Session) -> Result<Options, Failure> {
        let mut options = self.rules.options(session, self.strategy.as_deref()).await?;
        self.money.add_to(&mut options)?;
        add_params(&mut options, &self.param)?;
        Ok(options)
    }

    /// The strategy, and what it is tried on.
    async fn backtest(&self, session: &Session, options: &Options) -> Result<Backtest, Failure> {
        Ok(Backtest { benchmark: self.benchmark.clone(), ..self.trial.backtest(session, options).await? })
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

fn to_file(path: &Path) -> OutputArgs {
    OutputArgs { format: None, output: Some(path.to_path_buf()), max_rows: 0 }
}

/// Runs a back-test, and shows how far it is.
pub(super) async fn run(cx: &Context, session: &Session, backtest: &Backtest) -> Result<Results, Failure> {
    followed(cx, "bars", async |control| backtest.run(session, control).await).await
}

/// Says what is probably not meant.
pub(super) fn warn(cx: &Context, results: &Results) {
    for warning in results.warnings.iter().filter(|_| !cx.config.quiet) {
        note(format_args!("warning: {warning}"));
    }
}

/// The summary, for people.
fn show(results: &Results) -> Result<(), Failure> {
    let row = &results.summary;
    let day = |name: &str| {
        let column = row.column_by_name(name).map(|column| column.as_primitive::<TimestampMicrosecondType>());
        column.map(|times| date(times.value(0))).unwrap_or_default()
    };
    let periods = row.column_by_name("periods").map_or(0.0, |column| column.as_primitive::<Float64Type>().value(0));
    out!("{} to {}, {} bars, {periods} a year", day("first"), day("last"), results.equity.num_rows());
    let groups = figures_in_words(row);
    let width = groups.iter().flatten().map(|(words, _)| words.len()).max().unwrap_or_default();
    for group in groups {
        out!("");
        for (words, figure) in group {
            out!("{words:<width$}  {figure:>14}");
        }
    }
    Ok(())
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
    let entries = if total == 1 { "entry" } else { "entries" };
    note(format_args!("{total} {entries} did not happen: {}", each.join(", ")));
}
