//! What a statement may do where those who ask may read, and nothing else.
//!
//! It is decided on the plan and not on the text, so that nothing can be hidden in a subquery or below EXPLAIN.

use datafusion::common::tree_node::TreeNodeRecursion;
use datafusion::logical_expr::{LogicalPlan, Statement};
use tallow_common::{Code, Error, Result};

/// Settings that say how a result is shown. All others are limits of the server, or change what others get.
const SETTABLE: [&str; 3] =
    ["datafusion.execution.time_zone", "datafusion.explain.logical_plan_only", "datafusion.explain.physical_plan_only"];

/// Whether a plan reads only.
///
/// # Errors
/// What of it does not.
pub(crate) fn reads_only(plan: &LogicalPlan) -> Result<()> {
    let mut refused = None;
    plan.apply_with_subqueries(|node| {
        refused = match node {
            LogicalPlan::Ddl(ddl) => Some(format!("{} changes the session", of(ddl.name()))),
            LogicalPlan::Dml(dml) => Some(format!("{} changes a table", of(dml.op.name()))),
            LogicalPlan::Copy(_) => Some("COPY writes files".to_string()),
            LogicalPlan::Statement(Statement::SetVariable(set)) => not_settable(&set.variable),
            LogicalPlan::Statement(Statement::ResetVariable(reset)) => not_settable(&reset.variable),
            LogicalPlan::Statement(statement) => Some(format!("{} changes the session", of(statement.name()))),
            _ => None,
        };
        Ok(match refused {
            Some(_) => TreeNodeRecursion::Stop,
            None => TreeNodeRecursion::Continue,
        })
    })?;
    match refused {
        Some(said) => {
            let hint = "queries may read tables here, and change nothing";
            Err(Error::known(Code::Forbidden, said).with_hint(hint))
        }
        None => Ok(()),
    }
}

/// As it is written in SQL: DataFusion writes `CreateView`.
fn of(name: &str) -> String {
    let mut written = String::new();
    for letter in name.chars() {
        if letter.is_ascii_uppercase() && written.ends_with(|last: char| last.is_ascii_lowercase()) {
            written.push(' ');
        }
        written.push(letter);
    }
    written.to_ascii_uppercase()
}

fn not_settable(variable: &str) -> Option<String> {
    let is_settable = SETTABLE.iter().any(|known| known.eq_ignore_ascii_case(variable));
    (!is_settable).then(|| format!("`{variable}` is set for the whole server: {} can be set", SETTABLE.join(", ")))
}
