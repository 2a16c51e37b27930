//! Names of tables: those that a lake has, and what else a name can stand for.

use crate::files::{Format, without_extensions};
use crate::kind::{CANDLES, KINDS, TableKind};
use arrow::datatypes::SchemaRef;
use datafusion::catalog::Session;
use datafusion::common::{DataFusionError, Result};
use datafusion::datasource::listing::ListingTableUrl;
use object_store::ObjectStore;
use object_store::path::Path;
use std::collections::BTreeMap;
use tallow_udfs::calendar::Timeframe;

/// The tables that a lake has.
#[derive(Debug, Clone, Default)]
pub(super) struct TableNames {
    /// The folder of each table in the lake; of those that users keep, their file.
    folders: BTreeMap<String, String>,
    /// Timeframes that have candles, shortest first.
    pub candles: Vec<Timeframe>,
}

impl TableNames {
    /// Lists the tables of a lake. A lake that is not there has none.
    pub async fn list(lake: &str, session: &dyn Session) -> Result<TableNames> {
        let mut names = TableNames::default();
        for kind in &KINDS {
            names.add(kind, &list_folders(lake, session, kind.name).await?);
        }
        names.candles.sort();
        names.folders.extend(kept_files(lake, session).await?);
        Ok(names)
    }

    fn add(&mut self, kind: &TableKind, folders: &[String]) {
        let known = folders.iter().filter_map(|folder| kind.table_in(folder));
        self.folders.extend(known);
        if kind.name == CANDLES {
            self.candles.extend(folders.iter().filter_map(|folder| Timeframe::named(folder)));
        }
    }

    /// The names of all tables.
    pub fn all(&self) -> impl Iterator<Item = String> {
        self.folders.keys().cloned()
    }

    /// The folder in the lake of the table with a name, which may be short or name the timeframe in another way.
    pub fn folder(&self, name: &str) -> Option<&str> {
        let other_name = || {
            KINDS.iter().find_map(|kind| match kind.name == name && kind.has_short_name {
                true => Some(kind.table_of(self.default_timeframe()?)),
                false => kind.timeframe_of(name).map(|timeframe| kind.table_of(timeframe)),
            })
        };
        let folder = self.folders.get(name).or_else(|| self.folders.get(&other_name()?));
        folder.map(String::as_str)
    }

    /// Whether a table is a file that users keep, which holds no candles whatever its columns are called.
    pub fn is_kept_file(&self, name: &str) -> bool {
        KEPT.contains(&name) && self.folders.contains_key(name)
    }

    /// The columns of a table that nothing was ever written to, beside candles that are there.
    pub fn empty(&self, name: &str) -> Option<SchemaRef> {
        let of_kind = |kind: &TableKind| {
            let is_known = self.candles.contains(&kind.timeframe_of(name)?);
            kind.empty.filter(|_| is_known).map(|schema| schema())
        };
        KINDS.iter().find_map(of_kind)
    }

    /// Days where there are any, else the longest timeframe.
    pub fn default_timeframe(&self) -> Option<Timeframe> {
        self.candles.iter().find(|t| **t == Timeframe::Day).or_else(|| self.candles.iter().max()).copied()
    }
}

/// Whether a table name is a path, glob or URL.
pub(super) fn is_location(name: &str) -> bool {
    name.contains(['/', '\\', '*']) || Format::of(name).is_some()
}

/// Files that users keep in the lake, `symbols.csv` or of another format: what is known of each symbol, and sessions of exchanges.
const KEPT: [&str; 2] = ["symbols", "calendars"];

/// The tables that are such files, and the names of these.
async fn kept_files(lake: &str, session: &dyn Session) -> Result<BTreeMap<String, String>> {
    let url = ListingTableUrl::parse(format!("{}/", lake.trim_end_matches('/')))?;
    let store = session.runtime_env().object_store(url.object_store())?;
    // A lake that cannot be listed has said so by its folders.
    let Ok(listed) = store.list_with_delimiter(Some(url.prefix())).await else { return Ok(BTreeMap::new()) };
    let names = || listed.objects.iter().filter_map(|meta| meta.location.filename());
    let file_of =
        |table: &str| names().filter(|name| without_extensions(name) == table && Format::of(name).is_some()).min();
    Ok(KEPT.iter().filter_map(|table| Some((table.to_string(), file_of(table)?.to_string()))).collect())
}

/// The folders of a kind of tables.
async fn list_folders(lake: &str, session: &dyn Session, kind: &str) -> Result<Vec<String>> {
    let url = ListingTableUrl::parse(format!("{}/{kind}/", lake.trim_end_matches('/')))?;
    let store = session.runtime_env().object_store(url.object_store())?;
    let listed = match store.list_with_delimiter(Some(url.prefix())).await {
        Ok(listed) => listed,
        Err(object_store::Error::NotFound { .. } | object_store::Error::NotImplemented { .. }) => return Ok(vec![]),
        Err(error) => {
            let hint = match url.object_store().as_str() {
                "file:///" => "",
                _ => " (are the address and, in the environment, region and credentials right?)",
            };
            return Err(DataFusionError::from(error).context(format!("cannot list the lake {lake}{hint}")));
        }
    };
    let name = |path: &Path| path.filename().map(str::to_string);
    Ok(listed.common_prefixes.iter().filter_map(name).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(tables: &[(&str, &[&str])]) -> TableNames {
        let mut names = TableNames::default();
        for (kind, folders) in tables {
            let kind = KINDS.iter().find(|known| known.name == *kind).unwrap();
            names.add(kind, &folders.iter().map(ToString::to_string).collect::<Vec<_>>());
        }
        names.candles.sort();
        names
    }

    #[test]
    fn a_lake_has_the_tables_that_its_folders_name() {
        let folders: [(&str, &[&str]); 5] = [
            ("candles", &["4h", "1h", "notes"]),
            ("labels", &["swing", "a b"]),
            ("matches", &["4h"]),
            ("formulas", &["_delta_log"]),
            ("patterns", &["other"]),
        ];
        let names = names(&folders);
        let all: Vec<String> = names.all().collect();
        assert_eq!(all, ["candles_1h", "candles_4h", "formulas", "labels_swing", "matches_4h"]);
        assert_eq!(names.folder("candles"), Some("candles/4h"));
        assert_eq!(names.folder("candles_60m"), Some("candles/1h"));
        assert_eq!(names.folder("matches"), Some("matches/4h"));
        assert_eq!(names.folder("formulas"), Some("formulas"));
        assert_eq!((names.folder("candles_1d"), names.folder("labels"), names.folder("patterns")), (None, None, None));
    }

    #[test]
    fn days_come_before_longer_bars_and_those_before_shorter_ones() {
        let default = |timeframes| names(&[("candles", timeframes)]).default_timeframe().map(|t| t.to_string());
        assert_eq!(default(&["1h", "1d", "1w"]).as_deref(), Some("1d"));
        assert_eq!(default(&["1h", "1w"]).as_deref(), Some("1w"));
        assert_eq!(default(&[]), None);
    }

    #[test]
    fn candles_without_rejected_rows_have_an_empty_quarantine() {
        let names = names(&[("candles", &["1h"])]);
        assert!(names.empty("quarantine_1h").is_some_and(|schema| schema.index_of("rule").is_ok()));
        assert!(names.empty("quarantine_1d").is_none() && names.empty("candles_1h").is_none());
    }
}
