//! Where candles lie: files and folders of files, as tables whose order and partitioning are known.

mod catalog;
mod columns;
mod files;
mod profile;
mod proof;
mod ranges;
mod table;

pub use catalog::{Lake, LakeSchema};
pub use profile::ProfileCache;
pub use table::{CandleTable, TableSummary};
