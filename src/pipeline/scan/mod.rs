//! Scans: which bars of which symbols fulfil a formula, in one plan over all of them.

mod age;
mod patience;
mod run;
mod sweep;

pub use age::MaxAge;
pub use run::{Ended, ScanRun, Summary};
pub use sweep::Sweep;

use super::bounds::{Range, bounded};
use super::control::{AbortOnDrop, Control, Progress};
use super::quoting::{self, quoted};
use super::relation::{Relation, despite_files, one, relation};
use crate::Session;
use arrow::array::RecordBatch;
use arrow::datatypes::{Schema, SchemaRef};
use datafusion::common::Column;
use datafusion::common::tree_node::{Transformed, TransformedResult, TreeNode, TreeNodeRecursion};
use datafusion::datasource::{provider_as_source, source_as_provider};
use datafusion::functions_aggregate::expr_fn::{count, max, min};
use datafusion::functions_aggregate::min_max::max_udaf;
use datafusion::functions_window::expr_fn::row_number;
use datafusion::logical_expr::expr::WindowFunction;
use datafusion::logical_expr::{Expr, ExprFunctionExt, LogicalPlan, TableScan, col, lit};
use datafusion::physical_plan::ExecutionPlan;
use datafusion::prelude::DataFrame;
use futures::stream::BoxStream;
use futures::{StreamExt, TryStreamExt, stream};
use patience::Patience;
use run::Pass;
use std::collections::{BTreeSet, HashSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use tallow_common::time::shown;
use tallow_common::{Code, Error, Result};
use tallow_engine::dialect::{Checked, Formula, FormulaKind, Params, Problems};
use tallow_engine::node::above;
use tallow_engine::observer::Observer;
use tallow_engine::reach::PlanReach;
use tallow_engine::symbol_guard::SymbolGuard;
use tallow_engine::tally::Tally;
use tallow_lake::CandleTable;
use tallow_udfs::series::Bars;

/// What to look for, and where.
///
/// ```no_run
/// use tallow_engine::dialect::Formula;
/// use tallow_pipeline::control::Control;
/// use tallow_pipeline::scan::Scan;
/// use tallow_pipeline::Session;
///
/// # async fn example(session: &Session) -> tallow_common::Result<()> {
/// let scan = Scan { last: true, ..Scan::of(Formula::parse("rsi(14) < 30")?) };
/// let mut run = scan.run(session, &Control::default()).await?;
/// while let Some(batch) = run.next().await {
///     println!("{} matches", batch?.num_rows());
/// }
/// println!("{} of {} symbols", run.summary().with_matches, run.summary().scanned);
/// # Ok(())
/// # }
/// ```
#[derive(Debug, Clone)]
pub struct Scan {
    /// The condition; a bar matches where it is true.
    pub formula: Formula,
    /// Values of its parameters.
    pub params: Params,
    /// The table of candles, or its path; `candles_1w` also where the lake has only smaller bars.
    pub table: String,
    /// These symbols; `None`: all.
    pub symbols: Option<Vec<String>>,
    /// Matches of these times; bars before them are read as far as the formula looks back.
    pub range: Range,
    /// The newest bar of each symbol only.
    pub last: bool,
    /// How old that bar may be; symbols that ended earlier are left out and counted.
    pub max_age: MaxAge,
    /// A value by which matches are ordered.
    pub rank: Option<Rank>,
    /// So many matches, or so many of each group.
    pub top: Option<usize>,
    /// One row a group in place of one a match; with [`Scan::rank`], the best of each group.
    pub group: Option<Group>,
    /// Values that parameters take in turn: one row a combination in place of one a match.
    pub sweep: Sweep,
    /// A formula that looks into the future is an error otherwise.
    pub allow_lookahead: bool,
}

/// What matches are ordered by.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rank {
    /// A number.
    pub by: Formula,
    /// Whether the largest comes first.
    pub descending: bool,
}

impl Rank {
    /// `EXPR`, `EXPR desc` or `EXPR asc`; the largest first unless it says otherwise.
    pub fn parse(text: &str) -> Result<Rank> {
        let trimmed = text.trim();
        let cut = |word: &str| {
            let (rest, last) = trimmed.rsplit_once(char::is_whitespace)?;
            last.eq_ignore_ascii_case(word).then_some(rest)
        };
        let (by, descending) = match (cut("asc"), cut("desc")) {
            (Some(rest), _) => (rest, false),
            (_, Some(rest)) => (rest, true),
            _ => (trimmed, true),
        };
        Ok(Rank { by: Formula::parse(by)?, descending })
    }
}

/// What matches are gathered by.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Group {
    /// The time of the bar.
    Date,
    /// The symbol.
    Symbol,
}

/// The column that tells whether a bar matches.
const MATCH: &str = "(match)";
/// The column with the time of a symbol's newest bar.
const NEWEST: &str = "(newest)";
const PLACE: &str = "(place)";
/// The tally of rows that match.
const MATCHES: &str = "matches";
/// The tally of newest bars, some of which are too old.
const NEWEST_BARS: &str = "newest bars";

/// A scan whose first matches are there, or who was given up before.
struct Begun {
    pass: Pass,
    schema: SchemaRef,
    batches: BoxStream<'static, Result<RecordBatch>>,
    warnings: Problems,
    /// Symbols to be read, where that is known.
    total: Option<u64>,
    given_up: bool,
}

impl Scan {
    /// A scan of a formula over `candles`.
    pub fn of(formula: Formula) -> Scan {
        Scan {
            formula,
            params: Params::default(),
            table: "candles".to_string(),
            symbols: None,
            range: Range::default(),
            last: false,
            max_age: MaxAge::default(),
            rank: None,
            top: None,
            group: None,
            sweep: Sweep::default(),
            allow_lookahead: false,
        }
    }

    /// Plans and starts it. Matches come by time, newest first, or as they are ranked or grouped, once all symbols are
    /// done. Files that cannot be read are found and skipped by a second try.
    ///
    /// A scan that is cancelled or out of time ends at the next symbol's border of each partition, and what is complete is
    /// its result. Where that takes long, it is given up: see [`Summary::given_up`].
    pub async fn run(&self, session: &Session, control: &Control) -> Result<ScanRun> {
        // Running out of time ends this scan, not all that share the token.
        let control = Control { cancel: control.cancel.child_token(), ..control.clone() };
        let timed_out = Arc::new(AtomicBool::new(false));
        let clock = session.engine().clock()?;
        let timer = control.deadline.map(|deadline| {
            let (cancel, timed_out) = (control.cancel.clone(), Arc::clone(&timed_out));
            clock.spawn(async move {
                tokio::time::sleep_until(deadline.into()).await;
                timed_out.store(true, Ordering::Relaxed);
                cancel.cancel();
            })
        });
        let timer = timer.map(AbortOnDrop);
        let patience = Patience::new(control.cancel.clone(), clock);
        let start = async |from: &Relation| self.first_batch(session, &control, &patience, from).await;
        let (_, begun) = despite_files(session, &self.table, start).await?;
        let Begun { pass, schema, batches, warnings, total, given_up } = begun;
        let symbols = self.symbols.clone();
        Ok(ScanRun { schema, batches, pass, warnings, symbols, total, timed_out, patience, given_up, _timer: timer })
    }

    /// Runs it over a table up to the first batch: by then every bar has been read.
    async fn first_batch(
        &self,
        session: &Session,
        control: &Control,
        patience: &Patience,
        from: &Relation,
    ) -> Result<Begun> {
        let total = match &self.symbols {
            Some(symbols) => Some(symbols.iter().collect::<HashSet<_>>().len() as u64),
            None => from.candles().and_then(CandleTable::symbols).map(|n| n as u64),
        };
        let progress = Arc::clone(&control.progress);
        let on_symbol = move |done: u64| {
            // Every tenth, for whoever follows without a terminal.
            if let Some(total) = total.filter(|total| done.is_multiple_of(total.div_ceil(10).max(1))) {
                tracing::debug!("{done} of {total} symbols");
            }
            progress(Progress::symbols(done, total));
        };
        let observer = Observer::new(on_symbol).stopped_by(control.cancel.clone());
        let planned = async {
            let (frame, warnings) = match self.sweep.is_empty() {
                true => self.plan(session, from).await?,
                false => self.swept(session, from).await?,
            };
            Ok::<_, Error>((session.plan(frame).await?, warnings))
        };
        let late = || Error::invalid("the scan was ended before it was planned".to_string());
        let (plan, warnings) = patience.wait(0, planned).await.ok_or_else(late)??;
        let (name, table, reads) = (from.name.clone(), from.table.clone(), reads(&plan));
        let mut pass = Pass { name, table, plan: Arc::clone(&plan), swept: None, reads };
        let mut schema = plan.schema();
        let mut batches = session.execute_with(plan, &|config| observer.extend(config))?.boxed();
        let mut given_up = false;
        if self.sweep.is_empty() {
            match patience.wait_while(|| pass.matches().0, batches.next()).await {
                Some(first) => batches = stream::iter(first.transpose()?.map(Ok)).chain(batches).boxed(),
                None => (batches, given_up) = (stream::empty().boxed(), true),
            }
        } else {
            let all: Option<Result<Vec<RecordBatch>>> = patience.wait(0, batches.try_collect()).await;
            given_up = all.is_none();
            let (rows, counts) = self.sweep.rows(&all.transpose()?.unwrap_or_default())?;
            pass.swept = Some(counts);
            schema = rows.schema();
            batches = if given_up { stream::empty().boxed() } else { stream::iter([Ok(rows)]).boxed() };
        }
        Ok(Begun { pass, schema, batches, warnings, total, given_up })
    }

    /// The formula with its parameters, after everything in it was checked against the table.
    async fn checked(&self, session: &Session, from: &Relation) -> Result<(Formula, Checked)> {
        let (state, schema) = (session.context().state(), &from.schema);
        let mut checked = self.formula.check_in(&state, schema, &self.own_params())?;
        if checked.kind != FormulaKind::Condition {
            return Err(Error::invalid(format!(
                "`{}` is a number, not a condition: compare it, as `{} > 0`",
                self.formula, self.formula
            )));
        }
        if let Some(rank) = self.ranked()? {
            let of_rank = rank.by.check_in(&state, schema, &Params::default())?;
            if of_rank.kind != FormulaKind::Number {
                return Err(Error::invalid(format!("the rank `{}` is a condition, not a number", rank.by)));
            }
            checked.columns.extend(of_rank.columns);
        }
        Ok((self.formula.bind(&self.own_params())?, checked))
    }

    /// The parameters without those that only the rank has.
    fn own_params(&self) -> Params {
        let own = self.formula.parameters();
        let of_rank = self.rank.as_ref().map(|r| r.by.parameters()).unwrap_or_default();
        let is_ranks = |name: &str| of_rank.iter().any(|p| p.name == name) && !own.iter().any(|p| p.name == name);
        let mut params = Params::default();
        self.params.iter().filter(|(name, _)| !is_ranks(name)).for_each(|(name, value)| params.set(name, value));
        params
    }

    /// The rank with its parameters, which it shares with the formula.
    fn ranked(&self) -> Result<Option<Rank>> {
        let Some(rank) = &self.rank else { return Ok(None) };
        let mut params = self.params.clone();
        for parameter in self.formula.parameters() {
            if let (None, Some(default)) = (self.params.get(&parameter.name), parameter.default_text()) {
                params.set(&parameter.name, &default);
            }
        }
        Ok(Some(Rank { by: rank.by.bind(&params)?.first_field(), descending: rank.descending }))
    }

    /// SQL for every bar with what matches show, and whether it matches.
    fn base(&self, from: &str, formula: &Formula, schema: &Schema) -> Result<(String, Vec<String>)> {
        let plain = ["symbol", "ts", "close", "volume"].into_iter().filter(|c| schema.index_of(c).is_ok());
        let mut names: Vec<String> = plain.map(str::to_string).collect();
        let mut items = names.clone();
        let rank = self.ranked()?.map(|r| r.by.to_string());
        for value in formula.values().into_iter().chain(rank) {
            if !names.contains(&value) {
                items.push(format!("({value}) as {}", quoted(&value)));
                names.push(value);
            }
        }
        items.push(format!("({formula}) as {}", quoted(MATCH)));
        Ok((format!("select {} from {from} as candles", items.join(", ")), names))
    }

    /// ` where symbol in (..)`.
    fn among(&self) -> String {
        let Some(symbols) = &self.symbols else { return String::new() };
        match symbols.is_empty() {
            true => " where false".to_string(),
            false => format!(" where symbol in ({})", quoting::texts(symbols)),
        }
    }

    /// Plans a text of ours, cut to the range, with the guard above its table; the formula reads these columns.
    async fn guarded(
        &self,
        session: &Session,
        sql: &str,
        from: &Relation,
        columns: BTreeSet<String>,
    ) -> Result<DataFrame> {
        // Places in this text mean nothing to whoever typed the formula.
        let frame = one(session, sql).await.map_err(|error| match error {
            Error::Text(problems) => {
                Error::invalid(problems.list.into_iter().map(|p| p.message).collect::<Vec<_>>().join("\n"))
            }
            other => other,
        })?;
        let (state, plan) = frame.into_parts();
        if !self.allow_lookahead {
            // Without other timeframes there is nothing in the plan that only the optimizer could make out.
            let formulas = [&self.formula].into_iter().chain(self.rank.as_ref().map(|rank| &rank.by));
            let one_timeframe = from.is_stored && formulas.into_iter().all(|f| f.timeframes().is_empty());
            let made_out = match one_timeframe {
                true => state.analyzer().execute_and_check(plan.clone(), state.config_options(), |_, _| ())?,
                false => session.optimized(&plan).await?,
            };
            self.refuse_lookahead(&from.reach(&made_out))?;
        }
        let frame = bounded(session, DataFrame::new(state, plan), self.range).await?;
        let (state, plan) = frame.into_parts();
        Ok(DataFrame::new(state, self.guard_tables(plan, &columns)?))
    }

    async fn plan(&self, session: &Session, from: &Relation) -> Result<(DataFrame, Problems)> {
        let (formula, Checked { columns, warnings, .. }) = self.checked(session, from).await?;
        let (sql, names) = self.base(&from.sql, &formula, &from.schema)?;
        let frame = self.guarded(session, &sql, from, columns).await?;
        let frame = self.newest(frame, self.oldest(session, from).await?)?;
        let frame = frame.filter(named(MATCH))?;
        let (state, plan) = frame.into_parts();
        let tally = Tally { name: MATCHES.to_string(), since: None, ordered: false };
        let matches = DataFrame::new(state, above(plan, Arc::new(tally))?);
        let matches = matches.select(names.iter().map(|n| named(n)).collect::<Vec<_>>())?;
        Ok((self.arranged(matches)?, warnings))
    }

    /// Puts the guard above every table, and above what filters its rows; the first is the one that the plan is about.
    fn guard_tables(&self, plan: LogicalPlan, columns: &BTreeSet<String>) -> Result<LogicalPlan> {
        let mut beside = false;
        let symbols = self.symbols.as_ref().map(|all| Arc::new(all.iter().cloned().collect::<BTreeSet<_>>()));
        let guarded = plan.transform_down(|node| {
            if !is_scan(&node) || ["symbol", "ts"].iter().any(|c| !node.schema().fields().iter().any(|f| f.name() == c))
            {
                return Ok(Transformed::no(node));
            }
            // The guard leaves out other symbols; the table need not read what it need not.
            let scan = match &symbols {
                Some(symbols) => node.transform_down(|node| near(node, symbols)).data()?,
                None => node,
            };
            let symbols = symbols.as_ref().map(|symbols| symbols.as_ref().clone());
            let guard = SymbolGuard { symbols, columns: columns.clone(), beside };
            beside = true;
            Ok(Transformed::new(above(scan, Arc::new(guard))?, true, TreeNodeRecursion::Jump))
        });
        Ok(guarded.data()?)
    }

    /// The newest bar of each symbol, where only that is wanted; none of symbols that ended before the oldest that counts.
    fn newest(&self, frame: DataFrame, oldest: Option<i64>) -> Result<DataFrame> {
        if !self.last {
            return Ok(frame);
        }
        let newest = Expr::from(WindowFunction::new(max_udaf(), vec![col("ts")]));
        let newest = newest.partition_by(vec![col("symbol")]).build()?.alias(NEWEST);
        let frame = frame.window(vec![newest])?.filter(col("ts").eq(named(NEWEST)))?;
        let Some(oldest) = oldest else { return Ok(frame) };
        let (state, plan) = frame.into_parts();
        let tally = Tally { name: NEWEST_BARS.to_string(), since: Some(oldest), ordered: true };
        Ok(DataFrame::new(state, above(plan, Arc::new(tally))?))
    }

    /// Ranked, grouped, ordered and limited.
    fn arranged(&self, matches: DataFrame) -> Result<DataFrame> {
        let newest_first = || vec![col("ts").sort(false, false), col("symbol").sort(true, false)];
        let best = self.ranked()?.map(|rank| named(&rank.by.to_string()).sort(!rank.descending, false));
        let frame = match (self.group, best) {
            (None, None) => matches.sort(newest_first())?,
            (None, Some(best)) => matches.sort([vec![best], newest_first()].concat())?,
            (Some(group), Some(best)) => {
                let (key, order) = match group {
                    Group::Date => (col("ts"), col("ts").sort(false, false)),
                    Group::Symbol => (col("symbol"), col("symbol").sort(true, false)),
                };
                let names: Vec<_> = matches.schema().columns().into_iter().map(Expr::Column).collect();
                let by = [vec![best], newest_first()].concat();
                let place = row_number().partition_by(vec![key]).order_by(by).build()?.alias(PLACE);
                let placed = matches.window(vec![place])?;
                let top = self.top.map_or(u64::MAX, |n| n as u64);
                let placed = placed.filter(named(PLACE).lt_eq(lit(top)))?;
                return Ok(placed.sort(vec![order, named(PLACE).sort(true, false)])?.select(names)?);
            }
            (Some(Group::Date), None) => matches
                .aggregate(vec![col("ts")], vec![count(lit(1)).alias("matches")])?
                .sort(vec![col("ts").sort(false, false)])?,
            (Some(Group::Symbol), None) => {
                let counts =
                    vec![count(lit(1)).alias("matches"), min(col("ts")).alias("first"), max(col("ts")).alias("last")];
                let order = vec![col("matches").sort(false, false), col("symbol").sort(true, false)];
                matches.aggregate(vec![col("symbol")], counts)?.sort(order)?
            }
        };
        Ok(match self.top {
            Some(top) => frame.limit(0, Some(top))?,
            None => frame,
        })
    }

    fn refuse_lookahead(&self, told: &PlanReach) -> Result<()> {
        let ahead = |bars: Bars| (bars != Bars::Count(0)).then(|| bars.to_string());
        let Some(bars) = ahead(told.total().furthest().ahead) else { return Ok(()) };
        let of = told.columns.iter().find(|(name, sources)| name != MATCH && ahead(sources.furthest().ahead).is_some());
        let what = of.map_or_else(|| self.formula.to_string(), |(name, _)| name.clone());
        let how_far = if bars == "1" { " (1 bar)".to_string() } else { format!(" ({bars} bars)") };
        let said = format!("`{what}` looks into the future{how_far}: at the time of a match it was not known");
        Err(Error::known(Code::LookAhead, said).with_hint("the option `allow_lookahead` scans it anyway"))
    }

    /// The formula with its parameters and where its bars come from, if it can be decided at the time of a bar.
    pub(super) async fn decidable(&self, session: &Session) -> Result<(Formula, Relation)> {
        let from = relation(session, &self.table).await?;
        let (formula, _) = self.checked(session, &from).await?;
        let (_, plan) = one(session, &self.base(&from.sql, &formula, &from.schema)?.0).await?.into_parts();
        self.refuse_lookahead(&from.reach(&session.optimized(&plan).await?))?;
        Ok((formula, from))
    }

    /// The scan as a text of the dialect: what a reader would type.
    pub async fn sql(&self, session: &Session) -> Result<String> {
        let from = relation(session, &self.table).await?;
        let (formula, _) = self.checked(session, &from).await?;
        let plain = |name: &String| name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_');
        let names = self.base(&from.sql, &formula, &from.schema)?.1;
        let (plain, values): (Vec<_>, Vec<_>) = names.into_iter().partition(plain);
        let values: String = values.iter().map(|v| format!(",\n  {v}")).collect();
        let condition = match (self.last, self.oldest(session, &from).await?) {
            (false, _) => formula.to_string(),
            (true, None) => format!("({formula}) and ts = max(ts) over (partition by symbol)"),
            (true, Some(oldest)) => format!(
                "({formula}) and ts = max(ts) over (partition by symbol) and ts >= {}",
                quoting::text(&shown(oldest))
            ),
        };
        let order = match self.ranked()? {
            Some(rank) => {
                format!("{} {}, ", rank.by, if rank.descending { "desc nulls last" } else { "asc nulls last" })
            }
            None => String::new(),
        };
        let top = self.top.map_or_else(String::new, |n| format!("\nlimit {n}"));
        let is_plain = self.table.chars().all(|c| c.is_ascii_alphanumeric() || c == '_');
        let table = if is_plain && from.is_stored { &self.table } else { &from.sql };
        Ok(format!(
            "select {}{values}\nfrom {table}{}\nqualify {condition}\norder by {order}ts desc, symbol{top}",
            plain.join(", "),
            self.among()
        ))
    }
}

/// A column by a name that may hold anything.
fn named(name: &str) -> Expr {
    Expr::Column(Column::from_name(name))
}

/// A table of candles without what surely holds none of the symbols.
fn near(node: LogicalPlan, symbols: &Arc<BTreeSet<String>>) -> datafusion::common::Result<Transformed<LogicalPlan>> {
    let LogicalPlan::TableScan(scan) = &node else { return Ok(Transformed::no(node)) };
    let provider = source_as_provider(&scan.source)?;
    let Some(table) = provider.downcast_ref::<CandleTable>() else { return Ok(Transformed::no(node)) };
    let source = provider_as_source(Arc::new(table.for_symbols(symbols)));
    Ok(Transformed::yes(LogicalPlan::TableScan(TableScan { source, ..scan.clone() })))
}

/// Whether a plan has a source of rows.
fn reads(plan: &Arc<dyn ExecutionPlan>) -> bool {
    let children = plan.children();
    let is_empty = matches!(plan.name(), "EmptyExec" | "PlaceholderRowExec");
    if children.is_empty() { !is_empty } else { children.into_iter().any(reads) }
}

/// A table, perhaps under filters and another name.
fn is_scan(plan: &LogicalPlan) -> bool {
    match plan {
        LogicalPlan::TableScan(_) => true,
        LogicalPlan::Filter(filter) => is_scan(&filter.input),
        LogicalPlan::SubqueryAlias(alias) => is_scan(&alias.input),
        _ => false,
    }
}
