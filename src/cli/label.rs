//! `tallow label`.

use super::args::values::{into_instead, parsed};
use super::args::{OutputArgs, SymbolsArgs};
use super::commands::{Context, Run};
use super::output::out;
use super::progress::Progress;
use super::{Failure, given, skipped, statement};
use crate::Session;
use crate::pipeline::When;
use crate::pipeline::incremental::{self, Done, Extent};
use crate::pipeline::label::{self, LabelRun, Unlabelled, Walked};
use crate::pipeline::levels::Source;
use crate::pipeline::query::Query;
use crate::pipeline::trade_labels::TradeLabels;
use clap::Args as ClapArgs;
use std::sync::Arc;
use tallow_udfs::calendar::Timeframe;

/// Which labels there are to be.
#[derive(Debug, ClapArgs)]
pub(super) struct LabelChoice {
    /// How far labels look, in bars
    #[arg(long, value_name = "BARS", default_value_t = 6, value_parser = clap::value_parser!(u32).range(1..=1000))]
    pub horizon: u32,
    /// Which labels: all, groups (triple_barrier, path_labels, level_labels) or single ones
    #[arg(long, default_value = "all", value_name = "NAME,...", value_delimiter = ',')]
    pub labels: Vec<String>,
    /// Levels: auto (found in the bars), none, or a table of levels
    #[arg(long, default_value = "none", value_name = "auto|none|TABLE")]
    pub levels: String,
    /// Events of the table of levels
    #[arg(long, value_name = "TABLE")]
    pub level_events: Option<String>,
    /// An older rule: seed puts barriers at 0.999 of the resistance above and 1.001 of the support below
    #[arg(long, value_parser = ["seed"])]
    pub preset: Option<String>,
    /// Walk the labelled bars themselves, not smaller ones
    #[arg(long)]
    pub own_bars: bool,
}

impl LabelChoice {
    /// The labels of the bars of a timeframe, with these parameters.
    pub fn of(&self, timeframe: Timeframe, params: &[String]) -> Result<LabelRun, Failure> {
        if self.level_events.is_some() && matches!(self.levels.as_str(), "auto" | "none") {
            return Err(Failure::Usage("--level-events belongs to a table of levels: give --levels TABLE".to_string()));
        }
        let all = self.labels.iter().any(|l| l == "all");
        Ok(LabelRun {
            horizon: self.horizon,
            labels: if all { vec![] } else { self.labels.clone() },
            levels: Source::parse(&self.levels, self.level_events.clone())?,
            params: given::assignments("--param", params)?,
            seed: self.preset.is_some(),
            own_bars: self.own_bars,
            ..LabelRun::new(timeframe)
        })
    }
}

#[derive(Debug, ClapArgs)]
pub(super) struct LabelArgs {
    /// Length of the bars to label
    #[arg(long, short, value_name = "TF", value_parser = parsed::<Timeframe>)]
    pub timeframe: Timeframe,
    #[command(flatten)]
    pub choice: LabelChoice,
    #[command(flatten)]
    pub symbols: SymbolsArgs,
    /// A parameter of triple_barrier, such as up=1.5, tie=refine, width=sigma; may be repeated
    #[arg(long, value_name = "NAME=VALUE")]
    pub param: Vec<String>,
    /// The table to write: NAME for labels_NAME, ./folder or a URL [default: labels_TIMEFRAME]
    #[arg(long, value_name = "TABLE")]
    pub into: Option<String>,
    /// The former name of --into
    #[arg(long = "to", hide = true, value_name = "TABLE", value_parser = into_instead)]
    pub _to: Option<String>,
    /// Show the quality of the labels: balance, moments, share of incomplete horizons
    #[arg(long)]
    pub check: bool,
    /// Only show the SQL
    #[arg(long)]
    pub sql: bool,
    #[command(flatten)]
    pub own_trades: TradeArgs,
}

/// Labels of own trades.
#[derive(Debug, ClapArgs)]
#[command(next_help_heading = "Labels of own trades")]
pub(super) struct TradeArgs {
    /// Label these trades instead, and show the labels: a file or a table of symbol, side, entry_time, and optionally price
    /// and quantity; --timeframe is the length of the bars that they are followed in
    #[arg(long, value_name = "FILE", conflicts_with_all = ["horizon", "labels", "levels", "preset", "own_bars", "param", "into", "check", "symbols", "conditions"])]
    pub trades: Option<String>,
    /// How long after its entry a trade is looked at
    #[arg(long, value_name = "TIME,...", value_delimiter = ',', requires = "trades", default_value = "5m,15m,60m")]
    pub horizons: Vec<String>,
    /// How much later than that the bar may close whose price it is left at [default: one bar]
    #[arg(long, value_name = "TIME", requires = "trades")]
    pub tolerance: Option<String>,
    #[command(flatten)]
    pub output: OutputArgs,
}

impl TradeArgs {
    /// The labels, where trades are given.
    fn labels(&self, timeframe: Timeframe) -> Result<Option<TradeLabels>, Failure> {
        let Some(trades) = &self.trades else { return Ok(None) };
        let mut labels = TradeLabels { horizons: self.horizons.clone(), ..TradeLabels::new(trades, timeframe) };
        if let Some(tolerance) = &self.tolerance {
            labels.tolerance = given::duration("--tolerance", tolerance)?;
        }
        Ok(Some(labels))
    }
}

impl Run for LabelArgs {
    async fn run(self, cx: &Context) -> Result<(), Failure> {
        let mut run = self.choice.of(self.timeframe, &self.param)?;
        if cx.config.has_candles() {
            return Err(Failure::Usage(
                "label reads the lake; --candles has no meaning for it: ingest the file first".to_string(),
            ));
        }
        let session = cx.config.session().await?;
        if let Some(labels) = self.own_trades.labels(self.timeframe)? {
            let sql = labels.sql(session.lake()).await?;
            if self.sql {
                out!("{sql}");
                return Ok(());
            }
            return statement::run(&session, &cx.config, &Query::of(sql), &self.own_trades.output).await;
        }
        run.symbols = self.symbols.chosen(&session, When::Newest(None)).await?.unwrap_or_default();
        if self.sql {
            out!("{}", run.sql(session.lake()).await?);
            return Ok(());
        }
        let table = run.table(self.into.as_deref())?;
        let progress = Arc::new(Progress::new(&cx.config, None, "bars"));
        let absent = run.absent(&session).await?;
        let incremental::Run { work, done, mut failed } = run.run(&session, &table, &progress.control()).await?;
        failed.extend(absent);
        progress.clear();
        out!("table      {table}");
        let (rows, version) = match done {
            Done::Written { rows, version } => (rows, version.to_string()),
            Done::ByAnother { version } => (0, version.to_string()),
            Done::Nothing => (0, "unchanged".to_string()),
        };
        match work.extent {
            Extent::Nothing => out!("rows       0: up to date"),
            Extent::Ranges { .. } => out!("rows       {rows}: those that changed bars affect"),
            Extent::Everything(_) => out!("rows       {rows}"),
        }
        show_unlabelled(run.unlabelled(&session, &table).await?)?;
        out!("version    {version}");
        show_symbols(&session, &table).await?;
        progress.finish(None, rows, session.bytes_read());
        if self.check {
            let output = OutputArgs { format: None, output: None, max_rows: 0 };
            statement::run(&session, &cx.config, &label::quality(&session, &table).await?, &output).await?;
        }
        skipped::partial(&failed)
    }
}

fn show_unlabelled(Unlabelled { incomplete, warm_up, open }: Unlabelled) -> Result<(), Failure> {
    for (bars, why) in [
        (incomplete, "have no high, low or close, and no row"),
        (warm_up, "have no label: too few bars before them for the width of barriers"),
        (open, "have a horizon that is not over"),
    ] {
        if bars > 0 {
            out!("left out   {bars} {why}");
        }
    }
    Ok(())
}

/// Over which bars the labels walked, and which symbols have none.
async fn show_symbols(session: &Session, table: &str) -> Result<(), Failure> {
    for Walked { timeframe, labels, symbols } in label::walked(session, table).await? {
        out!("path       {timeframe} bars for {labels} labels of {symbols} symbols");
    }
    for (symbol, bars) in label::without_labels(session, table).await? {
        out!("warning    {symbol}: none of its {bars} bars has a label yet (too few bars)");
    }
    Ok(())
}
