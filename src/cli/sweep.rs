//! `tallow sweep`.

use super::args::OutputArgs;
use super::args::values::positive;
use super::commands::{Context, Run};
use super::destination::{self, PageTarget};
use super::output::{note, write};
use super::progress::followed;
use super::strategy_args::{MoneyArgs, StrategyArgs, TrialArgs};
use super::{Failure, usage};
use crate::pipeline::backtest::{Options, Shuffles};
use crate::pipeline::scan;
use crate::pipeline::sweep::Sweep;
use clap::Args as ClapArgs;

/// Combinations of parameters that can be written down at most.
const MOST: usize = 20_000_000;
/// More are tried only by who says so.
const MANY: usize = 20_000;

#[derive(Debug, ClapArgs)]
pub(super) struct SweepArgs {
    /// A strategy that the lake keeps; options that are given count instead of its own
    #[arg(value_name = "NAME|NAME@VERSION")]
    pub strategy: Option<String>,
    #[command(flatten)]
    pub rules: StrategyArgs,
    #[command(flatten)]
    pub trial: TrialArgs,
    /// Values of `:name` in the formulas: fast=5..50:5, fast=5,10,20 or one; may be repeated, all are crossed
    #[arg(long, value_name = "NAME=VALUES", required = true)]
    pub param: Vec<String>,
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
    /// With --walk-forward: begin and end each fold without a position, instead of going on over its borders
    #[arg(long, requires = "walk_forward")]
    pub flat: bool,
    /// Sweep the same bars in so many other orders, to see how good the best of all is by luck alone
    #[arg(long, value_name = "RUNS", value_parser = positive)]
    pub permute: Option<usize>,
    /// With --permute: bars that stay together
    #[arg(long, value_name = "BARS", default_value_t = 20, value_parser = positive, requires = "permute")]
    pub block: usize,
    /// Blocks of time that halves are made of, to see whether the best of one half is good in the other
    #[arg(long, value_name = "N", default_value_t = 16)]
    pub blocks: usize,
    #[command(flatten, next_help_heading = "Money; without it, each symbol has its own")]
    pub money: MoneyArgs,
    #[command(flatten)]
    pub output: OutputArgs,
}

/// The words of a condition that may be names.
fn words(condition: &str) -> impl Iterator<Item = &str> {
    condition.split(|sign: char| !sign.is_alphanumeric() && sign != '_').filter(|word| !word.is_empty())
}

impl Run for SweepArgs {
    async fn run(self, cx: &Context) -> Result<(), Failure> {
        #[cfg(feature = "report")]
        if let Some(page) = super::report::page_target(&self.output)? {
            return self.execute(cx, Some(page)).await;
        }
        destination::check(&self.output)?;
        self.execute(cx, None).await
    }
}

impl SweepArgs {
    /// Runs it; the variants go to a page, if there is one.
    pub async fn execute(&self, cx: &Context, page: Option<PageTarget<'_>>) -> Result<(), Failure> {
        let mut grid = scan::Sweep::default();
        self.param.iter().try_for_each(|text| grid.add_to("param", text, MOST)).map_err(usage)?;
        let session = cx.config.session().await?;
        let mut options = self.rules.options(&session, self.strategy.as_deref()).await?;
        let mut money = Options::default();
        self.money.add_to(&mut money)?;
        let is_shared = money.shares_money();
        let left_out = if is_shared { vec![] } else { options.without_shared_money() };
        options.extend(money);
        if !left_out.is_empty() && !cx.config.quiet {
            note(format_args!(
                "left out, since in a sweep each symbol has money of its own unless --slots are given: {}",
                left_out.join(", ")
            ));
        }
        // What names a parameter is about parameters, and everything else about symbols.
        let names: Vec<String> = grid.names().into_iter().map(str::to_string).collect();
        let names_one = |condition: &String| words(condition).any(|word| names.iter().any(|name| name == word));
        let mut trial = self.trial.clone();
        let (only, of_symbols) = trial.symbols.conditions.into_iter().partition::<Vec<_>, _>(names_one);
        trial.symbols.conditions = of_symbols;
        let only =
            (!only.is_empty()).then(|| only.iter().map(|one| format!("({one})")).collect::<Vec<_>>().join(" and "));
        let mut sweep = Sweep { is_shared, only, ..Sweep::of(trial.backtest(&session, &options).await?, grid) };
        (sweep.sample, sweep.seed) = (self.sample, self.seed);
        (sweep.cuts.blocks, sweep.is_flat) = (self.blocks, self.flat);
        (sweep.cuts.folds, sweep.cuts.train, sweep.cuts.embargo) = (self.walk_forward, self.train, self.embargo);
        if sweep.len() > MANY && !self.yes {
            return Err(Failure::Usage(format!(
                "{} combinations: try a part of them with --sample {MANY}, or all with --yes",
                sweep.len()
            )));
        }
        if is_shared && !cx.config.quiet {
            note(format_args!("{} back-tests, one after the other: symbols share money", sweep.len()));
        }
        let mut swept = followed(cx, "combinations", async |control| sweep.run(&session, control).await).await?;
        if let (Some(runs), Some(best)) = (self.permute, swept.luck.best_sharpe) {
            let shuffles = Shuffles { runs, block: self.block, seed: self.seed };
            let permuted = async |control: &_| sweep.permuted(&session, best, shuffles, control).await;
            swept.luck.permutation = Some(followed(cx, "runs", permuted).await?);
        }
        match page {
            #[cfg(feature = "report")]
            Some(page) => {
                let content = crate::pipeline::report::sweep_page(&session, &sweep, &options, &swept).await?;
                super::report::write(cx, &content, page)?;
            }
            _ => {
                write(&self.output, &swept.variants)?;
            }
        }
        if !cx.config.quiet {
            swept.luck.sentences().iter().for_each(|said| note(format_args!("{said}")));
        }
        Ok(())
    }
}
