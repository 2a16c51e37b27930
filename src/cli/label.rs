//! `tallow label`, `levels`, `check`.

use super::Failure;
use super::args::{CheckArgs, LabelArgs, LevelsArgs, OutputArgs};
use super::commands::{out, params, run_text};
use super::config::Config;
use super::progress::Progress;
use crate::Error;
use crate::Session;
use crate::engine::dialect::Params;
use crate::lake::{Computed, ResultKind, tables_of_levels};
use crate::pipeline::check::{self, CheckOptions, ColumnCheck, Verdict};
use crate::pipeline::formulas;
use crate::pipeline::label::{LabelRun, Unlabelled, quality};
use crate::pipeline::levels::{self, Detection, Source};
use arrow::array::AsArray;
use arrow::datatypes::Int64Type;
use datafusion::common::DataFusionError;
use std::collections::{BTreeMap, HashMap};
use std::io::Write;
use std::sync::Arc;

pub(super) async fn label(config: &Config, args: LabelArgs) -> Result<(), Failure> {
    let timeframe = args.timeframe;
    if args.level_events.is_some() && matches!(args.levels.as_str(), "auto" | "none") {
        return Err(Failure::Usage("--level-events belongs to a table of levels: give --levels TABLE".to_string()));
    }
    let all = args.labels.iter().any(|l| l == "all");
    let run = LabelRun {
        horizon: args.horizon,
        labels: if all { vec![] } else { args.labels },
        levels: match args.levels.as_str() {
            "none" => None,
            "auto" => Some(Source::Auto(Detection::default())),
            table => Some(Source::Tables { levels: table.to_string(), events: args.level_events }),
        },
        params: assignments(&args.param)?,
        seed: args.preset.is_some(),
        own_bars: args.own_bars,
        ..LabelRun::new(timeframe)
    };
    if config.has_candles() {
        return Err(Failure::Usage(
            "label reads the lake; --candles has no meaning for it: ingest the file first".to_string(),
        ));
    }
    let session = config.session().await?;
    if args.sql {
        out!("{}", run.sql(session.tables()).await?);
        return Ok(());
    }
    let table = ResultKind::Labels.table(&args.into.unwrap_or_else(|| timeframe.to_string())).map_err(usage)?;
    let progress = Arc::new(Progress::new(config, run.bars(session.tables()).await, "bars"));
    let told = Arc::clone(&progress);
    let written = run.write(&session, &table, move |rows| told.set(rows)).await?;
    progress.clear();
    out!("table      {table}");
    out!("rows       {}", written.rows);
    let Unlabelled { incomplete, warm_up, open } = run.unlabelled(&session, &table).await?;
    for (bars, why) in [
        (incomplete, "have no high, low or close, and no row"),
        (warm_up, "have no label: too few bars before them for the width of barriers"),
        (open, "have a horizon that is not over"),
    ] {
        if bars > 0 {
            out!("left out   {bars} {why}");
        }
    }
    out!("version    {}", written.version);
    show_symbols(&session, &table).await?;
    if let Some(progress) = Arc::into_inner(progress) {
        progress.finish(None, written.rows, session.bytes_read());
    }
    if args.check {
        let columns = session.tables().columns(&table).await?;
        let output = OutputArgs { format: None, output: None, max_rows: 0 };
        run_text(&session, config, &quality(&table, &columns), &Params::default(), &output).await?;
    }
    Ok(())
}

/// Over which bars the labels walked, and which symbols have none.
async fn show_symbols(session: &Session, table: &str) -> Result<(), Failure> {
    let quoted = crate::pipeline::quoting::quoted(table);
    let sql = format!(
        "select path_timeframe, count(*), count(distinct symbol) from {quoted} group by path_timeframe order by 1"
    );
    let frame = session.sql(&sql).await?;
    for batch in session.collect(frame).await? {
        let timeframe =
            arrow::compute::cast(batch.column(0), &arrow::datatypes::DataType::Utf8).map_err(Error::from)?;
        let (rows, symbols) =
            (batch.column(1).as_primitive::<Int64Type>(), batch.column(2).as_primitive::<Int64Type>());
        for i in 0..batch.num_rows() {
            let timeframe = timeframe.as_string::<i32>().value(i);
            out!("path       {timeframe} bars for {} labels of {} symbols", rows.value(i), symbols.value(i));
        }
    }
    let sql =
        format!("select symbol, count(*) from {quoted} group by symbol having count(available_at) = 0 order by symbol");
    let frame = session.sql(&sql).await?;
    for batch in session.collect(frame).await? {
        let symbol = arrow::compute::cast(batch.column(0), &arrow::datatypes::DataType::Utf8).map_err(Error::from)?;
        let rows = batch.column(1).as_primitive::<Int64Type>();
        for i in 0..batch.num_rows() {
            let name = symbol.as_string::<i32>().value(i);
            out!("warning    {name}: none of its {} bars has a label yet (too few bars)", rows.value(i));
        }
    }
    Ok(())
}

fn assignments(given: &[String]) -> Result<BTreeMap<String, String>, Failure> {
    let pairs = given.iter().map(|pair| match pair.split_once('=') {
        Some((name, value)) if !name.trim().is_empty() => {
            Ok((name.trim().to_ascii_lowercase(), value.trim().to_string()))
        }
        _ => Err(Failure::Usage(format!("--param '{pair}': expected NAME=VALUE"))),
    });
    pairs.collect()
}

pub(super) async fn levels(config: &Config, args: LevelsArgs) -> Result<(), Failure> {
    let timeframe = args.timeframe;
    if !(0.0..=1e6).contains(&args.cluster) {
        return Err(Failure::Usage(format!("--cluster {}: expected a number from 0 up", args.cluster)));
    }
    let detection = Detection { k: args.k, cluster: args.cluster, max_age: args.max_age };
    let session = config.session().await?;
    let levels = levels::levels(session.tables(), timeframe, detection).await?;
    let events = levels::events(session.tables(), timeframe, detection).await?;
    let Some(into) = args.into else {
        let sql = match args.events {
            true => format!("select * from ({events}) order by symbol, ts"),
            false => format!("select * from ({levels}) order by symbol, created_at"),
        };
        return run_text(&session, config, &sql, &Params::default(), &args.output).await;
    };
    let told = serde_json::json!({ "k": args.k, "cluster": args.cluster, "max_age": args.max_age });
    let properties: HashMap<String, String> = [
        ("tallow.levels.timeframe".to_string(), timeframe.to_string()),
        ("tallow.levels.params".to_string(), told.to_string()),
    ]
    .into();
    let tables = tables_of_levels(&into).map_err(usage)?;
    for (kind, table) in tables.clone() {
        let properties = properties.clone();
        session.care(move |lake| async move { lake.check_replaceable(&table, kind, &properties).await }).await?;
    }
    for ((kind, table), sql) in tables.into_iter().zip([levels, events]) {
        let rows = session.plan(session.sql(&sql).await?).await?;
        let properties = properties.clone();
        let computed = Computed { rows, ordered: false, properties, kind, progress: Box::new(|_| {}) };
        let written = session.replace(&table, computed).await?;
        out!("{table:<20} {:>9} rows, version {}", written.rows, written.version);
    }
    Ok(())
}

/// What cannot be the name of a table.
fn usage(error: DataFusionError) -> Failure {
    Failure::Usage(tallow_common::readable(&error))
}

pub(super) async fn check(config: &Config, args: CheckArgs) -> Result<(), Failure> {
    let queries = crate::named_queries(Some(config.queries()))?;
    let given = params(&args.param)?;
    let session = config.session().await?;
    let (text, given) = match queries.get(args.text.trim()) {
        Some(query) => (query.sql.clone(), query.complete(&given)?),
        None => match formulas::find(&session, &args.text).await? {
            Some(stored) => (stored.formula, given),
            None => (args.text.clone(), given),
        },
    };
    let options = CheckOptions { cuts: args.cuts.into(), symbols: args.sample as usize, timeframe: args.timeframe };
    let report = check::check(&session, &text, &given, &options).await?;
    out!("{:<32} {:>8} {:>10} {:>10}  {:<9}", "column", "ahead", "compared", "changed", "verdict");
    for column in &report.columns {
        let ColumnCheck { name, declared, compared, changed, .. } = column;
        out!("{name:<32} {:>8} {compared:>10} {changed:>10}  {}", declared.to_string(), column.verdict());
        if let Some((symbol, ts)) = &column.first {
            let at = chrono::DateTime::from_timestamp_micros(*ts).map(|t| t.format("%Y-%m-%d %H:%M").to_string());
            let at = at.unwrap_or_default();
            out!("    first at {symbol} {at}; looks at least {} bars ahead", column.looked);
        }
    }
    if report.newest_only {
        out!("only the newest bar of each symbol is in the result: its rows could not be compared with the past");
    }
    if !config.quiet {
        let bars = report.bars.map_or_else(|| "of unknown length".to_string(), |(t, o)| format!("of {t}, origin {o}"));
        let _ = writeln!(
            std::io::stderr(),
            "tried at {} instants of the past; rows are about bars {bars}",
            report.cuts.len()
        );
    }
    let leaks: Vec<_> =
        report.columns.iter().filter(|c| c.verdict() == Verdict::Leak).map(|c| c.name.as_str()).collect();
    match leaks.is_empty() {
        true => Ok(()),
        false => Err(Error::invalid(format!("looks into the future: {}", leaks.join(", "))).into()),
    }
}
