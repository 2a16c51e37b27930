//! The bars that follow a labelled bar.

use crate::calendar::Timeframe;
use crate::series::{
    Bars, Choice, Condition, Input, Inputs, NO_TIME, Number, OptionDefault, Optional, Param, Params, SeriesSignature,
    Text, Time,
};
use datafusion_common::{Result, plan_err};

/// The bars that make the path: high, low and close.
#[derive(Debug, Clone, Copy)]
pub(super) struct BarInputs {
    high: Input<Number>,
    low: Input<Number>,
    close: Input<Number>,
}

/// High, low and close of each bar.
#[derive(Debug, Clone, Copy)]
pub(super) struct Candles<'a> {
    pub high: &'a [f64],
    pub low: &'a [f64],
    pub close: &'a [f64],
}

impl BarInputs {
    pub fn declare(signature: &mut SeriesSignature) -> Self {
        Self {
            high: signature.input("high", Some("high")),
            low: signature.input("low", Some("low")),
            close: signature.input("close", Some("close")),
        }
    }

    pub fn read<'a>(&self, inputs: &Inputs<'a>) -> Candles<'a> {
        Candles { high: inputs.get(self.high), low: inputs.get(self.low), close: inputs.get(self.close) }
    }
}

/// How far a label looks, in bars of its timeframe.
pub(super) fn horizon(signature: &mut SeriesSignature) -> Param<usize> {
    signature.integer("horizon", 1..=1000, Some(6), "How far to look, in bars")
}

/// What a horizon counts, as it is given.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Counting {
    Bars,
    WallClock,
}

impl Choice for Counting {
    const NAMES: &'static [(Self, &'static str)] = &[(Counting::Bars, "bars"), (Counting::WallClock, "wall_clock")];
}

/// The parameters that say what a horizon counts.
#[derive(Debug, Clone, Copy)]
pub(super) struct ClockParams {
    counting: Param<Counting>,
    timeframe: Param<Text>,
}

/// What a horizon counts.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Clock {
    /// Bars that exist.
    Bars,
    /// Microseconds, per bar of the horizon.
    Wall(i64),
}

impl ClockParams {
    pub fn declare(signature: &mut SeriesSignature) -> Self {
        Self {
            counting: signature.choice(
                "clock",
                Counting::Bars,
                "Whether a horizon counts bars that exist or hours that pass",
            ),
            timeframe: signature.text("timeframe", Some(""), "Length of a labelled bar, for the wall clock"),
        }
    }

    fn read(&self, params: &Params) -> Result<Clock> {
        if params.get(self.counting) == Counting::Bars {
            return Ok(Clock::Bars);
        }
        match params.get(self.timeframe) {
            "" => plan_err!("clock 'wall_clock' needs the timeframe of the labelled bars, such as timeframe => '4h'"),
            name => match name.parse::<Timeframe>()?.fixed_length() {
                Some(length) => Ok(Clock::Wall(length)),
                None => plan_err!("clock 'wall_clock' cannot count in '{name}', whose length varies"),
            },
        }
    }
}

/// The price that a label starts from.
pub(super) fn price(signature: &mut SeriesSignature) -> Optional<Number> {
    signature.option("price", "price of a labelled bar, by default its close")
}

/// Which bars are labelled.
pub(super) fn entry(signature: &mut SeriesSignature) -> Optional<Condition> {
    signature.option("entry", "bars to label, by default those that end a bar of the label's timeframe")
}

/// Where smaller bars stand for the path, the labelled bar that each lies in.
pub(super) fn label_ts(signature: &mut SeriesSignature) -> Optional<Time> {
    signature.option(
        "label_ts",
        "where the rows are smaller bars: time of the labelled bar that a row lies in; its last row is labelled",
    )
}

/// When each bar ends.
pub(super) fn close_time(signature: &mut SeriesSignature) -> Optional<Time> {
    signature.option_for(CLOSE_TIME, OptionDefault::CloseTime, &["available_at"], "time at which a bar ends")
}

const CLOSE_TIME: &str = "close_time";

/// When the labelled bar ends that a row lies in.
pub(super) fn label_end(signature: &mut SeriesSignature) -> Optional<Time> {
    signature.option_for(
        "label_end",
        OptionDefault::Nothing,
        &["available_at"],
        "where the rows are smaller bars: time at which the labelled bar ends that a row lies in; by default its close_time",
    )
}

/// The arguments that a path is read from.
#[derive(Debug, Clone, Copy)]
pub(super) struct PathArgs {
    pub horizon: Param<usize>,
    pub clock: ClockParams,
    pub label_ts: Optional<Time>,
    pub close_time: Optional<Time>,
    pub label_end: Optional<Time>,
}

impl PathArgs {
    /// Whether the clock can count.
    pub fn check(&self, params: &Params) -> Result<()> {
        self.clock.read(params).map(|_| ())
    }

    /// By the wall clock every label follows from the times at which bars end.
    pub fn always_uses(&self, option: &str, params: &Params) -> bool {
        option == CLOSE_TIME && params.get(self.clock.counting) == Counting::WallClock
    }

    /// How far the path goes.
    pub fn ahead(&self, params: &Params) -> Bars {
        Bars::Count(params.get(self.horizon))
    }

    pub fn read<'a>(&self, inputs: &Inputs<'a>, params: &Params) -> Result<Path<'a>> {
        let (horizon, clock) = (params.get(self.horizon), self.clock.read(params)?);
        let close_time = inputs.optional(self.close_time);
        let (wall, length) = match (clock, close_time) {
            (Clock::Bars, _) => (None, 0),
            (Clock::Wall(length), Some(times)) => (Some(within(times, length * horizon as i64)), length),
            (Clock::Wall(_), None) => {
                return plan_err!(
                    "clock 'wall_clock' needs the time at which bars end: close_time => bar_end(ts, '4h')"
                );
            }
        };
        Ok(Path {
            rows: inputs.len(),
            horizon,
            ends: inputs.optional(self.label_ts).map(Ends::of),
            wall,
            close_time,
            label_end: inputs.optional(self.label_end),
            length,
        })
    }
}

/// For every bar, which bars its label looks at.
#[derive(Debug)]
pub(super) struct Path<'a> {
    rows: usize,
    horizon: usize,
    /// Where smaller bars stand for the path: where the labelled bars end.
    ends: Option<Ends>,
    /// With a wall clock: the last row within the horizon of each row, and whether the series reaches its end.
    wall: Option<Vec<(u32, bool)>>,
    close_time: Option<&'a [i64]>,
    label_end: Option<&'a [i64]>,
    length: i64,
}

/// The rows with which labelled bars end.
#[derive(Debug)]
struct Ends {
    /// Whether one ends with a row.
    is_end: Vec<bool>,
    /// How many end up to and including a row.
    counts: Vec<u32>,
    /// The rows with which they end.
    rows: Vec<u32>,
}

impl Ends {
    /// Of the times of the labelled bars that rows lie in.
    fn of(times: &[i64]) -> Self {
        let is_last = |row: usize| times[row] != NO_TIME && times.get(row + 1) != Some(&times[row]);
        let is_end: Vec<bool> = (0..times.len()).map(is_last).collect();
        let mut rows = vec![];
        let mut counts = Vec::with_capacity(times.len());
        for (row, is_end) in is_end.iter().enumerate() {
            if *is_end {
                rows.push(row as u32);
            }
            counts.push(rows.len() as u32);
        }
        Self { is_end, counts, rows }
    }
}

impl Path<'_> {
    /// The last row that the label of `row` may look at, and whether the horizon ends there.
    #[inline]
    pub fn last(&self, row: usize) -> (usize, bool) {
        if let Some(wall) = &self.wall {
            let (last, complete) = wall[row];
            return (last as usize, complete);
        }
        let end = match &self.ends {
            None => Some(row + self.horizon).filter(|end| *end < self.rows),
            Some(ends) => ends.rows.get(ends.counts[row] as usize + self.horizon - 1).map(|end| *end as usize),
        };
        (end.unwrap_or(self.rows - 1), end.is_some())
    }

    /// How many rows the horizon is, where that is the same for all.
    pub fn horizon_in_rows(&self) -> Option<usize> {
        (self.ends.is_none() && self.wall.is_none()).then_some(self.horizon)
    }

    /// The row whose price is that at the end of the horizon. By the wall clock there may be none: the market is closed.
    #[inline]
    pub fn target(&self, row: usize) -> Option<usize> {
        let (last, complete) = self.last(row);
        match (complete, &self.wall, self.close_time) {
            (false, ..) => None,
            (true, None, _) => Some(last),
            (true, Some(_), times) => {
                let times = times?;
                (times[last] == times[row] + self.length * self.horizon as i64).then_some(last)
            }
        }
    }

    /// Bars of the label's timeframe from `from` to `to`; one that has begun counts.
    #[inline]
    pub fn bars(&self, from: usize, to: usize) -> i32 {
        match &self.ends {
            None => (to - from) as i32,
            Some(ends) => (ends.counts[to] - ends.counts[from]) as i32 + i32::from(!ends.is_end[to]),
        }
    }

    /// Whether a row is labelled when nothing else says so.
    #[inline]
    pub fn is_end(&self, row: usize) -> bool {
        self.ends.as_ref().is_none_or(|ends| ends.is_end[row])
    }

    /// When the horizon of `row` has ended, whose last row is `last`. By the wall clock that is when its time has passed,
    /// not when the last bar ended: that no other bar would follow was not known before.
    #[inline]
    pub fn end_time(&self, row: usize, last: usize) -> Option<i64> {
        if self.wall.is_some() {
            return self.close_time(row).map(|time| time + self.length * self.horizon as i64);
        }
        let known = self.label_end.map(|times| times[last]).filter(|time| *time != NO_TIME);
        known.or_else(|| self.close_time(last))
    }

    /// When a row's bar ends.
    #[inline]
    pub fn close_time(&self, row: usize) -> Option<i64> {
        self.close_time.map(|times| times[row])
    }
}

/// For every row, the last one that ends no later than `span` after it, and whether the series goes on that long.
fn within(times: &[i64], span: i64) -> Vec<(u32, bool)> {
    let newest = times.last().copied().unwrap_or_default();
    let mut last = 0;
    times
        .iter()
        .enumerate()
        .map(|(row, time)| {
            last = last.max(row);
            while last + 1 < times.len() && times[last + 1] <= time + span {
                last += 1;
            }
            (last as u32, newest >= time + span)
        })
        .collect()
}
