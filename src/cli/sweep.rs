//! `tallow sweep`.

use super::args::OutputArgs;
use super::backtest::{FillArgs, StrategyArgs};
use super::commands::{Context, Run};
use super::output::{Writer, note};
use super::progress::Progress;
use super::{Failure, destination, usage};
use crate::pipeline::control::Control;
use crate::pipeline::scan;
use crate::pipeline::sweep::{Luck, Pbo, Sweep, Swept};
use clap::Args as ClapArgs;
use std::sync::Arc;

/// Combinations of parameters that can be written down at most.
const MOST: usize = 20_000_000;
/// More are tried only by who says so.
const MANY: usize = 20_000;

#[derive(Debug, ClapArgs)]
pub(super) struct SweepArgs {
    #[command(flatten)]
    pub strategy: StrategyArgs,
    /// Values of `:name` in the formulas: fast=5..50:5, fast=5,10,20 or one; may be repeated, all are crossed
    #[arg(long, value_name = "NAME=VALUES", required = true)]
    pub param: Vec<String>,
    /// Only combinations for which this is true, such as 'fast < slow'
    #[arg(long = "where", value_name = "CONDITION")]
    pub only: Option<String>,
    /// Try so many combinations, chosen by chance
    #[arg(long, value_name = "N")]
    pub sample: Option<usize>,
    /// What chance begins with
    #[arg(long, value_name = "N", default_value_t = 42)]
    pub seed: u64,
    /// Try very many combinations
    #[arg(long)]
    pub yes: bool,
    /// Choose the best before each of so many folds of time, and try it in the fold
    #[arg(long, value_name = "FOLDS", default_value_t = 0, hide_default_value = true)]
    pub walk_forward: usize,
    /// With --walk-forward: choose by so many times the length of a fold; 0: by all before it
    #[arg(long, value_name = "N", default_value_t = 3, requires = "walk_forward")]
    pub train: usize,
    /// With --walk-forward: bars between those that a variant is chosen by and the fold
    #[arg(long, value_name = "BARS", default_value_t = 0, requires = "walk_forward")]
    pub embargo: usize,
    /// Blocks of time that halves are made of, to see whether the best of one half is good in the other
    #[arg(long, value_name = "N", default_value_t = 16)]
    pub blocks: usize,
    #[command(flatten, next_help_heading = "Fills")]
    pub fills: FillArgs,
    #[command(flatten)]
    pub output: OutputArgs,
}

impl Run for SweepArgs {
    async fn run(self, cx: &Context) -> Result<(), Failure> {
        destination::check(&self.output)?;
        let mut grid = scan::Sweep::default();
        self.param.iter().try_for_each(|text| grid.add_to("param", text, MOST)).map_err(usage)?;
        let session = cx.config.session().await?;
        let mut sweep = Sweep::of(self.strategy.backtest(&session, &self.fills).await?, grid);
        (sweep.only, sweep.sample, sweep.seed) = (self.only.clone(), self.sample, self.seed);
        sweep.cuts.blocks = self.blocks;
        (sweep.cuts.folds, sweep.cuts.train, sweep.cuts.embargo) = (self.walk_forward, self.train, self.embargo);
        if sweep.len() > MANY && !self.yes {
            return Err(Failure::Usage(format!(
                "{} combinations: try a part of them with --sample {MANY}, or all with --yes",
                sweep.len()
            )));
        }
        let progress = Arc::new(Progress::new(&cx.config, None, "combinations"));
        let control = Control { cancel: cx.cancel.clone(), ..progress.control() };
        let swept = sweep.run(&session, &control).await;
        progress.clear();
        let Swept { variants, luck } = match swept {
            Err(_) if cx.cancel.is_cancelled() => return Err(Failure::Interrupted),
            done => done?,
        };
        let mut writer = Writer::new(&self.output, variants.schema())?;
        writer.write(&variants)?;
        writer.finish()?;
        if !cx.config.quiet {
            say(&luck);
        }
        Ok(())
    }
}

/// Whether the best is more than luck, a sentence for each answer.
fn say(luck: &Luck) {
    let Luck { bars, periods, trials, effective_trials, best_sharpe, expected_sharpe, .. } = luck;
    let number = |figure: &Option<f64>| figure.map_or("-".to_string(), |figure| format!("{figure:.2}"));
    note(format_args!("{bars} bars, {periods} a year; the mean of all symbols, each with money of its own"));
    note(format_args!(
        "luck: {trials} variants, worth {} independent ones; without skill the best of them would show a Sharpe ratio of {}, and \
         it shows {}",
        effective_trials.map_or("-".to_string(), |trials| format!("{trials:.1}")),
        number(expected_sharpe),
        number(best_sharpe),
    ));
    if let Some(deflated) = luck.deflated_sharpe {
        note(format_args!(
            "deflated Sharpe ratio: {:.1} % is the probability that the best is better than such luck",
            deflated * 100.0
        ));
    }
    if let Some(Pbo { probability, splits }) = luck.pbo {
        note(format_args!(
            "overfitting: of {splits} ways to cut time in two halves, in {:.1} % the best of one half is not above the middle in \
             the other",
            probability * 100.0
        ));
    }
    if let Some(walk) = &luck.walk_forward
        && let Some((before, after)) = walk.means()
    {
        let a_year = periods.sqrt();
        let (folds, kept) = (walk.winners.len(), number(&walk.robustness()));
        note(format_args!(
            "walk-forward: the best before each of {folds} folds had a mean Sharpe ratio of {:.2}, and of {:.2} in the fold: {kept} of \
             it remains; most often it was {}",
            before * a_year,
            after * a_year,
            luck.most_frequent.as_deref().unwrap_or("-")
        ));
    }
}
