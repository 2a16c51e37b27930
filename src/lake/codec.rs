//! Scans as bytes: DataFusion's own scan, which rows of its files are read, and whether their order is known.
//!
//! The files themselves are named by their URLs: whoever reads the plan must reach the same stores.

use super::guarded::guard;
use super::in_order::InOrderExec;
use super::ordered_union::OrderedUnionExec;
use super::symbol_range::{Kept, SymbolRange};
use datafusion::common::{Result, internal_datafusion_err, internal_err};
use datafusion::datasource::physical_plan::parquet::{ParquetAccessPlan, RowGroupAccess};
use datafusion::datasource::physical_plan::{FileGroup, FileScanConfig, FileScanConfigBuilder};
use datafusion::datasource::source::DataSourceExec;
use datafusion::parquet::arrow::arrow_reader::{RowSelection, RowSelector};
use datafusion::physical_expr::{LexOrdering, PhysicalSortExpr};
use datafusion::physical_plan::ExecutionPlan;
use datafusion_proto::protobuf::physical_plan_node::PhysicalPlanType;
use datafusion_proto::protobuf::{PhysicalExtensionNode, PhysicalPlanNode};
use prost::Message;
use std::sync::Arc;
use tallow_common::codec::{Decoding, Encoding, OperatorKind, named, read};

/// The operators of the lake.
pub const OPERATORS: [OperatorKind; 3] = [
    OperatorKind { name: SCAN, encode: |_, _| Ok(None), decode: decode_scan },
    OperatorKind { name: "InOrderExec", encode: encode_order, decode: decode_order },
    OperatorKind { name: "OrderedUnionExec", encode: encode_union, decode: decode_union },
];

/// The name of scans. They write themselves, see [`scan`].
const SCAN: &str = "scan";

#[derive(Clone, PartialEq, prost::Message)]
struct Scan {
    #[prost(bytes = "vec", tag = "1")]
    inner: Vec<u8>,
    /// Of files that are read in part, which rows are.
    #[prost(message, repeated, tag = "2")]
    parts: Vec<FilePart>,
}

#[derive(Clone, PartialEq, prost::Message)]
struct FilePart {
    #[prost(uint64, tag = "1")]
    group: u64,
    #[prost(uint64, tag = "2")]
    file: u64,
    /// None: all of the file, or what its range of bytes says.
    #[prost(message, repeated, tag = "3")]
    row_groups: Vec<RowGroupPart>,
    #[prost(message, optional, tag = "4")]
    kept: Option<KeptSymbols>,
}

/// See [`Kept`].
#[derive(Clone, PartialEq, prost::Message)]
struct KeptSymbols {
    #[prost(string, optional, tag = "1")]
    from: Option<String>,
    #[prost(string, optional, tag = "2")]
    until: Option<String>,
    #[prost(uint64, tag = "3")]
    column: u64,
}

/// Numbers of rows that are read and skipped in turns, beginning with those that are read; none: see `whole`.
#[derive(Clone, PartialEq, prost::Message)]
struct RowGroupPart {
    #[prost(bool, tag = "1")]
    whole: bool,
    #[prost(uint64, repeated, tag = "2")]
    turns: Vec<u64>,
}

/// A scan of files that are read in isolation, given the scan inside.
pub(super) fn scan(inner: PhysicalPlanNode, config: &FileScanConfig) -> PhysicalPlanNode {
    let mut parts = vec![];
    for (group, files) in config.file_groups.iter().enumerate() {
        for (file, of) in files.files().iter().enumerate() {
            let plan = of.extension::<ParquetAccessPlan>();
            let row_groups: Vec<_> = plan.iter().flat_map(|plan| plan.inner()).map(RowGroupPart::of).collect();
            let kept = of.extension::<Kept>().map(KeptSymbols::of);
            if !row_groups.is_empty() || kept.is_some() {
                parts.push(FilePart { group: group as u64, file: file as u64, row_groups, kept });
            }
        }
    }
    let body = Scan { inner: inner.encode_to_vec(), parts }.encode_to_vec();
    let node = PhysicalExtensionNode { node: named(SCAN, &body), inputs: vec![] };
    PhysicalPlanNode { physical_plan_type: Some(PhysicalPlanType::Extension(node)) }
}

impl KeptSymbols {
    fn of(kept: &Kept) -> KeptSymbols {
        let SymbolRange { from, until } = kept.symbols.clone();
        KeptSymbols { from, until, column: kept.column as u64 }
    }
}

impl RowGroupPart {
    fn of(access: &RowGroupAccess) -> RowGroupPart {
        match access {
            RowGroupAccess::Scan => RowGroupPart { whole: true, turns: vec![] },
            RowGroupAccess::Skip => RowGroupPart { whole: false, turns: vec![] },
            RowGroupAccess::Selection(rows) => {
                let (mut turns, mut reads) = (vec![0], true);
                for RowSelector { row_count, skip } in rows.iter() {
                    if reads == *skip {
                        turns.push(0);
                        reads = !reads;
                    }
                    if let Some(last) = turns.last_mut() {
                        *last += *row_count as u64;
                    }
                }
                RowGroupPart { whole: false, turns }
            }
        }
    }

    fn access(&self) -> RowGroupAccess {
        if self.turns.is_empty() {
            return if self.whole { RowGroupAccess::Scan } else { RowGroupAccess::Skip };
        }
        let selector = |(i, rows): (usize, &u64)| match i % 2 {
            0 => RowSelector::select(*rows as usize),
            _ => RowSelector::skip(*rows as usize),
        };
        let selectors: Vec<_> = self.turns.iter().enumerate().map(selector).filter(|s| s.row_count > 0).collect();
        RowGroupAccess::Selection(RowSelection::from(selectors))
    }
}

fn decode_scan(bytes: &[u8], _: &[Arc<dyn ExecutionPlan>], decoding: &Decoding<'_>) -> Result<Arc<dyn ExecutionPlan>> {
    let Scan { inner, parts } = read(bytes)?;
    let plan = decoding.plan(&inner)?;
    let config = plan.downcast_ref::<DataSourceExec>().and_then(|s| s.data_source().downcast_ref::<FileScanConfig>());
    let config = config.ok_or_else(|| internal_datafusion_err!("a scan of files is written as {}", plan.name()))?;
    let mut groups: Vec<_> = config.file_groups.iter().map(|group| group.files().to_vec()).collect();
    for FilePart { group, file, row_groups, kept } in parts {
        let Some(of) = groups.get_mut(group as usize).and_then(|files| files.get_mut(file as usize)) else {
            return internal_err!("a scan reads a part of file {file} of {group}, which it does not have");
        };
        if !row_groups.is_empty() {
            let access = ParquetAccessPlan::new(row_groups.iter().map(RowGroupPart::access).collect());
            *of = of.clone().with_extension(access);
        }
        if let Some(KeptSymbols { from, until, column }) = kept {
            let kept = Kept { symbols: SymbolRange { from, until }, column: column as usize };
            *of = of.clone().with_extension(kept);
        }
    }
    let source = guard(config.file_source(), &config.object_store_url);
    let groups = groups.into_iter().zip(&config.file_groups).map(|(files, of)| {
        let group = FileGroup::new(files);
        of.file_statistics(None).map_or(group.clone(), |statistics| group.with_statistics(Arc::new(statistics.clone())))
    });
    let config =
        FileScanConfigBuilder::from(config.clone()).with_file_groups(groups.collect()).with_source(source).build();
    Ok(DataSourceExec::from_data_source(config))
}

#[derive(Clone, PartialEq, prost::Message)]
struct Order {
    #[prost(message, repeated, tag = "1")]
    keys: Vec<Key>,
}

#[derive(Clone, PartialEq, prost::Message)]
struct Key {
    #[prost(bytes = "vec", tag = "1")]
    expr: Vec<u8>,
    #[prost(bool, tag = "2")]
    descending: bool,
    #[prost(bool, tag = "3")]
    nulls_first: bool,
}

impl Order {
    fn of(order: &LexOrdering, encoding: &Encoding<'_>) -> Result<Order> {
        let key = |key: &PhysicalSortExpr| {
            let options = key.options;
            let expr = encoding.expr(&key.expr)?;
            Ok(Key { expr, descending: options.descending, nulls_first: options.nulls_first })
        };
        Ok(Order { keys: order.iter().map(key).collect::<Result<_>>()? })
    }

    /// The order, of columns of this plan.
    fn read(&self, of: &Arc<dyn ExecutionPlan>, decoding: &Decoding<'_>) -> Result<LexOrdering> {
        let key = |Key { expr, descending, nulls_first }: &Key| {
            let options = arrow::compute::SortOptions { descending: *descending, nulls_first: *nulls_first };
            Ok(PhysicalSortExpr::new(decoding.expr(expr, of)?, options))
        };
        let keys = self.keys.iter().map(key).collect::<Result<Vec<_>>>()?;
        LexOrdering::new(keys).ok_or_else(|| internal_datafusion_err!("an order without keys"))
    }
}

fn encode_order(plan: &dyn ExecutionPlan, encoding: &Encoding<'_>) -> Result<Option<Vec<u8>>> {
    let Some(ordered) = plan.downcast_ref::<InOrderExec>() else { return Ok(None) };
    Ok(Some(Order::of(ordered.order(), encoding)?.encode_to_vec()))
}

fn decode_order(
    bytes: &[u8],
    inputs: &[Arc<dyn ExecutionPlan>],
    decoding: &Decoding<'_>,
) -> Result<Arc<dyn ExecutionPlan>> {
    let [input] = inputs else { return internal_err!("an order of {} inputs", inputs.len()) };
    let order: Order = read(bytes)?;
    Ok(Arc::new(InOrderExec::new(Arc::clone(input), order.read(input, decoding)?)))
}

fn encode_union(plan: &dyn ExecutionPlan, encoding: &Encoding<'_>) -> Result<Option<Vec<u8>>> {
    let Some(union) = plan.downcast_ref::<OrderedUnionExec>() else { return Ok(None) };
    Ok(Some(Order::of(union.key(), encoding)?.encode_to_vec()))
}

fn decode_union(
    bytes: &[u8],
    inputs: &[Arc<dyn ExecutionPlan>],
    decoding: &Decoding<'_>,
) -> Result<Arc<dyn ExecutionPlan>> {
    let Some(first) = inputs.first() else { return internal_err!("a union without inputs") };
    let key = read::<Order>(bytes)?.read(first, decoding)?;
    Ok(Arc::new(OrderedUnionExec::try_new(inputs.to_vec(), key)?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_of_a_group_are_those_that_were_chosen() {
        let rows = |ranges: &[std::ops::Range<usize>]| {
            RowGroupAccess::Selection(RowSelection::from_consecutive_ranges(ranges.iter().cloned(), 100))
        };
        for access in
            [RowGroupAccess::Scan, RowGroupAccess::Skip, rows(&[0..10]), rows(&[5..7, 90..100]), rows(&[0..1, 3..4])]
        {
            let part = RowGroupPart::of(&access);
            assert_eq!(format!("{:?}", part.access()), format!("{access:?}"));
        }
    }
}
