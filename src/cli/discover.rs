//! `tallow discover`.

use super::args::OutputArgs;
use super::args::values::positive;
use super::commands::{Context, Run};
use super::output::{date, note, write};
use super::progress::followed;
use super::strategy_args::{StrategyArgs, TrialArgs, add_params};
use super::{Failure, destination};
use crate::Error;
use crate::pipeline::backtest::{Discovered, Discovery, percent};
use clap::{Args as ClapArgs, ValueEnum};
use tallow_engine::dialect::Formula;
use tallow_udfs::trade::backtest::Side;

#[derive(Debug, ClapArgs)]
pub(super) struct DiscoverArgs {
    /// A strategy that the lake keeps, whose exits and costs count; options that are given count instead of its own
    #[arg(value_name = "NAME|NAME@VERSION")]
    pub strategy: Option<String>,
    /// A number whose values are looked at, such as 'rsi(14)'; may be repeated [default: eight usual ones]
    #[arg(long, value_name = "VALUE")]
    pub feature: Vec<String>,
    /// Whether entries buy or sell short
    #[arg(long, value_enum, default_value_t = Way::Long)]
    pub side: Way,
    /// How many conditions a rule has at most
    #[arg(long, value_name = "1|2|3", default_value_t = 2)]
    pub depth: usize,
    /// Cut the values of a feature into so many parts of equal size
    #[arg(long, value_name = "N", default_value_t = 10)]
    pub parts: usize,
    /// Independent samples that a rule needs
    #[arg(long, value_name = "N", default_value_t = 30, value_parser = positive)]
    pub min_samples: usize,
    /// The part of the time, at its end, that rules are tried on and not found in
    #[arg(long, value_name = "P%", default_value = "30%")]
    pub test: String,
    /// Bars between the time in which rules are found and that of the test
    #[arg(long, value_name = "BARS", default_value_t = 0)]
    pub embargo: usize,
    /// Leave out rules with a higher rate of false discoveries
    #[arg(long, value_name = "P%", default_value = "5%")]
    pub max_false: String,
    /// Rules to show
    #[arg(long, value_name = "N", default_value_t = 20, value_parser = positive)]
    pub top: usize,
    #[command(flatten)]
    pub rules: StrategyArgs,
    /// A value for `:name` in the formulas; may be repeated
    #[arg(long, value_name = "NAME=VALUE")]
    pub param: Vec<String>,
    #[command(flatten)]
    pub trial: TrialArgs,
    #[command(flatten)]
    pub output: OutputArgs,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(super) enum Way {
    Long,
    Short,
}

fn part(option: &'static str, text: &str) -> Result<f64, Failure> {
    let wrong = || Error::Argument(option, format!(" {text}: expected a percentage, such as 30%"));
    Ok(percent(option, text)?.ok_or_else(wrong)?)
}

impl Run for DiscoverArgs {
    async fn run(self, cx: &Context) -> Result<(), Failure> {
        destination::check(&self.output)?;
        let session = cx.config.session().await?;
        let mut options = self.rules.options(&session, self.strategy.as_deref()).await?;
        add_params(&mut options, &self.param)?;
        let side = if self.side == Way::Long { Side::Long } else { Side::Short };
        let mut discovery = Discovery {
            depth: self.depth,
            parts: self.parts,
            min_samples: self.min_samples as f64,
            test: part("test", &self.test)?,
            embargo: self.embargo,
            max_false: part("max_false", &self.max_false)?,
            top: self.top,
            ..Discovery::of(self.trial.backtest(&session, &options).await?, side)?
        };
        if !self.feature.is_empty() {
            discovery.features = self.feature.iter().map(|text| Formula::parse(text)).collect::<Result<_, _>>()?;
        }
        let found = followed(cx, "bars", async |control| discovery.run(&session, control).await).await?;
        let Discovered { rules, base, trials, test_from } = found;
        write(&self.output, &rules)?;
        if !cx.config.quiet {
            let [before, after] = base.map(|rate| format!("{:.1} %", rate * 100.0));
            note(format_args!(
                "{trials} rules were tried; of all bars {before} are followed by a gain, and {after} from {} on, which no rule was found in",
                date(test_from)
            ));
        }
        Ok(())
    }
}
