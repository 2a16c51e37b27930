//! Which windows a bound lets pass.

use super::envelope::{Envelope, lb_keogh_of_window, outside};
use super::reference::Track;
use super::znorm::Windows;

/// Computed distances may differ from bounds in their last digits; this much more is let pass.
pub(super) fn with_slack(limit: f64) -> f64 {
    limit * (1.0 + 1e-9) + 1e-12
}

/// Windows that are bounded at once: neighbours, so that their bars lie side by side.
const NEIGHBOURS: usize = 16;

/// Bars after which the bounds are compared with the limit.
const BARS: usize = 8;

/// A window that LB_Keogh over its bars lets pass.
#[derive(Debug, Clone, Copy)]
pub(super) struct Survivor {
    /// Its first bar.
    pub start: usize,
    /// The bound, squared.
    pub keogh: f64,
}

/// The windows whose LB_Keogh is at most `limit`, squared.
#[inline(always)]
pub(super) fn keogh_of_all(
    closes: &[f64],
    windows: &Windows,
    track: &Track,
    limit: f64,
    survivors: &mut Vec<Survivor>,
) {
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
                    totals[k] += outside((x[k] - mean[k]) * inverse[k], l, u);
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
pub(super) fn keogh_reversed(
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
    let met = |r: f64, l: f64, u: f64| outside(r, (l - mean) * inverse, (u - mean) * inverse);
    let mut total = 0.0;
    let blocks = reference[..shared].chunks(BLOCK).zip(lower.chunks(BLOCK)).zip(upper.chunks(BLOCK));
    for ((r, l), u) in blocks {
        let mut sum = 0.0;
        if let (Ok(r), Ok(l), Ok(u)) =
            (<&[f64; BLOCK]>::try_from(r), <&[f64; BLOCK]>::try_from(l), <&[f64; BLOCK]>::try_from(u))
        {
            let mut sums = [0.0; BLOCK];
            for k in 0..BLOCK {
                sums[k] = met(r[k], l[k], u[k]);
            }
            sum += sums.iter().sum::<f64>();
        } else {
            sum += r.iter().zip(l).zip(u).map(|((r, l), u)| met(*r, *l, *u)).sum::<f64>();
        }
        total += sum;
        if total > limit {
            return total;
        }
    }
    // Bars of the reference beyond the window meet what its last bar may meet, at most.
    for r in &reference[shared..] {
        total += met(*r, lower[n - 1], upper[n - 1]);
    }
    total
}
