//! Kinds of tables: what a lake may hold, what such tables are called, and where they lie.

use super::files::Format;
use super::formulas::StoredFormula;
use super::ingest::quarantine;
use super::patterns::{StoredAlert, StoredPattern};
use super::pipelines::{PipelineError, StoredPipeline};
use super::small_table::Record;
use super::strategies::StoredStrategy;
use arrow::datatypes::SchemaRef;
use datafusion::common::{Result, plan_err};
use std::fmt::{Display, Formatter};
use tallow_udfs::calendar::Timeframe;

/// A kind of tables.
pub(super) struct TableKind {
    /// What the names of its tables begin with, and the folder that they lie in.
    pub name: &'static str,
    pub tables: Tables,
    /// Whether its name alone stands for the table of the default timeframe.
    pub has_short_name: bool,
    /// The columns of the table where it counts as there, and empty, as soon as its candles are there.
    pub empty: Option<fn() -> SchemaRef>,
    /// What makes a result, as the history of a table names it.
    pub operation: Option<&'static str>,
}

/// Which tables there are of a kind.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Tables {
    /// One: `formulas` lies in `formulas/`.
    One,
    /// One a timeframe: `candles_4h` lies in `candles/4h/`.
    ByTimeframe,
    /// As many as somebody names: `labels_swing` lies in `labels/swing/`.
    ByName,
}

/// The kind of the tables that everything else is made from.
pub(super) const CANDLES: &str = "candles";

const KIND: TableKind =
    TableKind { name: "", tables: Tables::One, has_short_name: false, empty: None, operation: None };
const RESULT: TableKind = TableKind { tables: Tables::ByName, ..KIND };

/// All kinds, one a row: first those of results, in the order of [`ResultKind`].
pub(super) static KINDS: [TableKind; 13] = [
    TableKind { name: "labels", operation: Some("LABEL"), ..RESULT },
    TableKind { name: "levels", operation: Some("LEVELS"), ..RESULT },
    TableKind { name: "level_events", operation: Some("LEVELS"), ..RESULT },
    TableKind { name: "matches", operation: Some("MATCH"), has_short_name: true, ..RESULT },
    TableKind { name: "results", operation: Some("PIPELINE"), ..RESULT },
    TableKind { name: CANDLES, tables: Tables::ByTimeframe, has_short_name: true, ..KIND },
    TableKind { name: "quarantine", tables: Tables::ByTimeframe, empty: Some(quarantine::schema), ..KIND },
    TableKind { name: StoredFormula::TABLE, ..KIND },
    TableKind { name: StoredStrategy::TABLE, ..KIND },
    TableKind { name: StoredPattern::TABLE, ..KIND },
    TableKind { name: StoredAlert::TABLE, ..KIND },
    TableKind { name: StoredPipeline::TABLE, ..KIND },
    TableKind { name: PipelineError::TABLE, ..KIND },
];

impl TableKind {
    /// The table that a folder within the folder of the kind stands for, and where it lies in the lake.
    pub fn table_in(&self, folder: &str) -> Option<(String, String)> {
        match self.tables {
            Tables::One => (folder == "_delta_log").then(|| (self.name.to_string(), self.name.to_string())),
            Tables::ByTimeframe => {
                let timeframe = Timeframe::named(folder)?;
                Some((self.table_of(timeframe), format!("{}/{timeframe}", self.name)))
            }
            Tables::ByName => {
                let table = format!("{}_{folder}", self.name);
                let (_, rest) = of_name(&table)?;
                let folder = format!("{}/{rest}", self.name);
                Some((table, folder))
            }
        }
    }

    /// The table of a timeframe.
    pub fn table_of(&self, timeframe: Timeframe) -> String {
        format!("{}_{timeframe}", self.name)
    }

    /// The timeframe that a name of a table names, however it is written.
    pub fn timeframe_of(&self, table: &str) -> Option<Timeframe> {
        let timeframe = table.strip_prefix(self.name)?.strip_prefix('_')?.parse().ok()?;
        (self.tables == Tables::ByTimeframe).then_some(timeframe)
    }
}

/// What a result table holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ResultKind {
    /// What came after each bar.
    Labels,
    /// Support and resistance.
    Levels,
    /// What happened to levels.
    LevelEvents,
    /// Windows that resemble a pattern.
    Matches,
    /// What a pipeline computes.
    Results,
}

impl ResultKind {
    const ALL: [ResultKind; 5] =
        [ResultKind::Labels, ResultKind::Levels, ResultKind::LevelEvents, ResultKind::Matches, ResultKind::Results];

    /// What the names of its tables begin with, and the folder that they lie in.
    pub fn prefix(self) -> &'static str {
        KINDS[self as usize].name
    }

    /// What makes it, as the history of a table names it.
    pub fn operation(self) -> &'static str {
        KINDS[self as usize].operation.unwrap_or_default()
    }

    /// The table that `swing` or `labels_swing` stands for; a place (`./folder`, `s3://bucket/folder`) stands for itself.
    ///
    /// # Errors
    /// Text that is neither a name nor a place, and the name of a table of another kind.
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
fn of_name(name: &str) -> Option<(ResultKind, &str)> {
    let of = |kind: ResultKind| Some((kind, name.strip_prefix(kind.prefix())?.strip_prefix('_')?));
    ResultKind::ALL.into_iter().filter_map(of).find(|(_, rest)| is_plain(rest) && !has_prefix(rest))
}

/// The folder of a table of candles, within the lake.
pub(super) fn candles_folder(table: &str) -> Result<String> {
    let kind = KINDS.iter().find(|kind| kind.name == CANDLES);
    match kind.and_then(|kind| kind.timeframe_of(table)) {
        Some(timeframe) => Ok(format!("{CANDLES}/{timeframe}")),
        None => plan_err!("`{table}` is no table of candles"),
    }
}

/// The folder of a table of the lake.
fn folder(lake: &str, kind: ResultKind, rest: &str) -> String {
    format!("{}/{}/{rest}/", lake.trim_end_matches('/'), kind.prefix())
}

/// Letters, digits and `_`.
fn is_plain(name: &str) -> bool {
    !name.is_empty() && name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_')
}

/// Whether a name says already what its table holds.
fn has_prefix(name: &str) -> bool {
    let is_of = |kind: &&TableKind| name.strip_prefix(kind.name).is_some_and(|rest| rest.starts_with('_'));
    KINDS.iter().filter(|kind| kind.tables != Tables::One).any(|kind| is_of(&kind))
}

/// Whether the text is a place rather than a name: a URL, or a path that begins with `./`.
fn is_place(given: &str) -> bool {
    given.contains("://") || given.starts_with("./")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_kind_of_results_has_its_row() {
        for (i, kind) in ResultKind::ALL.into_iter().enumerate() {
            assert_eq!(kind as usize, i);
            assert_eq!(kind.prefix(), format!("{kind:?}").replace("LevelE", "Level_e").to_lowercase());
        }
        let results = KINDS.iter().filter(|kind| kind.operation.is_some()).count();
        assert_eq!(results, ResultKind::ALL.len());
    }

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
