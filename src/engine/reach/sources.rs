//! The tables that a value comes from, and how far it looks in each.

use std::collections::BTreeMap;
use std::fmt::{Display, Formatter};
use tallow_udfs::series::{Bars, Reach};

/// For each table that a value comes from, how many of its bars the value looks back and ahead.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Sources(BTreeMap<String, Reach>);

impl Sources {
    pub(super) fn table(name: &str) -> Sources {
        Sources([(name.to_string(), Reach::NONE)].into())
    }

    /// The tables.
    pub fn tables(&self) -> impl Iterator<Item = (&str, Reach)> {
        self.0.iter().map(|(name, reach)| (name.as_str(), *reach))
    }

    /// The furthest of all tables.
    pub fn furthest(&self) -> Reach {
        self.0.values().fold(Reach::NONE, |all, reach| all.and(*reach))
    }

    /// What an expression reads that uses both.
    pub fn and(mut self, other: &Sources) -> Sources {
        for (name, reach) in &other.0 {
            let known = self.0.entry(name.clone()).or_insert(Reach::NONE);
            *known = known.and(*reach);
        }
        self
    }

    /// What a function reads that is applied to this.
    pub(super) fn under(mut self, own: Reach) -> Sources {
        for reach in self.0.values_mut() {
            *reach = own.over(*reach);
        }
        self
    }

    pub(super) fn unknown(self) -> Sources {
        self.under(UNKNOWN)
    }
}

impl Display for Sources {
    fn fmt(&self, f: &mut Formatter<'_>) -> std::fmt::Result {
        let reach = self.furthest();
        write!(f, "{:>8} {:>8}", reach.back.to_string(), reach.ahead.to_string())?;
        if self.0.len() > 1 {
            let each = self.0.iter().map(|(name, r)| format!("{name} {} {}", r.back, r.ahead));
            write!(f, "   ({})", each.collect::<Vec<_>>().join(", "))?;
        }
        Ok(())
    }
}

pub(super) const UNKNOWN: Reach = Reach { back: Bars::Unbounded, ahead: Bars::Unbounded };
