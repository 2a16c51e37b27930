//! Does a query look into the future? Told twice: from its plan, and by trying.
//!
//! The trial computes the query over everything, and again over what was known at several instants of the past. A value
//! of a bar that had ended by then must come out the same; where it does not, it depends on what came later.

use super::bounds::{known_at, tables_of};
use super::control::Control;
use super::formulas;
use super::named::NamedQueries;
use crate::Session;
use arrow::array::{Array, ArrayRef, AsArray, Float64Array, RecordBatch, StringArray};
use arrow::compute::cast;
use arrow::datatypes::{DataType, Float64Type, TimestampMicrosecondType};
use arrow::util::display::{ArrayFormatter, FormatOptions};
use datafusion::common::Column;
use datafusion::logical_expr::{Expr, LogicalPlan, LogicalPlanBuilder, lit};
use datafusion::prelude::DataFrame;
use futures::StreamExt;
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::fmt::{Display, Formatter};
use std::sync::Arc;
use tallow_common::{Error, Result};
use tallow_engine::dialect::Params;
use tallow_engine::reach::{Sources, reach};
use tallow_udfs::candle::{Grid, Origin, Timeframe};
use tallow_udfs::series::{Bars, InputKind};

/// How much is tried.
#[derive(Debug, Clone)]
pub struct CheckOptions {
    /// Instants at which the past is seen again, spread over the history.
    pub cuts: usize,
    /// Symbols whose rows are compared; the query itself runs over all.
    pub symbols: usize,
    /// Length of the result's bars, by default the longest of the tables read that fits its times.
    pub timeframe: Option<Timeframe>,
}

impl Default for CheckOptions {
    fn default() -> Self {
        Self { cuts: 8, symbols: 100, timeframe: None }
    }
}

/// What was found out about a column.
#[derive(Debug, Clone, PartialEq)]
pub struct ColumnCheck {
    /// The column, or the field of a struct as `column.field`; `(which rows)` for the choice of rows.
    pub name: String,
    /// How far the plan says that it looks ahead.
    pub declared: Bars,
    /// Values that were compared.
    pub compared: u64,
    /// How many of them changed.
    pub changed: u64,
    /// The first row that changed: symbol and time.
    pub first: Option<(String, i64)>,
    /// At least so many bars ahead lay what changed it.
    pub looked: u64,
}

/// What is to be thought of a column.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// It does not look ahead.
    Clean,
    /// The plan does not tell, and nothing changed in the trial.
    Unproven,
    /// It looks ahead.
    Leak,
}

impl Display for Verdict {
    fn fmt(&self, f: &mut Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Verdict::Clean => "clean",
            Verdict::Unproven => "unproven",
            Verdict::Leak => "LEAK",
        })
    }
}

impl ColumnCheck {
    /// The judgement.
    pub fn verdict(&self) -> Verdict {
        match self.declared {
            _ if self.changed > 0 => Verdict::Leak,
            Bars::Count(0) => Verdict::Clean,
            Bars::Count(_) => Verdict::Leak,
            Bars::Unbounded => Verdict::Unproven,
        }
    }
}

/// What was found out about a query.
#[derive(Debug, Clone, PartialEq)]
pub struct CheckReport {
    /// Every column, then the choice of rows.
    pub columns: Vec<ColumnCheck>,
    /// The instants that were tried, in microseconds.
    pub cuts: Vec<i64>,
    /// Length and origin of the result's bars, where they are known.
    pub bars: Option<(String, String)>,
    /// Whether the query yields only the newest bar of each symbol, so that there was nothing to compare.
    pub newest_only: bool,
}

impl CheckReport {
    /// Whether anything looks ahead.
    pub fn leaks(&self) -> bool {
        !self.leaking().is_empty()
    }

    /// The columns that look ahead.
    pub fn leaking(&self) -> Vec<&str> {
        self.columns.iter().filter(|c| c.verdict() == Verdict::Leak).map(|c| c.name.as_str()).collect()
    }
}

/// Name under which the choice of rows is reported.
const ROWS: &str = "(which rows)";
/// Relative difference, by the column's largest value, that rounding may leave.
const TOLERANCE: f64 = 1e-9;

/// A query to check.
#[derive(Debug, Clone, Default)]
pub struct Check {
    /// One statement; a text that is none is an expression over `candles`.
    pub text: String,
    /// Values for `:name` in it.
    pub params: Params,
    /// How much is tried.
    pub options: CheckOptions,
}

impl Check {
    /// The check of a named query, of a formula that the lake keeps, or else of the text itself.
    ///
    /// # Errors
    /// A parameter that the query does not have, or one that it needs is not given.
    pub async fn resolve(session: &Session, queries: &NamedQueries, text: &str, given: &Params) -> Result<Check> {
        let options = CheckOptions::default();
        if let Some(query) = queries.get(text.trim()) {
            return Ok(Check { text: query.sql.clone(), params: query.complete(given)?, options });
        }
        let stored = formulas::find(session, text).await?;
        let text = stored.map_or_else(|| text.to_string(), |stored| stored.formula);
        Ok(Check { text, params: given.clone(), options })
    }

    /// Checks it.
    ///
    /// # Errors
    /// It cannot be run, or its result is not about bars; or the check was stopped.
    pub async fn run(&self, session: &Session, control: &Control) -> Result<CheckReport> {
        let checked = check(session, &self.text, &self.params, &self.options);
        control.limit(&session.engine().clock()?, checked).await
    }
}

async fn check(session: &Session, text: &str, params: &Params, options: &CheckOptions) -> Result<CheckReport> {
    let statement = match first_word(text).as_str() {
        "" => {
            return Err(Error::invalid(
                "there is nothing to check: give a query, its name, or an expression".to_string(),
            ));
        }
        "select" | "with" | "values" => text.to_string(),
        _ => format!("select symbol, ts, ({text}) as value from candles"),
    };
    let frame = session.sql_with(&statement, params).await?;
    let (state, plan) = frame.into_parts();
    let plan = without_limit(plan)?;
    let declared = reach(&session.optimized(&plan).await?);
    let schema = plan.schema();
    if !schema.fields().iter().any(|f| f.name() == "ts") {
        return Err(Error::invalid(
            "check needs a column `ts` in the result, the time of the bar that a row is about; it may be added to the query"
                .to_string(),
        ));
    }
    let tables = Arc::new(tables_of(session, &plan).await?);
    let run = |plan: LogicalPlan| DataFrame::new(state.clone(), plan);
    let sample = sample(session, &tables, options.symbols).await?;
    let mut whole = Rows::collect(session, run(only(plan.clone(), sample.as_ref())?), sample).await?;
    if whole.keys.is_empty() && whole.symbols.is_some() {
        // The query is about symbols that are not in the sample.
        whole = Rows::collect(session, run(plan.clone()), None).await?;
    }
    let bars = match options.timeframe {
        Some(timeframe) => {
            let known = tables.values().flatten().find(|(t, _)| *t == timeframe.to_string());
            Some((timeframe.to_string(), known.map_or_else(|| "utc".to_string(), |(_, origin)| origin.clone())))
        }
        None => fitting(&whole, tables.values().flatten()),
    };
    let grid = match &bars {
        Some((timeframe, origin)) => Some(Grid::new(timeframe.parse()?, origin.parse::<Origin>()?)),
        None => None,
    };
    let cuts = cuts(session, &tables, &whole, grid, options.cuts).await?;
    let mut trial = Trial::new(&whole, grid);
    for &cut in &cuts {
        let seen = known_at(session, plan.clone(), &tables, cut)?;
        let part = Rows::collect(session, run(only(seen, whole.symbols.as_ref())?), None).await?;
        trial.compare(&part, cut);
    }
    let mut columns: Vec<ColumnCheck> = vec![];
    for (i, name) in whole.names.iter().enumerate() {
        let of = name.split('.').next().unwrap_or(name);
        let exact = declared.columns.iter().find(|(n, _)| n == name);
        let source =
            exact.or_else(|| declared.columns.iter().find(|(n, _)| n == of || name.starts_with(&format!("{n}."))));
        columns.push(trial.column(i, name, source.map(|(_, s)| s)));
    }
    let newest_only = trial.is_newest_only();
    columns.push(trial.rows(&declared.rows, newest_only));
    Ok(CheckReport { columns, cuts, bars, newest_only })
}

/// The first word of a text, comments and parentheses left out.
pub fn first_word(text: &str) -> String {
    let mut rest = text.trim_start_matches(|c: char| c.is_whitespace() || c == '(');
    loop {
        let after = match (rest.strip_prefix("--"), rest.strip_prefix("/*")) {
            (Some(line), _) => line.split_once('\n').map_or("", |(_, after)| after),
            (_, Some(comment)) => comment.split_once("*/").map_or("", |(_, after)| after),
            _ => break,
        };
        rest = after.trim_start_matches(|c: char| c.is_whitespace() || c == '(');
    }
    rest.split(|c: char| !c.is_alphanumeric() && c != '_').next().unwrap_or_default().to_ascii_lowercase()
}

/// The plan without what only shortens or orders the result.
fn without_limit(plan: LogicalPlan) -> Result<LogicalPlan> {
    match &plan {
        LogicalPlan::Limit(_) | LogicalPlan::Sort(_) => {
            let input = plan.inputs().first().map(|p| (*p).clone());
            input.map_or(Ok(plan), without_limit)
        }
        _ => Ok(plan),
    }
}

/// The longest of the bars that all times of a result begin.
fn fitting<'a>(rows: &Rows, bars: impl Iterator<Item = &'a (String, String)>) -> Option<(String, String)> {
    let times: Vec<i64> = rows.keys.iter().map(|(_, ts)| *ts).collect();
    let mut all: Vec<(Timeframe, &(String, String))> =
        bars.filter_map(|b| b.0.parse::<Timeframe>().ok().map(|t| (t, b))).collect();
    all.sort_by_key(|(timeframe, _)| *timeframe);
    let fits = |(timeframe, bars): &&(Timeframe, &(String, String))| {
        bars.1.parse::<Origin>().is_ok_and(|origin| Grid::new(*timeframe, origin).is_aligned(&times).iter().all(|a| *a))
    };
    let shortest = all.first().map(|(_, b)| (*b).clone());
    all.iter().rev().find(fits).map(|(_, b)| (*b).clone()).or(shortest)
}

/// Instants at which bars end, spread evenly over the time that the tables cover.
async fn cuts(
    session: &Session,
    tables: &BTreeMap<String, Option<(String, String)>>,
    whole: &Rows,
    grid: Option<Grid>,
    count: usize,
) -> Result<Vec<i64>> {
    let mut span: Option<(i64, i64)> = None;
    for (name, _) in tables.iter().filter(|(_, bars)| bars.is_some()) {
        let frame = session.sql(&format!("select min(ts), max(ts) from {}", super::quoting::quoted(name))).await?;
        for batch in session.collect(frame).await? {
            let at = |i: usize| -> Result<Option<i64>> {
                let column = cast(batch.column(i), &InputKind::Time.data_type())?;
                Ok(column.as_primitive::<TimestampMicrosecondType>().iter().flatten().next())
            };
            if let (Some(first), Some(last)) = (at(0)?, at(1)?) {
                span = Some(span.map_or((first, last), |(a, b)| (a.min(first), b.max(last))));
            }
        }
    }
    // Where the result begins late, the time before it tells nothing.
    let first = whole.keys.iter().map(|(_, ts)| *ts).min();
    let newest_only = whole.keys.iter().map(|(_, ts)| *ts).collect::<BTreeSet<_>>().len() < 2;
    let Some((start, end)) = span else { return Ok(vec![]) };
    let start = first.filter(|_| !newest_only).map_or(start, |first| first.max(start));
    let step = (end - start) as f64 / count.max(1) as f64;
    let instants = (0..count).map(|i| start + (step * (i as f64 + 0.5)) as i64);
    let mut cuts: Vec<i64> = match grid {
        Some(grid) => grid.end(&instants.collect::<Vec<_>>()),
        None => instants.collect(),
    };
    cuts.dedup();
    Ok(cuts)
}

/// A result in memory: rows by symbol and time, columns flattened.
struct Rows {
    names: Vec<String>,
    columns: Vec<Cells>,
    keys: Vec<(String, i64)>,
    /// The symbols that the result was restricted to.
    symbols: Option<BTreeSet<String>>,
}

enum Cells {
    Number(Vec<Option<f64>>),
    Text(Vec<Option<String>>),
}

impl Rows {
    /// Runs a frame; `symbols` are those that it was restricted to.
    async fn collect(session: &Session, frame: DataFrame, symbols: Option<BTreeSet<String>>) -> Result<Rows> {
        let plan = session.plan(frame).await?;
        let mut stream = session.execute(plan)?;
        let mut rows = Rows { names: vec![], columns: vec![], keys: vec![], symbols };
        while let Some(batch) = stream.next().await {
            rows.take(&flat(batch?)?)?;
        }
        Ok(rows)
    }

    fn take(&mut self, batch: &RecordBatch) -> Result<()> {
        let Some(ts) = batch.column_by_name("ts") else { return Ok(()) };
        let ts = cast(ts, &InputKind::Time.data_type())?;
        let ts = ts.as_primitive::<TimestampMicrosecondType>();
        let symbol = batch.column_by_name("symbol").map(|s| cast(s, &DataType::Utf8)).transpose()?;
        let symbol: Option<&StringArray> = symbol.as_ref().map(|s| s.as_string::<i32>());
        let values: Vec<(String, ArrayRef)> = batch
            .schema()
            .fields()
            .iter()
            .zip(batch.columns())
            .filter(|(f, _)| f.name() != "ts" && f.name() != "symbol")
            .map(|(f, c)| (f.name().clone(), Arc::clone(c)))
            .collect();
        if self.names.is_empty() {
            for (name, column) in &values {
                self.names.push(name.clone());
                let number = column.data_type().is_numeric();
                self.columns.push(if number { Cells::Number(vec![]) } else { Cells::Text(vec![]) });
            }
        }
        let mut kept = vec![];
        for row in 0..batch.num_rows() {
            if ts.is_null(row) {
                continue;
            }
            let name = symbol.map(|s| if s.is_valid(row) { s.value(row) } else { "" }).unwrap_or_default();
            kept.push(row);
            self.keys.push((name.to_string(), ts.value(row)));
        }
        for ((_, column), cells) in values.iter().zip(&mut self.columns) {
            match cells {
                Cells::Number(all) => {
                    let numbers = cast(column, &DataType::Float64)?;
                    let numbers: &Float64Array = numbers.as_primitive::<Float64Type>();
                    all.extend(kept.iter().map(|&r| numbers.is_valid(r).then(|| numbers.value(r))));
                }
                Cells::Text(all) => {
                    let options = FormatOptions::default();
                    let shown = ArrayFormatter::try_new(column, &options)?;
                    all.extend(kept.iter().map(|&r| column.is_valid(r).then(|| shown.value(r).to_string())));
                }
            }
        }
        Ok(())
    }
}

/// Symbols of the tables, evenly spread, where there are more than `count`.
async fn sample(
    session: &Session,
    tables: &BTreeMap<String, Option<(String, String)>>,
    count: usize,
) -> Result<Option<BTreeSet<String>>> {
    let mut all = BTreeSet::new();
    for (name, _) in tables.iter().filter(|(_, bars)| bars.is_some()) {
        let frame = session.sql(&format!("select distinct symbol from {}", super::quoting::quoted(name))).await?;
        for batch in session.collect(frame).await? {
            let symbols = cast(batch.column(0), &DataType::Utf8)?;
            all.extend(symbols.as_string::<i32>().iter().flatten().map(str::to_string));
        }
    }
    if all.len() <= count {
        return Ok(None);
    }
    let step = all.len() as f64 / count.max(1) as f64;
    let chosen: BTreeSet<usize> = (0..count).map(|i| (i as f64 * step) as usize).collect();
    Ok(Some(all.into_iter().enumerate().filter(|(i, _)| chosen.contains(i)).map(|(_, symbol)| symbol).collect()))
}

/// Restricts a result to some symbols.
fn only(plan: LogicalPlan, symbols: Option<&BTreeSet<String>>) -> Result<LogicalPlan> {
    let Some(symbols) = symbols else { return Ok(plan) };
    let Some(position) = plan.schema().fields().iter().position(|f| f.name() == "symbol") else { return Ok(plan) };
    let symbol = Expr::Column(Column::from(plan.schema().qualified_field(position)));
    let list = symbols.iter().map(|s| lit(s.as_str())).collect();
    Ok(LogicalPlanBuilder::from(plan).filter(symbol.in_list(list, false))?.build()?)
}

impl Rows {
    /// Orders rows by their values.
    fn sort(&self, rows: &mut [usize]) {
        rows.sort_by(|a, b| {
            let each = self.columns.iter().map(|cells| match cells {
                Cells::Number(v) => v[*a].unwrap_or(f64::NAN).total_cmp(&v[*b].unwrap_or(f64::NAN)),
                Cells::Text(v) => v[*a].cmp(&v[*b]),
            });
            each.fold(std::cmp::Ordering::Equal, std::cmp::Ordering::then)
        });
    }
}

/// Struct columns as one column a field.
fn flat(batch: RecordBatch) -> Result<RecordBatch> {
    let nested = batch.schema().fields().iter().any(|f| matches!(f.data_type(), DataType::Struct(_)));
    Ok(if nested { batch.normalize(".", None)? } else { batch })
}

#[derive(Debug, Clone, Default)]
struct Tally {
    compared: u64,
    changed: u64,
    first: Option<(String, i64)>,
    looked: u64,
}

impl Tally {
    fn changed(&mut self, key: &(String, i64), bars: u64) {
        self.changed += 1;
        self.looked = self.looked.max(bars);
        if self.first.as_ref().is_none_or(|(_, ts)| key.1 < *ts) {
            self.first = Some(key.clone());
        }
    }
}

/// The comparison of the whole result with those of the past.
struct Trial<'a> {
    whole: &'a Rows,
    grid: Option<Grid>,
    /// Rows by key; where one comes several times, in their order.
    places: HashMap<(String, i64), Vec<usize>>,
    /// Times of each symbol, to count bars.
    times: BTreeMap<String, Vec<i64>>,
    scales: Vec<f64>,
    tallies: Vec<Tally>,
    rows: Tally,
    /// Rows of the past that are not in the whole, at and before their symbol's newest bar.
    vanished: (u64, u64),
    vanished_first: Option<((String, i64), u64)>,
}

impl<'a> Trial<'a> {
    fn new(whole: &'a Rows, grid: Option<Grid>) -> Self {
        let mut places: HashMap<(String, i64), Vec<usize>> = HashMap::new();
        let mut times: BTreeMap<String, Vec<i64>> = BTreeMap::new();
        for (row, key) in whole.keys.iter().enumerate() {
            places.entry(key.clone()).or_default().push(row);
            times.entry(key.0.clone()).or_default().push(key.1);
        }
        times.values_mut().for_each(|t| {
            t.sort_unstable();
            t.dedup();
        });
        for rows in places.values_mut().filter(|rows| rows.len() > 1) {
            whole.sort(rows);
        }
        let largest = |cells: &Cells| match cells {
            Cells::Number(v) => v.iter().flatten().filter(|x| x.is_finite()).fold(0.0f64, |m, x| m.max(x.abs())),
            Cells::Text(_) => 0.0,
        };
        Self {
            scales: whole.columns.iter().map(largest).collect(),
            tallies: vec![Tally::default(); whole.columns.len()],
            rows: Tally::default(),
            vanished: (0, 0),
            vanished_first: None,
            whole,
            grid,
            places,
            times,
        }
    }

    /// When a row's bar ended.
    fn decided(&self, ts: i64) -> i64 {
        self.grid.map_or(ts, |grid| grid.bar(ts).1)
    }

    /// Bars of a symbol between a row and a cut: what changed the row lies beyond them.
    fn bars_to(&self, key: &(String, i64), cut: i64) -> u64 {
        let times = self.times.get(&key.0).map(Vec::as_slice).unwrap_or_default();
        let known = times.partition_point(|ts| self.decided(*ts) <= cut);
        let before = times.partition_point(|ts| *ts <= key.1);
        known.saturating_sub(before) as u64 + 1
    }

    fn compare(&mut self, part: &Rows, cut: i64) {
        let mut newest: HashMap<&str, i64> = HashMap::new();
        for (symbol, ts) in &part.keys {
            let known = newest.entry(symbol).or_insert(*ts);
            *known = (*known).max(*ts);
        }
        let mut found: HashMap<&(String, i64), Vec<usize>> = HashMap::new();
        for (row, key) in part.keys.iter().enumerate().filter(|(_, key)| self.decided(key.1) <= cut) {
            found.entry(key).or_default().push(row);
        }
        // Several rows of one bar are compared in the order of their values.
        for rows in found.values_mut().filter(|rows| rows.len() > 1) {
            part.sort(rows);
        }
        let pairs =
            found.iter().flat_map(|(key, rows)| rows.iter().enumerate().map(move |(nth, row)| (*key, nth, *row)));
        for (key, nth, row) in pairs.collect::<Vec<_>>() {
            let place = self.places.get(key).and_then(|rows| rows.get(nth)).copied();
            self.rows.compared += 1;
            match place {
                Some(place) => self.compare_row(part, row, place, key, cut),
                None => {
                    let is_newest = newest.get(key.0.as_str()) == Some(&key.1);
                    self.vanished.0 += u64::from(is_newest);
                    self.vanished.1 += u64::from(!is_newest);
                    let bars = self.bars_to(key, cut);
                    if self.vanished_first.as_ref().is_none_or(|((_, ts), _)| key.1 < *ts) {
                        self.vanished_first = Some((key.clone(), bars));
                    }
                }
            }
        }
        for key in &self.whole.keys {
            if self.decided(key.1) <= cut && !found.contains_key(key) {
                let bars = self.bars_to(key, cut);
                self.rows.compared += 1;
                self.rows.changed(key, bars);
            }
        }
    }

    fn compare_row(&mut self, part: &Rows, row: usize, place: usize, key: &(String, i64), cut: i64) {
        for (i, cells) in self.whole.columns.iter().enumerate() {
            let same = match (cells, part.columns.get(i)) {
                (Cells::Number(a), Some(Cells::Number(b))) => match (a[place], b[row]) {
                    (Some(a), Some(b)) => {
                        (a - b).abs() <= TOLERANCE * self.scales[i] || a == b || a.is_nan() && b.is_nan()
                    }
                    (a, b) => a.is_none() && b.is_none(),
                },
                (Cells::Text(a), Some(Cells::Text(b))) => a[place] == b[row],
                _ => false,
            };
            self.tallies[i].compared += 1;
            if !same {
                let bars = self.bars_to(key, cut);
                self.tallies[i].changed(key, bars);
            }
        }
    }

    fn column(&self, index: usize, name: &str, sources: Option<&Sources>) -> ColumnCheck {
        let tally = self.tallies[index].clone();
        ColumnCheck {
            name: name.to_string(),
            declared: sources.map_or(Bars::Unbounded, |s| s.furthest().ahead),
            compared: tally.compared,
            changed: tally.changed,
            first: tally.first,
            looked: tally.looked,
        }
    }

    /// Rows that were there only while they were their symbol's newest, and nothing else that changed.
    fn is_newest_only(&self) -> bool {
        self.vanished.0 > 0 && self.vanished.1 == 0 && self.rows.changed == 0
    }

    fn rows(&self, sources: &Sources, newest_only: bool) -> ColumnCheck {
        let mut tally = self.rows.clone();
        if !newest_only && let Some((key, bars)) = &self.vanished_first {
            tally.changed(key, *bars);
            tally.changed += self.vanished.0 + self.vanished.1 - 1;
        }
        ColumnCheck {
            name: ROWS.to_string(),
            declared: sources.furthest().ahead,
            compared: tally.compared,
            changed: tally.changed,
            first: tally.first,
            looked: tally.looked,
        }
    }
}
