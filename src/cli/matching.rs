//! `tallow match`.

use super::Failure;
use super::args::{MatchArgs, SearchArgs};
use super::config::Config;
use super::output::Writer;
use super::scan::{duration, table_of};
use crate::Session;
use crate::error::{Error, Result as Done};
use crate::lake::{Computed, StoredPattern};
use crate::pipeline::alerts::{self, Alerts};
use crate::pipeline::patterns;
use crate::pipeline::score::{self, Model};
use crate::pipeline::search::{self, Adjust, Counts, MatchRun, Matched, SearchOptions};
use arrow::array::RecordBatch;
use arrow::compute::concat_batches;
use std::collections::HashMap;
use std::io::Write;
use std::time::{Duration, Instant};
use tallow_udfs::candle::Timeframe;
use tallow_udfs::similarity::random::Null;
use tallow_udfs::similarity::search::{Stages, Windowing};

pub(super) fn no_pattern() -> Error {
    Error::Setting(
        "the lake keeps no pattern yet: tallow pattern add NAME --symbol AAPL --from 2017-01-03 --to 2017-06-30".into(),
    )
}

/// What the bars of a table are called.
pub(super) async fn timeframe_of(session: &Session, table: &str) -> Done<String> {
    Ok(match table.strip_prefix("candles_").and_then(|t| t.parse::<Timeframe>().ok()) {
        Some(timeframe) => timeframe.to_string(),
        None => session.tables().bars(table).await?.map_or_else(|| table.to_string(), |(t, _)| t.to_string()),
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
            channels: self.channels.as_deref().map(search::channels).transpose()?,
            adjust,
            scales: search::scales(&self.scales)?,
            null: Null { size: self.null as usize, ..default.null },
            self_matches: self.self_matches,
            thinned: false,
        })
    }

    /// The run that is asked for.
    pub(super) async fn run(&self, session: &Session) -> Result<MatchRun, Failure> {
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
                let active = all.iter().filter(|p| p.active).map(StoredPattern::sought);
                active.collect::<Done<Vec<_>>>()?
            }
        };
        if patterns.is_empty() {
            return Err(Error::Setting("no pattern is active; `tallow pattern activate NAME`".into()).into());
        }
        Ok(MatchRun { patterns, options: self.options()?, exact: self.exact, percentile: self.percentile })
    }

    /// The tables, and what their bars are called.
    pub(super) async fn tables(&self, session: &Session) -> Result<Vec<(String, String)>, Failure> {
        let given: Vec<Option<&str>> = match self.timeframe.is_empty() {
            true => vec![None],
            false => self.timeframe.iter().map(|t| Some(t.trim())).collect(),
        };
        let mut tables = vec![];
        for text in given {
            let table = table_of(text)?;
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

/// Runs a search over all of its tables; with a model, its matches are scored.
pub(super) async fn found(
    session: &Session,
    config: &Config,
    args: &SearchArgs,
    model: Option<&str>,
    benchmark: Option<&str>,
) -> Result<RecordBatch, Failure> {
    if model == Some(Model::WALK) && !config.quiet {
        let _ = writeln!(
            std::io::stderr(),
            "{}: not trained; what a driftless random walk with the volatility of each match would do",
            Model::WALK
        );
    }
    let run = args.run(session).await?;
    let mut batches = vec![];
    for (table, timeframe) in args.tables(session).await? {
        let started = Instant::now();
        let Matched { rows, stages } = run.run(session, &table, &timeframe).await?;
        if !config.quiet {
            for (pattern, counts) in &stages {
                let _ = writeln!(std::io::stderr(), "{pattern} in {timeframe}: {}", describe(counts));
            }
            let _ = writeln!(std::io::stderr(), "{:.2} s", started.elapsed().as_secs_f64());
        }
        batches.push(match model {
            Some(model) => score::scored(session, &rows, &table, model, benchmark).await?,
            None => rows,
        });
    }
    let schema = batches.first().map_or_else(search::rows_schema, RecordBatch::schema);
    Ok(concat_batches(&schema, &batches)?)
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
    /// What can be told to be wrong before the search.
    pub(super) async fn check(&self, session: &Session) -> Result<Duration, Failure> {
        for (given, option) in [(self.alert, "--alert"), (self.search.exact, "--exact")] {
            if given && !self.search.latest {
                return Err(Failure::Usage(format!("{option} is about the newest bars: give --latest too")));
            }
        }
        let cooldown = if self.cooldown == "0" { Duration::ZERO } else { duration("--cooldown", &self.cooldown)? };
        if let Some(table) = &self.to {
            session.tables().computed_location(table).map_err(Error::from)?;
        }
        if let Some(folder) = self.output.output.as_ref().and_then(|p| p.parent()).filter(|p| !p.as_os_str().is_empty())
            && !folder.is_dir()
        {
            return Err(Failure::Usage(format!("there is no folder {}", folder.display())));
        }
        match (&self.score, &self.benchmark) {
            (None, Some(_)) => return Err(Failure::Usage("--benchmark belongs to --score".to_string())),
            (Some(model), benchmark) => {
                let model = session.models().load(session.tables(), model).await?;
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
    to: impl AsyncFnOnce(RecordBatch) -> Result<(), Failure>,
) -> Result<(), Failure> {
    let cooldown = args.check(session).await?;
    let (model, benchmark) = (args.score.as_deref(), args.benchmark.as_deref());
    let rows = found(session, config, &args.search, model, benchmark).await?;
    if !args.alert {
        keep(session, config, args, &rows).await?;
        return to(rows).await;
    }
    let alerts = Alerts { cooldown, now: chrono::Utc::now().timestamp_micros() };
    let rows = alerts::due(session, rows, alerts).await?;
    let told = async {
        keep(session, config, args, &rows).await?;
        to(rows.clone()).await
    };
    let told = told.await;
    if told.is_err() {
        alerts::take_back(session, &rows, alerts).await?;
    }
    told
}

async fn keep(session: &Session, config: &Config, args: &MatchArgs, rows: &RecordBatch) -> Result<(), Failure> {
    let Some(table) = &args.to else { return Ok(()) };
    let frame = session.context().read_batch(rows.clone())?;
    let computed = Computed {
        rows: frame.create_physical_plan().await?,
        ordered: false,
        properties: HashMap::default(),
        operation: "MATCH",
        progress: Box::new(|_| {}),
    };
    let written = session.replace(table, computed).await?;
    if !config.quiet {
        let _ = writeln!(std::io::stderr(), "{} rows in {table}, version {}", written.rows, written.version);
    }
    Ok(())
}

pub(super) async fn search(config: &Config, args: MatchArgs) -> Result<(), Failure> {
    let session = config.session().await?;
    deliver(&session, config, &args, async |rows: RecordBatch| {
        if let Some(folder) = &args.png {
            super::report::draw(&session, &args, &rows, folder).await?;
        }
        let mut writer = Writer::new(&args.output, rows.schema())?;
        writer.write(&rows)?;
        writer.finish()?;
        Ok(())
    })
    .await
}
