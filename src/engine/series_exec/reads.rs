//! What the operators above read of a column.

use datafusion::physical_expr::PhysicalExpr;
use serde::{Deserialize, Serialize};
use std::collections::BTreeSet;
use std::sync::Arc;
use tallow_udfs::series::{OutputSet, SeriesSignature};

/// Fields of a column; of a column that is no struct, all or none.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub enum Fields {
    /// These.
    Named(BTreeSet<String>),
    /// Every one, or the column itself.
    All,
}

impl Default for Fields {
    fn default() -> Self {
        Fields::Named(BTreeSet::new())
    }
}

impl Fields {
    /// One field.
    pub fn one(name: String) -> Self {
        Fields::Named(BTreeSet::from([name]))
    }

    /// Whether it is none.
    pub fn is_none(&self) -> bool {
        matches!(self, Fields::Named(names) if names.is_empty())
    }

    fn add(&mut self, other: &Fields) {
        match (self, other) {
            (Fields::Named(mine), Fields::Named(more)) => mine.extend(more.iter().cloned()),
            (mine, Fields::All) => *mine = Fields::All,
            (Fields::All, _) => {}
        }
    }

    /// What some outputs of a function are.
    pub fn of(signature: &SeriesSignature, outputs: &OutputSet) -> Self {
        if outputs.count() == signature.outputs.len() {
            return Fields::All;
        }
        let read = signature.outputs.iter().enumerate().filter(|(i, _)| outputs.contains(*i));
        Fields::Named(read.map(|(_, output)| output.name.clone()).collect())
    }

    /// The outputs of a function that these are.
    pub fn outputs(&self, signature: &SeriesSignature) -> OutputSet {
        match self {
            Fields::All => OutputSet::all(signature),
            Fields::Named(names) => OutputSet::named(signature, names.iter().map(String::as_str)),
        }
    }
}

/// What is read of a column.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Reads {
    /// In every row.
    pub everywhere: Fields,
    /// In the rows that a filter above keeps.
    pub in_some_rows: Fields,
}

impl Reads {
    /// All of it, in every row.
    pub fn all() -> Reads {
        Reads { everywhere: Fields::All, in_some_rows: Fields::default() }
    }

    /// These fields, wherever any is read.
    pub fn of(&self, fields: &Fields) -> Reads {
        let only_if = |read: &Fields| if read.is_none() { Fields::default() } else { fields.clone() };
        Reads { everywhere: only_if(&self.everywhere), in_some_rows: only_if(&self.in_some_rows) }
    }

    /// What is read above a filter, as what is read below it.
    pub fn in_kept_rows(self) -> Reads {
        let mut fields = self.everywhere;
        fields.add(&self.in_some_rows);
        Reads { everywhere: Fields::default(), in_some_rows: fields }
    }

    /// The same in every row.
    pub fn in_all_rows(self) -> Reads {
        let Reads { in_some_rows: everywhere, .. } = self.in_kept_rows();
        Reads { everywhere, in_some_rows: Fields::default() }
    }

    /// Adds what else is read.
    pub fn add(&mut self, other: &Reads) {
        self.everywhere.add(&other.everywhere);
        self.in_some_rows.add(&other.in_some_rows);
    }
}

/// The rows that a filter above keeps.
#[derive(Debug, Clone)]
pub struct KeptRows {
    /// Whether it keeps a row.
    pub condition: Arc<dyn PhysicalExpr>,
    /// No operator in between looks at other rows: they need not be there.
    pub only: bool,
}
