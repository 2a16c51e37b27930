//! What the log keeps of a sorted file: where its symbols lie, so that it is read in order without being opened.

use crate::profile::{Profile, RowGroup, Run};
use datafusion::common::{Result, exec_datafusion_err};
use datafusion::parquet::file::metadata::RowGroupMetaData;
use datafusion::parquet::file::statistics::Statistics;
use deltalake_core::kernel::Add;
use serde::{Deserialize, Serialize};
use std::collections::HashMap;

/// The tag of files whose rows are sorted by (symbol, ts).
const SORTED: &str = "tallow.sorted";
/// The tag that says where their symbols lie.
const GROUPS: &str = "tallow.groups";
/// The tag of files that hold rows of all symbols for some time.
const TIER: &str = "tallow.tier";
const SORTED_BY: &str = "symbol,ts";

/// Where the symbols of a row group lie; kept in the log.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct GroupFacts {
    pub rows: usize,
    #[serde(default)]
    pub offset: i64,
    pub first: String,
    pub last: String,
    pub symbols: usize,
    #[serde(default)]
    pub from: i64,
    #[serde(default)]
    pub to: i64,
}

/// The tags of a file with these row groups; `tier`: see [`tier_of`].
pub(super) fn of_sorted(groups: &[GroupFacts], tier: Option<u32>) -> Result<HashMap<String, Option<String>>> {
    let groups = serde_json::to_string(groups).map_err(|e| exec_datafusion_err!("{e}"))?;
    let tags = [(SORTED, SORTED_BY.to_string()), (GROUPS, groups)];
    let tags = tags.into_iter().chain(tier.map(|tier| (TIER, tier.to_string())));
    Ok(tags.map(|(name, value)| (name.to_string(), Some(value))).collect())
}

/// The tier of a file that holds rows of all symbols for some time, beside files that are cut by symbol, which have none.
pub(crate) fn tier_of(add: &Add) -> Option<u32> {
    add.tags.as_ref()?.get(TIER)?.as_deref()?.parse().ok()
}

/// What the log says of one of our files: enough to read it in order without opening it. `None` for others' files.
pub(crate) fn profile_of(add: &Add) -> Option<Profile> {
    let tag = |name: &str| add.tags.as_ref()?.get(name)?.as_deref();
    if tag(SORTED) != Some(SORTED_BY) {
        return None;
    }
    let groups: Vec<GroupFacts> = serde_json::from_str(tag(GROUPS)?).ok()?;
    let mut profile = Profile { rows: 0, sorted: true, runs: vec![], row_groups: vec![], schema: 0 };
    for group in groups {
        profile.row_groups.push(RowGroup { rows: group.rows, offset: group.offset });
        let start = profile.rows;
        profile.rows += group.rows;
        profile.runs.push(Run {
            symbol: group.first,
            through: Some(group.last),
            symbols: group.symbols,
            start,
            first: group.from,
            last: group.to,
        });
    }
    Some(profile)
}

/// The first and the last time of a row group.
pub(super) fn times(group: &RowGroupMetaData) -> Option<(i64, i64)> {
    match group.column(1).statistics()? {
        Statistics::Int64(times) => Some((*times.min_opt()?, *times.max_opt()?)),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn group(first: &str, last: &str, symbols: usize, times: (i64, i64)) -> GroupFacts {
        let (first, last) = (first.to_string(), last.to_string());
        GroupFacts { rows: 10, offset: 4, first, last, symbols, from: times.0, to: times.1 }
    }

    fn add(tags: HashMap<String, Option<String>>) -> Add {
        Add {
            path: String::new(),
            partition_values: HashMap::new(),
            size: 0,
            modification_time: 0,
            data_change: true,
            stats: None,
            tags: Some(tags),
            deletion_vector: None,
            base_row_id: None,
            default_row_commit_version: None,
            clustering_provider: None,
        }
    }

    #[test]
    fn a_symbol_that_goes_on_in_the_next_row_group_is_counted_once() {
        let groups = [group("A", "C", 3, (5, 9)), group("C", "D", 2, (1, 7)), group("E", "E", 1, (2, 3))];
        let profile = profile_of(&add(of_sorted(&groups, None).unwrap())).unwrap();
        let runs: Vec<_> = profile.runs.iter().map(|run| (run.symbol.as_str(), run.last_symbol(), run.start)).collect();
        assert_eq!(runs, [("A", "C", 0), ("C", "D", 10), ("E", "E", 20)]);
        assert_eq!((profile.symbols(), profile.rows, profile.row_groups.len()), (5, 30, 3));
    }

    #[test]
    fn nothing_is_known_of_the_files_of_others() {
        assert_eq!(profile_of(&add(HashMap::new())), None);
    }
}
