//! `changes('candles_1d', from => 12, to => 15)`.

use super::{Call, Named, TableFunction};
use crate::quoting;
use crate::relation::table_named;
use crate::views::Views;
use async_trait::async_trait;
use tallow_common::{Error, Result};

pub(super) struct Changes;

#[async_trait]
impl TableFunction for Changes {
    fn name(&self) -> &'static str {
        "changes"
    }

    fn usage(&self) -> &'static str {
        "changes('candles_1d', from => 12, to => 15)"
    }

    fn doc(&self) -> &'static str {
        "The rows of a table that changed after version `from`, up to and with version `to` (by default the newest): its \
         columns, `_change_type` (insert, update_preimage, update_postimage, delete), `_commit_version` and \
         `_commit_timestamp`. A commit of another program that names no changed rows shows an updated row as delete and \
         insert"
    }

    fn named(&self) -> Named {
        Named::Only(&["from", "to"])
    }

    async fn sql(&self, on: &Views, call: &Call<'_>) -> Result<Option<String>> {
        let [table] = call.positional() else { return Ok(None) };
        let version = |name: &str| -> Result<Option<u64>> {
            let Some(text) = call.get(name) else { return Ok(None) };
            let wrong = |_| Error::invalid(format!("{name} => '{text}': expected a version, such as 12"));
            text.parse().map(Some).map_err(wrong)
        };
        let Some(from) = version("from")? else {
            return Err(Error::invalid(format!("changes needs `from`, a version: {}", self.usage())));
        };
        let to = version("to")?;
        let table = table_named(table);
        let changes = on.lake.changes(&table, from, to).await?;
        let name = format!("#changes({table}, {from}, {to:?})");
        on.lake.keep_hidden(&name, changes);
        Ok(Some(format!("select * from {} as changes", quoting::quoted(&name))))
    }
}
