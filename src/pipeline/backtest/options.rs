//! A strategy as it is typed and kept: names of options, and their values as text.

use super::{Backtest, Detail, Distance, Every, Size, percent};
use crate::Session;
use crate::formulas;
use crate::relation::table_of;
use crate::scan::Rank;
use crate::versioned::is_name;
use std::collections::BTreeMap;
use std::str::FromStr;
use tallow_common::{Error, Result};
use tallow_engine::dialect::{Formula, closest};
use tallow_udfs::series::Choice;
use tallow_udfs::trade::backtest::rules::{OfProfile, Profile, target_steps};

/// What is typed for an option.
#[derive(Clone, Copy)]
struct Typed<'a> {
    option: &'static str,
    text: &'a str,
}

/// Sets an option of a strategy.
type Set = fn(&mut Backtest, Typed<'_>) -> Result<()>;

/// All options, in the order in which they are shown. A profile decides what is not given, so that it comes before everything else.
const OPTIONS: &[(&str, Set)] = &[
    ("profile", |to, typed| set(&mut to.rules, typed.choice::<Profile>().map(Profile::rules))),
    ("from_query", |to, typed| set(&mut to.from_query, Ok(Some(typed.text.to_string())))),
    ("entry", |to, typed| set(&mut to.entry, typed.formula().map(Some))),
    ("exit", |to, typed| set(&mut to.exit, typed.formula().map(Some))),
    ("short_entry", |to, typed| set(&mut to.short_entry, typed.formula().map(Some))),
    ("short_exit", |to, typed| set(&mut to.short_exit, typed.formula().map(Some))),
    ("entry_limit", |to, typed| set(&mut to.entry_limit, Distance::parse(typed.option, typed.text).map(Some))),
    ("entry_limit_price", |to, typed| set(&mut to.entry_limit, Distance::level(typed.text).map(Some))),
    ("entry_stop", |to, typed| set(&mut to.entry_stop, Distance::parse(typed.option, typed.text).map(Some))),
    ("entry_stop_price", |to, typed| set(&mut to.entry_stop, Distance::level(typed.text).map(Some))),
    ("valid_bars", |to, typed| set(&mut to.rules.valid_bars, typed.bars())),
    ("stop", |to, typed| set(&mut to.stop, Distance::parse(typed.option, typed.text).map(Some))),
    ("stop_price", |to, typed| set(&mut to.stop, Distance::level(typed.text).map(Some))),
    ("target", |to, typed| set(&mut to.target, Distance::parse(typed.option, typed.text).map(Some))),
    ("target_price", |to, typed| set(&mut to.target, Distance::level(typed.text).map(Some))),
    ("target_steps", |to, typed| set(&mut to.rules.target_steps, Ok(target_steps(typed.text)?))),
    ("trail", |to, typed| set(&mut to.trail, Distance::parse(typed.option, typed.text).map(Some))),
    ("trail_after", |to, typed| set(&mut to.rules.trail_after, typed.part())),
    ("max_bars", |to, typed| set(&mut to.rules.max_bars, typed.bars().map(Some))),
    ("timeframe", |to, typed| set(&mut to.table, table_of(typed.text))),
    ("cash", |to, typed| set(&mut to.terms.cash, typed.number())),
    ("weight", |to, typed| {
        // All that have a part, unless it is said how many.
        to.terms.slots = usize::MAX;
        set(&mut to.weight, typed.formula().map(Some))
    }),
    ("rebalance", |to, typed| {
        let expected = "day, week, month, quarter, year or a number of bars";
        set(&mut to.rebalance, Every::parse(typed.text).ok_or_else(|| typed.wrong(expected)))
    }),
    ("slots", |to, typed| set(&mut to.terms.slots, typed.parse("a whole number"))),
    ("rank", |to, typed| set(&mut to.rank, Rank::parse(typed.text).map(Some))),
    ("size", |to, typed| set(&mut to.size, Size::parse(typed.text).map(Some))),
    ("value", |to, typed| set(&mut to.size, typed.number().map(|value| Some(Size::Value(value))))),
    ("risk", |to, typed| set(&mut to.size, Size::risk(typed.text).map(Some))),
    ("max_weight", |to, typed| set(&mut to.terms.max_weight, typed.part())),
    ("leverage", |to, typed| set(&mut to.terms.leverage, typed.number())),
    ("maintenance", |to, typed| set(&mut to.terms.maintenance, typed.part())),
    ("lot", |to, typed| set(&mut to.terms.lots.lot, typed.number())),
    ("minimum_value", |to, typed| set(&mut to.terms.lots.minimum, typed.number())),
    ("participation", |to, typed| set(&mut to.terms.lots.participation, typed.part())),
    ("commission", |to, typed| set(&mut to.terms.costs.commission, typed.part())),
    ("fixed_commission", |to, typed| set(&mut to.terms.costs.fixed, typed.number())),
    ("unit_commission", |to, typed| set(&mut to.terms.costs.per_unit, typed.number())),
    ("minimum_commission", |to, typed| set(&mut to.terms.costs.minimum, typed.number())),
    ("slippage", |to, typed| set(&mut to.terms.costs.slippage, typed.part())),
    ("borrow", |to, typed| set(&mut to.terms.costs.borrow, typed.part())),
    ("funding", |to, typed| set(&mut to.funding, Formula::parse(typed.text).map(Some))),
    ("fill", |to, typed| of_profile(&mut to.rules.fill, typed)),
    ("both", |to, typed| match typed.text.trim() {
        BOTH_BY_DETAIL => set(&mut to.detail, Ok(Some(Detail::Shortest))),
        _ => of_profile(&mut to.rules.both, typed),
    }),
    ("detail", |to, typed| set(&mut to.detail, table_of(typed.text).map(|table| Some(Detail::Table(table))))),
    ("trail_order", |to, typed| of_profile(&mut to.rules.trail, typed)),
    ("trail_on", |to, typed| of_profile(&mut to.rules.trail_on, typed)),
    ("limit_fill", |to, typed| of_profile(&mut to.rules.limit_fill, typed)),
    ("end", |to, typed| of_profile(&mut to.rules.end, typed)),
    ("reverse", |to, typed| of_profile(&mut to.rules.reverse, typed)),
    ("needs_volume", |to, typed| set(&mut to.rules.needs_volume, typed.parse("true or false"))),
    ("max_stale_bars", |to, typed| set(&mut to.rules.max_stale_bars, typed.bars().map(Some))),
];

/// Formulas that a lake may keep under a name.
const SIGNALS: [&str; 4] = ["entry", "exit", "short_entry", "short_exit"];
/// Options of which the last one that is given counts.
const ALTERNATIVES: [&[&str]; 4] = [
    &["entry_limit", "entry_limit_price", "entry_stop", "entry_stop_price"],
    &["stop", "stop_price"],
    &["target", "target_price"],
    &["size", "value", "risk"],
];
/// The choice of `both` that leaves it to the shortest bars there are.
pub const BOTH_BY_DETAIL: &str = "detail";
/// Before the name of a parameter of the formulas.
const PARAM: &str = "param.";
/// What concerns the money of all symbols together.
const SHARED_MONEY: [&str; 11] =
    ["weight", "rebalance", "cash", "slots", "rank", "size", "value", "risk", "max_weight", "maintenance", "funding"];

fn set<T>(to: &mut T, value: Result<T>) -> Result<()> {
    *to = value?;
    Ok(())
}

fn of_profile<T: Copy + PartialEq + std::fmt::Debug + 'static>(to: &mut T, typed: Typed<'_>) -> Result<()>
where
    OfProfile<T>: Choice,
{
    *to = typed.choice::<OfProfile<T>>()?.or(*to);
    Ok(())
}

impl Typed<'_> {
    fn wrong(&self, expected: &str) -> Error {
        Error::Argument(self.option, format!(" {}: expected {expected}", self.text))
    }

    fn parse<T: FromStr>(&self, expected: &str) -> Result<T> {
        self.text.trim().parse().map_err(|_| self.wrong(expected))
    }

    fn number(&self) -> Result<f64> {
        self.parse("a number")
    }

    fn bars(&self) -> Result<u32> {
        self.parse("a number of bars")
    }

    /// A percentage as a fraction.
    fn part(&self) -> Result<f64> {
        percent(self.option, self.text)?.ok_or_else(|| self.wrong("a percentage, such as 0.1%"))
    }

    fn choice<T: Choice>(&self) -> Result<T> {
        let found = T::NAMES.iter().find(|(_, name)| name.eq_ignore_ascii_case(self.text.trim()));
        let names = || T::NAMES.iter().map(|(_, name)| *name).collect::<Vec<_>>().join(", ");
        found.map(|(choice, _)| *choice).ok_or_else(|| self.wrong(&format!("one of {}", names())))
    }

    fn formula(&self) -> Result<Formula> {
        Formula::parse(self.text)
    }
}

/// A strategy as it is typed and kept: options by name, among them `param.NAME`, the values of parameters of the formulas.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Options(BTreeMap<String, String>);

impl Options {
    /// Sets an option, in place of what was set before for it or for what excludes it.
    ///
    /// # Errors
    /// There is no such option.
    pub fn set(&mut self, option: &str, text: impl Into<String>) -> Result<()> {
        let is_known = OPTIONS.iter().any(|(name, _)| *name == option);
        if !is_known && !option.strip_prefix(PARAM).is_some_and(is_name) {
            let names = OPTIONS.iter().map(|(name, _)| *name);
            let similar = closest(option, names).map(|similar| format!("; did you mean `{similar}`?"));
            return Err(Error::invalid(format!("a strategy has no option `{option}`{}", similar.unwrap_or_default())));
        }
        let excluded = ALTERNATIVES.iter().filter(|names| names.contains(&option)).copied().flatten();
        excluded.for_each(|other| drop(self.0.remove(*other)));
        self.0.insert(option.to_string(), text.into());
        Ok(())
    }

    /// Sets the value of a parameter of the formulas.
    ///
    /// # Errors
    /// It cannot be the name of one.
    pub fn set_param(&mut self, name: &str, text: impl Into<String>) -> Result<()> {
        self.set(&format!("{PARAM}{name}"), text)
    }

    /// Sets all that others set.
    pub fn extend(&mut self, others: Options) {
        for (option, text) in others.0 {
            // What is in options is one.
            let _ = self.set(&option, text);
        }
    }

    /// Takes out what concerns money that all symbols share, and says what that was.
    pub fn without_shared_money(&mut self) -> Vec<&'static str> {
        SHARED_MONEY.into_iter().filter(|option| self.0.remove(*option).is_some()).collect()
    }

    /// Whether something concerns money that all symbols share.
    pub fn shares_money(&self) -> bool {
        SHARED_MONEY.iter().any(|option| self.0.contains_key(*option))
    }

    /// Names and texts, in the order in which they are shown; parameters last.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &str)> {
        let known = OPTIONS.iter().filter_map(|(name, _)| self.0.get_key_value(*name));
        let params = self.0.iter().filter(|(name, _)| name.starts_with(PARAM));
        known.chain(params).map(|(name, text)| (name.as_str(), text.as_str()))
    }

    /// The strategy. Signals may be names of formulas that the lake keeps.
    ///
    /// # Errors
    /// A value that is none of its option's.
    pub async fn backtest(&self, session: &Session) -> Result<Backtest> {
        let mut of = Backtest::default();
        for (option, set) in OPTIONS {
            let Some(text) = self.0.get(*option) else { continue };
            let kept = match SIGNALS.contains(option) {
                true => formulas::resolve(session, text).await?.0.to_string(),
                false => text.clone(),
            };
            set(&mut of, Typed { option, text: &kept })?;
        }
        for (name, text) in &self.0 {
            if let Some(name) = name.strip_prefix(PARAM) {
                of.params.set(name, text);
            }
        }
        Ok(of)
    }

    /// As an object of JSON.
    pub fn json(&self) -> Result<String> {
        serde_json::to_string(&self.0).map_err(|error| Error::invalid(error.to_string()))
    }

    /// What [`Options::json`] gives.
    ///
    /// # Errors
    /// It is none, or has an option that there is not.
    pub fn of_json(text: &str) -> Result<Options> {
        let all: BTreeMap<String, String> =
            serde_json::from_str(text).map_err(|error| Error::invalid(format!("'{text}' is no strategy: {error}")))?;
        let mut options = Options::default();
        all.into_iter().try_for_each(|(option, text)| options.set(&option, text))?;
        Ok(options)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_excludes_each_other_replaces_each_other() {
        let mut options = Options::default();
        for (option, text) in [("stop", "5%"), ("entry", "close > 1"), ("stop_price", "lowest(low, 5)"), ("risk", "1%")]
        {
            options.set(option, text).unwrap();
        }
        options.set_param("level", "30").unwrap();
        let names: Vec<_> = options.iter().map(|(name, _)| name).collect();
        assert_eq!(names, ["entry", "stop_price", "risk", "param.level"]);
        assert_eq!(Options::of_json(&options.json().unwrap()).unwrap(), options);
        assert_eq!(options.without_shared_money(), ["risk"]);
    }

    #[test]
    fn an_option_that_there_is_not_is_named() {
        let said = Options::default().set("entri", "x").unwrap_err().to_string();
        assert!(said.contains("`entri`") && said.contains("did you mean `entry`?"), "{said}");
        assert!(Options::of_json("{\"param.a b\": \"1\"}").is_err() && Options::of_json("[]").is_err());
    }
}
