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

pub mod calibration;
pub mod candle;
pub mod expr_fn;
pub mod label;
pub mod level;
mod list;
pub mod rolling;
pub mod series;
pub mod similarity;
pub mod technical;
pub mod trade;

use calibration::{Isotonic, IsotonicFit, Score, ScoreKind};
use candle::{
    Alignment, AlignmentKind, CandleField, Candlestick, CandlestickSource, SessionVwap, Span, SpanKind, ValidateCandle,
};
use datafusion_common::Result;
use datafusion_expr::registry::FunctionRegistry;
use datafusion_expr::{AggregateUDF, ScalarUDF, WindowUDF};
use label::{
    CusumEvents, ForwardReturn, LevelLabels, MetaLabel, PathLabels, ReturnQuantile, SampleWeights, TripleBarrier,
};
use level::{Gather, GatherKind, LevelsNear, NearestLevel, Pivot};
use rolling::{BarsSince, Crosses, EwmStd, LagBars, Returns, ZScore};
use series::{SeriesFunction, SeriesWindow};
use similarity::{DtwBest, DtwLatest, ListFunction, ListKind, Tail};
use std::collections::HashMap;
use std::sync::{Arc, LazyLock};
use trade::{PositionSize, PositionSizeKind};

/// Every series function. Sessions, documentation, tests and benches read this list.
pub fn all_series_functions() -> &'static [Arc<dyn SeriesFunction>] {
    static ALL: LazyLock<Vec<Arc<dyn SeriesFunction>>> = LazyLock::new(|| {
        let own: [Arc<dyn SeriesFunction>; 19] = [
            Arc::new(Crosses::above()),
            Arc::new(Crosses::below()),
            Arc::new(BarsSince::new()),
            Arc::new(Returns::log()),
            Arc::new(Returns::simple()),
            Arc::new(ZScore::new()),
            Arc::new(EwmStd::new()),
            Arc::new(Pivot::high()),
            Arc::new(Pivot::low()),
            Arc::new(SessionVwap::new()),
            Arc::new(TripleBarrier::new()),
            Arc::new(MetaLabel::new()),
            Arc::new(PathLabels::new()),
            Arc::new(LevelLabels::new()),
            Arc::new(ForwardReturn::new()),
            Arc::new(ReturnQuantile::new()),
            Arc::new(CusumEvents::new()),
            Arc::new(SampleWeights::new()),
            Arc::new(DtwLatest::default()),
        ];
        technical::all().chain(own).collect()
    });
    &ALL
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
    static ALL: LazyLock<Vec<Arc<WindowUDF>>> = LazyLock::new(|| {
        let shifts = [LagBars::lag(), LagBars::lead()].into_iter().flatten().map(WindowUDF::from);
        all_series_functions()
            .iter()
            .filter_map(|f| SeriesWindow::try_new(Arc::clone(f)).ok())
            .map(WindowUDF::from)
            .chain(shifts)
            .map(Arc::new)
            .collect()
    });
    ALL.clone()
}

/// All aggregates.
pub fn all_aggregate_functions() -> Vec<Arc<AggregateUDF>> {
    [CandlestickSource::Bars, CandlestickSource::Ticks, CandlestickSource::Candles]
        .map(|source| AggregateUDF::from(Candlestick::new(source)))
        .into_iter()
        .chain(
            [GatherKind::Events, GatherKind::States, GatherKind::Bars]
                .map(|kind| AggregateUDF::from(Gather::new(kind))),
        )
        .chain([ScoreKind::Brier, ScoreKind::Ece].map(|kind| AggregateUDF::from(Score::new(kind))))
        .chain([AggregateUDF::from(IsotonicFit::default()), AggregateUDF::from(Tail::default())])
        .chain([AggregateUDF::from(DtwBest::default())])
        .map(Arc::new)
        .collect()
}

/// All scalar functions.
pub fn all_scalar_functions() -> Vec<Arc<ScalarUDF>> {
    let alignment = [AlignmentKind::Floor, AlignmentKind::End, AlignmentKind::Aligned].map(Alignment::new);
    let alignment = alignment.into_iter().map(ScalarUDF::from);
    let candle = CandleField::all().map(ScalarUDF::from);
    let validate = ScalarUDF::from(ValidateCandle::default());
    let spans = [SpanKind::Range, SpanKind::Missing].map(|kind| ScalarUDF::from(Span::new(kind)));
    let nearest = [true, false].map(|resistance| ScalarUDF::from(NearestLevel::new(resistance)));
    alignment
        .chain(candle)
        .chain(spans)
        .chain([validate, ScalarUDF::from(LevelsNear::default())])
        .chain(nearest)
        .chain([ScalarUDF::from(Isotonic::default())])
        .chain(PositionSizeKind::ALL.map(|kind| ScalarUDF::from(PositionSize::new(kind))))
        .chain(ListKind::ALL.map(|kind| ScalarUDF::from(ListFunction::new(kind))))
        .map(Arc::new)
        .collect()
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
