//! `session_vwap(ts, high, low, close, volume, origin)`.

use super::CANDLES;
use crate::calendar::{Anchor, Grid, Origin, Timeframe};
use crate::series::{
    Input, Inputs, Number, Output, Outputs, Param, Params, Reach, SeriesFunction, SeriesSignature, Text, Time,
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
        if let Some(out) = outputs.get(self.vwap) {
            let days = Grid::new(Timeframe::Day, params.get(self.origin).parse()?).floor(inputs.get(self.ts));
            let prices = [self.high, self.low, self.close].map(|price| inputs.get(price));
            session_vwap(&days, prices, inputs.get(self.volume), out);
        }
        Ok(())
    }
}

fn session_vwap(days: &[i64], [high, low, close]: [&[f64]; 3], volume: &[f64], out: &mut [f64]) {
    let (mut value, mut weight) = (0.0, 0.0);
    for i in 0..days.len() {
        if i > 0 && days[i] != days[i - 1] {
            (value, weight) = (0.0, 0.0);
        }
        value += (high[i] + low[i] + close[i]) / 3.0 * volume[i];
        weight += volume[i];
        out[i] = value / weight;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn starts_anew_with_the_day_and_needs_volume() {
        let price: &[f64] = &[1.0, 2.0, 5.0, 6.0];
        let mut out = [0.0; 4];
        session_vwap(&[0, 0, 1, 1], [price, price, price], &[1.0, 3.0, 0.0, 2.0], &mut out);
        assert_eq!(out[..2], [1.0, 1.75]);
        assert!(out[2].is_nan());
        assert_eq!(out[3], 6.0);
    }
}
