//! File formats of DataFusion whose files are read in isolation, and the sources and streams that they make.

use super::codec;
use super::isolation::{contained, contained_step, named, named_if_of_file, reading, shown, to_its_end};
use super::page_index;
use super::recut::Recut;
use super::symbol_range::{Kept, SymbolRange};
use arrow::array::RecordBatch;
use arrow::datatypes::{Schema, SchemaRef};
use async_trait::async_trait;
use datafusion::catalog::Session;
use datafusion::common::config::ConfigOptions;
use datafusion::common::tree_node::TreeNodeRecursion;
use datafusion::common::{Result, Statistics};
use datafusion::datasource::file_format::file_compression_type::FileCompressionType;
use datafusion::datasource::file_format::{FileFormat, FileMeta};
use datafusion::datasource::listing::PartitionedFile;
use datafusion::datasource::physical_plan::{FileOpener, FileScanConfig, FileSinkConfig, FileSource, ParquetSource};
use datafusion::datasource::source::DataSourceExec;
use datafusion::datasource::table_schema::TableSchema;
use datafusion::execution::object_store::ObjectStoreUrl;
use datafusion::physical_expr::projection::ProjectionExprs;
use datafusion::physical_expr::{EquivalenceProperties, LexOrdering, LexRequirement, PhysicalExpr, PhysicalSortExpr};
use datafusion::physical_plan::filter_pushdown::FilterPushdownPropagation;
use datafusion::physical_plan::metrics::ExecutionPlanMetricsSet;
use datafusion::physical_plan::proto::ExecutionPlanEncodeCtx;
use datafusion::physical_plan::{DisplayFormatType, ExecutionPlan, SortOrderPushdownResult};
use datafusion_datasource::morsel::{Morsel, MorselPlan, MorselPlanner, Morselizer};
use datafusion_proto::protobuf::PhysicalPlanNode;
use futures::stream::BoxStream;
use futures::{Stream, StreamExt};
use object_store::{ObjectMeta, ObjectStore};
use std::fmt::Formatter;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

/// A file format whose files are read in isolation.
#[derive(Debug)]
pub(super) struct Guarded {
    inner: Arc<dyn FileFormat>,
    store_url: ObjectStoreUrl,
}

impl Guarded {
    /// A format for the files of a store.
    pub fn new(inner: Arc<dyn FileFormat>, store_url: &ObjectStoreUrl) -> Self {
        Self { inner, store_url: store_url.clone() }
    }

    fn shown(&self, file: &ObjectMeta) -> String {
        shown(&self.store_url, &file.location)
    }

    fn guard(&self, source: &Arc<dyn FileSource>) -> Arc<dyn FileSource> {
        guard(source, &self.store_url)
    }
}

/// A source that reads the files of a store in isolation.
pub(super) fn guard(source: &Arc<dyn FileSource>, store_url: &ObjectStoreUrl) -> Arc<dyn FileSource> {
    Arc::new(GuardedSource { inner: Arc::clone(source), store_url: store_url.clone(), recut: None })
}

/// A scan with what it takes to cut it into partitions anew, if it is one of files that are read in isolation.
pub(super) fn with_recut(config: &FileScanConfig, recut: Recut) -> Option<Arc<dyn ExecutionPlan>> {
    let GuardedSource { inner, store_url, .. } = config.file_source.downcast_ref::<GuardedSource>()?;
    let source = GuardedSource { inner: Arc::clone(inner), store_url: store_url.clone(), recut: Some(Arc::new(recut)) };
    let mut config = config.clone();
    config.file_source = Arc::new(source);
    Some(DataSourceExec::from_data_source(config))
}

/// What it takes to cut a scan into partitions anew.
pub(super) fn recut_of(config: &FileScanConfig) -> Option<&Arc<Recut>> {
    config.file_source.downcast_ref::<GuardedSource>()?.recut.as_ref()
}

#[async_trait]
impl FileFormat for Guarded {
    fn get_ext(&self) -> String {
        self.inner.get_ext()
    }

    fn get_ext_with_compression(&self, compression: &FileCompressionType) -> Result<String> {
        self.inner.get_ext_with_compression(compression)
    }

    fn compression_type(&self) -> Option<FileCompressionType> {
        self.inner.compression_type()
    }

    async fn infer_schema(
        &self,
        state: &dyn Session,
        store: &Arc<dyn ObjectStore>,
        objects: &[ObjectMeta],
    ) -> Result<SchemaRef> {
        if let [file] = objects {
            return reading(&self.shown(file), self.inner.infer_schema(state, store, objects)).await;
        }
        let all = to_its_end("one of the files", self.inner.infer_schema(state, store, objects)).await;
        let Err(error) = all else { return all };
        let mut first: Option<Schema> = None;
        for file in objects {
            let own = self.infer_schema(state, store, std::slice::from_ref(file)).await?.as_ref().clone();
            let first = first.get_or_insert_with(|| own.clone());
            if let Err(error) = Schema::try_merge([first.clone(), own]) {
                return Err(named(&self.shown(file), error.into()));
            }
        }
        Err(error)
    }

    async fn infer_stats(
        &self,
        state: &dyn Session,
        store: &Arc<dyn ObjectStore>,
        table_schema: SchemaRef,
        object: &ObjectMeta,
    ) -> Result<Statistics> {
        reading(&self.shown(object), self.inner.infer_stats(state, store, table_schema, object)).await
    }

    async fn infer_ordering(
        &self,
        state: &dyn Session,
        store: &Arc<dyn ObjectStore>,
        table_schema: SchemaRef,
        object: &ObjectMeta,
    ) -> Result<Option<LexOrdering>> {
        reading(&self.shown(object), self.inner.infer_ordering(state, store, table_schema, object)).await
    }

    async fn infer_stats_and_ordering(
        &self,
        state: &dyn Session,
        store: &Arc<dyn ObjectStore>,
        table_schema: SchemaRef,
        object: &ObjectMeta,
    ) -> Result<FileMeta> {
        reading(&self.shown(object), self.inner.infer_stats_and_ordering(state, store, table_schema, object)).await
    }

    async fn create_physical_plan(&self, state: &dyn Session, conf: FileScanConfig) -> Result<Arc<dyn ExecutionPlan>> {
        let plan = self.inner.create_physical_plan(state, conf).await?;
        let scan = plan.downcast_ref::<DataSourceExec>().map(DataSourceExec::data_source);
        let Some(config) = scan.and_then(|scan| scan.downcast_ref::<FileScanConfig>()) else { return Ok(plan) };
        let mut config = config.clone();
        let keeping = config.file_source.downcast_ref::<ParquetSource>().and_then(page_index::keeping);
        config.file_source = match keeping {
            Some(source) => self.guard(&(Arc::new(source) as _)),
            None => self.guard(&config.file_source),
        };
        Ok(DataSourceExec::from_data_source(config))
    }

    async fn create_writer_physical_plan(
        &self,
        input: Arc<dyn ExecutionPlan>,
        state: &dyn Session,
        conf: FileSinkConfig,
        order_requirements: Option<LexRequirement>,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        self.inner.create_writer_physical_plan(input, state, conf, order_requirements).await
    }

    /// The format's own: it expects that again when it plans.
    fn file_source(&self, table_schema: TableSchema) -> Arc<dyn FileSource> {
        self.inner.file_source(table_schema)
    }
}

/// The source of a scan, which opens and decodes files in isolation.
struct GuardedSource {
    inner: Arc<dyn FileSource>,
    store_url: ObjectStoreUrl,
    recut: Option<Arc<Recut>>,
}

impl GuardedSource {
    fn with(&self, inner: Arc<dyn FileSource>) -> Arc<dyn FileSource> {
        Arc::new(Self { inner, store_url: self.store_url.clone(), recut: self.recut.clone() })
    }
}

impl FileSource for GuardedSource {
    fn create_file_opener(
        &self,
        store: Arc<dyn ObjectStore>,
        config: &FileScanConfig,
        partition: usize,
    ) -> Result<Arc<dyn FileOpener>> {
        self.inner.create_file_opener(store, config, partition)
    }

    fn create_morselizer(
        &self,
        store: Arc<dyn ObjectStore>,
        config: &FileScanConfig,
        partition: usize,
    ) -> Result<Box<dyn Morselizer>> {
        let inner = self.inner.create_morselizer(store, config, partition)?;
        let projection = self.inner.projection().cloned();
        Ok(Box::new(GuardedMorselizer { inner, store_url: self.store_url.clone(), projection }))
    }

    fn table_schema(&self) -> &TableSchema {
        self.inner.table_schema()
    }

    fn with_batch_size(&self, batch_size: usize) -> Arc<dyn FileSource> {
        self.with(self.inner.with_batch_size(batch_size))
    }

    fn filter(&self) -> Option<Arc<dyn PhysicalExpr>> {
        self.inner.filter()
    }

    fn projection(&self) -> Option<&ProjectionExprs> {
        self.inner.projection()
    }

    fn metrics(&self) -> &ExecutionPlanMetricsSet {
        self.inner.metrics()
    }

    fn file_type(&self) -> &str {
        self.inner.file_type()
    }

    fn fmt_extra(&self, t: DisplayFormatType, f: &mut Formatter<'_>) -> std::fmt::Result {
        self.inner.fmt_extra(t, f)
    }

    fn supports_repartitioning(&self) -> bool {
        self.inner.supports_repartitioning()
    }

    fn repartitioned(
        &self,
        target_partitions: usize,
        repartition_file_min_size: usize,
        output_ordering: Option<LexOrdering>,
        config: &FileScanConfig,
    ) -> Result<Option<FileScanConfig>> {
        // What comes back is a copy of `config`, whose source this is.
        self.inner.repartitioned(target_partitions, repartition_file_min_size, output_ordering, config)
    }

    fn try_pushdown_filters(
        &self,
        filters: Vec<Arc<dyn PhysicalExpr>>,
        config: &ConfigOptions,
    ) -> Result<FilterPushdownPropagation<Arc<dyn FileSource>>> {
        let done = self.inner.try_pushdown_filters(filters, config)?;
        let updated_node = done.updated_node.map(|source| self.with(source));
        Ok(FilterPushdownPropagation { filters: done.filters, updated_node })
    }

    fn try_pushdown_sort(
        &self,
        order: &[PhysicalSortExpr],
        eq_properties: &EquivalenceProperties,
    ) -> Result<SortOrderPushdownResult<Arc<dyn FileSource>>> {
        Ok(self.inner.try_pushdown_sort(order, eq_properties)?.map(|source| self.with(source)))
    }

    fn reorder_files(&self, files: Vec<PartitionedFile>) -> Vec<PartitionedFile> {
        self.inner.reorder_files(files)
    }

    fn try_pushdown_projection(&self, projection: &ProjectionExprs) -> Result<Option<Arc<dyn FileSource>>> {
        Ok(self.inner.try_pushdown_projection(projection)?.map(|source| self.with(source)))
    }

    fn try_to_proto(
        &self,
        config: &FileScanConfig,
        context: &ExecutionPlanEncodeCtx<'_>,
    ) -> Result<Option<PhysicalPlanNode>> {
        let Some(inner) = self.inner.try_to_proto(config, context)? else { return Ok(None) };
        Ok(Some(codec::scan(inner, config)))
    }

    fn apply_expressions(
        &self,
        f: &mut dyn FnMut(&Arc<dyn PhysicalExpr>) -> Result<TreeNodeRecursion>,
    ) -> Result<TreeNodeRecursion> {
        self.inner.apply_expressions(f)
    }
}

#[derive(Debug)]
struct GuardedMorselizer {
    inner: Box<dyn Morselizer>,
    store_url: ObjectStoreUrl,
    projection: Option<ProjectionExprs>,
}

impl Morselizer for GuardedMorselizer {
    fn plan_file(&self, file: PartitionedFile) -> Result<Box<dyn MorselPlanner>> {
        let path: Arc<str> = shown(&self.store_url, &file.object_meta.location).into();
        let kept = match file.extension::<Kept>() {
            Some(kept) => Some((kept.symbols.clone(), kept.position(self.projection.as_ref())?)),
            None => None,
        };
        let inner = contained_step(&path, || self.inner.plan_file(file))?;
        Ok(Box::new(GuardedPlanner { of: Arc::new(OfFile { path, kept }), inner }))
    }
}

/// A file that is being read.
#[derive(Debug)]
struct OfFile {
    path: Arc<str>,
    /// The symbols that are kept, and the position of their column.
    kept: Option<(SymbolRange, usize)>,
}

#[derive(Debug)]
struct GuardedPlanner {
    of: Arc<OfFile>,
    inner: Box<dyn MorselPlanner>,
}

impl GuardedPlanner {
    fn boxed(of: &Arc<OfFile>, inner: Box<dyn MorselPlanner>) -> Box<dyn MorselPlanner> {
        Box::new(GuardedPlanner { of: Arc::clone(of), inner })
    }
}

impl MorselPlanner for GuardedPlanner {
    fn plan(self: Box<Self>) -> Result<Option<MorselPlan>> {
        let GuardedPlanner { of, inner } = *self;
        let Some(mut plan) = contained_step(&of.path, || inner.plan())? else { return Ok(None) };
        let morsel = |inner| -> Box<dyn Morsel> { Box::new(GuardedMorsel { of: Arc::clone(&of), inner }) };
        let morsels = plan.take_morsels().into_iter().map(morsel).collect();
        let planners = plan.take_ready_planners().into_iter().map(|inner| GuardedPlanner::boxed(&of, inner));
        let mut guarded = MorselPlan::new().with_morsels(morsels).with_planners(planners.collect());
        if let Some(pending) = plan.take_pending_planner() {
            let of = Arc::clone(&of);
            guarded.set_pending_planner(async move {
                let inner = to_its_end(&of.path, pending).await.map_err(|error| named_if_of_file(&of.path, error))?;
                Ok(GuardedPlanner::boxed(&of, inner))
            });
        }
        Ok(Some(guarded))
    }
}

#[derive(Debug)]
struct GuardedMorsel {
    of: Arc<OfFile>,
    inner: Box<dyn Morsel>,
}

impl Morsel for GuardedMorsel {
    fn into_stream(self: Box<Self>) -> BoxStream<'static, Result<RecordBatch>> {
        let GuardedMorsel { of, inner } = *self;
        match contained(&of.path, || inner.into_stream()) {
            Ok(batches) => GuardedStream { of, batches: Some(batches) }.boxed(),
            Err(error) => futures::stream::once(std::future::ready(Err(error))).boxed(),
        }
    }
}

/// The batches of a file, up to the first that cannot be read.
struct GuardedStream {
    of: Arc<OfFile>,
    batches: Option<BoxStream<'static, Result<RecordBatch>>>,
}

impl Stream for GuardedStream {
    type Item = Result<RecordBatch>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let GuardedStream { of, batches } = &mut *self;
        let Some(stream) = batches else { return Poll::Ready(None) };
        match contained(&of.path, || stream.poll_next_unpin(cx)) {
            Ok(polled) => polled.map(|next| match (next?, &of.kept) {
                (Ok(batch), Some((symbols, column))) => Some(symbols.rows_of(&batch, *column)),
                (batch, _) => Some(batch.map_err(|e| named_if_of_file(&of.path, e))),
            }),
            Err(error) => {
                *batches = None;
                Poll::Ready(Some(Err(error)))
            }
        }
    }
}
