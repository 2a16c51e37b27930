//! Training: matches of the past, what came after them, and how well it is predicted out of sample.

use super::boosted::{self, Boosted, Origin};
use super::evaluation::{Evaluation, TargetScore};
use super::features::MatchTable;
use super::{FEATURES, TARGETS, store, walk};
use crate::Session;
use crate::control::Control;
use crate::outcome::Skipped;
use crate::patterns;
use crate::relation::{one, relation, timeframe_of};
use crate::rows::{numbers, times};
use crate::search::{MatchRun, Matched, Pattern, SearchOptions};
use arrow::compute::concat_batches;
use forust_ml::GradientBooster;
use tallow_common::{Error, Result};
use tallow_udfs::similarity::random::Null;

/// Folds of the evaluation, in time.
const FOLDS: usize = 5;

/// The share of the time that all matches span by which training rows keep away after a test fold.
const EMBARGO: f64 = 0.01;

/// Matches that a training needs at least.
const LEAST: usize = 200;

/// What a model is trained on.
#[derive(Debug, Clone)]
pub struct Training {
    /// The search whose matches are the training set.
    pub run: MatchRun,
    /// The table of candles.
    pub table: String,
    /// What its bars are called.
    pub timeframe: String,
    /// The symbol of an index; `None`: all symbols with equal weights.
    pub benchmark: Option<String>,
}

/// A model to train.
#[derive(Debug, Clone)]
pub struct TrainingRequest {
    /// Patterns that the lake keeps; none: all active ones.
    pub patterns: Vec<String>,
    /// What the model is to be called.
    pub model: String,
    /// Matches of each pattern to learn from, the nearest ones.
    pub matches: usize,
    /// The table of candles.
    pub table: String,
    /// The symbol of an index; `None`: all symbols with equal weights.
    pub benchmark: Option<String>,
    /// Lengths of windows, as multiples of the pattern's.
    pub scales: Vec<f64>,
}

impl TrainingRequest {
    /// Finds the patterns and the bars, and whether the model can be called so.
    ///
    /// # Errors
    /// The lake keeps no such patterns, or has no bars of the benchmark; the model cannot be called so.
    pub async fn prepare(self, session: &Session) -> Result<Training> {
        let TrainingRequest { patterns, model, matches, table, benchmark, scales } = self;
        let stored = patterns::chosen(session.lake(), &patterns).await?;
        let options = SearchOptions {
            k: matches,
            scales,
            // The pattern's own bars are as good an example as any, and nobody looks at percentiles.
            self_matches: true,
            null: Null { size: 0, ..SearchOptions::default().null },
            thinned: true,
            ..SearchOptions::default()
        };
        let patterns = stored.iter().map(Pattern::try_from).collect::<Result<Vec<_>>>()?;
        let run = MatchRun { patterns, options, symbols: None };
        let timeframe = timeframe_of(session.lake(), &table).await?;
        if let Some(symbol) = &benchmark {
            super::check_benchmark(session, &table, symbol).await?;
        }
        check_name(&model)?;
        Ok(Training { run, table, timeframe, benchmark })
    }
}

/// A trained model.
#[derive(Debug)]
pub struct Trained {
    /// The model.
    pub model: Boosted,
    /// Matches that were found.
    pub matches: usize,
    /// Files and symbols that were not used.
    pub skipped: Vec<Skipped>,
}

/// Training rows in the order of their ends.
struct Rows {
    /// Column after column.
    features: Vec<f64>,
    targets: Vec<Vec<f64>>,
    /// When each match ended, and when its targets were known.
    ends: Vec<i64>,
    known: Vec<i64>,
}

impl Training {
    /// Searches, trains, evaluates.
    ///
    /// # Errors
    /// Too few matches whose future is known.
    pub async fn train(&self, session: &Session, control: &Control) -> Result<Trained> {
        let found = self.run.run(session, &self.table, &self.timeframe, control).await?;
        let rows = self.rows(session, &found).await?;
        let Matched { rows: matches, table, skipped, .. } = found;
        let count = rows.ends.len();
        if count < LEAST {
            return Err(Error::invalid(format!(
                "{count} of {} matches have a future that is known, expected at least {LEAST}: {}",
                matches.num_rows(),
                match matches.num_rows() < self.run.options.k * self.run.patterns.len() {
                    true => "there are no more; shorter patterns or more bars have more",
                    false => "ask for more with the option `matches`",
                }
            )));
        }
        // Trees take seconds and must not hold up what else the session does.
        let (evaluation, ensembles) = session
            .engine()
            .spawn(async move {
                let evaluation = rows.evaluate()?;
                let all: Vec<usize> = (0..rows.ends.len()).collect();
                let ensembles = (0..TARGETS.len()).map(|t| rows.fit(&all, t)).collect::<Result<Vec<_>>>()?;
                Ok::<_, Error>((evaluation, ensembles))
            })?
            .await
            .map_err(|e| Error::invalid(format!("training ended: {e}")))??;
        let from = relation(session, &table).await?;
        let origin = Origin {
            patterns: self.run.patterns.iter().map(|p| p.id.clone()).collect(),
            timeframe: self.timeframe.clone(),
            candles_version: from.candles().and_then(|t| t.summary().version),
            rows: count,
            trained_at: chrono::Utc::now().timestamp_micros(),
            evaluation,
        };
        let names = |of: &[&str]| of.iter().map(ToString::to_string).collect();
        let model = Boosted::new(names(&FEATURES), names(&TARGETS), origin, ensembles);
        Ok(Trained { model, matches: matches.num_rows(), skipped })
    }

    async fn rows(&self, session: &Session, found: &Matched) -> Result<Rows> {
        let table = MatchTable::new(session, found).await?;
        let features = table.query("match_features", self.benchmark.as_deref())?;
        let targets = table.query("match_targets", None)?;
        let of = |table: &str, names: &[&str]| names.iter().map(|n| format!("{table}.{n} as {n}")).collect::<Vec<_>>();
        let sql = format!(
            "select f.end_ts as end_ts, t.known_at as known_at, {}, {}
             from ({features}) f join ({targets}) t
             on f.pattern = t.pattern and f.symbol = t.symbol and f.start_ts = t.start_ts and f.end_ts = t.end_ts
             where {}
             order by f.end_ts, f.symbol, f.pattern, f.start_ts",
            of("f", &FEATURES).join(", "),
            of("t", &TARGETS).join(", "),
            // From a close that is not above zero, nothing gains a percentage.
            TARGETS.map(|t| format!("t.{t} is not null")).join(" and ")
        );
        let batches = session.collect(one(session, &sql).await?).await?;
        let Some(first) = batches.first() else {
            return Ok(Rows { features: vec![], targets: vec![], ends: vec![], known: vec![] });
        };
        let rows = concat_batches(&first.schema(), &batches)?;
        let features = (2..2 + FEATURES.len()).map(|i| numbers(rows.column(i))).collect::<Result<Vec<_>>>()?.concat();
        let targets =
            (2 + FEATURES.len()..rows.num_columns()).map(|i| numbers(rows.column(i))).collect::<Result<Vec<_>>>()?;
        Ok(Rows { features, targets, ends: times(rows.column(0))?, known: times(rows.column(1))? })
    }
}

impl Rows {
    /// The features of some rows, column after column.
    fn features_of(&self, chosen: &[usize]) -> Vec<f64> {
        let rows = self.ends.len();
        (0..FEATURES.len()).flat_map(|c| chosen.iter().map(move |r| self.features[c * rows + r])).collect()
    }

    fn fit(&self, chosen: &[usize], target: usize) -> Result<GradientBooster> {
        let came: Vec<f64> = chosen.iter().map(|&r| self.targets[target][r]).collect();
        boosted::fit(&self.features_of(chosen), &came)
    }

    /// The training rows of a test fold: those whose time from end to known targets does not meet that of the fold, nor the
    /// embargo after it.
    fn purged(&self, fold: std::ops::Range<usize>) -> Vec<usize> {
        let from = self.ends[fold.start];
        let span = self.known.iter().max().copied().unwrap_or_default() - self.ends[0];
        let last = self.known[fold.clone()].iter().max().copied().unwrap_or(from);
        let to = last + (span as f64 * EMBARGO) as i64;
        let apart = |r: &usize| self.known[*r] < from || self.ends[*r] > to;
        (0..self.ends.len()).filter(|r| !fold.contains(r)).filter(apart).collect()
    }

    /// Folds in time, each predicted by what was trained on the others.
    fn evaluate(&self) -> Result<Evaluation> {
        let rows = self.ends.len();
        let mut sets: Vec<[Vec<f64>; 4]> = TARGETS.iter().map(|_| Default::default()).collect();
        let mut folds = 0;
        for fold in 0..FOLDS {
            let test = rows * fold / FOLDS..rows * (fold + 1) / FOLDS;
            let training = self.purged(test.clone());
            if training.len() < LEAST / 2 || test.is_empty() {
                continue;
            }
            folds += 1;
            let tested: Vec<usize> = test.clone().collect();
            let features = self.features_of(&tested);
            let walked = walk::predict(&features, tested.len());
            let mut predictions = (0..TARGETS.len())
                .map(|target| Ok(boosted::predict(&self.fit(&training, target)?, &features, tested.len())))
                .collect::<Result<Vec<_>>>()?;
            boosted::possible(&mut predictions, &features, tested.len());
            for (target, [came, predicted, mean, walk]) in sets.iter_mut().enumerate() {
                let all = &self.targets[target];
                let average = training.iter().map(|&r| all[r]).sum::<f64>() / training.len() as f64;
                came.extend(&all[test.clone()]);
                predicted.extend(&predictions[target]);
                mean.extend(tested.iter().map(|_| average));
                walk.extend(walked[target].iter().map(|p| if p.is_finite() { *p } else { average }));
            }
        }
        let scores = TARGETS.iter().zip(&sets);
        let targets =
            scores.map(|(name, [came, predicted, mean, walk])| TargetScore::of(name, came, predicted, mean, walk));
        Ok(Evaluation { folds, rows: sets[0][0].len(), targets: targets.collect() })
    }
}

/// Whether a model can be called so.
///
/// # Errors
/// It cannot.
pub fn check_name(name: &str) -> Result<()> {
    let fits = |c: char| c.is_ascii_alphanumeric() || c == '_' || c == '-';
    if name.is_empty() || !name.chars().all(fits) || name == super::Model::WALK {
        return Err(Error::invalid(format!(
            "'{name}' cannot be a model's name: expected letters, digits, _ and -, and not '{}'",
            super::Model::WALK
        )));
    }
    Ok(())
}

impl Trained {
    /// Keeps the model in the lake under a name.
    pub async fn keep(&self, session: &Session, name: &str) -> Result<()> {
        check_name(name)?;
        store::keep(session.lake(), name, self.model.to_json()?).await
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn training_rows_keep_away_from_a_fold() {
        // Matches that end at 0, 10, 20, ..., each known 25 later.
        let ends: Vec<i64> = (0..100).map(|i| 10 * i).collect();
        let known = ends.iter().map(|e| e + 25).collect();
        let rows = Rows { features: vec![], targets: vec![], ends, known };
        let training = rows.purged(40..60);
        // The fold lasts from 400 to 615, with the embargo of 1 % of 1015 to 625.
        assert!(training.iter().all(|&r| rows.known[r] < 400 || rows.ends[r] > 625));
        assert_eq!(training.iter().filter(|r| **r < 40).count(), 38);
        assert_eq!(training.iter().filter(|r| **r >= 60).min(), Some(&63));
    }
}
