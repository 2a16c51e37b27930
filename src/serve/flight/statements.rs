//! Prepared statements.

use crate::queries::{Queries, QueryId};
use arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use prost::bytes::Bytes;
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use tallow_common::{Error, Result};
use tallow_engine::dialect::{ParamValue, Params, parameters};
use tallow_pipeline::encoding::portable;
use tallow_pipeline::query::Query;

/// So many are kept; of more, the oldest are forgotten.
const KEPT: usize = 10_000;

/// A statement that is asked once or more often.
#[derive(Debug, Clone)]
pub(super) struct Statement {
    pub text: String,
    /// The names of its parameters.
    pub parameters: Vec<String>,
    /// The columns of its result, as far as they are known without values of parameters.
    pub schema: SchemaRef,
    /// Values of parameters, a set for each time it is run.
    pub bound: Option<Vec<Params>>,
    /// The query that it is when it is run.
    pub id: QueryId,
    who: String,
}

impl Statement {
    /// A text as a statement of somebody.
    ///
    /// # Errors
    /// What is wrong with the text.
    pub async fn of(queries: &Queries, text: String, who: &str) -> Result<Statement> {
        let parameters: Vec<String> = parameters(&text)?.into_iter().map(|parameter| parameter.name).collect();
        // What the columns are is mostly the same for all values.
        let nulls = parameters.iter().map(|name| (name.as_str(), ParamValue::typed("null"))).collect();
        let described = queries.schema(&Query { text: text.clone(), params: nulls, ..Query::default() }).await;
        let schema = match described {
            Ok(schema) => portable(&schema),
            Err(error) if parameters.is_empty() => return Err(error),
            Err(_) => Arc::new(Schema::empty()),
        };
        Ok(Statement { text, parameters, schema, bound: None, id: queries.new_id(), who: who.to_string() })
    }

    /// Its parameters as columns; a value of any type is taken for each.
    pub fn parameters_schema(&self) -> Schema {
        Schema::new(self.parameters.iter().map(|name| Field::new(name, DataType::Null, true)).collect::<Vec<_>>())
    }
}

/// All of them by their handles, the oldest first.
#[derive(Default)]
pub(super) struct Statements(Mutex<BTreeMap<Bytes, Statement>>);

impl Statements {
    fn all(&self) -> std::sync::MutexGuard<'_, BTreeMap<Bytes, Statement>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Keeps one; its handle, which nobody guesses.
    pub fn add(&self, statement: Statement) -> Bytes {
        let handle = Bytes::copy_from_slice(uuid::Uuid::now_v7().as_bytes());
        let mut all = self.all();
        if all.len() >= KEPT {
            all.pop_first();
        }
        all.insert(handle.clone(), statement);
        handle
    }

    /// One of somebody.
    ///
    /// # Errors
    /// There is none.
    pub fn get(&self, handle: &Bytes, who: &str) -> Result<Statement> {
        let found = self.all().get(handle).filter(|statement| statement.who == who).cloned();
        found.ok_or_else(|| Error::not_found("there is no such prepared statement: it was closed, or is another's"))
    }

    /// Sets the values of its parameters, with which its columns are known.
    ///
    /// # Errors
    /// What is wrong with them.
    pub async fn bind(&self, handle: &Bytes, queries: &Queries, params: Vec<Params>) -> Result<()> {
        let text = self.all().get(handle).map(|statement| statement.text.clone()).unwrap_or_default();
        let described = match params.first() {
            Some(params) => {
                let query = Query { text, params: params.clone(), ..Query::default() };
                let schema = queries.schema(&query).await?;
                Some(portable(&schema))
            }
            None => None,
        };
        if let Some(statement) = self.all().get_mut(handle) {
            statement.bound = Some(params);
            statement.schema = described.unwrap_or_else(|| Arc::clone(&statement.schema));
        }
        Ok(())
    }

    /// Forgets one.
    pub fn close(&self, handle: &Bytes, who: &str) {
        let mut all = self.all();
        if all.get(handle).is_some_and(|statement| statement.who == who) {
            all.remove(handle);
        }
    }
}
