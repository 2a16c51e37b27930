//! What users ask for, as plans and facts: named queries, the function list, synthetic candles.

pub mod functions;
pub mod gaps;
pub mod named;
pub mod synth;
