//! The average true range as a plain function, for what is measured in it: labels, levels.

use super::talib::TaLib;
use crate::series::{Bars, ParamValue, SeriesFunction};
use std::sync::LazyLock;

/// Wilder's average true range, as TA-Lib computes it: NaN on the first `period` bars.
pub(crate) fn atr(high: &[f64], low: &[f64], close: &[f64], period: usize) -> Vec<f64> {
    let mut out = vec![f64::NAN; close.len()];
    let range = |i: usize| {
        let before = close[i - 1];
        (high[i] - low[i]).max((high[i] - before).abs()).max((low[i] - before).abs())
    };
    if close.len() <= period {
        return out;
    }
    let length = period as f64;
    let mut atr = (1..=period).map(range).sum::<f64>() / length;
    out[period] = atr;
    for (i, out) in out.iter_mut().enumerate().skip(period + 1) {
        atr = (atr * (length - 1.0) + range(i)) / length;
        *out = atr;
    }
    out
}

/// How many bars back it looks: as many as the SQL function `atr`.
pub(crate) fn atr_back(period: usize) -> Bars {
    static ATR: LazyLock<Option<TaLib>> = LazyLock::new(|| TaLib::named("ATR"));
    let reach = ATR.as_ref().and_then(|function| {
        let params = function.signature().resolve(&[ParamValue::Int(period as i64)]).ok()?;
        Some(function.reach(&params))
    });
    reach.map_or(Bars::Unbounded, |reach| reach.back)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::series::SeriesCall;
    use arrow::array::{ArrayRef, AsArray, Float64Array};
    use arrow::datatypes::Float64Type;
    use std::sync::Arc;

    #[test]
    fn it_is_the_one_of_talib() {
        let close: Vec<f64> = (0..300).map(|i| 100.0 + 9.0 * (f64::from(i) * 0.37).sin()).collect();
        let high: Vec<f64> = close.iter().enumerate().map(|(i, c)| c + 0.5 + 0.01 * (i % 17) as f64).collect();
        let low: Vec<f64> = close.iter().enumerate().map(|(i, c)| c - 0.7 - 0.02 * (i % 11) as f64).collect();
        let args = [&high, &low, &close].map(|column| Arc::new(Float64Array::from(column.clone())) as ArrayRef);
        for period in [2, 14, 50] {
            let function = TaLib::named("ATR").unwrap();
            let params = function.signature().resolve(&[ParamValue::Int(period as i64)]).unwrap();
            let theirs = SeriesCall::try_new(Arc::new(function), params).unwrap().evaluate(&args, 300).unwrap();
            let ours = atr(&high, &low, &close, period);
            for (row, (ours, theirs)) in ours.iter().zip(theirs.as_primitive::<Float64Type>()).enumerate() {
                let same = theirs.map_or(ours.is_nan(), |theirs| (ours - theirs).abs() <= 1e-12 * theirs);
                assert!(same, "period {period}, row {row}: {ours} {theirs:?}");
            }
        }
    }

    #[test]
    fn its_reach_is_a_number_of_bars() {
        assert!(matches!(atr_back(14), Bars::Count(bars) if bars > 14));
        assert_eq!(atr_back(0), Bars::Unbounded, "no period");
    }
}
