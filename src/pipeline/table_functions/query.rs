//! `query('rsi_oversold', level => 20)`.

use super::{Call, Named, TableFunction};
use crate::views::Views;
use async_trait::async_trait;
use tallow_common::Result;
use tallow_engine::dialect::{self, Params};

pub(super) struct NamedQuery;

#[async_trait]
impl TableFunction for NamedQuery {
    fn name(&self) -> &'static str {
        "query"
    }

    fn usage(&self) -> &'static str {
        "query('name of a query that comes with tallow', parameter => 'value')"
    }

    fn doc(&self) -> &'static str {
        "A named query as a table"
    }

    fn named(&self) -> Named {
        Named::Any
    }

    async fn sql(&self, on: &Views, call: &Call<'_>) -> Result<Option<String>> {
        let [name] = call.positional() else { return Ok(None) };
        let query = on.queries.find(name)?;
        let mut given = Params::default();
        call.0.named.iter().for_each(|(name, value)| given.set(name, value));
        Ok(Some(dialect::bind(&query.sql, &query.complete(&given)?)?))
    }
}
