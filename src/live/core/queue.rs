//! The symbols that wait for a worker, the most urgent first.

use super::event::{Micros, Symbol};
use std::collections::BTreeSet;

/// How long a symbol waits to rise by one priority.
const RISE: Micros = 50_000;
/// The highest priority.
const HIGHEST: u8 = 10;

/// Symbols by the time at which they would have to come to be as urgent at the lowest priority.
///
/// A symbol of priority p that has waited for w is as urgent as one of priority p + w / 50 ms that has just come. Of two symbols,
/// the one that is more urgent now will be for as long as both wait, so that nothing has to be moved while they do.
#[derive(Default)]
pub(super) struct Queue {
    order: BTreeSet<(Micros, Symbol)>,
    /// Where each symbol stands, by its number.
    places: Vec<Option<Micros>>,
}

impl Queue {
    /// Adds a symbol, or makes one that waits more urgent.
    pub fn put(&mut self, symbol: Symbol, now: Micros, priority: u8) {
        let place = now - RISE * Micros::from(priority.min(HIGHEST));
        let at = symbol.0 as usize;
        if self.places.len() <= at {
            self.places.resize(at + 1, None);
        }
        match self.places[at] {
            Some(known) if known <= place => return,
            Some(known) => drop(self.order.remove(&(known, symbol))),
            None => {}
        }
        self.order.insert((place, symbol));
        self.places[at] = Some(place);
    }

    /// The most urgent symbol.
    pub fn first(&self) -> Option<Symbol> {
        self.order.first().map(|(_, symbol)| *symbol)
    }

    /// Takes a symbol out.
    pub fn take(&mut self, symbol: Symbol) {
        if let Some(place) = self.places.get_mut(symbol.0 as usize).and_then(Option::take) {
            self.order.remove(&(place, symbol));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn order(queue: &mut Queue) -> Vec<u32> {
        let mut order = vec![];
        while let Some(symbol) = queue.first() {
            queue.take(symbol);
            order.push(symbol.0);
        }
        order
    }

    #[test]
    fn the_urgent_come_first_and_the_others_are_not_forgotten() {
        let mut queue = Queue::default();
        queue.put(Symbol(1), 0, 0);
        queue.put(Symbol(2), 10, 10);
        queue.put(Symbol(3), 20, 3);
        assert_eq!(order(&mut queue), [2, 3, 1]);
        queue.put(Symbol(1), 0, 0);
        queue.put(Symbol(2), 501_000, 10);
        assert_eq!(order(&mut queue), [1, 2]);
    }

    #[test]
    fn a_symbol_that_waits_gets_more_urgent_with_a_candle_but_never_less() {
        let mut queue = Queue::default();
        queue.put(Symbol(1), 0, 5);
        queue.put(Symbol(2), 0, 6);
        queue.put(Symbol(1), 10, 10);
        queue.put(Symbol(2), 20, 0);
        assert_eq!(order(&mut queue), [1, 2]);
    }
}
