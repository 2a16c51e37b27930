//! What a call keeps of a series from one bar to the next.

use super::call::SeriesCall;
use super::columns::{Column, valid_rows};
use super::inputs::{InputKind, InputSlice, Inputs, NO_TIME};
use super::output_builder::OutputBuilder;
use super::reach::{Bars, Reach};
use super::signature::SeriesSignature;
use super::standing::Standing;
use arrow::array::ArrayRef;
use arrow::buffer::BooleanBuffer;
use datafusion_common::{Result, internal_err};
use std::ops::Range;

/// More inputs than any function has that stands, and more outputs.
const MOST: usize = 8;

/// The arguments of a call in the rows of a batch, which may belong to many series.
pub struct Arguments<'a> {
    columns: Vec<Column<'a>>,
    /// The rows in which no required one is missing; `None`: all.
    valid: Option<BooleanBuffer>,
    rows: usize,
}

impl Arguments<'_> {
    fn is_valid(&self, row: usize) -> bool {
        self.valid.as_ref().is_none_or(|valid| valid.value(row))
    }
}

/// What a call keeps of one series: the function at its end, or the bars that the next one is computed from.
#[derive(Debug)]
pub struct CallState(State);

#[derive(Debug)]
enum State {
    /// Until there are bars enough for the function to stand.
    Opening(Held),
    Standing(Box<dyn Standing>),
    /// The last bars, so many of which the next one looks at.
    Tail(Held, usize),
}

impl SeriesCall {
    /// What is kept of a series that has no bars yet; `None`: the function cannot be computed bar by bar, since it looks ahead,
    /// or back to the beginning.
    pub fn begin(&self) -> Option<CallState> {
        let held = Held::of(self.function().signature(), self.given())?;
        if self.function().stands_after(self.params()).is_some() {
            return Some(CallState(State::Opening(held)));
        }
        match self.reach() {
            Reach { back: Bars::Count(back), ahead: Bars::Count(0) } if self.neighbours() == Some((back, 0)) => {
                Some(CallState(State::Tail(held, back)))
            }
            _ => None,
        }
    }

    /// The arguments of the rows of a batch; see [`SeriesCall::append`].
    pub fn arguments<'a>(&self, args: &'a [ArrayRef], rows: usize) -> Result<Arguments<'a>> {
        self.check_args(args, rows)?;
        let columns = self.columns(args)?;
        let valid = valid_rows(&columns[..self.function().signature().inputs.len()], rows);
        Ok(Arguments { columns, valid, rows })
    }
}

impl CallState {
    /// Takes the next bars of the series, which are some rows of a batch, and writes what they give into the same rows of `out`,
    /// which has as many as the batch.
    pub fn push(
        &mut self,
        call: &SeriesCall,
        args: &Arguments<'_>,
        rows: Range<usize>,
        out: &mut OutputBuilder,
    ) -> Result<()> {
        let valid = rows.filter(|row| args.is_valid(*row));
        match &mut self.0 {
            State::Standing(standing) => push(standing.as_mut(), call, args, valid, out),
            State::Opening(held) => {
                let new: Vec<usize> = valid.collect();
                new.iter().for_each(|row| held.push(&args.columns, *row));
                let bars = held.bars;
                if call.function().stands_after(call.params()).is_some_and(|first| first <= bars) {
                    let mut dense = OutputBuilder::of_rows(call, bars);
                    let standing = held.of_rows(0..bars, call, |inputs| {
                        call.function().stand(inputs, call.params(), &mut dense.last(bars, call.requested()))
                    })?;
                    out.scatter(&dense, bars - new.len(), &new, args.rows);
                    self.0 = State::Standing(standing);
                }
                Ok(())
            }
            State::Tail(held, back) => {
                let new: Vec<usize> = valid.collect();
                if new.is_empty() {
                    return Ok(());
                }
                let first = held.bars;
                new.iter().for_each(|row| held.push(&args.columns, *row));
                let looked = first.saturating_sub(*back)..held.bars;
                let mut dense = OutputBuilder::of_rows(call, looked.len());
                let from = first - looked.start;
                held.of_rows(looked.clone(), call, |inputs| {
                    let mut cells = dense.last(looked.len(), call.requested()).read_from(from);
                    call.function().evaluate(inputs, call.params(), &mut cells)
                })?;
                out.scatter(&dense, from, &new, args.rows);
                held.trim(*back);
                Ok(())
            }
        }
    }

    /// Another one that goes on from here by itself.
    pub fn fork(&self) -> CallState {
        CallState(match &self.0 {
            State::Opening(held) => State::Opening(held.clone()),
            State::Standing(standing) => State::Standing(standing.fork()),
            State::Tail(held, back) => State::Tail(held.clone(), *back),
        })
    }
}

fn push(
    standing: &mut dyn Standing,
    call: &SeriesCall,
    args: &Arguments<'_>,
    rows: impl Iterator<Item = usize>,
    out: &mut OutputBuilder,
) -> Result<()> {
    let signature = call.function().signature();
    let outputs = signature.outputs.len();
    if args.columns.len() > MOST || outputs > MOST {
        return internal_err!("{} has more inputs or outputs than a function that stands may have", signature.name);
    }
    let (mut bar, mut values) = ([0.0; MOST], [f64::NAN; MOST]);
    for row in rows {
        let mut count = 0;
        for column in &args.columns {
            bar[count] = match column {
                Column::Number(numbers, _) => numbers[row],
                Column::Condition(conditions, _) => f64::from(u8::from(conditions[row])),
                Column::Time(times, _) if times[row] == NO_TIME => f64::NAN,
                Column::Time(times, _) => times[row] as f64,
                Column::Levels(_) | Column::SmallerBars(_) | Column::Absent => continue,
            };
            count += 1;
        }
        standing.push(&bar[..count], &mut values[..outputs])?;
        out.put(args.rows, row, &values[..outputs]);
    }
    Ok(())
}

/// Bars of a series, by argument.
#[derive(Debug, Clone)]
struct Held {
    columns: Vec<HeldColumn>,
    bars: usize,
}

#[derive(Debug, Clone)]
enum HeldColumn {
    Number(Vec<f64>),
    Condition(Vec<bool>),
    Time(Vec<i64>),
    Absent,
}

impl Held {
    /// No bars yet; `None`: they have lists, which are not held.
    fn of(signature: &SeriesSignature, given: &[bool]) -> Option<Held> {
        let column = |kind: InputKind| match kind {
            InputKind::Number => Some(HeldColumn::Number(vec![])),
            InputKind::Condition => Some(HeldColumn::Condition(vec![])),
            InputKind::Time => Some(HeldColumn::Time(vec![])),
            InputKind::Levels | InputKind::SmallerBars => None,
        };
        let required = signature.inputs.iter().map(|input| column(input.kind));
        let optional = signature.options.iter().zip(given);
        let optional =
            optional.map(|(option, given)| if *given { column(option.kind) } else { Some(HeldColumn::Absent) });
        Some(Held { columns: required.chain(optional).collect::<Option<_>>()?, bars: 0 })
    }

    fn push(&mut self, columns: &[Column<'_>], row: usize) {
        for (held, column) in self.columns.iter_mut().zip(columns) {
            match (held, column) {
                (HeldColumn::Number(held), Column::Number(values, _)) => held.push(values[row]),
                (HeldColumn::Condition(held), Column::Condition(values, _)) => held.push(values[row]),
                (HeldColumn::Time(held), Column::Time(values, _)) => held.push(values[row]),
                _ => {}
            }
        }
        self.bars += 1;
    }

    /// Some of the bars, handed to `of`.
    fn of_rows<'s, T>(&'s self, rows: Range<usize>, call: &SeriesCall, of: impl FnOnce(&Inputs<'_>) -> T) -> T {
        let slice = |column: &'s HeldColumn| match column {
            HeldColumn::Number(held) => InputSlice::Number(&held[rows.clone()]),
            HeldColumn::Condition(held) => InputSlice::Condition(&held[rows.clone()]),
            HeldColumn::Time(held) => InputSlice::Time(&held[rows.clone()]),
            HeldColumn::Absent => InputSlice::Absent,
        };
        let slices: Vec<_> = self.columns.iter().map(slice).collect();
        let (required, optional) = slices.split_at(call.function().signature().inputs.len());
        of(&Inputs::new(required, optional, rows.len()))
    }

    /// Forgets all but so many of the newest bars; not each time, since these have to be moved for it.
    fn trim(&mut self, kept: usize) {
        if self.bars < 2 * kept + 32 {
            return;
        }
        let over = self.bars - kept;
        for column in &mut self.columns {
            match column {
                HeldColumn::Number(held) => drop(held.drain(..over)),
                HeldColumn::Condition(held) => drop(held.drain(..over)),
                HeldColumn::Time(held) => drop(held.drain(..over)),
                HeldColumn::Absent => {}
            }
        }
        self.bars = kept;
    }
}
