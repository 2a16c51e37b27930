//! Scans: which bars of which symbols fulfil a formula, in one plan over all of them.

mod age;
mod arrange;
mod check;
mod found;
mod guard;
mod patience;
mod plan;
mod run;
mod sweep;
mod text;

pub use age::MaxAge;
pub use sweep::Sweep;
pub(crate) use sweep::typed;

use super::bounds::Range;
use datafusion::common::Column;
use datafusion::logical_expr::Expr;
use tallow_common::Result;
use tallow_engine::dialect::{Formula, Params};

/// What to look for, and where.
///
/// ```no_run
/// use futures::TryStreamExt;
/// use tallow_engine::dialect::Formula;
/// use tallow_pipeline::control::Control;
/// use tallow_pipeline::scan::Scan;
/// use tallow_pipeline::Session;
///
/// # async fn example(session: &Session) -> tallow_common::Result<()> {
/// let scan = Scan { last: true, ..Scan::of(Formula::parse("rsi(14) < 30")?) };
/// let mut found = scan.run(session, &Control::default()).await?;
/// while let Some(batch) = found.stream.try_next().await? {
///     println!("{} matches", batch.num_rows());
/// }
/// let counts = found.statistics.scan();
/// println!("{} of {} symbols, {} skipped", counts.with_matches, counts.scanned, found.skipped.get().len());
/// # Ok(())
/// # }
/// ```
#[derive(Debug, Clone)]
pub struct Scan {
    /// The condition; a bar matches where it is true.
    pub formula: Formula,
    /// Values of its parameters.
    pub params: Params,
    /// The table of candles, or its path; `candles_1w` also where the lake has only smaller bars.
    pub table: String,
    /// These symbols; `None`: all.
    pub symbols: Option<Vec<String>>,
    /// What has to be true of a bar's symbol at its time, over the columns of the lake's table `symbols`.
    pub members: Option<Formula>,
    /// Matches of these times; bars before them are read as far as the formula looks back.
    pub range: Range,
    /// The newest bar of each symbol only.
    pub last: bool,
    /// How old that bar may be; symbols that ended earlier are left out and counted.
    pub max_age: MaxAge,
    /// A value by which matches are ordered.
    pub rank: Option<Rank>,
    /// So many matches, or so many of each group.
    pub top: Option<usize>,
    /// One row a group in place of one a match; with [`Scan::rank`], the best of each group.
    pub group: Option<Group>,
    /// Values that parameters take in turn: one row a combination in place of one a match.
    pub sweep: Sweep,
    /// A formula that looks into the future is an error otherwise.
    pub allow_lookahead: bool,
}

/// What matches are ordered by.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rank {
    /// A number.
    pub by: Formula,
    /// Whether the largest comes first.
    pub descending: bool,
}

impl Rank {
    /// `EXPR`, `EXPR desc` or `EXPR asc`; the largest first unless it says otherwise.
    pub fn parse(text: &str) -> Result<Rank> {
        let trimmed = text.trim();
        let cut = |word: &str| {
            let (rest, last) = trimmed.rsplit_once(char::is_whitespace)?;
            last.eq_ignore_ascii_case(word).then_some(rest)
        };
        let (by, descending) = match (cut("asc"), cut("desc")) {
            (Some(rest), _) => (rest, false),
            (_, Some(rest)) => (rest, true),
            _ => (trimmed, true),
        };
        Ok(Rank { by: Formula::parse(by)?, descending })
    }
}

/// What matches are gathered by.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Group {
    /// The time of the bar.
    Date,
    /// The symbol.
    Symbol,
}

/// The column that tells whether a bar matches.
const MATCH: &str = "(match)";
/// The tally of rows that match.
const MATCHES: &str = "matches";
/// The tally of newest bars, some of which are too old.
const NEWEST_BARS: &str = "newest bars";

impl Scan {
    /// A scan of a formula over `candles`.
    pub fn of(formula: Formula) -> Scan {
        Scan {
            formula,
            params: Params::default(),
            table: "candles".to_string(),
            symbols: None,
            members: None,
            range: Range::default(),
            last: false,
            max_age: MaxAge::default(),
            rank: None,
            top: None,
            group: None,
            sweep: Sweep::default(),
            allow_lookahead: false,
        }
    }
}

/// A column by a name that may hold anything.
fn named(name: &str) -> Expr {
    Expr::Column(Column::from_name(name))
}
