//! Scans that can be cut into partitions anew, at the same symbols as others.

use super::pages::Footers;
use super::pruning::Selection;
use super::ranges::{Borders, Part, chains, cut, weights};
use super::table::CandleTable;
use datafusion::common::Result;
use datafusion::datasource::physical_plan::{FileScanConfig, FileScanConfigBuilder};
use datafusion::datasource::source::DataSourceExec;
use datafusion::physical_plan::ExecutionPlan;
use std::sync::Arc;

/// What a scan reads of its table.
pub(super) struct Recut {
    pub table: CandleTable,
    pub selection: Selection,
    pub footers: Footers,
    /// How many row groups may be held at the same time.
    pub readers: usize,
}

impl Recut {
    /// Files that are read at the same time, by symbol: in each of these lists they follow each other.
    pub fn chains(&self) -> Vec<Vec<usize>> {
        match &self.table.order {
            Some(order) => vec![order.clone()],
            None => chains(&self.table.profiles),
        }
    }

    /// The first symbols of stretches of rows that are read, and how many these have.
    pub fn weights(&self) -> Vec<(String, usize)> {
        let chains = self.chains();
        chains.iter().flat_map(|chain| weights(&self.table.profiles, chain, &self.selection, true)).collect()
    }

    /// The scan with its rows cut at these symbols: a scan for each chain that has any.
    pub fn at(&self, scan: &FileScanConfig, borders: &Borders) -> Result<Vec<Arc<dyn ExecutionPlan>>> {
        let table = &self.table;
        let mut scans: Vec<Arc<dyn ExecutionPlan>> = vec![];
        for chain in self.chains() {
            let mut partitions = cut(&table.profiles, &chain, &self.selection, true, borders);
            partitions.iter_mut().for_each(|parts| table.narrow(parts, &self.selection, &self.footers));
            let parts: Vec<&Part> = partitions.iter().flatten().collect();
            if parts.is_empty() && !scans.is_empty() {
                continue;
            }
            let config = FileScanConfigBuilder::from(scan.clone())
                .with_file_groups(partitions.iter().map(|parts| table.group_of(parts)).collect())
                .with_output_partitioning(table.partitioning(borders)?)
                .with_statistics(table.table_statistics(&parts));
            scans.push(DataSourceExec::from_data_source(config.build()));
        }
        Ok(scans)
    }
}
