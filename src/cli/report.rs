//! `tallow report`.

use super::Failure;
use super::args::{ChartArgs, MatchArgs, OutputArgs, ReportCommand, ScanArgs};
use super::config::Config;
use super::destination::{self, writable};
use super::left_out::{self, partial};
use super::matching::{Found, deliver};
use super::scan::{scan_of, table_of};
use crate::Error;
use crate::Session;
use crate::engine::dialect::Params;
use crate::lake::StoredPattern;
use crate::pipeline::label::quality;
use crate::pipeline::report::{self, Chart, Page};
use crate::pipeline::scan::{Control, Summary};
use crate::pipeline::score::Model;
use arrow::array::RecordBatch;
use arrow::compute::concat_batches;
use std::collections::BTreeMap;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use tallow_common::time::shown;
use tallow_udfs::candle::Timeframe;
use tokio_util::sync::CancellationToken;

pub(super) async fn report(config: &Config, command: ReportCommand, cancel: CancellationToken) -> Result<(), Failure> {
    let session = config.session().await?;
    match command {
        ReportCommand::Match { args, charts } => of_matches(&session, config, args, charts).await,
        ReportCommand::Scan { args, charts, pictures } => {
            of_scan(&session, config, args, charts.charts, pictures.png.as_deref(), cancel).await
        }
        ReportCommand::Labels { table, symbols, timeframe, output, charts, pictures } => {
            let page = Target { output: &output, png: pictures.png.as_deref() };
            of_labels(&session, config, &table, symbols, timeframe, charts.charts, page).await
        }
    }
}

fn page_of(args: &OutputArgs) -> Result<PathBuf, Failure> {
    if args.format.is_some() {
        return Err(Failure::Usage("--format: a report is always a page of HTML".to_string()));
    }
    let page = args.output.clone();
    let page = page.ok_or_else(|| Failure::Usage("a report needs a file: -o page.html".to_string()))?;
    writable(&page)?;
    Ok(page)
}

/// Where a report goes.
#[derive(Clone, Copy)]
struct Target<'a> {
    output: &'a Path,
    png: Option<&'a Path>,
}

async fn of_matches(session: &Session, config: &Config, args: MatchArgs, charts: ChartArgs) -> Result<(), Failure> {
    let output = page_of(&args.output)?;
    deliver(session, config, &args, async |found: &Found| {
        matches_page(session, config, &args, charts.charts, found, &output).await
    })
    .await
}

async fn matches_page(
    session: &Session,
    config: &Config,
    args: &MatchArgs,
    most: usize,
    found: &Found,
    output: &Path,
) -> Result<(), Failure> {
    let shapes = shapes(session, args).await?;
    let Found { rows, tables, left_out } = found;
    let drawn = report::charts_of_matches(session, rows, &shapes, tables, most).await?;
    let mut sources = vec![];
    for (table, _) in tables {
        sources.push(report::source(session, table).await?);
    }
    if !session.tables().records::<StoredPattern>().await?.is_empty() {
        sources.push(report::source(session, "patterns").await?);
    }
    let patterns: Vec<&str> = shapes.keys().map(String::as_str).collect();
    // Numbers have no name that anybody could look up.
    let typed = args.search.pattern.as_ref().filter(|text| !shapes.contains_key(*text)).cloned();
    let mode = match (args.search.latest, args.search.exact) {
        (false, _) => "all windows that there ever were",
        (true, true) => "the newest bars of every symbol",
        (true, false) => "the newest bars of the symbols that correlate best",
    };
    let mut parameters = vec![
        ("patterns".to_string(), patterns.join(", ")),
        ("windows".to_string(), mode.to_string()),
        ("matches of each".to_string(), args.search.top.to_string()),
        ("scales".to_string(), args.search.scales.clone()),
        ("random windows".to_string(), args.search.null.to_string()),
    ];
    for (name, value) in [
        ("values", typed),
        ("channels", args.search.channels.clone()),
        ("weights", Some(args.search.weights.join(", ")).filter(|w| !w.is_empty())),
        ("bands", Some(args.search.bands.join(", ")).filter(|b| !b.is_empty())),
        ("percentile at least", args.search.percentile.map(|p| p.to_string())),
        ("model", args.score.clone()),
    ] {
        parameters.extend(value.map(|value| (name.to_string(), value)));
    }
    let mut notes = left_out_note(left_out.len());
    match args.score.as_deref() {
        Some(Model::WALK) => notes.push(
            "The probabilities are not trained: they are those of a driftless random walk with the volatility of each match."
                .to_string(),
        ),
        Some(name) => {
            if let Model::Boosted(model) = crate::pipeline::score::Models::of(session)?.load(session.tables(), name).await?.as_ref() {
                notes.push(format!("Model {name}: {}", model.origin.evaluation.verdict()));
            }
        }
        None => {}
    }
    let title = format!("Like {}", patterns.join(", "));
    let page = Page { title, parameters, sources, notes, charts: drawn, rows: rows.clone() };
    write(config, &page, Target { output, png: args.png.as_deref() })
}

/// The closes of the patterns that are searched for.
async fn shapes(session: &Session, args: &MatchArgs) -> Result<BTreeMap<String, Vec<f64>>, Failure> {
    let run = args.search.run(session).await?;
    Ok(run.patterns.into_iter().map(|p| (p.id, p.closes[p.lead..].to_vec())).collect())
}

/// Draws each match into a folder.
pub(super) async fn draw(session: &Session, args: &MatchArgs, found: &Found, folder: &Path) -> Result<(), Failure> {
    let (shapes, rows) = (shapes(session, args).await?, &found.rows);
    let charts = report::charts_of_matches(session, rows, &shapes, &found.tables, rows.num_rows()).await?;
    pictures(&charts, folder)
}

async fn of_scan(
    session: &Session,
    config: &Config,
    args: ScanArgs,
    most: usize,
    png: Option<&Path>,
    cancel: CancellationToken,
) -> Result<(), Failure> {
    let output = page_of(&args.output)?;
    if args.sql {
        return Err(Failure::Usage("--sql: `tallow scan --sql` shows it, a report does not".to_string()));
    }
    if let Some(path) = &args.failures {
        destination::check(&left_out::output(path))?;
    }
    folder_of_pictures(png)?;
    let (scan, stored) = scan_of(session, &args).await?;
    let control = Control { progress: Arc::new(|_, _| {}), cancel };
    let mut run = scan.run(session, control).await?;
    let mut batches = vec![];
    while let Some(batch) = run.next().await {
        batches.push(batch?);
    }
    let rows = concat_batches(&run.schema(), &batches)?;
    let table = run.table();
    let is_of_bars = ["symbol", "ts"].iter().all(|c| rows.column_by_name(c).is_some());
    let drawn = if is_of_bars { report::charts_of_scan(session, &rows, table, most).await? } else { vec![] };
    let mut parameters = vec![("formula".to_string(), scan.formula.to_string())];
    for (name, value) in [
        ("kept as", stored),
        ("from", args.from.map(shown)),
        ("to", args.to.map(shown)),
        ("ranked by", args.rank.clone()),
        ("at most", args.top.map(|n| n.to_string())),
        ("parameters", Some(args.param.join(", ")).filter(|p| !p.is_empty())),
    ] {
        parameters.extend(value.map(|value| (name.to_string(), value)));
    }
    let Summary { failures, too_old, .. } = run.summary();
    if let Some(path) = &args.failures {
        left_out::write(path, &failures)?;
    }
    let mut notes = left_out_note(failures.len());
    if too_old > 0 {
        notes.push(format!("{too_old} symbols were left out because their newest bar is too old."));
    }
    let sources = vec![report::source(session, table).await?];
    let title = format!("Scan: {}", scan.formula);
    let page = Page { title, parameters, sources, notes, charts: drawn, rows };
    write(config, &page, Target { output: &output, png })?;
    partial(&failures)
}

fn left_out_note(count: usize) -> Vec<String> {
    if count > 0 { vec![format!("{count} symbols or files were left out.")] } else { vec![] }
}

async fn of_labels(
    session: &Session,
    config: &Config,
    table: &str,
    symbols: Vec<String>,
    timeframe: Option<String>,
    most: usize,
    page: Target<'_>,
) -> Result<(), Failure> {
    let candles = match (timeframe.as_deref(), table.strip_prefix("labels_").map(str::parse::<Timeframe>)) {
        (Some(text), _) => table_of(Some(text))?,
        (None, Some(Ok(timeframe))) => format!("candles_{timeframe}"),
        (None, _) => {
            return Err(Failure::Usage(format!("which candles are the labels of '{table}' about? say -t TIMEFRAME")));
        }
    };
    writable(page.output)?;
    let columns = session.tables().columns(table).await?;
    let frame = session.sql_with(&quality(table, &columns), &Params::default()).await?;
    let schema = Arc::new(frame.schema().as_arrow().clone());
    let batches = session.collect(frame).await?;
    let rows = concat_batches(&batches.first().map_or(schema, RecordBatch::schema), &batches)?;
    folder_of_pictures(page.png)?;
    let drawn = report::charts_of_labels(session, table, &candles, &symbols, most).await?;
    if drawn.is_empty() && !symbols.is_empty() {
        return Err(Error::invalid(format!("{table} has no labels of {}", symbols.join(", "))).into());
    }
    let sources = vec![report::source(session, table).await?, report::source(session, &candles).await?];
    let parameters = vec![("labels".to_string(), columns.join(", "))];
    let title = format!("Labels: {table}");
    write(config, &Page { title, parameters, sources, notes: vec![], charts: drawn, rows }, page)
}

/// Writes the page, and each chart as a picture.
fn write(config: &Config, page: &Page, Target { output, png }: Target<'_>) -> Result<(), Failure> {
    if let Some(folder) = png {
        pictures(&page.charts, folder)?;
    }
    let (place, mut file) = destination::Target::create(output)?;
    let written = file.write_all(page.html()?.as_bytes());
    written.map_err(|e| Error::File(output.display().to_string(), e))?;
    place.complete()?;
    if !config.quiet {
        let (charts, rows) = (page.charts.len(), page.rows.num_rows());
        let _ = writeln!(std::io::stderr(), "{}: {charts} charts, {rows} rows", output.display());
    }
    Ok(())
}

/// Makes the folder of pictures, if there are to be any, before anything is computed.
pub(super) fn folder_of_pictures(png: Option<&Path>) -> Result<(), Failure> {
    match png {
        Some(folder) => Ok(std::fs::create_dir_all(folder).map_err(|e| Error::File(folder.display().to_string(), e))?),
        None => Ok(()),
    }
}

/// Writes charts as pictures into a folder, numbered in their order.
fn pictures(charts: &[Chart], folder: &Path) -> Result<(), Failure> {
    for (i, chart) in charts.iter().enumerate() {
        let name: String =
            chart.title.chars().take(80).map(|c| if c.is_ascii_alphanumeric() { c } else { '_' }).collect();
        let path = folder.join(format!("{:03}_{name}.png", i + 1));
        let written = std::fs::write(&path, report::png(chart)?);
        written.map_err(|e| Error::File(path.display().to_string(), e))?;
    }
    Ok(())
}
