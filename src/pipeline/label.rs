//! Label runs: every label of a timeframe, as one query over the lake, written as a table.

use super::among::absent;
use super::control::Control;
use super::label_path::{self, PathOptions};
use super::levels::Source;
use super::materialize::result_table;
use super::outcome::Skipped;
use super::query::Query;
use super::quoting;
use super::resample::{self, BarRequest};
use super::rows::texts;
use crate::Session;
use crate::fingerprint::fingerprint;
use crate::incremental::{self, Definition, Pipeline, RunOptions};
use arrow::array::AsArray;
use arrow::datatypes::Int64Type;
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, HashMap};
use tallow_common::{Error, Result};
use tallow_engine::dialect::closest;
use tallow_engine::reach::{LongerBars, MadeBars, reach};
use tallow_lake::{Lake, ResultKind};
use tallow_udfs::calendar::Timeframe;
use tallow_udfs::label::VERSION;
use tallow_udfs::series::{Bars, Reach};
use tallow_udfs::series_function;

/// What is labelled, and how.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct LabelRun {
    /// Length of the labelled bars.
    #[serde(with = "crate::as_text")]
    pub timeframe: Timeframe,
    /// How far labels look, in labelled bars.
    pub horizon: u32,
    /// Groups and single labels; empty for all.
    pub labels: Vec<String>,
    /// Levels that move barriers, and that level labels are about.
    pub levels: Option<Source>,
    /// Parameters of `triple_barrier`.
    pub params: BTreeMap<String, String>,
    /// Barriers just before the nearest levels, whatever their distance; the upper one wins ties.
    pub seed: bool,
    /// Walk the labelled bars themselves, not smaller ones.
    pub own_bars: bool,
    /// Label the bars of these symbols only; none: of all.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub symbols: Vec<String>,
}

/// Groups of labels: the function behind each.
const GROUPS: [&str; 3] = ["triple_barrier", "path_labels", "level_labels"];
/// What distances count in, unless a width is chosen.
const UNIT: &str = "atr(high, low, close, 14)";
/// A label that is no field of a struct.
const QUANTILE: &str = "return_quantile";

impl LabelRun {
    /// All labels of a timeframe within six bars.
    pub fn new(timeframe: Timeframe) -> Self {
        Self {
            timeframe,
            horizon: 6,
            labels: vec![],
            levels: None,
            params: BTreeMap::new(),
            seed: false,
            own_bars: false,
            symbols: vec![],
        }
    }

    /// The columns to compute, by group; the order is that of the functions.
    fn columns(&self) -> Result<Vec<(&'static str, String)>> {
        let groups = GROUPS.iter().filter(|g| **g != "level_labels" || self.levels.is_some());
        let mut all: Vec<(&'static str, String)> = vec![];
        for group in groups {
            let outputs = series_function(group).map(|f| f.signature().outputs.clone()).unwrap_or_default();
            let outputs =
                outputs.into_iter().map(|o| o.name).filter(|n| n != "horizon_complete" && n != "available_at");
            all.extend(outputs.map(|name| (*group, name)));
        }
        all.push((QUANTILE, QUANTILE.to_string()));
        if self.labels.is_empty() {
            return Ok(all);
        }
        for label in &self.labels {
            if !all.iter().any(|(group, name)| group == label || name == label) {
                let known = all.iter().flat_map(|(group, name)| [*group, name.as_str()]);
                let hint = match closest(label, known) {
                    _ if label == "level_labels" => "give the option `levels auto`, or a table".to_string(),
                    Some(similar) => format!("did you mean `{similar}`?"),
                    None => format!("expected all, a group ({}) or a label of one", GROUPS.join(", ")),
                };
                return Err(Error::invalid(format!("unknown label `{label}`")).with_hint(hint));
            }
        }
        all.retain(|(group, name)| self.labels.iter().any(|l| l == group || l == name));
        Ok(all)
    }

    /// What the distances of barriers count in, computed on the labelled bars; `None` for ATR(14).
    fn width(&self) -> Result<Option<String>> {
        let number = |name: &str, default: f64, range: std::ops::RangeInclusive<f64>| match self.params.get(name) {
            None => Ok(default),
            Some(text) => text.parse().ok().filter(|v| range.contains(v)).ok_or_else(|| {
                let (low, high) = (range.start(), range.end());
                Error::invalid(format!("{name} {text}: expected a number from {low} to {high}"))
            }),
        };
        let period = number("timeperiod", 14.0, 2.0..=100_000.0)?;
        let span = number("span", 100.0, 2.0..=100_000.0)?;
        let share = number("pct", 0.01, 1e-9..=1.0)?;
        match self.params.get("width").map_or("atr", String::as_str) {
            "atr" if period == 14.0 => Ok(None),
            "atr" => Ok(Some(format!("atr(high, low, close, {period})"))),
            "pct" => Ok(Some(format!("close * {share:?}"))),
            "sigma" => Ok(Some(format!("close * ewm_std(simple_return(close, 1), {span})"))),
            other => Err(Error::invalid(format!("width {other}: expected atr, pct or sigma"))),
        }
    }

    /// Parameters of the barriers as SQL arguments.
    fn barrier_arguments(&self) -> String {
        let mut params: BTreeMap<&str, String> = BTreeMap::new();
        if self.seed {
            for (name, value) in
                [("up", "1e6"), ("down", "1e6"), ("level_gate", "1e6"), ("level_buffer", "0"), ("min_dist", "0")]
            {
                params.insert(name, value.to_string());
            }
            params.insert("tie", "'up'".to_string());
        }
        for (name, value) in &self.params {
            let is_number = value.parse::<f64>().is_ok();
            params.insert(name, if is_number { value.clone() } else { quoting::text(value) });
        }
        params.into_iter().map(|(name, value)| format!(", {name} => {value}")).collect()
    }

    /// SQL for the labels: `symbol, ts, close, path_timeframe`, the labels, `horizon_complete, available_at`, in order.
    pub async fn sql(&self, lake: &Lake) -> Result<String> {
        if self.seed && self.levels.is_none() {
            return Err(Error::invalid(
                "preset 'seed' places barriers by levels: give the option `levels auto`, or a table".to_string(),
            ));
        }
        if !(1..=1000).contains(&self.horizon) {
            return Err(Error::invalid(format!("horizon {}: expected 1 to 1000 bars", self.horizon)));
        }
        let columns = self.columns()?;
        let refine = self.params.get("tie").is_some_and(|tie| tie == "refine");
        let width = self.width()?;
        let ranks = columns.iter().any(|(group, _)| *group == QUANTILE);
        let quantile = ranks.then_some(self.horizon);
        let options = PathOptions { levels: self.levels.clone(), refine, own_bars: self.own_bars, width, quantile };
        let path = label_path::sql(lake, self.timeframe, &options).await?;
        let horizon = self.horizon;
        let carried = "label_ts => label_ts, label_end => label_end, price => price, close_time => close_time";
        let mut groups: Vec<&str> =
            GROUPS.into_iter().filter(|group| columns.iter().any(|(of, _)| of == group)).collect();
        if groups.is_empty() || ranks && !groups.contains(&"path_labels") {
            // Somebody has to say which rows are labelled, and when their whole horizon was known.
            groups.push("path_labels");
        }
        let mut calls = vec![];
        for group in groups {
            let mut unit = if group == "triple_barrier" { "width" } else { "unit" }.to_string();
            let more = match group {
                "triple_barrier" => {
                    let (above, below) = if self.seed { (" * 0.999", " * 1.001") } else { ("", "") };
                    if self.seed {
                        // A barrier beyond the price would be touched at once: there is no label.
                        unit = "case when nearest_resistance(levels, price) * 0.999 <= price
                                       or nearest_support(levels, price) * 1.001 >= price then null else width end"
                            .to_string();
                    }
                    let levels = match &self.levels {
                        Some(_) => format!(
                            ", resistance => nearest_resistance(levels, price){above}, support => nearest_support(levels, price){below}"
                        ),
                        None => String::new(),
                    };
                    let smaller = if refine { ", smaller => smaller" } else { "" };
                    format!("{}{levels}{smaller}", self.barrier_arguments())
                }
                "path_labels" => ", range => range".to_string(),
                _ => ", levels => levels".to_string(),
            };
            calls.push((
                group,
                format!("{group}(high, low, close, horizon => {horizon}, {carried}, unit => {unit}{more}) as {group}"),
            ));
        }
        let first = calls.first().map_or("path_labels", |(group, _)| group);
        let known = calls.iter().map(|(group, _)| format!("{group}['available_at']")).collect::<Vec<_>>().join(", ");
        let outputs = columns.iter().map(|(group, name)| match *group {
            // Where there is no level, the barrier lies as good as nowhere.
            "triple_barrier" if self.seed && (name == "upper" || name == "lower") => format!(
                "case when abs(triple_barrier['{name}'] - price) < 1e5 * triple_barrier['atr'] then triple_barrier['{name}'] end as {name}"
            ),
            QUANTILE => format!("quantile as {name}"),
            group => format!("{group}['{name}'] as {name}"),
        });
        Ok(format!(
            "with walked as (
               select symbol, ts as row_ts, label_ts, price, path_timeframe{ranked}, {calls} from ({path})),
             labelled as (select * from walked where {first}['horizon_complete'] is not null and {chosen})
             select symbol, label_ts as ts, price as close, path_timeframe, {outputs},
                    {first}['horizon_complete'] as horizon_complete, greatest({known}) as available_at
             from labelled order by symbol, row_ts",
            ranked = if ranks { ", quantile" } else { "" },
            calls = calls.iter().map(|(_, call)| call.as_str()).collect::<Vec<_>>().join(", "),
            outputs = outputs.collect::<Vec<_>>().join(", "),
            chosen = self.chosen(),
        ))
    }

    /// The condition of a symbol that is labelled.
    fn chosen(&self) -> String {
        match self.symbols.is_empty() {
            true => "true".to_string(),
            false => format!("symbol in ({})", quoting::texts(&self.symbols)),
        }
    }

    /// Everything that decides what the labels are, as one line.
    pub(crate) fn definition(&self) -> String {
        let mut params: BTreeMap<&str, serde_json::Value> = [
            ("timeframe", self.timeframe.to_string().into()),
            ("horizon", self.horizon.into()),
            ("labels", self.labels.join(",").into()),
            ("levels", self.levels.as_ref().map(|l| format!("{l:?}")).unwrap_or_default().into()),
            ("barriers", self.barrier_arguments().trim_start_matches(", ").into()),
            ("seed", self.seed.into()),
            ("own_bars", self.own_bars.into()),
        ]
        .into();
        if !self.symbols.is_empty() {
            params.insert("symbols", self.symbols.join(",").into());
        }
        serde_json::to_string(&params).unwrap_or_default()
    }

    /// What is to be remembered of the labels: of which bars they are, and how they were computed.
    pub(crate) async fn properties(&self, lake: &Lake) -> Result<HashMap<String, String>> {
        let (_, origin) = resample::sql(lake, BarRequest::of(self.timeframe)).await?;
        let definition = self.definition();
        let properties = [
            ("tallow.timeframe", self.timeframe.to_string()),
            ("tallow.origin", origin),
            ("tallow.label.version", VERSION.to_string()),
            ("tallow.label.params_hash", fingerprint(&definition)),
            ("tallow.label.params", definition),
        ];
        Ok(properties.map(|(key, value)| (key.to_string(), value)).into())
    }

    /// What is labelled, in one line.
    pub(crate) fn describe(&self) -> String {
        let labels = if self.labels.is_empty() { "all".to_string() } else { self.labels.join(", ") };
        let params: String = self.params.iter().map(|(name, value)| format!(", {name}={value}")).collect();
        let levels = if self.levels.is_some() { ", with levels" } else { "" };
        let preset = if self.seed { ", preset seed" } else { "" };
        let own_bars = if self.own_bars { ", over the bars themselves" } else { "" };
        let symbols = match self.symbols.len() {
            0 => String::new(),
            n => format!(" of {n} symbols"),
        };
        let (timeframe, horizon) = (self.timeframe, self.horizon);
        format!("{labels} of {timeframe} bars{symbols} within {horizon}{levels}{preset}{own_bars}{params}")
    }

    /// The name of the table to write: as it is given, or that of the timeframe.
    ///
    /// # Errors
    /// What is given cannot be the name of a table of labels.
    pub fn table(&self, given: Option<&str>) -> Result<String> {
        result_table(ResultKind::Labels, given.unwrap_or(&self.timeframe.to_string()))
    }

    /// Brings the table up to date: what changed of the bars since the last run is labelled anew; after a run with other
    /// parameters, everything.
    ///
    /// # Errors
    /// The labels cannot be computed, something else than labels of these bars is in the place of the table, or it is that of
    /// a pipeline of the lake.
    pub async fn run(&self, session: &Session, table: &str, control: &Control) -> Result<incremental::Run> {
        let pipeline = Pipeline {
            name: "label".to_string(),
            definition: Definition::Label(self.clone()),
            into: table.to_string(),
        };
        let options = RunOptions { full: pipeline.is_changed(session).await?, ..RunOptions::default() };
        pipeline.run(session, options, control).await
    }
}

/// The bars that a run labels.
pub(crate) struct LabelledBars {
    /// The table that holds them, or shorter ones that they are made of.
    pub table: String,
    /// Their length, and where they begin.
    pub bars: LongerBars,
    /// How many of them a label looks back and ahead.
    pub reach: Reach,
    /// What looks back to the beginning, where something does.
    pub whole_history: Vec<String>,
}

impl LabelRun {
    /// The bars that are labelled, and how far labels look.
    pub(crate) async fn labelled_bars(&self, session: &Session) -> Result<LabelledBars> {
        let lake = session.lake();
        let (bars, origin) = resample::sql(lake, BarRequest::of(self.timeframe)).await?;
        let horizon = self.horizon;
        let width = self.width()?.unwrap_or_else(|| UNIT.to_string());
        let quantile = match self.columns()?.iter().any(|(group, _)| *group == QUANTILE) {
            true => format!(", {QUANTILE}(close, horizon => {horizon}) as {QUANTILE}"),
            false => String::new(),
        };
        // Labels whose bars walk themselves look as far in them as those look that walk shorter ones.
        let alike = format!(
            "select symbol, ts, {UNIT} as unit, {width} as width, path_labels(high, low, close, horizon => {horizon}) as walked\
             {quantile} from ({bars})"
        );
        let plan = session.optimized(session.sql(&alike).await?.logical_plan()).await?;
        let found = match MadeBars::of(&plan)? {
            Some(made) => reach(&made.plan),
            None => reach(&plan),
        };
        let mut whole_history: Vec<String> = vec![];
        let mut reach = found.total().furthest();
        if self.levels.is_some() {
            reach.back = Bars::Unbounded;
            whole_history.push("levels".to_string());
        }
        let table = format!("candles_{}", resample::source_of(lake, self.timeframe)?);
        Ok(LabelledBars { table, bars: LongerBars::new(self.timeframe, &origin)?, reach, whole_history })
    }
}

/// Bars of a run that have no labels, or not all of them, and why.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Unlabelled {
    /// They have no high, low or close, and no row in the table.
    pub incomplete: u64,
    /// The first bars of a symbol, before which there are too few for the width of barriers.
    pub warm_up: u64,
    /// Their horizon is not over.
    pub open: u64,
}

/// Labels of one table that walked the same bars.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Walked {
    /// The length of these bars.
    pub timeframe: String,
    /// The labels.
    pub labels: i64,
    /// Their symbols.
    pub symbols: i64,
}

impl LabelRun {
    /// How many bars there are to label, as far as that is known beforehand.
    pub async fn bars(&self, lake: &Lake) -> Option<u64> {
        let source = resample::source_of(lake, self.timeframe).ok()?;
        let table = lake.candle_table(&format!("candles_{source}")).await.ok()??;
        let rows = table.summary().rows as u64;
        match (source.fixed_length(), self.timeframe.fixed_length()) {
            _ if source == self.timeframe => Some(rows),
            (Some(smaller), Some(larger)) => u64::try_from(larger / smaller).ok().map(|times| rows / times.max(1)),
            _ => None,
        }
    }

    /// The symbols that are chosen and have no bars.
    pub async fn absent(&self, session: &Session) -> Result<Vec<Skipped>> {
        if self.symbols.is_empty() {
            return Ok(vec![]);
        }
        let source = resample::source_of(session.lake(), self.timeframe)?;
        let bars = session.sql(&format!("select symbol, ts from candles_{source}")).await?;
        absent(session, bars.logical_plan(), &self.symbols).await
    }

    /// What a table that was just written lacks.
    pub async fn unlabelled(&self, session: &Session, table: &str) -> Result<Unlabelled> {
        let (bars, _) = resample::sql(session.lake(), BarRequest::of(self.timeframe)).await?;
        let has_label = session.lake().columns(table).await?.iter().any(|column| column == "label");
        let no_label = if has_label { "horizon_complete and label is null" } else { "false" };
        let sql = format!(
            "select bars.incomplete, labels.warm_up, labels.open
             from (select count(*) as incomplete from ({bars}) where (high is null or low is null or close is null) and {chosen}) bars
             cross join (select count(*) filter (where {no_label}) as warm_up,
                                count(*) filter (where not horizon_complete) as open from {}) labels",
            quoting::quoted(table),
            chosen = self.chosen(),
        );
        let rows = session.collect(session.sql(&sql).await?).await?;
        let number = |column: usize| {
            let row = rows.iter().find(|batch| batch.num_rows() > 0);
            let value = row.and_then(|row| row.column(column).as_primitive_opt::<Int64Type>().map(|c| c.value(0)));
            value.and_then(|n| u64::try_from(n).ok()).unwrap_or_default()
        };
        Ok(Unlabelled { incomplete: number(0), warm_up: number(1), open: number(2) })
    }
}

/// Over which bars the labels of a table walked.
pub async fn walked(session: &Session, table: &str) -> Result<Vec<Walked>> {
    let sql = format!(
        "select path_timeframe, count(*), count(distinct symbol) from {} group by path_timeframe order by 1",
        quoting::quoted(table)
    );
    let mut all = vec![];
    for batch in session.collect(session.sql(&sql).await?).await? {
        let counts = [1, 2].map(|i| batch.column(i).as_primitive::<Int64Type>().values().to_vec());
        let rows = texts(batch.column(0))?.into_iter().enumerate();
        all.extend(rows.map(|(i, timeframe)| Walked { timeframe, labels: counts[0][i], symbols: counts[1][i] }));
    }
    Ok(all)
}

/// Symbols of a table none of whose bars has a label yet, and how many bars these are.
pub async fn without_labels(session: &Session, table: &str) -> Result<Vec<(String, i64)>> {
    let sql = format!(
        "select symbol, count(*) from {} group by symbol having count(available_at) = 0 order by symbol",
        quoting::quoted(table)
    );
    let mut all = vec![];
    for batch in session.collect(session.sql(&sql).await?).await? {
        let bars = batch.column(1).as_primitive::<Int64Type>().values();
        all.extend(texts(batch.column(0))?.into_iter().zip(bars.iter().copied()));
    }
    Ok(all)
}

/// The query for the quality of a table of labels: `measure, value, verdict`.
///
/// # Errors
/// There is no such table.
pub async fn quality(session: &Session, table: &str) -> Result<Query> {
    let columns = session.lake().columns(table).await?;
    Ok(Query::of(quality_sql(table, &columns)))
}

fn quality_sql(table: &str, columns: &[String]) -> String {
    let table = quoting::quoted(table);
    let has = |name: &str| columns.iter().any(|c| c == name);
    let mut parts = vec![
        format!(
            "select 1 as n, 'labelled bars' as measure, cast(count(*) as double) as value, '' as verdict from {table}"
        ),
        format!(
            "select 2, 'share of incomplete horizons', avg(case when horizon_complete then 0.0 else 1.0 end), '' from {table}"
        ),
    ];
    if has("label") {
        for (n, class) in [(3, -1), (4, 0), (5, 1)] {
            parts.push(format!(
                "select {n}, 'share of label {class}', share, case when share < 0.05 then 'below 5 %' else '' end
                 from (select cast(count(*) filter (where label = {class}) as double) / nullif(count(label), 0) as share
                       from {table})"
            ));
        }
    }
    if has("label") && has("forward_return") {
        parts.push(format!(
            "select 6, 'share of labels against the sign of the forward return', share,
                    case when share > 0.3 then 'above 30 %' else '' end
             from (select avg(case when label * forward_return < 0 then 1.0 else 0.0 end) as share from {table}
                   where label <> 0 and forward_return <> 0)"
        ));
    }
    if has("forward_return") {
        let moments = format!(
            "select n, m3 / power(m2, 1.5) as skew, m4 / (m2 * m2) - 3 as kurtosis
             from (select count(*) as n, avg(power(r - mean, 2)) as m2, avg(power(r - mean, 3)) as m3,
                          avg(power(r - mean, 4)) as m4
                   from (select forward_return as r from {table} where forward_return is not null)
                   cross join (select avg(forward_return) as mean from {table}))"
        );
        for (n, name, value) in [
            (7, "skewness of the forward return", "skew"),
            (8, "excess kurtosis of the forward return", "kurtosis"),
            (9, "Jarque-Bera statistic of the forward return", "n / 6.0 * (skew * skew + kurtosis * kurtosis / 4)"),
        ] {
            let verdict = if n == 9 { "case when value > 5.99 then 'not normal at 5 %' else '' end" } else { "''" };
            parts.push(format!(
                "select {n}, '{name}', value, {verdict} from (select {value} as value from ({moments}))"
            ));
        }
    }
    format!("select measure, value, verdict from ({}) order by n", parts.join(" union all "))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn labels_are_chosen_by_group_or_name() {
        let mut run = LabelRun::new(Timeframe::Day);
        run.labels = vec!["mfe".to_string(), "triple_barrier".to_string()];
        let columns = run.columns().unwrap();
        assert_eq!(columns.first().unwrap().1, "label");
        assert_eq!(columns.last().unwrap().1, "mfe");
        run.labels = vec!["mfee".to_string()];
        assert!(run.columns().unwrap_err().to_string().contains("did you mean `mfe`?"));
        run.labels = vec!["breakout".to_string()];
        assert!(run.columns().is_err(), "no levels");
    }
}
