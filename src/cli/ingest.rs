//! `tallow ingest`.

use super::Failure;
use super::args::values::{origin, parsed};
use super::commands::{Context, Run};
use super::progress::Progress;
use super::skipped::partial;
use crate::pipeline::control::{self, Control, Unit};
use crate::pipeline::ingest::Ingest;
use clap::Args as ClapArgs;
use std::io::Write;
use std::sync::Arc;
use tallow_common::short;
use tallow_lake::{IngestOptions, IngestSummary, Naming, Preset};
use tallow_udfs::calendar::Timeframe;

#[derive(Debug, ClapArgs)]
pub(super) struct IngestArgs {
    /// Files, folders, globs and URLs: csv, tsv, json, parquet, arrow, feather, also .gz and .zst; zip and tar of them
    #[arg(required = true, value_name = "SRC")]
    pub sources: Vec<String>,
    /// Length of the bars: 1m 3m 5m 15m 30m 1h 2h 4h 6h 8h 12h 1d 1w 1mo, or another such as 45m, 3h, 2d
    #[arg(long, short, value_name = "TF", value_parser = parsed::<Timeframe>)]
    pub timeframe: Timeframe,
    /// What files of a source are like: binance ccxt freqtrade lean mt5 pystock stooq, or a TOML file; other options come first
    #[arg(long, value_name = "NAME|FILE")]
    pub preset: Option<String>,
    /// A column of the table and the file's name for it, such as ts='Gmt time'; ts=Date+Time joins two; x=- drops one
    #[arg(long, value_name = "NAME=COLUMN")]
    pub map: Vec<String>,
    /// The columns of files without a header, in order
    #[arg(long, value_name = "NAME,...", value_delimiter = ',')]
    pub columns: Option<Vec<String>>,
    /// The symbol of all rows
    #[arg(long, value_name = "SYMBOL", conflicts_with = "symbol_from")]
    pub symbol: Option<String>,
    /// A pattern on each file's path; its first group is the symbol
    #[arg(long, value_name = "REGEX")]
    pub symbol_from: Option<String>,
    /// Of archives, read the members whose path matches this pattern
    #[arg(long, value_name = "REGEX")]
    pub member: Option<String>,
    /// Zone of times that name none [default: UTC]
    #[arg(long, value_name = "ZONE")]
    pub tz: Option<String>,
    /// How times are written, such as '%d/%m/%Y %H:%M' [default: recognised]
    #[arg(long, value_name = "FORMAT")]
    pub time_format: Option<String>,
    /// Multiply prices, such as 1e-5 for points
    #[arg(long, value_name = "FACTOR")]
    pub scale: Option<f64>,
    /// Times are those of the close, not of the open
    #[arg(long)]
    pub close_as_ts: bool,
    /// Where bars begin: utc, forex_utc1, ny_17, session:HH:MM@Zone [default: the table's, else utc]
    #[arg(long, value_name = "ORIGIN", value_parser = origin)]
    pub origin: Option<String>,
    /// The exchange whose sessions and holidays the bars have: nyse, lse, xetra, cme, or one of the table `calendars`
    #[arg(long, value_name = "CALENDAR")]
    pub calendar: Option<String>,
    /// Read and check, but write nothing
    #[arg(long)]
    pub dry_run: bool,
}

impl Run for IngestArgs {
    async fn run(self, cx: &Context) -> Result<(), Failure> {
        let (timeframe, dry_run) = (self.timeframe, self.dry_run);
        let preset = self.preset.as_deref().map(|name| Preset::named(name)?.of(timeframe)).transpose()?;
        let assumed = preset.as_ref().map(Preset::assumptions).unwrap_or_default();
        let mut options = options(self)?;
        preset.map(|preset| preset.apply(&mut options)).transpose()?;
        let ingest = Ingest { timeframe, options };
        let session = cx.config.session().await?;
        let progress = Arc::new(Progress::new(&cx.config, None, "rows"));
        let shown = Arc::clone(&progress);
        let control = Control::followed(Arc::new(move |so_far| follow(&shown, so_far)));
        let done = ingest.run(&session, &control).await;
        progress.clear();
        let (summary, skipped) = done?;
        show(&summary, dry_run, &assumed).map_err(|_| Failure::ClosedPipe)?;
        progress.finish(None, summary.rows, session.bytes_read());
        partial(&skipped)
    }
}

/// First the files are read; rows that have to be sorted are merged when all have been.
fn follow(progress: &Progress, control::Progress { unit, done, total, rows }: control::Progress) {
    let of = total.unwrap_or_default();
    match unit {
        Unit::Bytes => progress.share(done, of, &format!("{rows} rows read")),
        _ => progress.share(done, of, &format!("{done} of {rows} rows merged")),
    }
}

fn options(args: IngestArgs) -> Result<IngestOptions, Failure> {
    let mut map = vec![];
    for pair in &args.map {
        match pair.split_once('=') {
            Some((name, column)) if !name.trim().is_empty() && !column.trim().is_empty() => {
                map.push((name.trim().to_string(), column.trim().to_string()));
            }
            _ => return Err(Failure::Usage(format!("--map '{pair}': expected NAME=COLUMN, such as ts='Gmt time'"))),
        }
    }
    let pattern = |name: &str, text: String| {
        regex::Regex::new(&text).map_err(|e| Failure::Usage(format!("--{name} '{text}': {e}")))
    };
    Ok(IngestOptions {
        sources: args.sources,
        member: args.member.map(|text| pattern("member", text)).transpose()?,
        columns: args.columns,
        naming: Naming {
            map,
            symbol: args.symbol,
            symbol_from: args.symbol_from.map(|text| pattern("symbol-from", text)).transpose()?,
            date_from: None,
            time_format: args.time_format,
        },
        zone: args.tz,
        scale: args.scale,
        close_as_ts: args.close_as_ts,
        origin: args.origin,
        calendar: args.calendar,
        dry_run: args.dry_run,
        rewrite_bytes: None,
    })
}

pub(super) fn show(summary: &IngestSummary, dry_run: bool, assumed: &[String]) -> std::io::Result<()> {
    let mut out = std::io::stdout().lock();
    if dry_run {
        for (at, line) in assumed.iter().enumerate() {
            writeln!(out, "{:<12}{line}", if at == 0 { "preset" } else { "" })?;
        }
        let columns: Vec<String> = summary.columns.iter().map(|(name, of)| format!("{name}={of}")).collect();
        if !columns.is_empty() {
            writeln!(out, "columns     {}", columns.join(" "))?;
        }
    }
    if !summary.further.is_empty() {
        let further: Vec<&str> = summary.further.iter().map(String::as_str).collect();
        writeln!(out, "kept too    {}", short(&further.join(", ")))?;
    }
    let seconds = summary.took.as_secs_f64();
    let speed = summary.rows as f64 / seconds.max(1e-9);
    writeln!(out, "files       {}", summary.files)?;
    for file in &summary.empty_files {
        writeln!(out, "            {file} has no rows")?;
    }
    writeln!(out, "rows        {} in {seconds:.2} s, {speed:.0} rows/s", summary.rows)?;
    writeln!(out, "new         {}", summary.new)?;
    writeln!(out, "unchanged   {}", summary.unchanged)?;
    writeln!(out, "restated    {}", summary.restated)?;
    match summary.conflicting {
        0 => writeln!(out, "duplicate   {}", summary.duplicates)?,
        n => writeln!(
            out,
            "duplicate   {}, of which {n} differ from the later row, which was taken",
            summary.duplicates
        )?,
    }
    writeln!(out, "skipped     {} not complete, {} not ended yet", summary.incomplete, summary.future)?;
    writeln!(out, "quarantine  {}", summary.rejected.values().sum::<u64>())?;
    for (rule, rows) in &summary.rejected {
        writeln!(out, "  {rule:<10}{rows}")?;
    }
    for (rule, rows) in &summary.warnings {
        writeln!(out, "warning     {rule}: {rows}")?;
    }
    match (dry_run, summary.version) {
        (true, _) => writeln!(out, "version     nothing written (--dry-run)"),
        (false, Some(version)) => writeln!(out, "version     {version}"),
        (false, None) => writeln!(out, "version     unchanged"),
    }
}
