//! What is typed of a strategy.

use super::args::SymbolsArgs;
use super::args::values::{positive, time};
use super::{Failure, given};
use crate::Session;
use crate::pipeline::When;
use crate::pipeline::backtest::{BOTH_BY_DETAIL, Backtest, Options};
use crate::pipeline::strategies;
use clap::Args as ClapArgs;
use clap::builder::PossibleValuesParser;
use tallow_udfs::series::Choice;
use tallow_udfs::trade::backtest::rules::{Both, End, Fill, LimitFill, OfProfile, Profile, Trail, TrailOn};

/// A strategy.
#[derive(Debug, ClapArgs)]
pub(super) struct StrategyArgs {
    /// When to buy: a condition at the close of a bar, or the name of a formula that the lake keeps
    #[arg(long, value_name = "FORMULA|NAME")]
    pub entry: Option<String>,
    /// Entries are the rows of a named query or SQL: symbol, ts, and if it has them side, stop and target
    #[arg(long, value_name = "NAME|SQL")]
    pub from_query: Option<String>,
    /// When to sell what was bought
    #[arg(long, value_name = "FORMULA|NAME")]
    pub exit: Option<String>,
    /// When to sell short
    #[arg(long, value_name = "FORMULA|NAME")]
    pub short_entry: Option<String>,
    /// When to buy back what was sold short
    #[arg(long, value_name = "FORMULA|NAME")]
    pub short_exit: Option<String>,
    /// Enter at a limit: so much better than the close of the signal, as a percentage or a distance in price
    #[arg(long, value_name = "P%|VALUE")]
    pub entry_limit: Option<String>,
    /// The same as a price, such as 'lowest(low, 5)'
    #[arg(long, value_name = "VALUE", conflicts_with = "entry_limit")]
    pub entry_limit_price: Option<String>,
    /// Enter at a stop: once the market is so far beyond the close of the signal
    #[arg(long, value_name = "P%|VALUE", conflicts_with_all = ["entry_limit", "entry_limit_price"])]
    pub entry_stop: Option<String>,
    /// The same as a price, such as 'highest(high, 20)'
    #[arg(long, value_name = "VALUE", conflicts_with_all = ["entry_limit", "entry_limit_price", "entry_stop"])]
    pub entry_stop_price: Option<String>,
    /// For how many bars an entry waits for its price; 0: until another signal [default: 1]
    #[arg(long, value_name = "N")]
    pub valid_bars: Option<u32>,
    /// Where a position is given up: 5% from its entry, or a distance in price such as '2 * atr(14)'
    #[arg(long, value_name = "P%|VALUE")]
    pub stop: Option<String>,
    /// The same as a price, such as 'lowest(low, 20)'
    #[arg(long, value_name = "VALUE", conflicts_with = "stop")]
    pub stop_price: Option<String>,
    /// Where its gain is taken: 10%, or a distance in price
    #[arg(long, value_name = "P%|VALUE")]
    pub target: Option<String>,
    /// The same as a price
    #[arg(long, value_name = "VALUE", conflicts_with = "target")]
    pub target_price: Option<String>,
    /// Targets by the age of a position, as bars:fraction, such as 0:0.10,20:0.05
    #[arg(long, value_name = "BARS:FRACTION,...")]
    pub target_steps: Option<String>,
    /// How far behind its best price a position is given up: 5%, or a distance in price
    #[arg(long, value_name = "P%|VALUE")]
    pub trail: Option<String>,
    /// Gain from which the trailing stop is there
    #[arg(long, value_name = "P%")]
    pub trail_after: Option<String>,
    /// Bars after which a position is closed
    #[arg(long, value_name = "N", value_parser = positive)]
    pub max_bars: Option<usize>,
    /// Length of the bars, or a table or file of candles [default: the lake's days]
    #[arg(long, short, value_name = "TF|TABLE")]
    pub timeframe: Option<String>,
    #[command(flatten, next_help_heading = "Costs")]
    pub costs: CostArgs,
    #[command(flatten, next_help_heading = "Fills")]
    pub fills: FillArgs,
}

/// What a strategy is tried on.
#[derive(Debug, Clone, ClapArgs)]
pub(super) struct TrialArgs {
    /// First day or instant; enough bars before it are read for every indicator
    #[arg(long, value_name = "TIME", value_parser = time)]
    pub from: Option<i64>,
    /// The first day or instant that is no longer traded
    #[arg(long, value_name = "TIME", value_parser = time)]
    pub to: Option<i64>,
    #[command(flatten)]
    pub symbols: SymbolsArgs,
    /// Bars a year, for yearly figures [default: as many as the data has]
    #[arg(long, value_name = "N")]
    pub periods: Option<f64>,
}

#[derive(Debug, ClapArgs)]
pub(super) struct MoneyArgs {
    /// Money at the beginning [default: 100000]
    #[arg(long, value_name = "MONEY", allow_negative_numbers = true)]
    pub cash: Option<f64>,
    /// The most positions at a time [default: 10]
    #[arg(long, value_name = "N")]
    pub slots: Option<usize>,
    /// Which entries come first when there are more than slots or money: the largest VALUE, or `VALUE asc` [default: by symbol]
    #[arg(long, value_name = "VALUE")]
    pub rank: Option<String>,
    /// How much of the account is entered: 10%, or a value that is a fraction [default: one of the slots]
    #[arg(long, value_name = "P%|VALUE")]
    pub size: Option<String>,
    /// Money that is entered
    #[arg(long, value_name = "MONEY", conflicts_with = "size")]
    pub value: Option<f64>,
    /// Enter as much as loses this part of the account at the stop
    #[arg(long, value_name = "P%", conflicts_with_all = ["size", "value"])]
    pub risk: Option<String>,
    /// In place of entries and exits, the part of the account that a symbol is to have, such as '0.05' or
    /// '1.0 / natr(20)'; below 0 it is sold short
    #[arg(long, value_name = "VALUE", conflicts_with_all = ["size", "value", "risk"])]
    pub weight: Option<String>,
    /// When these parts are restored: day, week, month, quarter, year, or a number of bars [default: month]
    #[arg(long, value_name = "PERIOD|N")]
    pub rebalance: Option<String>,
    /// Leave out entries of more than this part of the account
    #[arg(long, value_name = "P%")]
    pub max_weight: Option<String>,
    /// What all positions may be worth, in multiples of the account [default: 1]
    #[arg(long, value_name = "X")]
    pub leverage: Option<f64>,
    /// Close everything once the account is worth less than this part of its positions
    #[arg(long, value_name = "P%")]
    pub maintenance: Option<String>,
    /// Quantities are multiples of this
    #[arg(long, value_name = "UNITS")]
    pub lot: Option<f64>,
    /// The least value of an entry
    #[arg(long, value_name = "MONEY")]
    pub minimum_value: Option<f64>,
    /// The largest part of a bar's volume that is filled
    #[arg(long, value_name = "P%")]
    pub participation: Option<String>,
}

#[derive(Debug, ClapArgs)]
pub(super) struct CostArgs {
    /// Cost of a fill, as a part of its value, such as 0.1%
    #[arg(long, value_name = "P%")]
    pub commission: Option<String>,
    /// Cost of a fill, in money
    #[arg(long, value_name = "MONEY")]
    pub fixed_commission: Option<f64>,
    /// Cost of a unit, in money
    #[arg(long, value_name = "MONEY")]
    pub unit_commission: Option<f64>,
    /// The least that a fill costs
    #[arg(long, value_name = "MONEY")]
    pub minimum_commission: Option<f64>,
    /// How much worse fills are than the market, but for targets
    #[arg(long, value_name = "P%")]
    pub slippage: Option<String>,
    /// Cost of a short position in a year
    #[arg(long, value_name = "P%")]
    pub borrow: Option<String>,
    /// What a long position pays at each bar, as a fraction of its value
    #[arg(long, value_name = "VALUE")]
    pub funding: Option<String>,
}

#[derive(Debug, ClapArgs)]
pub(super) struct FillArgs {
    /// Find the fills of another engine [default: tallow]
    #[arg(long, value_parser = choice::<Profile>())]
    pub profile: Option<String>,
    /// Where signals are filled: at the next open, or at their own close
    #[arg(long, value_parser = choice::<OfProfile<Fill>>())]
    pub fill: Option<String>,
    /// What comes first where a bar touches stop and target; `detail` asks the shortest bars of the lake
    #[arg(long, value_parser = PossibleValuesParser::new(names::<OfProfile<Both>>().chain([BOTH_BY_DETAIL])))]
    pub both: Option<String>,
    /// Ask these shorter bars what came first, and --both where they do not tell
    #[arg(long, value_name = "TF|TABLE")]
    pub detail: Option<String>,
    /// Whether a bar raises a trailing stop for the next bar, or for itself
    #[arg(long, value_parser = choice::<OfProfile<Trail>>())]
    pub trail_order: Option<String>,
    /// What raises a trailing stop
    #[arg(long, value_parser = choice::<OfProfile<TrailOn>>())]
    pub trail_on: Option<String>,
    /// What fills a target: a price at it, or one beyond
    #[arg(long, value_parser = choice::<OfProfile<LimitFill>>())]
    pub limit_fill: Option<String>,
    /// What becomes of positions at the end of the data: closed at the last close or the last open, or left open
    #[arg(long, value_parser = choice::<OfProfile<End>>())]
    pub end: Option<String>,
    /// Whether an entry of the other side closes a position
    #[arg(long, value_parser = choice::<OfProfile<bool>>())]
    pub reverse: Option<String>,
    /// Fill nothing in bars without volume
    #[arg(long)]
    pub needs_volume: bool,
    /// Give up an order after so many bars without trades
    #[arg(long, value_name = "N", value_parser = positive)]
    pub max_stale_bars: Option<usize>,
}

fn names<T: Choice>() -> impl Iterator<Item = &'static str> {
    T::NAMES.iter().map(|(_, name)| *name)
}

/// One of the names of a choice.
fn choice<T: Choice>() -> PossibleValuesParser {
    PossibleValuesParser::new(names::<T>())
}

/// Sets those options that are given.
macro_rules! set_given {
    ($options:expr, $from:expr, $($name:ident)*) => {
        $(if let Some(text) = &$from.$name {
            $options.set(stringify!($name), text.to_string())?;
        })*
    };
}

impl StrategyArgs {
    /// The strategy that the lake keeps, if one is named, with the options that are given.
    pub async fn options(&self, session: &Session, kept: Option<&str>) -> Result<Options, Failure> {
        let mut options = match kept {
            Some(name) => strategies::options(&strategies::get(session, name).await?)?,
            None => Options::default(),
        };
        set_given!(options, self, from_query entry exit short_entry short_exit entry_limit entry_limit_price
            entry_stop entry_stop_price valid_bars stop stop_price target target_price target_steps trail trail_after
            max_bars timeframe);
        set_given!(options, self.costs, commission fixed_commission unit_commission minimum_commission slippage borrow funding);
        set_given!(options, self.fills, profile fill both detail trail_order trail_on limit_fill end reverse max_stale_bars);
        if self.fills.needs_volume {
            options.set("needs_volume", "true")?;
        }
        Ok(options)
    }
}

/// Adds values of parameters.
pub(super) fn add_params(options: &mut Options, given: &[String]) -> Result<(), Failure> {
    for (name, value) in given::params(given)?.iter() {
        options.set_param(name, value)?;
    }
    Ok(())
}

impl MoneyArgs {
    /// Adds what is given.
    pub fn add_to(&self, options: &mut Options) -> Result<(), Failure> {
        set_given!(options, self, weight rebalance cash slots rank size value risk max_weight leverage maintenance lot minimum_value participation);
        Ok(())
    }
}

impl TrialArgs {
    /// The strategy on these bars.
    pub async fn backtest(&self, session: &Session, options: &Options) -> Result<Backtest, Failure> {
        Ok(Backtest {
            symbols: self.symbols.chosen(session, When::Ever(self.to)).await?,
            members: self.symbols.members(session).await?,
            range: given::times(self.from, self.to)?,
            periods: self.periods,
            ..options.backtest(session).await?
        })
    }
}
