//! What depends on a request, not on the session, whatever is asked for.

use crate::Session;
use crate::views::Views;
use datafusion::catalog::{
    CatalogProvider, CatalogProviderList, MemoryCatalogProvider, MemoryCatalogProviderList, SchemaProvider,
};
use std::sync::Arc;
use tallow_common::Result;
use tallow_engine::Engine;
use tallow_lake::{AsOf, Lake};

/// What a request sees and may take.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Request {
    /// Read tables as they were at a version or a time, by default as they are.
    pub as_of: Option<AsOf>,
    /// Memory limit in bytes, which is a part of the session's; by default all of it.
    pub memory: Option<usize>,
}

impl Session {
    /// This session as one request sees it: the same threads and tables, and what is set and registered here. What the request
    /// sets and registers is not seen by others.
    ///
    /// # Errors
    /// A limit of no memory.
    pub fn for_request(&self, request: &Request) -> Result<Session> {
        let catalogs = Arc::clone(self.context().state().catalog_list());
        let Some(as_of) = request.as_of.clone() else {
            return Ok(self.with_engine(self.engine().for_request(catalogs, request.memory)?));
        };
        let lake = Arc::new(self.lake().at(as_of));
        let catalogs = with_lake(catalogs.as_ref(), &lake)?;
        let engine: Engine = self.engine().for_request(catalogs, request.memory)?;
        let views = Views {
            context: engine.context().clone(),
            lake: Arc::clone(&lake),
            queries: self.extension()?,
            #[cfg(feature = "score")]
            models: self.extension()?,
        };
        Ok(self.with_engine(engine.with_table_functions(Arc::new(views))).with_lake(lake))
    }
}

/// The same catalogs, with another lake in the place of the session's.
fn with_lake(catalogs: &dyn CatalogProviderList, lake: &Arc<Lake>) -> Result<Arc<dyn CatalogProviderList>> {
    let list = MemoryCatalogProviderList::new();
    for name in catalogs.catalog_names() {
        let Some(catalog) = catalogs.catalog(&name) else { continue };
        if name != "tallow" {
            list.register_catalog(name, catalog);
            continue;
        }
        let own = MemoryCatalogProvider::new();
        for schema in catalog.schema_names() {
            let tables = match schema == "public" {
                true => Some(Arc::clone(lake) as Arc<dyn SchemaProvider>),
                false => catalog.schema(&schema),
            };
            if let Some(tables) = tables {
                own.register_schema(&schema, tables)?;
            }
        }
        list.register_catalog(name, Arc::new(own));
    }
    Ok(Arc::new(list))
}
