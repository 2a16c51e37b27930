//! Entries that a query finds.

use super::{Backtest, Distance, looks_ahead};
use crate::Session;
use crate::named::{self, NamedQueries};
use crate::quoting::quoted;
use crate::relation::{Relation, one, relation};
use crate::symbols::beside_symbols;
use crate::versioned::is_name;
use arrow::datatypes::{DataType, Field, Schema};
use std::borrow::Cow;
use std::sync::Arc;
use tallow_common::{Error, Result};
use tallow_engine::dialect::{self, Formula, Params};
use tallow_engine::reach::reach;
use tallow_udfs::calendar::Timeframe;
use tallow_udfs::series::Bars;

/// The condition that a bar has a row of the query.
const FOUND: &str = "found";

impl Backtest {
    /// Its candles, and the strategy that is run on them. Beside candles stand the columns of its query, if it has one, where a row of
    /// that has their symbol and time. These give what the strategy does not: entries by `side`, or else wherever there is a row, and
    /// the prices `stop` and `target`. Formulas may read the columns of the lake's table `symbols`.
    pub(crate) async fn with_query(&self, session: &Session) -> Result<(Cow<'_, Backtest>, Relation)> {
        let (of, from) = self.over_query(session).await?;
        let formulas = of.formulas().into_iter().map(|(_, _, formula)| formula).chain(&of.members);
        let from = beside_symbols(session, from, formulas).await?;
        match &of.members {
            Some(members) => Ok((Cow::Owned(of.entering(members)?), from)),
            None => Ok((of, from)),
        }
    }

    /// The strategy that enters only what fulfils a condition, and gives a weight to that alone.
    fn entering(&self, members: &Formula) -> Result<Backtest> {
        let only = |entry: &Option<Formula>| entry.as_ref().map(|entry| members.and(entry)).transpose();
        let weight = |weight: &Formula| Formula::parse(&format!("case when {members} then {weight} else 0 end"));
        Ok(Backtest {
            entry: only(&self.entry)?,
            short_entry: only(&self.short_entry)?,
            weight: self.weight.as_ref().map(weight).transpose()?,
            ..self.clone()
        })
    }

    async fn over_query(&self, session: &Session) -> Result<(Cow<'_, Backtest>, Relation)> {
        let candles = relation(session, &self.table).await?;
        let Some(query) = &self.from_query else { return Ok((Cow::Borrowed(self), candles)) };
        let text = self.query_text(session, query).await?;
        let found = one(session, &format!("select * from ({text})")).await?;
        let fields = found.schema().fields();
        let has = |name: &str| fields.iter().any(|field| field.name() == name);
        if let Some(missing) = ["symbol", "ts"].into_iter().find(|name| !has(name)) {
            return Err(Error::Argument(
                "from_query",
                format!(": its result has no column {missing}, the bar of an entry"),
            ));
        }
        let reached = reach(&session.optimized(found.logical_plan()).await?);
        // What a column tells of the future is found where a formula reads it; that there is a row, tells too.
        let ahead = reached.rows.furthest().ahead;
        if ahead != Bars::Count(0) {
            return Err(looks_ahead("choice of rows by", query, ahead));
        }
        if !reached.is_of_bars {
            let said = ": its column ts is not the time of a bar as it is in a table, so that nothing tells when a row was known";
            return Err(Error::Argument("from_query", said.to_string()));
        }
        let own: Vec<&Arc<Field>> = fields
            .iter()
            .filter(|field| candles.schema.index_of(field.name()).is_err() && field.name() != FOUND)
            .collect();
        let columns: String = own.iter().map(|field| format!(", q.{}", quoted(field.name()))).collect();
        let sql = format!(
            "(select c.*, q.symbol is not null as {FOUND}{columns} from {} c left join ({text}) q on c.symbol = q.symbol and c.ts = q.ts)",
            candles.sql
        );
        let added = own.iter().map(|field| field.as_ref().clone()).chain([Field::new(FOUND, DataType::Boolean, true)]);
        let all = candles.schema.fields().iter().map(|field| field.as_ref().clone()).chain(added);
        let schema = Schema::new(all.collect::<Vec<_>>());
        let from = candles.beside(sql, Arc::new(schema));
        let mut of = self.clone();
        let level = |name: &str| has(name).then(|| Distance::level(name)).transpose();
        if of.weight.is_some() {
            return Ok((Cow::Owned(of), from));
        }
        if of.entry.is_none() && of.short_entry.is_none() {
            let sides = has("side");
            let of_side = |side: &str| Formula::parse(&format!("side = '{side}'"));
            of.entry = Some(if sides { of_side("long")? } else { Formula::parse(FOUND)? });
            of.short_entry = sides.then(|| of_side("short")).transpose()?;
        }
        if of.stop.is_none() {
            of.stop = level("stop")?;
        }
        if of.target.is_none() {
            of.target = level("target")?;
        }
        Ok((Cow::Owned(of), from))
    }

    /// The text of its query over its bars.
    async fn query_text(&self, session: &Session, query: &str) -> Result<String> {
        let queries = session.extension::<NamedQueries>()?;
        let text = match is_name(query.trim()) {
            true => {
                let named = queries.find(query.trim())?;
                dialect::bind(&named.sql, &named.complete(&Params::default())?)?
            }
            false => query.trim().trim_end_matches(';').to_string(),
        };
        let timeframe = self.table.strip_prefix("candles_").and_then(|name| name.parse::<Timeframe>().ok());
        match timeframe {
            Some(timeframe) => named::over(session, &text, &Params::default(), timeframe).await,
            None => Ok(text),
        }
    }
}
