//! Which tables a text reads, and which columns a name can mean.

use super::call::Bars;
use super::habits;
use super::suggest::closest;
use super::table_function::TableFunctions;
use super::walk::look_at_statement;
use arrow::datatypes::{DataType, SchemaRef};
use datafusion::catalog::TableProvider;
use datafusion::common::{DataFusionError, TableReference};
use datafusion::prelude::SessionContext;
use datafusion::sql::parser::Statement;
use datafusion::sql::sqlparser::ast::{
    Expr, Ident, ObjectName, Query, Select, SelectItem, Spanned, TableFactor, TableWithJoins, Visitor,
};
use std::collections::btree_map::Entry;
use std::collections::{BTreeMap, BTreeSet};
use std::ops::ControlFlow;
use std::sync::Arc;
use tallow_common::{Code, Problem, code_of, readable};
use tallow_udfs::series::OptionDefault;

/// The tables of a text.
#[derive(Debug, Default)]
pub(super) struct Tables {
    found: BTreeMap<String, Arc<dyn TableProvider>>,
    /// Timeframe and origin of each table's bars, as far as they are known.
    bars: BTreeMap<String, Option<(String, String)>>,
    /// Tables that are not there.
    pub problems: Vec<Problem>,
}

/// Collects relation names, and the names that WITH defines.
#[derive(Default)]
struct Relations {
    read: Vec<ObjectName>,
    defined: BTreeSet<String>,
}

impl Visitor for Relations {
    type Break = ();

    fn pre_visit_query(&mut self, query: &Query) -> ControlFlow<()> {
        for cte in query.with.iter().flat_map(|w| &w.cte_tables) {
            self.defined.insert(normal(&cte.alias.name));
        }
        ControlFlow::Continue(())
    }

    fn pre_visit_table_factor(&mut self, factor: &TableFactor) -> ControlFlow<()> {
        if let TableFactor::Table { name, args: None, .. } = factor {
            self.read.push(name.clone());
        }
        ControlFlow::Continue(())
    }
}

impl Tables {
    /// The table that a relation is, where it has a column `symbol`.
    pub fn with_symbols(&self, factor: &TableFactor) -> Option<(&str, &dyn TableProvider)> {
        let TableFactor::Table { name, args: None, .. } = factor else { return None };
        let (name, table) = self.found.get_key_value(&reference(name).to_string())?;
        table.schema().index_of("symbol").ok()?;
        Some((name, table.as_ref()))
    }

    /// Timeframe and origin of the bars, where all tables have the same.
    pub fn bars(&self) -> Bars<'_> {
        let mut all = self.bars.values();
        let first = all.next()?.as_ref()?;
        all.all(|bars| bars.as_ref() == Some(first)).then_some((first.0.as_str(), first.1.as_str()))
    }

    /// Looks up every table that the statements read; a missing one is a problem.
    pub async fn resolve(statements: &[Statement], context: &SessionContext, lake: &dyn TableFunctions) -> Tables {
        let wants_bars = statements.iter().any(needs_close_times);
        let mut relations = Relations::default();
        for statement in statements {
            look_at_statement(statement, &mut relations);
        }
        let mut tables = Tables::default();
        for name in &relations.read {
            let reference = reference(name);
            let key = reference.to_string();
            if relations.defined.contains(&key) || tables.found.contains_key(&key) {
                continue;
            }
            match context.table_provider(reference.clone()).await {
                Ok(table) => {
                    let name = reference.table().to_string();
                    if let Entry::Vacant(slot) = tables.bars.entry(name)
                        && wants_bars
                    {
                        let bars = lake.bars(slot.key()).await;
                        slot.insert(bars);
                    }
                    tables.found.insert(key, table);
                }
                // A statement before may create what a later one reads.
                Err(_) if statements.len() > 1 => {}
                Err(error) => tables.problems.push(missing(name, &reference, &error, context)),
            }
        }
        tables
    }
}

/// Whether a statement calls a function that asks when bars end, unless an argument says so.
fn needs_close_times(statement: &Statement) -> bool {
    let text = statement.to_string().to_ascii_lowercase();
    tallow_udfs::all_series_functions().iter().map(|f| f.signature()).any(|signature| {
        signature.options.iter().any(|o| o.default == OptionDefault::CloseTime) && text.contains(&signature.name)
    })
}

fn missing(
    name: &ObjectName,
    reference: &TableReference,
    error: &DataFusionError,
    context: &SessionContext,
) -> Problem {
    let said = readable(error);
    let span = name.span();
    if habits::is_path(&name.to_string())
        && name.0.iter().all(|p| p.as_ident().is_some_and(|i| i.quote_style.is_none()))
    {
        return Problem::new(habits::quote(&name.to_string()), span);
    }
    if !said.contains("not found") && !said.contains("No table named") {
        return Problem::new(said, span).of(code_of(error));
    }
    let schema = context.catalog("tallow").and_then(|c| c.schema(reference.schema().unwrap_or("public")));
    let known = schema.map(|s| s.table_names()).unwrap_or_default();
    let problem = Problem::new(format!("unknown table `{}`", reference.table()), span).of(Code::NotFound);
    match closest(reference.table(), known.iter().map(String::as_str)) {
        Some(similar) => problem.help(format!("did you mean `{similar}`?")),
        None if known.is_empty() => problem
            .help("the lake holds no candles; name one with the option `lake`, or a file as in FROM 'candles.parquet'"),
        None => problem.help(format!("tables: {}; or name a file as in FROM 'candles.parquet'", known.join(", "))),
    }
}

/// A name as the planner reads it: lower case unless quoted.
pub(super) fn normal(ident: &Ident) -> String {
    if ident.quote_style.is_some() { ident.value.clone() } else { ident.value.to_ascii_lowercase() }
}

fn reference(name: &ObjectName) -> TableReference {
    let parts: Vec<String> = name.0.iter().filter_map(|p| p.as_ident()).map(normal).collect();
    match parts.as_slice() {
        [table] => TableReference::bare(table.as_str()),
        [schema, table] => TableReference::partial(schema.as_str(), table.as_str()),
        [catalog, schema, table] => TableReference::full(catalog.as_str(), schema.as_str(), table.as_str()),
        _ => TableReference::bare(name.to_string()),
    }
}

/// One of the relations that a SELECT reads.
#[derive(Debug, Clone, Default)]
pub(super) struct Relation {
    /// Its alias or name.
    pub name: String,
    /// `None` where they are not known (subqueries, WITH).
    pub columns: Option<Vec<String>>,
    /// Their types, where it is a table.
    pub schema: Option<SchemaRef>,
}

impl Relation {
    /// A relation without a name of which only the columns are known.
    pub fn of_columns(columns: Option<Vec<String>>) -> Self {
        Relation { columns, ..Relation::default() }
    }

    /// A table.
    pub fn of_schema(name: String, schema: SchemaRef) -> Self {
        let columns = schema.fields().iter().map(|f| f.name().clone()).collect();
        Relation { name, columns: Some(columns), schema: Some(schema) }
    }

    fn has(&self, column: &str) -> bool {
        self.columns.as_ref().is_some_and(|columns| columns.iter().any(|c| c == column))
    }
}

/// What the names of one SELECT can mean.
#[derive(Debug, Default)]
pub(super) struct Scope {
    /// In the order of FROM.
    pub relations: Vec<Relation>,
    /// Results that later clauses can refer to.
    pub aliases: BTreeSet<String>,
}

impl Scope {
    /// The scope of a SELECT.
    pub fn of(select: &Select, tables: &Tables, defined: &BTreeSet<String>) -> Scope {
        let mut scope = Scope::default();
        for factor in select.from.iter().flat_map(relations) {
            scope.relations.push(relation_of(factor, tables, defined));
        }
        for item in &select.projection {
            if let SelectItem::ExprWithAlias { alias, .. } = item {
                scope.aliases.insert(normal(alias));
            }
        }
        scope
    }

    /// All columns, if every relation's are known.
    pub fn columns(&self) -> Option<BTreeSet<&str>> {
        let mut all = BTreeSet::new();
        for relation in &self.relations {
            all.extend(relation.columns.as_ref()?.iter().map(String::as_str));
        }
        Some(all)
    }

    /// Whether a column is known to be there.
    pub fn has(&self, column: &str) -> bool {
        self.relations.iter().any(|relation| relation.has(column))
    }

    /// The relations that are known to have a column.
    pub fn with(&self, column: &str) -> Vec<&Relation> {
        self.relations.iter().filter(|relation| relation.has(column)).collect()
    }

    /// The relation of a name or alias.
    pub fn relation(&self, name: &str) -> Option<&Relation> {
        self.relations.iter().find(|relation| relation.name == name)
    }

    /// The type of a column, where it is that of a table.
    pub fn data_type(&self, expr: &Expr) -> Option<&DataType> {
        let (relation, column) = match expr {
            Expr::Identifier(column) => {
                let name = normal(column);
                let [only] = self.with(&name)[..] else { return None };
                (only, name)
            }
            Expr::CompoundIdentifier(parts) => match parts.as_slice() {
                [table, column] => (self.relation(&normal(table))?, normal(column)),
                _ => return None,
            },
            _ => return None,
        };
        Some(relation.schema.as_ref()?.field_with_name(&column).ok()?.data_type())
    }
}

/// A relation of FROM and those that are joined to it.
pub(super) fn relations(from: &TableWithJoins) -> impl Iterator<Item = &TableFactor> {
    std::iter::once(&from.relation).chain(from.joins.iter().map(|join| &join.relation))
}

/// The columns of a SELECT, where all are named.
fn columns_of(select: &Select) -> Option<Vec<String>> {
    let name = |item: &SelectItem| match item {
        SelectItem::ExprWithAlias { alias, .. } => Some(normal(alias)),
        SelectItem::UnnamedExpr(Expr::Identifier(column)) => Some(normal(column)),
        SelectItem::UnnamedExpr(Expr::CompoundIdentifier(parts)) => parts.last().map(normal),
        _ => None,
    };
    select.projection.iter().map(name).collect()
}

fn relation_of(factor: &TableFactor, tables: &Tables, defined: &BTreeSet<String>) -> Relation {
    match factor {
        TableFactor::Table { name, alias, args: None, .. } => {
            let key = reference(name).to_string();
            let renamed = alias.as_ref().is_some_and(|a| !a.columns.is_empty());
            let is_cte = name.0.len() == 1 && defined.contains(&key);
            let known = !renamed && !is_cte;
            let own = name.0.last().and_then(|p| p.as_ident()).map(normal).unwrap_or_default();
            let name = alias.as_ref().map_or(own, |a| normal(&a.name));
            match tables.found.get(&key).filter(|_| known) {
                Some(table) => Relation::of_schema(name, table.schema()),
                None => Relation { name, ..Relation::default() },
            }
        }
        TableFactor::Derived { alias, subquery, .. } => {
            let renamed = alias.as_ref().is_some_and(|a| !a.columns.is_empty());
            let columns = subquery.body.as_select().filter(|_| !renamed).and_then(columns_of);
            let name = alias.as_ref().map(|a| normal(&a.name)).unwrap_or_default();
            Relation { name, columns, schema: None }
        }
        _ => Relation::default(),
    }
}
