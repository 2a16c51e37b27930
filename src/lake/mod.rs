//! Where candles lie: Delta tables, files and folders of files, as tables whose order and partitioning are known.

mod care;
mod catalog;
mod clusters;
mod columns;
mod delta;
mod files;
mod ingest;
mod profile;
mod proof;
mod ranges;
mod replace;
mod scan;
mod stores;
mod table;
mod wanted;
mod writer;

pub use care::{HistoryEntry, OptimizeSummary};
pub use catalog::{Lake, LakeSchema};
pub use delta::AsOf;
pub use ingest::{IngestOptions, IngestProgress, IngestSummary, Naming};
pub use profile::ProfileCache;
pub use replace::{Computed, Written};
pub use stores::Stores;
pub use table::{CandleTable, TableSummary};
