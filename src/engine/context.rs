//! The only place where a `SessionContext` is made and functions are registered.

use super::asof::{AsofFilter, AsofJoins, AsofPlanner, Marker};
use super::bounded::{self, Unfolded};
use super::cancellation::CancelJoins;
use super::holding;
use super::large_top::LargeTop;
use super::merge_join::MergeJoinRule;
use super::nested::{NestedCalls, NestedWindows};
use super::node::NodePlanner;
use super::pool::Pool;
use super::resources;
use super::series_exec::SeriesRule;
use super::unnested::{UnnestedRelations, UnnestedRows};
use crate::engine::EngineOptions;
use async_trait::async_trait;
use datafusion::catalog::{CatalogProviderList, Session};
use datafusion::execution::context::QueryPlanner;
use datafusion::execution::memory_pool::TrackConsumersPool;
use datafusion::execution::object_store::{DefaultObjectStoreRegistry, ObjectStoreRegistry};
use datafusion::execution::runtime_env::{RuntimeEnv, RuntimeEnvBuilder};
use datafusion::execution::{SessionState, SessionStateBuilder};
use datafusion::logical_expr::registry::FunctionRegistry;
use datafusion::logical_expr::{LogicalPlan, ScalarUDF};
use datafusion::optimizer::{Analyzer, Optimizer};
use datafusion::physical_optimizer::PhysicalOptimizerRule;
use datafusion::physical_optimizer::optimizer::PhysicalOptimizer;
use datafusion::physical_plan::ExecutionPlan;
use datafusion::physical_planner::{DefaultPhysicalPlanner, ExtensionPlanner, PhysicalPlanner};
use datafusion::prelude::{SessionConfig, SessionContext};
use std::num::NonZeroUsize;
use std::sync::{Arc, OnceLock};
use tallow_common::{ComputeThreads, Error, Result};
use tokio::runtime::Handle;

/// Rules for physical plans.
pub(crate) type Rules = Vec<Arc<dyn PhysicalOptimizerRule + Send + Sync>>;

/// A DataFusion session with tallow's functions, those of the caller, rules and limits, and no tables yet.
pub(super) fn context(
    options: &EngineOptions,
    stores: Arc<dyn ObjectStoreRegistry>,
    functions: Vec<ScalarUDF>,
    rules: Rules,
    threads: Option<Handle>,
) -> Result<SessionContext> {
    let pool = TrackConsumersPool::new(Pool::new(options.memory), NonZeroUsize::MIN.saturating_add(2));
    let mut runtime = RuntimeEnvBuilder::new().with_memory_pool(Arc::new(pool)).with_object_store_registry(stores);
    if let Some(folder) = &options.spill_dir {
        std::fs::create_dir_all(folder).map_err(|e| Error::File(folder.display().to_string(), e))?;
        runtime = runtime.with_temp_file_path(folder);
    }
    let mut analyzer = Analyzer::new();
    analyzer.rules.insert(0, Arc::new(NestedWindows));
    analyzer.rules.insert(1, Arc::new(AsofJoins));
    analyzer.rules.insert(2, Arc::new(UnnestedRows));
    analyzer.rules.insert(3, Arc::new(Unfolded));
    let mut optimizer = Optimizer::new();
    optimizer.rules.insert(0, Arc::new(AsofFilter));
    // They move fields of structs to where files are read. Candles have none, and of a scan with a handful of functions these
    // rules take a fifth of the time.
    optimizer.rules.retain(|rule| !["extract_leaf_expressions", "push_down_leaf_projections"].contains(&rule.name()));
    let config = config(options);
    let config = match threads {
        Some(threads) => ComputeThreads::into_config(threads, config),
        None => config,
    };
    let state = SessionStateBuilder::new()
        .with_config(config)
        .with_runtime_env(runtime.build_arc()?)
        .with_default_features()
        .with_analyzer_rules(analyzer.rules)
        .with_optimizer_rules(optimizer.rules)
        .with_query_planner(Arc::new(Planner { memory: options.memory }))
        .with_physical_optimizer_rules(physical_rules(options.memory, rules))
        .build();
    #[allow(clippy::disallowed_methods, reason = "this is the one place")]
    let context = SessionContext::new_with_state(state);
    let mut registry = context.clone();
    tallow_udfs::register_all(&mut registry)?;
    let partitions = resources::partitions(options.threads, options.memory);
    bounded::bound(&mut registry, options.memory, partitions)?;
    holding::register(&mut registry, options.memory)?;
    registry.register_udf(ScalarUDF::from(Marker::default()));
    functions.into_iter().for_each(|function| context.register_udf(function));
    registry.register_expr_planner(Arc::new(NestedCalls))?;
    context.register_relation_planner(Arc::new(UnnestedRelations))?;
    Ok(context)
}

/// The context of a request: what is set and registered in that of its session, with these catalogs, and no more than so much
/// of its memory.
pub(super) fn of_request(
    session: &SessionContext,
    catalogs: Arc<dyn CatalogProviderList>,
    memory: Option<usize>,
) -> Result<SessionContext> {
    let state = session.state();
    let builder = SessionStateBuilder::new_from_existing(state.clone()).with_catalog_list(catalogs);
    let builder = match memory {
        Some(memory) => limited(builder, &state, memory),
        None => builder,
    };
    #[allow(clippy::disallowed_methods, reason = "one beside the other place")]
    let context = SessionContext::new_with_state(builder.build());
    if let Some(memory) = memory {
        let mut registry = context.clone();
        bounded::bound(&mut registry, memory, context.state().config().target_partitions())?;
        holding::register(&mut registry, memory)?;
    }
    Ok(context)
}

fn limited(builder: SessionStateBuilder, session: &SessionState, memory: usize) -> SessionStateBuilder {
    let runtime = session.runtime_env().as_ref().clone();
    let pool = Pool::within(Arc::clone(&runtime.memory_pool), memory);
    let pool = Arc::new(TrackConsumersPool::new(pool, NonZeroUsize::MIN.saturating_add(2)));
    let partitions = resources::partitions(session.config().target_partitions(), memory);
    let rules = session.physical_optimizers().iter().map(|rule| match rule.name() == LargeTop::NAME {
        true => Arc::new(LargeTop { memory }) as _,
        false => Arc::clone(rule),
    });
    builder
        .with_config(session.config().clone().with_target_partitions(partitions))
        .with_runtime_env(Arc::new(RuntimeEnv { memory_pool: pool, ..runtime }))
        .with_query_planner(Arc::new(Planner { memory }))
        .with_physical_optimizer_rules(rules.collect())
}

/// A state that plans expressions and has no tables: functions, rules and coercions are those of every session.
pub(crate) fn planner() -> Result<&'static SessionState> {
    static STATE: OnceLock<SessionState> = OnceLock::new();
    if let Some(state) = STATE.get() {
        return Ok(state);
    }
    let state =
        context(&EngineOptions::default(), Arc::new(DefaultObjectStoreRegistry::new()), vec![], vec![], None)?.state();
    Ok(STATE.get_or_init(|| state))
}

/// DataFusion's planner, which also plans our nodes.
#[derive(Debug)]
struct Planner {
    /// The memory limit in bytes.
    memory: usize,
}

#[async_trait]
impl QueryPlanner for Planner {
    async fn create_physical_plan(
        &self,
        plan: &LogicalPlan,
        state: &dyn Session,
    ) -> datafusion::common::Result<Arc<dyn ExecutionPlan>> {
        let ours: [Arc<dyn ExtensionPlanner + Send + Sync>; 2] = [Arc::new(AsofPlanner), Arc::new(NodePlanner)];
        let planner = DefaultPhysicalPlanner::with_extension_planners(ours.to_vec());
        let all = state.config().target_partitions();
        let fewer = holding::partitions(plan, self.memory)?.filter(|partitions| *partitions < all);
        if let (Some(partitions), Some(state)) = (fewer, state.as_any().downcast_ref::<SessionState>()) {
            let mut own = state.clone();
            own.config_mut().options_mut().execution.target_partitions = partitions;
            return planner.create_physical_plan(plan, &own).await;
        }
        planner.create_physical_plan(plan, state).await
    }
}

/// DataFusion's rules in their order, with ours before order is enforced, and before and after cooperation is added; dynamic
/// filters come last. Those of the caller follow the rule that decides which joins need order.
fn physical_rules(memory: usize, of_caller: Rules) -> Rules {
    let mut rules = PhysicalOptimizer::new().rules;
    let at = rules.iter().position(|r| r.name() == "EnsureCooperative").unwrap_or(rules.len() - 1);
    rules.insert(at + 1, Arc::new(CancelJoins));
    rules.insert(at, Arc::new(SeriesRule));
    rules.insert(at, Arc::new(LargeTop { memory }));
    // Before the first pushdown of filters, which ties hash joins to what lies below them.
    let at = rules.iter().position(|r| r.name() == "FilterPushdown").unwrap_or_default();
    rules.splice(at..at, [Arc::new(MergeJoinRule) as _].into_iter().chain(of_caller));
    rules
}

fn config(options: &EngineOptions) -> SessionConfig {
    let mut config = SessionConfig::new()
        .with_default_catalog_and_schema("tallow", "public")
        .with_create_default_catalog_and_schema(false)
        .with_information_schema(true)
        .with_target_partitions(resources::partitions(options.threads, options.memory))
        .with_batch_size(options.batch_size);
    let datafusion = config.options_mut();
    // A sorted input is worth more than one more shuffle.
    datafusion.optimizer.prefer_existing_sort = true;
    // Partitions by symbol stay as they are, even if there could be more: the exchange that made more of them, in order, would hold
    // most rows in memory.
    datafusion.optimizer.preserve_file_partitions = 2;
    // Interleaving the parts of a UNION would lose their order.
    datafusion.optimizer.prefer_existing_union = true;
    // What a footer of our files mostly needs; the default reads half a megabyte of each file first.
    datafusion.execution.parquet.metadata_size_hint = Some(128 << 10);
    // Hardly any file of candles has Bloom filters, and to find that out a predicate is evaluated for each row group.
    datafusion.execution.parquet.bloom_filter_on_read = false;
    // What COPY writes names Parquet's types alone: others' readers know no text in views.
    datafusion.execution.parquet.skip_arrow_metadata = true;
    // The limit of DISTINCT rows is pushed into a grouping before rules that run later give it an ordered input, with which
    // it then fails at execution ("Ordering direction required for DISTINCT with limit").
    datafusion.optimizer.enable_distinct_aggregation_soft_limit = false;
    // Files stay in the partition whose symbol range they were given.
    datafusion.execution.enable_file_stream_work_stealing = false;
    datafusion.execution.listing_table_ignore_subdirectory = false;
    config
}
