//! Candles that could not be computed.

use super::event::{Candle, Micros, Symbol, Work};
use super::settings::Settings;
use std::collections::{BTreeMap, BTreeSet, HashMap};

/// A candle that could not be computed, and why.
#[derive(Debug, Clone, PartialEq)]
pub struct DeadLetter {
    pub candle: Candle,
    pub error: String,
    /// How often it was a dead letter.
    pub attempts: u32,
    pub since: Micros,
    /// It is answered: with this flush it is gone.
    pub gone_with: Option<u64>,
}

/// The dead letters of a run. One that is tried again is among them until it is answered: if the run ends before, it is still there.
#[derive(Default)]
pub(super) struct DeadLetters {
    /// In the order in which they came.
    letters: BTreeMap<u64, DeadLetter>,
    numbers: HashMap<(Symbol, Micros), u64>,
    /// When they are tried again.
    due: BTreeSet<(Micros, u64)>,
    /// Those in whose place another bar came, which are never tried again.
    replaced: BTreeSet<u64>,
    next: u64,
    /// Letters that are answered, until the answers are in the lake.
    answered: Vec<DeadLetter>,
}

fn key(candle: &Candle) -> (Symbol, Micros) {
    (candle.symbol, candle.bar.ts)
}

impl DeadLetters {
    pub fn iter(&self) -> impl Iterator<Item = &DeadLetter> {
        self.letters.values().chain(&self.answered)
    }

    /// A flush begins: what is answered by now is gone with it. One that failed may be in the lake all the same, and what is written
    /// after it has its answers too: the first flush is the one that counts.
    pub fn flushing(&mut self, flush: u64) {
        for letter in &mut self.answered {
            letter.gone_with.get_or_insert(flush);
        }
    }

    /// The flush that was begun is in the lake.
    pub fn flushed(&mut self) {
        self.answered.retain(|letter| letter.gone_with.is_none());
    }

    /// A candle is answered, and so is the letter of its bar.
    pub fn answered(&mut self, candle: &Candle) {
        let letter = self.remove(candle);
        self.answered.extend(letter);
    }

    /// Adds one; how many of the oldest were dropped for it.
    pub fn add(&mut self, now: Micros, work: &Work, error: &str, settings: &Settings) -> usize {
        let attempts = self.remove(&work.candle).map_or(0, |known| known.attempts) + 1;
        let letter =
            DeadLetter { candle: work.candle, error: error.to_string(), attempts, since: now, gone_with: None };
        self.put(now, letter, settings);
        let over = self.letters.len().saturating_sub(settings.dead_letters);
        for _ in 0..over {
            let oldest = self.letters.values().next().map(|letter| letter.candle);
            oldest.and_then(|candle| self.remove(&candle));
        }
        over
    }

    /// Adds one that a run before this one left, or that is new.
    pub fn put(&mut self, now: Micros, letter: DeadLetter, settings: &Settings) {
        let (wait, most) = settings.dead_retry;
        let number = self.next;
        self.next += 1;
        if letter.attempts <= most {
            self.due.insert((now + wait, number));
        }
        self.numbers.insert(key(&letter.candle), number);
        self.letters.insert(number, letter);
    }

    /// Another bar came in the place of one: it is not tried again.
    pub fn replaced(&mut self, candle: &Candle) {
        if let Some(number) = self.numbers.get(&key(candle)) {
            self.due.retain(|(_, due)| due != number);
            self.replaced.insert(*number);
        }
    }

    pub(super) fn remove(&mut self, candle: &Candle) -> Option<DeadLetter> {
        if self.letters.is_empty() {
            return None;
        }
        let number = self.numbers.remove(&key(candle))?;
        self.due.retain(|(_, due)| *due != number);
        self.replaced.remove(&number);
        self.letters.remove(&number)
    }

    /// Makes letters due, of one symbol or all; how many.
    pub fn retry(&mut self, now: Micros, symbol: Option<Symbol>) -> usize {
        let numbers: BTreeSet<u64> = self.of(symbol).difference(&self.replaced).copied().collect();
        self.due.retain(|(_, number)| !numbers.contains(number));
        self.due.extend(numbers.iter().map(|number| (now, *number)));
        numbers.len()
    }

    /// Forgets letters, of one symbol or all; how many.
    pub fn forget(&mut self, symbol: Option<Symbol>) -> usize {
        let numbers = self.of(symbol);
        self.due.retain(|(_, number)| !numbers.contains(number));
        for number in &numbers {
            if let Some(letter) = self.letters.remove(number) {
                self.numbers.remove(&key(&letter.candle));
            }
            self.replaced.remove(number);
        }
        numbers.len()
    }

    fn of(&self, symbol: Option<Symbol>) -> BTreeSet<u64> {
        let is_meant = |letter: &DeadLetter| symbol.is_none_or(|symbol| letter.candle.symbol == symbol);
        self.letters.iter().filter(|(_, letter)| is_meant(letter)).map(|(number, _)| *number).collect()
    }

    /// When the next is tried again.
    pub fn due(&self) -> Option<Micros> {
        self.due.first().map(|(at, _)| *at)
    }

    /// Those whose time has come; they are tried now.
    pub fn take(&mut self, now: Micros) -> Vec<Candle> {
        let mut taken = vec![];
        while let Some((at, number)) = self.due.first().copied().filter(|(at, _)| *at <= now) {
            self.due.remove(&(at, number));
            taken.extend(self.letters.get(&number).map(|letter| letter.candle));
        }
        taken
    }
}
