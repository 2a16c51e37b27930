//! The trial: results over what was known at instants of the past, beside the one over everything.

use super::report::{ColumnCheck, WarmUp};
use super::rows::{Cells, Rows};
use std::collections::{BTreeMap, HashMap};
use tallow_engine::reach::Sources;
use tallow_udfs::calendar::Grid;
use tallow_udfs::series::Bars;

/// Name under which the choice of rows is reported.
const ROWS: &str = "(which rows)";
/// Relative difference, by the column's largest value, that rounding may leave.
const TOLERANCE: f64 = 1e-9;

#[derive(Debug, Clone, Default)]
struct Tally {
    compared: u64,
    changed: u64,
    first: Option<(String, i64)>,
    looked: u64,
    /// Bars that a value needs before it, as far as tried.
    warm_up: Option<u64>,
    /// Whether some value never came out as it is where all is there.
    needs_all: bool,
}

impl Tally {
    fn changed(&mut self, key: &(String, i64), bars: u64) {
        self.changed += 1;
        self.looked = self.looked.max(bars);
        if self.first.as_ref().is_none_or(|(_, ts)| key.1 < *ts) {
            self.first = Some(key.clone());
        }
    }
}

/// The comparison of the whole result with those of the past.
pub(super) struct Trial<'a> {
    whole: &'a Rows,
    grid: Option<Grid>,
    /// Rows by key; where one comes several times, in their order.
    places: HashMap<(String, i64), Vec<usize>>,
    /// Times of each symbol, to count bars.
    times: BTreeMap<String, Vec<i64>>,
    scales: Vec<f64>,
    tallies: Vec<Tally>,
    rows: Tally,
    /// Rows of the past that are not in the whole, at and before their symbol's newest bar.
    vanished: (u64, u64),
    vanished_first: Option<((String, i64), u64)>,
}

impl<'a> Trial<'a> {
    pub(super) fn new(whole: &'a Rows, grid: Option<Grid>) -> Self {
        let mut places: HashMap<(String, i64), Vec<usize>> = HashMap::new();
        let mut times: BTreeMap<String, Vec<i64>> = BTreeMap::new();
        for (row, key) in whole.keys.iter().enumerate() {
            places.entry(key.clone()).or_default().push(row);
            times.entry(key.0.clone()).or_default().push(key.1);
        }
        times.values_mut().for_each(|t| {
            t.sort_unstable();
            t.dedup();
        });
        for rows in places.values_mut().filter(|rows| rows.len() > 1) {
            whole.sort(rows);
        }
        let largest = |cells: &Cells| match cells {
            Cells::Number(v) => v.iter().flatten().filter(|x| x.is_finite()).fold(0.0f64, |m, x| m.max(x.abs())),
            Cells::Text(_) => 0.0,
        };
        Self {
            scales: whole.columns.iter().map(largest).collect(),
            tallies: vec![Tally::default(); whole.columns.len()],
            rows: Tally::default(),
            vanished: (0, 0),
            vanished_first: None,
            whole,
            grid,
            places,
            times,
        }
    }

    /// When a row's bar ended.
    fn decided(&self, ts: i64) -> i64 {
        self.grid.map_or(ts, |grid| grid.end_of(ts))
    }

    /// Bars of a symbol between a row and a cut: what changed the row lies beyond them.
    fn bars_to(&self, key: &(String, i64), cut: i64) -> u64 {
        let times = self.times.get(&key.0).map(Vec::as_slice).unwrap_or_default();
        let known = times.partition_point(|ts| self.decided(*ts) <= cut);
        let before = times.partition_point(|ts| *ts <= key.1);
        known.saturating_sub(before) as u64 + 1
    }

    pub(super) fn compare(&mut self, part: &Rows, cut: i64) {
        let mut newest: HashMap<&str, i64> = HashMap::new();
        for (symbol, ts) in &part.keys {
            let known = newest.entry(symbol).or_insert(*ts);
            *known = (*known).max(*ts);
        }
        let mut found: HashMap<&(String, i64), Vec<usize>> = HashMap::new();
        for (row, key) in part.keys.iter().enumerate().filter(|(_, key)| self.decided(key.1) <= cut) {
            found.entry(key).or_default().push(row);
        }
        // Several rows of one bar are compared in the order of their values.
        for rows in found.values_mut().filter(|rows| rows.len() > 1) {
            part.sort(rows);
        }
        let pairs =
            found.iter().flat_map(|(key, rows)| rows.iter().enumerate().map(move |(nth, row)| (*key, nth, *row)));
        for (key, nth, row) in pairs.collect::<Vec<_>>() {
            let place = self.places.get(key).and_then(|rows| rows.get(nth)).copied();
            self.rows.compared += 1;
            match place {
                Some(place) => self.compare_row(part, row, place, key, cut),
                None => {
                    let is_newest = newest.get(key.0.as_str()) == Some(&key.1);
                    self.vanished.0 += u64::from(is_newest);
                    self.vanished.1 += u64::from(!is_newest);
                    let bars = self.bars_to(key, cut);
                    if self.vanished_first.as_ref().is_none_or(|((_, ts), _)| key.1 < *ts) {
                        self.vanished_first = Some((key.clone(), bars));
                    }
                }
            }
        }
        for key in &self.whole.keys {
            if self.decided(key.1) <= cut && !found.contains_key(key) {
                let bars = self.bars_to(key, cut);
                self.rows.compared += 1;
                self.rows.changed(key, bars);
            }
        }
    }

    /// Whether a value of the whole result is the same in another.
    fn is_same(&self, column: usize, place: usize, part: &Rows, row: usize) -> bool {
        match (&self.whole.columns[column], part.columns.get(column)) {
            (Cells::Number(a), Some(Cells::Number(b))) => match (a[place], b[row]) {
                (Some(a), Some(b)) => {
                    (a - b).abs() <= TOLERANCE * self.scales[column] || a == b || a.is_nan() && b.is_nan()
                }
                (a, b) => a.is_none() && b.is_none(),
            },
            (Cells::Text(a), Some(Cells::Text(b))) => a[place] == b[row],
            _ => false,
        }
    }

    /// Compares with a result of which nothing before an instant was there: how many bars before it a value needs.
    pub(super) fn compare_later(&mut self, part: &Rows, from: i64) {
        // Of each column, bars before the last value that differs, and whether that is a symbol's last one.
        let mut needed: Vec<(u64, bool)> = vec![(0, false); self.whole.columns.len()];
        let mut is_compared = false;
        for (row, key) in part.keys.iter().enumerate() {
            let Some([place]) = self.places.get(key).map(Vec::as_slice) else { continue };
            let times = self.times.get(&key.0).map(Vec::as_slice).unwrap_or_default();
            let begin = times.partition_point(|ts| *ts < from);
            let at = times.partition_point(|ts| *ts < key.1);
            is_compared = true;
            for (column, needed) in needed.iter_mut().enumerate() {
                if !self.is_same(column, *place, part, row) {
                    needed.0 = needed.0.max((at - begin) as u64 + 1);
                    needed.1 |= at + 1 == times.len();
                }
            }
        }
        for (tally, (bars, never)) in self.tallies.iter_mut().zip(needed).filter(|_| is_compared) {
            tally.warm_up = Some(tally.warm_up.unwrap_or(0).max(bars));
            tally.needs_all |= never;
        }
    }

    fn compare_row(&mut self, part: &Rows, row: usize, place: usize, key: &(String, i64), cut: i64) {
        for i in 0..self.whole.columns.len() {
            let same = self.is_same(i, place, part, row);
            self.tallies[i].compared += 1;
            if !same {
                let bars = self.bars_to(key, cut);
                self.tallies[i].changed(key, bars);
            }
        }
    }

    pub(super) fn column(&self, index: usize, name: &str, sources: Option<&Sources>) -> ColumnCheck {
        let tally = self.tallies[index].clone();
        ColumnCheck {
            name: name.to_string(),
            declared: sources.map_or(Bars::Unbounded, |s| s.furthest().ahead),
            compared: tally.compared,
            changed: tally.changed,
            first: tally.first,
            looked: tally.looked,
            warm_up: match tally.warm_up {
                _ if tally.needs_all => WarmUp::All,
                Some(bars) => WarmUp::Bars(bars),
                None => WarmUp::Unknown,
            },
        }
    }

    /// Rows that were there only while they were their symbol's newest, and nothing else that changed.
    pub(super) fn is_newest_only(&self) -> bool {
        self.vanished.0 > 0 && self.vanished.1 == 0 && self.rows.changed == 0
    }

    pub(super) fn rows(&self, sources: &Sources, newest_only: bool) -> ColumnCheck {
        let mut tally = self.rows.clone();
        if !newest_only && let Some((key, bars)) = &self.vanished_first {
            tally.changed(key, *bars);
            tally.changed += self.vanished.0 + self.vanished.1 - 1;
        }
        ColumnCheck {
            name: ROWS.to_string(),
            declared: sources.furthest().ahead,
            compared: tally.compared,
            changed: tally.changed,
            first: tally.first,
            looked: tally.looked,
            warm_up: WarmUp::Unknown,
        }
    }
}
