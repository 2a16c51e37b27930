//! Rules and terms of a back-test as they are written down for other processes.

use datafusion::common::{Result, internal_err};
use serde::{Deserialize, Serialize};
use tallow_engine::node::Exact;
use tallow_udfs::series::Choice;
use tallow_udfs::trade::backtest::account::{Costs, Lots};
use tallow_udfs::trade::backtest::rules::{Both, End, Engine, Fill, Gap, LimitFill, OfProfile, Rules, Trail, TrailOn};
use tallow_udfs::trade::backtest::simulate::Terms;

/// [`Rules`], choices by their names.
#[derive(Serialize, Deserialize)]
pub(super) struct RulesSpec {
    fill: String,
    both: String,
    trail: String,
    trail_on: String,
    trail_after: Exact,
    limit_fill: String,
    end: String,
    reverse: bool,
    max_bars: Option<u32>,
    max_stale_bars: Option<u32>,
    valid_bars: u32,
    needs_volume: bool,
    target_steps: Vec<(u32, Exact)>,
    gap_in_range: bool,
    levels_in_entry_bar: bool,
    levels_before_signal: bool,
    target_at_open: bool,
    enters_despite_exit: bool,
}

fn name<T: Copy + PartialEq + 'static>(value: T) -> String
where
    OfProfile<T>: Choice,
{
    let found = OfProfile::<T>::NAMES.iter().find(|(choice, _)| *choice == OfProfile(Some(value)));
    found.map(|(_, name)| (*name).to_string()).unwrap_or_default()
}

fn named<T: Copy + PartialEq + 'static>(name: &str) -> Result<T>
where
    OfProfile<T>: Choice,
{
    match OfProfile::<T>::NAMES.iter().find(|(choice, known)| choice.0.is_some() && *known == name) {
        Some((OfProfile(Some(value)), _)) => Ok(*value),
        _ => internal_err!("'{name}' is no choice of a rule"),
    }
}

impl RulesSpec {
    pub fn of(rules: &Rules) -> RulesSpec {
        let Engine { gap, levels_in_entry_bar, levels_before_signal, target_at_open, enters_despite_exit } =
            rules.engine;
        RulesSpec {
            fill: name(rules.fill),
            both: name(rules.both),
            trail: name(rules.trail),
            trail_on: name(rules.trail_on),
            trail_after: rules.trail_after.into(),
            limit_fill: name(rules.limit_fill),
            end: name(rules.end),
            reverse: rules.reverse,
            max_bars: rules.max_bars,
            max_stale_bars: rules.max_stale_bars,
            valid_bars: rules.valid_bars,
            needs_volume: rules.needs_volume,
            target_steps: rules.target_steps.iter().map(|(bars, fraction)| (*bars, (*fraction).into())).collect(),
            gap_in_range: gap == Gap::Range,
            levels_in_entry_bar,
            levels_before_signal,
            target_at_open,
            enters_despite_exit,
        }
    }

    /// What was written.
    pub fn value(&self) -> Result<Rules> {
        Ok(Rules {
            fill: named::<Fill>(&self.fill)?,
            both: named::<Both>(&self.both)?,
            trail: named::<Trail>(&self.trail)?,
            trail_on: named::<TrailOn>(&self.trail_on)?,
            trail_after: self.trail_after.into(),
            limit_fill: named::<LimitFill>(&self.limit_fill)?,
            end: named::<End>(&self.end)?,
            reverse: self.reverse,
            max_bars: self.max_bars,
            max_stale_bars: self.max_stale_bars,
            valid_bars: self.valid_bars,
            needs_volume: self.needs_volume,
            target_steps: self.target_steps.iter().map(|(bars, fraction)| (*bars, (*fraction).into())).collect(),
            engine: Engine {
                gap: if self.gap_in_range { Gap::Range } else { Gap::Open },
                levels_in_entry_bar: self.levels_in_entry_bar,
                levels_before_signal: self.levels_before_signal,
                target_at_open: self.target_at_open,
                enters_despite_exit: self.enters_despite_exit,
            },
        })
    }
}

/// [`Terms`], number by number.
#[derive(Serialize, Deserialize)]
pub(super) struct TermsSpec([Exact; 11]);

impl TermsSpec {
    pub fn of(terms: &Terms) -> TermsSpec {
        let Terms { cash, leverage, costs, lots } = *terms;
        let Costs { slippage, commission, fixed, per_unit, minimum, borrow } = costs;
        let Lots { lot, minimum: least, participation } = lots;
        let numbers =
            [cash, leverage, slippage, commission, fixed, per_unit, minimum, borrow, lot, least, participation];
        TermsSpec(numbers.map(Exact::from))
    }

    /// What was written.
    pub fn value(&self) -> Terms {
        let [cash, leverage, slippage, commission, fixed, per_unit, minimum, borrow, lot, least, participation] =
            self.0.map(f64::from);
        Terms {
            cash,
            leverage,
            costs: Costs { slippage, commission, fixed, per_unit, minimum, borrow },
            lots: Lots { lot, minimum: least, participation },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tallow_udfs::trade::backtest::rules::Profile;

    #[test]
    fn what_is_written_is_read() {
        for (profile, _) in Profile::NAMES {
            let rules = Rules { max_bars: Some(5), target_steps: vec![(3, 0.1)], ..profile.rules() };
            assert_eq!(RulesSpec::of(&rules).value().unwrap(), rules);
        }
        let costs = Costs { slippage: 0.1, commission: 0.2, fixed: 0.3, per_unit: 0.4, minimum: 0.5, borrow: 0.6 };
        let lots = Lots { lot: 0.7, minimum: 0.8, participation: 0.9 };
        let terms = Terms { cash: 1.0, leverage: 2.0, costs, lots };
        assert_eq!(TermsSpec::of(&terms).value(), terms);
    }
}
