//! How likely a Sharpe ratio is luck. Ratios are those of one bar; `skewness` and `kurtosis` are moments of the returns, 0 and 3
//! where they are normal.

use super::normal::{below, quantile};

/// Euler's constant.
const EULER: f64 = 0.577_215_664_901_532_9;

/// Variance of a Sharpe ratio, times the number of returns less one.
fn spread(sharpe: f64, skewness: f64, kurtosis: f64) -> f64 {
    1.0 - skewness * sharpe + (kurtosis - 1.0) / 4.0 * sharpe * sharpe
}

/// The probability that the true Sharpe ratio is above a benchmark.
pub fn probabilistic_sharpe(sharpe: f64, bars: f64, skewness: f64, kurtosis: f64, benchmark: f64) -> Option<f64> {
    let spread = spread(sharpe, skewness, kurtosis);
    (bars > 1.0 && spread > 0.0).then(|| below((sharpe - benchmark) * (bars - 1.0).sqrt() / spread.sqrt()))
}

/// The largest of so many normal numbers that is expected.
pub fn expected_max(trials: f64) -> Option<f64> {
    if trials == 1.0 {
        return Some(0.0);
    }
    let place = |share: f64| quantile(1.0 - share / trials);
    (trials > 1.0).then_some(())?;
    // Between one trial and two, which fewer independent ones may be worth, the approximation falls below that of one.
    Some(((1.0 - EULER) * place(1.0)? + EULER * place((-1.0f64).exp())?).max(0.0))
}

/// The largest Sharpe ratio that is expected of so many trials without any skill, whose Sharpe ratios have a variance.
pub fn expected_max_sharpe(trials: f64, variance: f64) -> Option<f64> {
    (variance >= 0.0).then(|| expected_max(trials)).flatten().map(|most| most * variance.sqrt())
}

/// The probability that the true Sharpe ratio is above what the best of so many trials would show by luck.
pub fn deflated_sharpe(
    sharpe: f64,
    bars: f64,
    skewness: f64,
    kurtosis: f64,
    trials: f64,
    variance: f64,
) -> Option<f64> {
    probabilistic_sharpe(sharpe, bars, skewness, kurtosis, expected_max_sharpe(trials, variance)?)
}

/// Returns after which a Sharpe ratio is above a benchmark at a confidence.
pub fn min_track_record(sharpe: f64, skewness: f64, kurtosis: f64, benchmark: f64, confidence: f64) -> Option<f64> {
    let needed = quantile(confidence)? / (sharpe - benchmark);
    (sharpe > benchmark).then_some(1.0 + spread(sharpe, skewness, kurtosis) * needed * needed)
}

/// Years of returns below which the best of so many trials without skill shows a Sharpe ratio of a year as high as this.
pub fn min_backtest_years(sharpe: f64, trials: f64) -> Option<f64> {
    (sharpe > 0.0).then(|| expected_max(trials)).flatten().map(|most| (most / sharpe).powi(2))
}

/// How many independent trials as many are worth whose returns have a mean correlation.
pub fn effective_trials(trials: f64, correlation: f64) -> Option<f64> {
    (trials >= 1.0 && (-1.0..=1.0).contains(&correlation)).then_some(correlation + (1.0 - correlation) * trials)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn near(got: Option<f64>, want: f64, digits: i32) {
        let got = got.unwrap();
        assert!((got - want).abs() < 10f64.powi(-digits), "{got}, expected {want}");
    }

    /// D. Bailey and M. Lopez de Prado, The Deflated Sharpe Ratio (2014): a Sharpe ratio of 2.5 a year, five years of days.
    #[test]
    fn the_example_of_the_deflated_sharpe_ratio() {
        let (sharpe, variance) = (2.5 / 250f64.sqrt(), 0.5 / 250.0);
        near(expected_max_sharpe(100.0, variance), 0.1132, 4);
        near(deflated_sharpe(sharpe, 1250.0, -3.0, 10.0, 100.0, variance), 0.900_396_834_449_390_3, 12);
        near(deflated_sharpe(sharpe, 1250.0, -3.0, 10.0, 46.0, variance), 0.9505, 4);
        near(deflated_sharpe(sharpe, 1250.0, 0.0, 3.0, 88.0, variance), 0.9505, 4);
    }

    /// The same, The Sharpe Ratio Efficient Frontier (2012).
    #[test]
    fn the_examples_of_the_probabilistic_sharpe_ratio() {
        near(probabilistic_sharpe(0.457_550_088_332_778_44, 24.0, -2.448, 10.164, 0.0), 0.913_234_306_884_860_2, 12);
        near(probabilistic_sharpe(0.458, 24.0, -2.448, 10.164, 0.0), 0.913, 3);
        near(probabilistic_sharpe(0.458, 24.0, 0.0, 3.0, 0.0), 0.982, 3);
        let years = |sharpe: f64, benchmark: f64, periods: f64, skewness, kurtosis| {
            let a_bar = |ratio: f64| ratio / periods.sqrt();
            min_track_record(a_bar(sharpe), skewness, kurtosis, a_bar(benchmark), 0.95).map(|bars| bars / periods)
        };
        near(years(2.0, 1.0, 250.0, 0.0, 3.0), 2.731_187_801_728_176, 12);
        near(years(2.0, 1.0, 52.0, 0.0, 3.0), 2.828_833_586_945_237, 12);
        near(years(3.0, 2.5, 12.0, -0.72, 5.78), 27.352_920_196_040_3, 10);
    }

    /// D. Bailey and others, Pseudo-Mathematics and Financial Charlatanism (2014), as pypbo computes it.
    #[test]
    fn the_examples_of_the_minimum_backtest_length() {
        near(expected_max(100.0), 2.530_602_893_201_684_6, 12);
        near(min_backtest_years(1.0, 45.0), 4.998_087_004_443_404, 12);
        near(effective_trials(100.0, 0.4), 60.4, 12);
        assert_eq!(expected_max(1.05), Some(0.0));
        assert_eq!((expected_max(1.0), expected_max(0.5), min_backtest_years(0.0, 3.0)), (Some(0.0), None, None));
    }
}
