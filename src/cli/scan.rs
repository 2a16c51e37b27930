//! `tallow scan`, `tallow formula`.

use super::args::{FormulaCommand, RangeArgs, ScanArgs};
use super::commands::{out, params, run_in_range, times, warn};
use super::config::Config;
use super::destination;
use super::left_out;
use super::output::Writer;
use super::progress::Progress;
use super::{Failure, usage};
use crate::Error;
use crate::Session;
use crate::engine::dialect::{Formula, Params};
use crate::pipeline::check::first_word;
use crate::pipeline::formulas::{self, By};
use crate::pipeline::scan::{Control, Ended, Group, MaxAge, Rank, Scan, Summary, Sweep};
use std::collections::HashSet;
use std::io::{Read, Write};
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tallow_udfs::candle::Timeframe;
use tokio_util::sync::CancellationToken;

pub(super) async fn scan(config: &Config, args: ScanArgs, cancel: CancellationToken) -> Result<(), Failure> {
    let started = Instant::now();
    destination::check(&args.output)?;
    if let Some(path) = &args.failures {
        destination::check(&left_out::output(path))?;
    }
    let session = config.session().await?;
    let (scan, rest) = scan_of(&session, &args).await?;
    if args.sql {
        out!("{}", scan.sql(&session).await?);
        return Ok(());
    }
    let progress = Arc::new(Progress::new(config, None, "symbols"));
    let control = Control { progress: progress.follow(), cancel: cancel.clone() };
    let mut run = match scan.run(&session, control).await {
        Err(_) if cancel.is_cancelled() => return Err(Failure::Interrupted),
        run => run?,
    };
    warn(config, &run.warnings);
    progress.clear();
    let mut writer = Writer::new(&args.output, run.schema())?;
    while let Some(batch) = run.next().await {
        writer.write(&batch?)?;
    }
    writer.finish()?;
    let summary = run.summary();
    if let Some(path) = &args.failures {
        left_out::write(path, &summary.failures)?;
    }
    report(config, &summary, started.elapsed(), rest.as_deref(), scan.max_age);
    match (summary.ended, summary.failures.is_empty()) {
        (Ended::Cancelled, _) => Err(Failure::Interrupted),
        (Ended::TimedOut, _) | (_, false) => Err(Failure::Partial),
        (Ended::Complete, true) => Ok(()),
    }
}

/// The scan that is asked for, and which formula of the lake it is.
pub(super) async fn scan_of(session: &Session, args: &ScanArgs) -> Result<(Scan, Option<String>), Failure> {
    let (formula, rest) = formula_of(session, &args.formula).await?;
    let mut sweep = Sweep::default();
    args.sweep.iter().try_for_each(|text| sweep.add(text)).map_err(usage)?;
    let scan = Scan {
        params: params(&args.param)?,
        table: table_of(args.timeframe.as_deref())?,
        symbols: symbols(args)?,
        range: times(args.from, args.to)?,
        last: args.last,
        max_age: args.max_age,
        rank: args.rank.as_deref().map(Rank::parse).transpose()?,
        top: args.top,
        group: args.group.map(|g| if g == super::args::GroupBy::Date { Group::Date } else { Group::Symbol }),
        sweep,
        allow_lookahead: args.allow_lookahead,
        timeout: args.timeout.as_deref().map(|t| duration("--timeout", t)).transpose()?,
        ..Scan::of(formula)
    };
    Ok((scan, rest))
}

/// A formula as it is typed, or one that the lake keeps under this name; and which that was.
async fn formula_of(session: &Session, text: &str) -> Result<(Formula, Option<String>), Failure> {
    match formulas::find(session, text).await? {
        Some(stored) => Ok((Formula::parse(&stored.formula)?, Some(format!("{}@{}", stored.name, stored.version)))),
        None => Ok((Formula::parse(text)?, None)),
    }
}

/// The scan that a text stands for, as SQL, if it is a formula and no statement.
pub(super) async fn as_scan(
    session: &Session,
    text: &str,
    given: &Params,
    table: Option<String>,
) -> Result<Option<String>, Failure> {
    let statement = ["select", "with", "from", "explain", "show", "describe", "values", "copy", "create", "set"];
    if statement.contains(&first_word(text).as_str()) {
        return Ok(None);
    }
    let (formula, _) = formula_of(session, text).await?;
    let scan = Scan { params: given.clone(), ..Scan::of(formula) };
    let scan = Scan { table: table.unwrap_or_else(|| scan.table.clone()), ..scan };
    Ok(Some(scan.sql(session).await?))
}

/// The table of a timeframe; a table's name, a path or URL is taken as it is.
pub(super) fn table_of(text: Option<&str>) -> Result<String, Failure> {
    let Some(text) = text else { return Ok("candles".to_string()) };
    match text.parse::<Timeframe>() {
        Ok(timeframe) => Ok(format!("candles_{timeframe}")),
        Err(_) if text.starts_with("candles") || text.contains(['/', '.', '*']) => Ok(text.to_string()),
        Err(error) => Err(usage(error.into())),
    }
}

/// The symbols of `--symbols`, each once; `None` where it is not given.
pub(super) fn named_symbols(given: &[String]) -> Result<Option<Vec<String>>, Failure> {
    let mut seen = HashSet::new();
    let names = given.iter().map(|s| s.trim()).filter(|s| !s.is_empty() && seen.insert(*s));
    let names: Vec<String> = names.map(str::to_string).collect();
    match (given.is_empty(), names.is_empty()) {
        (true, _) => Ok(None),
        (false, true) => Err(Failure::Usage("--symbols names none".to_string())),
        (false, false) => Ok(Some(names)),
    }
}

fn symbols(args: &ScanArgs) -> Result<Option<Vec<String>>, Failure> {
    let mut all = named_symbols(&args.symbols)?.unwrap_or_default();
    if let Some(path) = &args.watchlist {
        let failed = |e| Error::File(path.display().to_string(), e);
        let mut text = String::new();
        if path == Path::new("-") {
            std::io::stdin().read_to_string(&mut text).map_err(failed)?;
        } else {
            text = std::fs::read_to_string(path).map_err(failed)?;
        }
        let lines = text.lines().map(|line| line.split('#').next().unwrap_or_default());
        let words = lines.flat_map(|line| line.split([',', ';', ' ', '\t'])).map(|w| w.trim().trim_matches('"'));
        all.extend(words.filter(|w| !w.is_empty()).map(str::to_string));
        if all.is_empty() {
            return Err(Error::invalid(format!("the watch-list {} names no symbol", path.display())).into());
        }
    }
    let mut seen = HashSet::new();
    all.retain(|symbol| seen.insert(symbol.clone()));
    Ok((!all.is_empty()).then_some(all))
}

/// `500ms`, `30s`, `5m`.
pub(super) fn duration(option: &str, text: &str) -> Result<Duration, Failure> {
    let wrong = || Failure::Usage(format!("{option} '{text}': expected a time such as 500ms, 30s or 5m"));
    let at = text.find(|c: char| c.is_ascii_alphabetic()).ok_or_else(wrong)?;
    let (number, unit) = text.split_at(at);
    let number: f64 = number.parse().ok().filter(|n| *n > 0.0 && *n < 1e6).ok_or_else(wrong)?;
    let seconds = match unit {
        "ms" => number / 1e3,
        "s" => number,
        "m" => number * 60.0,
        "h" => number * 3600.0,
        "d" => number * 86_400.0,
        _ => return Err(wrong()),
    };
    Ok(Duration::from_secs_f64(seconds))
}

fn counted(n: u64, one: &str, many: &str) -> String {
    if n == 1 { format!("1 {one}") } else { format!("{n} {many}") }
}

/// What was found, on standard error.
fn report(config: &Config, summary: &Summary, took: Duration, stored: Option<&str>, max_age: MaxAge) {
    let mut said = String::new();
    let early = match summary.ended {
        Ended::Complete => None,
        Ended::Cancelled => Some("interrupted"),
        Ended::TimedOut => Some("out of time"),
    };
    if let Some(early) = early {
        let lost = if summary.given_up { "; their matches could not be brought together in time" } else { "" };
        said += &format!("{early} after {} of {} symbols{lost}\n", summary.scanned, summary.asked);
    }
    if !config.quiet {
        let of = stored.map_or_else(String::new, |name| format!(" of {name}"));
        said += &format!(
            "{}{of} in {} of {} ({:.1} %), {} bars, {:.2} s\n",
            counted(summary.matches, "match", "matches"),
            summary.with_matches,
            counted(summary.scanned, "symbol", "symbols"),
            summary.match_rate() * 100.0,
            summary.bars,
            took.as_secs_f64()
        );
    }
    if summary.too_old > 0 && !config.quiet {
        said += &format!(
            "{} left out: the table has bars at more than {max_age} times after their newest one (--max-age all)\n",
            counted(summary.too_old, "symbol", "symbols")
        );
    }
    if !summary.failures.is_empty() {
        said += &format!("failed: {} (asked {})\n", summary.failures.len(), summary.asked);
        said += &left_out::listed(&summary.failures, "--failures FILE writes all");
    }
    let _ = write!(std::io::stderr(), "{said}");
}

pub(super) async fn formula(config: &Config, command: FormulaCommand) -> Result<(), Failure> {
    let session = config.session().await?;
    match command {
        FormulaCommand::Add(args) => {
            let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
            let now = now.map_or(0, |t| t.as_micros() as i64);
            let description = args.description.unwrap_or_default();
            let stored = formulas::new(&args.name, &args.formula, &args.category, args.tags, description, now)?;
            // What it names must be there, as far as that can be told without its parameters.
            let parsed = Formula::parse(&stored.formula)?;
            let mut given = Params::default();
            parsed.parameters().iter().filter(|p| p.default.is_none()).for_each(|p| given.set(&p.name, "1"));
            if let Ok(table) = session.context().table_provider("candles").await {
                let checked = parsed.check_in(&session.context().state(), &table.schema(), &given)?;
                warn(config, &checked.warnings);
            }
            let (name, text) = (stored.name.clone(), stored.formula.clone());
            let version = session.add_formula(stored).await?;
            out!("{name}@{version}  {text}");
        }
        FormulaCommand::List(args) => {
            let all = session.formulas().await?;
            let newest = all.iter().enumerate().filter(|(i, f)| all.get(i + 1).is_none_or(|next| next.name != f.name));
            let wanted = newest.map(|(_, f)| f).filter(|f| {
                args.category.as_ref().is_none_or(|c| *c == f.category)
                    && args.tag.as_ref().is_none_or(|t| f.tags.contains(t))
            });
            let wanted: Vec<_> = wanted.collect();
            if wanted.is_empty() {
                out!("no formula; add one: tallow formula add oversold 'rsi(14) < 30'");
                return Ok(());
            }
            let width = wanted.iter().map(|f| f.name.len()).max().unwrap_or_default() + 4;
            for formula in wanted {
                let name = format!("{}@{}", formula.name, formula.version);
                let tags =
                    if formula.tags.is_empty() { String::new() } else { format!("  [{}]", formula.tags.join(" ")) };
                out!("{name:<width$}  {:<5}  {}{tags}", formula.category, formula.formula);
                if !formula.description.is_empty() {
                    out!("{:width$}         {}", "", formula.description);
                }
            }
        }
        FormulaCommand::Show(args) => {
            let found = formulas::get(&session, &args.name).await?;
            let name = found.name.clone();
            for version in session.formulas().await?.into_iter().filter(|f| f.name == name) {
                let time = chrono::DateTime::from_timestamp_micros(version.created_at);
                let time = time.map_or_else(String::new, |t| t.format("%Y-%m-%d %H:%M").to_string());
                let mark = if version.version == found.version { "*" } else { " " };
                out!("{mark} {name}@{}  {time}  {:<5}  {}", version.version, version.category, version.formula);
            }
            if !found.description.is_empty() {
                out!("  {}", found.description);
            }
            if !found.tags.is_empty() {
                out!("  tags: {}", found.tags.join(" "));
            }
            for parameter in Formula::parse(&found.formula)?.parameters() {
                let default = parameter.default.map_or_else(|| " (must be given)".to_string(), |d| format!(" = {d}"));
                out!("  :{}{default}", parameter.name);
            }
        }
        FormulaCommand::Test(args) => {
            if args.by.is_none() && args.output.output.is_some() {
                return Err(Failure::Usage(
                    "-o: the hits by year and those by symbol cannot share one file; give --by year or --by symbol"
                        .to_string(),
                ));
            }
            let (formula, _) = formula_of(&session, &args.name).await?;
            let (table, given) = (table_of(args.timeframe.as_deref())?, params(&args.param)?);
            let both = [By::Year, By::Symbol];
            let wanted = match args.by {
                None => &both[..],
                Some(super::args::TestBy::Year) => &both[..1],
                Some(super::args::TestBy::Symbol) => &both[1..],
            };
            for by in wanted {
                let sql =
                    formulas::performance(&session, &formula, &given, &table, *by, &args.horizon, args.top).await?;
                let range = RangeArgs { symbols: args.symbols.clone(), ..RangeArgs::default() };
                run_in_range(&session, config, &sql, &Params::default(), &range, &args.output).await?;
            }
        }
    }
    Ok(())
}
