//! `tallow ingest`.

use super::Failure;
use super::args::IngestArgs;
use super::config::Config;
use super::left_out::partial;
use super::progress::Progress;
use crate::lake::{IngestOptions, IngestProgress, IngestSummary, Naming};
use crate::pipeline::scan::Failure as LeftOut;
use std::io::Write;
use std::time::Duration;

pub(super) async fn ingest(config: &Config, args: IngestArgs) -> Result<(), Failure> {
    let (timeframe, dry_run) = (args.timeframe, args.dry_run);
    let options = options(args)?;
    let session = config.session().await?;
    let (progress, so_far) = (Progress::new(config, None, "rows"), IngestProgress::default());
    let work = session.ingest(timeframe, options, &so_far);
    futures::pin_mut!(work);
    let done = loop {
        tokio::select! {
            done = &mut work => break done,
            () = tokio::time::sleep(Duration::from_millis(200)) => follow(&progress, &so_far),
        }
    };
    progress.clear();
    let summary = done?;
    show(&summary, dry_run).map_err(|_| Failure::ClosedPipe)?;
    progress.finish(None, summary.rows, session.bytes_read());
    partial(&summary.unreadable.iter().map(LeftOut::from).collect::<Vec<_>>())
}

/// First the files are read; rows that have to be sorted are merged when all have been.
fn follow(progress: &Progress, so_far: &IngestProgress) {
    let rows = so_far.rows();
    match (so_far.merged(), so_far.bytes()) {
        (Some(merged), _) => progress.share(merged, rows, &format!("{merged} of {rows} rows merged")),
        (None, (read, all)) => progress.share(read, all, &format!("{rows} rows read")),
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
    let pattern =
        |text: String| regex::Regex::new(&text).map_err(|e| Failure::Usage(format!("--symbol-from '{text}': {e}")));
    if let Some(scale) = args.scale.filter(|s| !s.is_finite() || *s <= 0.0) {
        return Err(Failure::Usage(format!("--scale {scale}: expected a number above 0, such as 1e-5")));
    }
    Ok(IngestOptions {
        sources: args.sources,
        columns: args.columns,
        naming: Naming {
            map,
            symbol: args.symbol,
            symbol_from: args.symbol_from.map(pattern).transpose()?,
            time_format: args.time_format,
        },
        zone: args.tz,
        scale: args.scale,
        close_as_ts: args.close_as_ts,
        origin: args.origin,
        dry_run: args.dry_run,
        rewrite_bytes: None,
    })
}

fn show(summary: &IngestSummary, dry_run: bool) -> std::io::Result<()> {
    let mut out = std::io::stdout().lock();
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
