//! Where candles lie: Delta tables, files and folders of files, as tables whose order and partitioning are known.

mod care;
mod catalog;
mod clusters;
mod columns;
mod delta;
mod files;
mod formulas;
mod ingest;
mod objects;
mod patterns;
mod profile;
mod proof;
mod ranges;
mod readable;
mod records;
mod replace;
mod scan;
mod stores;
mod symbols;
mod table;
mod wanted;
mod writer;

pub use care::{HistoryEntry, OptimizeSummary};
pub(crate) use catalog::READABLE;
pub use catalog::{Lake, LakeSchema};
pub(crate) use columns::instant;
pub use delta::AsOf;
pub use formulas::StoredFormula;
pub use ingest::{IngestOptions, IngestProgress, IngestSummary, Naming};
pub use patterns::{StoredAlert, StoredPattern};
pub use profile::ProfileCache;
pub use readable::Unreadable;
pub use records::Record;
pub use replace::{Computed, Written};
pub use stores::Stores;
pub use table::{CandleTable, TableSummary};
