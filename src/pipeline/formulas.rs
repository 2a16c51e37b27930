//! The formulas that a lake keeps: found by name, and tried on the past.

use super::query::{Query, QueryOptions};
use super::relation::{one, relation};
use super::scan::Scan;
use crate::Session;
use datafusion::logical_expr::LogicalPlan;
use datafusion::sql::sqlparser::ast::Expr;
use tallow_common::{Error, Result};
use tallow_engine::dialect::{Formula, Params, Problems, closest};
use tallow_engine::reach::PlanReach;
use tallow_lake::{Lake, StoredFormula};

/// What a formula is for.
pub const CATEGORIES: [&str; 4] = ["scan", "entry", "exit", "stop"];

/// All versions of the formulas that a lake keeps, by name and version.
pub(crate) async fn all(lake: &Lake) -> datafusion::common::Result<Vec<StoredFormula>> {
    let mut all = lake.records::<StoredFormula>().await?;
    all.sort_by(|a, b| (&a.name, a.version).cmp(&(&b.name, b.version)));
    Ok(all)
}

/// Adds a formula as the next version of its name and returns the version. A formula that equals the newest version is not
/// added again. Two writers at the same time get two versions.
pub(crate) async fn store(lake: &Lake, formula: StoredFormula) -> datafusion::common::Result<i64> {
    lake.change_records("FORMULA", move |all: &mut Vec<StoredFormula>| Ok(next_version(all, &formula))).await
}

fn next_version(all: &mut Vec<StoredFormula>, formula: &StoredFormula) -> i64 {
    let newest = all.iter().filter(|known| known.name == formula.name).max_by_key(|known| known.version);
    let is_same = |known: &&StoredFormula| {
        StoredFormula { version: known.version, created_at: known.created_at, ..formula.clone() } == **known
    };
    if let Some(known) = newest.filter(is_same) {
        return known.version;
    }
    let version = newest.map_or(0, |known| known.version) + 1;
    all.push(StoredFormula { version, ..formula.clone() });
    version
}

/// The formula behind `name` or `name@version` among those of the lake, if it is one.
pub async fn find(session: &Session, text: &str) -> Result<Option<StoredFormula>> {
    let (name, version) = match text.trim().split_once('@') {
        Some((name, version)) => match version.trim_start_matches('v').parse::<i64>() {
            Ok(version) => (name, Some(version)),
            Err(_) => return Ok(None),
        },
        None => (text.trim(), None),
    };
    if !is_name(name) {
        return Ok(None);
    }
    let all = session.formulas().await?;
    let mut versions: Vec<_> = all.into_iter().filter(|f| f.name == name).collect();
    match version {
        None => Ok(versions.pop()),
        Some(_) if versions.is_empty() => Ok(None),
        Some(number) => match versions.iter().find(|f| f.version == number) {
            Some(found) => Ok(Some(found.clone())),
            None => Err(Error::not_found(format!("formula {name} has versions 1 to {}, not {number}", versions.len()))),
        },
    }
}

/// As [`find`]; what is not there is an error.
pub async fn get(session: &Session, text: &str) -> Result<StoredFormula> {
    if let Some(found) = find(session, text).await? {
        return Ok(found);
    }
    let all = session.formulas().await?;
    let similar = closest(text, all.iter().map(|f| f.name.as_str()));
    let hint = match similar {
        Some(similar) => format!("did you mean `{similar}`?"),
        None if all.is_empty() => {
            "the lake keeps none yet: the operation `formula add NAME 'rsi(14) < 30'`".to_string()
        }
        None => "the operation `formula list` shows all".to_string(),
    };
    Err(Error::not_found(format!("unknown formula `{text}`")).with_hint(hint))
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
    let newest = all.iter().enumerate().filter(|(i, f)| all.get(i + 1).is_none_or(|next| next.name != f.name));
    let chosen = newest.map(|(_, formula)| formula).filter(|f| {
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

/// A word that a formula may be called by: it must not read as anything else.
pub fn is_name(text: &str) -> bool {
    text.starts_with(|c: char| c.is_ascii_alphabetic()) && text.chars().all(|c| c.is_ascii_alphanumeric() || c == '_')
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_changed_formula_is_a_new_version_and_a_repeated_one_is_not() {
        let formula = |text: &str, created_at| StoredFormula {
            name: "dip".to_string(),
            formula: text.to_string(),
            created_at,
            ..StoredFormula::default()
        };
        let mut all = vec![];
        let versions =
            [("a", 1), ("a", 2), ("b", 3), ("a", 4)].map(|(text, at)| next_version(&mut all, &formula(text, at)));
        assert_eq!(versions, [1, 1, 2, 3]);
        assert_eq!(all.iter().map(|known| known.created_at).collect::<Vec<_>>(), [1, 3, 4]);
    }
}
