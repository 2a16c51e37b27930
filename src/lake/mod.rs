//! Where candles lie: Delta tables, files and folders of files, as tables whose order and partitioning are known.

mod as_of;
mod blobs;
mod border;
mod catalog;
mod clusters;
mod columns;
mod delta;
mod files;
mod formulas;
mod in_order;
mod ingest;
mod maintenance;
mod overwrite;
mod patterns;
mod profile;
mod proof;
pub mod properties;
mod pruning;
mod ranges;
mod read;
mod readable;
mod results;
mod small_table;
mod stores;
mod symbols;
mod table;
mod uncommitted;
mod writable;
mod writer;

pub use as_of::AsOf;
pub(crate) use catalog::READABLE;
pub use catalog::{Lake, LakeSchema};
pub(crate) use columns::timestamp_type;

pub use formulas::StoredFormula;
pub use ingest::{IngestOptions, IngestProgress, IngestSummary, Naming};
pub use maintenance::{HistoryEntry, OptimizeSummary};
pub use overwrite::{Computed, Written};
pub use patterns::{StoredAlert, StoredPattern};
pub use profile::ProfileCache;
pub use readable::Unreadable;
pub use results::{ResultKind, tables_of_levels};
pub use small_table::Record;
pub use stores::Stores;
pub use table::{CandleTable, TableSummary};
