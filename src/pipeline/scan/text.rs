//! A scan as a text of the dialect.

use super::Scan;
use crate::Session;
use crate::quoting;
use crate::relation::relation;
use tallow_common::Result;
use tallow_common::time::shown;

impl Scan {
    /// The scan as a text of the dialect: what a reader would type.
    pub async fn sql(&self, session: &Session) -> Result<String> {
        let from = self.with_symbols(session, relation(session, &self.table).await?).await?;
        let (formula, _) = self.checked(session, &from).await?;
        let plain = |name: &String| name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_');
        let names = self.base(&from.sql, &formula, &from.schema)?.1;
        let (plain, values): (Vec<_>, Vec<_>) = names.into_iter().partition(plain);
        let values: String = values.iter().map(|v| format!(",\n  {v}")).collect();
        let formula = match &self.members {
            Some(members) => formula.and(members)?,
            None => formula,
        };
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

    /// ` where symbol in (..)`.
    fn among(&self) -> String {
        let Some(symbols) = &self.symbols else { return String::new() };
        match symbols.is_empty() {
            true => " where false".to_string(),
            false => format!(" where symbol in ({})", quoting::texts(symbols)),
        }
    }
}
