//! Figures of a series of returns, bar by bar. `None`: the series does not have it, being too short or not moving.

/// Nothing is divided by zero, and nothing infinite is told.
fn ratio(a: f64, b: f64) -> Option<f64> {
    Some(a / b).filter(|ratio| b != 0.0 && ratio.is_finite())
}

pub fn mean(x: &[f64]) -> Option<f64> {
    ratio(x.iter().sum(), x.len() as f64)
}

/// Sum of the k-th powers of what is left of a mean.
fn central(x: &[f64], mean: f64, k: i32) -> f64 {
    x.iter().map(|v| (v - mean).powi(k)).sum()
}

/// Of a sample: n - 1. Zero where nothing moves but the last digits.
pub fn deviation(x: &[f64]) -> Option<f64> {
    let mean = mean(x)?;
    let variance = ratio(central(x, mean, 2), x.len() as f64 - 1.0)?;
    let noise = f64::EPSILON * mean.abs();
    Some(if variance.sqrt() <= 2.0 * noise { 0.0 } else { variance.sqrt() })
}

pub fn volatility(r: &[f64], periods: f64) -> Option<f64> {
    Some(deviation(r)? * periods.sqrt())
}

pub fn sharpe(r: &[f64], periods: f64, risk_free: f64) -> Option<f64> {
    Some(ratio(mean(r)? - risk_free, deviation(r)?)? * periods.sqrt())
}

pub fn sortino(r: &[f64], periods: f64, required: f64) -> Option<f64> {
    if r.len() < 2 {
        return None;
    }
    let below: f64 = r.iter().map(|v| (v - required).min(0.0).powi(2)).sum();
    Some(ratio(mean(r)? - required, (below / r.len() as f64).sqrt())? * periods.sqrt())
}

/// What one became.
fn growth(r: &[f64]) -> f64 {
    r.iter().fold(1.0, |grown, v| grown * (1.0 + v))
}

pub fn total_return(r: &[f64]) -> Option<f64> {
    (!r.is_empty()).then(|| growth(r) - 1.0)
}

pub fn cagr(r: &[f64], periods: f64) -> Option<f64> {
    let grown = growth(r);
    let power = ratio(periods, r.len() as f64)?;
    (grown >= 0.0).then(|| grown.powf(power) - 1.0).filter(|v| v.is_finite())
}

/// How far below its highest each bar ends, as a fraction of it, not above 0. The money at the beginning counts.
fn drawdowns(r: &[f64]) -> impl Iterator<Item = f64> {
    r.iter().scan((1.0_f64, 1.0_f64), |(value, highest), v| {
        *value *= 1.0 + v;
        *highest = highest.max(*value);
        Some(if *highest > 0.0 { *value / *highest - 1.0 } else { 0.0 })
    })
}

pub fn max_drawdown(r: &[f64]) -> Option<f64> {
    drawdowns(r).reduce(f64::min)
}

pub fn calmar(r: &[f64], periods: f64) -> Option<f64> {
    ratio(cagr(r, periods)?, max_drawdown(r)?.abs())
}

pub fn ulcer_index(r: &[f64]) -> Option<f64> {
    let squares: f64 = drawdowns(r).map(|down| down * down).sum();
    ratio(squares, r.len() as f64 - 1.0).map(f64::sqrt)
}

/// Depth and length of each stretch below a high, in bars.
fn stretches(r: &[f64]) -> Vec<(f64, usize)> {
    let mut found: Vec<(f64, usize)> = vec![];
    let mut is_down = false;
    for down in drawdowns(r) {
        match (down < 0.0, is_down, found.last_mut()) {
            (true, true, Some((depth, bars))) => (*depth, *bars) = (depth.min(down), *bars + 1),
            (true, ..) => found.push((down, 1)),
            _ => {}
        }
        is_down = down < 0.0;
    }
    found
}

pub fn avg_drawdown(r: &[f64]) -> Option<f64> {
    let stretches = stretches(r);
    if r.is_empty() {
        return None;
    }
    Some(ratio(stretches.iter().map(|(depth, _)| depth).sum(), stretches.len() as f64).unwrap_or(0.0))
}

pub fn longest_drawdown(r: &[f64]) -> Option<f64> {
    (!r.is_empty()).then(|| stretches(r).into_iter().map(|(_, bars)| bars).max().unwrap_or(0) as f64)
}

/// Between the values around it, by distance.
fn quantile(sorted: &[f64], share: f64) -> Option<f64> {
    let place = share * (sorted.len() as f64 - 1.0);
    let below = sorted.get(place.floor() as usize)?;
    let above = sorted.get(place.ceil() as usize)?;
    Some(below + (above - below) * place.fract())
}

fn sorted(x: &[f64]) -> Vec<f64> {
    let mut sorted = x.to_vec();
    sorted.sort_by(f64::total_cmp);
    sorted
}

pub fn tail_ratio(r: &[f64]) -> Option<f64> {
    let sorted = sorted(r);
    ratio(quantile(&sorted, 0.95)?.abs(), quantile(&sorted, 0.05)?.abs())
}

pub fn value_at_risk(r: &[f64], share: f64) -> Option<f64> {
    quantile(&sorted(r), share)
}

pub fn cvar(r: &[f64], share: f64) -> Option<f64> {
    let sorted = sorted(r);
    let worst = (share * (sorted.len().checked_sub(1)? as f64)).floor() as usize + 1;
    mean(sorted.get(..worst)?)
}

pub fn omega(r: &[f64], required: f64) -> Option<f64> {
    let above: f64 = r.iter().map(|v| (v - required).max(0.0)).sum();
    let below: f64 = r.iter().map(|v| (required - v).max(0.0)).sum();
    ratio(above, below)
}

/// The third moment over the third power of the deviation, of a population.
pub fn skewness(r: &[f64]) -> Option<f64> {
    moment(r, 3)
}

/// The fourth moment over the fourth power of the deviation, of a population: 3 where returns are normal.
pub fn kurtosis(r: &[f64]) -> Option<f64> {
    moment(r, 4)
}

fn moment(r: &[f64], k: i32) -> Option<f64> {
    let n = r.len() as f64;
    let (mean, spread) = (mean(r)?, deviation(r)?);
    let population = spread * ((n - 1.0) / n).sqrt();
    ratio(central(r, mean, k) / n, population.powi(k))
}

/// The share of the variance of the logarithm of what one became that a straight line explains.
pub fn stability(r: &[f64]) -> Option<f64> {
    let mut logarithm = 0.0;
    let grown: Vec<f64> = r
        .iter()
        .map(|v| {
            logarithm += v.ln_1p();
            logarithm
        })
        .collect();
    let line: Vec<f64> = (0..grown.len()).map(|bar| bar as f64).collect();
    let (own, other) = (deviation(&grown)?, deviation(&line)?);
    let correlation = ratio(covariance(&grown, &line)?, own * other)?;
    Some(correlation * correlation)
}

/// Of a sample: n - 1.
fn covariance(x: &[f64], y: &[f64]) -> Option<f64> {
    let (own, other) = (mean(x)?, mean(y)?);
    ratio(x.iter().zip(y).map(|(a, b)| (a - own) * (b - other)).sum(), x.len() as f64 - 1.0)
}

pub fn beta(r: &[f64], benchmark: &[f64]) -> Option<f64> {
    ratio(covariance(r, benchmark)?, covariance(benchmark, benchmark)?)
}

pub fn alpha(r: &[f64], benchmark: &[f64], periods: f64) -> Option<f64> {
    let each = mean(r)? - beta(r, benchmark)? * mean(benchmark)?;
    Some((1.0 + each).powf(periods) - 1.0).filter(|v| v.is_finite())
}

/// What of the gain, or loss, of a benchmark in the bars in which it rose, or fell, was gained or lost too.
pub fn capture(r: &[f64], benchmark: &[f64], periods: f64, way: f64) -> Option<f64> {
    let (own, other): (Vec<f64>, Vec<f64>) = r.iter().zip(benchmark).filter(|(_, b)| **b * way > 0.0).unzip();
    ratio(cagr(&own, periods)?, cagr(&other, periods)?)
}

pub fn win_rate(x: &[f64]) -> Option<f64> {
    ratio(x.iter().filter(|v| **v > 0.0).count() as f64, x.len() as f64)
}

fn mean_where(x: &[f64], holds: impl Fn(f64) -> bool) -> Option<f64> {
    mean(&x.iter().copied().filter(|v| holds(*v)).collect::<Vec<_>>())
}

/// The mean gain over the mean loss.
pub fn payoff(x: &[f64]) -> Option<f64> {
    ratio(mean_where(x, |v| v > 0.0)?, -mean_where(x, |v| v < 0.0)?)
}

pub fn sqn(x: &[f64]) -> Option<f64> {
    Some(ratio(mean(x)?, deviation(x)?)? * (x.len() as f64).sqrt())
}

pub fn kelly(x: &[f64]) -> Option<f64> {
    let won = win_rate(x)?;
    Some(won - (1.0 - won) / payoff(x)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn near(got: Option<f64>, want: f64, digits: i32) {
        let got = got.unwrap();
        assert!((got - want).abs() < 10f64.powi(-digits), "{got}, expected {want}");
    }

    /// Figures of pypbo's tests.
    #[test]
    fn published_ratios_of_returns() {
        let r = [0.259, 0.198, 0.364, -0.081, 0.057, 0.055, 0.188, 0.317, 0.24, 0.184, -0.01, 0.526];
        near(sharpe(&r, 1.0, 0.05), 0.834_364, 6);
        near(sortino(&[0.17, 0.15, 0.23, -0.05, 0.12, 0.09, 0.13, -0.04], 1.0, 0.0), 4.417_261, 6);
        let r = [0.0089, 0.0012, -0.002, 0.01, -0.0002, 0.02, 0.03, 0.01, -0.003, 0.01, 0.0102, -0.01];
        near(omega(&r, 0.01), 0.463_901_689, 9);
    }

    #[test]
    fn drawdowns_count_from_the_money_at_the_beginning() {
        // 1, 0.9, 0.99, 1.089, 0.98
        let r = [-0.1, 0.1, 0.1, -0.1];
        near(max_drawdown(&r), -0.1, 12);
        near(avg_drawdown(&r), -0.1, 12);
        assert_eq!(longest_drawdown(&r), Some(2.0));
        near(ulcer_index(&r), ((0.01 + 0.0001 + 0.01) / 3.0f64).sqrt(), 12);
        assert_eq!((max_drawdown(&[0.1, 0.0]), avg_drawdown(&[0.1])), (Some(0.0), Some(0.0)));
    }

    #[test]
    fn what_a_series_does_not_have_is_not_told() {
        for r in [&[][..], &[0.1], &[0.1, 0.1, 0.1]] {
            assert_eq!((sharpe(r, 252.0, 0.0), skewness(r), sortino(r, 252.0, 0.0)), (None, None, None), "{r:?}");
        }
        assert_eq!((calmar(&[0.1, 0.2], 252.0), omega(&[0.1], 0.0), payoff(&[1.0])), (None, None, None));
    }

    #[test]
    fn trades_by_hand() {
        let x = [0.1, -0.05, 0.2, -0.05];
        near(win_rate(&x), 0.5, 12);
        near(payoff(&x), 3.0, 12);
        near(kelly(&x), 0.5 - 0.5 / 3.0, 12);
        near(omega(&x, 0.0), 3.0, 12);
        near(sqn(&x), 0.05 / deviation(&x).unwrap() * 2.0, 12);
    }

    #[test]
    fn a_position_in_the_benchmark_is_its_beta() {
        let b = [0.01, -0.02, 0.03, 0.005];
        let r: Vec<f64> = b.iter().map(|v| 2.0 * v + 0.001).collect();
        near(beta(&r, &b), 2.0, 12);
        near(alpha(&r, &b, 252.0), 1.001f64.powi(252) - 1.0, 12);
        near(capture(&b, &b, 252.0, 1.0), 1.0, 12);
    }
}
