//! What the charts of a report show, read from the lake.

use super::symbol::lines;
use super::{Bar, Chart, Figure, Lines, Mark, Pane, PaneStyle, Window};
use crate::Session;
use crate::quoting::{self, quoted};
use crate::relation::{Relation, one, relation};
use crate::rows::{column, numbers, texts, times};
use arrow::array::RecordBatch;
use arrow::datatypes::DataType;
use std::collections::BTreeMap;
use tallow_common::Result;
use tallow_common::time::shown;
use tallow_engine::dialect::Formula;
use tallow_lake::{CandleTable, READABLE};
use tallow_udfs::similarity::reference::Excluded;
use tallow_udfs::similarity::znorm::znorm;

/// A table that a report read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Source {
    /// Its name.
    pub table: String,
    /// Its version, where it has versions.
    pub version: Option<u64>,
    /// Rows, where they are known.
    pub rows: Option<u64>,
    /// Whether it is not stored, but made of smaller bars.
    pub made: bool,
}

impl Source {
    pub(super) fn describe(&self) -> String {
        if self.made {
            return "made of smaller bars".to_string();
        }
        let version = self.version.map_or_else(|| "no versions".to_string(), |v| format!("version {v}"));
        self.rows.map_or_else(|| version.clone(), |rows| format!("{version}, {rows} rows"))
    }
}

/// What a table is right now.
pub async fn source(session: &Session, table: &str) -> Result<Source> {
    let from = relation(session, table).await.ok();
    let summary = from.as_ref().and_then(Relation::candles).map(CandleTable::summary);
    let version = match &summary {
        Some(summary) => summary.version,
        None => session.lake().history(table, Some(1)).await.ok().and_then(|h| h.first().map(|e| e.version)),
    };
    Ok(Source {
        table: table.strip_suffix(READABLE).unwrap_or(table).to_string(),
        version,
        rows: summary.map(|s| s.rows as u64),
        made: from.is_some_and(|from| !from.is_stored),
    })
}

/// Functions that charts show which are about none in particular.
const AVERAGES: [&str; 2] = ["sma(30)", "sma(60)"];

/// Bars before and after what a chart is about.
const AROUND: usize = 40;

/// Bars of a symbol, and the lines of each function beside them.
#[derive(Debug, Default)]
struct Symbol {
    bars: Vec<Bar>,
    functions: Vec<Vec<(String, Vec<f64>)>>,
}

/// The averages.
fn averages() -> Result<Vec<Formula>> {
    AVERAGES.iter().map(|text| Formula::parse(text)).collect()
}

/// All bars of some symbols, with functions.
async fn symbols(
    session: &Session,
    table: &str,
    names: &[String],
    functions: &[Formula],
) -> Result<BTreeMap<String, Symbol>> {
    let mut all: BTreeMap<String, Symbol> = BTreeMap::new();
    if names.is_empty() {
        return Ok(all);
    }
    let from = relation(session, table).await?;
    let of = |name: &str, other: &str| match from.schema.index_of(name).is_ok() {
        true => name.to_string(),
        false => format!("{other} as {name}"),
    };
    let mut items = vec![
        of("open", "close"),
        of("high", "close"),
        of("low", "close"),
        "close".to_string(),
        of("volume", "cast(null as double)"),
    ];
    items.extend(
        functions.iter().enumerate().map(|(at, function)| format!("({function}) as {}", quoted(&format!("({at})")))),
    );
    let sql = format!(
        "select symbol, ts, {} from {} as candles where symbol in ({}) and close is not null order by symbol, ts",
        items.join(", "),
        from.sql,
        quoting::texts(names)
    );
    for batch in session.collect(one(session, &sql).await?).await? {
        let (names, ts) = (texts(batch.column(0))?, times(batch.column(1))?);
        let values = (2..7).map(|i| numbers(batch.column(i))).collect::<Result<Vec<_>>>()?;
        let drawn = functions.iter().zip(&batch.columns()[7..]);
        let drawn = drawn.map(|(function, values)| lines(&function.to_string(), values)).collect::<Result<Vec<_>>>()?;
        for row in 0..batch.num_rows() {
            let symbol = all.entry(names[row].clone()).or_default();
            let [open, high, low, close, volume] = [0, 1, 2, 3, 4].map(|i: usize| values[i][row]);
            symbol.bars.push(Bar { ts: ts[row], open, high, low, close, volume });
            if symbol.functions.is_empty() {
                let named =
                    |lines: &Vec<(String, Vec<f64>)>| lines.iter().map(|(name, _)| (name.clone(), vec![])).collect();
                symbol.functions = drawn.iter().map(named).collect();
            }
            for (own, all) in drawn.iter().flatten().zip(symbol.functions.iter_mut().flatten()) {
                all.1.push(own.1[row]);
            }
        }
    }
    Ok(all)
}

impl Symbol {
    /// The bars around some of them, and where these begin.
    fn around(&self, first: usize, last: usize) -> (Chart, usize) {
        let from = first.saturating_sub(AROUND);
        let to = (last + 1 + AROUND).min(self.bars.len());
        let cut = |(name, values): &(String, Vec<f64>)| (name.clone(), values[from..to].to_vec());
        let functions = self.functions.iter().map(|lines| lines.iter().map(cut).collect()).collect();
        let chart = Chart { bars: self.bars[from..to].to_vec(), ..Chart::default() };
        (chart.with_lines(functions), from)
    }

    fn at(&self, ts: i64) -> Option<usize> {
        self.bars.binary_search_by_key(&ts, |b| b.ts).ok()
    }
}

fn distinct(names: &[String], most: usize) -> Vec<String> {
    let mut names: Vec<String> = names.iter().take(most).cloned().collect();
    names.sort();
    names.dedup();
    names
}

fn counted(count: usize, what: &str, newest: i64) -> String {
    match count {
        1 => format!("1 {what}, on {}", shown(newest)),
        _ => format!("{count} {what}s, the newest on {}", shown(newest)),
    }
}

/// The pattern that a search looks for: the bars that it was cut from, where these are known and in the table; else its closes.
pub async fn picture_of_pattern(
    session: &Session,
    name: &str,
    closes: &[f64],
    cut_from: Option<&Excluded>,
    table: &str,
) -> Result<Figure> {
    if let Some(Excluded { symbol, from, to }) = cut_from {
        // The pattern keeps its closes, whatever becomes of the candles.
        let all = symbols(session, table, std::slice::from_ref(symbol), &averages()?).await.unwrap_or_default();
        let ends = all.get(symbol).map(|known| {
            let first = known.bars.partition_point(|bar| bar.ts < *from);
            (known, first..known.bars.partition_point(|bar| bar.ts <= *to))
        });
        if let Some((known, cut)) = ends.filter(|(_, cut)| !cut.is_empty()) {
            let (first, last) = (cut.start, cut.end - 1);
            let (mut chart, start) = known.around(first, last);
            let name_of_window = format!("the pattern, {} bars", last - first + 1);
            chart.window =
                Some(Window { first: first - start, last: last - start, overlay: vec![], name: name_of_window });
            chart.title = name.to_string();
            let ends = [first, last].map(|bar| shown(known.bars[bar].ts));
            chart.subtitle = format!("cut from {symbol}, {} to {}", ends[0], ends[1]);
            return Ok(chart.into());
        }
    }
    Ok(Figure::Lines(Lines {
        title: name.to_string(),
        subtitle: format!("{} closes", closes.len()),
        times: vec![],
        panes: vec![Pane { lines: vec![("close".to_string(), closes.to_vec())], style: PaneStyle::Plain }],
    }))
}

/// Charts of the first matches: the window shaded, the pattern over it. `shapes` are the closes of the patterns, and
/// `tables` the table of each timeframe.
pub async fn charts_of_matches(
    session: &Session,
    matches: &RecordBatch,
    shapes: &BTreeMap<String, Vec<f64>>,
    tables: &[(String, String)],
    most: usize,
) -> Result<Vec<Chart>> {
    let matches = matches.slice(0, matches.num_rows().min(most));
    let (patterns, names) = (texts(column(&matches, "pattern")?)?, texts(column(&matches, "symbol")?)?);
    let timeframes = texts(column(&matches, "timeframe")?)?;
    let (starts, ends) = (times(column(&matches, "start_ts")?)?, times(column(&matches, "end_ts")?)?);
    let (distances, percentiles) = (numbers(column(&matches, "distance")?)?, numbers(column(&matches, "percentile")?)?);
    let gains: Vec<(String, Vec<f64>)> = matches
        .schema()
        .fields()
        .iter()
        .filter(|f| f.name().starts_with("gain_") || f.name().starts_with("out_"))
        .map(|f| Ok((f.name().clone(), numbers(column(&matches, f.name())?)?)))
        .collect::<Result<_>>()?;
    let mut all = BTreeMap::new();
    for (table, timeframe) in tables {
        let own: Vec<String> =
            names.iter().zip(&timeframes).filter(|(_, t)| *t == timeframe).map(|(n, _)| n.clone()).collect();
        all.insert(timeframe.clone(), symbols(session, table, &distinct(&own, own.len()), &averages()?).await?);
    }
    let mut charts = vec![];
    for row in 0..matches.num_rows() {
        let Some(symbol) = all.get(&timeframes[row]).and_then(|s| s.get(&names[row])) else { continue };
        let (Some(first), Some(last)) = (symbol.at(starts[row]), symbol.at(ends[row])) else { continue };
        let (mut chart, from) = symbol.around(first, last);
        let overlay = shapes.get(&patterns[row]).map(|closes| znorm(closes)).unwrap_or_default();
        let name = format!("{}, stretched to the window", patterns[row]);
        chart.window = Some(Window { first: first - from, last: last - from, overlay, name });
        chart.title = format!("{} like {}", names[row], patterns[row]);
        let percentile = match percentiles[row] {
            p if p >= 1.0 => ", nearer than any random window".to_string(),
            p if p.is_finite() => format!(", nearer than {:.2} % of random windows", 100.0 * p),
            _ => String::new(),
        };
        chart.subtitle = format!(
            "{}, {} to {}; distance {:.3}{percentile}",
            timeframes[row],
            shown(starts[row]),
            shown(ends[row]),
            distances[row]
        );
        chart.facts = gains
            .iter()
            .filter(|(_, values)| values[row].is_finite())
            .map(|(name, values)| match name.strip_prefix("gain_") {
                Some(gain) => format!("+{gain} %: {:.0} %", 100.0 * values[row]),
                None => format!("{name}: {:.3}", values[row]),
            })
            .collect();
        charts.push(chart);
    }
    Ok(charts)
}

/// At most so many functions of a formula are drawn.
const FUNCTIONS: usize = 5;

/// The functions of a scan's formula that can be drawn: those of numbers, of one symbol at a time.
fn functions_of(hits: &RecordBatch) -> Vec<Formula> {
    let own = hits.schema();
    let named = own.fields().iter().filter(|field| {
        let is_number = field.data_type().is_numeric() || matches!(field.data_type(), DataType::Struct(_));
        is_number && field.name().contains('(')
    });
    let formulas = named.filter_map(|field| Formula::parse(field.name()).ok());
    formulas.filter(|formula| !formula.is_cross_sectional()).take(FUNCTIONS).collect()
}

/// Charts of the symbols of the first hits of a scan, each hit a mark, with the functions of its formula.
pub async fn charts_of_scan(session: &Session, hits: &RecordBatch, table: &str, most: usize) -> Result<Vec<Chart>> {
    let (names, ts) = (texts(column(hits, "symbol")?)?, times(column(hits, "ts")?)?);
    let mut order: Vec<String> = vec![];
    for name in &names {
        if order.len() < most && !order.contains(name) {
            order.push(name.clone());
        }
    }
    let functions = functions_of(hits);
    let functions = if functions.is_empty() { averages()? } else { functions };
    let all = symbols(session, table, &order, &functions).await?;
    let mut charts = vec![];
    for name in order {
        let Some(symbol) = all.get(&name) else { continue };
        let own = names.iter().zip(&ts).filter(|(n, _)| **n == name);
        let hits: Vec<usize> = own.filter_map(|(_, ts)| symbol.at(*ts)).collect();
        let Some(&newest) = hits.iter().max() else { continue };
        let (mut chart, from) = symbol.around(newest.saturating_sub(2 * AROUND), newest);
        let drawn = from..from + chart.bars.len();
        chart.marks = hits.iter().filter(|h| drawn.contains(h)).map(|h| Mark { bar: h - from, side: 1 }).collect();
        chart.meanings = ["hit", "", ""];
        chart.title = name;
        chart.subtitle = counted(hits.len(), "hit", symbol.bars[newest].ts);
        charts.push(chart);
    }
    Ok(charts)
}

/// Charts of the trades with the largest gains and the largest losses, at most so many: a mark where each began and where it ended.
pub(super) async fn charts_of_trades(
    session: &Session,
    trades: &RecordBatch,
    table: &str,
    most: usize,
) -> Result<Vec<Chart>> {
    let (names, gains) = (texts(column(trades, "symbol")?)?, numbers(column(trades, "pnl")?)?);
    let (returns, reasons) = (numbers(column(trades, "return")?)?, texts(column(trades, "reason")?)?);
    let (entries, exits) = (times(column(trades, "entry_ts")?)?, times(column(trades, "exit_ts")?)?);
    let sides = texts(column(trades, "side")?)?;
    let mut order: Vec<usize> = (0..gains.len()).filter(|at| gains[*at].is_finite()).collect();
    order.sort_by(|a, b| gains[*b].total_cmp(&gains[*a]));
    let worst = (most / 2).min(order.len() / 2);
    let best = (most - most / 2).min(order.len() - worst);
    let chosen: Vec<usize> = order[..best].iter().chain(order[order.len() - worst..].iter().rev()).copied().collect();
    let chosen_names: Vec<String> = chosen.iter().map(|at| names[*at].clone()).collect();
    let all = symbols(session, table, &distinct(&chosen_names, chosen_names.len()), &averages()?).await?;
    let mut charts = vec![];
    for at in chosen {
        let Some(symbol) = all.get(&names[at]) else { continue };
        let (Some(first), Some(last)) = (symbol.at(entries[at]), symbol.at(exits[at])) else { continue };
        let (mut chart, from) = symbol.around(first, last);
        let way = if sides[at] == "long" { 1 } else { -1 };
        chart.marks = vec![Mark { bar: first - from, side: way }, Mark { bar: last - from, side: -way }];
        chart.meanings = ["bought", "sold", ""];
        chart.title = names[at].clone();
        chart.subtitle = format!(
            "{}, {} to {}, left by {}",
            sides[at],
            shown(entries[at]),
            shown(exits[at]),
            reasons[at].replace('_', " ")
        );
        chart.facts = vec![format!("{:+.1} %", returns[at] * 100.0), format!("{:+.0}", gains[at])];
        charts.push(chart);
    }
    Ok(charts)
}

/// Charts of the newest labelled bars of some symbols, each label a mark; of those with many labels of both signs, where none are
/// chosen.
pub async fn charts_of_labels(
    session: &Session,
    labels: &str,
    candles: &str,
    chosen: &[String],
    most: usize,
) -> Result<Vec<Chart>> {
    let has_label = session.lake().columns(labels).await?.iter().any(|c| c == "label");
    if !has_label {
        return Ok(vec![]);
    }
    let among = match chosen {
        [] => String::new(),
        some => format!(" and symbol in ({})", quoting::texts(some)),
    };
    let sql = format!(
        "select symbol, ts, cast(label as double) as label from {} where label is not null{among} and symbol in \
         (select symbol from {0} where label is not null{among} group by symbol
          order by least(count(*) filter (where label > 0), count(*) filter (where label < 0)) desc, symbol limit {most})",
        quoted(labels)
    );
    let mut found: BTreeMap<String, Vec<(i64, f64)>> = BTreeMap::new();
    for batch in session.collect(session.sql(&sql).await?).await? {
        let (names, ts, label) = (texts(batch.column(0))?, times(batch.column(1))?, numbers(batch.column(2))?);
        for row in 0..batch.num_rows() {
            found.entry(names[row].clone()).or_default().push((ts[row], label[row]));
        }
    }
    let names: Vec<String> = found.keys().cloned().collect();
    let all = symbols(session, candles, &names, &averages()?).await?;
    let mut charts = vec![];
    for (name, labels) in found {
        let Some(symbol) = all.get(&name) else { continue };
        let at: Vec<(usize, f64)> = labels.iter().filter_map(|(ts, l)| Some((symbol.at(*ts)?, *l))).collect();
        let Some(newest) = at.iter().map(|(bar, _)| *bar).max() else { continue };
        let (mut chart, from) = symbol.around(newest.saturating_sub(2 * AROUND), newest);
        let shown = from..from + chart.bars.len();
        let side = |label: f64| {
            if label > 0.0 {
                1
            } else if label < 0.0 {
                -1
            } else {
                0
            }
        };
        let shown = at.iter().filter(|(bar, _)| shown.contains(bar));
        chart.marks = shown.map(|(bar, label)| Mark { bar: bar - from, side: side(*label) }).collect();
        chart.meanings = ["label above 0", "label below 0", "label 0"];
        chart.title = name;
        chart.subtitle = counted(at.len(), "label", symbol.bars[newest].ts);
        charts.push(chart);
    }
    Ok(charts)
}
