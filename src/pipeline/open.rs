//! Puts a session together.

use crate::calendars;
use crate::in_range::InRange;
use crate::named::NamedQueries;
#[cfg(feature = "score")]
use crate::score::{Models, Predict};
use crate::session::{Session, Settings};
use crate::system::{SYSTEM, System};
use crate::views::Views;
use datafusion::catalog::{CatalogProvider, MemoryCatalogProvider, SchemaProvider};
use datafusion::execution::object_store::ObjectStoreRegistry;
use datafusion::logical_expr::ScalarUDF;
use std::sync::Arc;
use tallow_common::Result;
use tallow_engine::Engine;
use tallow_lake::{Lake, LakeOptions, ProfileCache, SameSymbols, Stores};

/// Opens a session over a lake, with named queries that come with the program.
pub async fn open(settings: Settings, queries: &NamedQueries) -> Result<Session> {
    let stores = Arc::new(Stores::default());
    for (url, store) in &settings.stores {
        stores.register_store(url, Arc::clone(store));
    }
    #[cfg(feature = "score")]
    let models = Arc::new(Models::new(settings.memory_of_partition()));
    let functions = vec![
        #[cfg(feature = "score")]
        ScalarUDF::from(Predict::new(Arc::clone(&models))),
        ScalarUDF::from(InRange::default()),
    ];
    let rules = vec![Arc::new(SameSymbols) as _];
    let engine = Engine::new(&settings.engine(), Arc::clone(&stores) as _, functions, rules)?;
    let context = engine.context();
    let Settings { lake: url, candles, confined, .. } = settings.clone();
    let lake = LakeOptions { url, candles, as_of: None, confined };
    let cache = ProfileCache::new(settings.cache_dir.clone());
    let lake = Arc::new(Lake::open(lake, cache, context.state()).await?);
    let catalog = MemoryCatalogProvider::new();
    catalog.register_schema("public", Arc::clone(&lake) as Arc<dyn SchemaProvider>)?;
    catalog.register_schema(SYSTEM, Arc::new(System::new(Arc::clone(&lake))?))?;
    context.register_catalog("tallow", Arc::new(catalog));
    let queries = Arc::new(queries.clone());
    let views = Views {
        context: context.clone(),
        lake: Arc::clone(&lake),
        queries: Arc::clone(&queries),
        #[cfg(feature = "score")]
        models: Arc::clone(&models),
    };
    let engine = engine.with_table_functions(Arc::new(views));
    let session = Session::new(engine, lake, stores).with_extension(queries);
    #[cfg(feature = "score")]
    let session = session.with_extension(models);
    calendars::register_kept(&session).await?;
    Ok(session)
}
