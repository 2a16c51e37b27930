//! Where candles lie: Delta tables, files and folders of files, as tables whose order and partitioning are known.

mod as_of;
mod blobs;
mod catalog;
mod clusters;
mod columns;
mod delta;
mod files;
mod formulas;
mod guarded;
mod in_order;
mod ingest;
mod isolation;
mod kind;
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
mod small_table;
mod stores;
mod symbols;
mod table;
mod uncommitted;
mod writable;
mod writer;

pub use as_of::AsOf;
pub use catalog::READABLE;
pub use catalog::{Lake, LakeOptions};
pub use columns::timestamp_type;

pub use formulas::StoredFormula;
pub use ingest::{IngestOptions, IngestProgress, IngestSummary, Naming};
pub use kind::{ResultKind, tables_of_levels};
pub use maintenance::{HistoryEntry, OptimizeSummary};
pub use overwrite::{Computed, Written};
pub use patterns::{StoredAlert, StoredPattern};
pub use profile::ProfileCache;
pub use readable::Unreadable;
pub use small_table::Record;
pub use stores::Stores;
pub use table::{CandleTable, TableSummary};
