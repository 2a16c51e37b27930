//! `session_vwap(ts, high, low, close, volume, origin)`.

use super::CANDLES;
use crate::calendar::{Anchor, Grid, Origin, Timeframe};
use crate::series::{
    Input, Inputs, NO_TIME, Number, Output, Outputs, Param, Params, Reach, SeriesFunction, SeriesSignature, Standing,
    Text, Time,
};
use datafusion_common::Result;

/// Volume-weighted average price since the session began.
#[derive(Debug)]
pub(super) struct SessionVwap {
    signature: SeriesSignature,
    ts: Input<Time>,
    high: Input<Number>,
    low: Input<Number>,
    close: Input<Number>,
    volume: Input<Number>,
    origin: Param<Text>,
    vwap: Output<f64>,
}

impl SessionVwap {
    pub fn new() -> Self {
        let mut signature = SeriesSignature::new(
            "session_vwap",
            CANDLES,
            "Average of the typical price (high + low + close) / 3 weighted by volume since the session day began; null \
             until it has volume",
            "",
        );
        Self {
            ts: signature.input("ts", Some("ts")),
            high: signature.input("high", Some("high")),
            low: signature.input("low", Some("low")),
            close: signature.input("close", Some("close")),
            volume: signature.input("volume", Some("volume")),
            origin: signature.text(
                "origin",
                Some("utc"),
                "Where a day begins: utc, forex_utc1, ny_17 or session:HH:MM@Zone",
            ),
            vwap: signature.output("vwap"),
            signature,
        }
    }
}

impl SeriesFunction for SessionVwap {
    fn signature(&self) -> &SeriesSignature {
        &self.signature
    }

    fn reach(&self, params: &Params) -> Reach {
        let origin = params.get(self.origin).parse::<Origin>();
        origin.map_or(Reach::history(), |origin| Reach::since(Anchor::session(origin)))
    }

    fn check(&self, params: &Params) -> Result<()> {
        params.get(self.origin).parse::<Origin>().map(|_| ())
    }

    fn evaluate(&self, inputs: &Inputs<'_>, params: &Params, outputs: &mut Outputs<'_>) -> Result<()> {
        self.averages(inputs, params, outputs).map(|_| ())
    }

    fn stands_after(&self, _: &Params) -> Option<usize> {
        Some(1)
    }

    fn stand(&self, inputs: &Inputs<'_>, params: &Params, outputs: &mut Outputs<'_>) -> Result<Box<dyn Standing>> {
        Ok(Box::new(self.averages(inputs, params, outputs)?))
    }
}

impl SessionVwap {
    /// Writes the averages, and is what the next bar is added to.
    fn averages(&self, inputs: &Inputs<'_>, params: &Params, outputs: &mut Outputs<'_>) -> Result<Average> {
        let mut average = Average::new(Grid::new(Timeframe::Day, params.get(self.origin).parse()?));
        let times = inputs.get(self.ts);
        let [high, low, close] = [self.high, self.low, self.close].map(|price| inputs.get(price));
        let volume = inputs.get(self.volume);
        let mut out = outputs.get(self.vwap);
        for i in 0..times.len() {
            let value = average.add(times[i], [high[i], low[i], close[i]], volume[i]);
            if let Some(out) = &mut out {
                out[i] = value;
            }
        }
        Ok(average)
    }
}

/// The average in the course of a session.
#[derive(Debug, Clone)]
struct Average {
    days: Grid,
    /// When the session ends.
    until: i64,
    value: f64,
    weight: f64,
}

impl Average {
    fn new(days: Grid) -> Self {
        Self { days, until: NO_TIME, value: 0.0, weight: 0.0 }
    }

    fn add(&mut self, ts: i64, [high, low, close]: [f64; 3], volume: f64) -> f64 {
        if ts >= self.until {
            (self.until, self.value, self.weight) = (self.days.bar(ts).1, 0.0, 0.0);
        }
        self.value += (high + low + close) / 3.0 * volume;
        self.weight += volume;
        self.value / self.weight
    }
}

impl Standing for Average {
    fn push(&mut self, bar: &[f64], values: &mut [f64]) -> Result<()> {
        if let &[ts, high, low, close, volume] = bar {
            values[0] = self.add(ts as i64, [high, low, close], volume);
        }
        Ok(())
    }

    fn fork(&self) -> Box<dyn Standing> {
        Box::new(self.clone())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn starts_anew_with_the_day_and_needs_volume() {
        const DAY: i64 = 86_400_000_000;
        let mut average = Average::new(Grid::new(Timeframe::Day, "utc".parse().unwrap()));
        let bars = [(0, 1.0, 1.0), (1, 2.0, 3.0), (DAY, 5.0, 0.0), (DAY + 1, 6.0, 2.0)];
        let out = bars.map(|(ts, price, volume)| average.add(ts, [price; 3], volume));
        assert_eq!(out[..2], [1.0, 1.75]);
        assert!(out[2].is_nan());
        assert_eq!(out[3], 6.0);
    }
}
