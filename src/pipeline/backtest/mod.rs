//! Back-tests: what a strategy would have come to, over all symbols with shared money.

mod bars;
mod bootstrap;
mod details;
mod discover;
mod figures;
mod from_query;
mod options;
mod paper;
mod permute;
mod plan;
mod results;
mod run;
mod summary;
mod tables;

pub use bootstrap::{Bootstrap, Spread};
pub use details::Detail;
pub use discover::{Discovered, Discovery, USUAL_FEATURES};
pub use figures::figures_in_words;
pub use options::{BOTH_BY_DETAIL, Options};
pub use paper::Paper;
pub use permute::{Permutation, Shuffles};
pub(crate) use plan::{bound, looks_ahead};
pub use results::Results;
pub(crate) use summary::a_year;
pub use tallow_udfs::trade::backtest::portfolio::Terms;

use super::bounds::Range;
use super::scan::Rank;
use tallow_common::{Error, Result};
use tallow_engine::dialect::{Formula, Params};
use tallow_udfs::trade::backtest::portfolio::Sizing;
use tallow_udfs::trade::backtest::rules::{Fill, Profile, Rules};
pub use tallow_udfs::trade::backtest::weights::Every;

/// A strategy, and what it is tried on.
///
/// ```no_run
/// use tallow_engine::dialect::Formula;
/// use tallow_pipeline::backtest::{Backtest, Distance};
/// use tallow_pipeline::control::Control;
///
/// # async fn example(session: &tallow_pipeline::Session) -> tallow_common::Result<()> {
/// let strategy = Backtest {
///     exit: Some(Formula::parse("rsi(14) > 55")?),
///     stop: Some(Distance::parse("stop", "2 * atr(14)")?),
///     ..Backtest::of(Formula::parse("rsi(14) < 30 and close > sma(200)")?)
/// };
/// let results = strategy.run(session, &Control::default()).await?;
/// println!("{} trades", results.trades.num_rows());
/// # Ok(())
/// # }
/// ```
#[derive(Debug, Clone)]
pub struct Backtest {
    /// A query, or the name of one, whose rows are entries: it has the columns `symbol` and `ts`, and may have `side` ('long' or
    /// 'short', null is neither), `stop` and `target` (prices), and others that formulas may read.
    pub from_query: Option<String>,
    /// When to buy: a condition at the close of a bar.
    pub entry: Option<Formula>,
    /// When to sell what was bought.
    pub exit: Option<Formula>,
    /// When to sell short.
    pub short_entry: Option<Formula>,
    /// When to buy back what was sold short.
    pub short_exit: Option<Formula>,
    /// Enter at a better price than the close of the signal.
    pub entry_limit: Option<Distance>,
    /// Enter once the market went on, from the close of the signal.
    pub entry_stop: Option<Distance>,
    /// Where a position is given up.
    pub stop: Option<Distance>,
    /// Where its gain is taken.
    pub target: Option<Distance>,
    /// How far behind its best price it is given up.
    pub trail: Option<Distance>,
    /// Which entries come first when there are more than slots or money.
    pub rank: Option<Rank>,
    /// How much is entered; `None`: as much as one of the slots.
    pub size: Option<Size>,
    /// In place of entries and exits: the part of the account that each symbol is to have, below 0 what is sold short. The symbols of
    /// the highest rank have theirs, as many as there are slots.
    pub weight: Option<Formula>,
    /// When these parts are restored.
    pub rebalance: Every,
    /// What a long position pays at each bar, as a fraction of its value.
    pub funding: Option<Formula>,
    /// Shorter bars that tell what came first where a bar does not.
    pub detail: Option<Detail>,
    /// Values of the parameters of all formulas.
    pub params: Params,
    /// The table of candles.
    pub table: String,
    /// These symbols; `None`: all.
    pub symbols: Option<Vec<String>>,
    /// What has to be true of a symbol when it is entered, over the columns of the lake's table `symbols`.
    pub members: Option<Formula>,
    /// Signals and bars of these times; bars before them are read as far as the formulas look back.
    pub range: Range,
    /// A symbol of the table that results are compared with.
    pub benchmark: Option<String>,
    /// Bars a year; `None`: as many as the data has.
    pub periods: Option<f64>,
    /// How fills are decided.
    pub rules: Rules,
    /// Money, limits and costs. How much one entry is, [`Backtest::size`] says.
    pub terms: Terms,
}

/// How far from its entry a position is left.
#[derive(Debug, Clone, PartialEq)]
pub enum Distance {
    /// This fraction of the price of the entry.
    Fraction(f64),
    /// This far, in price, as a bar knows it whose signal is filled.
    Price(Formula),
    /// At this price, as such a bar knows it.
    Level(Formula),
}

impl Distance {
    /// `5%`, or a distance in price such as `2 * atr(14)`.
    ///
    /// # Errors
    /// It is neither; or a number below 1, which may be meant as a fraction or as a price.
    pub fn parse(option: &'static str, text: &str) -> Result<Distance> {
        if let Some(fraction) = percent(option, text)? {
            return Ok(Distance::Fraction(fraction));
        }
        if let Ok(number) = text.trim().parse::<f64>()
            && (number < 1.0 || number.is_nan())
        {
            let said = format!(" {text}: a fraction or a price? Write {}% for a fraction of the entry", number * 100.0);
            return Err(Error::Argument(option, said));
        }
        Ok(Distance::Price(Formula::parse(text)?))
    }

    /// A price at which a position is left, such as `lowest(low, 20)`.
    ///
    /// # Errors
    /// It is no formula.
    pub fn level(text: &str) -> Result<Distance> {
        Ok(Distance::Level(Formula::parse(text)?))
    }
}

/// How much is entered.
#[derive(Debug, Clone, PartialEq)]
pub enum Size {
    /// This fraction of the account.
    Fraction(f64),
    /// A fraction of the account, as the bar knows it whose signal is filled.
    Formula(Formula),
    /// Money.
    Value(f64),
    /// As much as loses this fraction of the account at the stop.
    Risk(f64),
}

impl Size {
    /// `10%`, or a formula of a fraction such as `volatility_target_size(0.15, std(returns(), 20) * 16)`.
    ///
    /// # Errors
    /// It is neither.
    pub fn parse(text: &str) -> Result<Size> {
        match percent("size", text)? {
            Some(fraction) => Ok(Size::Fraction(fraction)),
            None => Ok(Size::Formula(Formula::parse(text)?)),
        }
    }

    /// `1%` of the account.
    ///
    /// # Errors
    /// It is no percentage.
    pub fn risk(text: &str) -> Result<Size> {
        let wrong = || Error::Argument("risk", format!(" {text}: expected a percentage of the account, such as 1%"));
        percent("risk", text)?.map(Size::Risk).ok_or_else(wrong)
    }
}

/// `5%` as a fraction; `None`: it does not end with a percent sign.
///
/// # Errors
/// What stands before the sign is no number above 0.
pub fn percent(option: &'static str, text: &str) -> Result<Option<f64>> {
    let Some(number) = text.trim().strip_suffix('%') else { return Ok(None) };
    match number.trim().parse::<f64>() {
        Ok(number) if number > 0.0 && number.is_finite() => Ok(Some(number / 100.0)),
        _ => Err(Error::Argument(option, format!(" {text}: expected a percentage above 0, such as 5%"))),
    }
}

impl Backtest {
    /// A strategy that buys where a formula is true, with a hundred thousand in ten slots.
    pub fn of(entry: Formula) -> Backtest {
        Backtest { entry: Some(entry), ..Backtest::default() }
    }

    /// What is wrong with it whatever the table holds.
    pub(crate) fn check(&self) -> Result<()> {
        if self.weight.is_some() {
            self.check_weighted()?;
        } else if self.entry.is_none() && self.short_entry.is_none() && self.from_query.is_none() {
            let said =
                ": a strategy needs an entry: this, or one of the options `short_entry`, `from_query` and `weight`";
            return Err(Error::Argument("entry", said.to_string()));
        }
        if self.entry_limit.is_some() && self.entry_stop.is_some() {
            let said = ": an entry waits for a better price than the market's, or for a worse one (`entry_stop`), not for both";
            return Err(Error::Argument("entry_limit", said.to_string()));
        }
        let positive = |name: &'static str, value: f64| match value > 0.0 && !value.is_nan() {
            true => Ok(()),
            false => Err(Error::Argument(name, format!(" {value}: expected a number above 0"))),
        };
        let Terms { cash, slots, leverage, max_weight, maintenance, .. } = self.terms;
        positive("cash", cash)?;
        positive("slots", slots as f64)?;
        positive("max_weight", max_weight)?;
        if leverage < 1.0 || leverage.is_nan() {
            return Err(Error::Argument("leverage", format!(" {leverage}: expected a number from 1 up")));
        }
        if !(0.0..1.0).contains(&maintenance) {
            return Err(Error::Argument("maintenance", format!(" {maintenance}: expected a fraction below 1")));
        }
        if matches!(self.size, Some(Size::Risk(_))) && self.stop.is_none() {
            return Err(Error::Argument(
                "risk",
                ": how much is at stake only a stop tells: add the option `stop`".into(),
            ));
        }
        match self.periods {
            Some(periods) => positive("periods", periods),
            None => Ok(()),
        }
    }

    /// What parts of the account that are restored from time to time leave no room for.
    fn check_weighted(&self) -> Result<()> {
        let with_entries = [
            ("entry", self.entry.is_some()),
            ("exit", self.exit.is_some()),
            ("short_entry", self.short_entry.is_some()),
            ("short_exit", self.short_exit.is_some()),
            ("entry_limit", self.entry_limit.is_some()),
            ("entry_stop", self.entry_stop.is_some()),
            ("stop", self.stop.is_some()),
            ("target", self.target.is_some()),
            ("target_steps", !self.rules.target_steps.is_empty()),
            ("trail", self.trail.is_some()),
            ("max_bars", self.rules.max_bars.is_some()),
            ("size", self.size.is_some()),
            ("detail", self.detail.is_some()),
        ];
        if let Some((option, _)) = with_entries.into_iter().find(|(_, given)| *given) {
            let said =
                ": what a symbol is to have, the option `weight` says, and there are no entries and exits beside it";
            return Err(Error::Argument(option, said.to_string()));
        }
        match self.rules.fill {
            Fill::Open => Ok(()),
            Fill::Close => {
                Err(Error::Argument("fill", " close: parts of the account are restored at the next open".to_string()))
            }
        }
    }

    /// What the sizes of orders are.
    fn sizing(&self) -> Sizing {
        match &self.size {
            Some(Size::Value(_)) => Sizing::Value,
            Some(Size::Risk(_)) => Sizing::Risk,
            _ => Sizing::Fraction,
        }
    }

    /// The size of every entry that has none of its own.
    fn each(&self) -> f64 {
        match &self.size {
            Some(Size::Fraction(each) | Size::Value(each) | Size::Risk(each)) => *each,
            Some(Size::Formula(_)) => f64::NAN,
            None => self.terms.leverage / self.terms.slots as f64,
        }
    }
}

impl Default for Backtest {
    fn default() -> Self {
        Backtest {
            from_query: None,
            entry: None,
            exit: None,
            short_entry: None,
            short_exit: None,
            entry_limit: None,
            entry_stop: None,
            stop: None,
            target: None,
            trail: None,
            rank: None,
            size: None,
            weight: None,
            rebalance: Every::Month,
            funding: None,
            detail: None,
            params: Params::default(),
            table: "candles".to_string(),
            symbols: None,
            members: None,
            range: Range::default(),
            benchmark: None,
            periods: None,
            rules: Profile::Tallow.rules(),
            terms: Terms::default(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_distance_is_a_percentage_or_a_price() {
        assert_eq!(Distance::parse("stop", "5%").unwrap(), Distance::Fraction(0.05));
        assert!(matches!(Distance::parse("stop", "2 * atr(14)").unwrap(), Distance::Price(_)));
        assert!(matches!(Distance::parse("stop", "2").unwrap(), Distance::Price(_)));
        for (text, said) in
            [("0.05", "Write 5% for a fraction"), ("-3%", "a percentage above 0"), ("x%", "a percentage")]
        {
            let error = Distance::parse("stop", text).unwrap_err();
            assert!(matches!(&error, Error::Argument("stop", told) if told.contains(said)), "{error}");
        }
    }

    #[test]
    fn what_cannot_be_is_refused() {
        let of = |terms: Terms| Backtest { terms, ..Backtest::of(Formula::parse("close > 1").unwrap()) };
        let terms = Terms::default();
        for (wrong, option) in [
            (of(Terms { cash: -1.0, ..terms }), "cash"),
            (of(Terms { slots: 0, ..terms }), "slots"),
            (of(Terms { leverage: 0.5, ..terms }), "leverage"),
            (Backtest { size: Some(Size::Risk(0.01)), ..of(terms) }, "risk"),
        ] {
            let error = wrong.check().unwrap_err();
            assert!(matches!(&error, Error::Argument(name, _) if *name == option), "{option}: {error}");
        }
        assert!(Backtest::default().check().unwrap_err().to_string().contains("needs an entry"));
    }
}
