//! Result tables: what kinds there are, what they may be called, and where they lie.

use super::files::Format;
use datafusion::common::{Result, plan_err};
use std::fmt::{Display, Formatter};

/// What a result table holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ResultKind {
    /// What came after each bar.
    Labels,
    /// Support and resistance.
    Levels,
    /// What happened to levels.
    LevelEvents,
    /// What is like a pattern.
    Matches,
}

/// Kinds of tables that hold no results.
const OTHERS: [&str; 2] = ["candles", "quarantine"];

impl ResultKind {
    /// All kinds.
    pub const ALL: [ResultKind; 4] =
        [ResultKind::Labels, ResultKind::Levels, ResultKind::LevelEvents, ResultKind::Matches];

    /// What the names of its tables begin with, and the folder that they lie in.
    pub fn prefix(self) -> &'static str {
        match self {
            ResultKind::Labels => "labels",
            ResultKind::Levels => "levels",
            ResultKind::LevelEvents => "level_events",
            ResultKind::Matches => "matches",
        }
    }

    /// What makes it, as the history of a table names it.
    pub fn operation(self) -> &'static str {
        match self {
            ResultKind::Labels => "LABEL",
            ResultKind::Levels | ResultKind::LevelEvents => "LEVELS",
            ResultKind::Matches => "MATCH",
        }
    }

    /// The table that is meant by `swing` or `labels_swing`; a place (`./folder`, `s3://bucket/folder`) is meant as it is.
    ///
    /// # Errors
    /// What is neither, and a name of a table of another kind.
    pub fn table(self, given: &str) -> Result<String> {
        if is_place(given) {
            return Ok(given.to_string());
        }
        let name = match has_prefix(given) {
            true => given.to_string(),
            false => format!("{}_{given}", self.prefix()),
        };
        match of_name(&name) {
            Some((kind, _)) if kind == self => Ok(name),
            _ => self.refuse(given),
        }
    }

    /// Where the table lies that [`ResultKind::table`] gave.
    pub(super) fn location(self, lake: &str, table: &str) -> Result<String> {
        match of_name(table) {
            Some((kind, rest)) if kind == self => Ok(folder(lake, kind, rest)),
            None if is_place(table) && Format::of(table.trim_end_matches('/')).is_none() => Ok(table.to_string()),
            _ => self.refuse(table),
        }
    }

    fn refuse<T>(self, given: &str) -> Result<T> {
        let prefix = self.prefix();
        plan_err!(
            "'{given}' cannot be a table of {self}: expected a name of letters, digits and _, such as {prefix}_4h, or a place \
             such as ./folder or s3://bucket/folder"
        )
    }
}

impl Display for ResultKind {
    fn fmt(&self, f: &mut Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.prefix().replace('_', " "))
    }
}

/// The tables of levels and of their events that one name or place stands for.
///
/// # Errors
/// As [`ResultKind::table`].
pub fn tables_of_levels(given: &str) -> Result<[(ResultKind, String); 2]> {
    let kinds = [ResultKind::Levels, ResultKind::LevelEvents];
    if is_place(given) {
        return Ok(kinds.map(|kind| (kind, format!("{}/{}", given.trim_end_matches('/'), kind.prefix()))));
    }
    let levels = ResultKind::Levels.table(given)?;
    let events = ResultKind::LevelEvents.table(levels.strip_prefix("levels_").unwrap_or(&levels))?;
    Ok([(ResultKind::Levels, levels), (ResultKind::LevelEvents, events)])
}

/// Kind of a table of the lake, and its folder among those of its kind: `labels_4h` lies in `labels/4h/`.
pub(super) fn of_name(name: &str) -> Option<(ResultKind, &str)> {
    let of = |kind: ResultKind| Some((kind, name.strip_prefix(kind.prefix())?.strip_prefix('_')?));
    ResultKind::ALL.into_iter().filter_map(of).find(|(_, rest)| is_plain(rest) && !has_prefix(rest))
}

/// The folder of a table of the lake.
pub(super) fn folder(lake: &str, kind: ResultKind, rest: &str) -> String {
    format!("{}/{}/{rest}/", lake.trim_end_matches('/'), kind.prefix())
}

/// Letters, digits and `_`.
pub(super) fn is_plain(name: &str) -> bool {
    !name.is_empty() && name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_')
}

/// Whether a name says already what its table holds.
fn has_prefix(name: &str) -> bool {
    let mut prefixes = ResultKind::ALL.into_iter().map(ResultKind::prefix).chain(OTHERS);
    prefixes.any(|prefix| name.strip_prefix(prefix).is_some_and(|rest| rest.starts_with('_')))
}

/// Whether somebody says plainly that it is no name: a URL, or a path that begins with `./`.
fn is_place(given: &str) -> bool {
    given.contains("://") || given.starts_with("./")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_of_letters_digits_and_one_prefix() {
        let labels = ResultKind::Labels;
        assert_eq!(labels.table("swing").unwrap(), "labels_swing");
        assert_eq!(labels.table("labels_4h").unwrap(), "labels_4h");
        assert_eq!(labels.location("/lake/", "labels_4h").unwrap(), "/lake/labels/4h/");
        for bad in
            ["", "../../evil", "/tmp/evil", "a b", "a.b", "levels_4h", "candles_1d", "labels_levels_4h", "labels_"]
        {
            let said = labels.table(bad).unwrap_err().to_string();
            assert!(said.contains(&format!("'{bad}' cannot be a table of labels")), "{said}");
            assert!(labels.location("/lake", bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn a_place_is_a_url_or_begins_with_a_dot() {
        for place in ["./here", "s3://bucket/labels", "file:///tmp/labels"] {
            assert_eq!(ResultKind::Labels.table(place).unwrap(), place);
            assert_eq!(ResultKind::Labels.location("/lake", place).unwrap(), place);
        }
        assert!(ResultKind::Labels.location("/lake", "./labels.parquet").is_err(), "a file is no folder");
    }

    #[test]
    fn levels_and_their_events_lie_apart() {
        for given in ["pivots", "levels_pivots"] {
            let tables = tables_of_levels(given).unwrap().map(|(_, table)| table);
            assert_eq!(tables, ["levels_pivots", "level_events_pivots"], "{given}");
        }
        let places = tables_of_levels("./out/").unwrap().map(|(_, table)| table);
        assert_eq!(places, ["./out/levels", "./out/level_events"]);
        assert!(tables_of_levels("../../evil").is_err() && tables_of_levels("level_events_x").is_err());
    }
}
