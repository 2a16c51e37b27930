//! What is known of the rows and the columns of a plan.

use super::plan::grid_call;
use super::sources::Sources;
use arrow::datatypes::DataType;
use datafusion::common::DFSchema;
use datafusion::logical_expr::Expr;
use tallow_udfs::series::Reach;

/// What is known of the rows of a plan.
#[derive(Debug, Clone, Default)]
pub(super) struct Shape {
    /// For every column, how far its value looks.
    pub columns: Vec<Sources>,
    /// Which columns are the time of a table's bars, unchanged.
    pub times: Vec<bool>,
    /// What is known of the values of every column.
    pub values: Vec<Values>,
    /// How far the decision looks whether a row is there.
    pub rows: Sources,
    /// Whether rows in between may be missing, so that a row before is not the bar before.
    pub has_gaps: bool,
    /// Whether rows are bars made of smaller ones: what is said of them holds at their end, not at their time.
    pub at_end: bool,
    /// Which columns are where such a bar begins or ends.
    pub edges: Vec<Option<Edge>>,
}

/// What is known of a column's values, beyond how far they look. A series function passes over bars without a value, and
/// some forget their start only as their input moves: how many bars that takes is known of some columns only.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default)]
pub(super) enum Values {
    /// Any bar may be without one.
    #[default]
    Patchy,
    /// One at every bar after the warm-up at which the table's columns have theirs, but it may stay the same for long.
    Complete,
    /// A table's own column, or one that moves whenever that does.
    Stored,
}

impl Values {
    /// Those of a table's column. Of others than numbers and times nobody counts where they are missing, or move.
    pub(super) fn stored(data_type: &DataType) -> Values {
        let is_counted = data_type.is_numeric() || matches!(data_type, DataType::Timestamp(_, _));
        if is_counted { Values::Stored } else { Values::Patchy }
    }
}

/// The beginning or the end of bars on a grid, given by the arguments of `bar_floor`.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Edge {
    Floor(String),
    End(String),
}

impl Shape {
    /// What holds at the time of the rows: of bars made of smaller ones, nothing is known before their end.
    pub(super) fn settled(self) -> Shape {
        if !self.at_end {
            return self;
        }
        Shape {
            columns: self.columns.into_iter().map(Sources::unknown).collect(),
            times: vec![false; self.times.len()],
            rows: self.rows.unknown(),
            has_gaps: self.has_gaps,
            ..Shape::default()
        }
    }

    /// Whether a column is where bars made of smaller ones begin or end.
    pub(super) fn edge(&self, expr: &Expr, schema: &DFSchema) -> Option<Edge> {
        let expr = expr.clone().unalias();
        if let Expr::Column(column) = &expr {
            return self.edges.get(schema.index_of_column(column).ok()?).cloned().flatten();
        }
        if let Some((time, grid)) = grid_call(&expr, "bar_floor") {
            return self.is_time(time, schema).then_some(Edge::Floor(grid));
        }
        let (floor, grid) = grid_call(&expr, "bar_end")?;
        (self.edge(floor, schema)? == Edge::Floor(grid.clone())).then_some(Edge::End(grid))
    }

    /// Bars made of these, where the grouping is by their symbol and `bar_floor(ts, ..)`.
    pub(super) fn gathered(&self, groups: &[Expr], results: &[Expr], schema: &DFSchema, width: usize) -> Option<Shape> {
        let is_floor = |e: &Expr| matches!(self.edge(e, schema), Some(Edge::Floor(_)));
        if self.at_end || !groups.iter().any(is_floor) || groups.iter().any(|e| self.is_time(e, schema)) {
            return None;
        }
        let all = groups.iter().chain(results);
        let mut edges: Vec<_> = groups.iter().map(|e| self.edge(e, schema)).collect();
        edges.resize(width, None);
        Some(Shape {
            columns: all.map(|e| self.of(e, schema).and(&self.rows).under(Reach::history())).take(width).collect(),
            times: edges.iter().map(Option::is_some).collect(),
            values: vec![],
            rows: self.rows.clone().under(Reach::history()),
            has_gaps: self.has_gaps,
            at_end: true,
            edges,
        })
    }

    pub(super) fn is_time(&self, expr: &Expr, schema: &DFSchema) -> bool {
        match expr.clone().unalias() {
            Expr::Column(c) => schema.index_of_column(&c).is_ok_and(|i| self.times.get(i).copied().unwrap_or(false)),
            _ => false,
        }
    }
}
