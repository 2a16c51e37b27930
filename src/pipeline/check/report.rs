//! What a check finds out.

use std::fmt::{Display, Formatter};
use tallow_udfs::series::Bars;

/// What was found out about a column.
#[derive(Debug, Clone, PartialEq)]
pub struct ColumnCheck {
    /// The column, or the field of a struct as `column.field`; `(which rows)` for the choice of rows.
    pub name: String,
    /// How far the plan says that it looks ahead.
    pub declared: Bars,
    /// Values that were compared.
    pub compared: u64,
    /// How many of them changed.
    pub changed: u64,
    /// The first row that changed: symbol and time.
    pub first: Option<(String, i64)>,
    /// At least so many bars ahead lay what changed it.
    pub looked: u64,
    /// How many bars before it a value needs.
    pub warm_up: WarmUp,
}

/// How many bars before it a value needs to come out as if all were there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum WarmUp {
    /// It was not tried, or nothing could be compared.
    Unknown,
    /// The fewest with which it came out the same wherever it was tried.
    Bars(u64),
    /// More than were tried: it hangs on where the data begins.
    All,
}

impl Display for WarmUp {
    fn fmt(&self, f: &mut Formatter<'_>) -> std::fmt::Result {
        match self {
            WarmUp::Unknown => f.pad("-"),
            WarmUp::Bars(bars) => f.pad(&bars.to_string()),
            WarmUp::All => f.pad("all"),
        }
    }
}

/// What is to be thought of a column.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// It does not look ahead.
    Clean,
    /// The plan does not say, and nothing changed in the trial.
    Unproven,
    /// It looks ahead.
    Leak,
}

impl Display for Verdict {
    fn fmt(&self, f: &mut Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Verdict::Clean => "clean",
            Verdict::Unproven => "unproven",
            Verdict::Leak => "LEAK",
        })
    }
}

impl ColumnCheck {
    /// The judgement.
    pub fn verdict(&self) -> Verdict {
        match self.declared {
            _ if self.changed > 0 => Verdict::Leak,
            Bars::Count(0) => Verdict::Clean,
            Bars::Count(_) | Bars::Since(..) => Verdict::Leak,
            Bars::Unbounded => Verdict::Unproven,
        }
    }
}

/// What was found out about a query.
#[derive(Debug, Clone, PartialEq)]
pub struct CheckReport {
    /// Every column, then the choice of rows.
    pub columns: Vec<ColumnCheck>,
    /// The instants that were tried, in microseconds.
    pub cuts: Vec<i64>,
    /// Length and origin of the result's bars, where they are known.
    pub bars: Option<(String, String)>,
    /// What is no look into the future, and still better than what can be had.
    pub notes: Vec<String>,
    /// Whether the query yields only the newest bar of each symbol, so that there was nothing to compare.
    pub newest_only: bool,
}

impl CheckReport {
    /// Whether anything looks ahead.
    pub fn leaks(&self) -> bool {
        !self.leaking().is_empty()
    }

    /// The columns that look ahead.
    pub fn leaking(&self) -> Vec<&str> {
        self.columns.iter().filter(|c| c.verdict() == Verdict::Leak).map(|c| c.name.as_str()).collect()
    }
}
