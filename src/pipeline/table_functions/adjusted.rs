//! `adjusted('1d', 'actions.csv')`.

use super::{Call, Named, TableFunction};
use crate::adjust;
use crate::views::Views;
use async_trait::async_trait;
use tallow_common::Result;

pub(super) struct Adjusted;

#[async_trait]
impl TableFunction for Adjusted {
    fn name(&self) -> &'static str {
        "adjusted"
    }

    fn usage(&self) -> &'static str {
        "adjusted('1d', 'actions.csv')"
    }

    fn doc(&self) -> &'static str {
        "Bars adjusted for the splits and dividends of a file"
    }

    fn named(&self) -> Named {
        Named::Only(&[])
    }

    async fn sql(&self, on: &Views, call: &Call<'_>) -> Result<Option<String>> {
        let [table, actions] = call.positional() else { return Ok(None) };
        Ok(Some(adjust::sql(&on.lake, table, actions).await?))
    }
}
