//! The windows of many symbols that are most like a reference: exactly, while computing as little as possible.
//!
//! Every window passes bounds, from the cheapest to the dearest, and is dropped by the first that shows it to be farther
//! away than what has been found already (Rakthanmanon et al., KDD 2012): LB_Keogh over the bars of the window, which begins
//! with those where the reference is farthest out, as LB_Kim does; LB_Keogh over the bars of the reference; and DTW that is
//! abandoned on the way. What is left has its whole distance.
//!
//! Windows that share a bar compete: the nearest one stays. One better window can evict two others, so the distance beyond
//! which nothing is of interest comes from symbols that are finished: their windows can no longer be evicted.

use super::cascade::{Survivor, keogh_of_all, keogh_reversed, with_slack};
use super::compare::{Distance, Lanes, Partial};
use super::dtw::{Scratch, dtw_abandoning};
use super::envelope::{Envelope, cumulative, lb_keogh_of_window, lb_kim};
pub use super::reference::Excluded;
use super::reference::{AVERAGES, Reference, Scale};
use super::simd::widest;
use super::znorm::{Windows, two_pass, znorm_into};
use std::cmp::Ordering;
use std::fmt::{Debug, Formatter};
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Mutex, PoisonError};

/// A window that is like a reference.
#[derive(Debug, Clone, PartialEq)]
pub struct Match {
    /// Its symbol.
    pub symbol: String,
    /// Position of its first bar among those of the symbol that have a close.
    pub start: usize,
    /// Time of its first bar.
    pub start_ts: i64,
    /// Time of its last bar.
    pub end_ts: i64,
    /// How many bars it has.
    pub bars: usize,
    /// Its length as a multiple of the reference's.
    pub scale: f64,
    /// How far it is away.
    pub distance: Distance,
}

impl Match {
    /// By distance, then by symbol, end and length, so that there are no ties.
    fn rank(&self, other: &Match) -> Ordering {
        let by_distance = self.distance.combined.total_cmp(&other.distance.combined);
        by_distance.then_with(|| (&self.symbol, self.end_ts, self.bars).cmp(&(&other.symbol, other.end_ts, other.bars)))
    }
}

/// Which windows are looked at.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Windowing {
    /// All.
    History,
    /// Those that end with the last bar of their symbol: one match a symbol.
    Latest,
}

/// Which windows of a symbol are looked at, and which of them compete.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Spacing {
    /// Every window; those that share a bar compete.
    Disjoint,
    /// Every window whose first bar is a multiple of `stride`; those that end less than `apart` bars from each other compete.
    Thinned {
        /// Bars from one window to the next.
        stride: usize,
        /// Bars between the ends of two matches at least.
        apart: usize,
    },
}

impl Spacing {
    fn is_looked_at(self, start: usize) -> bool {
        match self {
            Spacing::Disjoint => true,
            Spacing::Thinned { stride, .. } => start.is_multiple_of(stride.max(1)),
        }
    }

    fn compete(self, a: &Candidate, b: &Candidate) -> bool {
        let (end_a, end_b) = (a.start + a.bars, b.start + b.bars);
        match self {
            Spacing::Disjoint => a.start < end_b && b.start < end_a,
            Spacing::Thinned { apart, .. } => end_a.abs_diff(end_b) < apart,
        }
    }
}

/// What is looked for; shared by everything that looks.
#[derive(Debug)]
pub struct Search {
    /// What windows are compared with.
    pub reference: Reference,
    /// Which windows.
    pub windowing: Windowing,
    /// How many matches.
    pub k: usize,
    /// Windows that do not count.
    pub excluded: Option<Excluded>,
    /// Which of them compete.
    pub spacing: Spacing,
    /// The best matches of finished symbols.
    best: Mutex<Vec<Match>>,
    /// The distance of the last of them when there are `k`.
    limit: AtomicU64,
}

/// How many windows were seen, and by what they were dropped.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Stages {
    /// Symbols with at least one window.
    pub symbols: u64,
    /// Symbols with fewer bars than a window.
    pub short: u64,
    /// Windows.
    pub windows: u64,
    /// Dropped by LB_Kim, which looks at their first and last bars.
    pub kim: u64,
    /// Dropped by LB_Keogh over the bars of the window.
    pub keogh: u64,
    /// Dropped by LB_Keogh over the bars of the reference.
    pub keogh_reversed: u64,
    /// Dropped on the way through DTW.
    pub abandoned: u64,
    /// Whose distance was computed.
    pub whole: u64,
}

impl Stages {
    /// Adds what another worker counted.
    pub fn add(&mut self, other: &Stages) {
        let Stages { symbols, short, windows, kim, keogh, keogh_reversed, abandoned, whole } = other;
        self.symbols += symbols;
        self.short += short;
        self.windows += windows;
        self.kim += kim;
        self.keogh += keogh;
        self.keogh_reversed += keogh_reversed;
        self.abandoned += abandoned;
        self.whole += whole;
    }
}

impl Search {
    /// Nothing is found yet.
    pub fn new(reference: Reference, windowing: Windowing, k: usize, excluded: Option<Excluded>) -> Search {
        let (best, limit) = (Mutex::default(), AtomicU64::new(f64::INFINITY.to_bits()));
        Search { reference, windowing, k, excluded, spacing: Spacing::Disjoint, best, limit }
    }

    /// With other windows.
    pub fn with_spacing(self, spacing: Spacing) -> Search {
        Search { spacing, ..self }
    }

    /// The best matches of the symbols that are finished, best first.
    pub fn best(&self) -> Vec<Match> {
        self.best.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Beyond this distance nothing is of interest.
    fn limit(&self) -> f64 {
        f64::from_bits(self.limit.load(Relaxed))
    }

    /// Takes the matches of a finished symbol.
    fn finished(&self, matches: Vec<Match>) {
        let mut best = self.best.lock().unwrap_or_else(PoisonError::into_inner);
        keep_nearest(&mut best, matches, self.k);
        if let Some(last) = best.last().filter(|_| best.len() == self.k) {
            self.limit.store(last.distance.combined.to_bits(), Relaxed);
        }
    }
}

/// Adds matches to the `k` nearest so far, nearest first.
pub fn keep_nearest(nearest: &mut Vec<Match>, matches: impl IntoIterator<Item = Match>, k: usize) {
    nearest.extend(matches);
    nearest.sort_by(Match::rank);
    nearest.truncate(k);
}

/// Whether a search is to end early; never, where nobody says so.
#[derive(Default)]
struct Stopped(Option<Box<dyn Fn() -> bool + Send + Sync>>);

impl Debug for Stopped {
    fn fmt(&self, f: &mut Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("Stopped").field(&self.0.is_some()).finish()
    }
}

/// Windows whose distance is computed before a worker asks again whether it is stopped.
const LOT: usize = 1024;

/// One that looks at symbols, one after the other.
#[derive(Debug, Default)]
pub struct Worker {
    /// What was looked at.
    pub stages: Stages,
    /// The nearest windows that it found itself, nearest first; others may have found nearer ones.
    pub nearest: Vec<Match>,
    stopped: Stopped,
    tracks: Vec<Vec<f64>>,
    windows: Windows,
    envelopes: Vec<Option<Envelope>>,
    survivors: Vec<Survivor>,
    normal: Vec<f64>,
    rest: Vec<f64>,
    scratch: Scratch,
    lanes: Lanes,
}

impl Worker {
    /// Once this is true, the worker finishes early what it is at, which is then not complete.
    pub fn stopped_by(self, stopped: impl Fn() -> bool + Send + Sync + 'static) -> Worker {
        Worker { stopped: Stopped(Some(Box::new(stopped))), ..self }
    }

    fn is_stopped(&self) -> bool {
        self.stopped.0.as_ref().is_some_and(|stopped| stopped())
    }

    /// Looks at the bars of a symbol that have a close, in time order.
    pub fn symbol(&mut self, search: &Search, symbol: &str, ts: &[i64], closes: &[f64]) {
        let reference = &search.reference;
        let first = reference.channels.warm_up();
        let shortest = reference.scales.iter().map(|s| s.bars).min().unwrap_or_default();
        if closes.len() < first + shortest {
            self.stages.short += 1;
            return;
        }
        self.stages.symbols += 1;
        self.tracks = reference.channels.tracks(closes);
        let excluded = search.excluded.as_ref().filter(|e| e.symbol == symbol);
        let is_excluded =
            |start: usize, bars: usize| excluded.is_some_and(|e| e.overlaps(ts[start], ts[start + bars - 1]));
        let mut found: Vec<Candidate> = vec![];
        let limit = search.limit();
        match search.windowing {
            Windowing::History => {
                for scale in reference.scales.iter().filter(|s| closes.len() >= first + s.bars) {
                    let skipped = |start, bars| !search.spacing.is_looked_at(start) || is_excluded(start, bars);
                    self.history(reference, scale, first, limit, &skipped, |start, distance| {
                        found.push(Candidate { start, bars: scale.bars, scale: scale.factor, distance });
                    });
                }
            }
            Windowing::Latest => {
                let best = self.ending_at(reference, first, closes.len(), limit, &is_excluded);
                found.extend(best.map(|(scale, distance)| {
                    let start = closes.len() - scale.bars;
                    Candidate { start, bars: scale.bars, scale: scale.factor, distance }
                }));
            }
        }
        let matches: Vec<Match> =
            apart(found, search.k, search.spacing).into_iter().map(|c| c.of(symbol, ts)).collect();
        if !matches.is_empty() {
            keep_nearest(&mut self.nearest, matches.iter().cloned(), search.k);
            search.finished(matches);
        }
    }

    /// All windows of one length whose distance is at most `limit`.
    fn history(
        &mut self,
        reference: &Reference,
        scale: &Scale,
        first: usize,
        limit: f64,
        skipped: &impl Fn(usize, usize) -> bool,
        mut found: impl FnMut(usize, Distance),
    ) {
        if self.is_stopped() {
            return;
        }
        let (n, limit) = (scale.bars, with_slack(limit));
        self.envelopes.clear();
        self.envelopes.resize(scale.tracks.len(), None);
        self.windows.fill(&self.tracks[0][first..], n);
        let mut survivors = std::mem::take(&mut self.survivors);
        survivors.clear();
        let count = self.windows.mean.len();
        let price = &scale.tracks[0];
        let squared = (limit / price.weight).powi(2);
        let (windows, closes) = (&self.windows, &self.tracks[0][first..]);
        widest(
            #[inline(always)]
            || keogh_of_all(closes, windows, price, squared, &mut survivors),
        );
        let before = survivors.len();
        survivors.retain(|s| !skipped(first + s.start, n));
        self.stages.windows += count as u64;
        self.stages.keogh += (count - before) as u64;
        survivors.retain(|survivor| !self.is_stopped() && self.bounded(scale, first, survivor, limit));
        for lot in survivors.chunks(LOT) {
            if self.is_stopped() {
                break;
            }
            let mut partial: Vec<Partial> = lot.iter().map(|s| Partial::new(first + s.start)).collect();
            self.lanes.whole(reference, scale, limit, &mut partial, |i, start| &self.tracks[i][start..start + n]);
            self.stages.abandoned += (lot.len() - partial.len()) as u64;
            self.stages.whole += partial.len() as u64;
            partial.into_iter().for_each(|p| found(p.at, p.distance));
        }
        self.survivors = survivors;
    }

    /// Whether the bounds that are left let a window pass.
    fn bounded(&mut self, scale: &Scale, first: usize, survivor: &Survivor, limit: f64) -> bool {
        let (n, start) = (scale.bars, survivor.start);
        // What the channels add at least.
        let mut least = [0.0; 1 + AVERAGES.len()];
        least[0] = scale.tracks[0].weight * survivor.keogh.sqrt();
        let mut normal = [(self.windows.mean[start], self.windows.inverse[start]); 1 + AVERAGES.len()];
        for (i, track) in scale.tracks.iter().enumerate().skip(1) {
            let others: f64 = least.iter().sum();
            let window = &self.tracks[i][first + start..first + start + n];
            let (mean, inverse) = two_pass(window);
            normal[i] = (mean, inverse);
            let most = ((limit - others).max(0.0) / track.weight).powi(2);
            let Envelope { lower, upper } = &track.envelope;
            let squared = widest(
                #[inline(always)]
                || lb_keogh_of_window(window, mean, inverse, lower, upper, most),
            );
            least[i] = track.weight * squared.sqrt();
            if others + least[i] > limit {
                self.stages.keogh += 1;
                return false;
            }
        }
        for (i, track) in scale.tracks.iter().enumerate() {
            let others = least.iter().sum::<f64>() - least[i];
            let (mean, inverse) = normal[i];
            let series = &self.tracks[i][first..];
            // Bars of the window that a bar of the reference may meet; around borders others too, which only widens.
            let band = track.band;
            let envelope =
                self.envelopes[i].get_or_insert_with(|| Envelope::around(series, band.above, band.below, series.len()));
            let most = ((limit - others).max(0.0) / track.weight).powi(2);
            let squared = widest(
                #[inline(always)]
                || keogh_reversed(&track.series, envelope, start, n, mean, inverse, most),
            );
            least[i] = least[i].max(track.weight * squared.sqrt());
            if others + least[i] > limit {
                self.stages.keogh_reversed += 1;
                return false;
            }
        }
        true
    }

    /// The distance of one window, if it is at most `limit`.
    fn exact(&mut self, reference: &Reference, scale: &Scale, start: usize, limit: f64) -> Option<Distance> {
        let mut partial = Partial::new(start);
        for (i, track) in scale.tracks.iter().enumerate() {
            znorm_into(&self.tracks[i][start..start + scale.bars], &mut self.normal);
            let most = (with_slack((limit - partial.distance.combined).max(0.0)) / track.weight).powi(2);
            if lb_kim(&self.normal, &track.series) > most {
                self.stages.kim += 1;
                return None;
            }
            cumulative(&self.normal, &track.envelope, &mut self.rest);
            let rest = most.is_finite().then_some(self.rest.as_slice());
            let squared = dtw_abandoning(&self.normal, &track.series, track.band, rest, most, &mut self.scratch);
            let Some(squared) = squared else {
                self.stages.abandoned += 1;
                return None;
            };
            partial.add(i, track, scale, squared.sqrt());
        }
        self.stages.whole += 1;
        partial.add_slopes(reference, &self.tracks[0][start..start + scale.bars]);
        (partial.distance.combined <= limit).then_some(partial.distance)
    }

    /// The best of the windows that end before a position, one for each scale.
    fn ending_at<'a>(
        &mut self,
        reference: &'a Reference,
        first: usize,
        end: usize,
        limit: f64,
        is_excluded: &impl Fn(usize, usize) -> bool,
    ) -> Option<(&'a Scale, Distance)> {
        let mut best: Option<(&Scale, Distance)> = None;
        for scale in reference.scales.iter().filter(|s| first + s.bars <= end) {
            let start = end - scale.bars;
            if is_excluded(start, scale.bars) {
                continue;
            }
            let nearest = best.map_or(limit, |(_, d)| d.combined);
            self.stages.windows += 1;
            if let Some(distance) = self.exact(reference, scale, start, with_slack(nearest))
                && best.is_none_or(|(_, b)| distance.combined < b.combined)
            {
                best = Some((scale, distance));
            }
        }
        best
    }
}

/// A window of the symbol that is looked at.
#[derive(Debug, Clone, Copy)]
struct Candidate {
    start: usize,
    bars: usize,
    scale: f64,
    distance: Distance,
}

impl Candidate {
    fn rank(&self, other: &Candidate) -> Ordering {
        let by_distance = self.distance.combined.total_cmp(&other.distance.combined);
        by_distance.then_with(|| (self.start + self.bars, self.bars).cmp(&(other.start + other.bars, other.bars)))
    }

    fn of(&self, symbol: &str, ts: &[i64]) -> Match {
        let Candidate { start, bars, scale, distance } = *self;
        let (start_ts, end_ts) = (ts[start], ts[start + bars - 1]);
        Match { symbol: symbol.to_string(), start, start_ts, end_ts, bars, scale, distance }
    }
}

/// The nearest windows that do not compete, best first, at most `k`.
fn apart(mut found: Vec<Candidate>, k: usize, spacing: Spacing) -> Vec<Candidate> {
    found.sort_by(Candidate::rank);
    let mut chosen: Vec<Candidate> = vec![];
    for one in found {
        if chosen.len() == k {
            break;
        }
        if !chosen.iter().any(|c| spacing.compete(c, &one)) {
            chosen.push(one);
        }
    }
    chosen
}
