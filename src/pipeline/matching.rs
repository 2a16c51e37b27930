//! `Match`: a search over several tables, scored, kept as a table, and told once where alerts are asked for.

use super::alerts::{self, Alerts, Claimed};
use super::control::Control;
use super::match_runs::MatchedAt;
use super::materialize::ResultTable;
use super::outcome::{Outcome, Skipped};
use super::patterns;
use super::relation::timeframe_of;
pub use super::scoring::Scoring;
use super::search::{self, Counts, MatchRun, Pattern, SearchOptions, nearest, rows_schema};
use crate::Session;
use arrow::array::RecordBatch;
use arrow::compute::concat_batches;
use chrono::Utc;
use std::collections::BTreeMap;
use std::time::{Duration, Instant};
use tallow_common::{Error, Result};
use tallow_lake::properties::TIMEFRAME;
use tallow_lake::{Replaced, ResultKind, StoredPattern, Written};
use tallow_udfs::calendar::Timeframe;
use tallow_udfs::similarity::search::Windowing;

/// What is searched for, where and how, and what becomes of it.
#[derive(Debug, Clone)]
pub struct Match {
    /// A pattern that the lake keeps, by its name, or closes; `None`: all active patterns of the lake.
    pub pattern: Option<String>,
    /// Tables of candles.
    pub tables: Vec<String>,
    /// Symbols whose bars are searched; `None`: all.
    pub symbols: Option<Vec<String>>,
    /// Which windows are looked at.
    pub look: Look,
    /// How windows are compared, and which matches count. Which windows are looked at, [`Match::look`] says.
    pub options: SearchOptions,
    /// What a model makes of the matches.
    pub score: Option<Scoring>,
    /// The table that matches are added to, as [`crate::materialize::result_table`] gives it.
    pub into: Option<String>,
}

/// Which windows are looked at.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Look {
    /// All of the past.
    History,
    /// Those that end with the newest bar of each symbol.
    Latest {
        /// Of all symbols, not only of those that correlate best with the pattern.
        exact: bool,
        /// Only matches that were not delivered within this time, nor of the same bar; they are remembered.
        cooldown: Option<Duration>,
    },
}

impl Match {
    /// A search for a pattern, or for all active ones, in all windows of the past of `candles`.
    pub fn of(pattern: Option<String>) -> Match {
        Match {
            pattern,
            tables: vec!["candles".to_string()],
            symbols: None,
            look: Look::History,
            options: SearchOptions::default(),
            score: None,
            into: None,
        }
    }

    /// What is wrong with it whatever the lake holds.
    fn check(&self) -> Result<()> {
        self.options.check()
    }

    /// Finds the patterns, the tables and the model, and whether the matches can be kept.
    ///
    /// # Errors
    /// What can be found to be wrong before the search.
    pub async fn prepare(self, session: &Session) -> Result<MatchJob> {
        self.check()?;
        let tables = tables(session, &self.tables).await?;
        if let Some(table) = &self.into {
            check_timeframe(table, &tables)?;
        }
        let warnings = match &self.score {
            Some(scoring) => scoring.check(session, &tables).await?,
            None => vec![],
        };
        let run = self.run(session).await?;
        Ok(MatchJob { request: self, run, tables, warnings })
    }

    async fn run(&self, session: &Session) -> Result<MatchRun> {
        let patterns = match &self.pattern {
            Some(text) => vec![patterns::of_text(session.lake(), text).await?],
            None => {
                let all = session.lake().records::<StoredPattern>().await?;
                if all.is_empty() {
                    return Err(patterns::none());
                }
                all.iter().filter(|p| p.active).map(Pattern::try_from).collect::<Result<Vec<_>>>()?
            }
        };
        if patterns.is_empty() {
            return Err(Error::not_found("no pattern is active").with_hint("the operation `pattern activate NAME`"));
        }
        let mut options = self.options.clone();
        let cooldown;
        (options.windowing, options.exact, cooldown) = match self.look {
            Look::History => (Windowing::History, false, None),
            Look::Latest { exact, cooldown } => (Windowing::Latest, exact, cooldown),
        };
        if cooldown.is_some() {
            // What is silent must not take the place of what is not.
            options.k += alerts::most_silent(session).await?;
        }
        Ok(MatchRun { patterns, options, symbols: self.symbols.clone() })
    }
}

/// The tables, each once, and what their bars are called.
async fn tables(session: &Session, given: &[String]) -> Result<Vec<(String, String)>> {
    let mut tables: Vec<(String, String)> = vec![];
    for table in given {
        if tables.iter().any(|(known, _)| known == table) {
            continue;
        }
        let timeframe = timeframe_of(session.lake(), table).await?;
        if let Some((other, _)) = tables.iter().find(|(_, known)| *known == timeframe) {
            return Err(Error::Request(format!(
                "'{other}' and '{table}' both hold {timeframe} bars, which the result could not tell apart: search one by one"
            )));
        }
        tables.push((table.clone(), timeframe));
    }
    Ok(tables)
}

/// Whether matches of these tables can be kept in a table.
fn check_timeframe(table: &str, searched: &[(String, String)]) -> Result<()> {
    let named = table.strip_prefix("matches_").filter(|t| t.parse::<Timeframe>().is_ok());
    if searched.len() == 1 && named.is_none_or(|named| searched.iter().all(|(_, timeframe)| timeframe == named)) {
        return Ok(());
    }
    let timeframes: Vec<_> = searched.iter().map(|(_, timeframe)| timeframe.as_str()).collect();
    Err(Error::Argument(
        "into",
        format!(" {table}: a table holds the matches of one timeframe, and {} is searched", timeframes.join(", ")),
    ))
}

/// A search that is ready to run.
#[derive(Debug, Clone)]
pub struct MatchJob {
    /// What was asked for.
    pub request: Match,
    /// What is probably not meant.
    pub warnings: Vec<String>,
    run: MatchRun,
    /// The tables, and what their bars are called.
    tables: Vec<(String, String)>,
}

/// What happens in the course of a search.
pub enum MatchEvent<'a> {
    /// A table was searched.
    Searched(&'a Searched),
    /// The matches were added to the table that is to keep them.
    Kept(&'a Kept),
    /// Alerts were claimed: see [`Claimed`].
    Claimed(&'a Claimed),
}

/// What the search of a table looked at.
#[derive(Debug, Clone)]
pub struct Searched {
    /// What its bars are called.
    pub timeframe: String,
    /// What is allowed in the search and probably not meant.
    pub warnings: Vec<String>,
    /// What the search for each pattern looked at.
    pub stages: Vec<(String, Counts)>,
    /// How long it took.
    pub took: Duration,
}

/// Matches that a table keeps now, beside those of earlier runs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Kept {
    /// How many.
    pub rows: usize,
    /// Their `run_id` in the table.
    pub run_id: String,
    /// Version of the table.
    pub version: u64,
}

/// What was found.
#[derive(Debug, Clone)]
pub struct Found {
    /// The matches.
    pub rows: RecordBatch,
    /// The table that was read for each timeframe.
    pub tables: Vec<(String, String)>,
    /// What of them was not used.
    pub skipped: Vec<Skipped>,
}

impl From<Found> for Outcome {
    fn from(found: Found) -> Outcome {
        Outcome::of_rows(found.rows, found.skipped)
    }
}

impl MatchJob {
    /// The patterns that are searched for.
    pub fn patterns(&self) -> &[Pattern] {
        &self.run.patterns
    }

    /// The closes of the patterns that are searched for, by name.
    pub fn shapes(&self) -> BTreeMap<String, Vec<f64>> {
        let shape = |p: &Pattern| (p.id.clone(), p.closes[p.lead..].to_vec());
        self.run.patterns.iter().map(shape).collect()
    }

    /// Searches all tables, keeps the matches where that is asked for, and delivers them; with a cool-down those that are due.
    /// These are claimed before they are delivered, so that no other run delivers them, and due again where that fails.
    ///
    /// Returns what was not used.
    ///
    /// # Errors
    /// The search or the delivery failed or was stopped.
    pub async fn deliver<E: From<Error>>(
        &self,
        session: &Session,
        control: &Control,
        on: &mut (dyn FnMut(MatchEvent<'_>) + Send),
        to: impl AsyncFnOnce(&Found) -> Result<(), E>,
    ) -> Result<Vec<Skipped>, E> {
        let mut found = self.search(session, control, on).await?;
        let best = nearest(&found.rows, self.request.options.k)?;
        if let Some(table) = &self.request.into {
            on(MatchEvent::Kept(&self.keep(session, table, &best, control).await?));
        }
        let Look::Latest { cooldown: Some(cooldown), .. } = self.request.look else {
            found.rows = best;
            to(&found).await?;
            return Ok(found.skipped);
        };
        let alerts = Alerts { cooldown, now: chrono::Utc::now().timestamp_micros() };
        let claimed = alerts::claim(session, found.rows, self.request.options.k, alerts).await?;
        on(MatchEvent::Claimed(&claimed));
        found.rows = claimed.rows;
        let delivered = to(&found).await;
        alerts::settle(session, &found.rows, alerts, delivered.is_ok()).await?;
        delivered?;
        Ok(found.skipped)
    }

    /// What the bars of the table are called, where one is searched.
    pub(crate) fn timeframe(&self) -> Option<&str> {
        match self.tables.as_slice() {
            [(_, timeframe)] => Some(timeframe),
            _ => None,
        }
    }

    /// Searches all tables; with a model, the matches are scored.
    pub(crate) async fn search(
        &self,
        session: &Session,
        control: &Control,
        on: &mut (dyn FnMut(MatchEvent<'_>) + Send),
    ) -> Result<Found> {
        let (mut batches, mut tables, mut skipped) = (vec![], vec![], vec![]);
        for (table, timeframe) in &self.tables {
            let started = Instant::now();
            let searched = self.run.run(session, table, timeframe, control).await?;
            on(MatchEvent::Searched(&Searched {
                timeframe: timeframe.clone(),
                warnings: self.warnings_of(timeframe),
                stages: searched.stages.clone(),
                took: started.elapsed(),
            }));
            batches.push(match &self.request.score {
                Some(scoring) => scoring.scored(session, &searched).await?,
                None => searched.rows,
            });
            tables.push((searched.table, timeframe.clone()));
            for symbol in searched.skipped {
                if !skipped.contains(&symbol) {
                    skipped.push(symbol);
                }
            }
        }
        let schema = batches.first().map_or_else(rows_schema, RecordBatch::schema);
        Ok(Found { rows: concat_batches(&schema, &batches)?, tables, skipped })
    }

    fn warnings_of(&self, timeframe: &str) -> Vec<String> {
        let other = search::plan::of_other_bars(&self.run.patterns, timeframe);
        if other.is_empty() { vec![] } else { vec![search::plan::warning(timeframe, &other)] }
    }

    async fn keep(&self, session: &Session, table: &str, rows: &RecordBatch, control: &Control) -> Result<Kept> {
        let properties = self.timeframe().map(|timeframe| (TIMEFRAME.to_string(), timeframe.to_string()));
        let properties = properties.into_iter().collect();
        let table = ResultTable { name: table.to_string(), kind: ResultKind::Matches, properties };
        // Nobody waits long for rows that are there.
        let control = Control { progress: Control::default().progress, ..control.clone() };
        let run = MatchedAt::new(Utc::now());
        let (Replaced::Written(Written { version, .. }) | Replaced::UpToDate { version }) =
            run.keep_rows(session, rows, &table, &control).await?;
        Ok(Kept { rows: rows.num_rows(), run_id: run.run_id, version })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_table_keeps_the_matches_of_one_timeframe() {
        let searched = |timeframes: &[&str]| -> Vec<(String, String)> {
            timeframes.iter().map(|t| (format!("candles_{t}"), (*t).to_string())).collect()
        };
        assert!(check_timeframe("matches_1d", &searched(&["1d"])).is_ok());
        assert!(check_timeframe("matches_dips", &searched(&["4h"])).is_ok());
        for (table, timeframes) in [("matches_1d", &["4h"][..]), ("matches_dips", &["4h", "1d"])] {
            let error = check_timeframe(table, &searched(timeframes)).unwrap_err();
            assert!(matches!(&error, Error::Argument("into", said) if said.contains("one timeframe")), "{error}");
        }
    }
}
