//! SQL functions for candles, usable in any DataFusion session.
//!
//! Every TA-Lib indicator, and what TA-Lib lacks: crosses, returns, pivots, session averages, bar alignment and candle
//! aggregation. No I/O, no async, no engine.
//!
//! ```
//! use datafusion_expr::registry::{FunctionRegistry, MemoryFunctionRegistry};
//!
//! let mut registry = MemoryFunctionRegistry::new();
//! tallow_udfs::register_all(&mut registry)?;
//! assert!(registry.udwf("rsi").is_ok());
//! # Ok::<(), datafusion_common::DataFusionError>(())
//! ```
//!
//! In such a session the functions are called in full: series first, in TA-Lib's order, then literal parameters, with an
//! OVER clause that names the symbol and the time:
//!
//! ```sql
//! SELECT symbol, ts, rsi(close, 14) OVER (PARTITION BY symbol ORDER BY ts) FROM candles
//! ```

pub mod calendar;
mod calibration;
pub mod candle;
mod described;
pub mod expr_fn;
mod family;
pub mod label;
mod level;
mod list;
pub mod rolling;
pub mod series;
pub mod similarity;
mod technical;
pub mod trade;

use datafusion_common::Result;
use datafusion_expr::registry::FunctionRegistry;
use datafusion_expr::{AggregateUDF, ScalarUDF, WindowUDF};
use family::Family;
use series::{SeriesFunction, SeriesWindow};
use std::collections::HashMap;
use std::sync::{Arc, LazyLock};

/// One line for each family; its functions stand in its own list.
fn families() -> Vec<Family> {
    vec![
        technical::functions(),
        rolling::functions(),
        level::functions(),
        candle::functions(),
        label::functions(),
        similarity::functions(),
        calibration::functions(),
        trade::functions(),
    ]
}

/// All functions, by kind.
struct Registry {
    series: Vec<Arc<dyn SeriesFunction>>,
    windows: Vec<Arc<WindowUDF>>,
    aggregates: Vec<Arc<AggregateUDF>>,
    scalars: Vec<Arc<ScalarUDF>>,
}

static REGISTRY: LazyLock<Registry> = LazyLock::new(|| {
    let (mut series, mut windows, mut aggregates, mut scalars) = (vec![], vec![], vec![], vec![]);
    for family in families() {
        series.extend(family.series);
        windows.extend(family.windows.into_iter().map(Arc::new));
        aggregates.extend(family.aggregates.into_iter().map(Arc::new));
        scalars.extend(family.scalars.into_iter().map(Arc::new));
    }
    let of_series = series.iter().filter_map(|f| SeriesWindow::try_new(Arc::clone(f)).ok());
    let windows = of_series.map(|window| Arc::new(WindowUDF::from(window))).chain(windows).collect();
    Registry { series, windows, aggregates, scalars }
});

/// Every series function. Sessions, documentation, tests and benches read this list.
pub fn all_series_functions() -> &'static [Arc<dyn SeriesFunction>] {
    &REGISTRY.series
}

/// The series function with this name or alias, in any case.
pub fn series_function(name: &str) -> Option<&'static Arc<dyn SeriesFunction>> {
    static BY_NAME: LazyLock<HashMap<String, &'static Arc<dyn SeriesFunction>>> = LazyLock::new(|| {
        let names = |f: &'static Arc<dyn SeriesFunction>| {
            let signature = f.signature();
            std::iter::once(&signature.name).chain(&signature.aliases).map(move |name| (name.clone(), f))
        };
        all_series_functions().iter().flat_map(names).collect()
    });
    BY_NAME.get(&name.to_ascii_lowercase()).copied()
}

/// All window functions: the series functions, `lag_bars` and `lead_bars`.
pub fn all_window_functions() -> Vec<Arc<WindowUDF>> {
    REGISTRY.windows.clone()
}

/// All aggregates.
pub fn all_aggregate_functions() -> Vec<Arc<AggregateUDF>> {
    REGISTRY.aggregates.clone()
}

/// All scalar functions.
pub fn all_scalar_functions() -> Vec<Arc<ScalarUDF>> {
    REGISTRY.scalars.clone()
}

/// Registers everything in a session.
pub fn register_all(registry: &mut dyn FunctionRegistry) -> Result<()> {
    for function in all_window_functions() {
        registry.register_udwf(function)?;
    }
    for function in all_aggregate_functions() {
        registry.register_udaf(function)?;
    }
    for function in all_scalar_functions() {
        registry.register_udf(function)?;
    }
    Ok(())
}
