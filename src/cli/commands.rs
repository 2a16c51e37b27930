//! The commands, each a few lines around the library.

use super::Failure;
use super::args::{
    DescribeArgs, ExplainArgs, Format, FunctionsArgs, OutputArgs, QueryArgs, RangeArgs, RunArgs, SynthArgs,
};
use super::config::Config;
use super::destination;
use super::left_out::partial;
use super::output::Writer;
use super::progress::Progress;
use super::scan::{as_scan, named_symbols};
use crate::Error;
use crate::engine::dialect::{Params, Parsed, Problems};
use crate::engine::reach::reach;
use crate::pipeline::among::{absent, among};
use crate::pipeline::bounds::{self, Range};
use crate::pipeline::synth::Synth;
use crate::pipeline::validate::{Calendar, Validation};
use crate::pipeline::{functions as listing, named};
use crate::{Session, lake::TableSummary};
use datafusion::logical_expr::LogicalPlan;
use datafusion::physical_plan::display::DisplayableExecutionPlan;
use datafusion::sql::parser::Statement;
use futures::StreamExt;
use std::io::{IsTerminal, Read, Write};

/// Writes a line to standard output, without the secrets of URLs; a closed pipe ends the command quietly.
macro_rules! out {
    ($($arg:tt)*) => {
        if writeln!(std::io::stdout(), "{}", tallow_common::redact::redacted(&format_args!($($arg)*).to_string())).is_err() {
            return Err(Failure::ClosedPipe);
        }
    };
}
pub(super) use out;

/// Shows what is allowed and hardly meant.
pub(super) fn warn(config: &Config, warnings: &Problems) {
    if !config.quiet && !warnings.list.is_empty() {
        let _ = writeln!(std::io::stderr(), "warning: {}", warnings.to_string().replace("\n\n", "\nwarning: "));
    }
}

/// Values of parameters, each given once.
pub(super) fn params<'a>(given: impl IntoIterator<Item = &'a String>) -> Result<Params, Failure> {
    let mut params = Params::default();
    for pair in given {
        let Some((name, value)) = pair.split_once('=').filter(|(name, _)| !name.trim().is_empty()) else {
            return Err(Failure::Usage(format!("parameter '{pair}': expected NAME=VALUE, such as level=20")));
        };
        let name = name.trim();
        if let Some(first) = params.get(name) {
            return Err(Failure::Usage(format!("parameter `{name}` is given twice, as '{first}' and as '{value}'")));
        }
        params.set(name, value);
    }
    Ok(params)
}

pub(super) async fn query(config: &Config, args: QueryArgs) -> Result<(), Failure> {
    let text = match (args.sql.or(args.command), &args.file) {
        (Some(text), _) => text,
        (None, Some(path)) => std::fs::read_to_string(path).map_err(|e| Error::File(path.display().to_string(), e))?,
        (None, None) if std::io::stdin().is_terminal() => {
            return Err(Failure::Usage(
                "nothing to run: give SQL, a file with -f, or start `tallow` alone".to_string(),
            ));
        }
        (None, None) => {
            let mut text = String::new();
            std::io::stdin().read_to_string(&mut text).map_err(|e| Error::File("standard input".to_string(), e))?;
            text
        }
    };
    let session = config.session().await?;
    run_in_range(&session, config, &text, &params(&args.param)?, &args.range, &args.output).await
}

/// Runs all statements of a text and writes the result of each that has one.
pub(super) async fn run_text(
    session: &Session,
    config: &Config,
    text: &str,
    params: &Params,
    output: &OutputArgs,
) -> Result<(), Failure> {
    run_in_range(session, config, text, params, &RangeArgs::default(), output).await
}

/// The times from one up to another.
pub(super) fn times(from: Option<i64>, to: Option<i64>) -> Result<Range, Failure> {
    match (from, to) {
        (Some(from), Some(to)) if from >= to => {
            Err(Failure::Usage("the range is empty: --from must lie before --to".to_string()))
        }
        _ => Ok(Range { from, to }),
    }
}

/// As [`run_text`], for some times and symbols.
pub(super) async fn run_in_range(
    session: &Session,
    config: &Config,
    text: &str,
    params: &Params,
    range: &RangeArgs,
    output: &OutputArgs,
) -> Result<(), Failure> {
    destination::check(output)?;
    let times = times(range.from, range.to)?;
    let symbols = named_symbols(&range.symbols)?;
    let mut left_out = vec![];
    let Parsed { statements, warnings } = session.parse(text, params).await?;
    warn(config, &warnings);
    if statements.is_empty() {
        return Err(Error::invalid("the text holds no statement".to_string()).into());
    }
    let shown = statements.iter().filter(|statement| !is_silent(statement)).count();
    let is_one = output.output.is_some() || output.format.is_some_and(Format::is_binary);
    if shown > 1 && is_one {
        return Err(Failure::Usage("the results of several statements cannot share one file".to_string()));
    }
    for statement in statements {
        let read_before = session.bytes_read();
        let silent = is_silent(&statement);
        let mut frame = session.frame(statement).await?;
        if let Some(symbols) = symbols.as_deref().filter(|_| !silent) {
            for failure in absent(session, frame.logical_plan(), symbols).await? {
                if !left_out.contains(&failure) {
                    left_out.push(failure);
                }
            }
            frame = among(frame, symbols)?;
        }
        if !silent && range.available_at {
            frame = bounds::with_available_at(session, frame).await?;
        }
        if !silent {
            frame = bounds::bounded(session, frame, times).await?;
        }
        let plan = session.plan(frame).await?;
        let progress = Progress::new(config, None, "rows").hidden(output.streams_to_terminal());
        let mut batches = session.execute(std::sync::Arc::clone(&plan))?;
        let mut writer = if silent { None } else { Some(Writer::new(output, plan.schema())?) };
        while let Some(batch) = batches.next().await {
            let batch = batch?;
            progress.add(batch.num_rows() as u64);
            if let Some(writer) = &mut writer {
                writer.write(&batch)?;
            }
            // Batches may always be there, and then nothing else lets go of this thread: an interrupt is heard here.
            tokio::task::yield_now().await;
        }
        progress.clear();
        let rows = writer.map(Writer::finish).transpose()?.unwrap_or_default();
        progress.finish(Some(&plan), rows as u64, session.bytes_read() - read_before);
    }
    partial(&left_out)
}

/// Statements that change something and have nothing to show.
fn is_silent(statement: &Statement) -> bool {
    use datafusion::sql::sqlparser::ast::Statement as Sql;
    match statement {
        Statement::Statement(inner) => !matches!(
            inner.as_ref(),
            Sql::Query(_)
                | Sql::ShowVariable { .. }
                | Sql::ShowTables { .. }
                | Sql::ShowColumns { .. }
                | Sql::ShowFunctions { .. }
                | Sql::ExplainTable { .. }
                | Sql::Explain { .. }
        ),
        Statement::Explain(_) => false,
        _ => true,
    }
}

pub(super) async fn run(config: &Config, args: RunArgs) -> Result<(), Failure> {
    let queries = crate::named_queries(Some(config.queries()))?;
    let Some(name) = args.name.filter(|_| !args.list) else {
        for query in queries.iter() {
            out!("{:<18} {}", query.name, query.doc);
            for param in &query.params {
                let default = param.default.as_ref().map_or_else(|| " (required)".to_string(), |d| format!("={d}"));
                out!("    {}{default}  {}", param.name, param.doc);
            }
        }
        return Ok(());
    };
    let query = queries.find(&name)?;
    let params = query.complete(&params(args.values.iter().chain(&args.param))?)?;
    let session = config.session().await?;
    let (sql, params) = match args.timeframe {
        Some(timeframe) => (named::over(&session, &query.sql, &params, timeframe).await?, Params::default()),
        None => (query.sql.clone(), params),
    };
    run_in_range(&session, config, &sql, &params, &args.range, &args.output).await
}

pub(super) async fn explain(config: &Config, args: ExplainArgs) -> Result<(), Failure> {
    let queries = crate::named_queries(Some(config.queries()))?;
    let given = params(&args.param)?;
    let session = config.session().await?;
    let table = args.timeframe.map(|timeframe| format!("candles_{timeframe}"));
    let formula = match queries.get(args.text.trim()) {
        Some(_) => None,
        None => as_scan(&session, &args.text, &given, table).await?,
    };
    let (text, params) = match (formula, queries.get(args.text.trim())) {
        (Some(sql), _) => {
            out!("FORMULA\n{sql}\n");
            (sql, Params::default())
        }
        (None, query) => {
            let (text, params) = match query {
                Some(query) => (query.sql.clone(), query.complete(&given)?),
                None => (args.text, given),
            };
            match args.timeframe {
                Some(timeframe) => (named::over(&session, &text, &params, timeframe).await?, Params::default()),
                None => (text, params),
            }
        }
    };
    let Parsed { statements, warnings } = session.parse(&text, &params).await?;
    warn(config, &warnings);
    for statement in statements {
        out!("SQL\n{statement}\n");
        let plan: LogicalPlan = session.context().state().statement_to_plan(statement).await?;
        let physical = session.physical(&plan).await?;
        if args.analyze {
            let mut batches = session.execute(std::sync::Arc::clone(&physical))?;
            while let Some(batch) = batches.next().await {
                batch?;
            }
            out!("PLAN\n{}", DisplayableExecutionPlan::with_metrics(physical.as_ref()).indent(false));
        } else {
            out!("PLAN\n{}", DisplayableExecutionPlan::new(physical.as_ref()).indent(false));
        }
        let reach = reach(&session.optimized(&plan).await?);
        out!("REACH (bars)\n{:<32} {:>8} {:>8}", "column", "back", "ahead");
        for (name, sources) in &reach.columns {
            out!("{name:<32} {sources}");
        }
        out!("{:<32} {}", "(which rows)", reach.rows);
    }
    Ok(())
}

pub(super) fn functions(args: &FunctionsArgs) -> Result<(), Failure> {
    let pattern = args.pattern.clone().unwrap_or_default().to_ascii_lowercase();
    let matches = |f: &listing::FunctionDoc| {
        let names = std::iter::once(&f.name).chain(&f.aliases);
        names.chain([&f.family, &f.doc]).any(|text| text.to_ascii_lowercase().contains(&pattern))
    };
    let found: Vec<_> = listing::describe_all().into_iter().filter(matches).collect();
    if args.json {
        let text = serde_json::to_string_pretty(&found).map_err(|e| Error::invalid(e.to_string()))?;
        out!("{text}");
        return Ok(());
    }
    if found.is_empty() {
        return Err(Error::invalid(format!("no function matches `{pattern}`")).into());
    }
    let mut family = String::new();
    for function in &found {
        if function.family != family {
            out!("{}{}", if family.is_empty() { "" } else { "\n" }, function.family);
            family.clone_from(&function.family);
        }
        out!("  {}", function.usage);
        let reach = function.reach_back.as_ref().map_or_else(String::new, |r| format!("; looks back {r} bars"));
        let ahead = function.reach_ahead.as_ref().filter(|bars| *bars != "0");
        let ahead = ahead.map_or_else(String::new, |bars| format!(" and ahead {bars}"));
        out!("      {}; returns {}{reach}{ahead}", function.doc, function.returns);
        if !function.options.is_empty() {
            let options: Vec<_> = function.options.iter().map(|o| format!("{} ({})", o.name, o.doc)).collect();
            out!("      series that may be given besides, by name: {}", options.join("; "));
        }
        let aliases: Vec<_> = function.aliases.iter().filter(|a| **a != format!("ta_{}", function.name)).collect();
        if !aliases.is_empty() {
            let aliases: Vec<_> = aliases.into_iter().map(String::as_str).collect();
            out!("      also: {}", aliases.join(", "));
        }
    }
    Ok(())
}

pub(super) async fn tables(config: &Config) -> Result<(), Failure> {
    let session = config.session().await?;
    let names = datafusion::catalog::SchemaProvider::table_names(session.tables());
    if names.is_empty() {
        let lake = &session.tables().lake().url;
        return Err(Error::invalid(format!(
            "no candles in the lake '{lake}': expected folders such as {lake}/candles/1d/ with .parquet or .csv files"
        ))
        .into());
    }
    let width = names.iter().map(String::len).max().unwrap_or_default().max(14);
    out!("{:<width$} {:>9} {:>12}  {:<10}  {:<10}  {:>6}", "table", "symbols", "rows", "first", "last", "files");
    let mut broken = 0;
    for name in names {
        let table = match session.tables().candle_table(&name).await {
            Ok(table) => table,
            Err(error) => {
                broken += 1;
                let _ = writeln!(std::io::stderr(), "{name}: {}", Error::from(error));
                None
            }
        };
        let Some(table) = table else {
            // Of what is not ordered by symbol and time, the log does not tell more.
            out!("{name:<width$} {:>9} {:>12}  {:<10}  {:<10}  {:>6}", "-", "-", "-", "-", "-");
            continue;
        };
        let s = table.summary();
        let symbols = s.symbols.map_or_else(|| "?".to_string(), |n| n.to_string());
        let (first, last) = s.times.map_or_else(|| ("?".to_string(), "?".to_string()), |(a, b)| (date(a), date(b)));
        out!("{name:<width$} {symbols:>9} {:>12}  {first:<10}  {last:<10}  {:>6}", s.rows, s.files);
    }
    if broken > 0 { Err(Failure::Partial) } else { Ok(()) }
}

fn date(ts: i64) -> String {
    chrono::DateTime::from_timestamp_micros(ts).map(|t| t.format("%Y-%m-%d").to_string()).unwrap_or_default()
}

pub(super) async fn describe(config: &Config, args: DescribeArgs) -> Result<(), Failure> {
    let session = config.session().await?;
    let name = super::care::table(&args.table);
    let Some(table) = session.tables().candle_table(&name).await? else {
        let known = datafusion::catalog::SchemaProvider::table_names(session.tables());
        let near = crate::engine::dialect::closest(&args.table, known.iter().map(String::as_str));
        let hint =
            near.map_or_else(|| "`tallow tables` lists what there is".to_string(), |n| format!("did you mean `{n}`?"));
        return Err(Error::invalid(format!("no candle table `{}`; {hint}", args.table)).into());
    };
    let TableSummary { location, files, bytes, rows, symbols, times, layout, version, timeframe, origin } =
        table.summary();
    out!("location  {location}");
    out!("files     {files}, {:.1} MB", bytes as f64 / 1e6);
    out!("rows      {rows}");
    if let Some(symbols) = symbols {
        out!("symbols   {symbols}");
    }
    if let Some((first, last)) = times {
        out!("range     {} to {}", date(first), date(last));
    }
    out!("layout    {layout}");
    if let Some(version) = version {
        out!("version   {version}");
    }
    if let (Some(timeframe), Some(origin)) = (timeframe, origin) {
        out!("bars      {timeframe}, origin {origin}");
    }
    out!("columns");
    for field in datafusion::catalog::TableProvider::schema(table.as_ref()).fields() {
        out!("  {:<10} {}", field.name(), field.data_type());
    }
    show_gaps(&session, &name).await
}

/// Bars that are missing where most symbols have one.
async fn show_gaps(session: &Session, table: &str) -> Result<(), Failure> {
    let observed = Validation {
        table: table.to_string(),
        timeframe: "1d".to_string(),
        origin: "utc".to_string(),
        calendar: Calendar::Observed,
        jump: 1.5,
    };
    let sql = observed.missing();
    let frame = session.sql(&sql).await?;
    let batches = session.collect(frame).await?;
    let symbols: usize = batches.iter().map(arrow::array::RecordBatch::num_rows).sum();
    if symbols == 0 {
        out!("gaps      none against the bars that most symbols have");
        return Ok(());
    }
    let (noun, verb) = if symbols == 1 { ("symbol", "misses") } else { ("symbols", "miss") };
    out!("gaps      {symbols} {noun} {verb} bars that most have");
    for batch in batches.iter().map(|b| b.slice(0, b.num_rows().min(10))).take(1) {
        let column = |i: usize| arrow::util::display::ArrayFormatter::try_new(batch.column(i), &Default::default());
        let (symbol, missing) = (column(0).map_err(Error::from)?, column(1).map_err(Error::from)?);
        for row in 0..batch.num_rows() {
            out!("  {:<10} {}", symbol.value(row).to_string(), missing.value(row));
        }
    }
    Ok(())
}

pub(super) fn synth(config: &Config, args: &SynthArgs) -> Result<(), Failure> {
    let synth = Synth { symbols: args.symbols as usize, bars: args.bars as usize, seed: args.seed };
    let progress = Progress::new(config, Some(args.symbols.into()), "symbols");
    let each = |done: usize| progress.set(done as u64);
    if args.out.extension().is_some_and(|e| e == "parquet") {
        synth.write_file(&args.out, each)?;
    } else {
        synth.write_folder(&args.out, each)?;
    }
    progress.finish(None, u64::from(args.symbols) * u64::from(args.bars), 0);
    Ok(())
}
