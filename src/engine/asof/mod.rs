//! `ASOF JOIN .. MATCH_CONDITION (l.ts >= r.ts) ON l.symbol = r.symbol`: every left row with the nearest right row.
//!
//! DataFusion 55 parses the syntax and cannot plan it; its next version can. Until then: the dialect writes the join as a
//! left join with a marked condition (`marker`), an analyzer rule turns that into `AsofJoin` (`rule`), and
//! [`AsofExec`] merges two inputs ordered by (keys, match) in one pass. The semantics are upstream's, so that all of this
//! can be deleted: each left row appears once, with nulls where no right row matches; null keys match nothing.

mod exec;
mod marker;
mod node;
mod planner;
mod rule;
mod stream;

pub use exec::AsofExec;
pub(super) use marker::{MATCH, Marker};
pub(super) use node::AsofJoin;
pub(super) use planner::AsofPlanner;
pub(super) use rule::{AsofFilter, AsofJoins};
