//! Running sums that can start anew with every session, week, month or year.

use super::talib::TaLib;
use crate::calendar::Anchor;
use crate::series::{
    InputSlice, Inputs, OptionDefault, Optional, OutputSlice, Outputs, Param, Params, Reach, SeriesFunction,
    SeriesSignature, Standing, Text, Time,
};
use datafusion_common::{Result, plan_err};
use std::sync::Arc;

/// The functions, by TA-Lib's names.
const RUNNING: [&str; 3] = ["CUMSUM", "OBV", "VWAP"];
/// The parameter that says where they start anew.
const ANCHOR: &str = "anchor";

/// A running sum of TA-Lib.
#[derive(Debug)]
pub(super) struct Anchored {
    sum: Arc<TaLib>,
    signature: SeriesSignature,
    anchor: Param<Text>,
    origin: Param<Text>,
    ts: Optional<Time>,
}

impl Anchored {
    /// The functions.
    pub fn all() -> impl Iterator<Item = Anchored> {
        RUNNING.into_iter().filter_map(TaLib::named).map(Anchored::new)
    }

    /// Whether a function of TA-Lib is one of them.
    pub fn has(name: &str) -> bool {
        RUNNING.contains(&name)
    }

    fn new(sum: TaLib) -> Self {
        let mut signature = sum.signature().clone();
        let anchor = signature.text(
            ANCHOR,
            Some("none"),
            "Where the sum starts anew: none, or with every session, week, month or year",
        );
        let origin = signature.text(
            "origin",
            Some("utc"),
            "Where a session day begins: utc, forex_utc1, ny_17 or session:HH:MM@Zone",
        );
        let ts = signature.option_for("ts", OptionDefault::TimeWith(ANCHOR), &[], "time of a bar, for an anchor");
        Self { sum: Arc::new(sum), signature, anchor, origin, ts }
    }

    fn anchor(&self, params: &Params) -> Result<Option<Anchor>> {
        Anchor::parse(params.get(self.anchor), params.get(self.origin))
    }
}

impl SeriesFunction for Anchored {
    fn signature(&self) -> &SeriesSignature {
        &self.signature
    }

    fn reach(&self, params: &Params) -> Reach {
        match self.anchor(params) {
            Ok(Some(anchor)) => Reach::since(anchor),
            _ => self.sum.reach(params),
        }
    }

    fn is_total(&self) -> bool {
        self.sum.is_total()
    }

    fn check(&self, params: &Params) -> Result<()> {
        self.anchor(params).map(|_| ())
    }

    fn evaluate(&self, inputs: &Inputs<'_>, params: &Params, outputs: &mut Outputs<'_>) -> Result<()> {
        let Some(anchor) = self.anchor(params)? else { return self.sum.evaluate(inputs, params, outputs) };
        let Some(times) = inputs.optional(self.ts) else {
            return plan_err!("{}: an anchor needs the times of the bars: add ts => ..", self.signature.name);
        };
        for rows in anchor.runs(times) {
            let mut cells = outputs.at(&rows);
            inputs.at(rows, |inputs| self.sum.evaluate(inputs, params, &mut cells))?;
        }
        Ok(())
    }

    fn stands_after(&self, params: &Params) -> Option<usize> {
        self.sum.stands_after(params)
    }

    fn stand(&self, inputs: &Inputs<'_>, params: &Params, outputs: &mut Outputs<'_>) -> Result<Box<dyn Standing>> {
        let Some(anchor) = self.anchor(params)? else { return self.sum.stand(inputs, params, outputs) };
        self.evaluate(inputs, params, outputs)?;
        let times = inputs.optional(self.ts).unwrap_or_default();
        let (Some(last), Some(ts)) = (anchor.runs(times).pop(), times.last()) else {
            return plan_err!("{}: an anchor needs the times of the bars: add ts => ..", self.signature.name);
        };
        let mut cells = outputs.at(&last);
        let running = inputs.at(last, |inputs| self.sum.stand(inputs, params, &mut cells))?;
        let (sum, params) = (Arc::clone(&self.sum), params.clone());
        Ok(Box::new(Since { sum, params, anchor, until: anchor.around(*ts).end, running }))
    }
}

/// A sum in the course of its period.
#[derive(Debug)]
struct Since {
    sum: Arc<TaLib>,
    params: Params,
    anchor: Anchor,
    /// When the period ends.
    until: i64,
    running: Box<dyn Standing>,
}

impl Standing for Since {
    fn push(&mut self, bar: &[f64], values: &mut [f64]) -> Result<()> {
        let Some((ts, bar)) = bar.split_last().map(|(ts, bar)| (*ts as i64, bar)) else { return Ok(()) };
        if ts < self.until {
            return self.running.push(bar, values);
        }
        let inputs: Vec<_> = bar.iter().map(|value| InputSlice::Number(std::slice::from_ref(value))).collect();
        let outputs = values.iter_mut().map(|value| OutputSlice::Float(std::slice::from_mut(value)));
        let mut outputs = Outputs::new(outputs.collect());
        self.running = self.sum.stand(&Inputs::new(&inputs, &[], 1), &self.params, &mut outputs)?;
        self.until = self.anchor.around(ts).end;
        Ok(())
    }

    fn fork(&self) -> Box<dyn Standing> {
        let (sum, params, running) = (Arc::clone(&self.sum), self.params.clone(), self.running.fork());
        Box::new(Since { sum, params, anchor: self.anchor, until: self.until, running })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::series::{ParamValue, SeriesCall};
    use arrow::array::{ArrayRef, AsArray, Float64Array, TimestampMicrosecondArray};
    use arrow::datatypes::Float64Type;
    use std::sync::Arc;

    #[test]
    fn a_sum_starts_anew_with_its_period() {
        const DAY: i64 = 86_400_000_000;
        let numbers = |values: &[f64]| Arc::new(Float64Array::from(values.to_vec())) as ArrayRef;
        let times = [364 * DAY, 365 * DAY, 366 * DAY, 367 * DAY];
        let times: ArrayRef = Arc::new(TimestampMicrosecondArray::from(times.to_vec()).with_timezone("UTC"));
        let of = |name: &str, args: &[ArrayRef]| {
            let function = Anchored::new(TaLib::named(name).unwrap());
            let params = function.signature().resolve(&[ParamValue::Text("year".to_string())]).unwrap();
            let call = SeriesCall::try_new(Arc::new(function), params).unwrap().with_options(vec![true]);
            call.evaluate(args, 4).unwrap().as_primitive::<Float64Type>().values().to_vec()
        };
        let values = numbers(&[1.0, 2.0, 3.0, 4.0]);
        assert_eq!(of("CUMSUM", &[Arc::clone(&values), Arc::clone(&times)]), [1.0, 2.0, 5.0, 9.0]);
        let (closes, volumes) = (numbers(&[5.0, 6.0, 5.0, 7.0]), numbers(&[10.0, 20.0, 30.0, 40.0]));
        assert_eq!(of("OBV", &[closes, volumes, times]), [10.0, 20.0, -10.0, 30.0]);
    }
}
