//! The times that a result is wanted for.

use datafusion::common::ScalarValue;
use datafusion::logical_expr::{Expr, lit};

/// The times that a result is wanted for: from the first, up to but not including the last.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Range {
    /// Microseconds since the epoch.
    pub from: Option<i64>,
    /// Microseconds since the epoch.
    pub to: Option<i64>,
}

impl Range {
    /// The condition that a time lies in it; `None`: every time does.
    pub(super) fn holds(&self, ts: &Expr) -> Option<Expr> {
        let parts = [self.from.map(|t| ts.clone().gt_eq(time(t))), self.to.map(|t| ts.clone().lt(time(t)))];
        parts.into_iter().flatten().reduce(Expr::and)
    }
}

pub(super) fn time(micros: i64) -> Expr {
    lit(ScalarValue::TimestampMicrosecond(Some(micros), Some("UTC".into())))
}
