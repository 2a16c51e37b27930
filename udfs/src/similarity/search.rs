//! The windows of many symbols that are most like a reference: exactly, while computing as little as possible.
//!
//! Every window passes bounds, from the cheapest to the dearest, and is dropped by the first that shows it to be farther
//! away than what has been found already (Rakthanmanon et al., KDD 2012): LB_Keogh over the bars of the window, which begins
//! with those where the reference is farthest out, as LB_Kim does; LB_Keogh over the bars of the reference; and DTW that is
//! abandoned on the way. What is left has its whole distance.
//!
//! Windows that share a bar compete: the nearest one stays. One better window can evict two others, so the distance beyond
//! which nothing is of interest comes from symbols that are finished: their windows can no longer be evicted.

use super::descriptor::{resample, slope};
use super::dtw::{Scratch, dtw_abandoning};
use super::envelope::{Envelope, cumulative, lb_keogh_of_window};
use super::many::{LANES, dtw_many, side_by_side};
use super::random::RandomWindow;
use super::reference::{AVERAGES, Reference, SLOPE_POINTS, Scale, Track};
use super::simd::widest;
use super::znorm::{Windows, two_pass, znorm, znorm_into};
use std::cmp::Ordering;
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

/// How far a window is from a reference.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Distance {
    /// The weighted sum, which matches are ranked by.
    pub combined: f64,
    /// Of the close: DTW over the root of the longer length.
    pub price: f64,
    /// Of the relative distances to averages: the mean of three.
    pub averages: f64,
    /// Root mean square difference of slopes.
    pub slopes: f64,
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

/// A stretch of a symbol's bars that windows must not share a bar with.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Excluded {
    /// The symbol.
    pub symbol: String,
    /// Time of its first bar.
    pub from: i64,
    /// Time of its last bar.
    pub to: i64,
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
        let Stages { symbols, short, windows, keogh, keogh_reversed, abandoned, whole } = other;
        self.symbols += symbols;
        self.short += short;
        self.windows += windows;
        self.keogh += keogh;
        self.keogh_reversed += keogh_reversed;
        self.abandoned += abandoned;
        self.whole += whole;
    }
}

/// Computed distances may differ from bounds in their last digits; this much more is let pass.
fn with_slack(limit: f64) -> f64 {
    limit * (1.0 + 1e-9) + 1e-12
}

impl Search {
    /// Nothing is found yet.
    pub fn new(reference: Reference, windowing: Windowing, k: usize, excluded: Option<Excluded>) -> Search {
        let (best, limit) = (Mutex::default(), AtomicU64::new(f64::INFINITY.to_bits()));
        Search { reference, windowing, k, excluded, best, limit }
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
        if matches.is_empty() {
            return;
        }
        let mut best = self.best.lock().unwrap_or_else(PoisonError::into_inner);
        best.extend(matches);
        best.sort_by(Match::rank);
        best.truncate(self.k);
        if let Some(last) = best.last().filter(|_| best.len() == self.k) {
            self.limit.store(last.distance.combined.to_bits(), Relaxed);
        }
    }
}

/// One that looks at symbols, one after the other.
#[derive(Debug, Default)]
pub struct Worker {
    /// What was looked at.
    pub stages: Stages,
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
            |start: usize, bars: usize| excluded.is_some_and(|e| ts[start] <= e.to && ts[start + bars - 1] >= e.from);
        let mut found: Vec<Candidate> = vec![];
        let limit = search.limit();
        match search.windowing {
            Windowing::History => {
                for scale in reference.scales.iter().filter(|s| closes.len() >= first + s.bars) {
                    self.history(reference, scale, first, limit, &is_excluded, |start, distance| {
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
        search.finished(apart(found, search.k).into_iter().map(|c| c.of(symbol, ts)).collect());
    }

    /// All windows of one length whose distance is at most `limit`.
    fn history(
        &mut self,
        reference: &Reference,
        scale: &Scale,
        first: usize,
        limit: f64,
        is_excluded: &impl Fn(usize, usize) -> bool,
        mut found: impl FnMut(usize, Distance),
    ) {
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
        survivors.retain(|s| !is_excluded(first + s.start, n));
        self.stages.windows += count as u64;
        self.stages.keogh += (count - before) as u64;
        survivors.retain(|survivor| self.bounded(scale, first, survivor, limit));
        let mut partial: Vec<Partial> = survivors.iter().map(|s| Partial::new(first + s.start)).collect();
        self.lanes.whole(reference, scale, limit, &mut partial, |i, start| &self.tracks[i][start..start + n]);
        self.stages.abandoned += (survivors.len() - partial.len()) as u64;
        self.stages.whole += partial.len() as u64;
        partial.into_iter().for_each(|p| found(p.at, p.distance));
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

/// A window of which some channels have been compared.
#[derive(Debug, Clone, Copy)]
struct Partial {
    at: usize,
    distance: Distance,
}

impl Partial {
    fn new(at: usize) -> Partial {
        Partial { at, distance: Distance { combined: 0.0, price: 0.0, averages: 0.0, slopes: 0.0 } }
    }

    fn add(&mut self, channel: usize, track: &Track, scale: &Scale, distance: f64) {
        self.distance.combined += track.weight * distance;
        let distance = distance / root(scale, track);
        match channel {
            0 => self.distance.price = distance,
            _ => self.distance.averages += distance / AVERAGES.len() as f64,
        }
    }

    fn add_slopes(&mut self, reference: &Reference, closes: &[f64]) {
        let weight = reference.channels.slopes;
        if weight > 0.0 {
            self.distance.slopes = slope_distance(reference, &znorm(closes));
            self.distance.combined += weight * self.distance.slopes;
        }
    }
}

/// Compares as many windows at once as there are lanes.
#[derive(Debug, Default)]
struct Lanes {
    normal: Vec<Vec<f64>>,
    batch: Vec<[f64; LANES]>,
    line: Vec<[f64; LANES]>,
}

impl Lanes {
    /// Leaves those of the windows whose distance is at most `limit`; `window` gives a channel of one.
    fn whole<'a>(
        &mut self,
        reference: &Reference,
        scale: &Scale,
        limit: f64,
        windows: &mut Vec<Partial>,
        window: impl Fn(usize, usize) -> &'a [f64],
    ) {
        for (i, track) in scale.tracks.iter().enumerate() {
            for group in windows.chunks_mut(LANES) {
                self.normal.resize_with(LANES, Vec::new);
                for (partial, normal) in group.iter().zip(&mut self.normal) {
                    znorm_into(window(i, partial.at), normal);
                }
                side_by_side(self.normal[..group.len()].iter().map(Vec::as_slice), &mut self.batch);
                let distances = dtw_many(&track.series, &self.batch, track.band, &mut self.line);
                group.iter_mut().zip(distances).for_each(|(partial, d)| partial.add(i, track, scale, d));
            }
            windows.retain(|partial| partial.distance.combined <= limit);
        }
        if reference.channels.slopes > 0.0 {
            windows.iter_mut().for_each(|partial| partial.add_slopes(reference, window(0, partial.at)));
            windows.retain(|partial| partial.distance.combined <= limit);
        }
    }
}

fn root(scale: &Scale, track: &Track) -> f64 {
    (scale.bars.max(track.series.len()) as f64).sqrt()
}

/// The distances of random windows from a reference, smallest first: of each, that of the nearest scale.
pub fn null_distances(reference: &Reference, excluded: Option<&Excluded>, windows: &[RandomWindow]) -> Vec<f64> {
    let warm_up = reference.channels.warm_up();
    let tracks: Vec<_> = windows.iter().map(|w| reference.channels.tracks(&w.closes)).collect();
    let mut nearest = vec![f64::INFINITY; windows.len()];
    let mut lanes = Lanes::default();
    for scale in &reference.scales {
        let fits = |(_, w): &(usize, &RandomWindow)| {
            let is_excluded = |e: &Excluded| {
                e.symbol == w.symbol && w.ts[w.ts.len() - scale.bars] <= e.to && w.ts[w.ts.len() - 1] >= e.from
            };
            // A window at the beginning of a history has room for the shorter scales only.
            w.closes.len() >= warm_up + scale.bars && !excluded.is_some_and(is_excluded)
        };
        let mut partial: Vec<Partial> = windows.iter().enumerate().filter(fits).map(|(i, _)| Partial::new(i)).collect();
        lanes.whole(reference, scale, f64::INFINITY, &mut partial, |channel, i| {
            let track = &tracks[i][channel];
            &track[track.len() - scale.bars..]
        });
        for partial in partial {
            nearest[partial.at] = nearest[partial.at].min(partial.distance.combined);
        }
    }
    nearest.retain(|d| d.is_finite());
    nearest.sort_by(f64::total_cmp);
    nearest
}

/// Root mean square difference of the slopes of a z-normalised window, stretched to the reference's length.
fn slope_distance(reference: &Reference, normal: &[f64]) -> f64 {
    let slopes = slope(&resample(normal, reference.length), SLOPE_POINTS);
    let squares: f64 = slopes.iter().zip(&reference.slopes).map(|(a, b)| (a - b) * (a - b)).sum();
    (squares / reference.length as f64).sqrt()
}

/// Windows that are bounded at once: neighbours, so that their bars lie side by side.
const NEIGHBOURS: usize = 16;

/// Bars after which the bounds are compared with the limit.
const BARS: usize = 8;

/// A window that LB_Keogh over its bars lets pass.
#[derive(Debug, Clone, Copy)]
struct Survivor {
    start: usize,
    /// The bound, squared.
    keogh: f64,
}

/// The windows whose LB_Keogh is at most `limit`, squared.
#[inline(always)]
fn keogh_of_all(closes: &[f64], windows: &Windows, track: &Track, limit: f64, survivors: &mut Vec<Survivor>) {
    let count = windows.mean.len();
    let n = track.order.len();
    let Envelope { lower, upper } = &track.envelope;
    if limit == f64::INFINITY {
        survivors.extend((0..count).map(|start| Survivor { start, keogh: 0.0 }));
        return;
    }
    let mut start = 0;
    while start + NEIGHBOURS <= count {
        let (mean, inverse) = (&windows.mean[start..start + NEIGHBOURS], &windows.inverse[start..start + NEIGHBOURS]);
        let mut totals = [0.0; NEIGHBOURS];
        for bars in track.order.chunks(BARS) {
            for &bar in bars {
                let bar = bar as usize;
                let (l, u) = (lower[bar], upper[bar]);
                let x = &closes[start + bar..start + bar + NEIGHBOURS];
                for k in 0..NEIGHBOURS {
                    let z = (x[k] - mean[k]) * inverse[k];
                    let (above, below) = (z - u, l - z);
                    let far = if above > below { above } else { below };
                    let far = if far > 0.0 { far } else { 0.0 };
                    totals[k] += far * far;
                }
            }
            let mut passing = false;
            for total in totals {
                passing |= total <= limit;
            }
            if !passing {
                break;
            }
        }
        let passing = (0..NEIGHBOURS).filter(|&k| totals[k] <= limit);
        survivors.extend(passing.map(|k| Survivor { start: start + k, keogh: totals[k] }));
        start += NEIGHBOURS;
    }
    for start in start..count {
        let window = &closes[start..start + n];
        let (mean, inverse) = (windows.mean[start], windows.inverse[start]);
        let keogh = lb_keogh_of_window(window, mean, inverse, lower, upper, limit);
        if keogh <= limit {
            survivors.push(Survivor { start, keogh });
        }
    }
}

/// LB_Keogh of the bars of the reference against the envelope of a series, of which a window is normalised on the way.
#[inline(always)]
fn keogh_reversed(
    reference: &[f64],
    envelope: &Envelope,
    start: usize,
    n: usize,
    mean: f64,
    inverse: f64,
    limit: f64,
) -> f64 {
    const BLOCK: usize = 16;
    let shared = reference.len().min(n);
    let (lower, upper) = (&envelope.lower[start..start + n], &envelope.upper[start..start + n]);
    let outside = |r: f64, l: f64, u: f64| {
        let (above, below) = (r - (u - mean) * inverse, (l - mean) * inverse - r);
        let far = if above > below { above } else { below };
        let far = if far > 0.0 { far } else { 0.0 };
        far * far
    };
    let mut total = 0.0;
    let blocks = reference[..shared].chunks(BLOCK).zip(lower.chunks(BLOCK)).zip(upper.chunks(BLOCK));
    for ((r, l), u) in blocks {
        let mut sum = 0.0;
        if let (Ok(r), Ok(l), Ok(u)) =
            (<&[f64; BLOCK]>::try_from(r), <&[f64; BLOCK]>::try_from(l), <&[f64; BLOCK]>::try_from(u))
        {
            let mut sums = [0.0; BLOCK];
            for k in 0..BLOCK {
                sums[k] = outside(r[k], l[k], u[k]);
            }
            sum += sums.iter().sum::<f64>();
        } else {
            sum += r.iter().zip(l).zip(u).map(|((r, l), u)| outside(*r, *l, *u)).sum::<f64>();
        }
        total += sum;
        if total > limit {
            return total;
        }
    }
    // Bars of the reference beyond the window meet what its last bar may meet, at most.
    for r in &reference[shared..] {
        total += outside(*r, lower[n - 1], upper[n - 1]);
    }
    total
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

/// The nearest windows that share no bar, best first, at most `k`.
fn apart(mut found: Vec<Candidate>, k: usize) -> Vec<Candidate> {
    found.sort_by(Candidate::rank);
    let mut chosen: Vec<Candidate> = vec![];
    for one in found {
        if chosen.len() == k {
            break;
        }
        if chosen.iter().all(|c| one.start >= c.start + c.bars || c.start >= one.start + one.bars) {
            chosen.push(one);
        }
    }
    chosen
}
