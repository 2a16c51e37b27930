//! `tallow pattern`.

use super::args::{PatternAddArgs, PatternCommand, TrainArgs};
use super::commands::{out, run_text};
use super::config::Config;
use super::left_out::partial;
use super::matching::{no_pattern, timeframe_of};
use super::progress::Progress;
use super::scan::table_of;
use super::{Failure, usage};
use crate::Error;
use crate::Session;
use crate::engine::dialect::Params;
use crate::lake::StoredPattern;
use crate::pipeline::alerts;
use crate::pipeline::patterns::{self, Source};
use crate::pipeline::score::{self, Evaluation, Training};
use crate::pipeline::search::{self, MatchRun, Pattern, SearchOptions};
use std::collections::BTreeSet;
use std::io::{Read, Write};
use std::sync::Arc;
use std::time::Instant;
use tallow_udfs::similarity::numbers_of;
use tallow_udfs::similarity::random::Null;

pub(super) async fn pattern(config: &Config, command: PatternCommand) -> Result<(), Failure> {
    let session = config.session().await?;
    match command {
        PatternCommand::Add(args) => add(&session, args).await,
        PatternCommand::List(args) => {
            let sql = "select id, label, symbol, timeframe, start_ts, end_ts, bars, active, description from patterns \
                       order by id";
            if session.tables().records::<StoredPattern>().await?.is_empty() {
                return Err(no_pattern().into());
            }
            run_text(&session, config, sql, &Params::default(), &args.output).await
        }
        PatternCommand::Show { name } => show(&patterns::get(session.tables(), &name).await?),
        PatternCommand::Activate { name } => set_active(&session, &name, true).await,
        PatternCommand::Deactivate { name } => set_active(&session, &name, false).await,
        PatternCommand::Train(args) => train(&session, config, *args).await,
        PatternCommand::Remove { name } => {
            patterns::get(session.tables(), &name).await?;
            let gone = name.clone();
            let change = move |all: &mut Vec<StoredPattern>| {
                all.retain(|p| p.id != gone);
                Ok(())
            };
            session.care(|lake| async move { lake.change_records("REMOVE PATTERN", change).await }).await?;
            alerts::forget(&session, &name).await?;
            out!("removed {name}");
            Ok(())
        }
    }
}

async fn add(session: &Session, args: PatternAddArgs) -> Result<(), Failure> {
    let source = match (args.values, args.symbol) {
        (Some(values), _) => {
            let mut text = values;
            if text == "-" {
                text.clear();
                let read = std::io::stdin().read_to_string(&mut text);
                read.map_err(|e| Error::File("standard input".to_string(), e))?;
            }
            Source::Values(numbers_of(&text).map_err(|e| Failure::Usage(format!("--values: {e}")))?)
        }
        (None, Some(symbol)) => {
            let table = table_of(args.timeframe.as_deref())?;
            let (Some(from), Some(to)) = (args.from, args.to) else {
                return Err(Failure::Usage(
                    "--symbol needs --from and --to, the first and the last day of the pattern".to_string(),
                ));
            };
            let timeframe = timeframe_of(session, &table).await?;
            Source::Bars { timeframe, table, symbol, from, to }
        }
        (None, None) => return Err(Failure::Usage("expected --symbol or --values".to_string())),
    };
    let mut pattern = patterns::cut(session, &args.name, source).await?;
    (pattern.label, pattern.description) = (args.label, args.description);
    if !patterns::add(session, &pattern).await? {
        out!("pattern `{}` is there already, just so", pattern.id);
        return Ok(());
    }
    show(&pattern)
}

fn show(pattern: &StoredPattern) -> Result<(), Failure> {
    let day = |t: Option<i64>| {
        let time = t.and_then(chrono::DateTime::from_timestamp_micros);
        time.map(|t| t.format("%Y-%m-%d %H:%M").to_string().trim_end_matches(" 00:00").to_string()).unwrap_or_default()
    };
    out!("pattern    {}{}", pattern.id, if pattern.active { "" } else { " (not active)" });
    if let Some(symbol) = &pattern.symbol {
        let timeframe = pattern.timeframe.as_deref().unwrap_or_default();
        out!("from       {symbol} {timeframe}, {} to {}", day(pattern.start_ts), day(pattern.end_ts));
    }
    out!("bars       {}", pattern.bars);
    for (name, text) in [("label", &pattern.label), ("about", &pattern.description)] {
        if !text.is_empty() {
            out!("{name:<10} {text}");
        }
    }
    let sought = Pattern::try_from(pattern)?;
    out!("shape      {}", sparkline(&sought.closes[sought.lead..]));
    Ok(())
}

/// A series as a line of blocks.
fn sparkline(values: &[f64]) -> String {
    const BLOCKS: [char; 8] = ['▁', '▂', '▃', '▄', '▅', '▆', '▇', '█'];
    let shown = tallow_udfs::similarity::descriptor::paa(values, values.len().min(60));
    let (low, high) = shown.iter().fold((f64::INFINITY, f64::NEG_INFINITY), |(l, h), v| (l.min(*v), h.max(*v)));
    let block = |v: &f64| BLOCKS[(((v - low) / (high - low).max(f64::MIN_POSITIVE)) * 7.0).round() as usize];
    shown.iter().map(block).collect()
}

async fn set_active(session: &Session, name: &str, active: bool) -> Result<(), Failure> {
    patterns::get(session.tables(), name).await?;
    let id = name.to_string();
    let change = move |all: &mut Vec<StoredPattern>| {
        all.iter_mut().filter(|p| p.id == id).for_each(|p| p.active = active);
        Ok(())
    };
    session.care(|lake| async move { lake.change_records("CHANGE PATTERN", change).await }).await?;
    out!("{name} is {}", if active { "active" } else { "not active" });
    Ok(())
}

async fn train(session: &Session, config: &Config, args: TrainArgs) -> Result<(), Failure> {
    let started = Instant::now();
    let all = session.tables().records::<StoredPattern>().await?;
    let stored: Vec<StoredPattern> = match args.patterns.is_empty() {
        true => all.into_iter().filter(|p| p.active).collect(),
        false => {
            let chosen: BTreeSet<&String> = args.patterns.iter().collect();
            let mut stored = vec![];
            for id in chosen {
                stored.push(patterns::get(session.tables(), id).await?);
            }
            stored
        }
    };
    if stored.is_empty() {
        return Err(no_pattern().into());
    }
    let options = SearchOptions {
        k: args.matches,
        scales: search::scales(&args.scales).map_err(usage)?,
        // The pattern's own bars are as good an example as any, and nobody looks at percentiles.
        self_matches: true,
        null: Null { size: 0, ..SearchOptions::default().null },
        thinned: true,
        ..SearchOptions::default()
    };
    let patterns = stored.iter().map(Pattern::try_from).collect::<crate::Result<Vec<_>>>()?;
    let run = MatchRun { patterns, options, exact: true, percentile: None };
    let table = table_of(args.timeframe.as_deref())?;
    let timeframe = timeframe_of(session, &table).await?;
    if let Some(symbol) = &args.benchmark {
        score::check_benchmark(session, &table, symbol).await?;
    }
    score::check_name(&args.model)?;
    let training = Training { run, table, timeframe, benchmark: args.benchmark };
    let progress = Arc::new(Progress::new(config, None, "symbols"));
    let trained = training.train(session, progress.follow()).await;
    progress.clear();
    let trained = trained?;
    trained.keep(session, &args.model).await?;
    let origin = &trained.model.origin;
    out!("model      {}", args.model);
    out!("patterns   {}", origin.patterns.join(", "));
    out!("rows       {} of {} matches have a future that is known", origin.rows, trained.matches);
    out!("tested     {} rows out of sample, in {} purged folds", origin.evaluation.rows, origin.evaluation.folds);
    show_evaluation(&origin.evaluation)?;
    if !config.quiet {
        let _ = writeln!(std::io::stderr(), "{:.1} s", started.elapsed().as_secs_f64());
    }
    partial(&trained.failures)
}

fn show_evaluation(evaluation: &Evaluation) -> Result<(), Failure> {
    out!(
        "\n{:<8} {:>7} {:>7} {:>7} {:>10} {:>10} {:>7} {:>7}",
        "target",
        "mean",
        "mae",
        "rmse",
        "rmse(mean)",
        "rmse(walk)",
        "ece",
        "skill"
    );
    for t in &evaluation.targets {
        out!(
            "{:<8} {:>7.3} {:>7.3} {:>7.3} {:>10.3} {:>10.3} {:>7.3} {:>7.3}",
            t.target,
            t.mean,
            t.mae,
            t.rmse,
            t.rmse_of_mean,
            t.rmse_of_walk,
            t.ece,
            t.skill()
        );
    }
    out!("\ncalibration out of sample: told -> came (rows)");
    for t in &evaluation.targets {
        let bins: Vec<_> = t.bins.iter().map(|b| format!("{:.2} -> {:.2} ({})", b.predicted, b.came, b.rows)).collect();
        out!("{:<8} {}", t.target, bins.join(", "));
    }
    out!("\n{}", evaluation.verdict());
    Ok(())
}
