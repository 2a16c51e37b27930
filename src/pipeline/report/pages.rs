//! `Report`: the pages of matches, of a scan, and of labels.

use super::{
    Chart, Figure, Page, Section, Source, charts_of_labels, charts_of_matches, charts_of_scan, picture_of_pattern,
    source,
};
use crate::Session;
use crate::control::Control;
use crate::label::quality;
use crate::matching::{Found, Look, MatchJob, Scoring};
use crate::outcome::Skipped;
use crate::query::Executed;
use crate::scan::Scan;
use arrow::array::RecordBatch;
use arrow::compute::concat_batches;
use futures::TryStreamExt;
use tallow_common::time::shown;
use tallow_common::{Error, Result};
use tallow_lake::StoredPattern;
use tallow_udfs::calendar::Timeframe;
use tallow_udfs::similarity::reference::Channels;

fn charts_and_rows(charts: Vec<Chart>, rows: RecordBatch) -> Vec<Section> {
    Section::figures("Charts", charts).into_iter().chain([Section::table("Rows", rows)]).collect()
}

/// Charts of the first matches, at most so many.
pub async fn match_charts(session: &Session, job: &MatchJob, found: &Found, most: usize) -> Result<Vec<Chart>> {
    charts_of_matches(session, &found.rows, &job.shapes(), &found.tables, most).await
}

/// The page of what a search found, with at most so many charts.
pub async fn match_page(session: &Session, job: &MatchJob, found: &Found, charts: usize) -> Result<Page> {
    let mut sources = vec![];
    for (table, _) in &found.tables {
        sources.push(source(session, table).await?);
    }
    if !session.lake().records::<StoredPattern>().await?.is_empty() {
        sources.push(source(session, "patterns").await?);
    }
    let mut notes = skipped_note(found.skipped.len());
    if let Some(scoring) = &job.request.score {
        notes.extend(scoring.note(session).await?);
    }
    Ok(Page {
        title: format!("Like {}", names_of(job)),
        parameters: parameters_of_matches(job),
        sources,
        notes,
        sections: Section::figures("Patterns", job.pictures(session, charts).await?)
            .into_iter()
            .chain(charts_and_rows(match_charts(session, job, found, charts).await?, found.rows.clone()))
            .collect(),
    })
}

impl MatchJob {
    /// The patterns that are searched for, at most so many.
    async fn pictures(&self, session: &Session, most: usize) -> Result<Vec<Figure>> {
        let mut pictures = vec![];
        for pattern in self.patterns().iter().take(most) {
            let table =
                pattern.timeframe.as_ref().map_or("candles".to_string(), |timeframe| format!("candles_{timeframe}"));
            let closes = &pattern.closes[pattern.lead..];
            pictures.push(picture_of_pattern(session, &pattern.id, closes, pattern.origin.as_ref(), &table).await?);
        }
        Ok(pictures)
    }
}

fn names_of(job: &MatchJob) -> String {
    job.shapes().into_keys().collect::<Vec<_>>().join(", ")
}

fn parameters_of_matches(job: &MatchJob) -> Vec<(String, String)> {
    let (request, options, shapes) = (&job.request, &job.request.options, job.shapes());
    let mode = match request.look {
        Look::History => "the whole past of every symbol",
        Look::Latest { exact: true, .. } => "the newest bars of every symbol",
        Look::Latest { exact: false, .. } => {
            "the newest bars of the fifth of symbols that correlate best with the pattern"
        }
    };
    let scales = options.scales.iter().map(f64::to_string).collect::<Vec<_>>().join(",");
    let adjust = &options.adjust;
    let weights = [("price", adjust.price), ("averages", adjust.averages), ("slopes", adjust.slopes)];
    let bands = [("price", adjust.price_band), ("averages", adjust.averages_band)];
    let channels = |channels: &Channels| if channels.averages > 0.0 { "price,averages" } else { "price" };
    let all = [
        ("patterns", Some(names_of(job))),
        ("searched", Some(mode.to_string())),
        ("matches of each", Some(options.k.to_string())),
        ("scales", Some(scales)),
        ("random windows", Some(options.null.size.to_string())),
        // Numbers have no name that anybody could look up.
        ("values", request.pattern.clone().filter(|text| !shapes.contains_key(text))),
        ("channels", options.channels.as_ref().map(|c| channels(c).to_string())),
        ("weights", given(&weights)),
        ("bands", given(&bands)),
        ("percentile at least", request.options.percentile.map(|p| p.to_string())),
        ("model", request.score.as_ref().map(|Scoring { model, .. }| model.clone())),
    ];
    named(all)
}

/// The numbers that are given, with their names.
fn given(numbers: &[(&str, Option<f64>)]) -> Option<String> {
    let given: Vec<_> = numbers.iter().filter_map(|(name, n)| n.map(|n| format!("{name}={n}"))).collect();
    (!given.is_empty()).then(|| given.join(", "))
}

fn named<const N: usize>(all: [(&str, Option<String>); N]) -> Vec<(String, String)> {
    all.into_iter().filter_map(|(name, value)| Some((name.to_string(), value?))).collect()
}

fn skipped_note(count: usize) -> Vec<String> {
    if count > 0 { vec![format!("{count} symbols or files were left out.")] } else { vec![] }
}

/// Runs a scan, and makes the page of what it found, with at most so many charts; `kept_as` is the name of the formula, where
/// the lake keeps it. Returns what was not used as well.
pub async fn scan_page(
    session: &Session,
    scan: &Scan,
    kept_as: Option<String>,
    charts: usize,
    control: &Control,
) -> Result<(Page, Vec<Skipped>)> {
    let found = scan.run(session, control).await?;
    let batches: Vec<_> = found.stream.try_collect().await?;
    let (rows, counts, skipped) =
        (concat_batches(&found.schema, &batches)?, found.statistics.scan(), found.skipped.get());
    let table = counts.table.as_str();
    let is_of_bars = ["symbol", "ts"].iter().all(|c| rows.column_by_name(c).is_some());
    let charts = if is_of_bars { charts_of_scan(session, &rows, table, charts).await? } else { vec![] };
    let params: Vec<_> = scan.params.iter().map(|(name, value)| format!("{name}={value}")).collect();
    let parameters = named([
        ("formula", Some(scan.formula.to_string())),
        ("kept as", kept_as),
        ("from", scan.range.from.map(shown)),
        ("to", scan.range.to.map(shown)),
        (
            "ranked by",
            scan.rank.as_ref().map(|rank| format!("{}{}", rank.by, if rank.descending { "" } else { " asc" })),
        ),
        ("at most", scan.top.map(|n| n.to_string())),
        ("parameters", (!params.is_empty()).then(|| params.join(", "))),
    ]);
    let mut notes = skipped_note(skipped.len());
    if counts.too_old > 0 {
        notes.push(format!("{} symbols were left out because their newest bar is too old.", counts.too_old));
    }
    let sources = vec![source(session, table).await?];
    let title = format!("Scan: {}", scan.formula);
    Ok((Page { title, parameters, sources, notes, sections: charts_and_rows(charts, rows) }, skipped))
}

/// A page of labels.
#[derive(Debug, Clone)]
pub struct LabelReport {
    /// The table of labels.
    pub table: String,
    /// The table of candles that they are about; `None`: that of their timeframe.
    pub candles: Option<String>,
    /// Charts of these symbols; none: the first ones.
    pub symbols: Vec<String>,
    /// At most so many charts.
    pub charts: usize,
}

impl LabelReport {
    /// The table of candles that the labels are about.
    ///
    /// # Errors
    /// Their table's name does not tell.
    pub fn candles(&self) -> Result<String> {
        let named = self.table.strip_prefix("labels_").map(str::parse::<Timeframe>);
        match (&self.candles, named) {
            (Some(table), _) => Ok(table.clone()),
            (None, Some(Ok(timeframe))) => Ok(format!("candles_{timeframe}")),
            (None, _) => Err(Error::Request(format!(
                "which candles are the labels of '{}' about? say the option `timeframe TIMEFRAME`",
                self.table
            ))),
        }
    }

    /// The page.
    ///
    /// # Errors
    /// The table has no labels of the symbols.
    pub async fn page(&self, session: &Session, control: &Control) -> Result<Page> {
        let LabelReport { table, symbols, charts, .. } = self;
        let candles = self.candles()?;
        let columns = session.lake().columns(table).await?;
        let rows = quality_rows(session, table, control).await?;
        let charts = charts_of_labels(session, table, &candles, symbols, *charts).await?;
        if charts.is_empty() && !symbols.is_empty() {
            return Err(Error::invalid(format!("{table} has no labels of {}", symbols.join(", "))));
        }
        let sources: Vec<Source> = vec![source(session, table).await?, source(session, &candles).await?];
        let parameters = vec![("labels".to_string(), columns.join(", "))];
        let sections = charts_and_rows(charts, rows);
        Ok(Page { title: format!("Labels: {table}"), parameters, sources, notes: vec![], sections })
    }
}

/// The quality of labels.
async fn quality_rows(session: &Session, table: &str, control: &Control) -> Result<RecordBatch> {
    let mut statements = quality(session, table).await?.begin(session).await?;
    match statements.next(session, control).await? {
        Some(Executed::Rows(outcome)) => outcome.rows().await,
        _ => Err(Error::invalid(format!("there is nothing to tell of the labels of '{table}'"))),
    }
}
