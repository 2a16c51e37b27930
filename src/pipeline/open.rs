//! Puts a session together.

use crate::in_range::InRange;
use crate::named::NamedQueries;
use crate::score::{Models, Predict};
use crate::session::{Session, Settings};
use crate::views::Views;
use arrow::array::{ArrayRef, RecordBatch, StringArray};
use arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use datafusion::catalog::{CatalogProvider, MemTable, MemoryCatalogProvider, MemorySchemaProvider, SchemaProvider};
use datafusion::logical_expr::ScalarUDF;
use std::sync::Arc;
use tallow_common::Result;
use tallow_engine::Engine;
use tallow_lake::{Lake, LakeOptions, ProfileCache, Stores};

/// Opens a session over a lake, with named queries that come with the program.
pub async fn open(settings: Settings, queries: &NamedQueries) -> Result<Session> {
    let stores = Arc::new(Stores::default());
    let models = Arc::new(Models::new(settings.memory_of_partition()));
    let functions = vec![ScalarUDF::from(Predict::new(Arc::clone(&models))), ScalarUDF::from(InRange::default())];
    let engine = Engine::new(&settings.engine(), Arc::clone(&stores) as _, functions)?;
    let context = engine.context();
    let as_of = settings.as_of.as_deref().map(str::parse).transpose()?;
    let lake = LakeOptions { url: settings.lake.clone(), candles: settings.candles.clone(), as_of };
    let cache = ProfileCache::new(settings.cache_dir.clone());
    let lake = Arc::new(Lake::open(lake, cache, context.state()).await?);
    let catalog = MemoryCatalogProvider::new();
    catalog.register_schema("public", Arc::clone(&lake) as Arc<dyn SchemaProvider>)?;
    catalog.register_schema("system", system_schema()?)?;
    context.register_catalog("tallow", Arc::new(catalog));
    let queries = Arc::new(queries.clone());
    let views = Views::new(context.clone(), Arc::clone(&lake), Arc::clone(&models), Arc::clone(&queries));
    let engine = engine.with_table_functions(Arc::new(views));
    Ok(Session::new(engine, lake, stores).with_extension(models).with_extension(queries))
}

/// `system.functions`: every series function with its signature, reach and documentation.
fn system_schema() -> Result<Arc<dyn SchemaProvider>> {
    let columns = ["name", "aliases", "family", "usage", "returns", "reach_back", "reach_ahead", "doc"];
    let mut cells: Vec<Vec<String>> = vec![vec![]; columns.len()];
    for function in crate::functions::describe_all() {
        let row = [
            function.name,
            function.aliases.join(", "),
            function.family,
            function.usage,
            function.returns,
            function.reach_back.unwrap_or_default(),
            function.reach_ahead.unwrap_or_default(),
            function.doc,
        ];
        cells.iter_mut().zip(row).for_each(|(column, cell)| column.push(cell));
    }
    let fields = columns.map(|name| Field::new(name, DataType::Utf8, false)).to_vec();
    let schema: SchemaRef = Arc::new(Schema::new(fields));
    let arrays = cells.into_iter().map(|column| Arc::new(StringArray::from(column)) as ArrayRef).collect();
    let batch = RecordBatch::try_new(Arc::clone(&schema), arrays)?;
    let provider = MemorySchemaProvider::new();
    provider.register_table("functions".to_string(), Arc::new(MemTable::try_new(schema, vec![vec![batch]])?))?;
    Ok(Arc::new(provider))
}
