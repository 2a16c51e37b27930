//! What a family of functions adds to the registry.

use crate::series::SeriesFunction;
use datafusion_expr::{AggregateUDF, ScalarUDF, WindowUDF};
use std::sync::Arc;

/// The functions of a family: one line for each.
#[derive(Default)]
pub(crate) struct Family {
    pub series: Vec<Arc<dyn SeriesFunction>>,
    /// Window functions that are no series functions.
    pub windows: Vec<WindowUDF>,
    pub aggregates: Vec<AggregateUDF>,
    pub scalars: Vec<ScalarUDF>,
}
