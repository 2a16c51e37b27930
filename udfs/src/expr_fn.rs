//! Calls for the DataFrame API.

use crate::{all_window_functions, series_function};
use datafusion_common::{Result, plan_err};
use datafusion_expr::{Expr, ExprFunctionExt, col};

/// A call of a series function, or of `lag_bars` or `lead_bars`, over the default window, `PARTITION BY symbol ORDER BY ts`.
///
/// ```
/// use datafusion_expr::{col, lit};
/// use tallow_udfs::expr_fn::series;
///
/// let rsi = series("rsi", vec![col("close"), lit(14)])?;
/// # Ok::<(), datafusion_common::DataFusionError>(())
/// ```
pub fn series(name: &str, args: Vec<Expr>) -> Result<Expr> {
    series_over(name, args, vec![col("symbol")], col("ts"))
}

/// A call of a series function over a window of its own.
pub fn series_over(name: &str, args: Vec<Expr>, partition_by: Vec<Expr>, order_by: Expr) -> Result<Expr> {
    let canonical = series_function(name).map_or(name, |f| &f.signature().name);
    let function = all_window_functions().into_iter().find(|f| f.name() == canonical);
    match function {
        Some(function) => {
            function.call(args).partition_by(partition_by).order_by(vec![order_by.sort(true, false)]).build()
        }
        None => plan_err!("unknown series function `{name}`"),
    }
}
