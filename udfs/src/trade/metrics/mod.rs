//! Figures of returns and trades, and how likely they are luck.

mod aggregate;
mod luck;
mod normal;
mod returns;
mod scalar;
mod table;

use datafusion_expr::{AggregateUDF, ScalarUDF};

pub(super) fn aggregates() -> impl Iterator<Item = AggregateUDF> {
    aggregate::MetricAggregate::all().map(Into::into)
}

pub(super) fn scalars() -> impl Iterator<Item = ScalarUDF> {
    scalar::LuckFunction::all().map(Into::into)
}
