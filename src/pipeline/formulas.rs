//! The formulas that a lake keeps: found by name, and tried on the past.

use super::query::{Query, QueryOptions};
use super::relation::{one, relation};
use super::scan::Scan;
use super::versioned::{self, is_name};
use crate::Session;
use datafusion::logical_expr::LogicalPlan;
use datafusion::sql::sqlparser::ast::Expr;
use tallow_common::{Error, Result};
use tallow_engine::dialect::{Formula, Params, Problems};
use tallow_engine::reach::PlanReach;
use tallow_lake::StoredFormula;

/// What a formula is for.
pub const CATEGORIES: [&str; 4] = ["scan", "entry", "exit", "stop"];

/// The formula behind `name` or `name@version` among those of the lake, if it is one.
pub async fn find(session: &Session, text: &str) -> Result<Option<StoredFormula>> {
    match versioned::named(text) {
        Some(_) => versioned::find(session.formulas().await?, text),
        None => Ok(None),
    }
}

/// As [`find`]; what is not there is an error.
pub async fn get(session: &Session, text: &str) -> Result<StoredFormula> {
    if let Some(found) = find(session, text).await? {
        return Ok(found);
    }
    Err(versioned::unknown(&session.formulas().await?, text, "formula add NAME 'rsi(14) < 30'"))
}

/// A formula as it is written, or one that the lake keeps under this name; and which that is, as `name@version`.
///
/// # Errors
/// It is neither.
pub async fn resolve(session: &Session, text: &str) -> Result<(Formula, Option<String>)> {
    match find(session, text).await? {
        Some(stored) => Ok((Formula::parse(&stored.formula)?, Some(format!("{}@{}", stored.name, stored.version)))),
        None => Ok((Formula::parse(text)?, None)),
    }
}

/// The newest version of each formula of a category, of those with a tag; by name.
pub async fn newest(session: &Session, category: Option<&str>, tag: Option<&str>) -> Result<Vec<StoredFormula>> {
    let all = session.formulas().await?;
    let chosen = versioned::newest(&all).filter(|f| {
        category.is_none_or(|category| category == f.category) && tag.is_none_or(|tag| f.tags.iter().any(|t| t == tag))
    });
    Ok(chosen.cloned().collect())
}

/// All versions of a formula, and the parameters of one of them.
#[derive(Debug, Clone)]
pub struct Versions {
    /// The one that was asked for: by its number, or else the newest.
    pub chosen: StoredFormula,
    /// All, the oldest first.
    pub all: Vec<StoredFormula>,
    /// The formula of the chosen one.
    pub formula: Formula,
}

/// All versions of `name` or `name@version`.
///
/// # Errors
/// There is no such formula.
pub async fn versions(session: &Session, text: &str) -> Result<Versions> {
    let chosen = get(session, text).await?;
    let all = session.formulas().await?.into_iter().filter(|f| f.name == chosen.name).collect();
    let formula = Formula::parse(&chosen.formula)?;
    Ok(Versions { chosen, all, formula })
}

/// Keeps a formula that [`new`] made, and returns its version. What it names must be in the lake, as far as that can be found
/// out without its parameters; the problems are what is allowed and probably not meant.
///
/// # Errors
/// It does not fit the lake's candles.
pub async fn add(session: &Session, formula: StoredFormula) -> Result<(i64, Problems)> {
    let parsed = Formula::parse(&formula.formula)?;
    let mut given = Params::default();
    parsed.parameters().iter().filter(|p| p.default.is_none()).for_each(|p| given.set(&p.name, "1"));
    let mut warnings = Problems::default();
    if let Ok(table) = session.context().table_provider("candles").await {
        warnings = parsed.check_in(&session.context().state(), &table.schema(), &given)?.warnings;
    }
    Ok((session.add_formula(formula).await?, warnings))
}

/// Checks what is to be kept: its name, its category, and that it is a formula.
pub fn new(
    name: &str,
    formula: &str,
    category: &str,
    tags: Vec<String>,
    description: String,
    created_at: i64,
) -> Result<StoredFormula> {
    let taken = ["open", "high", "low", "close", "volume", "symbol", "ts", "o", "h", "l", "c", "v"];
    let is_word = Formula::parse(name).is_ok_and(|f| matches!(f.syntax(), Expr::Identifier(_)));
    if !is_name(name) || !is_word || taken.contains(&name) {
        return Err(Error::invalid(format!(
            "'{name}' cannot be a formula's name: expected letters, digits and _, no column of candles and no word of SQL"
        )));
    }
    if !CATEGORIES.contains(&category) {
        return Err(Error::invalid(format!("category '{category}': expected {}", CATEGORIES.join(", "))));
    }
    let formula = Formula::parse(formula)?;
    Ok(StoredFormula {
        name: name.to_string(),
        version: 0,
        category: category.to_string(),
        tags,
        description,
        formula: formula.to_string(),
        created_at,
    })
}

/// A formula to try on the past.
#[derive(Debug, Clone)]
pub struct FormulaTest {
    /// A formula, or the name of one that the lake keeps.
    pub formula: String,
    /// Values of its parameters.
    pub params: Params,
    /// The table of candles.
    pub table: String,
    /// These symbols only; `None`: all.
    pub symbols: Option<Vec<String>>,
    /// Bars after a hit.
    pub horizons: Vec<u32>,
    /// Symbols to show, those with the most hits.
    pub top: usize,
}

impl FormulaTest {
    /// The query for its hits: see [`performance`].
    ///
    /// # Errors
    /// It is no condition over the table's bars.
    pub async fn query(&self, session: &Session, by: By) -> Result<Query> {
        let (formula, _) = resolve(session, &self.formula).await?;
        let text = performance(session, &formula, &self.params, &self.table, by, &self.horizons, self.top).await?;
        let options = QueryOptions { symbols: self.symbols.clone(), ..QueryOptions::default() };
        Ok(Query { options, ..Query::of(text) })
    }
}

/// What hits are counted by.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum By {
    /// The year of the bar.
    Year,
    /// The symbol.
    Symbol,
}

/// SQL for the hits of a condition and the returns after them, beside those after any bar.
///
/// `return_n`: mean return from the close of a hit to the close n bars later; `up_n`: share of these above zero; `any_n`: mean
/// over all bars. Hits without n bars after them count as hits and in no mean.
pub async fn performance(
    session: &Session,
    formula: &Formula,
    params: &Params,
    table: &str,
    by: By,
    horizons: &[u32],
    top: usize,
) -> Result<String> {
    let scan = Scan { params: params.clone(), table: table.to_string(), ..Scan::of(formula.clone()) };
    let (bound, from) = scan.decidable(session).await?;
    let returns: Vec<_> = horizons.iter().map(|n| format!("forward_return(horizon => {n}) as r{n}")).collect();
    let means: Vec<_> = horizons
        .iter()
        .map(|n| {
            format!(
                "avg(r{n}) filter (where hit) as return_{n},
                 avg(case when r{n} > 0 then 1.0 when r{n} <= 0 then 0.0 end) filter (where hit) as up_{n},
                 avg(r{n}) as any_{n}"
            )
        })
        .collect();
    let (key, name, order, symbols) = match by {
        By::Year => (
            "cast(date_part('year', ts) as bigint)",
            "year",
            "year".to_string(),
            "count(distinct symbol) filter (where hit) as symbols, ",
        ),
        By::Symbol => ("symbol", "symbol", format!("hits desc, symbol limit {top}"), ""),
    };
    Ok(format!(
        "select * from (
           select {key} as {name}, count(*) filter (where hit) as hits, {symbols}{}
           from (select symbol, ts, ({bound}) as hit, {} from {} as candles)
           group by {key})
         order by {order}",
        means.join(", "),
        returns.join(", "),
        from.sql
    ))
}

/// The plan of `select symbol, ts, <formula> as value` over a table.
pub async fn to_plan(session: &Session, formula: &Formula, table: &str, params: &Params) -> Result<LogicalPlan> {
    let from = relation(session, table).await?;
    formula.check_in(&session.context().state(), &from.schema, params)?;
    let bound = formula.bind(params)?;
    let sql = format!("select symbol, ts, ({bound}) as value from {} as candles", from.sql);
    Ok(one(session, &sql).await?.into_unoptimized_plan())
}

/// How many bars a formula looks back and ahead, of each timeframe.
pub async fn reach(session: &Session, formula: &Formula, table: &str, params: &Params) -> Result<PlanReach> {
    let plan = session.optimized(&to_plan(session, formula, table, params).await?).await?;
    Ok(relation(session, table).await?.reach(&plan))
}
