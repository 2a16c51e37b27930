//! The change feed: which rows the commits of a table inserted, updated and deleted.
//!
//! It is Delta's own, which any Delta reader can use. A commit that replaces or removes rows names files with the rows that
//! it changed, each with `_change_type`; of one that only adds files, these are the rows that it inserted. Of commits of
//! other programs that name none, the rows of the files that went and of those that came are compared.

mod ranges;
mod read;
mod write;

pub use ranges::Changed;
pub(crate) use ranges::changed;
pub(crate) use read::changes;
use std::fmt::{Display, Formatter};
pub(crate) use write::ChangeWriter;

/// The folder in a table's folder for files of changed rows.
const FOLDER: &str = "_change_data";
/// The column of changed rows that says what became of them.
pub(crate) const CHANGE_TYPE: &str = "_change_type";
/// The version that a change made.
pub(crate) const COMMIT_VERSION: &str = "_commit_version";
/// When it was made.
pub(crate) const COMMIT_TIME: &str = "_commit_timestamp";

/// What became of a row.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum ChangeType {
    Insert,
    /// An updated row as it was ...
    UpdateBefore,
    /// ... and as it is.
    UpdateAfter,
    Delete,
}

impl Display for ChangeType {
    fn fmt(&self, f: &mut Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            ChangeType::Insert => "insert",
            ChangeType::UpdateBefore => "update_preimage",
            ChangeType::UpdateAfter => "update_postimage",
            ChangeType::Delete => "delete",
        })
    }
}

#[cfg(test)]
#[allow(clippy::disallowed_methods, reason = "a session of DataFusion reads the feed")]
mod tests {
    use crate::{IngestOptions, Lake, LakeOptions, ProfileCache};
    use arrow::array::AsArray;
    use arrow::compute::cast;
    use arrow::datatypes::DataType;
    use datafusion::execution::SessionStateBuilder;
    use datafusion::prelude::SessionContext;
    use std::path::Path;
    use tallow_common::control::Control;

    async fn lake(folder: &Path) -> Lake {
        let state = SessionStateBuilder::new().with_default_features().build();
        let options = LakeOptions { url: folder.display().to_string(), candles: None, as_of: None, confined: false };
        Lake::open(options, ProfileCache::new(None), state).await.unwrap()
    }

    async fn deliver(lake: &Lake, folder: &Path, rows: &[&str]) -> Option<u64> {
        let file = folder.join("delivery.csv");
        std::fs::write(&file, format!("symbol,ts,open,high,low,close\n{}\n", rows.join("\n"))).unwrap();
        let options = IngestOptions { sources: vec![file.display().to_string()], ..IngestOptions::default() };
        lake.ingest("1d".parse().unwrap(), &options, &Control::default().progress).await.unwrap().version
    }

    /// Symbol, day, close, what became of it and by which version.
    async fn changes(lake: &Lake, from: u64, to: Option<u64>) -> Vec<String> {
        let context = SessionContext::new();
        context.register_table("changes", lake.changes("candles_1d", from, to).await.unwrap()).unwrap();
        let sql = "select concat_ws(' ', symbol, cast(cast(ts as date) as varchar), cast(close as varchar), _change_type, \
                   cast(_commit_version as varchar)) from changes order by symbol, ts, _change_type desc";
        let batches = context.sql(sql).await.unwrap().collect().await.unwrap();
        let texts = batches.iter().map(|batch| cast(batch.column(0), &DataType::Utf8).unwrap());
        texts.flat_map(|t| t.as_string::<i32>().iter().flatten().map(String::from).collect::<Vec<_>>()).collect()
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn it_tells_what_each_version_changed() {
        let folder = tempfile::tempdir().unwrap();
        let lake = lake(&folder.path().join("lake")).await;
        let first = ["A,2024-01-01,1,1,1,1", "A,2024-01-02,2,2,2,2", "B,2024-01-01,5,5,5,5"];
        assert_eq!(deliver(&lake, folder.path(), &first).await, Some(0));
        let second = ["A,2024-01-02,3,3,3,3", "A,2024-01-03,4,4,4,4", "B,2024-01-01,5,5,5,5", "C,2024-01-01,7,7,7,7"];
        assert_eq!(deliver(&lake, folder.path(), &second).await, Some(1));
        let expected = [
            "A 2024-01-02 2.0 update_preimage 1",
            "A 2024-01-02 3.0 update_postimage 1",
            "A 2024-01-03 4.0 insert 1",
            "C 2024-01-01 7.0 insert 1",
        ];
        assert_eq!(changes(&lake, 0, None).await, expected);
        // What is there already changes nothing, nor does how it lies.
        assert_eq!(deliver(&lake, folder.path(), &second).await, None);
        lake.optimize("candles_1d", Some(1)).await.unwrap();
        assert_eq!(changes(&lake, 1, None).await, Vec::<String>::new());
        assert_eq!(changes(&lake, 0, Some(0)).await, Vec::<String>::new());
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn versions_that_are_not_there_are_named() {
        let folder = tempfile::tempdir().unwrap();
        let lake = lake(&folder.path().join("lake")).await;
        let said = lake.changes("candles_1d", 0, None).await.err().unwrap().to_string();
        assert!(said.contains("there is no table"), "{said}");
        deliver(&lake, folder.path(), &["A,2024-01-01,1,1,1,1"]).await;
        let said = lake.changes("candles_1d", 0, Some(7)).await.err().unwrap().to_string();
        assert!(said.contains("has no version 7"), "{said}");
        let said = lake.changes("candles_1d", 3, Some(0)).await.err().unwrap().to_string();
        assert!(said.contains("from version 3 to 0"), "{said}");
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn changes_whose_files_are_gone_are_an_error() {
        let folder = tempfile::tempdir().unwrap();
        let lake = lake(&folder.path().join("lake")).await;
        deliver(&lake, folder.path(), &["A,2024-01-01,1,1,1,1"]).await;
        deliver(&lake, folder.path(), &["A,2024-01-02,1,1,1,1"]).await;
        let gone = lake.vacuum("candles_1d", chrono::Duration::zero(), false).await.unwrap();
        assert!(gone.len() == 2 && gone[0].starts_with("_change_data/"), "{gone:?}");
        let said = lake.changes("candles_1d", 0, None).await.err().unwrap().to_string();
        assert!(said.contains("what version 1 of") && said.contains("files were deleted"), "{said}");
    }
}
