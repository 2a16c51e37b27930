//! The bars that follow a labelled bar.

use crate::candle::Timeframe;
use crate::series::{InputKind, Inputs, NO_TIME};
use crate::series::{OptionDefault, ParamKind, ParamValue, Params, SeriesOption, SeriesSignature};
use datafusion_common::{Result, plan_err};

/// How far a label may look, in bars of its timeframe.
pub(super) const HORIZON: ParamKind = ParamKind::Integer { min: 1, max: 1000 };

const CLOCKS: ParamKind = ParamKind::Choice(&[(0, "bars"), (1, "wall_clock")]);

/// Adds the parameters that say what a horizon is, which [`Clock::of`] reads.
pub(super) fn clock_params(signature: SeriesSignature) -> SeriesSignature {
    signature
        .param("clock", CLOCKS, Some(ParamValue::Int(0)), "Whether a horizon counts bars that exist or hours that pass")
        .param(
            "timeframe",
            ParamKind::Text,
            Some(ParamValue::Text(String::new())),
            "Length of a labelled bar, for the wall clock",
        )
}

/// What a horizon counts.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) enum Clock {
    /// Bars that exist.
    Bars,
    /// Microseconds, per bar of the horizon.
    Wall(i64),
}

impl Clock {
    /// Reads the parameters that [`clock_params`] added, which begin at `first`.
    pub fn of(params: &Params, first: usize) -> Result<Clock> {
        if params.int(first) == 0 {
            return Ok(Clock::Bars);
        }
        match params.text(first + 1) {
            "" => plan_err!("clock 'wall_clock' needs the timeframe of the labelled bars, such as timeframe => '4h'"),
            name => match name.parse::<Timeframe>()?.fixed_length() {
                Some(length) => Ok(Clock::Wall(length)),
                None => plan_err!("clock 'wall_clock' cannot count in '{name}', whose length varies"),
            },
        }
    }
}

/// Whether the path of a call follows from the times at which bars end.
pub(super) fn counts_by_time(params: &Params, first: usize) -> bool {
    params.int(first) == 1
}

/// An optional series that every label takes.
pub(super) fn option(name: &'static str, kind: InputKind, doc: &'static str) -> SeriesOption {
    SeriesOption { name, kind, default: OptionDefault::Nothing, doc, only_for: &[] }
}

/// Which bars are labelled.
pub(super) fn entry() -> SeriesOption {
    option("entry", InputKind::Condition, "bars to label, by default those that end a bar of the label's timeframe")
}

/// Where smaller bars stand for the path, the labelled bar that each lies in.
pub(super) fn label_ts() -> SeriesOption {
    option(
        "label_ts",
        InputKind::Time,
        "where the rows are smaller bars: time of the labelled bar that a row lies in; its last row is labelled",
    )
}

/// The price that a label starts from.
pub(super) fn price() -> SeriesOption {
    option("price", InputKind::Number, "price of a labelled bar, by default its close")
}

/// When each bar ends.
pub(super) fn close_time(only_for: &'static [&'static str]) -> SeriesOption {
    SeriesOption {
        name: "close_time",
        kind: InputKind::Time,
        default: OptionDefault::CloseTime,
        doc: "time at which a bar ends",
        only_for,
    }
}

/// When the labelled bar ends that a row lies in.
pub(super) fn label_end() -> SeriesOption {
    SeriesOption {
        only_for: &["available_at"],
        ..option(
            "label_end",
            InputKind::Time,
            "where the rows are smaller bars: time at which the labelled bar ends that a row lies in; by default its close_time",
        )
    }
}

/// For every bar, which bars its label looks at.
#[derive(Debug)]
pub(super) struct Path<'a> {
    rows: usize,
    horizon: usize,
    /// Whether a labelled bar ends with a row, the number of such ends up to and including it, and the rows of the ends.
    ends: Option<(Vec<bool>, Vec<u32>, Vec<u32>)>,
    /// With a wall clock: the last row within the horizon of each row, and whether the series reaches its end.
    wall: Option<Vec<(u32, bool)>>,
    close_time: Option<&'a [i64]>,
    label_end: Option<&'a [i64]>,
    length: i64,
}

/// Positions of the options that make a path.
#[derive(Debug, Clone, Copy)]
pub(super) struct PathSlots {
    pub label_ts: usize,
    pub close_time: usize,
    pub label_end: usize,
}

impl<'a> Path<'a> {
    /// Reads the options at `slots`.
    pub fn new(inputs: &Inputs<'a>, horizon: usize, clock: Clock, slots: PathSlots) -> Result<Self> {
        let rows = inputs.len();
        let close_time = inputs.optional_time(slots.close_time);
        let label_end = inputs.optional_time(slots.label_end);
        let ends = inputs.optional_time(slots.label_ts).map(|bars| {
            let is_last = |row: usize| bars[row] != NO_TIME && bars.get(row + 1) != Some(&bars[row]);
            let ends: Vec<bool> = (0..rows).map(is_last).collect();
            let mut places = vec![];
            let mut count = 0;
            let counts = ends.iter().enumerate().map(|(row, is_end)| {
                if *is_end {
                    places.push(row as u32);
                    count += 1;
                }
                count
            });
            let counts = counts.collect::<Vec<u32>>();
            (ends, counts, places)
        });
        let (wall, length) = match (clock, close_time) {
            (Clock::Bars, _) => (None, 0),
            (Clock::Wall(length), Some(times)) => (Some(within(times, length * horizon as i64)), length),
            (Clock::Wall(_), None) => {
                return plan_err!(
                    "clock 'wall_clock' needs the time at which bars end: close_time => bar_end(ts, '4h')"
                );
            }
        };
        Ok(Self { rows, horizon, ends, wall, close_time, label_end, length })
    }

    /// The last row that the label of `row` may look at, and whether the horizon ends there.
    #[inline]
    pub fn last(&self, row: usize) -> (usize, bool) {
        if let Some(wall) = &self.wall {
            let (last, complete) = wall[row];
            return (last as usize, complete);
        }
        let end = match &self.ends {
            None => Some(row + self.horizon).filter(|end| *end < self.rows),
            Some((_, counts, places)) => {
                places.get(counts[row] as usize + self.horizon - 1).map(|place| *place as usize)
            }
        };
        (end.unwrap_or(self.rows - 1), end.is_some())
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
            Some((ends, counts, _)) => (counts[to] - counts[from]) as i32 + i32::from(!ends[to]),
        }
    }

    /// Whether a row is labelled when nothing else says so.
    #[inline]
    pub fn is_end(&self, row: usize) -> bool {
        self.ends.as_ref().is_none_or(|(ends, ..)| ends[row])
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
