//! `tallow match`.

use super::args::{MatchArgs, SearchArgs};
use super::config::Config;
use super::destination;
use super::left_out::partial;
use super::output::Writer;
use super::progress::Progress;
use super::report::folder_of_pictures;
use super::scan::{duration, table_of};
use super::{Failure, usage};
use crate::Session;
use crate::lake::{Computed, READABLE, ResultKind, StoredPattern};
use crate::pipeline::alerts::{self, Alerts, Claimed};
use crate::pipeline::patterns;
use crate::pipeline::scan::Failure as LeftOut;
use crate::pipeline::score::{self, Model};
use crate::pipeline::search::{self, Adjust, Counts, MatchRun, Pattern, SearchOptions};
use crate::{Error, Result as Done};
use arrow::array::RecordBatch;
use arrow::compute::concat_batches;
use std::collections::HashMap;
use std::io::Write;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tallow_common::redact::redacted;
use tallow_udfs::candle::Timeframe;
use tallow_udfs::similarity::random::Null;
use tallow_udfs::similarity::search::{Stages, Windowing};

pub(super) fn no_pattern() -> Error {
    Error::invalid(
        "the lake keeps no pattern yet: tallow pattern add NAME --symbol AAPL --from 2017-01-03 --to 2017-06-30",
    )
}

/// What the bars of a table are called.
pub(super) async fn timeframe_of(session: &Session, table: &str) -> Done<String> {
    Ok(match table.strip_prefix("candles_").and_then(|t| t.parse::<Timeframe>().ok()) {
        Some(timeframe) => timeframe.to_string(),
        None => {
            let bars = match session.tables().bars(table).await {
                // A file that cannot be read does not hide what the others hold.
                Err(error) => session.tables().bars(&format!("{table}{READABLE}")).await.map_err(|_| error)?,
                known => known?,
            };
            bars.map_or_else(|| table.to_string(), |(t, _)| t.to_string())
        }
    })
}

/// `name=number` pairs.
fn numbers(option: &str, given: &[String], allowed: &[&str]) -> Result<HashMap<String, f64>, Failure> {
    let pair = |text: &String| {
        let wrong = || Failure::Usage(format!("{option} '{text}': expected {}=NUMBER", allowed.join("=NUMBER, ")));
        let (name, number) = text.split_once('=').ok_or_else(wrong)?;
        let name = name.trim();
        let number: f64 = number.trim().parse().map_err(|_| wrong())?;
        if !allowed.contains(&name) { Err(wrong()) } else { Ok((name.to_string(), number)) }
    };
    given.iter().map(pair).collect()
}

impl SearchArgs {
    fn options(&self) -> Result<SearchOptions, Failure> {
        let weights = numbers("--weights", &self.weights, &["price", "averages", "slopes"])?;
        let bands = numbers("--bands", &self.bands, &["price", "averages"])?;
        let adjust = Adjust {
            price: weights.get("price").copied(),
            averages: weights.get("averages").copied(),
            slopes: weights.get("slopes").copied(),
            price_band: bands.get("price").copied(),
            averages_band: bands.get("averages").copied(),
        };
        let default = SearchOptions::default();
        Ok(SearchOptions {
            windowing: if self.latest { Windowing::Latest } else { Windowing::History },
            k: self.top,
            channels: self.channels.as_deref().map(search::channels).transpose().map_err(usage)?,
            adjust,
            scales: search::scales(&self.scales).map_err(usage)?,
            null: Null { size: self.null as usize, ..default.null },
            self_matches: self.self_matches,
            thinned: false,
        })
    }

    /// The run that is asked for.
    pub(super) async fn run(&self, session: &Session) -> Result<MatchRun, Failure> {
        if self.channels.as_deref().is_some_and(|c| !c.contains("averages"))
            && let Some(named) = self.weights.iter().chain(&self.bands).find(|w| w.trim().starts_with("averages"))
        {
            return Err(Failure::Usage(format!("--channels leaves the averages out, which '{named}' is about")));
        }
        if self.percentile.is_some_and(|p| !(0.0..=1.0).contains(&p)) {
            return Err(Failure::Usage("--percentile: expected a share from 0 to 1, such as 0.99".to_string()));
        }
        let patterns = match &self.pattern {
            Some(text) => vec![patterns::of_text(session.tables(), text).await?],
            None => {
                let all = session.tables().records::<StoredPattern>().await?;
                if all.is_empty() {
                    return Err(no_pattern().into());
                }
                let active = all.iter().filter(|p| p.active).map(Pattern::try_from);
                active.collect::<Done<Vec<_>>>()?
            }
        };
        if patterns.is_empty() {
            return Err(Error::invalid("no pattern is active; `tallow pattern activate NAME`").into());
        }
        Ok(MatchRun { patterns, options: self.options()?, exact: self.exact, percentile: self.percentile })
    }

    /// The tables, and what their bars are called.
    pub(super) async fn tables(&self, session: &Session) -> Result<Vec<(String, String)>, Failure> {
        let given: Vec<Option<&str>> = match self.timeframe.is_empty() {
            true => vec![None],
            false => self.timeframe.iter().map(|t| Some(t.trim())).collect(),
        };
        let mut tables: Vec<(String, String)> = vec![];
        for text in given {
            let table = table_of(text)?;
            if tables.iter().any(|(known, _)| *known == table) {
                continue;
            }
            let timeframe = timeframe_of(session, &table).await?;
            if let Some((other, _)) = tables.iter().find(|(_, known)| *known == timeframe) {
                return Err(Failure::Usage(format!(
                    "'{other}' and '{table}' both hold {timeframe} bars, which the result could not tell apart: search one by one"
                )));
            }
            tables.push((table, timeframe));
        }
        Ok(tables)
    }
}

/// What a command found.
pub(super) struct Found {
    /// The matches.
    pub rows: RecordBatch,
    /// The table that was read for each timeframe.
    pub tables: Vec<(String, String)>,
    /// What could not be read of them.
    pub left_out: Vec<LeftOut>,
}

/// Runs a search over all of its tables; with a model, its matches are scored.
async fn found(session: &Session, config: &Config, args: &MatchArgs) -> Result<Found, Failure> {
    let (model, benchmark) = (args.score.as_deref(), args.benchmark.as_deref());
    if model == Some(Model::WALK) && !config.quiet {
        let _ = writeln!(
            std::io::stderr(),
            "{}: not trained; what a driftless random walk with the volatility of each match would do",
            Model::WALK
        );
    }
    let mut run = args.search.run(session).await?;
    if args.alert {
        // What is silent must not take the place of what is not.
        run.options.k += alerts::most_silent(session).await?;
    }
    let (mut batches, mut tables, mut left_out) = (vec![], vec![], vec![]);
    for (table, timeframe) in args.search.tables(session).await? {
        let started = Instant::now();
        let progress = Arc::new(Progress::new(config, None, "symbols"));
        let searched = run.run(session, &table, &timeframe, progress.follow()).await;
        progress.clear();
        let searched = searched?;
        warn_of_others(config, &run.patterns, &timeframe);
        if !config.quiet {
            for (pattern, counts) in &searched.stages {
                let _ = writeln!(std::io::stderr(), "{pattern} in {timeframe}: {}", describe(counts));
            }
            let _ = writeln!(std::io::stderr(), "{:.2} s", started.elapsed().as_secs_f64());
        }
        batches.push(match model {
            Some(model) => score::scored(session, &searched, model, benchmark).await?,
            None => searched.rows,
        });
        tables.push((searched.table, timeframe));
        left_out.extend(searched.failures.into_iter().filter(|f| !left_out.contains(f)).collect::<Vec<_>>());
    }
    let schema = batches.first().map_or_else(search::rows_schema, RecordBatch::schema);
    Ok(Found { rows: concat_batches(&schema, &batches)?, tables, left_out })
}

/// A pattern is a shape and may be looked for in any bars; but hardly in others by intent.
fn warn_of_others(config: &Config, patterns: &[Pattern], timeframe: &str) {
    if timeframe.parse::<Timeframe>().is_err() {
        return;
    }
    let other = |p: &&Pattern| p.timeframe.as_ref().is_some_and(|own| own != timeframe);
    let names: Vec<String> = patterns
        .iter()
        .filter(other)
        .map(|p| format!("{} ({})", p.id, p.timeframe.as_deref().unwrap_or_default()))
        .collect();
    if !names.is_empty() && !config.quiet {
        warn(&format!("searching {timeframe} bars for what was cut from other bars: {}", names.join(", ")));
    }
}

/// What each stage saw and dropped.
fn describe(counts: &Counts) -> String {
    let Stages { symbols, short, windows, kim, keogh, keogh_reversed, abandoned, whole } = counts.stages;
    let mut said = String::new();
    if let Some((seen, kept)) = counts.prescreened {
        said += &format!("{seen} symbols prescreened, {kept} kept; ");
    }
    said += &format!("{symbols} symbols, {windows} windows");
    let dropped: Vec<String> =
        [(kim, "LB_Kim"), (keogh, "LB_Keogh"), (keogh_reversed, "LB_Keogh reversed"), (abandoned, "abandoned DTW")]
            .into_iter()
            .filter(|(count, _)| *count > 0)
            .map(|(count, stage)| format!("{count} by {stage}"))
            .collect();
    if !dropped.is_empty() {
        said += &format!("; dropped {}", dropped.join(", "));
    }
    said += &format!("; {whole} compared whole");
    if short > 0 {
        said += &format!("; {short} symbols have too few bars");
    }
    said
}

impl MatchArgs {
    /// The table that matches are kept in.
    fn table(&self) -> Result<Option<String>, Failure> {
        let table = self.into.as_deref().map(|name| ResultKind::Matches.table(name)).transpose();
        table.map_err(|error| usage(error.into()))
    }

    /// What can be told to be wrong before the search.
    pub(super) async fn check(&self, session: &Session) -> Result<Duration, Failure> {
        for (given, option) in [(self.alert, "--alert"), (self.search.exact, "--exact")] {
            if given && !self.search.latest {
                return Err(Failure::Usage(format!("{option} is about the newest bars: give --latest too")));
            }
        }
        let cooldown = if self.cooldown == "0" { Duration::ZERO } else { duration("--cooldown", &self.cooldown)? };
        if let Some(table) = self.table()? {
            let tables = self.search.tables(session).await?;
            let named = table.strip_prefix("matches_").filter(|t| t.parse::<Timeframe>().is_ok());
            if tables.len() > 1 || named.is_some_and(|named| tables.iter().any(|(_, t)| t != named)) {
                let searched: Vec<_> = tables.into_iter().map(|(_, timeframe)| timeframe).collect();
                return Err(Failure::Usage(format!(
                    "--into {table}: a table holds the matches of one timeframe, and {} is searched",
                    searched.join(", ")
                )));
            }
        }
        folder_of_pictures(self.png.as_deref())?;
        match (&self.score, &self.benchmark) {
            (None, Some(_)) => return Err(Failure::Usage("--benchmark belongs to --score".to_string())),
            (Some(model), benchmark) => {
                let model = score::Models::of(session)?.load(session.tables(), model).await?;
                for (table, timeframe) in self.search.tables(session).await? {
                    if let Some(symbol) = benchmark {
                        score::check_benchmark(session, &table, symbol).await?;
                    }
                    if let Model::Boosted(known) = model.as_ref()
                        && known.origin.timeframe != timeframe
                    {
                        let trained = &known.origin.timeframe;
                        warn(&format!("the model was trained on {trained} bars and scores {timeframe} bars"));
                    }
                }
            }
            (None, None) => {}
        }
        Ok(cooldown)
    }
}

fn warn(said: &str) {
    let _ = writeln!(std::io::stderr(), "warning: {said}");
}

/// Finds the matches that are asked for, scored and without those that are not due, keeps them as a table and delivers
/// them. Alerts that could not be delivered are due again.
pub(super) async fn deliver(
    session: &Session,
    config: &Config,
    args: &MatchArgs,
    to: impl AsyncFnOnce(&Found) -> Result<(), Failure>,
) -> Result<(), Failure> {
    let cooldown = args.check(session).await?;
    let mut found = found(session, config, args).await?;
    let alerts = Alerts { cooldown, now: chrono::Utc::now().timestamp_micros() };
    let nearest = search::nearest(&found.rows, args.search.top)?;
    keep(session, config, args, &found, &nearest).await?;
    found.rows = match args.alert {
        true => claim(session, config, args, &found.rows, alerts).await?,
        false => nearest,
    };
    let told = to(&found).await;
    if args.alert {
        alerts::settle(session, &found.rows, alerts, told.is_ok()).await?;
    }
    told?;
    partial(&found.left_out)
}

/// The matches that are due, and on standard error what is not.
async fn claim(
    session: &Session,
    config: &Config,
    args: &MatchArgs,
    rows: &RecordBatch,
    alerts: Alerts,
) -> Result<RecordBatch, Failure> {
    let Claimed { rows, silent, elsewhere } = alerts::claim(session, rows.clone(), args.search.top, alerts).await?;
    if silent > 0 && !config.quiet {
        let _ = writeln!(
            std::io::stderr(),
            "{silent} silent: told within {}, or of a bar that was told before",
            args.cooldown
        );
    }
    if elsewhere > 0 {
        warn(&format!(
            "{elsewhere} left to another run that is telling them; if it was killed, they are due in two minutes"
        ));
    }
    Ok(rows)
}

async fn keep(
    session: &Session,
    config: &Config,
    args: &MatchArgs,
    found: &Found,
    rows: &RecordBatch,
) -> Result<(), Failure> {
    let Some(table) = args.table()? else { return Ok(()) };
    let frame = session.context().read_batch(rows.clone())?;
    let timeframe = found.tables.first().map(|(_, timeframe)| ("tallow.timeframe".to_string(), timeframe.clone()));
    let computed = Computed {
        rows: session.plan(frame).await?,
        ordered: false,
        properties: timeframe.into_iter().collect(),
        kind: ResultKind::Matches,
        progress: Box::new(|_| {}),
    };
    let written = session.replace(&table, computed).await?;
    if !config.quiet {
        let table = redacted(&table);
        let _ = writeln!(std::io::stderr(), "{} rows in {table}, version {}", written.rows, written.version);
    }
    Ok(())
}

pub(super) async fn search(config: &Config, args: MatchArgs) -> Result<(), Failure> {
    destination::check(&args.output)?;
    let session = config.session().await?;
    deliver(&session, config, &args, async |found: &Found| {
        if let Some(folder) = &args.png {
            super::report::draw(&session, &args, found, folder).await?;
        }
        let mut writer = Writer::new(&args.output, found.rows.schema())?;
        writer.write(&found.rows)?;
        writer.finish()?;
        Ok(())
    })
    .await
}
