//! `tallow validate`, `optimize`, `resample`, `vacuum`, `history`.

use super::Failure;
use super::args::{HistoryArgs, OptimizeArgs, ResampleArgs, VacuumArgs, ValidateArgs};
use super::commands::{out, run_text};
use super::config::Config;
use super::left_out::partial;
use super::progress::Progress;
use crate::Error;
use crate::Session;
use crate::engine::dialect::Params;
use crate::pipeline::scan::Failure as LeftOut;
use crate::pipeline::validate::Validation;
use arrow::array::AsArray;
use arrow::datatypes::Int64Type;
use std::io::Write;
use tallow_udfs::candle::Timeframe;

/// A table by its name, its timeframe or its path.
pub(super) fn table(given: &str) -> String {
    match given.parse::<Timeframe>() {
        Ok(timeframe) => format!("candles_{timeframe}"),
        Err(_) => given.to_string(),
    }
}

pub(super) async fn validate(config: &Config, args: ValidateArgs) -> Result<(), Failure> {
    if !args.jump.is_finite() || args.jump <= 1.0 {
        return Err(Failure::Usage(format!("--jump {}: expected a ratio above 1, such as 1.5", args.jump)));
    }
    let session = config.session().await?;
    let name = table(&args.table);
    let by_name = name.strip_prefix("candles_").map(str::to_string);
    let Some((name, found)) = session.tables().candle_table_despite_files(&name).await? else {
        return Err(Error::invalid(format!("no candle table `{name}`; `tallow tables` lists what there is")).into());
    };
    let known = found.summary();
    let left_out: Vec<LeftOut> = found.unreadable().iter().map(LeftOut::from).collect();
    let timeframe: Timeframe = match args.timeframe {
        Some(timeframe) => timeframe,
        None => known.timeframe.or(by_name).unwrap_or_else(|| "1d".to_string()).parse()?,
    };
    let origin = args.origin.or(known.origin).unwrap_or_else(|| "utc".to_string());
    let validation =
        Validation { table: name, timeframe: timeframe.to_string(), origin, calendar: args.calendar, jump: args.jump };
    let sql = if args.summary { validation.summary() } else { validation.issues() };
    run_text(&session, config, &sql, &Params::default(), &args.output).await?;
    if args.summary && !args.strict {
        return partial(&left_out);
    }
    let (errors, warnings) = count(&session, &validation).await?;
    if !config.quiet {
        let _ = writeln!(std::io::stderr(), "{} rows: {errors} errors, {warnings} warnings", known.rows);
    }
    if args.strict && errors > 0 {
        return Err(Error::invalid(format!("{errors} rows break a rule")).into());
    }
    partial(&left_out)
}

async fn count(session: &Session, validation: &Validation) -> Result<(i64, i64), Failure> {
    let issues = validation.issues();
    let of = |severity: &str| format!("count(*) filter (where severity = '{severity}')");
    let sql = format!("select {}, {} from ({issues})", of("error"), of("warning"));
    let frame = session.sql(&sql).await?;
    let batches = session.collect(frame).await?;
    let number = |i: usize| batches.first().map_or(0, |b| b.column(i).as_primitive::<Int64Type>().value(0));
    Ok((number(0), number(1)))
}

pub(super) async fn optimize(config: &Config, args: OptimizeArgs) -> Result<(), Failure> {
    let size = args.file_size.map(|s| s as u64);
    let session = config.session().await?;
    let name = table(&args.table);
    let progress = Progress::new(config, None, "rows");
    let summary = session.care(|lake| async move { lake.optimize(&name, size).await }).await?;
    progress.clear();
    match summary.version {
        None => out!("nothing to do: {} files, {:.1} MB", summary.files.0, summary.bytes.0 as f64 / 1e6),
        Some(version) => {
            let ((files, after), (bytes, less)) = (summary.files, summary.bytes);
            out!("files    {files} -> {after}, {} rewritten", summary.rewritten);
            out!("size     {:.1} MB -> {:.1} MB", bytes as f64 / 1e6, less as f64 / 1e6);
            out!("rows     {} rewritten", summary.rows);
            out!("version  {version}");
        }
    }
    progress.finish(None, summary.rows, session.bytes_read());
    Ok(())
}

pub(super) async fn resample(config: &Config, args: ResampleArgs) -> Result<(), Failure> {
    let session = config.session().await?;
    let progress = Progress::new(config, None, "rows");
    let summary =
        crate::pipeline::resample::store(&session, args.timeframe, args.from, args.origin.as_deref(), args.fill)
            .await?;
    progress.clear();
    out!("bars       {}", summary.rows);
    out!("new        {}", summary.new);
    out!("unchanged  {}", summary.unchanged);
    out!("restated   {}", summary.restated);
    out!("version    {}", summary.version.map_or_else(|| "unchanged".to_string(), |v| v.to_string()));
    progress.finish(None, summary.rows, session.bytes_read());
    Ok(())
}

pub(super) async fn vacuum(config: &Config, args: VacuumArgs) -> Result<(), Failure> {
    let keep = age(&args.keep)?;
    let session = config.session().await?;
    let (name, dry_run) = (table(&args.table), args.dry_run);
    let files = session.care(move |lake| async move { lake.vacuum(&name, keep, dry_run).await }).await?;
    for file in &files {
        out!("{file}");
    }
    if !config.quiet {
        let done = if args.dry_run { "would be deleted" } else { "deleted" };
        let _ = writeln!(std::io::stderr(), "{} files {done}", files.len());
    }
    Ok(())
}

/// `7d`, `12h`, `30m`.
fn age(text: &str) -> Result<chrono::Duration, Failure> {
    let wrong = || Failure::Usage(format!("--keep '{text}': expected an age such as 7d, 12h or 30m"));
    let (number, unit) = text.split_at(text.len() - text.chars().last().map_or(0, char::len_utf8));
    let number: i64 = number.parse().ok().filter(|n| (0..=100_000).contains(n)).ok_or_else(wrong)?;
    match unit {
        "d" => Ok(chrono::Duration::days(number)),
        "h" => Ok(chrono::Duration::hours(number)),
        "m" => Ok(chrono::Duration::minutes(number)),
        _ => Err(wrong()),
    }
}

pub(super) async fn history(config: &Config, args: HistoryArgs) -> Result<(), Failure> {
    let session = config.session().await?;
    let name = table(&args.table);
    let commits = session.care(move |lake| async move { lake.history(&name, args.limit).await }).await?;
    out!("{:>7}  {:<19}  {:<10}  what", "version", "time (UTC)", "operation");
    for commit in commits {
        let time = commit.time.and_then(chrono::DateTime::from_timestamp_millis);
        let time = time.map(|t| t.format("%Y-%m-%d %H:%M:%S").to_string()).unwrap_or_default();
        out!("{:>7}  {time:<19}  {:<10}  {}", commit.version, commit.operation, commit.metrics);
    }
    Ok(())
}
