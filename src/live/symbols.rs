//! The symbols of a run, which has a number for each.

use crate::core::Symbol;
use std::collections::HashMap;
use std::sync::Arc;

/// The names of symbols by their numbers, as they were at one time.
#[derive(Debug, Clone, Default)]
pub(crate) struct Names(Arc<Vec<Arc<str>>>);

impl Names {
    pub fn of(&self, symbol: Symbol) -> &Arc<str> {
        &self.0[symbol.0 as usize]
    }
}

/// The symbols of a run.
#[derive(Debug, Default)]
pub(crate) struct Symbols {
    numbers: HashMap<Arc<str>, Symbol, foldhash::fast::RandomState>,
    names: Names,
}

impl Symbols {
    /// The number of a symbol, which gets one if it has none.
    pub fn number(&mut self, name: &str) -> Symbol {
        if let Some(known) = self.numbers.get(name) {
            return *known;
        }
        let (symbol, name) = (Symbol(u32::try_from(self.numbers.len()).unwrap_or(u32::MAX)), Arc::<str>::from(name));
        self.numbers.insert(Arc::clone(&name), symbol);
        Arc::make_mut(&mut self.names.0).push(name);
        symbol
    }

    pub fn known(&self, name: &str) -> Option<Symbol> {
        self.numbers.get(name).copied()
    }

    pub fn len(&self) -> usize {
        self.numbers.len()
    }

    pub fn all(&self) -> impl Iterator<Item = (&Arc<str>, Symbol)> {
        self.numbers.iter().map(|(name, symbol)| (name, *symbol))
    }

    pub fn names(&self) -> &Names {
        &self.names
    }
}
